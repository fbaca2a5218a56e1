"""What the HTTP surface needs from the rest of the service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from responder.domain.incident import Incident, IncidentEvent
from responder.domain.selection import Proof
from responder.domain.target import Target
from responder.domain.version import LedgerEntry, WorkloadState
from responder.engine.commands import Commands
from responder.engine.feed import Feed
from responder.engine.guard_view import GuardView
from responder.engine.orders import Orders
from responder.engine.preview import Previewer
from responder.ports import Clock, Incidents, Journal, People
from responder.web.admission import SenderSecrets
from responder.web.rate import CommandRate
from responder.web.slack_promises import SlackPromises
from responder.web.tokens import Tokens


class WebMetrics(Protocol):
    def accepted(self, source: str, signals: int, ignored: int, seconds: float) -> None:
        """One delivery was acknowledged. seconds: spent in the journal."""
        ...

    def rejected(self, source: str, status: int) -> None: ...

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        ...


async def _tell_nobody(_url: str, _text: str) -> None:
    return


@dataclass(frozen=True, slots=True)
class SlackServices:
    """signing_secret: None when Slack gives no commands. tell: answer at a `response_url`, with text that is escaped.

    promises: None for some that are told to nobody else when a `response_url` fails.
    """

    signing_secret: bytes | None = field(default=None, repr=False)
    tell: Callable[[str, str], Awaitable[None]] = _tell_nobody
    promises: SlackPromises | None = None


@dataclass(frozen=True, slots=True)
class PeopleServices:
    """What people may tell the service, and the record of what they did."""

    commands: Commands
    orders: Orders
    people: People


async def _no_ledger(_key: str) -> Sequence[LedgerEntry]:
    return ()


async def _no_proofs(_target: str, _state: WorkloadState) -> Mapping[str, Proof]:
    return {}


@dataclass(frozen=True, slots=True)
class WebServices:
    """targets: the declared ones, by name. versions: facts about one declared target, freshly read.
    proofs: which of a target's versions are proven, by fingerprint.

    rules_state: what each rule and group waits for, as JSON-able rows.
    reload: read the rulebook's files again; returns facts about what is in force now. None: this service can't.
    progress_of: how far the step in flight of an open incident is, "" when unknown.
    readiness: whether the service can do its work, and the facts behind it.
    render_report, report_document: the report as Markdown and as JSON-able values.
    people: None: this service takes no commands. previewer: None: it can't say what a plan would do.
    guards: None: there are none to ask. ledger_of: what a target has run, by its key.
    watched: the targets that were seen since the start, by name. feed: None: nobody can follow along.
    unreadable: told of the sender and of what nobody can read in a delivery of its; it must not wait.
    body_limit: bytes. body_within: how long a sender may take for one body.
    """

    journal: Journal
    incidents: Incidents
    clock: Clock
    tokens: Tokens
    metrics: WebMetrics
    targets: Callable[[], Mapping[str, Target]]
    versions: Callable[[str], Awaitable[WorkloadState]]
    rules_state: Callable[[], Sequence[Mapping[str, object]]]
    readiness: Callable[[], Awaitable[tuple[bool, Mapping[str, object]]]]
    render_report: Callable[[Incident, Sequence[IncidentEvent]], str]
    report_document: Callable[[Incident, Sequence[IncidentEvent]], Mapping[str, object]]
    proofs: Callable[[str, WorkloadState], Awaitable[Mapping[str, Proof]]] = _no_proofs
    progress_of: Callable[[str], str] = lambda _: ""
    reload: Callable[[], Awaitable[Mapping[str, object]]] | None = None
    people: PeopleServices | None = None
    previewer: Previewer | None = None
    guards: GuardView | None = None
    watched: Callable[[], Collection[str]] = tuple
    feed: Feed | None = None
    ledger_of: Callable[[str], Awaitable[Sequence[LedgerEntry]]] = _no_ledger
    slack: SlackServices = field(default_factory=SlackServices)
    command_rate: CommandRate = field(default_factory=lambda: CommandRate(0))
    sender_secrets: SenderSecrets = field(default_factory=SenderSecrets)
    unreadable: Callable[[str, str], None] = lambda _source, _what: None
    body_limit: int = 16 * 1024 * 1024
    body_within: timedelta = timedelta(seconds=30)
