"""Who may do what: bearer tokens, their holders and roles. Tokens are kept as digests only."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest
from ipaddress import ip_address

from responder.domain.people import Actor
from responder.ports import Clock
from responder.web.problems import Problem


class Role(StrEnum):
    WEBHOOK = "webhook"
    VIEWER = "viewer"
    RESPONDER = "responder"
    ADMIN = "admin"


SENDERS = frozenset({Role.WEBHOOK})
READERS = frozenset({Role.VIEWER, Role.RESPONDER, Role.ADMIN})
OPERATORS = frozenset({Role.RESPONDER, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})

OPERATOR = "operator"
"""Name of who shows RESPONDER_OPERATOR_TOKEN, an administrator."""

_IMPLIED: Mapping[Role, frozenset[str]] = {
    Role.WEBHOOK: frozenset({"webhook"}),
    Role.VIEWER: frozenset({"viewer"}),
    Role.RESPONDER: frozenset({"responder", "viewer"}),
    Role.ADMIN: frozenset({"admin", "responder", "viewer"}),
}
_WEAKEST_FIRST = tuple(Role)
RESERVED = frozenset({"local", "nobody", OPERATOR, *Role})
"""Names that nobody can have: they mean roles, or those without a name of their own."""

LOCAL = Actor("local", frozenset({OPERATOR, *Role}))
"""Whoever is at this machine, when there are no tokens."""

_CHALLENGE = (("WWW-Authenticate", 'Bearer realm="responder"'),)
_WRONG = (("WWW-Authenticate", 'Bearer realm="responder", error="invalid_token"'),)


@dataclass(frozen=True, slots=True)
class Holder:
    """A person or a tool. digests: SHA-256 of its tokens, () for one that only comes by Slack.

    targets: what its commands may concern, None for everything. expires: from when on its tokens, and it by Slack, are refused.
    slack: its user id there, "" when it has none.
    """

    name: str
    role: Role
    digests: tuple[bytes, ...] = field(default=(), repr=False)
    targets: frozenset[str] | None = None
    expires: datetime | None = None
    slack: str = ""

    @property
    def actor(self) -> Actor:
        words = _IMPLIED[self.role] | ({OPERATOR} if self.name == OPERATOR else set())
        return Actor(self.name, words, self.targets)

    def has(self, digest: bytes) -> bool:
        """Whether it is the digest of one of its tokens. Every one is compared, so that the time taken tells nothing."""
        found = False
        for one in self.digests:
            found |= compare_digest(one, digest)
        return found

    def is_over(self, now: datetime) -> bool:
        return self.expires is not None and now >= self.expires


def digest_of(token: str | bytes) -> bytes:
    """What is kept of a token. One round is enough: ours are 32 bytes of chance, which nobody can try out."""
    return sha256(token.encode() if isinstance(token, str) else token).digest()


def _long_ago() -> datetime:
    return datetime.min.replace(tzinfo=UTC)


class Tokens:
    """The tokens in force: those of the settings, and those of named holders, who can be replaced while it is in use.

    Where nothing says who may come in, the service is bound to loopback and open there (`is_open`).
    """

    def __init__(
        self, fixed: Sequence[Holder] = (), named: Sequence[Holder] = (), *, clock: Clock = _long_ago, is_open: bool = False
    ) -> None:
        self._fixed = tuple(fixed)
        self._named = tuple(named)
        self._clock = clock
        self.is_open = is_open

    def __repr__(self) -> str:
        return f"Tokens({', '.join(sorted(one.name for one in self._holders))})"

    @classmethod
    def of(
        cls,
        *,
        webhook: str | None = None,
        viewer: str | None = None,
        operator: str | None = None,
        named: Sequence[Holder] | None = None,
        clock: Clock | None = None,
    ) -> Tokens:
        """named: None when no file names any; an empty one lets nobody in. clock: needed for tokens that expire."""
        if clock is None and any(one.expires is not None for one in named or ()):
            raise ValueError("tokens that expire need a clock")
        given = (("webhook", Role.WEBHOOK, webhook), ("viewer", Role.VIEWER, viewer), (OPERATOR, Role.ADMIN, operator))
        fixed = [Holder(name, role, (digest_of(token),)) for name, role, token in given if token]
        return cls(fixed, named or (), clock=clock or _long_ago, is_open=not fixed and named is None)

    def name(self, holders: Sequence[Holder]) -> None:
        """These are the named holders from now on."""
        self._named = tuple(holders)

    def admit(self, headers: Mapping[bytes, bytes], roles: frozenset[Role]) -> Actor:
        """Who it is, when the request carries a token of one of the roles. Raises ProblemError otherwise."""
        holder = self.identify(headers, roles)
        if holder is None:
            return LOCAL
        if holder.role not in roles:
            raise forbidden(roles).error()
        return holder.actor

    def identify(self, headers: Mapping[bytes, bytes], roles: frozenset[Role]) -> Holder | None:
        """Whose token the request carries; None for somebody at this machine when there are no tokens. Raises ProblemError (401).

        roles: those of a token that stands for several are preferred that are among them.
        """
        if self.is_open:
            _admit_local(headers)
            return None
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not given:
            raise Problem(401, "a token is needed: Authorization: Bearer <token>", headers=_CHALLENGE).error()
        digest = digest_of(given.strip())
        held = [holder for holder in self._holders if holder.has(digest)]
        if not held:
            raise Problem(401, "this token is not known", headers=_WRONG).error()
        now = self._clock()
        valid = [holder for holder in held if not holder.is_over(now)]
        if not valid:
            raise Problem(401, "this token has expired", headers=_WRONG).error()
        return max(valid, key=lambda holder: (holder.role in roles, _WEAKEST_FIRST.index(holder.role)))

    def takes(self, roles: frozenset[Role]) -> bool:
        """Whether there is any token for one of these roles."""
        return any(holder.role in roles for holder in self._holders)

    def by_slack(self, user: str) -> Holder | None:
        """Who this is at Slack, None for a stranger and for one whose time is over."""
        found = next((holder for holder in self._named if user and holder.slack == user), None)
        return None if found is None or found.is_over(self._clock()) else found

    @property
    def _holders(self) -> tuple[Holder, ...]:
        return (*self._fixed, *self._named)


def forbidden(roles: frozenset[Role]) -> Problem:
    return Problem(403, f"this token may not do that; it takes the token for: {', '.join(sorted(roles))}")


def _admit_local(headers: Mapping[bytes, bytes]) -> None:
    """Without tokens only pages and tools that name this machine may come in: a web site that has its name point at
    127.0.0.1 (DNS rebinding) sends its own name, and one that has a browser post to localhost is named as its origin."""
    if not _names_this_machine(headers.get(b"host", b"localhost")):
        raise Problem(403, "without tokens only requests to localhost are answered", field="Host").error()
    origin = headers.get(b"origin")
    if origin is not None and not _names_this_machine(origin.partition(b"://")[2]):
        raise Problem(403, "without tokens only pages of localhost are answered", field="Origin").error()


@lru_cache(maxsize=64)
def _names_this_machine(given: bytes) -> bool:
    host = given.decode("latin-1").lower()
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def with_bearer(headers: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """Basic authentication, whose password is the token, as if it were a bearer token; the user's name does not matter."""
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"basic":
        return headers
    try:
        _, _, password = b64decode(given.strip(), validate=True).partition(b":")
    except (Base64Error, ValueError):
        password = b""
    return {**headers, b"authorization": b"Bearer " + password}
