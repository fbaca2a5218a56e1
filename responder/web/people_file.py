"""RESPONDER_TOKENS_FILE: named people and tools, what they may do, and the digests of their tokens.

```yaml
- {name: ann, role: responder, token_sha256: 5e88…, slack: U012ABCDEF}
- {name: ci, role: responder, token_sha256: [9f86…, 60303…], targets: [shop], expires: 2026-12-31}
```
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Self

import structlog
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from responder.errors import SettingsError
from responder.rulebook.source import Source, read_source
from responder.web.tokens import RESERVED, Holder, Role, Tokens

_log = structlog.get_logger(__name__)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SLACK = re.compile(r"[UW][A-Z0-9]{2,30}")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("must be letters, digits and . _ @ - only, at most 64")
    if text in RESERVED:
        raise ValueError(f"`{text}` means a role or nobody in particular; take another name")
    return text


def _digest(text: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise ValueError("must be the SHA-256 of a token as 64 small hexadecimal digits; `responder token new` makes both")
    return text


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _slack(text: str) -> str:
    if not _SLACK.fullmatch(text):
        raise ValueError("must be a user id of Slack such as U012ABCDEF (profile, More, Copy member ID), not a name")
    return text


def _moment(value: object) -> datetime:
    """A day lasts until its end, UTC."""
    text = value if isinstance(value, str) else ""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return datetime.combine(date.fromisoformat(text), time(), UTC) + timedelta(days=1)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a day such as 2026-12-31 or a time with its zone such as 2026-12-31T18:00:00Z")


class Person(BaseModel):
    """One entry of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Annotated[str, AfterValidator(_name)]
    role: Role
    token_sha256: Annotated[list[Annotated[str, AfterValidator(_digest)]], BeforeValidator(_as_list)] = []
    targets: Annotated[list[str], Field(min_length=1)] | None = None
    expires: Annotated[datetime, BeforeValidator(_moment)] | None = None
    slack: Annotated[str, AfterValidator(_slack)] | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not self.token_sha256 and not self.slack:
            raise ValueError(f"{self.name} has neither `token_sha256` nor `slack`: nothing tells who it is")
        if self.targets is not None and self.role not in (Role.RESPONDER, Role.ADMIN):
            raise ValueError(f"a {self.role} gives no commands, so `targets` would limit nothing")
        if self.slack and self.role is Role.WEBHOOK:
            raise ValueError("a webhook is no person at Slack")
        return self


def read_people(path: Path) -> tuple[Holder, ...]:
    """Everybody the file names. Raises SettingsError with every problem, one a line: `file:line:column: what`, no values."""
    source, broken = read_source(path)
    problems = [str(one) for one in broken]
    holders: list[Holder] = []
    if source.data is not None or not problems:
        if not isinstance(source.data, list):
            problems.append(_at(source, (), "must be a list of people and tools, each with `name` and `role`"))
        else:
            for number, entry in enumerate(source.data):
                holder = _holder(source, number, entry, problems)
                if holder is not None:
                    holders.append(holder)
    problems += _doubles(source, holders) if not problems else []
    if problems:
        raise SettingsError("\n".join(problems))
    return tuple(holders)


def _holder(source: Source, number: int, entry: object, problems: list[str]) -> Holder | None:
    if isinstance(entry, dict) and "token" in entry:
        problems.append(_at(source, (number, "token"), "tokens are not written down here; `token_sha256` takes a digest"))
        return None
    try:
        person = Person.model_validate(entry)
    except ValidationError as error:
        problems += [_at(source, (number, *path), what) for path, what in told(error)]
        return None
    return Holder(
        person.name,
        person.role,
        tuple(bytes.fromhex(digest) for digest in person.token_sha256),
        frozenset(person.targets) if person.targets is not None else None,
        person.expires,
        person.slack or "",
    )


def _doubles(source: Source, holders: Sequence[Holder]) -> Iterator[str]:
    """One name, token or user of Slack stands for one entry: otherwise nobody could tell who it was."""
    seen: set[object] = set()
    for number, holder in enumerate(holders):
        marks = (("name", holder.name), ("slack", ("slack", holder.slack)), *(("token_sha256", one) for one in holder.digests))
        for key, mark in marks:
            if mark == ("slack", ""):
                continue
            if mark in seen:
                yield _at(source, (number, key), f"this {key} is in the list twice")
            seen.add(mark)


def _at(source: Source, path: Sequence[int | str], what: str) -> str:
    line, column = source.position(path)
    return f"{source.file}:{line}:{column}: {what}"


def told(error: ValidationError) -> list[tuple[tuple[int | str, ...], str]]:
    """What is wrong with an entry, and where in it."""
    return [(one["loc"], _message(one)) for one in error.errors(include_url=False, include_input=False)]


def _message(error: ErrorDetails) -> str:
    name = next((step for step in reversed(error["loc"]) if isinstance(step, str)), "")
    known = {"missing": "is missing", "extra_forbidden": "is not known here"}.get(error["type"])
    if known:
        return f"`{name}` {known}"
    said = error["msg"].removeprefix("Value error, ")
    return f"`{name}`: {said[:1].lower()}{said[1:]}" if name else said


class PeopleFile:
    """Keeps the named holders as the file has them, without a restart. A file that can't be used changes nothing."""

    def __init__(self, path: Path, tokens: Tokens) -> None:
        self._path = path
        self._tokens = tokens
        self._seen = _mark(path)

    def read(self) -> None:
        """Raises SettingsError, and those before stay in force."""
        self._seen = _mark(self._path)
        holders = read_people(self._path)
        self._tokens.name(holders)
        _log.info("tokens_read", holders=len(holders))

    async def look(self) -> None:
        """Read it again if it has changed."""
        if _mark(self._path) == self._seen:
            return
        try:
            self.read()
        except SettingsError as error:
            _log.error("tokens_not_read", problems=str(error).splitlines(), consequence="those before stay in force")


def _mark(path: Path) -> tuple[int, ...]:
    """Changes whenever the file does; links are followed, as Kubernetes swaps them."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size
