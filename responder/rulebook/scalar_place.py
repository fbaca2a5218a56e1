"""Words that name places outside the cluster: hosts, folders, projects, commands.

They end up as arguments of programs, so none may begin like an option or leave the folder it is meant for.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema


def _pattern(pattern: str, rule: str) -> AfterValidator:
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(f"{value!r} {rule}")
        return value

    return AfterValidator(check)


def _schema(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^({pattern})$"})


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _check_path(value: str) -> str:
    if not value or value.startswith("-") or not value.isprintable():
        raise ValueError(f"{value!r} is not a path")
    if ".." in value.split("/"):
        raise ValueError(f"{value!r} leaves its folder; write the path without `..`")
    return value


def _check_folder(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"{value!r} must be a whole path, beginning with `/`")
    return _check_path(value).rstrip("/") or "/"


def _check_arguments(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or not value[0] or value[0].startswith("-"):
        raise ValueError("must be a command as a list of arguments; write for example [npm, ci]")
    if any("\0" in argument for argument in value):
        raise ValueError("an argument can't hold a NUL character")
    return value


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("must name at least one")
    return value


FilePath = Annotated[str, AfterValidator(_check_path)]
Folder = Annotated[str, AfterValidator(_check_folder), WithJsonSchema({"type": "string", "pattern": "^/"})]
Arguments = Annotated[tuple[str, ...], AfterValidator(_check_arguments)]

_HOST = r"([A-Za-z_][A-Za-z0-9_.-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?"
Host = Annotated[str, _pattern(_HOST, "is not a host; write `user@host`, `host`, each with or without `:port`"), _schema(_HOST)]
_PROJECT = r"[a-z0-9][a-z0-9_-]*"
ProjectName = Annotated[
    str, _pattern(_PROJECT, "is not a Compose project; use lower case letters, digits, `-` and `_`"), _schema(_PROJECT)
]
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
ImageTag = Annotated[str, _pattern(_TAG, "is not an image tag; use letters, digits, `_`, `.` and `-`"), _schema(_TAG)]
_RELEASE = r"[a-z0-9]([a-z0-9.-]{0,51}[a-z0-9])?"
_RELEASE_RULE = "can't be the name of a Helm release; at most 53 lower case letters, digits, `-`, `.`"
ReleaseName = Annotated[str, _pattern(_RELEASE, _RELEASE_RULE), _schema(_RELEASE)]
_SERVICE = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_PROCESS = r"[A-Za-z0-9][A-Za-z0-9_.@:-]*"
_Service = Annotated[str, _pattern(_SERVICE, "is not a Compose service; use letters, digits, `_`, `.` and `-`")]
_Process = Annotated[str, _pattern(_PROCESS, "is not a process; use letters, digits, `_`, `.`, `@`, `:` and `-`")]


def _words(pattern: str) -> WithJsonSchema:
    item = {"type": "string", "pattern": f"^({pattern})$"}
    return WithJsonSchema({"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]})


ServiceNames = Annotated[tuple[_Service, ...], BeforeValidator(_as_list), AfterValidator(_some), _words(_SERVICE)]
ProcessNames = Annotated[tuple[_Process, ...], BeforeValidator(_as_list), AfterValidator(_some), _words(_PROCESS)]
