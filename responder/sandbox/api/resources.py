"""The kinds the sandbox serves, and the discovery documents that tell of them."""

from __future__ import annotations

from dataclasses import dataclass

from responder.sandbox.api.store import Json

VERSION = {
    "major": "1",
    "minor": "33",
    "gitVersion": "v1.33.0+sandbox",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "go1.24",
    "compiler": "gc",
    "platform": "linux/amd64",
}
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Resource:
    """group: "" for core. subresources: served besides the object itself.

    fields: what field selectors may name, besides name and namespace.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As messages name it: `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind


DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", short=("deploy",), subresources=("scale", "status"))
REPLICA_SETS = Resource(
    "apps", "v1", "replicasets", "ReplicaSet", short=("rs",), subresources=("scale", "status"), fields=("status.replicas",)
)
PODS = Resource(
    "", "v1", "pods", "Pod", short=("po",), subresources=("log", "status"),
    fields=("spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "status.phase", "status.podIP"),
)  # fmt: skip
EVENTS = Resource(
    "", "v1", "events", "Event", short=("ev",),
    fields=(
        *(f"involvedObject.{key}" for key in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")),
        "reason", "reportingComponent", "source", "type",
    ),
)  # fmt: skip
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False, short=("ns",), fields=("status.phase",))
NODES = Resource("", "v1", "nodes", "Node", namespaced=False, short=("no",), fields=("spec.unschedulable",))
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", short=("sa",))

SERVICES = Resource("", "v1", "services", "Service", short=("svc",))
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
JOBS = Resource("batch", "v1", "jobs", "Job", subresources=("status",))

# The last ones are only kept, nothing acts on them.
RESOURCES = (
    NAMESPACES, NODES, PODS, EVENTS, SERVICE_ACCOUNTS, DEPLOYMENTS, REPLICA_SETS, SERVICES, ENDPOINT_SLICES, JOBS,
    Resource("", "v1", "configmaps", "ConfigMap", short=("cm",)),
    Resource("", "v1", "secrets", "Secret", fields=("type",)),
    Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", short=("pvc",)),
    Resource("networking.k8s.io", "v1", "ingresses", "Ingress", short=("ing",)),
    Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", short=("hpa",)),
    Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", short=("pdb",)),
)  # fmt: skip
SERVED = {(resource.group, resource.version, resource.plural): resource for resource in RESOURCES}
BY_PLURAL = {resource.plural: resource for resource in RESOURCES}
REVIEWS = "authorization.k8s.io"


def _groups() -> dict[str, str]:
    return {resource.group: resource.version for resource in RESOURCES if resource.group} | {REVIEWS: "v1"}


def _group(name: str, version: str) -> Json:
    preferred = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [preferred], "preferredVersion": preferred}


def _entries(resource: Resource) -> list[Json]:
    entry: Json = {
        "name": resource.plural, "singularName": resource.kind.lower(), "namespaced": resource.namespaced, "kind": resource.kind,
        "verbs": list(VERBS), "shortNames": list(resource.short),
    }  # fmt: skip
    if resource in (PODS, DEPLOYMENTS, REPLICA_SETS):
        entry["categories"] = ["all"]
    entries = [entry]
    for sub in resource.subresources:
        scale = {"group": "autoscaling", "version": "v1", "kind": "Scale"} if sub == "scale" else {"kind": resource.kind}
        verbs = ["get"] if sub == "log" else ["get", "patch", "update"]
        entries.append({"name": f"{resource.plural}/{sub}", "singularName": "", "namespaced": True, **scale, "verbs": verbs})
    return entries


def _resource_list(group: str, version: str) -> Json:
    entries = [entry for found in RESOURCES if (found.group, found.version) == (group, version) for entry in _entries(found)]
    if group == REVIEWS:
        entries = [
            {"name": "selfsubjectaccessreviews", "singularName": "selfsubjectaccessreview", "namespaced": False,
             "kind": "SelfSubjectAccessReview", "verbs": ["create"]}
        ]  # fmt: skip
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": entries}


def discovery(path: str) -> Json | None:
    """The discovery document at this path; None when there is none."""
    groups = _groups()
    documents: dict[str, Json] = {
        "/version": VERSION,
        "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
        "/api/v1": _resource_list("", "v1"),
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*item) for item in groups.items()]},
    }
    for name, version in groups.items():
        documents[f"/apis/{name}"] = {"kind": "APIGroup", "apiVersion": "v1", **_group(name, version)}
        documents[f"/apis/{name}/{version}"] = _resource_list(name, version)
    return documents.get(path)
