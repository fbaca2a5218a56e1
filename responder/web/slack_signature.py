"""Whether a request really comes from Slack, just now and for the first time."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from responder.web.problems import Problem, ProblemError

WITHIN = timedelta(minutes=5)
_CHALLENGE = (("WWW-Authenticate", 'Signature realm="responder"'),)


class SlackSignature:
    """Checks `X-Slack-Signature` over the raw form, in constant time, and remembers what it let in for as long as that would fit.

    secret: None when Slack is not taken.
    """

    def __init__(self, secret: bytes | None) -> None:
        self._secret = secret
        self._seen: dict[str, datetime] = {}

    def check(self, headers: Mapping[bytes, bytes], raw: bytes, now: datetime) -> str:
        """The signature, which names this request. Raises ProblemError (401)."""
        if self._secret is None:
            raise _refused("Slack is not taken: RESPONDER_SLACK_SIGNING_SECRET is not set")
        given, stamp = headers.get(b"x-slack-signature", b""), headers.get(b"x-slack-request-timestamp", b"")
        digest = hmac.new(self._secret, b"v0:" + stamp + b":" + raw, "sha256").hexdigest()
        if not hmac.compare_digest(b"v0=" + digest.encode(), given):
            raise _refused("does not fit: is RESPONDER_SLACK_SIGNING_SECRET this app's?")
        if not stamp.isdigit() or len(stamp) > 11:
            raise _refused("its time is no time")
        if abs(now - datetime.fromtimestamp(int(stamp), UTC)) > WITHIN:
            raise _refused("its time is more than 5 minutes away from ours: an old request, or a wrong clock")
        self._remember(digest, now)
        return digest

    def _remember(self, digest: str, now: datetime) -> None:
        if digest in self._seen:
            raise _refused("this request came before")
        if len(self._seen) >= 1000:
            self._seen = {known: until for known, until in self._seen.items() if until > now}
        self._seen[digest] = now + 2 * WITHIN  # a clock ahead of ours by the most there may be


def _refused(detail: str) -> ProblemError:
    return Problem(401, detail, field="X-Slack-Signature", headers=_CHALLENGE).error()
