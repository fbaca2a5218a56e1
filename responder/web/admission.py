"""How a sender of webhooks proves who it is: a token, a signature over the raw body, or a secret path."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from responder.web.problems import Problem, ProblemError
from responder.web.tokens import SENDERS, Tokens, with_bearer

Headers = Mapping[bytes, bytes]

SENTRY_SIGNATURE = b"sentry-hook-signature"
GRAFANA_SIGNATURE = b"x-grafana-alerting-signature"
# Grafana lets people choose the name, so both of those that its documentation uses are looked at.
GRAFANA_TIMESTAMPS = (b"x-grafana-alerting-signature-timestamp", b"x-grafana-alerting-timestamp")
TIMESTAMP_WITHIN = timedelta(minutes=5)
"""How far a signed time may be from ours, in both directions."""

_CHALLENGE = (("WWW-Authenticate", 'Signature realm="responder"'),)


@dataclass(frozen=True, slots=True)
class SenderSecrets:
    """What senders sign with, and the secret end of the legacy plugin's address. None: that sender is not taken."""

    sentry: bytes | None = field(default=None, repr=False)
    grafana: bytes | None = field(default=None, repr=False)
    sentry_legacy: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Admission:
    """Both return when the request may go on, and raise ProblemError otherwise.

    headers: asked before the body is read. body: asked with the raw body and the time it arrived; None when nothing is signed.
    """

    headers: Callable[[Headers], None]
    body: Callable[[Headers, bytes, datetime], None] | None = None


def by_token(tokens: Tokens) -> Admission:
    def headers(given: Headers) -> None:
        tokens.admit(given, SENDERS)

    return Admission(headers)


def by_path() -> Admission:
    """Whoever found the address may come in."""
    return Admission(lambda _headers: None)


def by_sentry_signature(secret: bytes | None) -> Admission:
    """`Sentry-Hook-Signature`. Its timestamp header is not signed, so it proves nothing: repeats are told by their ids."""

    def headers(given: Headers) -> None:
        if secret is None:
            raise _refused("Sentry is not taken: RESPONDER_SENTRY_CLIENT_SECRET is not set")
        if not given.get(SENTRY_SIGNATURE):
            raise _refused("missing: only signed deliveries are taken", "Sentry-Hook-Signature")

    def body(given: Headers, raw: bytes, _now: datetime) -> None:
        if not _is_signed(secret or b"", given[SENTRY_SIGNATURE], raw):
            raise _refused(
                "does not fit the body: is RESPONDER_SENTRY_CLIENT_SECRET this integration's?", "Sentry-Hook-Signature"
            )

    return Admission(headers, body)


def by_grafana_signature(secret: bytes | None, tokens: Tokens) -> Admission:
    """A signature when a secret is set and the request has one; else the webhook token, as bearer or as basic password."""

    def headers(given: Headers) -> None:
        if secret is None:
            tokens.admit(with_bearer(given), SENDERS)
        elif GRAFANA_SIGNATURE not in given:
            if not tokens.takes(SENDERS):
                raise _refused("missing: only signed deliveries are taken", "X-Grafana-Alerting-Signature")
            tokens.admit(with_bearer(given), SENDERS)

    def body(given: Headers, raw: bytes, now: datetime) -> None:
        signature = given.get(GRAFANA_SIGNATURE)
        if secret is None or signature is None:
            return
        stamp = next((given[name] for name in GRAFANA_TIMESTAMPS if name in given), None)
        if stamp is None:
            if not _is_signed(secret, signature, raw):
                raise _refused("does not fit the body: is RESPONDER_GRAFANA_SECRET its secret?", "X-Grafana-Alerting-Signature")
            return
        if not _is_signed(secret, signature, stamp + b":", raw):
            raise _refused("does not fit time and body: is RESPONDER_GRAFANA_SECRET its secret?", "X-Grafana-Alerting-Signature")
        if not _is_near(stamp, now):
            raise _refused("the signed time is more than 5 minutes away from ours: an old delivery, or a wrong clock")

    return Admission(headers, body)


def is_secret(given: str, secret: bytes) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret)


def _is_signed(secret: bytes, signature: bytes, *parts: bytes) -> bool:
    """Whether this is the HMAC-SHA256 of the parts, in small hexadecimal letters; compared in constant time."""
    digest = hmac.new(secret, digestmod="sha256")
    for part in parts:
        digest.update(part)
    return hmac.compare_digest(digest.hexdigest().encode(), signature)


def _is_near(stamp: bytes, now: datetime) -> bool:
    if not stamp.isdigit() or len(stamp) > 11:
        return False
    return abs(now - datetime.fromtimestamp(int(stamp), UTC)) <= TIMESTAMP_WITHIN


def _refused(detail: str, header: str | None = None) -> ProblemError:
    return Problem(401, detail, field=header, headers=_CHALLENGE).error()
