"""What people say to the service besides answers to an incident: suppressions, the hold, and the record of who did what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from responder.domain.incident import Word
from responder.domain.matcher import Matcher, all_match


@dataclass(frozen=True, slots=True)
class Actor:
    """Who gives a command. name: of the token's owner. roles: words that a rule's `approve: {by: …}` may name as well.

    targets: names of those that the commands may concern, None for all.
    """

    name: str
    roles: frozenset[str] = frozenset()
    targets: frozenset[str] | None = None

    def is_among(self, names: tuple[str, ...]) -> bool:
        """Whether this one is meant by a list of people and roles; () means everybody."""
        return not names or self.name in names or bool(self.roles & set(names))

    def beyond(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of these targets that are not this one's; "" is what is no declared target, and only without a limit allowed."""
        return () if self.targets is None else tuple(dict.fromkeys(name for name in names if name not in self.targets))


@dataclass(frozen=True, slots=True)
class Suppression:
    """While one matches, its alerts are decided and recorded, but nobody acts and nobody is told.

    ended: somebody ended it before its time, or (by "") its time ran out. warned: people were told that it ends soon.
    """

    id: str
    matchers: tuple[Matcher, ...]
    until: datetime
    reason: str
    by: str
    created_at: datetime
    ended: Word | None = None
    warned: bool = False

    def is_active(self, now: datetime) -> bool:
        return self.ended is None and now < self.until

    def covers(self, labels: Mapping[str, str]) -> bool:
        return all_match(self.matchers, labels)


@dataclass(frozen=True, slots=True)
class Hold:
    """The global kill switch: while it is held, nothing is begun. at: when it was last turned, None for never."""

    held: bool = False
    reason: str = ""
    by: str = ""
    at: datetime | None = None

    def __str__(self) -> str:
        return f"on hold by {self.by}: {self.reason}"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that somebody did or tried. action: `approve`, `rollback`, `hold`, … subject: id or name of what it was about.

    outcome: `done`, `refused` (it did not apply, or a guard said no) or `denied` (they may not).
    """

    at: datetime
    by: str
    action: str
    subject: str
    outcome: str
    text: str
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What a command with an Idempotency-Key was answered. digest: of the command; another one under the same key is refused."""

    digest: str
    status: int
    body: bytes
