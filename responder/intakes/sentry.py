"""Sentry's webhooks (Integration Platform). What a body is about stands only in the header `Sentry-Hook-Resource`.

- `event_alert` and `error` are point events: they say that something happened and never that it is over.
- `metric_alert` and `issue` fire and are resolved; the episode is the incident's `date_started`, the issue's `firstSeen`, or for
  an issue that came back its `lastSeen`.
- Sample events never act. Everything else (installations, comments, what Sentry invents next) is acknowledged and ignored.

Keys begin with the resource, because ids of issues and of alert rules are numbers of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from responder.domain.signal import Signal, SignalStatus
from responder.errors import InvalidInputError
from responder.intakes.delivery import NO_HEADERS, ParsedDelivery
from responder.intakes.fields import web_link
from responder.intakes.numbers import annotate
from responder.intakes.sentry_event import SAMPLE, occurrence, read_event
from responder.intakes.sentry_fields import (
    SOURCE,
    TEXT_LIMIT,
    Object,
    filled,
    id_of,
    optional,
    read_body,
    required,
    text_of,
    time_of,
)
from responder.intakes.sentry_prose import read_value

_RESOURCE = b"sentry-hook-resource"
_DELIVERY = b"idempotency-key"
_METRIC = {
    "critical": SignalStatus.FIRING,
    "warning": SignalStatus.FIRING,
    "open": SignalStatus.FIRING,
    "resolved": SignalStatus.RESOLVED,
}
_ISSUE = {
    "created": SignalStatus.FIRING,
    "unresolved": SignalStatus.FIRING,
    "resolved": SignalStatus.RESOLVED,
    "ignored": SignalStatus.RESOLVED,
    "archived": SignalStatus.RESOLVED,
}


def parse(body: bytes, received_at: datetime, headers: Mapping[bytes, bytes] = NO_HEADERS, /) -> ParsedDelivery:
    """Read one delivery. Raises InvalidInputError, with the field, when nothing can be made of it."""
    resource = headers.get(_RESOURCE, b"").decode("latin-1")
    if not resource:
        raise InvalidInputError("missing: it says what the body is about", field="Sentry-Hook-Resource")
    read = _RESOURCES.get(resource)
    if read is None:
        return _ignored(f"resource {resource[:40]!r} is not used")
    document = read_body(body)
    delivery_id = text_of(headers.get(_DELIVERY, b"").decode("latin-1"))
    found = read(text_of(document.get("action")), required(document, "data", ""), received_at, delivery_id)
    return _ignored(found) if isinstance(found, str) else ParsedDelivery((found,))


def _ignored(why: str) -> ParsedDelivery:
    return ParsedDelivery((), ignored=1, notes=(why,))


def _not_used(resource: str, action: str) -> str:
    return f"{resource}: action {action[:40]!r} is not used"


# One reader for each resource: action, `data`, time of arrival and id of the delivery to a signal, or why there is none.


def _event_alert(action: str, data: Object, received_at: datetime, delivery_id: str) -> Signal | str:
    if action not in ("triggered", ""):
        return _not_used("event_alert", action)
    facts = read_event(required(data, "event", "data"))
    if facts.is_sample:
        return SAMPLE
    issue_alert = optional(data, "issue_alert")
    rule = text_of(data.get("triggered_rule")) or text_of(issue_alert.get("title"))
    return occurrence(
        facts,
        resource="event_alert",
        rule=rule,
        rule_key=id_of(issue_alert.get("id")) or rule,
        received_at=received_at,
        delivery_id=delivery_id,
    )


def _error(action: str, data: Object, received_at: datetime, delivery_id: str) -> Signal | str:
    if action != "created":
        return _not_used("error", action)
    facts = read_event(required(data, "error", "data"))
    if facts.is_sample:
        return SAMPLE
    return occurrence(facts, resource="error", rule="", rule_key="", received_at=received_at, delivery_id=delivery_id)


def _metric_alert(action: str, data: Object, received_at: datetime, delivery_id: str) -> Signal | str:
    alert = required(data, "metric_alert", "data")
    status = _METRIC.get(action)
    if status is None:
        return _not_used("metric_alert", action)
    rule = optional(alert, "alert_rule")
    rule_id = id_of(rule.get("id"))
    if not rule_id:
        raise InvalidInputError("missing: it says which alert rule this is", field="data.metric_alert.alert_rule.id")
    title, text = text_of(data.get("description_title")), text_of(data.get("description_text"), TEXT_LIMIT)
    value = read_value(text)
    annotations = filled(summary=title, description=text)
    annotate(annotations, value)
    projects = alert.get("projects")
    started_at = time_of(alert.get("date_started"))
    return Signal(
        source=SOURCE,
        key=f"metric_alert/{rule_id}",
        status=status,
        labels={
            "source": SOURCE,
            **filled(
                alertname=text_of(rule.get("name")) or text_of(alert.get("title")) or title,
                resource="metric_alert",
                project=",".join(filter(None, map(text_of, projects))) if type(projects) is list else "",
                environment=text_of(rule.get("environment")),
                level=action if status is SignalStatus.FIRING else "",
            ),
        },
        annotations=annotations,
        started_at=started_at,
        ended_at=_end(status, alert.get("date_closed"), started_at, received_at),
        received_at=received_at,
        value=value,
        link=web_link(data.get("web_url")),
        id=delivery_id,
    )


def _issue(action: str, data: Object, received_at: datetime, delivery_id: str) -> Signal | str:
    issue = required(data, "issue", "data")
    status = _ISSUE.get(action)
    if status is None:
        return _not_used("issue", action)
    issue_id = id_of(issue.get("id"))
    if not issue_id:
        raise InvalidInputError("missing: it says which issue this is", field="data.issue.id")
    title = text_of(issue.get("title"))
    return Signal(
        source=SOURCE,
        key=f"issue/{issue_id}",
        status=status,
        labels={
            "source": SOURCE,
            **filled(
                alertname=title,
                resource="issue",
                project=text_of(optional(issue, "project").get("slug")),
                level=text_of(issue.get("level")),
                issue=text_of(issue.get("shortId")),
                substatus=text_of(issue.get("substatus")),
                priority=text_of(issue.get("priority")),
            ),
        },
        annotations=filled(
            summary=title,
            culprit=text_of(issue.get("culprit"), TEXT_LIMIT),
            count=id_of(issue.get("count")),
            user_count=id_of(issue.get("userCount")),
        ),
        started_at=_issue_start(action, issue),
        ended_at=None,
        received_at=received_at,
        link=web_link(issue.get("web_url"), issue.get("permalink")),
        id=delivery_id,
    )


def _issue_start(action: str, issue: Object) -> datetime | None:
    """An end names no episode: it ends the one that lasts."""
    if action == "created":
        return time_of(issue.get("firstSeen"))
    return time_of(issue.get("lastSeen")) if action == "unresolved" else None


def _end(status: SignalStatus, closed: object, started_at: datetime | None, received_at: datetime) -> datetime | None:
    """The end when it is believable; Sentry often leaves it out."""
    ended_at = time_of(closed) if status is SignalStatus.RESOLVED else None
    if ended_at is None or ended_at > received_at or (started_at is not None and ended_at < started_at):
        return None
    return ended_at


_Read = Callable[[str, Object, datetime, str], Signal | str]
_RESOURCES: Mapping[str, _Read] = {
    "event_alert": _event_alert,
    "error": _error,
    "metric_alert": _metric_alert,
    "issue": _issue,
}
