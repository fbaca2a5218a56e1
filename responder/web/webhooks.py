"""The addresses that webhooks come to: which intake reads them, who may send, and how."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from starlette.types import ASGIApp, Receive, Scope, Send

from responder.intakes import INTAKES
from responder.web.admission import by_grafana_signature, by_path, by_sentry_signature, by_token, is_secret
from responder.web.intake import IntakeEndpoint
from responder.web.problems import Problem
from responder.web.protocol import WholeEndpoint
from responder.web.services import WebServices

LEGACY_PREFIX = "/webhooks/sentry/legacy/"
# Sentry gives up after one second, the way there and back included, and does not come again: answer in time, whatever it is.
SENTRY_WITHIN = timedelta(milliseconds=700)


class Webhooks:
    """Finds the endpoint of a path."""

    def __init__(self, services: WebServices) -> None:
        token, secrets = by_token(services.tokens), services.sender_secrets
        endpoints = {
            "alertmanager": IntakeEndpoint("alertmanager", INTAKES["alertmanager"], services, token),
            "events": IntakeEndpoint("events", INTAKES["events"], services, token),
            "grafana": IntakeEndpoint(
                "grafana",
                INTAKES["grafana"],
                services,
                by_grafana_signature(secrets.grafana, services.tokens),
                methods=("POST", "PUT"),
            ),
            "sentry": IntakeEndpoint(
                "sentry", INTAKES["sentry"], services, by_sentry_signature(secrets.sentry), answer_within=SENTRY_WITHIN
            ),
        }
        # For the server, which hands over whole requests without the detour through ASGI.
        self.short_cuts: Mapping[bytes, WholeEndpoint] = {f"/webhooks/{name}".encode(): one for name, one in endpoints.items()}
        self._by_path: dict[str, ASGIApp] = {f"/webhooks/{name}": endpoint for name, endpoint in endpoints.items()}
        self._legacy = _LegacyPath(
            secrets.sentry_legacy, IntakeEndpoint("sentry_legacy", INTAKES["sentry_legacy"], services, by_path())
        )

    def at(self, path: str) -> ASGIApp | None:
        found = self._by_path.get(path)
        if found is None and path.startswith(LEGACY_PREFIX):
            return self._legacy
        return found


class _LegacyPath:
    """`/webhooks/sentry/legacy/<token>`. The path is a secret: it goes into no log and no answer."""

    def __init__(self, secret: bytes | None, endpoint: IntakeEndpoint) -> None:
        self._secret = secret
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = scope["path"].removeprefix(LEGACY_PREFIX)
        if self._secret is None or not is_secret(given, self._secret):
            await self._endpoint.refuse(Problem(404, "there is nothing at this address"), send)
        else:
            await self._endpoint(scope, receive, send)
