"""What people are told, independent of the service that carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from responder.domain.offer import Offer
from responder.domain.rulebook import Severity


class Moment(StrEnum):
    """The moments of an incident that are told. A notifier maps them to its own words (Statuspage: investigating …)."""

    OPENED = "opened"
    WAITING = "waiting"  # for a person's yes, or for a countdown that a person can stop
    ACTING = "acting"
    RECOVERED = "recovered"  # the plan is done and verified; watching
    RESOLVED = "resolved"
    FAILED = "failed"
    NOTICE = "notice"  # nothing will be done: notify only, refused, observed; or a plan's own notify step


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to tell. id: ours, unique, the same on every attempt: `<incident id>-<number>`.

    title: one line. text: a few plain sentences. facts: short name/value pairs, in order. Nothing is escaped yet.
    closes: True when nothing more will be said about this incident.
    components: Statuspage component ids concerned, () when none.
    status: of the incident when this was said. calm: the trouble is over, nobody is needed.
    taken_by: who has it in hand, "" for nobody.
    addressed: meant for this notifier by name, not only by the routes.
    standing: how the incident stands, one line. offers: what a person can tell it now. silent: nothing new is said, only standing
    or offers have changed; only for notifiers that keep a message up to date.
    addresses: mail addresses of our own people; customers: of those who hear only what a status page would say.
    """

    id: str
    incident_id: str
    moment: Moment
    severity: Severity
    target: str
    title: str
    text: str
    at: datetime
    facts: tuple[tuple[str, str], ...] = ()
    link: str = ""
    closes: bool = False
    components: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    status: str = ""
    calm: bool = False
    taken_by: str = ""
    addressed: bool = False
    addresses: tuple[str, ...] = ()
    customers: tuple[str, ...] = ()
    standing: str = ""
    offers: tuple[Offer, ...] = ()
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message on its way to one notifier. attempts: tries begun before this one; > 0 means an earlier try may have landed.

    remote: what the notifier remembered about this incident at the service (for example the Statuspage incident id).
    """

    id: int
    to: str
    message: Message
    attempts: int = 0
    remote: Mapping[str, str] = field(default_factory=dict)
