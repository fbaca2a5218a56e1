"""The guard `owner`: who forbids a change, who is suspended first, and what people are told to declare instead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from responder.domain.guard import Outcome
from responder.domain.ownership import judge_owners
from responder.domain.target import OnOwner
from responder.domain.version import Owner
from tests.unit.version_values import state, target, version

V1 = version("v1", 1, -600)
V2 = version("v2", 2, -10, current=True)
KUSTOMIZATION, HELM_RELEASE = Owner("Flux", "kustomize/flux-system/shop"), Owner("Flux", "helm/shop/web")
HELM, ARGO_CD = Owner("Helm", "shop/web"), Owner("ArgoCD", "shop")
REFUSE, SUSPEND = OnOwner.REFUSE, OnOwner.SUSPEND


@pytest.mark.parametrize(
    ("on_owner", "owners", "outcome", "reason"),
    [
        pytest.param(REFUSE, (), Outcome.PASS, "no other controller", id="nobody owns it"),
        pytest.param(
            REFUSE, (KUSTOMIZATION,), Outcome.REFUSE, "add `owner: suspend`", id="Flux, and nobody allowed to suspend it"
        ),
        pytest.param(SUSPEND, (KUSTOMIZATION,), Outcome.PASS, "is suspended first", id="Flux, to be suspended"),
        pytest.param(SUSPEND, (HELM_RELEASE, HELM), Outcome.PASS, "helm/shop/web is suspended", id="a chart that Flux installed"),
        pytest.param(
            SUSPEND, (HELM,), Outcome.REFUSE, "`helm: {namespace: shop, release: web}`", id="a chart that Helm itself installed"
        ),
        pytest.param(
            SUSPEND, (KUSTOMIZATION, HELM), Outcome.REFUSE, "release: web", id="a Kustomization does not speak for a Helm release"
        ),
        pytest.param(SUSPEND, (ARGO_CD,), Outcome.REFUSE, "`argocd: shop`", id="an application of Argo CD"),
        pytest.param(SUSPEND, (ARGO_CD, KUSTOMIZATION), Outcome.REFUSE, "ArgoCD shop", id="one of two can't be suspended"),
        pytest.param(SUSPEND, (Owner("Rollout", "web"),), Outcome.REFUSE, "rollout: web", id="a Rollout"),
        pytest.param(SUSPEND, (Owner("Operator", "x"),), Outcome.REFUSE, "owned by Operator x", id="a controller nobody knows"),
    ],
)
def test_owners(on_owner: OnOwner, owners: tuple[Owner, ...], outcome: Outcome, reason: str) -> None:
    verdict, said = judge_owners(replace(target(), on_owner=on_owner), state(V2, V1, owners=owners))
    assert verdict is outcome
    assert reason in said


def test_what_could_not_be_found_out_is_never_suspended_away() -> None:
    unknown = state(V2, V1, owners=(KUSTOMIZATION,), owner_unknown="no right to list rollouts")
    assert judge_owners(replace(target(), on_owner=SUSPEND), unknown)[0] is Outcome.UNKNOWN
