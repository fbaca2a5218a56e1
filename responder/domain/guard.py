"""Verdicts of guards: checks just before acting. The guards themselves are in `guards`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What a guard says about acting now."""

    PASS = "pass"  # noqa: S105 (not a password)
    REFUSE = "refuse"
    UNKNOWN = "unknown"  # refuses too
    WARN = "warn"  # passes, and people are told


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one guard says. reason: one sentence with the facts it saw."""

    guard: str
    outcome: Outcome
    reason: str

    @property
    def passes(self) -> bool:
        return self.outcome in (Outcome.PASS, Outcome.WARN)
