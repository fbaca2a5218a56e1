"""Who may do what: bearer tokens and their roles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from hmac import compare_digest
from ipaddress import ip_address

from responder.domain.people import Actor
from responder.web.problems import Problem


class Role(StrEnum):
    WEBHOOK = "webhook"
    VIEWER = "viewer"
    OPERATOR = "operator"


SENDERS = frozenset({Role.WEBHOOK})
READERS = frozenset({Role.VIEWER, Role.OPERATOR})
OPERATORS = frozenset({Role.OPERATOR})

_LOCAL = Actor("local", frozenset(role.value for role in Role))
"""Whoever is at this machine, when there are no tokens."""

_CHALLENGE = (("WWW-Authenticate", 'Bearer realm="responder"'),)
_WRONG = (("WWW-Authenticate", 'Bearer realm="responder", error="invalid_token"'),)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens in force. Without any, the service is bound to loopback and open there."""

    by_role: Mapping[Role, bytes]

    def __repr__(self) -> str:
        return f"Tokens({', '.join(sorted(self.by_role))})"

    @classmethod
    def of(cls, *, webhook: str | None = None, viewer: str | None = None, operator: str | None = None) -> Tokens:
        given = {Role.WEBHOOK: webhook, Role.VIEWER: viewer, Role.OPERATOR: operator}
        return cls({role: token.encode() for role, token in given.items() if token})

    def admit(self, headers: Mapping[bytes, bytes], roles: frozenset[Role]) -> Actor:
        """Who it is, when the request carries a token of one of the roles. Raises ProblemError otherwise."""
        if not self.by_role:
            _admit_local(headers)
            return _LOCAL
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not given:
            raise Problem(401, "a token is needed: Authorization: Bearer <token>", headers=_CHALLENGE).error()
        given = given.strip()
        # Every token is compared, so that the time taken tells nothing.
        held = {role for role, token in self.by_role.items() if compare_digest(token, given)}
        if not held:
            raise Problem(401, "this token is not known", headers=_WRONG).error()
        if not held & roles:
            raise Problem(403, f"this token may not do that; it takes the token for: {', '.join(sorted(roles))}").error()
        return Actor(min(held & roles).value, frozenset(role.value for role in held))


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
