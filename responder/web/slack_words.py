"""What people type after `/responder`, in the form of the bodies that the same commands have over HTTP."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from responder.web.problems import Problem, ProblemError

USAGE = """\
status [TARGET]
rollback TARGET [--to VERSION] [--plan NAME] REASON
suppress TARGET or MATCHER… DURATION REASON
suppress end ID
hold [on REASON | off]"""
# Keyboards make these of what people type.
_STRAIGHT = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "–": "--", "—": "--", "\u00a0": " "})  # noqa: RUF001
_WORD = re.compile(r'(?:[^\s"]|"(?:[^"\\]|\\.)*")+')
_DURATION = re.compile(r"(?:\d+(?:ms|[smhdw]))+")
_MATCHER = re.compile(r"[A-Za-z_]\w*(?:=~|!~|!=|=)")


@dataclass(frozen=True, slots=True)
class Spoken:
    """name: of the command. body: as the API takes it. subject: the target or id it is about, "" for none."""

    name: str
    subject: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)


def read_words(text: str) -> Spoken:
    """Raises ProblemError that says how it is written."""
    words = _WORD.findall(html.unescape(text).translate(_STRAIGHT))
    name, rest = (words[0].lower(), words[1:]) if words else ("status", [])
    match name:
        case "status":
            return Spoken("status", rest[0] if rest else "")
        case "help":
            return Spoken("help")
        case "rollback":
            return _rollback(rest)
        case "suppress":
            return _suppress(rest)
        case "hold":
            return _hold(rest)
        case _:
            raise _usage(f"there is no command {name[:40]}")


def _rollback(words: list[str]) -> Spoken:
    body: dict[str, Any] = {}
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in ("--to", "--plan"):
            body["version" if word == "--to" else "plan"] = next(rest, "")
        else:
            kept.append(word)
    if len(kept) < 2 or any(not value for value in body.values()):
        raise _usage("say the target and why")
    return Spoken("rollback", kept[0], {"target": kept[0], "reason": " ".join(kept[1:]), **body})


def _suppress(words: list[str]) -> Spoken:
    if len(words) == 2 and words[0] == "end":
        return Spoken("end_suppression", words[1])
    at = next((place for place, word in enumerate(words) if _DURATION.fullmatch(word)), 0)
    if at == 0 or at == len(words) - 1:
        raise _usage("say what, how long and why")
    matchers = [word if _MATCHER.match(word) else f'target="{word}"' for word in words[:at]]
    body = {"matchers": matchers, "duration": words[at], "reason": " ".join(words[at + 1 :])}
    return Spoken("suppress", " ".join(words[:at]), body)


def _hold(words: list[str]) -> Spoken:
    if not words:
        return Spoken("held")
    if words[0].lower() not in ("on", "off"):
        raise _usage("it is on or off")
    held = words[0].lower() == "on"
    if held and len(words) == 1:
        raise _usage("say why")
    return Spoken("hold", "hold", {"held": held, "reason": " ".join(words[1:])})


def _usage(what: str) -> ProblemError:
    return Problem(400, f"{what}. It is written:\n{USAGE}").error()
