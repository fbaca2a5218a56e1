"""Observe mode, looked back upon: what Responder would have done, how it turned out without it, and what that cost. Pure.

How the saving is estimated: an observed incident would have recovered at its opening, plus its countdown, plus how long rollbacks
of this target took from the first write to verified (the median; of all targets when it had none; three minutes when nobody had
any). An approval is taken to be given at once. Saved is the time from then until the alert was really over; of what still goes
on, and of what would have been refused, nothing is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median_low

from responder.domain.incident import Incident, IncidentStatus
from responder.domain.selection import describe
from responder.domain.target import Target
from responder.domain.version import LedgerEntry, Pin
from responder.domain.wording import spell_duration

ASSUMED = timedelta(minutes=3)


class Ending(StrEnum):
    """How it ended without Responder."""

    CLEARED = "cleared"  # nothing was deployed meanwhile
    ROLLED_BACK = "rolled_back"  # people went back to the version that Responder would have chosen
    DEPLOYED = "deployed"  # people deployed something else
    GOES_ON = "goes_on"  # nobody saw it end


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a rollback takes. basis: what that is taken from."""

    takes: timedelta
    basis: str


@dataclass(frozen=True, slots=True)
class Observed:
    """would: what Responder would have done, in words. acts: False when its guards would have refused.

    ended_at: when the alert was over, None when nobody saw that. saved: how much earlier it would have been over; 0 when it was
    over before a rollback could have helped.
    """

    incident: Incident
    would: str
    acts: bool
    ending: Ending
    how: str
    ended_at: datetime | None
    recovered_at: datetime
    saved: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class ObservedTarget:
    """incidents: newest first. saved: of all of them together."""

    target: Target
    estimate: Estimate
    incidents: tuple[Observed, ...]

    @property
    def saved(self) -> timedelta:
        return sum((one.saved for one in self.incidents), timedelta(0))

    @property
    def acted(self) -> int:
        return sum(one.acts for one in self.incidents)

    @property
    def in_vain(self) -> int:
        """Those that were over before a rollback could have helped."""
        return sum(one.acts and one.ended_at is not None and not one.saved for one in self.incidents)


def look_back(
    targets: Mapping[str, Target],
    incidents: Sequence[Incident],
    ledgers: Mapping[str, Sequence[LedgerEntry]],
    since: datetime,
) -> list[ObservedTarget]:
    """incidents: of all kinds: rollbacks that were done are what the estimate is taken from. ledgers: by name of the target."""
    found = []
    for name, target in targets.items():
        mine = [
            one for one in incidents if one.target == name and one.status is IncidentStatus.OBSERVED and one.opened_at >= since
        ]
        if mine:
            estimate = estimate_for(name, incidents)
            newest_first = sorted(mine, key=lambda one: one.opened_at, reverse=True)
            seen = tuple(_seen(one, estimate, ledgers.get(name, ())) for one in newest_first)
            found.append(ObservedTarget(target, estimate, seen))
    return found


def estimate_for(target: str, incidents: Iterable[Incident]) -> Estimate:
    """From rollbacks that were done and verified."""
    took = [
        (one.target, one.recovered_at - one.acted_at)
        for one in incidents
        if one.acted_at is not None and one.recovered_at is not None
    ]
    own = [length for name, length in took if name == target]
    if own:
        return Estimate(median_low(own), f"median of {_rollbacks(own)} of this target")
    if took:
        lengths = [length for _, length in took]
        return Estimate(median_low(lengths), f"median of {_rollbacks(lengths)} of other targets")
    return Estimate(ASSUMED, "assumed: no rollback was done yet")


def _rollbacks(lengths: Sequence[timedelta]) -> str:
    return "1 rollback" if len(lengths) == 1 else f"{len(lengths)} rollbacks"


def _seen(incident: Incident, estimate: Estimate, ledger: Sequence[LedgerEntry]) -> Observed:
    recovered_at = incident.opened_at + incident.grace + estimate.takes
    ended_at, acts = incident.calm_at, not incident.declined
    ending, how = _ending(incident, ledger)
    saved = max(timedelta(0), ended_at - recovered_at) if ended_at is not None and acts else timedelta(0)
    return Observed(incident, _would(incident), acts, ending, how, ended_at, recovered_at, saved)


def _would(incident: Incident) -> str:
    if incident.declined:
        return f"refused: {incident.reason}"
    pin = incident.pins.get(incident.target)
    did = f"from {describe(pin.from_version)} to {describe(pin.to_version)}" if pin else f"the plan {_plan(incident)}"
    before = f", after asking ({spell_duration(incident.asks.within)})" if incident.asks is not None else ""
    before += f", after a countdown of {spell_duration(incident.grace)}" if incident.grace else ""
    return did + before


def _plan(incident: Incident) -> str:
    return incident.plan.name if incident.plan is not None else ""


def _ending(incident: Incident, ledger: Sequence[LedgerEntry]) -> tuple[Ending, str]:
    ended_at = incident.calm_at
    if ended_at is None:
        return Ending.GOES_ON, "nobody saw the alert end"
    lasted = spell_duration(_whole(ended_at - incident.opened_at))
    deployed = _deployed(incident.pins.get(incident.target), ledger, incident.opened_at, ended_at)
    if deployed is None:
        return Ending.CLEARED, f"cleared by itself after {lasted}"
    entry, is_same = deployed
    after = spell_duration(_whole((entry.rolled_out_at or ended_at) - incident.opened_at))
    if is_same:
        return Ending.ROLLED_BACK, f"people went back to {entry.version} after {after}; over after {lasted}"
    return Ending.DEPLOYED, f"people deployed {entry.version} after {after}; over after {lasted}"


def _deployed(
    pin: Pin | None, ledger: Sequence[LedgerEntry], opened_at: datetime, ended_at: datetime
) -> tuple[LedgerEntry, bool] | None:
    """The last version that was rolled out between the two, and whether it is the one that would have been gone back to."""
    between = [one for one in ledger if one.rolled_out_at is not None and opened_at <= one.rolled_out_at <= ended_at]
    if not between:
        return None
    last = max(between, key=lambda one: one.rolled_out_at or opened_at)
    return last, pin is not None and last.fingerprint == pin.to_version.fingerprint


def _whole(length: timedelta) -> timedelta:
    return timedelta(seconds=int(length.total_seconds()))
