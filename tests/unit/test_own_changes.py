"""What a run's own steps made of a target is not taken for somebody else's deployment."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from responder.actions.kubernetes import rollouts
from responder.domain.incident import Phase, StepRecord
from responder.domain.own_changes import MADE, as_found, made_by, note_of, starting_from
from responder.domain.version import Pin, RolloutPhase, RolloutStatus, Version, WorkloadState
from tests.harness.databases import NOW, incident

V1, V2, FLAG_OFF, OTHER = (Version(name, str(number), f"f{number}", f"d{number}") for number, name in enumerate("1234", 1))
PIN = Pin("app", "uid", V2, V1)


def state(current: Version) -> WorkloadState:
    history = (current, *(one for one in (FLAG_OFF, V2, V1) if one != current))
    return WorkloadState("uid", 7, current, history, RolloutStatus(RolloutPhase.COMPLETE, ""), NOW)


def run_that_made(version: Version, target: str = "app") -> dict[str, str]:
    record = StepRecord("flag", "kubernetes.set_env", Phase.STEPS, intent={"stage": "rollout", MADE: note_of(target, version)})
    plain = StepRecord("other", "http.check", Phase.STEPS, intent={"stage": "write"})
    return dict(made_by(incident(steps=(record, plain, StepRecord("later", "rollback", Phase.STEPS))), "app"))


def test_what_the_run_made_is_looked_through() -> None:
    made = run_that_made(FLAG_OFF)
    assert made == {"d3": "f3"}
    found = as_found(state(FLAG_OFF), PIN, made)
    assert (found.current, found.history) == (replace(V2, current=True), (replace(V2, current=True), V1))
    assert starting_from(PIN, state(FLAG_OFF), made) == replace(PIN, from_version=FLAG_OFF)


def test_what_somebody_else_made_is_not() -> None:
    made = run_that_made(FLAG_OFF)
    assert as_found(state(OTHER), PIN, made) == state(OTHER)
    assert starting_from(PIN, state(OTHER), made) == PIN


def test_another_targets_change_and_no_pin_change_nothing() -> None:
    assert run_that_made(FLAG_OFF, target="workers") == {}
    assert as_found(state(FLAG_OFF), None, run_that_made(FLAG_OFF)) == state(FLAG_OFF)
    assert as_found(state(V2), PIN, run_that_made(V2)) == state(V2), "a pause leaves the template as it was"


@pytest.mark.parametrize(
    ("generation", "noted"),
    [
        pytest.param(7, True, id="right after the change"),
        pytest.param(8, False, id="somebody changed it since: that is theirs"),
        pytest.param(6, False, id="the change is not there"),
    ],
)
async def test_a_step_calls_its_own_only_what_it_made_itself(generation: int, noted: bool) -> None:
    found = replace(state(FLAG_OFF), generation=generation)

    class Workload:
        async def read(self) -> WorkloadState:
            return found

    context = SimpleNamespace(workload_of=lambda _: Workload())
    made = await rollouts._made("app", {"generation": 6}, context)  # type: ignore[arg-type]
    assert made == ({MADE: note_of("app", found.current)} if noted else {})
