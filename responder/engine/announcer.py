"""What a change of an incident has people told: messages for the outbox, one for each notifier that a route leads to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from responder.domain.announcement import announce, recipients
from responder.domain.incident import Incident
from responder.domain.notification import Moment
from responder.domain.offer import offers_of, standing_of
from responder.domain.people import Hold
from responder.domain.rulebook import Rulebook
from responder.ports import Clock, OutboxEntry


class Tell(NamedTuple):
    """A message to go out with a change. to: only that notifier; None means every route. extra: for that notifier alone.

    addresses: for mail, instead of those of its routes. contacts: shown with the facts.
    silent: says nothing, and goes only to notifiers that keep a message up to date.
    """

    moment: Moment
    text: str
    title: str = ""
    to: str | None = None
    closes: bool | None = None
    extra: Mapping[str, str] = MappingProxyType({})
    addresses: tuple[str, ...] = ()
    contacts: tuple[str, ...] = ()
    silent: bool = False


REFRESH = Tell(Moment.NOTICE, "", silent=True)
"""Says nothing new: what is kept up to date shows how things are now."""


class Announcer:
    """configured: names of the notifiers that can be told. live: of those that keep a message up to date.

    link_to: URL of an incident's report, "" when there is no public address. hold: the kill switch as it stands.
    """

    def __init__(
        self,
        *,
        rulebook: Callable[[], Rulebook],
        clock: Clock,
        configured: Collection[str],
        link_to: Callable[[str], str],
        live: Collection[str] = (),
        hold: Callable[[], Hold] = Hold,
    ) -> None:
        self._rulebook = rulebook
        self._clock = clock
        self._configured = configured
        self._link_to = link_to
        self._live = live
        self._hold = hold

    @property
    def keeps_up_to_date(self) -> bool:
        """Whether any notifier does."""
        return bool(self._live)

    def of_change(self, known: Incident, edited: Incident, tell: Sequence[Tell]) -> tuple[Incident, list[OutboxEntry]]:
        """What is to be told, and, where that goes not to everybody, what shows how things are now."""
        if not any(one.to is None for one in tell) and self._looks_different(known, edited):
            tell = [*tell, REFRESH]
        return self.entries(edited, tell)

    def entries(self, incident: Incident, tell: Sequence[Tell]) -> tuple[Incident, list[OutboxEntry]]:
        """The incident, which counts its messages, and what goes into the outbox."""
        entries: list[OutboxEntry] = []
        for one in tell:
            incident, message = announce(
                incident,
                one.moment,
                one.text,
                self._clock(),
                title=one.title,
                link=self._link_to(incident.id),
                closes=one.closes,
                extra=one.extra,
                addresses=one.addresses,
                contacts=one.contacts,
                hold=self._hold(),
                silent=one.silent,
            )
            told = recipients(self._rulebook().routes, message, self._configured, one.to)
            entries.extend(OutboxEntry(to, dressed) for to, dressed in told if not one.silent or to in self._live)
        return incident, entries

    def _looks_different(self, known: Incident, edited: Incident) -> bool:
        """Whether a message that is kept up to date would show something else now."""
        if not self.keeps_up_to_date:
            return False
        now, held = self._clock(), self._hold().held
        before, after = ((standing_of(one, now), offers_of(one, held=held)) for one in (known, edited))
        return before != after
