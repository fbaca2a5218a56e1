"""One module per sender: request bytes to signals. Nothing is stored or decided here."""

from __future__ import annotations

from collections.abc import Mapping

from responder.intakes import alertmanager, events, grafana, sentry, sentry_legacy
from responder.intakes.delivery import Parse

# Name of the intake → how to read a body. All but the legacy one are reached at `/webhooks/<name>`.
INTAKES: Mapping[str, Parse] = {
    "alertmanager": alertmanager.parse,
    "grafana": grafana.parse,
    "events": events.parse,
    "sentry": sentry.parse,
    "sentry_legacy": sentry_legacy.parse,
}
