"""How long a replay of a generated journal takes, from the database file to the decisions.

python bench/replay.py                   # 100 000 signals
python bench/replay.py --signals 1000000 # the figure for docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, process_time

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sqlite3

import psutil

from bench.evaluator import rulebook
from responder.domain.decision import DecisionKind
from responder.domain.signal import Signal, SignalStatus
from responder.engine.replay import Replay
from responder.ports import EntryKind
from responder.stores.codec import encode_signals, to_micros
from responder.stores.database import open_database
from responder.stores.record import open_record

START = datetime(2026, 1, 1, tzinfo=UTC)
_VALUES = [f"0.0{n}" for n in range(510, 880, 10)] + ["0.04"]  # one in forty is back below the threshold
APPS = 100
ALERTS = 1000
"""Alerts that come and go; each belongs to one target and one of ten rules."""


def signals(count: int, alerts: int = ALERTS) -> Iterator[tuple[datetime, tuple[Signal, ...]]]:
    """A month of groups as Alertmanager sends them: new, repeated with moving numbers, resolved; every delivery from a pair."""
    chance = random.Random(1)
    now = START
    sent = 0
    firing: dict[int, datetime] = {}
    while sent < count:
        now += timedelta(seconds=chance.uniform(0.5, 3))
        group: list[Signal] = []
        for _ in range(chance.choice([1, 1, 2, 5])):
            number = chance.randrange(alerts)
            began = firing.get(number)
            status = SignalStatus.FIRING
            if began is None:
                began = firing[number] = now
            elif chance.random() < 1 / 12:  # an hour of trouble, told every five minutes
                status = SignalStatus.RESOLVED
                del firing[number]
            group.append(one(number, status, began, now, chance.choice(_VALUES)))
        yield now, tuple(group)
        yield now + timedelta(milliseconds=300), tuple(group)
        sent += 2 * len(group)


def one(number: int, status: SignalStatus, began: datetime, now: datetime, value: str) -> Signal:
    app = number % APPS
    labels = {
        "alertname": f"Alert{number % 10}",
        "environment": "production",
        "namespace": "prod",
        "deployment": f"app-{app}",
        "pod": f"app-{app}-{number:06x}",
        "severity": "critical",
        "source": "alertmanager",
    }
    annotations = {"summary": f"Error rate on app-{app}", "value": value, "runbook_url": "https://runbooks.example.com/x"}
    return Signal(
        "alertmanager", f"{number:016x}", status, labels, annotations, began, None, now, link="http://prometheus:9090/graph"
    )


async def write(path: Path, count: int, alerts: int = ALERTS) -> int:
    database = await open_database(f"sqlite:///{path}")
    await database.close()
    connection = sqlite3.connect(path)
    rows = (
        (number, to_micros(at), EntryKind.SIGNALS.value, encode_signals(group))
        for number, (at, group) in enumerate(signals(count, alerts), 1)
    )
    with connection:
        connection.executemany("INSERT INTO journal (id, at, kind, body) VALUES (?, ?, ?, ?)", rows)
    entries: int = connection.execute("SELECT count(*) FROM journal").fetchone()[0]
    connection.close()
    return entries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=100_000)
    wanted = parser.parse_args().signals
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "responder.db"
        entries = asyncio.run(write(path, wanted))
        size = path.stat().st_size / 2**20
        record = open_record(f"sqlite:///{path}")
        began, began_used = perf_counter(), process_time()
        found = Replay(rulebook(10, timedelta(minutes=2))).run(record.entries())
        seconds, used = perf_counter() - began, process_time() - began_used
        record.close()
    memory = psutil.Process().memory_info().rss / 2**20
    print(f"{found.signals:,} signals in {entries:,} entries, {size:.0f} MiB")
    print(f"{seconds:.1f} s, {used:.1f} s of them on the processor; {found.signals / seconds:,.0f} signals/s")
    print(f"{found.counts[DecisionKind.RESPOND]:,} responses, {found.left_out:,} decisions not kept; {memory:.0f} MiB resident")


if __name__ == "__main__":
    main()
