"""The Deployment controller, after the one of kube-controller-manager: revisions, rollouts, scaling, pruning, status."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

from responder.sandbox.api.operations import ALPHABET, Operations, same
from responder.sandbox.api.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from responder.sandbox.api.store import Json, copied
from responder.sandbox.controllers import progress, scaling
from responder.sandbox.controllers.events import EventRecorder
from responder.sandbox.controllers.ownership import condition_of, controlled, owner_reference
from responder.sandbox.controllers.scaling import DESIRED, HISTORY, MAXIMUM, REVISION

COMPONENT = "deployment-controller"
HASH = "pod-template-hash"
_NOT_COPIED = frozenset(
    {"kubectl.kubernetes.io/last-applied-configuration", REVISION, HISTORY, DESIRED, MAXIMUM, "deprecated.deployment.rollback.to"}
)


def _plain_template(template: Json) -> Json:
    """Without the label that the controller adds: equal means the same revision."""
    template = copied(template)
    (template["metadata"].get("labels") or {}).pop(HASH, None)
    return template


def template_hash(template: Json) -> str:
    text = json.dumps(_plain_template(template), sort_keys=True, separators=(",", ":"))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    return "".join(ALPHABET[number // len(ALPHABET) ** place % len(ALPHABET)] for place in range(10))


def revision_of(item: Json) -> int:
    return int((item["metadata"].get("annotations") or {}).get(REVISION) or 0)


def _age_order(item: Json) -> tuple[str, str]:
    return item["metadata"]["creationTimestamp"], item["metadata"]["name"]


class Deployments:
    def __init__(self, operations: Operations, events: EventRecorder) -> None:
        self._operations, self._store, self._events = operations, operations.store, events

    def reconcile(self, deployment: Json, now: datetime) -> datetime | None:
        """One step towards the wanted state. Returns when the next look is due; None: after a change."""
        rollout = _Rollout(self, deployment, now)
        return rollout.step()

    def sets_of(self, deployment: Json) -> list[Json]:
        return sorted(controlled(self._store, REPLICA_SETS.plural, DEPLOYMENTS, deployment), key=_age_order)

    def has_pods(self, replica_set: Json) -> bool:
        return any(True for _ in controlled(self._store, PODS.plural, REPLICA_SETS, replica_set))

    def create_set(self, deployment: Json, replicas: int, revision: int) -> Json:
        template, digest = copied(deployment["spec"]["template"]), template_hash(deployment["spec"]["template"])
        template["metadata"]["labels"] = {**(template["metadata"].get("labels") or {}), HASH: digest}
        selector = copied(deployment["spec"]["selector"])
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH: digest}
        replica_set: Json = {
            "metadata": {
                "name": f"{deployment['metadata']['name']}-{digest}",
                "labels": template["metadata"]["labels"],
                "annotations": {},
                "ownerReferences": [owner_reference(DEPLOYMENTS, deployment)],
            },
            "spec": {"replicas": replicas, "selector": selector, "template": template},
        }
        if deployment["spec"].get("minReadySeconds"):
            replica_set["spec"]["minReadySeconds"] = deployment["spec"]["minReadySeconds"]
        annotate(deployment, replica_set, revision)
        replica_set["metadata"]["annotations"] |= size_annotations(deployment)
        return self._operations.create(REPLICA_SETS, deployment["metadata"]["namespace"], replica_set)

    def write_set(self, replica_set: Json) -> Json:
        metadata = replica_set["metadata"]
        return self._operations.replace(REPLICA_SETS, metadata["namespace"], metadata["name"], replica_set)

    def remove_set(self, replica_set: Json) -> None:
        metadata = replica_set["metadata"]
        self._operations.delete(REPLICA_SETS, metadata["namespace"], metadata["name"], {})

    def write_status(self, deployment: Json, now_at: Json) -> None:
        metadata = deployment["metadata"]
        stored = self._store.get(DEPLOYMENTS.plural, metadata["namespace"], metadata["name"])
        if stored is not None and not same(stored, now_at):
            self._store.put(DEPLOYMENTS.plural, now_at)

    def tell_scaled(self, deployment: Json, name: str, size: int, *, up: bool, now: datetime) -> None:
        text = f"Scaled {'up' if up else 'down'} replica set {name} to {size}"
        self._events.record(deployment, "ScalingReplicaSet", text, COMPONENT, now)


def size_annotations(deployment: Json) -> Json:
    wanted = deployment["spec"]["replicas"]
    return {DESIRED: str(wanted), MAXIMUM: str(wanted + scaling.limits(deployment)[0])}


def annotate(deployment: Json, replica_set: Json, revision: int) -> None:
    """Copy the Deployment's annotations and number the ReplicaSet; a number it had before goes into its history."""
    annotations = replica_set["metadata"].setdefault("annotations", {})
    copied = (deployment["metadata"].get("annotations") or {}).items()
    annotations |= {key: value for key, value in copied if key not in _NOT_COPIED}
    before = revision_of(replica_set)
    if before < revision:
        annotations[REVISION] = str(revision)
        if before:
            annotations[HISTORY] = ",".join(filter(None, [annotations.get(HISTORY), str(before)]))


class _Rollout:
    """One look at one Deployment. What is read at the start is kept up to date by the writes of this look."""

    def __init__(self, controller: Deployments, deployment: Json, now: datetime) -> None:
        self.controller, self.deployment, self.now = controller, deployment, now
        self.spec = deployment["spec"]
        sets = controller.sets_of(deployment)
        wanted = _plain_template(self.spec["template"])
        self.new = next((found for found in sets if same(_plain_template(found["spec"]["template"]), wanted)), None)
        self.old = [found for found in sets if found is not self.new]
        deployment.setdefault("status", {}).setdefault("conditions", [])

    def step(self) -> datetime | None:
        if self.deployment["metadata"].get("deletionTimestamp"):
            return self._finish(judge=False)
        self._note_pause()
        if self.spec.get("paused") or self._is_being_scaled():
            self._sync_new(create=False)
            self._scale()
            if self.spec.get("paused"):
                self._prune()
            return self._finish(judge=False)
        moved = self._roll() if self.spec["strategy"]["type"] == "RollingUpdate" else self._recreate()
        if not moved and self._is_complete():
            self._prune()
        return self._finish(judge=True)

    # --- the parts of a step ---

    def _sets(self) -> list[Json]:
        return [*self.old, self.new] if self.new else list(self.old)

    def _is_complete(self) -> bool:
        return progress.is_complete(self.deployment, progress.counts(self.deployment, self.new, self._sets(), self.now))

    def _note_pause(self) -> None:
        if not self.spec.get("progressDeadlineSeconds"):
            return
        status, now = self.deployment["status"], self.now
        current = condition_of(status, progress.PROGRESSING)
        reason = current["reason"] if current else ""
        if reason == progress.TIMED_OUT:
            return
        if self.spec.get("paused") and reason != "DeploymentPaused":
            progress.set_condition(status, progress.progressing("Unknown", "DeploymentPaused", "Deployment is paused"), now)
        elif not self.spec.get("paused") and reason == "DeploymentPaused":
            progress.set_condition(status, progress.progressing("Unknown", "DeploymentResumed", "Deployment is resumed"), now)

    def _is_being_scaled(self) -> bool:
        wanted = str(self.spec["replicas"])
        active = (found for found in self._sets() if found["spec"]["replicas"] > 0)
        return any((found["metadata"].get("annotations") or {}).get(DESIRED, wanted) != wanted for found in active)

    def _sync_new(self, *, create: bool) -> None:
        """Number the new ReplicaSet max + 1, creating it if asked to; note its revision on the Deployment."""
        revision = max((revision_of(found) for found in self.old), default=0) + 1
        status = self.deployment["status"]
        if self.new is not None:
            annotate(self.deployment, self.new, revision)
            if self.spec.get("minReadySeconds") != self.new["spec"].get("minReadySeconds"):
                self.new["spec"]["minReadySeconds"] = self.spec.get("minReadySeconds")
            self.new = self.controller.write_set(self.new)
            revision = revision_of(self.new)
            if condition_of(status, progress.PROGRESSING) is None and self.spec.get("progressDeadlineSeconds"):
                text = f'Found new replica set "{self.new["metadata"]["name"]}"'
                progress.set_condition(status, progress.progressing("True", "FoundNewReplicaSet", text), self.now)
        elif create:
            size = scaling.new_set_size(self.deployment, None, self.old)
            self.new = self.controller.create_set(self.deployment, size, revision)
            name = self.new["metadata"]["name"]
            if size:
                self.controller.tell_scaled(self.deployment, name, size, up=True, now=self.now)
            if self.spec.get("progressDeadlineSeconds"):
                text = f'Created new replica set "{name}"'
                progress.set_condition(status, progress.progressing("True", "NewReplicaSetCreated", text), self.now)
        else:
            return
        annotations = self.deployment["metadata"].get("annotations") or {}
        self.deployment["metadata"]["annotations"] = {**annotations, REVISION: str(revision)}

    def _resize(self, sizes: dict[str, int]) -> bool:
        """Give ReplicaSets new sizes by name; True when any changed."""
        changed = False
        for found in self._sets():
            before = found["spec"]["replicas"]
            size = sizes.get(found["metadata"]["name"])
            if size is None:
                continue
            found["spec"]["replicas"] = size
            found["metadata"]["annotations"] = {
                **(found["metadata"].get("annotations") or {}),
                **size_annotations(self.deployment),
            }
            found["metadata"] = self.controller.write_set(found)["metadata"]
            if size != before:
                changed = True
                self.controller.tell_scaled(self.deployment, found["metadata"]["name"], size, up=size > before, now=self.now)
        return changed

    def _roll(self) -> bool:
        self._sync_new(create=True)
        if self.new is None:
            return False
        size, wanted = self.new["spec"]["replicas"], self.spec["replicas"]
        allowed = wanted if size > wanted else scaling.new_set_size(self.deployment, self.new, self._sets())
        if size != allowed:
            return self._resize({self.new["metadata"]["name"]: allowed})
        return self._resize(scaling.old_sets_sizes(self.deployment, self.new, self.old))

    def _recreate(self) -> bool:
        self._sync_new(create=False)
        if self._resize({found["metadata"]["name"]: 0 for found in self.old if found["spec"]["replicas"]}):
            return True
        if any(self.controller.has_pods(found) for found in self.old):
            return True
        if self.new is None:
            self._sync_new(create=True)
            return True
        if self.new["spec"]["replicas"] == self.spec["replicas"]:
            return False
        return self._resize({self.new["metadata"]["name"]: self.spec["replicas"]})

    def _scale(self) -> None:
        """Scaling without a rollout: the only active set takes it all, in the middle of a rollout each takes its share."""
        active = [found for found in self._sets() if found["spec"]["replicas"] > 0]
        wanted = self.spec["replicas"]
        if len(active) < 2:
            last = active[0] if active else self.new or (self.old[-1] if self.old else None)
            if last is not None:
                self._resize({last["metadata"]["name"]: wanted})
        elif self.new and self._is_saturated(self.new):
            self._resize({found["metadata"]["name"]: 0 for found in active if found is not self.new})
        elif self.spec["strategy"]["type"] == "RollingUpdate":
            self._resize(scaling.proportional_sizes(self.deployment, active))

    def _is_saturated(self, found: Json) -> bool:
        wanted = self.spec["replicas"]
        asked = found["metadata"]["annotations"].get(DESIRED) == str(wanted)
        return asked and bool(found["spec"]["replicas"] == wanted == scaling.counted([found], "availableReplicas"))

    def _prune(self) -> None:
        """Drop the lowest empty revisions beyond revisionHistoryLimit."""
        if (limit := self.spec.get("revisionHistoryLimit")) is None:
            return
        surplus = sorted((found for found in self.old if not found["metadata"].get("deletionTimestamp")), key=revision_of)
        for found in surplus[: max(len(surplus) - limit, 0)]:
            if found["spec"]["replicas"] == 0 and not scaling.counted([found], "replicas"):
                self.controller.remove_set(found)
                self.old.remove(found)

    def _finish(self, *, judge: bool) -> datetime | None:
        status = progress.counts(self.deployment, self.new, self._sets(), self.now)
        if judge:
            progress.judge(self.deployment, self.new, status, self.now)
        self.controller.write_status(self.deployment, {**self.deployment, "status": status})
        return progress.deadline(self.deployment, status)
