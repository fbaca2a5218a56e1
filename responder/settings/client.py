"""The settings of the operator commands."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from responder.settings.values import HttpUrl, Token


class ClientSettings(BaseModel):
    """What operator commands read: where the service is, and the token to show it."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    url: HttpUrl = "http://127.0.0.1:8080"
    token: Token | None = None
