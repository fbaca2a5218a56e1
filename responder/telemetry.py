"""Logs and metrics. Everything is made in functions; nothing is registered globally but the log set-up itself."""

from __future__ import annotations

import json
import logging
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from structlog.typing import EventDict, ProcessorReturnValue, WrappedLogger

from responder.domain.incident import OPEN_STATUSES, IncidentStatus

REDACTED = "[redacted]"
SHORTEST_REDACTED = 4  # replacing shorter values would destroy the line and hide nothing


class Redact:
    """Last processor: takes every known secret out of the finished line, tracebacks included."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {form for secret in secrets if len(secret) >= SHORTEST_REDACTED for form in _spellings(secret)}
        self._spellings = sorted(spellings, key=len, reverse=True)

    def text(self, line: str) -> str:
        for spelling in self._spellings:
            line = line.replace(spelling, REDACTED)
        return line

    def __call__(self, _logger: WrappedLogger, _method: str, line: EventDict | str) -> ProcessorReturnValue:
        return self.text(line) if isinstance(line, str) else line


def _spellings(secret: str) -> tuple[str, ...]:
    return secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]


def set_up_logging(
    log_format: Literal["json", "console"],
    secrets: Iterable[str],
    stream: TextIO | None = None,
    level: int = logging.INFO,
    *,
    colours: bool = True,
) -> None:
    """Send the lines of structlog and of libraries to `stream` (None: standard error): event name, then key-values.

    colours: of the console's lines, where they are seen on a terminal.
    """
    stream = stream or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[structlog.typing.Processor]
    if log_format == "json":
        renderer = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        renderer = [structlog.dev.ConsoleRenderer(colors=stream.isatty() and colours)]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer, Redact(secrets)],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


_LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class IntakeTally:
    """The intake's own counts, as plain numbers: prometheus_client's objects lock and look up at every step, which would
    cost half as much as reading the alert. Only for one thread."""

    def __init__(self) -> None:
        self._accepted: dict[str, int] = {}
        self._ignored: dict[str, int] = {}
        self._latencies = [0] * (len(_LATENCY_BUCKETS) + 1)
        self._latency_sum = 0.0

    def add(self, source: str, signals: int, ignored: int, seconds: float) -> None:
        if signals:
            self._accepted[source] = self._accepted.get(source, 0) + signals
            self._latencies[bisect_left(_LATENCY_BUCKETS, seconds)] += 1
            self._latency_sum += seconds
        if ignored:
            self._ignored[source] = self._ignored.get(source, 0) + ignored

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        accepted = CounterMetricFamily(
            "responder_intake_accepted", "Signals journalled before they were acknowledged.", labels=["source"]
        )
        for source, count in self._accepted.items():
            accepted.add_metric([source], count)
        yield accepted
        ignored = CounterMetricFamily(
            "responder_intake_ignored", "Observations in accepted bodies that could not be used.", labels=["source"]
        )
        for source, count in self._ignored.items():
            ignored.add_metric([source], count)
        yield ignored
        bounds = [*map(str, _LATENCY_BUCKETS), "+Inf"]
        yield HistogramMetricFamily(
            "responder_journal_append_seconds",
            "Time from handing signals to the journal until they are on disk.",
            buckets=list(zip(bounds, accumulate(self._latencies), strict=True)),
            sum_value=self._latency_sum,
        )


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metric objects with a registry of their own. Counters count since start.

    held, targets_unseen: asked when somebody looks, by `set_function`.
    """

    registry: CollectorRegistry
    intake: IntakeTally
    intake_rejected: Counter
    decisions: Counter
    readings: Counter
    incidents: Gauge
    outbox_pending: Gauge
    outbox_delivered: Counter
    outbox_failed: Counter
    rollback_runs: Counter
    rulebook_reload_ok: Gauge
    evaluation_lag: Gauge
    held: Gauge
    targets_unseen: Gauge

    def accepted(self, source: str, signals: int, ignored: int, seconds: float) -> None:
        """Count one delivery that was acknowledged. seconds: spent in the journal, 0 when it was not needed."""
        self.intake.add(source, signals, ignored, seconds)

    def rejected(self, source: str, status: int) -> None:
        self.intake_rejected.labels(source, str(status)).inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


def build_metrics() -> Metrics:
    registry = CollectorRegistry()
    intake = IntakeTally()
    registry.register(intake)

    def counter(name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"responder_{name}", documentation, labels, registry=registry)

    def gauge(name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(f"responder_{name}", documentation, labels, registry=registry)

    made = Metrics(
        registry=registry,
        intake=intake,
        intake_rejected=counter("intake_rejected_total", "Deliveries answered with an error.", "source", "status"),
        decisions=counter("decisions_total", "Decisions of the evaluator.", "kind"),
        readings=counter("readings_total", "Answers of Prometheus to rules, by whether they were a number.", "result"),
        incidents=gauge("incidents", "Open incidents.", "status"),
        outbox_pending=gauge("outbox_pending", "Messages waiting to be delivered."),
        outbox_delivered=counter("outbox_delivered_total", "Messages delivered.", "to"),
        outbox_failed=counter("outbox_failed_total", "Attempts to deliver that failed.", "to"),
        rollback_runs=counter("rollback_runs_total", "Closed incidents.", "outcome"),
        rulebook_reload_ok=gauge("rulebook_reload_ok", "1 when the newest rulebook is in force, 0 when it was refused."),
        evaluation_lag=gauge("evaluation_lag_seconds", "Age of the newest journal entry when it was evaluated."),
        held=gauge("held", "1 while everything is on hold."),
        targets_unseen=gauge("targets_unseen", "Declared targets that were not seen since the start."),
    )
    for status in IncidentStatus:  # or Prometheus would not see the first of each kind as an increase
        if status not in OPEN_STATUSES:
            made.rollback_runs.labels(status.value)
    return made
