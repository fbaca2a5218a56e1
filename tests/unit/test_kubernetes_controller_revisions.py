"""What the status of StatefulSets and DaemonSets says, in the moments that a cluster rarely shows."""

from __future__ import annotations

from typing import Any

import pytest

from responder.domain.version import RolloutPhase, RolloutStatus, Version
from responder.errors import ConflictError
from responder.targets.controller_revisions import REVISION_LABEL, daemon_set_status, revisions, stateful_set_status
from responder.targets.eviction import help_along
from responder.targets.revision import Revision

Object = dict[str, Any]
COMPLETE, PROGRESSING = RolloutPhase.COMPLETE, RolloutPhase.PROGRESSING


def a_workload(strategy: str = "RollingUpdate", *, observed: int = 2, partition: int = 0, **status: Any) -> Object:
    update = {"type": strategy, **({"rollingUpdate": {"partition": partition}} if partition else {})}
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "db", "image": "shop/db:2"}]}}
    spec = {"replicas": 3, "updateStrategy": update, "template": template}
    metadata = {"name": "db", "namespace": "shop", "uid": "u1", "generation": 2}
    return {"metadata": metadata, "spec": spec, "status": {"observedGeneration": observed, **status}}


ROLLED_BACK_HALF_WAY: Object = {"currentRevision": "db-1", "updateRevision": "db-1"}


@pytest.mark.parametrize(
    ("found", "phase", "reason"),
    [
        pytest.param(
            a_workload(observed=1, readyReplicas=3, updatedReplicas=3), PROGRESSING, "has not been observed", id="not seen yet"
        ),
        pytest.param(
            a_workload(readyReplicas=3, updatedReplicas=2, **ROLLED_BACK_HALF_WAY),
            PROGRESSING,
            "2 of 3 pods updated",
            id="rolled back half-way: the revisions are equal at once, and a bad pod is still ready",
        ),
        pytest.param(
            a_workload(readyReplicas=3, updatedReplicas=3, **ROLLED_BACK_HALF_WAY), COMPLETE, "3 of 3 pods ready", id="all new"
        ),
        pytest.param(
            a_workload(readyReplicas=2, updatedReplicas=3, currentRevision="a", updateRevision="b"),
            PROGRESSING,
            "2 of 3 pods ready",
            id="one new pod is not ready",
        ),
        pytest.param(
            a_workload(readyReplicas=3, updatedReplicas=3, currentRevision="a", updateRevision="b"),
            PROGRESSING,
            "not yet all taken note of",
            id="the controller has not finished",
        ),
        pytest.param(
            a_workload(partition=2, readyReplicas=3, updatedReplicas=1, currentRevision="a", updateRevision="b"),
            COMPLETE,
            "1 pods updated, 2 held back by partition",
            id="a partition holds pods back",
        ),
        pytest.param(
            a_workload("OnDelete", readyReplicas=3, updatedReplicas=1, currentRevision="a", updateRevision="a"),
            PROGRESSING,
            "1 of 3 pods are new; its update strategy is OnDelete",
            id="OnDelete, where the current revision is never brought up to date",
        ),
        pytest.param(
            a_workload("OnDelete", readyReplicas=3, updatedReplicas=3, currentRevision="a", updateRevision="b"),
            COMPLETE,
            "3 of 3 pods ready",
            id="OnDelete, and somebody deleted all pods",
        ),
    ],
)
def test_stateful_sets(found: Object, phase: RolloutPhase, reason: str) -> None:
    status = stateful_set_status(found)
    assert status.phase is phase
    assert reason in status.reason


@pytest.mark.parametrize(
    ("found", "phase", "reason"),
    [
        pytest.param(
            a_workload(observed=1, desiredNumberScheduled=2, updatedNumberScheduled=2, numberAvailable=2),
            PROGRESSING,
            "has not been observed",
            id="not seen yet",
        ),
        pytest.param(
            a_workload(desiredNumberScheduled=2, updatedNumberScheduled=1, numberAvailable=2),
            PROGRESSING,
            "1 of 2 pods updated",
            id="one node has the old pod",
        ),
        pytest.param(
            a_workload(desiredNumberScheduled=2, updatedNumberScheduled=2, numberAvailable=1),
            PROGRESSING,
            "1 of 2 pods available",
            id="one new pod is not available",
        ),
        pytest.param(
            a_workload("OnDelete", desiredNumberScheduled=2, updatedNumberScheduled=0, numberAvailable=2),
            PROGRESSING,
            "0 of 2 pods are new; its update strategy is OnDelete",
            id="OnDelete",
        ),
        pytest.param(a_workload(), COMPLETE, "0 of 0 pods available", id="no node wants it"),
    ],
)
def test_daemon_sets(found: Object, phase: RolloutPhase, reason: str) -> None:
    status = daemon_set_status(found)
    assert status.phase is phase
    assert reason in status.reason


def a_revision(image: str, number: int, created: str, owner: str = "u1") -> Object:
    template = {
        "$patch": "replace",
        "metadata": {"labels": {"app": "db"}},
        "spec": {"containers": [{"name": "db", "image": image}]},
    }
    reference = {"controller": True, "uid": owner, "kind": "StatefulSet", "name": "db"}
    metadata = {"name": f"db-{number}", "creationTimestamp": created, "ownerReferences": [reference]}
    return {"metadata": metadata, "revision": number, "data": {"spec": {"template": template}}}


def test_revisions_of_others_are_not_history() -> None:
    known = revisions(
        a_workload(), [a_revision("x:1", 1, "2026-03-01T10:00:00Z"), a_revision("x:9", 9, "2026-03-01T10:00:00Z", "u0")]
    )
    assert [one.number for one in known] == [1]


def test_a_revision_that_came_back_has_no_time() -> None:
    known = revisions(
        a_workload(), [a_revision("shop/db:2", 3, "2026-03-01T10:00:00Z"), a_revision("shop/db:1", 2, "2026-03-01T11:00:00Z")]
    )
    assert [(one.number, one.version.created_at is None, one.version.current) for one in known] == [
        (3, True, True),
        (2, False, False),
    ]
    assert "$patch" not in known[0].template


# --- pods that block the way back ----------------------------------------------------------------------------------------


class PlayedPods:
    """Lists these pods. deleted: the uids that it was asked to delete; gone: names of those that were another pod by then."""

    def __init__(self, *pods: Object, gone: frozenset[str] = frozenset()) -> None:
        self._pods = pods
        self._gone = gone
        self.deleted: list[str] = []

    async def list(self, *_: object, labels: str) -> list[Object]:
        assert labels == "app=db"
        return list(self._pods)

    async def delete(self, _resource: object, _namespace: str, name: str, *, uid: str) -> None:
        if name in self._gone:
            raise ConflictError("another uid")
        self.deleted.append(uid)


def a_pod(name: str, revision: str, *, ready: bool = False, owner: str = "u1") -> Object:
    metadata = {
        "name": name,
        "uid": f"uid of {name}",
        "labels": {"app": "db", REVISION_LABEL: revision},
        "ownerReferences": [{"uid": owner, "controller": True}],
    }
    return {"metadata": metadata, "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}}


def a_stateful_set(*, observed: int = 2) -> Object:
    found = a_workload(observed=observed)
    found["spec"]["selector"] = {"matchLabels": {"app": "db"}}
    return found


BAD = Revision(2, Version("2-bad", "2", "f2", "d2"), {"metadata": {"name": "db-2"}}, {})
WAITING = RolloutStatus(PROGRESSING, "2 of 3 pods updated")


async def test_only_pods_of_the_bad_revision_that_are_not_ready_are_evicted() -> None:
    pods = PlayedPods(
        a_pod("broken", "db-2"),
        a_pod("bad-but-serving", "db-2", ready=True),
        a_pod("good-and-starting", "db-1"),
        a_pod("of-somebody-else", "db-2", owner="u9"),
        a_pod("made-anew", "db-2"),
        gone=frozenset({"made-anew"}),
    )
    status = await help_along(pods, a_stateful_set(), BAD, WAITING)  # type: ignore[arg-type]
    assert pods.deleted == ["uid of broken"]
    assert status.reason == "2 of 3 pods updated; deleted unready broken of 2-bad"


@pytest.mark.parametrize(
    ("observed", "bad"),
    [
        pytest.param(1, BAD, id="the controller has not seen the way back: it would make the same pod again"),
        pytest.param(2, None, id="it is not known which revision is bad"),
    ],
)
async def test_no_pod_is_evicted_while(observed: int, bad: Revision | None) -> None:
    pods = PlayedPods(a_pod("broken", "db-2"))
    assert await help_along(pods, a_stateful_set(observed=observed), bad, WAITING) == WAITING  # type: ignore[arg-type]
    assert pods.deleted == []
