"""The `with` of `command.run` and `command.check`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from responder.actions.parameters import Argument, Duration, JsonPath, JsonScalar, Parameters
from responder.actions.secrets import FromSecret
from responder.actions.templates import is_template
from responder.clients.programs import check_arguments
from responder.clients.ssh import check_host
from responder.errors import InvalidInputError


def _check_program(value: tuple[str, ...]) -> tuple[str, ...]:
    if is_template(value[0]):
        raise ValueError("the program must be written out: a template could let somebody choose what is run")
    try:
        check_arguments(value)
    except InvalidInputError as error:
        raise ValueError(str(error)) from None
    return value


def _list_of_arguments(value: object) -> object:
    if isinstance(value, str):
        raise ValueError("must be a list of arguments, as no shell takes it apart; write for example [pg_dump, --file, x]")  # noqa: TRY004
    return value


def _check_host(value: str) -> str:
    try:
        return check_host(value)
    except InvalidInputError as error:
        raise ValueError(str(error)) from None


def _check_folder(value: str) -> str:
    if is_template(value) or not value.startswith("/") or "\0" in value:
        raise ValueError("must be a folder from the root on, such as /opt/app, and no template")
    return value


def _check_names(value: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in value:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"{name!r} is no name of an environment variable")
    return value


def _check_pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    return value


Pattern = Annotated[str, Field(min_length=1), AfterValidator(_check_pattern)]
Arguments = Annotated[
    tuple[Argument, ...], BeforeValidator(_list_of_arguments), Field(min_length=1), AfterValidator(_check_program)
]
HostName = Annotated[str, AfterValidator(_check_host)]
AbsoluteFolder = Annotated[str, AfterValidator(_check_folder)]


class Expectation(Parameters):
    exit: tuple[int, ...] = Field((0,), min_length=1, description="Good exit codes.")
    stdout_contains: str | None = Field(None, min_length=1, description="Text that its output has.")
    stdout_lacks: Pattern | None = Field(None, description="Regular expression that no line of its output matches anywhere.")
    json_values: Mapping[JsonPath, JsonScalar] = Field(
        {}, alias="json", description="Values that its output, read as JSON, has by path: `checks.0.status: ok`."
    )


class CommandParameters(Parameters):
    """Run a program that may only be looked at: it changes nothing, and it may run again at any time."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    run: Arguments = Field(
        description="Program and arguments. No shell; arguments may hold templates, but none that name labels."
    )
    env: Annotated[Mapping[str, Argument | FromSecret], AfterValidator(_check_names)] = Field(
        {}, description="Its environment, beside PATH, HOME and the like."
    )
    folder: AbsoluteFolder = Field("/", description="Where it runs.")
    stdin: Argument = Field("", description="Its input.")
    host: HostName | None = Field(None, description="`user@host`, over SSH; without it: this machine.")
    expect: Expectation = Field(Expectation(), description="What a good run is like.")
    timeout: Duration | None = Field(None, description="After which it is ended. Default: the step's timeout.")

    def only_looks(self) -> bool:
        return True


class CommandRunParameters(CommandParameters):
    """Run a program that changes something. Begun once: see `idempotent` and `check` for what follows a crash."""

    idempotent: bool = Field(
        False, description="It may simply run again, after a crash or when it did not end in time.", strict=True
    )
    check: Arguments | None = Field(
        None, description="Tells, by exit code 0, that it has been done already; asked after a crash. It must change nothing."
    )
    undo: Arguments | None = Field(
        None, description="Undoes it when the plan fails later. It may run twice, and when only part was done."
    )
    destroys_data: bool = Field(False, description="It destroys data: a backup step and a person's word are demanded.")

    def destroys(self) -> bool:
        return self.destroys_data

    def only_looks(self) -> bool:
        return False
