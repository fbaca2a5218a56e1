"""What raw Rollouts of Argo Rollouts say: their versions, and how far they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from responder.domain.version import RolloutPhase, RolloutStatus, Version
from responder.targets import revision as kept
from responder.targets import template as templates
from responder.targets.revision import CHANGE_CAUSE, Revision, owned, time_of, version_of

Object = Mapping[str, Any]

REVISION = "rollout.argoproj.io/revision"
_REVISION_HISTORY = "rollout.argoproj.io/revision-history"
_HEALTHY, _DEGRADED, _PAUSED = "Healthy", "Degraded", "Paused"


@dataclass(frozen=True, slots=True)
class Seen:
    """A Rollout with what belongs to it.

    holder: the object its pod template stands in: itself, or what `workloadRef` names.
    current: the revision it is asked to run. As a custom resource a Rollout has no defaults filled in and spells quantities as
    people do; so the template of its ReplicaSet is compared and never its own.
    """

    rollout: dict[str, Any]
    holder: dict[str, Any]
    known: list[Revision]
    current: Revision

    @property
    def status(self) -> dict[str, Any]:
        return self.rollout.get("status") or {}

    @property
    def template(self) -> dict[str, Any]:
        return self.current.template

    @property
    def is_observed(self) -> bool:
        """Does the status speak of the current version?"""
        return is_observed(self.rollout) and hash_of(self.current) == self.status.get("currentPodHash")

    @property
    def is_fully_promoted(self) -> bool:
        return bool(self.status.get("stableRS") == self.status.get("currentPodHash"))

    @property
    def is_aborted(self) -> bool:
        return bool(self.status.get("abort")) and not self.is_fully_promoted

    @property
    def stable(self) -> Revision | None:
        """The revision that serves while another one is being tried."""
        return self.with_hash(str(self.status.get("stableRS", "")))

    def with_hash(self, pod_hash: str) -> Revision | None:
        return next((one for one in self.known if pod_hash and hash_of(one) == pod_hash), None)

    @property
    def desired(self) -> int:
        return int(self.rollout["spec"].get("replicas", 1))


def hash_of(revision: Revision) -> str:
    return _pod_hash(revision.kept_in)


def is_observed(rollout: Object) -> bool:
    """Has the controller seen the latest change? Releases before 0.10 write a hash here, which tells nothing."""
    observed = str((rollout.get("status") or {}).get("observedGeneration", ""))
    return not observed.isdigit() or int(observed) >= rollout["metadata"]["generation"]


def seen(rollout: dict[str, Any], holder: dict[str, Any], replica_sets: Sequence[Object]) -> Seen | None:
    """None while the controller has not seen the latest change, so that no ReplicaSet stands for it."""
    sets = owned(rollout, replica_sets)
    wanted = templates.digest(holder["spec"]["template"])
    current = next((one for one in sets if templates.digest(one["spec"]["template"]) == wanted), None)
    if current is None and holder is rollout and is_observed(rollout):
        pod_hash = (rollout.get("status") or {}).get("currentPodHash")
        current = next((one for one in sets if pod_hash and _pod_hash(one) == pod_hash), None)
    if current is None:
        return None
    revisions = sorted((_revision(one, is_current=one is current) for one in sets), key=lambda one: one.number, reverse=True)
    return Seen(rollout, holder, revisions, next(one for one in revisions if one.version.current))


def _pod_hash(replica_set: Object) -> str:
    return str((replica_set["metadata"].get("labels") or {}).get(templates.ROLLOUTS_HASH_LABEL, ""))


def _revision(replica_set: Object, *, is_current: bool) -> Revision:
    meta = replica_set["metadata"]
    annotations = meta.get("annotations") or {}
    text = annotations.get(REVISION, "")
    number = int(text) if text.isdigit() else 0
    template = replica_set["spec"]["template"]
    # One that is used again keeps its first creation time: then nothing tells when it came back.
    created = None if annotations.get(_REVISION_HISTORY) else time_of(meta.get("creationTimestamp"))
    cause = str(annotations.get(CHANGE_CAUSE, ""))
    version = version_of(template, str(number), current=is_current, created_at=created, change_cause=cause)
    return Revision(number, version, replica_set, templates.without_hash(template))


def history(seen: Seen) -> tuple[Version, ...]:
    """The current version first. After an abort that is the stable one: it serves, although the template names the other."""
    versions = kept.history(seen.template, seen.known)
    stable = seen.stable
    if not seen.is_aborted or stable is None:
        return versions
    others = [replace(one, current=False) for one in versions if one.digest != stable.version.digest]
    return (replace(stable.version, current=True), *others)


def status_of(seen: Seen) -> RolloutStatus:
    """Where the version that its template names is; after an abort, where the way back to the stable one is."""
    if not seen.is_observed:
        return _status(seen, RolloutPhase.PROGRESSING, "the change has not been observed yet")
    if seen.is_aborted:
        return _way_back(seen)
    phase, message = str(seen.status.get("phase", "")), str(seen.status.get("message", ""))
    if phase == _HEALTHY:
        return _status(seen, RolloutPhase.COMPLETE, f"{seen.status.get('availableReplicas', 0)} of {seen.desired} pods available")
    if phase == _DEGRADED:
        return _status(seen, RolloutPhase.FAILED, f"degraded: {message or 'no message'}")
    if phase == _PAUSED:
        return _status(seen, RolloutPhase.PROGRESSING, f"paused: {message or 'no message'}")
    return _status(seen, RolloutPhase.PROGRESSING, message or "the controller has not said anything yet")


def _way_back(seen: Seen) -> RolloutStatus:
    stable = seen.stable
    if stable is None:
        return _status(seen, RolloutPhase.FAILED, "aborted, but the stable ReplicaSet is gone")
    available = int((stable.kept_in.get("status") or {}).get("availableReplicas", 0))
    counts = RolloutStatus(RolloutPhase.PROGRESSING, "", updated=available, available=available, desired=seen.desired)
    if available < seen.desired:
        return replace(counts, reason=f"aborted; {available} of {seen.desired} stable pods available")
    if waiting := _still_exposed(seen):
        return replace(counts, reason=f"aborted; {waiting}")
    reason = f"aborted; {available} of {seen.desired} stable pods available"
    return replace(counts, phase=RolloutPhase.COMPLETE, reason=reason)


def _still_exposed(seen: Seen) -> str:
    """How requests still reach the aborted version; "" when they don't."""
    strategy, status = seen.rollout["spec"].get("strategy") or {}, seen.status
    if "blueGreen" in strategy:
        active = (status.get("blueGreen") or {}).get("activeSelector")
        return "" if active == status.get("stableRS") else "the active Service still selects the aborted pods"
    if (strategy.get("canary") or {}).get("trafficRouting"):
        weight = (((status.get("canary") or {}).get("weights") or {}).get("canary") or {}).get("weight", 0)
        return f"the canary still gets {weight} % of the requests" if weight else ""
    updated = status.get("updatedReplicas", 0)
    return f"{updated} aborted pods still to end" if updated else ""


def _status(seen: Seen, phase: RolloutPhase, reason: str) -> RolloutStatus:
    updated, available = seen.status.get("updatedReplicas", 0), seen.status.get("availableReplicas", 0)
    return RolloutStatus(phase, reason, updated=updated, available=available, desired=seen.desired)
