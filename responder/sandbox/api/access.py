"""Who may do what: three tokens, and requests without one."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from responder.sandbox.api.refusals import unauthorized

_READ = frozenset({"get", "list", "watch"})


@dataclass(frozen=True, slots=True)
class User:
    """verbs: what it may do to every resource; None means everything."""

    name: str
    verbs: frozenset[str] | None = None

    def may(self, verb: str) -> bool:
        return self.verbs is None or verb in self.verbs


ADMIN = User("sandbox-admin")
VIEWER = User("sandbox-viewer", _READ)
NOBODY = User("sandbox-nobody", frozenset())


def _token() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Bearer tokens, made anew for every cluster. The viewer reads everything and writes nothing."""

    admin: str = field(default_factory=_token)
    viewer: str = field(default_factory=_token)
    nobody: str = field(default_factory=_token)

    def user(self, authorization: str | None) -> User:
        """Who sends this header. Raises RefusalError (401) for an unknown token.

        Without a header it is the admin: kubectl sends no token over plain HTTP, and the sandbox listens on loopback only.
        """
        if authorization is None:
            return ADMIN
        scheme, _, token = authorization.partition(" ")
        users = {self.admin: ADMIN, self.viewer: VIEWER, self.nobody: NOBODY}
        if scheme.lower() != "bearer" or token not in users:
            raise unauthorized()
        return users[token]
