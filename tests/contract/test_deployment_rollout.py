"""How far a rollout is, and why it does not get on."""

from __future__ import annotations

from responder.domain.version import Pin, RolloutPhase, RolloutStatus
from responder.targets.kubernetes import TemplateWorkload
from tests.harness.cluster import Cluster
from tests.harness.rollback import Intent, pin_of


async def rolled_back(workload: TemplateWorkload, version: str) -> Pin:
    pin = await pin_of(workload, version)
    await workload.roll_back(pin, Intent())
    return pin


async def reached(cluster: Cluster, workload: TemplateWorkload, pin: Pin, words: str) -> RolloutStatus:
    status: RolloutStatus = await cluster.until(lambda: workload.rollout(pin), lambda status: words in status.reason)
    return status


async def test_a_rollback_to_a_good_version_completes(cluster: Cluster, namespace: str, workload: TemplateWorkload) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0", replicas=2)
    await cluster.deploy(namespace, "app", image="shop/app:1.1-bad")
    pin = await rolled_back(workload, "1.0")

    status = await reached(cluster, workload, pin, "2 of 2 pods available")

    assert status == RolloutStatus(RolloutPhase.COMPLETE, "2 of 2 pods available", updated=2, available=2, desired=2)


async def test_a_bad_version_is_progressing_and_says_what_its_pods_say(
    cluster: Cluster, namespace: str, workload: TemplateWorkload
) -> None:
    """The version to go back to can't be pulled any more: its image was pruned from the registry."""
    await cluster.deploy(namespace, "app", image="shop/app:1.0-nopull", replicas=1)
    await cluster.until(lambda: cluster.pods(namespace), len)
    await cluster.roll_out(namespace, "app", "shop/app:1.1")
    pin = await rolled_back(workload, "1.0-nopull")

    status = await reached(cluster, workload, pin, "ImagePullBackOff")

    assert status.phase is RolloutPhase.PROGRESSING
    assert "(1x ImagePullBackOff)" in status.reason
    assert status.desired == 1


async def test_a_crash_loop_is_named(cluster: Cluster, namespace: str, workload: TemplateWorkload) -> None:
    await cluster.deploy(namespace, "app", image="shop/app:1.0-bad", replicas=1)
    await cluster.until(lambda: cluster.pods(namespace), len)
    await cluster.roll_out(namespace, "app", "shop/app:1.1")
    pin = await rolled_back(workload, "1.0-bad")

    assert (await reached(cluster, workload, pin, "CrashLoopBackOff")).phase is RolloutPhase.PROGRESSING


async def test_the_progress_deadline_fails_it(cluster: Cluster, namespace: str, workload: TemplateWorkload) -> None:
    await cluster.deploy(namespace, "app", image="shop/app:1.0-unready", replicas=1, spec={"progressDeadlineSeconds": 1})
    await cluster.until(lambda: cluster.pods(namespace), len)
    await cluster.roll_out(namespace, "app", "shop/app:1.1")
    pin = await rolled_back(workload, "1.0-unready")

    status = await reached(cluster, workload, pin, "progress deadline was exceeded")

    assert status.phase is RolloutPhase.FAILED


async def test_the_bad_version_s_exceeded_deadline_does_not_fail_the_rollback(
    cluster: Cluster, namespace: str, workload: TemplateWorkload
) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0-slow")
    one_by_one = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    await cluster.change(namespace, "app", {"spec": {"progressDeadlineSeconds": 1, "strategy": one_by_one}})
    # A controller that meets the new template while it writes the old status loses the condition, and the deadline with it.
    await cluster.wait_available(namespace, "app")
    await cluster.deploy(namespace, "app", image="shop/app:1.1-unready")
    await cluster.until(workload.read, lambda state: state.rollout.phase is RolloutPhase.FAILED)
    await cluster.change(namespace, "app", {"spec": {"progressDeadlineSeconds": 60}})
    pin = await rolled_back(workload, "1.0-slow")

    seen: list[RolloutPhase] = []

    async def look() -> RolloutStatus:
        status = await workload.rollout(pin)
        seen.append(status.phase)
        return status

    await cluster.until(look, lambda status: status.phase is RolloutPhase.COMPLETE)
    assert RolloutPhase.FAILED not in seen


async def test_a_change_by_somebody_else_fails_it(cluster: Cluster, namespace: str, workload: TemplateWorkload) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0", "shop/app:1.1")
    pin = await rolled_back(workload, "1.0")
    await cluster.deploy(namespace, "app", image="shop/app:1.2")

    status = await workload.rollout(pin)

    assert status.phase is RolloutPhase.FAILED
    assert status.reason == f"changed by somebody else: deployment/app in namespace {namespace} is now asked to run 1.2"


async def test_a_restart_meanwhile_does_not_fail_it(cluster: Cluster, namespace: str, workload: TemplateWorkload) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0", "shop/app:1.1")
    pin = await rolled_back(workload, "1.0")
    await cluster.restart(namespace, "app")

    await reached(cluster, workload, pin, "1 of 1 pods available")


async def test_an_object_made_anew_fails_it(cluster: Cluster, namespace: str, workload: TemplateWorkload) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0", "shop/app:1.1")
    pin = await rolled_back(workload, "1.0")
    await cluster.delete(namespace, "app")
    await cluster.deploy(namespace, "app", image="shop/app:1.0")

    status = await workload.rollout(pin)

    assert (status.phase, "made anew" in status.reason) == (RolloutPhase.FAILED, True)
