"""Bodies as Sentry writes them: compact, ASCII-escaped, nearly every field nullable."""

from __future__ import annotations

import json

EVENT_ID = "5a1f0c2e9b7d4e6f8a3b2c1d0e9f8a7b"


def without_missing(fields: dict[str, object]) -> dict[str, object]:
    """`...` as a value takes the field away; None stays null."""
    return {name: value for name, value in fields.items() if value is not ...}


def event(**changes: object) -> dict[str, object]:
    whole: dict[str, object] = {
        "event_id": EVENT_ID,
        "project": 4711,
        "release": "shop@1.42.0",
        "dist": None,
        "platform": "python",
        "level": "error",
        "logger": "",
        "message": "",
        "culprit": "shop.views in checkout",
        "title": "KeyError: 'price'",
        "metadata": {"type": "KeyError", "value": "'price'", "filename": "shop/views.py"},
        "datetime": "2026-03-01T11:58:00.250000Z",
        "timestamp": 1772366280.25,
        "environment": "production",
        "issue_id": "901",
        "issue_url": "https://sentry.example/api/0/organizations/acme/issues/901/",
        "url": f"https://sentry.example/api/0/projects/acme/shop-backend/events/{EVENT_ID}/",
        "web_url": f"https://sentry.example/organizations/acme/issues/901/events/{EVENT_ID}/",
        "tags": [["level", "error"], ["server.name", "web-1"], ["sentry:release", "shop@1.42.0"]],
        "exception": {"values": [{"type": "KeyError"}]},
        "contexts": {},
    }
    return without_missing(whole | changes)


def event_alert(rule: object = "Too many KeyErrors", **changes: object) -> dict[str, object]:
    data = {"event": event(**changes), "triggered_rule": rule, "issue_alert": {"id": 12, "title": rule, "settings": []}}
    return envelope("triggered", data)


def metric_alert(action: str = "critical", alert: object = None, rule: object = None, **data: object) -> dict[str, object]:
    """alert, rule: changes to `metric_alert` and to its `alert_rule`."""
    alert_rule: dict[str, object] = {
        "id": "7",
        "name": "Error rate",
        "environment": "production",
        "aggregate": "count()",
        "query": "level:error",
        "dataset": "events",
        "time_window": 10,
        "threshold_type": 0,
        "triggers": [],
    }
    metric: dict[str, object] = {
        "id": "31",
        "identifier": "5",
        "projects": ["shop-backend"],
        "status": 20,
        "title": "Error rate",
        "date_started": "2026-03-01T11:55:00.000000Z",
        "date_detected": "2026-03-01T11:56:00.000000Z",
        "date_created": "2026-03-01T11:56:00.000000Z",
        "date_closed": None,
        "alert_rule": without_missing(alert_rule | (rule if isinstance(rule, dict) else {})),
    }
    whole: dict[str, object] = {
        "metric_alert": without_missing(metric | (alert if isinstance(alert, dict) else {})),
        "description_title": "Critical: Error rate",
        "description_text": "1000 events in the last 10 minutes\nFilter: level:error",
        "web_url": "https://sentry.example/organizations/acme/alerts/rules/details/7/?alert=5",
    }
    return envelope(action, without_missing(whole | data))


def issue(action: str = "created", **changes: object) -> dict[str, object]:
    whole: dict[str, object] = {
        "id": "901",
        "shortId": "SHOP-BACKEND-1K",
        "title": "KeyError: 'price'",
        "culprit": None,
        "level": "error",
        "status": "unresolved",
        "substatus": "new",
        "statusDetails": {},
        "priority": "high",
        "project": {"id": "4711", "name": "Shop", "slug": "shop-backend", "platform": "python"},
        "count": "17",
        "userCount": 3,
        "firstSeen": "2026-03-01T11:50:00Z",
        "lastSeen": "2026-03-01T11:59:00Z",
        "permalink": None,
        "web_url": "https://sentry.example/organizations/acme/issues/901/",
    }
    return envelope(action, {"issue": without_missing(whole | changes)})


def legacy(rules: object = ("Too many KeyErrors",), event_changes: object = None, **changes: object) -> dict[str, object]:
    inner = event(**{"url": ..., "web_url": ..., "issue_url": ..., "issue_id": ..., "project": 4711, "datetime": ...})
    whole: dict[str, object] = {
        "id": "901",
        "project": "shop-backend",
        "project_name": "Shop",
        "project_slug": "shop-backend",
        "logger": None,
        "level": "error",
        "culprit": None,
        "message": "",
        "url": "https://sentry.example/organizations/acme/issues/901/?referrer=webhooks_plugin",
        "triggering_rules": list(rules) if isinstance(rules, tuple) else rules,
        "event": without_missing(inner | (event_changes if isinstance(event_changes, dict) else {})),
    }
    return without_missing(whole | changes)


def envelope(action: object, data: object) -> dict[str, object]:
    actor = {"type": "application", "id": "sentry", "name": "Sentry"}
    return {"action": action, "installation": {"uuid": "a8e5d37a"}, "data": data, "actor": actor}


def body(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
