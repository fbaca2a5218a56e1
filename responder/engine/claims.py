"""Single flight: which incident acts on which target."""

from __future__ import annotations


class Claims:
    """Kept in memory, where taking is one step: one brain leads all open incidents, and first claims what they have pinned.

    An incident's own target is its alone anyway; this is about plans that roll back another one.
    """

    def __init__(self) -> None:
        self._holders: dict[str, str] = {}

    def take(self, target: str, incident_id: str) -> str:
        """Claim the target unless another incident has. Returns that incident's id, "" when it is now ours."""
        holder = self._holders.setdefault(target, incident_id)
        return "" if holder == incident_id else holder

    def holder(self, target: str) -> str:
        """The incident that has claimed the target, "" for none."""
        return self._holders.get(target, "")

    def let_go(self, incident_id: str) -> None:
        """Everything that this incident holds."""
        for target in [target for target, holder in self._holders.items() if holder == incident_id]:
            del self._holders[target]
