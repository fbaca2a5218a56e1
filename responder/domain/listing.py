"""What Alertmanagers list when they are asked: the second look at alerts that we know from webhooks only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ListedAlert:
    """An alert that is not over. started_at: cut to milliseconds, other than in webhooks.

    held_back_by: `silence 4711`, `an inhibition`, `mute time nights`; "" when it is active.
    """

    key: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    started_at: datetime
    held_back_by: str = ""

    @property
    def is_active(self) -> bool:
        return not self.held_back_by


@dataclass(frozen=True, slots=True)
class Listing:
    """What the replicas said together: an alert that any of them lists as active is active.

    knows_absence: whether what is not listed is over. False when nobody answered whose word counts for that: a replica has
    forgotten every alert when it starts.
    troubles: why others gave no answer, one each.
    """

    alerts: tuple[ListedAlert, ...] = ()
    knows_absence: bool = False
    troubles: tuple[str, ...] = ()
