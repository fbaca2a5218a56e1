"""Owners of a target: who would undo our change, what the target lets us do about it, and what to declare instead."""

from __future__ import annotations

from collections.abc import Sequence

from responder.domain.guard import Outcome
from responder.domain.target import OnOwner, Target
from responder.domain.version import Owner, WorkloadState

FLUX, HELM, ARGO_CD = "Flux", "Helm", "ArgoCD"


def judge_owners(target: Target, state: WorkloadState) -> tuple[Outcome, str]:
    """The verdict of the guard `owner`, and why."""
    if state.owner_unknown:
        return Outcome.UNKNOWN, f"can't tell who owns the object: {state.owner_unknown}"
    suspended, others = _sorted_out(target, state.owners)
    if others:
        reason = f"owned by {_names(others)}, which would undo the change or be contradicted by it{_other_way(others[0])}"
        return Outcome.REFUSE, reason
    if suspended:
        return Outcome.PASS, f"{_names(suspended)} is suspended first, as the target says"
    return Outcome.PASS, "no other controller owns the object"


def _sorted_out(target: Target, owners: Sequence[Owner]) -> tuple[list[Owner], list[Owner]]:
    """(those that are suspended before the change, those that forbid it)"""
    if target.on_owner is not OnOwner.SUSPEND:
        return [], list(owners)
    suspended = [owner for owner in owners if owner.kind == FLUX]
    # Flux installs charts as Helm does: the release is the HelmRelease's own.
    by_helm = any(owner.name.startswith("helm/") for owner in suspended)
    others = [owner for owner in owners if owner not in suspended and not (owner.kind == HELM and by_helm)]
    return suspended, others


def _names(owners: Sequence[Owner]) -> str:
    return ", ".join(f"{owner.kind} {owner.name}" for owner in owners)


def _other_way(owner: Owner) -> str:
    """What to declare so that the owner's own way is taken; "" when there is none."""
    namespace, _, name = owner.name.rpartition("/")
    ways = {
        FLUX: "add `owner: suspend` to the target to have it suspended first",
        HELM: f"declare the release as the target instead: `helm: {{namespace: {namespace}, release: {name}}}`",
        ARGO_CD: f"declare the application as the target instead: `argocd: {name}`",
        "Rollout": f"declare the Rollout as the target instead: `kubernetes: {{namespace: …, rollout: {name}}}`",
    }
    return f" ({ways[owner.kind]})" if owner.kind in ways else ""
