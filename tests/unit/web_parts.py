"""What the tests of the HTTP surface share: an app over fakes that can fail, block and count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import httpx

from responder.domain.incident import Incident, IncidentEvent, IncidentStatus, Phase, StepRecord, StepStatus
from responder.domain.matcher import parse_matcher
from responder.domain.plan import BARE_ROLLBACK
from responder.domain.rulebook import Severity
from responder.domain.selection import Proof
from responder.domain.signal import Signal
from responder.domain.target import Target, WorkloadRef
from responder.domain.version import Pin, RolloutPhase, RolloutStatus, Version, WorkloadState
from responder.errors import ResponderError
from responder.ports import Entry, EntryKind, OpenResult, OutboxEntry
from responder.telemetry import Metrics, build_metrics
from responder.web.app import build_app
from responder.web.services import WebServices
from responder.web.tokens import Tokens

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GOOD = Version("v41", "7", "aa" * 32, "bb" * 32, ("registry.example/shop:v41",), NOW - timedelta(days=2))
BAD = Version("v42", "8", "cc" * 32, "dd" * 32, ("registry.example/shop:v42",), NOW - timedelta(minutes=9), current=True)


@dataclass
class FakeJournal:
    """Keeps entries in memory. error: raised by every append. gate: when set, appends wait until it opens.

    arrived: set when an append stands before the gate.
    """

    error: Exception | None = None
    gate: asyncio.Event | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    entries: list[tuple[EntryKind, datetime, tuple[Signal, ...]]] = field(default_factory=list)

    async def append(self, kind: EntryKind, at: datetime, signals: Sequence[Signal] = ()) -> int:
        if self.gate is not None:
            self.arrived.set()
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.entries.append((kind, at, tuple(signals)))
        return len(self.entries)

    async def read(self, after: int, limit: int) -> list[Entry]:
        raise NotImplementedError

    async def wait(self, after: int, timeout: timedelta | None) -> list[Entry]:
        raise NotImplementedError

    async def save_snapshot(self, entry_id: int, digest: str, body: bytes) -> None:
        raise NotImplementedError

    async def load_snapshot(self, digest: str) -> tuple[int, bytes] | None:
        raise NotImplementedError

    async def prune(self, before: datetime) -> int:
        raise NotImplementedError


class FakeIncidents:
    """Incidents given to it, newest first as the port says. error: raised by every call."""

    def __init__(self, incidents: Sequence[Incident] = (), events: Sequence[IncidentEvent] = ()) -> None:
        self.incidents = list(incidents)
        self.all_events = list(events)
        self.error: Exception | None = None

    async def get(self, incident_id: str) -> Incident | None:
        if self.error is not None:
            raise self.error
        return next((incident for incident in self.incidents if incident.id == incident_id), None)

    async def events(self, incident_id: str) -> list[IncidentEvent]:
        return self.all_events

    async def list(
        self, *, target: str | None = None, open_only: bool = False, before: str | None = None, limit: int = 50
    ) -> list[Incident]:
        found = sorted(self.incidents, key=lambda incident: incident.id, reverse=True)
        found = [incident for incident in found if before is None or incident.id < before]
        found = [incident for incident in found if target is None or incident.target == target]
        return [incident for incident in found if incident.is_open or not open_only][:limit]

    async def open(
        self, incident: Incident, events: Sequence[IncidentEvent] = (), outbox: Sequence[OutboxEntry] = ()
    ) -> tuple[OpenResult, Incident]:
        raise NotImplementedError

    async def save(self, incident: Incident, events: Sequence[IncidentEvent] = (), outbox: Sequence[OutboxEntry] = ()) -> None:
        raise NotImplementedError

    async def find(self, identity: str) -> Incident | None:
        raise NotImplementedError

    async def prune(self, before: datetime) -> int:
        raise NotImplementedError


def an_incident(number: int = 1, status: IncidentStatus = IncidentStatus.RUNNING, target: str = "shop") -> Incident:
    return Incident(
        id=f"inc_{number:04d}",
        identity=f"error_rate|{target}|{number}",
        target=target,
        rule="error_rate",
        group="",
        severity=Severity.P1,
        status=status,
        reason="7 % of requests fail, above 5 %",
        opened_at=NOW,
        groups=(("error_rate", ""),),
        plan=BARE_ROLLBACK,
        pins={"shop": Pin("shop", "uid-1", BAD, GOOD), "other": Pin("other", "uid-2", GOOD, BAD)},
        steps=(StepRecord("undo", "rollback", Phase.STEPS, StepStatus.RUNNING, attempts=1, started_at=NOW, intent={"k": "v"}),),
        trigger_labels={"alertname": "HighErrorRate"},
        value=0.07,
    )


SHOP = Target("shop", WorkloadRef("shop", "shop"), (parse_matcher('namespace="shop"'),))
STATE = WorkloadState("uid-1", 8, BAD, (BAD, GOOD), RolloutStatus(RolloutPhase.COMPLETE, "all pods available", 3, 3, 3), NOW, 3)


@dataclass
class Parts:
    """Knobs of the service under test. Change them before `client`."""

    journal: FakeJournal = field(default_factory=FakeJournal)
    incidents: FakeIncidents = field(default_factory=FakeIncidents)
    tokens: Tokens = field(default_factory=Tokens.of)
    metrics: Metrics = field(default_factory=build_metrics)
    versions_error: ResponderError | None = None
    is_ready: bool = True
    markdown: str = "# Report\n"
    overrides: dict[str, object] = field(default_factory=dict)

    def services(self) -> WebServices:
        async def versions(name: str) -> WorkloadState:
            if self.versions_error is not None:
                raise self.versions_error
            return STATE

        async def proofs(name: str, state: WorkloadState) -> Mapping[str, Proof]:
            return {GOOD.fingerprint: Proof(True, "it ran for 2h")}

        def document(incident: Incident, events: Sequence[IncidentEvent]) -> Mapping[str, object]:
            return {"id": incident.id, "events": len(events)}

        services = WebServices(
            journal=self.journal,
            incidents=self.incidents,
            clock=lambda: NOW,
            tokens=self.tokens,
            metrics=self.metrics,
            targets=lambda: {"shop": SHOP},
            versions=versions,
            proofs=proofs,
            rules_state=lambda: [{"rule": "error_rate", "state": "pending", "due_at": NOW}],
            readiness=lambda: asyncio.sleep(0, (self.is_ready, {"journal_position": 3})),
            render_report=lambda incident, events: self.markdown,
            report_document=document,
        )
        return replace(services, **self.overrides)  # type: ignore[arg-type]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(build_app(self.services()), raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
            yield client


def problem_of(answer: httpx.Response) -> dict[str, object]:
    """The problem details of an error answer, checked for their shape."""
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, object] = answer.json()
    assert document["status"] == answer.status_code
    assert {"type", "title", "detail"} <= document.keys()
    return document
