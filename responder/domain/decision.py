"""Decisions of the evaluator. Every one carries its reason."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from responder.domain.reading import NOTHING_SAID, Reading
from responder.domain.rulebook import Response, Severity


class DecisionKind(StrEnum):
    """What the evaluator makes of a signal or a deadline."""

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
    trigger: of the alert shown to people; its labels and annotations are sorted out when somebody looks: most decisions are only
    counted.
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
    trigger: Reading = NOTHING_SAID
    value: float | None = None

    @property
    def trigger_labels(self) -> tuple[tuple[str, str], ...]:
        return tuple(sorted(zip(self.trigger.names, self.trigger.values, strict=True)))

    @property
    def trigger_annotations(self) -> tuple[tuple[str, str], ...]:
        pairs = zip(self.trigger.kept, self.trigger.texts, strict=True)
        return tuple([(name, text) for name, text in pairs if text is not None])

    @property
    def trigger_link(self) -> str:
        return self.trigger.link

    @property
    def identity(self) -> str:
        """Identity of the incident this decision opens: the same for every replay of the same journal."""
        suffix = "|ask" if self.inconclusive else ""
        return f"{self.rule}|{self.group}|{self.episode}{suffix}"
