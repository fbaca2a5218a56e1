"""Create, read, replace, patch and delete as an API server does them. No HTTP here; refusals are raised as RefusalError."""

from __future__ import annotations

import json
import secrets
import uuid
from datetime import datetime, timedelta
from typing import Any

from responder.ports import Clock
from responder.sandbox.api import refusals
from responder.sandbox.api.defaults import fill_defaults
from responder.sandbox.api.patching import apply_patch, is_apply
from responder.sandbox.api.refusals import Cause
from responder.sandbox.api.resources import DEPLOYMENTS, EVENTS, NAMESPACES, PODS, REPLICA_SETS, Resource
from responder.sandbox.api.store import Json, Store, copied
from responder.sandbox.api.validation import problems, type_error

# Deletion holds on to the object until its dependants are gone, or cut loose; see `controllers.garbage`.
FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}
_SERVER_OWNED = ("namespace", "uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
# Letters and digits of generated names: no vowels, nothing that reads alike.
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def random_suffix(length: int = 5) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _without_nothing(value: Any) -> Any:
    """Null, missing and empty are the same to Go."""
    if isinstance(value, dict):
        cleaned = {key: _without_nothing(element) for key, element in value.items()}
        return {key: element for key, element in cleaned.items() if element not in (None, {}, [], "")}
    return [_without_nothing(element) for element in value] if isinstance(value, list) else value


def same(one: Any, other: Any) -> bool:
    return bool(_without_nothing(one) == _without_nothing(other))


class Operations:
    """The API on one store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self._clock = clock

    def get(self, resource: Resource, namespace: str, name: str) -> Json:
        item = self.store.get(resource.plural, namespace, name)
        if item is None:
            raise refusals.not_found(resource, name)
        return item

    def create(self, resource: Resource, namespace: str, item: Json, *, dry_run: bool = False) -> Json:
        item = copied(item)
        self._check_form(resource, namespace, item)
        metadata = item.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + random_suffix()
        name = metadata.get("name", "")
        self._check_namespace(resource, namespace, name)
        if self.store.get(resource.plural, namespace, name) is not None:
            raise refusals.already_exists(resource, name)
        for key in (*_SERVER_OWNED, "resourceVersion", "managedFields", "selfLink"):
            metadata.pop(key, None)
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp(self._clock())}
        if resource.namespaced:
            metadata["namespace"] = namespace
        if resource in (DEPLOYMENTS, REPLICA_SETS):
            metadata["generation"] = 1
        if resource != EVENTS:
            item.pop("status", None)
        self._admit(resource, item, None)
        return item if dry_run else self.store.put(resource.plural, item)

    def replace(
        self, resource: Resource, namespace: str, name: str, item: Json, *, subresource: str = "", dry_run: bool = False
    ) -> Json:
        old = self.get(resource, namespace, name)
        self._check_form(resource, namespace, item)
        uid = item["metadata"].get("uid")
        if uid and uid != old["metadata"]["uid"]:
            raise refusals.conflict(
                resource, name, f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old['metadata']['uid']}"
            )
        return self._update(resource, old, item, subresource, dry_run)

    def patch(
        self, resource: Resource, namespace: str, name: str, content_type: str, body: bytes, *,
        subresource: str = "", dry_run: bool = False,
    ) -> Json:  # fmt: skip
        old = self.store.get(resource.plural, namespace, name)
        if old is None and is_apply(content_type):
            return self.create(resource, namespace, apply_patch({}, content_type, body), dry_run=dry_run)
        old = self.get(resource, namespace, name)
        if subresource == "scale":
            return self.put_scale(resource, old, apply_patch(scale_of(old), content_type, body), dry_run=dry_run)
        item = apply_patch(old, content_type, body)
        metadata = item.get("metadata")
        if not isinstance(metadata, dict) or type_error(resource, item) is not None:
            shown = json.dumps(json.dumps(item, separators=(",", ":")))
            raise refusals.invalid(
                resource, name, [Cause("patch", f"Invalid value: {shown}: {type_error(resource, item)} has the wrong type")]
            )
        if metadata.get("uid") not in (None, "", old["metadata"]["uid"]):
            raise refusals.invalid(
                resource, name, [Cause("metadata.uid", f'Invalid value: "{metadata["uid"]}": field is immutable')]
            )
        return self._update(resource, old, item, subresource, dry_run)

    def put_scale(self, resource: Resource, old: Json, scale: Json, *, dry_run: bool = False) -> Json:
        metadata = scale.get("metadata") or {}
        changed = copied(old)
        changed["spec"]["replicas"] = (scale.get("spec") or {}).get("replicas", 0)
        changed["metadata"]["resourceVersion"] = metadata.get("resourceVersion")
        return scale_of(self._update(resource, old, changed, "", dry_run))

    def delete(self, resource: Resource, namespace: str, name: str, options: Json, *, dry_run: bool = False) -> Json:
        """Return the object when it stays for a while (foreground, orphan, graceful), else a Status of success."""
        item = self.get(resource, namespace, name)
        metadata = item["metadata"]
        wanted = (options.get("preconditions") or {}).get("uid")
        if wanted and wanted != metadata["uid"]:
            why = f"the UID in the precondition ({wanted}) does not match the UID in record ({metadata['uid']}). "
            raise refusals.conflict(resource, name, why + "The object might have been deleted and then recreated")
        finalizer = FINALIZERS.get(options.get("propagationPolicy", ""))
        if finalizer and finalizer not in metadata.get("finalizers", []):
            metadata.setdefault("finalizers", []).append(finalizer)
        grace = self._grace(resource, item, options)
        if metadata.get("finalizers") or grace or resource == NAMESPACES:
            if "deletionTimestamp" not in metadata:
                metadata["deletionTimestamp"] = timestamp(self._clock() + timedelta(seconds=grace))
                metadata["deletionGracePeriodSeconds"] = grace
                if "generation" in metadata:
                    metadata["generation"] += 1
                if resource == NAMESPACES:
                    item["status"] = {"phase": "Terminating"}
                    del metadata["deletionGracePeriodSeconds"]
            return item if dry_run else self.store.put(resource.plural, item)
        if not dry_run:
            self.store.remove(resource.plural, namespace, name)
        details = {"name": name, "group": resource.group, "kind": resource.plural, "uid": metadata["uid"]}
        details = {key: value for key, value in details.items() if value}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _grace(self, resource: Resource, item: Json, options: Json) -> int:
        """Seconds a pod gets to end; 0 for everything else and for pods that never ran."""
        if resource != PODS or item.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return 0
        asked = options.get("gracePeriodSeconds")
        return int(item["spec"].get("terminationGracePeriodSeconds", 30) if asked is None else asked)

    def _update(self, resource: Resource, old: Json, item: Json, subresource: str, dry_run: bool) -> Json:
        name = old["metadata"]["name"]
        if item["metadata"].get("name") != name:
            shown = item["metadata"].get("name", "")
            raise refusals.bad_request(f"the name of the object ({shown}) does not match the name on the URL ({name})")
        if item["metadata"].get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
            raise refusals.conflict(resource, name)
        item = self._settled(resource, old, item, subresource)
        if same(item, old):
            return old
        if dry_run:
            return item
        if item["metadata"].get("deletionTimestamp") and not item["metadata"].get("finalizers") and resource != PODS:
            self.store.remove(resource.plural, item["metadata"].get("namespace", ""), name)
            return item
        return self.store.put(resource.plural, item)

    def _settled(self, resource: Resource, old: Json, item: Json, subresource: str) -> Json:
        """The new object as it would be stored: what clients don't own restored, defaults filled in, generation counted."""
        item = copied(item)
        metadata = item["metadata"]
        metadata.pop("managedFields", None)
        metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
        for key in _SERVER_OWNED:
            metadata.pop(key, None)
            if key in old["metadata"]:
                metadata[key] = old["metadata"][key]
        item |= {"apiVersion": resource.api_version, "kind": resource.kind}
        if subresource == "status":
            return {**copied(old), "metadata": metadata, "status": item.get("status") or {}}
        if resource != EVENTS:
            item.pop("status", None)
            if "status" in old:
                item["status"] = copied(old["status"])
        self._admit(resource, item, old)
        # Deployments count a change of annotations too.
        counted = [("spec",), ("metadata", "annotations")] if resource == DEPLOYMENTS else [("spec",)]
        if "generation" in metadata and not all(same(_at(item, path), _at(old, path)) for path in counted):
            metadata["generation"] += 1
        return item

    def _admit(self, resource: Resource, item: Json, old: Json | None) -> None:
        item |= {"apiVersion": resource.api_version, "kind": resource.kind}
        fill_defaults(resource, item)
        if causes := problems(resource, item, old):
            raise refusals.invalid(resource, item["metadata"].get("name", ""), causes)

    def _check_form(self, resource: Resource, namespace: str, item: Json) -> None:
        found = type_error(resource, item)
        if found is not None:
            kind = resource.kind
            text = f'{kind} in version "{resource.version}" cannot be handled as a {kind}: {found} has the wrong type'
            raise refusals.bad_request(text)
        given = (item.get("metadata") or {}).get("namespace") or namespace
        if given != namespace:
            raise refusals.bad_request("the namespace of the provided object does not match the namespace sent on the request")

    def _check_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        if not resource.namespaced:
            return
        if self.get(NAMESPACES, "", namespace)["metadata"].get("deletionTimestamp"):
            raise refusals.being_terminated(resource, name, namespace)


def _at(item: Json, path: tuple[str, ...]) -> Any:
    value: Any = item
    for key in path:
        value = (value or {}).get(key)
    return value


def scale_of(item: Json) -> Json:
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    labels = (item["spec"].get("selector") or {}).get("matchLabels") or {}
    return {
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {key: item["metadata"][key] for key in kept if key in item["metadata"]},
        "spec": {"replicas": replicas} if (replicas := item["spec"].get("replicas", 0)) else {},  # as Go leaves out zero
        "status": {
            "replicas": item.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        },
    }  # fmt: skip
