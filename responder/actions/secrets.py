"""Secrets that a rulebook may name, never hold: `from_secret: NAME` is the value of `RESPONDER_SECRET_<NAME>` (or `…_FILE`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from responder.actions.parameters import Parameters
from responder.errors import RefusedError


class FromSecret(Parameters):
    """A value that is set where Responder runs, and never shown."""

    from_secret: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="NAME of the variable `RESPONDER_SECRET_<NAME>`.")
    prefix: str = Field("", description="Put before it, for a header such as `Bearer `.")

    def value(self, secrets: Mapping[str, str]) -> str:
        """secrets: by lower-case name. Raises RefusedError when it is not set."""
        try:
            return self.prefix + secrets[self.from_secret.lower()]
        except KeyError:
            name = self.from_secret.upper()
            raise RefusedError(f"there is no secret {name}; set RESPONDER_SECRET_{name} (or …_FILE)") from None
