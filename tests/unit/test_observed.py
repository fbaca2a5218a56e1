"""Observe mode, looked back upon: what would have been done, how it turned out, what was lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from responder.domain.incident import Incident, IncidentStatus
from responder.domain.observed import ASSUMED, Ending, estimate_for, look_back
from responder.domain.rulebook import ApprovalTerms, Severity
from responder.domain.target import Mode, Target, WorkloadRef
from responder.domain.version import LedgerEntry, Pin
from tests.unit.web_parts import BAD, GOOD

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SHOP = Target("shop", WorkloadRef("shop", "shop"), (), Mode.OBSERVE)
PIN = Pin("shop", "uid", BAD, GOOD)


def at(minute: float) -> datetime:
    return NOON + minute * MINUTE


def seen(**changes: Any) -> Incident:
    known = Incident("inc_1", "e|shop|1", "shop", "errors", "", Severity.P1, IncidentStatus.OBSERVED, "observed", NOON)
    return replace(known, **{"pins": {"shop": PIN}, "closed_at": NOON, **changes})


def done(target: str, minutes: float) -> Incident:
    """A rollback that took so long."""
    return seen(
        id=f"inc_{target}{minutes}", target=target, status=IncidentStatus.RESOLVED, acted_at=NOON, recovered_at=at(minutes)
    )


def deployed(minute: float, fingerprint: str = "ee" * 32, version: str = "v43") -> LedgerEntry:
    return LedgerEntry(SHOP.key, fingerprint, version, "9", at(minute))


@pytest.mark.parametrize(
    ("changes", "ledger", "ending", "saved", "how"),
    [
        pytest.param({"calm_at": at(45)}, (), Ending.CLEARED, 42, "cleared by itself after 45m", id="it cleared by itself"),
        pytest.param({"calm_at": at(2)}, (), Ending.CLEARED, 0, "cleared by itself after 2m", id="before a rollback could help"),
        pytest.param(
            {"calm_at": at(45)},
            (deployed(30),),
            Ending.DEPLOYED,
            42,
            "people deployed v43 after 30m; over after 45m",
            id="people deployed a fix",
        ),
        pytest.param(
            {"calm_at": at(45)},
            (deployed(40, GOOD.fingerprint, "v41"),),
            Ending.ROLLED_BACK,
            42,
            "people went back to v41 after 40m; over after 45m",
            id="people did by hand what Responder would have done",
        ),
        pytest.param({"calm_at": at(45)}, (deployed(-5), deployed(60)), Ending.CLEARED, 42, "by itself", id="before, after"),
        pytest.param({}, (), Ending.GOES_ON, 0, "nobody saw", id="it goes on, as far as is known"),
        pytest.param({"calm_at": at(45), "grace": 10 * MINUTE}, (), Ending.CLEARED, 32, "by itself", id="a countdown costs time"),
        pytest.param({"calm_at": at(45), "declined": True}, (), Ending.CLEARED, 0, "by itself", id="guards would have refused"),
    ],
)
def test_how_it_turned_out_and_what_was_lost(
    changes: dict[str, Any], ledger: tuple[LedgerEntry, ...], ending: Ending, saved: float, how: str
) -> None:
    [target] = look_back({"shop": SHOP}, [seen(**changes)], {"shop": ledger}, at(-1))
    [one] = target.incidents
    assert (one.ending, one.saved, target.saved) == (ending, saved * MINUTE, saved * MINUTE)
    assert how in one.how
    assert target.acted == (0 if changes.get("declined") else 1)
    assert target.in_vain == (1 if changes.get("calm_at") == at(2) else 0)


def test_only_what_was_observed_on_this_target_since_then_counts() -> None:
    others = [
        seen(id="inc_2", opened_at=at(-60)),
        seen(id="inc_3", target="other"),
        seen(id="inc_4", status=IncidentStatus.REFUSED),
    ]
    [target] = look_back({"shop": SHOP, "calm": replace(SHOP, name="calm")}, [seen(), *others], {}, at(-1))
    assert [one.incident.id for one in target.incidents] == ["inc_1"]


@pytest.mark.parametrize(
    ("rollbacks", "minutes", "basis"),
    [
        pytest.param([], ASSUMED / MINUTE, "assumed", id="nobody was ever rolled back"),
        pytest.param([("other", 7)], 7, "1 rollback of other targets", id="only others were"),
        pytest.param(
            [("other", 7), ("shop", 2), ("shop", 4), ("shop", 30)], 4, "3 rollbacks of this target", id="its own median"
        ),
    ],
)
def test_what_the_estimate_is_taken_from(rollbacks: list[tuple[str, float]], minutes: float, basis: str) -> None:
    estimate = estimate_for("shop", [done(*one) for one in rollbacks])
    assert estimate.takes == minutes * MINUTE
    assert basis in estimate.basis


@pytest.mark.parametrize(
    ("changes", "would"),
    [
        pytest.param({}, "from v42", id="from and to"),
        pytest.param({"asks": ApprovalTerms(30 * MINUTE)}, "after asking (30m)", id="after a person's yes"),
        pytest.param({"grace": 5 * MINUTE}, "after a countdown of 5m", id="after a countdown"),
        pytest.param({"declined": True, "reason": "too old"}, "refused: too old", id="refused"),
    ],
)
def test_what_it_would_have_done(changes: dict[str, Any], would: str) -> None:
    [target] = look_back({"shop": SHOP}, [seen(**changes)], {}, at(-1))
    assert would in target.incidents[0].would
