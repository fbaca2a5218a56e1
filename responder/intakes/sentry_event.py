"""An event (one error as it happened) as Sentry describes it in alerts, errors and the legacy plugin, to a point event."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from responder.domain.signal import Signal, SignalStatus
from responder.intakes.fields import web_link
from responder.intakes.sentry_fields import SOURCE, TEXT_LIMIT, Object, filled, id_of, optional, text_of, time_of

SAMPLE = "a sample event, sent to try the integration: it never acts"
MAX_TAGS = 100

_PROJECT = re.compile(r"/api/0/projects/(?P<organization>[^/]+)/(?P<project>[^/]+)/")
_ISSUE = re.compile(r"/issues/(?P<issue>[0-9]+)")
_NO_LABEL = re.compile(r"[^A-Za-z0-9_]")


@dataclass(frozen=True, slots=True)
class EventFacts:
    """What an event says. "" and None where it does not.

    tags: by their names in Sentry. is_sample: made up by Sentry, by a test or for a new project.
    """

    event_id: str
    issue_id: str
    title: str
    culprit: str
    message: str
    level: str
    environment: str
    release: str
    organization: str
    project: str
    project_id: str
    at: datetime | None
    link: str
    tags: dict[str, str]

    @property
    def is_sample(self) -> bool:
        return "sample_event" in self.tags


def read_event(event: Object) -> EventFacts:
    tags = _tags(event.get("tags"))
    url, issue_url = text_of(event.get("url"), TEXT_LIMIT), text_of(event.get("issue_url"), TEXT_LIMIT)
    project, issue = _PROJECT.search(url), _ISSUE.search(issue_url)
    metadata = optional(event, "metadata")
    return EventFacts(
        event_id=id_of(event.get("event_id")),
        issue_id=id_of(event.get("issue_id")) or (issue["issue"] if issue else ""),
        title=text_of(event.get("title")) or text_of(metadata.get("title")) or text_of(metadata.get("type")),
        culprit=text_of(event.get("culprit"), TEXT_LIMIT),
        message=text_of(event.get("message"), TEXT_LIMIT) or text_of(metadata.get("value"), TEXT_LIMIT),
        level=text_of(event.get("level")) or tags.get("level", ""),
        environment=text_of(event.get("environment")) or tags.get("environment", ""),
        release=text_of(event.get("release")) or tags.get("release", ""),
        organization=project["organization"] if project else "",
        project=project["project"] if project else "",
        project_id=id_of(event.get("project")),
        at=time_of(event.get("datetime")) or time_of(event.get("timestamp")),
        link=web_link(event.get("web_url"), issue_url),
        tags=tags,
    )


def occurrence(
    facts: EventFacts, *, resource: str, rule: str, rule_key: str, received_at: datetime, delivery_id: str = ""
) -> Signal:
    """The point event. rule: name of the alert rule, "" without one. rule_key: what tells the rules of an issue apart.

    delivery_id: names the delivery when the event has no id of its own.
    """
    labels = _tag_labels(facts.tags) | filled(
        alertname=rule or facts.title,
        resource=resource,
        project=facts.project,
        project_id=facts.project_id,
        organization=facts.organization,
        environment=facts.environment,
        release=facts.release,
        level=facts.level,
    )
    labels["source"] = SOURCE
    return Signal(
        source=SOURCE,
        key=f"{resource}/{facts.issue_id or facts.event_id}/{rule_key}",
        status=SignalStatus.OCCURRED,
        labels=labels,
        annotations=filled(summary=facts.title, description=facts.message, culprit=facts.culprit),
        started_at=facts.at,
        ended_at=None,
        received_at=received_at,
        link=facts.link,
        id=f"{resource}/{facts.event_id}/{rule_key}" if facts.event_id else delivery_id,
    )


def _tags(value: object) -> dict[str, str]:
    """Tags are a list of `[name, value]` pairs; in some places objects with `key` and `value`."""
    found: dict[str, str] = {}
    for tag in value if type(value) is list else ():
        if type(tag) is list and len(tag) == 2:
            name, text = tag
        elif type(tag) is dict:
            name, text = tag.get("key"), tag.get("value")
        else:
            continue
        name = text_of(name).removeprefix("sentry:")
        if name and name not in found:
            found[name] = text_of(text)
    return found


def _tag_labels(tags: dict[str, str]) -> dict[str, str]:
    """`browser.name` becomes the label `tag_browser_name`: tags are set by the program, so they can't pose as other labels."""
    return {f"tag_{_NO_LABEL.sub('_', name)}": text for name, text in list(tags.items())[:MAX_TAGS] if text}
