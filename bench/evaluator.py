"""How many signals per second the evaluator takes on one core, and what it keeps in memory.

    python bench/evaluator.py            # small, seconds
    python bench/evaluator.py --full     # the figures for docs/benchmarks.md

Every stream is measured with 10, 100, 1 000 and 10 000 rules; the last column is the slowest against 10 rules.
Signals are built beforehand and kept from the garbage collector, as what `serve` has when it starts: reading and journalling
them is measured elsewhere. What the evaluator makes of them is collected while the time runs.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from responder.domain.condition import (
    AllOf,
    Condition,
    ConsecutiveCondition,
    CountCondition,
    Part,
    RatioCondition,
    ValueCondition,
)
from responder.domain.decision import DecisionKind
from responder.domain.matcher import parse_matcher
from responder.domain.rulebook import Response, Rule, Rulebook
from responder.domain.signal import Signal, SignalStatus
from responder.domain.target import Target, WorkloadRef
from responder.engine.evaluator import Evaluator

START = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = 50  # signals in one webhook


def rulebook(count: int, hold: timedelta) -> Rulebook:
    """`count` rules, each on its own alert and the same environment; a hundred targets."""
    targets = {
        f"app-{n}": Target(f"app-{n}", WorkloadRef("prod", f"app-{n}"), (parse_matcher(f'deployment="app-{n}"'),))
        for n in range(100)
    }
    rules = tuple(
        Rule(
            name=f"rule_{n}",
            matchers=(parse_matcher('environment="production"'), parse_matcher(f'alertname="Alert{n}"')),
            condition=ValueCondition(above=0.05),
            hold=hold,
            by=("pod",),
            response=Response.ROLLBACK,
        )
        for n in range(count)
    )
    return Rulebook(targets=targets, rules=rules)


def alert(number: int, rules: int, *, known: bool = True) -> Signal:
    """One of ten rules' alerts, spread over the rulebook; with known=False no rule asks for it."""
    name = f"Alert{number % 10 * (rules // 10)}" if known else f"Other{number % 10}"
    labels = {
        "source": "alertmanager",
        "alertname": name,
        "environment": "production",
        "namespace": "prod",
        "deployment": f"app-{number % 100}",
        "pod": f"app-{number % 100}-{number:06x}",
        "instance": f"10.0.{number // 250}.{number % 250}:8080",
        "job": "api",
        "severity": "critical",
    }
    annotations = {
        "summary": f"Error rate 7.31% on app-{number % 100}",
        "description": "The share of answers with a 5xx status is above five percent; look at the last deployment.",
        "value": "0.0731",
        "runbook_url": "https://runbooks.example.com/HighErrorRate",
    }
    link = "http://prometheus:9090/graph?g0.expr=job%3Ahttp_error_ratio%3Arate1m+%3E+0.05&g0.tab=1"
    return Signal(
        "alertmanager", f"{number:016x}", SignalStatus.FIRING, labels, annotations, START, None, START, value=None, link=link
    )


def copies(signals: list[Signal], **changes: Any) -> list[Signal]:
    """The same signals as another delivery would bring them: equal, but every text is another object."""
    return [
        replace(
            s,
            key=str(s.key.encode(), "ascii"),
            labels=orjson.loads(orjson.dumps(s.labels)),
            annotations=orjson.loads(orjson.dumps(s.annotations)),
            link=str(s.link.encode(), "ascii"),
            **changes,
        )
        for s in signals
    ]


def rate(evaluator: Evaluator, signals: list[Signal], now: datetime) -> float:
    gc.collect()
    began = perf_counter()
    for first in range(0, len(signals), BATCH):
        evaluator.observe(signals[first : first + BATCH], now)
    return len(signals) / (perf_counter() - began)


def streams(count: int, rules: int) -> dict[str, float]:
    """Signals per second of every kind of stream with so many rules."""
    book = rulebook(rules, timedelta(minutes=2))
    second = timedelta(seconds=1)
    # What one webhook brings began at one instant, as Prometheus evaluates rules.
    fresh = [replace(alert(n, rules), started_at=START - timedelta(milliseconds=n // BATCH)) for n in range(count)]
    gc.collect()
    gc.freeze()
    evaluator = Evaluator(book)
    found = {"new alerts": rate(evaluator, fresh, START)}
    found["repeats"] = rate(evaluator, copies(fresh), START + second)
    moved = [replace(s, annotations={**s.annotations, "value": "0.0912"}) for s in copies(fresh)]
    found["value moves"] = rate(evaluator, moved, START + 2 * second)
    began = perf_counter()
    due = evaluator.tick(START + timedelta(minutes=2))
    assert sum(d.kind is DecisionKind.RESPOND for d in due) == count
    found["timers due"] = count / (perf_counter() - began)
    found["resolved"] = rate(evaluator, copies(fresh, status=SignalStatus.RESOLVED), START + timedelta(minutes=3))
    found["late firing"] = rate(evaluator, copies(fresh), START + timedelta(minutes=3))
    found["no rule"] = rate(evaluator, [alert(n, rules, known=False) for n in range(count)], START)
    pair = Evaluator(book)  # a pair that sends everything twice, repeats four times and resolves
    again = copies(fresh)
    story = [*fresh, *again, *again, *again, *copies(fresh, status=SignalStatus.RESOLVED), *again]
    found["life of a pair"] = rate(pair, story, START)
    gc.unfreeze()
    return found


def remembered(count: int) -> dict[str, float]:
    """Point events per second for conditions that have a memory or join others, all in the window and spread over 100 groups."""
    conditions: dict[str, Condition] = {
        "count": CountCondition(1000, timedelta(minutes=5)),
        "count distinct": CountCondition(20, timedelta(minutes=5), "pod"),
        "consecutive": ConsecutiveCondition(3),
        "ratio": RatioCondition(0.5, timedelta(minutes=10), 10),
        "all": AllOf((Part(ValueCondition(above=0.05)), Part(CountCondition(3, timedelta(minutes=5))))),
    }
    found = {}
    for name, condition in conditions.items():
        book = rulebook(10, timedelta(0))
        evaluator = Evaluator(replace(book, rules=tuple(replace(rule, condition=condition, by=()) for rule in book.rules)))
        events = [
            replace(
                alert(n, 10),
                status=SignalStatus.OCCURRED,
                started_at=START + timedelta(milliseconds=n),
                received_at=START + timedelta(milliseconds=n),
                passed=n % 3 == 0,
            )
            for n in range(count)
        ]
        found[name] = rate(evaluator, events, START + timedelta(milliseconds=count))
    return found


def pending(count: int) -> tuple[float, float]:
    """Repeats, and new alerts, per second while so many timers are pending."""
    evaluator = Evaluator(rulebook(10, timedelta(hours=1)))
    signals = [alert(n, 10) for n in range(count)]
    for first in range(0, count, 1000):
        evaluator.observe(signals[first : first + 1000], START)
    sample = copies(signals[:: max(1, count // 10_000)])
    fresh = [alert(n, 10) for n in range(count, count + 10_000)]
    gc.collect()
    gc.freeze()
    found = rate(evaluator, sample, START + timedelta(seconds=1)), rate(evaluator, fresh, START + timedelta(seconds=1))
    gc.unfreeze()
    return found


def kept(count: int) -> tuple[float, float, float]:
    """MiB that so many active alerts cost, MiB of their snapshot, seconds to restore it."""
    book = rulebook(10, timedelta(hours=1))
    evaluator = Evaluator(book)
    gc.collect()
    tracemalloc.start()
    for number in range(count):
        started = START + timedelta(microseconds=number)
        evaluator.observe(copies([alert(number, 10)], started_at=started, received_at=started), START)
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    body = evaluator.snapshot()
    began = perf_counter()
    Evaluator(book).restore(body)
    return size / 2**20, len(body) / 2**20, perf_counter() - began


def best(measure: Callable[[], dict[str, float]], times: int) -> dict[str, float]:
    runs = [measure() for _ in range(times)]
    return {name: max(run[name] for run in runs) for name in runs[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="20 000 alerts instead of 5 000, 100 000 timers instead of 20 000")
    full = parser.parse_args().full
    count = 20_000 if full else 5_000
    sizes = (10, 100, 1_000, 10_000)
    results = [best(partial(streams, count, size), 3) for size in sizes]
    print(f"{'signals/s':<16}" + "".join(f"{f'{size} rules':>14}" for size in sizes) + f"{'slowest':>10}")
    for name in results[0]:
        rates = [result[name] for result in results]
        print(f"{name:<16}" + "".join(f"{r:>14,.0f}" for r in rates) + f"{rates[0] / min(rates):>9.2f}x")
    for name, events in best(partial(remembered, count), 2).items():
        print(f"{name:<16}{events:>14,.0f} events/s")
    for timers in (1_000, 100_000 if full else 20_000):
        repeats, fresh = pending(timers)
        print(f"with {timers:,} timers pending: repeats {repeats:,.0f}/s, new alerts {fresh:,.0f}/s")
    size, body, seconds = kept(10_000)
    print(f"10 000 active alerts: {size:.1f} MiB, snapshot {body:.1f} MiB, restored in {seconds * 1000:.0f} ms")


if __name__ == "__main__":
    main()
