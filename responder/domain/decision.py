"""Decisions of the evaluator. Every one carries its reason."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from responder.domain.rulebook import Response, Severity


class DecisionKind(StrEnum):
    IGNORE = "ignore"
    WAIT = "wait"
    SUPPRESS = "suppress"
    RESPOND = "respond"
    CLEAR = "clear"  # a group that was pending or firing is calm again


class Decision(NamedTuple):
    """What to do about one group of one rule.

    A tuple: the evaluator makes one for every signal, and a frozen dataclass of so many fields takes five times as long to make.

    rule: "" when no rule matched. group: canonical text of the group, see `rule_state.group_text`.
    target: name of the declared target, "" when the signal speaks of none.
    episode: `<key>@<startsAt>` of the alert that opened the group; with rule and group it is the incident's identity.
    began_at: when the trouble began (bounded startsAt), None for IGNORE.
    due_at: for WAIT, when the rule's `for` runs out.
    response: for RESPOND; NOTIFY with `inconclusive` means that a number was missing: ask, never act.
    trigger_*: the labels, annotations and link of the alert shown to people.
    """

    kind: DecisionKind
    at: datetime
    reason: str
    rule: str = ""
    group: str = ""
    target: str = ""
    episode: str = ""
    began_at: datetime | None = None
    due_at: datetime | None = None
    severity: Severity = Severity.P3
    response: Response = Response.NOTIFY
    inconclusive: bool = False
    trigger_labels: tuple[tuple[str, str], ...] = ()
    trigger_annotations: tuple[tuple[str, str], ...] = ()
    trigger_link: str = ""
    value: float | None = None

    @property
    def identity(self) -> str:
        """Identity of the incident this decision opens: the same for every replay of the same journal."""
        suffix = "|ask" if self.inconclusive else ""
        return f"{self.rule}|{self.group}|{self.episode}{suffix}"
