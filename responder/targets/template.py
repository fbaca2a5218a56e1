"""Pod templates as the server stores them: what is equal, what is material, what the version is called.

Both sides of every comparison come from the same server, so defaults and quantities are already spelled alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

Template = Mapping[str, Any]

HASH_LABEL = "pod-template-hash"
ROLLOUTS_HASH_LABEL = "rollouts-pod-template-hash"
_HASH_LABELS = (HASH_LABEL, ROLLOUTS_HASH_LABEL)
VERSION_LABEL = "app.kubernetes.io/version"
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_MATERIAL_KEYS = ("name", "image", "command", "args", "env", "envFrom", "resources")
_VOLATILE = frozenset(
    {"restartedat", "restarted", "restart", "timestamp", "updatetime", "rollme", "redeploy", "redeployat", "lastreloadedfrom"}
)
_CONFIG_VOLUMES = ("configMap", "secret", "projected", "csi")


def without_hash(template: Template) -> dict[str, Any]:
    """The template as its workload holds it: the ReplicaSet's own label taken off."""
    meta = dict(template.get("metadata") or {})
    meta["labels"] = {key: value for key, value in (meta.get("labels") or {}).items() if key not in _HASH_LABELS}
    return {**template, "metadata": meta}


def digest(template: Template) -> str:
    """Equal for templates that are equal for their workload."""
    return _sha256(_tidy(without_hash(template)))


def steady_digest(template: Template) -> str:
    """Like digest, but blind to restart stamps and the like."""
    bare = without_hash(template)
    annotations = bare["metadata"].pop("annotations", None) or {}
    steady = {key: value for key, value in annotations.items() if not is_volatile(key)}
    if steady:
        bare["metadata"]["annotations"] = steady
    return _sha256(_tidy(bare))


def is_volatile(annotation: str) -> bool:
    """Annotations that only say when, or make pods start anew: `kubectl.kubernetes.io/restartedAt` and its imitators."""
    word = annotation.rpartition("/")[2].casefold().replace("-", "").replace("_", "").replace(".", "")
    return word in _VOLATILE


def fingerprint(template: Template) -> str:
    """Equal when nothing material differs: images, command, env, resources and config references, init containers included."""
    spec = template.get("spec") or {}
    material = {
        "containers": _material_containers(spec.get("containers")),
        "initContainers": _material_containers(spec.get("initContainers")),
        "volumes": _config_volumes(spec.get("volumes")),
    }
    return _sha256(_tidy(material))


def images(template: Template) -> tuple[str, ...]:
    """In the template's order, without init containers."""
    return tuple(str(container.get("image", "")) for container in (template.get("spec") or {}).get("containers") or [])


def version_name(template: Template) -> str:
    """Image tag of the main container, else its digest, else the version label, else "latest" (what a bare name pulls)."""
    image = _main_image(template)
    repository, _, image_digest = image.partition("@")
    tag = repository.rpartition("/")[2].partition(":")[2]
    if tag:
        return tag
    if image_digest:
        algorithm, _, value = image_digest.partition(":")
        return f"{algorithm}:{value[:12]}"
    labels = (template.get("metadata") or {}).get("labels") or {}
    return str(labels.get(VERSION_LABEL) or "latest")


def _main_image(template: Template) -> str:
    containers = (template.get("spec") or {}).get("containers") or [{}]
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    named = [one for one in containers if one.get("name") == annotations.get(DEFAULT_CONTAINER)]
    return str((named or containers)[0].get("image", ""))


def _material_containers(containers: Any) -> list[dict[str, Any]]:
    # In the order given: of env it matters ($(VAR) looks back), of init containers too.
    return [{key: one[key] for key in _MATERIAL_KEYS if one.get(key)} for one in containers or []]


def _config_volumes(volumes: Any) -> list[dict[str, Any]]:
    found = [{key: one[key] for key in ("name", *_CONFIG_VOLUMES) if key in one} for one in volumes or []]
    return sorted((one for one in found if len(one) > 1), key=lambda one: str(one["name"]))


def _tidy(value: Any) -> Any:
    """Without nulls: for the server, null is the same as not there (older ones write `creationTimestamp: null`)."""
    if isinstance(value, Mapping):
        return {key: _tidy(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_tidy(inner) for inner in value]
    return value


def _sha256(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
