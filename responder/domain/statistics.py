"""How rollbacks went over a time: how many, how many succeeded, how long they took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from responder.domain.incident import Incident, IncidentStatus


@dataclass(frozen=True, slots=True)
class Statistics:
    """Incidents opened since `since`. rollbacks: those of them that changed something; resolved, failed, others (cancelled, or
    still open) are what became of these. by_target: rollbacks by name of target, most first.

    success_rate: of those that ended resolved or failed; None without any.
    mean_duration: from the first change to verified, of those that came so far; None without any.
    """

    since: datetime
    incidents: int
    rollbacks: int
    resolved: int
    failed: int
    others: int
    success_rate: float | None
    mean_duration: timedelta | None
    by_target: Mapping[str, int]


def summarise(incidents: Iterable[Incident], since: datetime) -> Statistics:
    """Of the incidents opened since then."""
    recent = [one for one in incidents if one.opened_at >= since]
    acted = [one for one in recent if one.acted_at is not None]
    ends = Counter(one.status for one in acted)
    resolved, failed = ends[IncidentStatus.RESOLVED], ends[IncidentStatus.FAILED]
    took = [one.recovered_at - one.acted_at for one in acted if one.recovered_at is not None and one.acted_at is not None]
    return Statistics(
        since=since,
        incidents=len(recent),
        rollbacks=len(acted),
        resolved=resolved,
        failed=failed,
        others=len(acted) - resolved - failed,
        success_rate=resolved / (resolved + failed) if resolved + failed else None,
        mean_duration=sum(took, timedelta(0)) / len(took) if took else None,
        by_target=dict(Counter(one.target for one in acted).most_common()),
    )
