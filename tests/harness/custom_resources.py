"""Custom resources on the genuine API server: the kinds of Argo Rollouts and Flux as their projects name them, without schemas.

Their controllers do not run here: what they would do is played by the tests that need it, and said so there.
"""

from __future__ import annotations

from typing import Any

from tests.harness.cluster import Cluster

Object = dict[str, Any]

ROLLOUTS = "rollouts.argoproj.io"
KUSTOMIZATIONS = "kustomizations.kustomize.toolkit.fluxcd.io"
HELM_RELEASES = "helmreleases.helm.toolkit.fluxcd.io"
_KINDS = {ROLLOUTS: ("Rollout", "v1alpha1"), KUSTOMIZATIONS: ("Kustomization", "v1"), HELM_RELEASES: ("HelmRelease", "v2")}
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def define(cluster: Cluster, name: str) -> None:
    """Make the kind known, for all tests of the run; without effect when it is."""
    kind, version = _KINDS[name]
    plural, _, group = name.partition(".")
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
    served = {
        "name": version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [served]},
    }
    answer = await cluster.http.post(_DEFINITIONS, json=body)
    assert answer.status_code in (201, 409), answer.text
    await cluster.until(lambda: cluster.http.get(f"/apis/{group}/{version}/{plural}"), lambda got: got.is_success)
