"""What is said at each moment of an incident, in plain words. Pure: notifiers only dress it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from responder.domain.incident import Incident, IncidentStatus
from responder.domain.notification import Message, Moment
from responder.domain.offer import offers_of, standing_of
from responder.domain.people import Hold
from responder.domain.rulebook import Route
from responder.domain.selection import describe

_TITLES = {
    Moment.OPENED: "{rule} on {target}",
    Moment.WAITING: "{rule} on {target}: your word counts",
    Moment.ACTING: "Rolling back {target}",
    Moment.RECOVERED: "{target} rolled back",
    Moment.RESOLVED: "{target} is healthy again",
    Moment.FAILED: "Rollback of {target} failed: a person is needed",
    Moment.NOTICE: "{rule} on {target}",
}
_CLOSING = frozenset({Moment.RESOLVED, Moment.FAILED})


def announce(
    incident: Incident,
    moment: Moment,
    text: str,
    now: datetime,
    *,
    title: str = "",
    link: str = "",
    closes: bool | None = None,
    extra: Mapping[str, str] | None = None,
    addresses: tuple[str, ...] = (),
    contacts: tuple[str, ...] = (),
    hold: Hold | None = None,
    silent: bool = False,
) -> tuple[Incident, Message]:
    """The next message of this incident, and the incident with that message counted. hold: None when nobody can hold."""
    number = incident.message_count + 1
    target = incident.target or "no target"
    message = Message(
        id=f"{incident.id}-{number}",
        incident_id=incident.id,
        moment=moment,
        severity=incident.severity,
        target=incident.target,
        title=title or _TITLES[moment].format(rule=incident.rule, target=target),
        text=text,
        at=now,
        facts=(*_facts(incident), *(("Contact", contact) for contact in contacts)),
        link=link,
        closes=moment in _CLOSING if closes is None else closes,
        extra=dict(extra or {}),
        status=incident.status.value,
        calm=moment is Moment.RESOLVED or (bool(closes) and _ended_by_itself(incident)),
        taken_by=incident.acknowledged.by if incident.acknowledged is not None else "",
        addresses=addresses,
        standing=standing_of(incident, now, hold=str(hold) if hold is not None and hold.held else ""),
        offers=offers_of(incident, held=hold is not None and hold.held),
        silent=silent,
    )
    return replace(incident, message_count=number), message


def _ended_by_itself(incident: Incident) -> bool:
    """The alert cleared before anything was done, and nobody stopped it."""
    return incident.status is IncidentStatus.CANCELLED and incident.cancel is None


def _facts(incident: Incident) -> Iterable[tuple[str, str]]:
    yield "Incident", incident.id
    yield "Severity", incident.severity.value
    if incident.target:
        yield "Target", incident.target
    if incident.workload:
        yield "Workload", incident.workload
    yield "Rule", incident.rule
    pin = incident.pins.get(incident.target)
    if pin is not None:
        yield "From", describe(pin.from_version)
        yield "To", describe(pin.to_version)
    summary = incident.trigger_annotations.get("summary")
    if summary:
        yield "Alert", summary


def recipients(
    routes: Iterable[Route], message: Message, configured: Collection[str], only: str | None = None
) -> list[tuple[str, Message]]:
    """Who gets this message: each configured notifier once, with the components for the target and the addresses of its routes.

    A message about no target goes to the routes of all. What is addressed already goes there and nowhere else. What is for one
    notifier by name is not for customers.
    """
    chosen: dict[str, Message] = {}
    for route in routes:
        if route.to not in configured or message.severity not in route.severities or (only is not None and route.to != only):
            continue
        if route.targets and message.target and message.target not in route.targets:
            continue
        component = route.components.get(message.target)
        known = chosen.get(route.to, message)
        if component is not None and component not in known.components:
            known = replace(known, components=(*known.components, component))
        if not message.addresses:
            known = replace(
                known,
                addresses=tuple(dict.fromkeys((*known.addresses, *route.addresses))),
                customers=tuple(dict.fromkeys((*known.customers, *route.customers))),
            )
        chosen[route.to] = known
    if only is not None and only in configured:
        chosen[only] = replace(chosen.get(only, message), addressed=True, customers=())
    return list(chosen.items())
