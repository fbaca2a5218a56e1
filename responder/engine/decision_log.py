"""The latest decisions about each group, for people who ask why. In memory, bounded; incidents keep their own story for good."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from responder.domain.decision import Decision, DecisionKind

PER_GROUP = 5
GROUPS_LIMIT = 2_000


class DecisionLog:
    """Of decisions to ignore only the latest is kept, and only until something happens."""

    def __init__(self) -> None:
        # Tuples: an empty deque alone takes more than half a KiB.
        self._groups: OrderedDict[tuple[str, str], tuple[Decision, ...]] = OrderedDict()

    def note(self, decision: Decision) -> None:
        if not decision.rule:
            return
        key = (decision.rule, decision.group)
        kept = self._groups.pop(key, ())
        if kept and kept[-1].kind is DecisionKind.IGNORE:
            kept = kept[:-1]
        self._groups[key] = (*kept, decision)[-PER_GROUP:]
        if len(self._groups) > GROUPS_LIMIT:
            self._groups.popitem(last=False)

    def keep_only(self, rules: Collection[str]) -> None:
        """Forget rules that are not in force any more."""
        for key in [key for key in self._groups if key[0] not in rules]:
            del self._groups[key]

    def by_rule(self) -> dict[str, dict[str, list[Decision]]]:
        """Rule → group → its latest decisions, newest first; groups in the order of their newest decision."""
        found: dict[str, dict[str, list[Decision]]] = {}
        for (rule, group), kept in self._groups.items():
            found.setdefault(rule, {})[group] = list(reversed(kept))
        return found
