"""How long the engine takes to know everything again, from the database file to the state: with a snapshot and without one.

python -m bench.startup                     # 100 000 signals
python -m bench.startup --signals 1000000   # the figures for docs/benchmarks.md

The snapshot is as old as it can be: `EVERY` signals came after it. What is timed is what `serve` does: open the database, then
`Brain.recover`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

import structlog

from bench.evaluator import rulebook
from bench.replay import write
from responder.engine.brain import _SNAPSHOT_EVERY as EVERY
from responder.engine.brain import Brain
from responder.engine.evaluator import Evaluator
from responder.engine.watch import Pulse
from responder.stores.database import Database, open_database

RULES = rulebook(10, timedelta(minutes=2))
ALERTS = 10_000  # that come and go: half of them fire at the end


def brain_of(database: Database) -> Brain:
    return Brain(
        evaluator=Evaluator(RULES),
        digest="bench",
        journal=database.journal,
        incidents=database.incidents,
        pulse=Pulse(),
        clock=lambda: datetime.now(UTC),
    )


async def recovered(url: str) -> tuple[float, Brain]:
    """Seconds it took, and the brain, whose database is closed again."""
    gc.collect()
    began = perf_counter()
    database = await open_database(url)
    brain = brain_of(database)
    await brain.recover()
    seconds = perf_counter() - began
    await database.close()
    return seconds, brain


async def save_snapshot(url: str, position: int) -> int:
    """Of the state after this entry; its bytes."""
    database = await open_database(url)
    evaluator = Evaluator(RULES)
    done = 0
    while done < position:
        for entry in await database.journal.read(done, min(250, position - done)):
            evaluator.fold(entry)
            done = entry.id
    body = evaluator.snapshot()
    await database.journal.save_snapshot(done, "bench", body)
    await database.close()
    return len(body)


async def measure(folder: Path, count: int) -> None:
    path = folder / "responder.db"
    url = f"sqlite:///{path}"
    entries = await write(path, count, ALERTS)
    whole, brain = await recovered(url)
    expected = brain.evaluator.snapshot()
    after = min(entries, EVERY * entries // count)
    size = await save_snapshot(url, entries - after)
    short, brain = await recovered(url)
    assert brain.evaluator.snapshot() == expected, "the snapshot leads to another state"
    firing = len(brain.evaluator.firing())
    print(f"{count:,} signals in {entries:,} entries, {path.stat().st_size / 2**20:.0f} MiB; {firing:,} groups fire")
    print(f"without a snapshot {whole:.1f} s, {count / whole:,.0f} signals/s")
    print(f"with one of {size / 2**20:.1f} MiB and {after:,} entries after it {short:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=100_000)
    structlog.configure(processors=[lambda *_: (_ for _ in ()).throw(structlog.DropEvent)])
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), parser.parse_args().signals))


if __name__ == "__main__":
    main()
