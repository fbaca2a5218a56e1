"""Defaults that an API server fills in, for the fields that templates commonly leave out."""

from __future__ import annotations

from responder.sandbox.api.resources import DEPLOYMENTS, NAMESPACES, PODS, REPLICA_SETS, Resource
from responder.sandbox.api.store import Json

_POD: Json = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
}
_CONTAINER: Json = {"resources": {}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def _fill(item: Json, defaults: Json) -> None:
    for key, value in defaults.items():
        if item.get(key) is None:
            item[key] = dict(value) if isinstance(value, dict) else value


def _pull_policy(image: str) -> str:
    name = image.rpartition("/")[2]
    if "@" in name:
        return "IfNotPresent"
    return "Always" if name.partition(":")[2] in ("", "latest") else "IfNotPresent"


def _fill_container(container: Json) -> None:
    _fill(container, {**_CONTAINER, "imagePullPolicy": _pull_policy(str(container.get("image", "")))})
    for port in container.get("ports") or []:
        _fill(port, {"protocol": "TCP"})
    for variable in container.get("env") or []:
        if reference := (variable.get("valueFrom") or {}).get("fieldRef"):
            _fill(reference, {"apiVersion": "v1"})
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            _fill(probe, dict(_PROBE))
            if "httpGet" in probe:
                _fill(probe["httpGet"], {"path": "/", "scheme": "HTTP"})


def fill_pod_spec(spec: Json) -> None:
    _fill(spec, _POD)
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        _fill_container(container)
    for volume in spec.get("volumes") or []:
        for source in ("configMap", "secret", "projected", "downwardAPI"):
            if volume.get(source) is not None:
                _fill(volume[source], {"defaultMode": 420})
    if account := spec.get("serviceAccountName"):
        _fill(spec, {"serviceAccount": account})


def _fill_template(template: Json) -> None:
    template.setdefault("metadata", {}).setdefault("creationTimestamp", None)
    fill_pod_spec(template.setdefault("spec", {}))


def _fill_strategy(spec: Json) -> None:
    strategy = spec.setdefault("strategy", {})
    _fill(strategy, {"type": "RollingUpdate"})
    if strategy["type"] == "RollingUpdate":
        _fill(strategy, {"rollingUpdate": {}})
        _fill(strategy["rollingUpdate"], {"maxUnavailable": "25%", "maxSurge": "25%"})


def fill_defaults(resource: Resource, item: Json) -> None:
    """Change `item` in place. It must have passed the type checks of `validation`."""
    spec = item.setdefault("spec", {}) if resource in (DEPLOYMENTS, REPLICA_SETS, PODS, NAMESPACES) else {}
    if resource == DEPLOYMENTS:
        _fill(spec, {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600})
        _fill_strategy(spec)
        _fill_template(spec.setdefault("template", {}))
    elif resource == REPLICA_SETS:
        _fill(spec, {"replicas": 1})
        _fill_template(spec.setdefault("template", {}))
    elif resource == PODS:
        fill_pod_spec(spec)
        _fill(spec, {"enableServiceLinks": True, "serviceAccountName": "default", "serviceAccount": "default"})
        item.setdefault("status", {}).setdefault("phase", "Pending")
    elif resource == NAMESPACES:
        _fill(spec, {"finalizers": ["kubernetes"]})
        item.setdefault("status", {}).setdefault("phase", "Active")
        item["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = item["metadata"]["name"]
