"""Applications of Argo CD, against a played Argo CD: it can't be run here."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from responder.clients.argocd import ArgoCdClient
from responder.clients.http import new_client
from responder.domain.target import ArgoCdRef, Target
from responder.domain.version import Owner, Pin, RolloutPhase
from responder.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError, PermanentError, RefusedError
from responder.targets.argocd import KEPT_SYNC, SWITCHED_OFF_BY, ArgoCdWorkload, ArgoCdWorkloads
from tests.harness.argocd import TOKEN, ArgoCd
from tests.harness.rollback import Intent

FIRST, SECOND, THIRD = "a" * 40, "b" * 40, "c" * 40
TARGET = Target("shop", ArgoCdRef("shop"), ())


@pytest.fixture
async def argo() -> AsyncIterator[ArgoCd]:
    """Three deployments; automated sync is on."""
    async with ArgoCd() as argo:
        for revision in (FIRST, SECOND, THIRD):
            argo.sync(revision)
        yield argo


@pytest.fixture
async def client(argo: ArgoCd) -> AsyncIterator[ArgoCdClient]:
    async with new_client() as http:
        yield ArgoCdClient(argo.url, TOKEN, http)


@pytest.fixture
def workload(client: ArgoCdClient) -> ArgoCdWorkload:
    return ArgoCdWorkloads(client, lambda: datetime.now(UTC)).of(TARGET)


async def pin_of(workload: ArgoCdWorkload, revision: str) -> Pin:
    state = await workload.read()
    return Pin("shop", state.uid, state.current, next(one for one in state.history if one.version == revision[:7]))


async def test_history_is_the_list_of_deployments(workload: ArgoCdWorkload) -> None:
    state = await workload.read()

    assert [(one.version, one.revision, one.current) for one in state.history] == [
        ("ccccccc", "2", True),
        ("bbbbbbb", "1", False),
        ("aaaaaaa", "0", False),
    ]
    assert state.current.images == ("shop/app:ccc",)
    assert state.current.change_cause == "https://git.example/shop deploy main"
    assert all(one.created_at for one in state.history)
    assert (state.rollout.phase, state.rollout.reason, state.owners) == (RolloutPhase.COMPLETE, "synced and healthy", ())


async def test_automated_sync_is_switched_off_and_kept_before_the_rollback(argo: ArgoCd, workload: ArgoCdWorkload) -> None:
    pin = replace(await pin_of(workload, SECOND), incident="inc_1")
    order: list[str] = []

    async def before_write() -> None:
        order.append("intent")
        assert argo.calls == []

    said = await workload.roll_back(pin, before_write)

    assert order == ["intent"]
    assert [name for name, _ in argo.calls] == ["patch", "rollback"]
    assert argo.calls[1][1] == {"name": "shop", "id": 1, "prune": False}
    assert "automated" not in argo.application["spec"]["syncPolicy"]
    assert argo.application["metadata"]["annotations"] == {
        KEPT_SYNC: '{"prune":true,"selfHeal":true}',
        SWITCHED_OFF_BY: "inc_1",
    }
    assert said == (
        "argocd application shop: ccccccc (revision 2) is being replaced by bbbbbbb (revision 1); automated sync is off (it was"
        ' {"prune":true,"selfHeal":true}): switching it on deploys what Git says'
    )


async def test_a_rollback_has_begun_once_automated_sync_was_switched_off_for_it(argo: ArgoCd, workload: ArgoCdWorkload) -> None:
    pin = replace(await pin_of(workload, SECOND), incident="inc_1")
    assert not await workload.has_begun(pin)
    await workload.roll_back(pin, Intent())
    assert await workload.has_begun(pin)
    assert not await workload.has_begun(replace(pin, incident="inc_2")), "an earlier incident switched it off"


async def test_the_rollback_is_over_when_it_was_synced_and_its_health_looked_at(argo: ArgoCd, workload: ArgoCdWorkload) -> None:
    pin = await pin_of(workload, SECOND)
    await workload.roll_back(pin, Intent())
    assert (await workload.rollout(pin)).reason == "sync under way"

    argo.status["health"] = {"status": "Degraded", "message": "old pods"}
    argo.end(looked_at=False)
    assert (await workload.rollout(pin)).phase is RolloutPhase.PROGRESSING
    assert argo.refreshes == 1, "an old health is nothing to go by"
    assert (await workload.rollout(pin)).reason == "health is Degraded: old pods"

    argo.status["health"] = {"status": "Healthy"}
    assert (await workload.rollout(pin)).phase is RolloutPhase.COMPLETE
    intent = Intent()
    assert (await workload.roll_back(pin, intent)).startswith("nothing to do: ")
    assert intent.written == 0
    state = await workload.read()
    assert [(one.version, one.revision) for one in state.history][:2] == [("bbbbbbb", "3"), ("ccccccc", "2")]


@pytest.mark.parametrize("lost", [1, 2])
async def test_lost_answers_do_not_lead_to_a_second_rollback(argo: ArgoCd, workload: ArgoCdWorkload, lost: int) -> None:
    pin, intent = await pin_of(workload, SECOND), Intent()
    argo.lose = lost

    await workload.roll_back(pin, intent)

    assert [name for name, _ in argo.calls] == ["patch", "rollback"]
    assert intent.written == 1


async def test_after_a_crash_the_rollback_under_way_is_waited_for(argo: ArgoCd, workload: ArgoCdWorkload) -> None:
    pin = await pin_of(workload, SECOND)
    await workload.roll_back(pin, Intent())
    before = len(argo.calls)

    assert "is being replaced by" in await workload.roll_back(pin, Intent())
    assert len(argo.calls) == before


async def test_a_rollback_under_way_is_not_called_ours_when_automated_sync_is_on_again(
    argo: ArgoCd, workload: ArgoCdWorkload
) -> None:
    pin = await pin_of(workload, SECOND)
    await workload.roll_back(pin, Intent())
    argo.application["spec"]["syncPolicy"]["automated"] = {}

    with pytest.raises(RefusedError, match="a sync is under way"):
        await workload.roll_back(pin, Intent())


async def test_a_rollback_that_fails_is_told(argo: ArgoCd, workload: ArgoCdWorkload) -> None:
    pin = await pin_of(workload, SECOND)
    await workload.roll_back(pin, Intent())
    argo.end("Failed")

    status = await workload.rollout(pin)

    assert (status.phase, status.reason) == (RolloutPhase.FAILED, "sync failed: one or more objects failed to apply")


async def test_a_sync_that_failed_is_the_suspect(argo: ArgoCd, workload: ArgoCdWorkload) -> None:
    """It is in no history, but half of it may run."""
    argo.sync("d" * 40, phase="Failed")
    state = await workload.read()
    assert [(one.version, one.current) for one in state.history][:2] == [("ddddddd", True), ("ccccccc", False)]
    assert state.rollout.phase is RolloutPhase.FAILED

    pin = await pin_of(workload, THIRD)
    await workload.roll_back(pin, Intent())
    argo.end()

    assert (await workload.rollout(pin)).phase is RolloutPhase.COMPLETE
    assert (await workload.read()).current.version == "ccccccc"


def _synced_again(argo: ArgoCd) -> None:
    argo.sync("e" * 40)


def _syncing(argo: ArgoCd) -> None:
    argo._begin("e" * 40)


def _of_a_set(argo: ArgoCd) -> None:
    argo.application["metadata"]["ownerReferences"] = [{"kind": "ApplicationSet", "name": "all", "controller": True, "uid": "x"}]


def _of_another_application(argo: ArgoCd) -> None:
    argo.application["metadata"]["labels"] = {"app.kubernetes.io/instance": "root"}


def _made_anew(argo: ArgoCd) -> None:
    argo.application["metadata"]["uid"] = "u-2"


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [
        pytest.param(_synced_again, "was changed by somebody else: it is at eeeeeee", id="another sync"),
        pytest.param(_syncing, "a sync is under way", id="a sync under way"),
        pytest.param(_of_a_set, "belongs to ApplicationSet all", id="an ApplicationSet makes it"),
        pytest.param(_of_another_application, "belongs to ArgoCD root", id="another application makes it"),
        pytest.param(_made_anew, "deleted and made anew", id="made anew"),
    ],
)
async def test_refused(argo: ArgoCd, workload: ArgoCdWorkload, meanwhile: Callable[[ArgoCd], None], reason: str) -> None:
    pin, intent = await pin_of(workload, SECOND), Intent()
    meanwhile(argo)

    with pytest.raises(RefusedError, match=reason):
        await workload.roll_back(pin, intent)

    assert (argo.calls, intent.written) == ([], 0)


async def test_automated_sync_that_comes_back_at_once_is_refused(argo: ArgoCd, workload: ArgoCdWorkload) -> None:
    argo.keeps_automated = True

    with pytest.raises(RefusedError, match="something else keeps it so"):
        await workload.roll_back(await pin_of(workload, SECOND), Intent())

    assert [name for name, _ in argo.calls] == ["patch"]


LEFT = r'automated sync is off \(it was \{"prune":true,"selfHeal":true\}\): switching it on deploys what Git says'


async def test_a_rollback_that_is_refused_after_automated_sync_was_switched_off_says_that_it_stays_off(
    argo: ArgoCd, workload: ArgoCdWorkload
) -> None:
    pin = replace(await pin_of(workload, SECOND), incident="inc_1")
    argo.forbidden = True
    with pytest.raises(PermanentError, match=f"permission denied.*; {LEFT}"):
        await workload.roll_back(pin, Intent())


async def test_what_an_attempt_that_was_cut_off_has_switched_off_is_told_too(argo: ArgoCd, workload: ArgoCdWorkload) -> None:
    pin = replace(await pin_of(workload, SECOND), incident="inc_1")
    argo.forbidden = True
    with pytest.raises(PermanentError):
        await workload.roll_back(pin, Intent())
    argo._begin("e" * 40)
    with pytest.raises(PermanentError, match=f"a sync is under way.*; {LEFT}") as told:
        await workload.roll_back(pin, Intent())
    assert not isinstance(told.value, RefusedError), "something was changed"


async def test_automated_sync_switched_on_meanwhile_ends_the_wait(argo: ArgoCd, workload: ArgoCdWorkload) -> None:
    pin = await pin_of(workload, SECOND)
    await workload.roll_back(pin, Intent())
    argo.application["spec"]["syncPolicy"]["automated"] = {}

    assert (await workload.rollout(pin)).phase is RolloutPhase.FAILED


async def test_a_pruned_deployment_can_not_come_back(argo: ArgoCd, workload: ArgoCdWorkload) -> None:
    pin = await pin_of(workload, FIRST)
    argo.status["history"].pop(0)

    with pytest.raises(PermanentError, match=r"aaaaaaa \(revision 0\) is gone"):
        await workload.roll_back(pin, Intent())


async def test_deployments_are_seen(argo: ArgoCd, workload: ArgoCdWorkload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("responder.targets.argocd._GLANCE_EVERY", timedelta(milliseconds=10))
    async with contextlib.aclosing(workload.watch()) as states:
        assert (await anext(states)).current.version == "ccccccc"
        argo.sync("f" * 40)
        assert (await anext(states)).current.version == "fffffff"


async def test_owners_are_facts_for_the_guards(argo: ArgoCd, workload: ArgoCdWorkload) -> None:
    _of_a_set(argo)
    assert (await workload.read()).owners == (Owner("ApplicationSet", "all"),)
    argo.application["metadata"]["labels"] = {"app.kubernetes.io/instance": "shop"}
    del argo.application["metadata"]["ownerReferences"]
    assert (await workload.read()).owners == ()


async def test_a_failed_precondition_is_a_conflict(argo: ArgoCd, client: ArgoCdClient) -> None:
    with pytest.raises(ConflictError, match="rollback cannot be initiated when auto-sync is enabled"):
        await client.roll_back("shop", "", 1)


async def test_a_wrong_token_is_not_told(argo: ArgoCd) -> None:
    async with new_client() as http:
        workload = ArgoCdWorkload(ArgoCdClient(argo.url, "another-secret", http), ArgoCdRef("shop"), lambda: datetime.now(UTC))
        with pytest.raises(ForbiddenError, match="token signature is invalid") as caught:
            await workload.read()
    assert "another-secret" not in str(caught.value)


async def test_an_application_that_was_never_synced(argo: ArgoCd, workload: ArgoCdWorkload) -> None:
    argo.status["history"] = []
    with pytest.raises(NotFoundError, match="was never synced"):
        await workload.read()


async def test_without_its_settings_it_is_said_which_are_missing() -> None:
    with pytest.raises(InvalidInputError, match="RESPONDER_ARGOCD_URL and RESPONDER_ARGOCD_TOKEN are not set"):
        ArgoCdWorkloads(None, lambda: datetime.now(UTC)).of(TARGET)
