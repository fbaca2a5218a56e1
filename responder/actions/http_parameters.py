"""The `with` of `http.check` and `http.request`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, model_validator

from responder.actions.parameters import Argument, Duration, Header, JsonPath, JsonScalar, Parameters, Statuses, Url
from responder.actions.secrets import FromSecret
from responder.actions.templates import check_argument, is_template

MOST_REQUESTS = 1000


def _check_header_names(value: Mapping[str, Header | FromSecret]) -> Mapping[str, Header | FromSecret]:
    for name in value:
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            raise ValueError(f"{name!r} is no name of a header")
    return value


def secret_in(value: JsonValue) -> FromSecret | None:
    """The secret that stands in for a value of a body, as `{from_secret: NAME}`; None for any other value."""
    return FromSecret.model_validate(value) if isinstance(value, dict) and "from_secret" in value else None


def _check_body(value: JsonValue) -> JsonValue:
    """Templates may stand in values only."""
    secret_in(value)
    if isinstance(value, str):
        return check_argument(value)
    if isinstance(value, list):
        return [_check_body(item) for item in value]
    if isinstance(value, dict):
        if any(is_template(name) for name in value):
            raise ValueError("templates may stand in values, not in names")
        return {name: _check_body(item) for name, item in value.items()}
    return value


Headers = Annotated[Mapping[str, Header | FromSecret], AfterValidator(_check_header_names)]
Body = Annotated[JsonValue, AfterValidator(_check_body)]


class BasicAuth(FromSecret):
    """User and password."""

    user: str = Field(min_length=1, pattern=r"^[^:\x00-\x1f]+$")


class Asking(Parameters):
    """Who is asked, and as whom."""

    url: Url = Field(description="Never a template.")
    headers: Headers = Field({}, description="Sent along, never shown: text, or `{from_secret: NAME, prefix: 'Bearer '}`.")
    auth: BasicAuth | None = Field(None, description="HTTP basic authentication: `{user: admin, from_secret: NAME}`.")


class HttpCheckParameters(Asking):
    """Probe an address until it has answered well several times in a row. Redirects are not followed."""

    method: Literal["GET", "HEAD", "POST"] = "GET"
    status: Statuses = Field(200, description="Good statuses: 200, 2xx, 200-299 or a list.")
    body_contains: Argument | None = Field(None, min_length=1, description="Text that a good answer has in its first 1 MiB.")
    json_values: Mapping[JsonPath, JsonScalar] = Field(
        {}, alias="json", description="Values that a good answer's JSON has, by path: `checks.0.status: ok`."
    )
    requests: int = Field(
        1, ge=1, le=MOST_REQUESTS, strict=True, description="Requests of one probe, one after the other; all must be good."
    )
    mean_below: Duration | None = Field(None, description="The mean time of a probe's requests must be below this.")
    p95_below: Duration | None = Field(None, description="95 of 100 of a probe's requests must be faster than this.")
    successes: int | None = Field(
        None, ge=1, le=1000, strict=True, description="Good probes in a row that are needed. Default: 3; with `requests`, 1."
    )
    failures: int | None = Field(
        None, ge=1, strict=True, description="Bad probes in a row that end the attempt. Default: probe until the step's timeout."
    )
    every: Duration = Field(timedelta(seconds=5), description="Pause between two probes.")
    timeout: Duration = Field(timedelta(seconds=5), description="For one request.")

    @model_validator(mode="after")
    def _enough_requests(self) -> Self:
        if self.p95_below is not None and self.requests < 20:
            raise ValueError("p95_below needs `requests: 20` or more, or there is no 95th of a hundred")
        if self.mean_below is not None and self.requests < 2:
            raise ValueError("mean_below needs `requests: 2` or more")
        return self

    @property
    def good_probes(self) -> int:
        """How many in a row are needed."""
        return self.successes or (3 if self.requests == 1 else 1)

    def only_looks(self) -> bool:
        return True


class HttpExpectation(Parameters):
    """What a good answer is like."""

    status: Statuses = Field("2xx", description="Good statuses: 200, 2xx, 200-299 or a list.")
    body_contains: str | None = Field(None, min_length=1, description="Text that it has in its first 1 MiB.")
    json_values: Mapping[JsonPath, JsonScalar] = Field({}, alias="json", description="Values that its JSON has, by path.")


class HttpDone(Parameters):
    """A GET that tells whether the request has been carried out already."""

    url: Url
    expect: HttpExpectation = HttpExpectation()


class HttpUndo(Parameters):
    """The request that undoes another."""

    method: Literal["POST", "PUT", "PATCH", "DELETE"] = "POST"
    url: Url
    json_body: Body = Field(None, alias="json")


class HttpRequestParameters(Asking):
    """Send one request that changes something. Sent once: see `safe` and `check` for what follows a crash or a lost answer."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    json_body: Body = Field(
        None,
        alias="json",
        description="Sent as JSON. Values may be templates, none that name labels, or `{from_secret: NAME}`.",
    )
    body: Argument | None = Field(None, description="Sent as text, instead of `json`.")
    expect: HttpExpectation = Field(HttpExpectation(), description="What a good answer is like.")
    timeout: Duration = Field(timedelta(seconds=30), description="For the whole request.")
    safe: bool = Field(False, strict=True, description="It may simply be sent again. GET always may.")
    check: HttpDone | None = Field(
        None, description="A GET that tells whether it has been carried out; asked before sending again."
    )
    undo: HttpUndo | None = Field(
        None, description="Sent, with the same headers, when the plan fails later. It may be sent twice."
    )

    destroys_data: bool = Field(False, description="It destroys data: a backup step and a person's word are demanded.")

    def destroys(self) -> bool:
        return self.destroys_data

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.body is not None and self.json_body is not None:
            raise ValueError("has both `json` and `body`; keep one")
        return self

    def only_looks(self) -> bool:
        return self.method == "GET"
