"""How settings are called in the environment."""

from __future__ import annotations

PREFIX = "RESPONDER_"


def variable_of(name: str) -> str:
    return PREFIX + name.upper()
