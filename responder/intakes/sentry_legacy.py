"""Sentry's legacy WebHooks plugin: one flat body for each event, without headers and without a signature.

The label `resource` is `legacy`. A body that names several alert rules becomes one point event for each, as the newer webhooks
would have delivered them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from responder.intakes.delivery import NO_HEADERS, ParsedDelivery
from responder.intakes.fields import web_link
from responder.intakes.sentry_event import SAMPLE, occurrence, read_event
from responder.intakes.sentry_fields import TEXT_LIMIT, id_of, read_body, required, text_of

MAX_RULES = 20


def parse(body: bytes, received_at: datetime, _headers: Mapping[bytes, bytes] = NO_HEADERS, /) -> ParsedDelivery:
    """Read one delivery. Raises InvalidInputError, with the field, when nothing can be made of it."""
    document = read_body(body)
    event = read_event(required(document, "event", ""))
    if event.is_sample:
        return ParsedDelivery((), ignored=1, notes=(SAMPLE,))
    facts = replace(
        event,
        issue_id=id_of(document.get("id")) or event.issue_id,
        title=event.title or text_of(document.get("message")),
        culprit=text_of(document.get("culprit"), TEXT_LIMIT) or event.culprit,
        message=text_of(document.get("message"), TEXT_LIMIT) or event.message,
        level=text_of(document.get("level")) or event.level,
        project=text_of(document.get("project_slug")) or text_of(document.get("project")) or event.project,
        link=web_link(document.get("url"), event.link),
    )
    named = document.get("triggering_rules")
    rules = list(dict.fromkeys(filter(None, map(text_of, named)))) if type(named) is list else []
    signals = [
        occurrence(facts, resource="legacy", rule=rule, rule_key=f"{facts.project}/{rule}", received_at=received_at)
        for rule in rules[:MAX_RULES] or [""]
    ]
    return ParsedDelivery(tuple(signals), ignored=max(0, len(rules) - MAX_RULES))
