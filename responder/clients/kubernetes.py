"""Kubernetes over its own Python client: credentials and transport are the library's, objects stay raw JSON.

Typed models silently drop template fields they don't know, so nothing here decodes into them.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from responder.clients.kubernetes_connection import Connection, Object
from responder.clients.kubernetes_errors import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, Call
from responder.clients.kubernetes_watch import Watch
from responder.clients.shared_reading import SharedReadings
from responder.errors import NotFoundError, ResponderError

FIELD_MANAGER = "responder"
_LIST_PAGE = 500
_ONLY_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
_GROUPS_KNOWN_FOR = 30.0  # seconds: kinds come and go with the installation of whole programs
_WORTH_A_WARNING = 4  # failures in a row
_PATIENT_AT_ONCE = 4

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object as the API spells it. group: "" for the core group."""

    group: str
    version: str
    plural: str

    def call(self, verb: str, namespace: str, name: str = "", subresource: str = "") -> Call:
        """A GET of the collection, of the object with this name, or of its subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        path = f"{root}/namespaces/{quote(namespace, safe='')}/{self.plural}"
        if name:
            path = f"{path}/{quote(name, safe='')}"
        if not subresource:
            return Call(verb, str(self), path, namespace, name)
        right = f"{self.plural}/{subresource}.{self.group}" if self.group else f"{self.plural}/{subresource}"
        return Call(verb, right, f"{path}/{subresource}", namespace, name)

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


DEPLOYMENTS = Resource("apps", "v1", "deployments")
REPLICA_SETS = Resource("apps", "v1", "replicasets")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets")
DAEMON_SETS = Resource("apps", "v1", "daemonsets")
CONTROLLER_REVISIONS = Resource("apps", "v1", "controllerrevisions")
PODS = Resource("", "v1", "pods")
CONFIG_MAPS = Resource("", "v1", "configmaps")
SECRETS = Resource("", "v1", "secrets")
SERVICES = Resource("", "v1", "services")
ENDPOINTS = Resource("", "v1", "endpoints")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices")
JOBS = Resource("batch", "v1", "jobs")
EVENTS = Resource("", "v1", "events")


class KubernetesClient:
    """One cluster. Connects on first use, keeps connections alive, close it at the end.

    kubeconfig: path (or several, as KUBECONFIG allows); None lets the library look: KUBECONFIG, ~/.kube/config, in-cluster.
    timeout: for one whole request; watches have their own.
    Raises the errors of `responder.errors`; no message ever holds a credential.
    """

    def __init__(self, kubeconfig: str | None = None, *, timeout: timedelta = timedelta(seconds=10)) -> None:
        self._connection = Connection(kubeconfig, timeout)
        self._served: dict[str, tuple[float, str | None]] = {}
        self._shared = SharedReadings()
        self._patient_turns = asyncio.Semaphore(_PATIENT_AT_ONCE)
        self._is_patient = False

    async def connect(self) -> None:
        """Import the library and load credentials now, so that the first request needn't. Sends nothing."""
        await self._connection.open()

    async def close(self) -> None:
        await self._connection.close()

    def patiently(self) -> KubernetesClient:
        """The same cluster over the same connections, for what can wait: few of these requests go out at once."""
        patient = copy.copy(self)
        patient._is_patient = True
        return patient

    async def _ask(self, call: Call) -> Object:
        if not self._is_patient:
            return await self._connection.ask(call)
        async with self._patient_turns:
            return await self._connection.ask(call)

    async def get(self, resource: Resource, namespace: str, name: str, *, subresource: str = "") -> Object:
        return await self._ask(resource.call("get", namespace, name, subresource))

    async def get_or_none(self, resource: Resource, namespace: str, name: str) -> Object | None:
        try:
            return await self.get(resource, namespace, name)
        except NotFoundError:
            return None

    async def get_metadata(self, resource: Resource, namespace: str, name: str) -> Object:
        """Without what is in it: a Secret's contents never get here. (A server that does not know the form sends the whole.)"""
        return await self._ask(replace(resource.call("get", namespace, name), accept=_ONLY_METADATA))

    async def list(self, resource: Resource, namespace: str, *, labels: str = "", fields: str = "") -> list[Object]:
        """All objects, page by page. labels, fields: selectors as text."""
        query = {"limit": str(_LIST_PAGE), "labelSelector": labels, "fieldSelector": fields, "continue": ""}
        items: list[Object] = []
        while True:
            asked = {key: value for key, value in query.items() if value}
            page = await self._ask(replace(resource.call("list", namespace), query=asked))
            items += page.get("items") or []
            query["continue"] = page.get("metadata", {}).get("continue", "")
            if not query["continue"]:
                return items

    async def list_shared(self, resource: Resource, namespace: str) -> Sequence[Object]:
        """Like `list` of all; those who ask at the same time share an answer that was asked for after the last of them did."""
        return await self._shared.read((resource, namespace), lambda: self.list(resource, namespace))

    async def patch_json(
        self, resource: Resource, namespace: str, name: str, operations: Sequence[Object], *, dry_run: bool = False
    ) -> Object:
        """JSON patch. A failed `test` raises ConflictError."""
        call = resource.call("patch", namespace, name)
        return await self._write(replace(call, method="PATCH", body=list(operations), content=JSON_PATCH), dry_run)

    async def patch_merge(
        self, resource: Resource, namespace: str, name: str, body: Object, *, subresource: str = "", dry_run: bool = False
    ) -> Object:
        call = resource.call("patch", namespace, name, subresource)
        return await self._write(replace(call, method="PATCH", body=body, content=MERGE_PATCH), dry_run)

    async def create(self, resource: Resource, namespace: str, body: Object, *, dry_run: bool = False) -> Object:
        return await self._write(replace(resource.call("create", namespace), method="POST", body=body), dry_run)

    async def replace(
        self, resource: Resource, namespace: str, name: str, body: Object, *, subresource: str = "", dry_run: bool = False
    ) -> Object:
        """PUT. With a resourceVersion in the body a change meanwhile raises ConflictError."""
        call = resource.call("update", namespace, name, subresource)
        return await self._write(replace(call, method="PUT", body=body), dry_run)

    async def apply(
        self, resource: Resource, namespace: str, name: str, body: Object, *, force: bool = False, dry_run: bool = False
    ) -> Object:
        """Server-side apply. A field that another manager owns raises ConflictError unless forced."""
        call = resource.call("patch", namespace, name)
        query = {"force": "true"} if force else {}
        return await self._write(replace(call, method="PATCH", body=body, content=APPLY_PATCH, query=query), dry_run)

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str,
        grace: int | None = None,
        propagation: str = "Background",
        dry_run: bool = False,
    ) -> Object:
        """Only the object with this uid, else ConflictError. grace: seconds, None leaves it to the object."""
        options: Object = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": propagation,
        }
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        query = {}
        if dry_run:  # with a body the server reads no options from the query: there it is only for those who look on
            query["dryRun"], options["dryRun"] = "All", ["All"]
        call = resource.call("delete", namespace, name)
        return await self._ask(replace(call, method="DELETE", body=options, query=query))

    async def read_log(
        self,
        namespace: str,
        pod: str,
        *,
        container: str = "",
        lines: int,
        since: datetime | None = None,
        limit: int | None = None,
        previous: bool = False,
    ) -> str:
        """The last lines of a container's log. since: to the second, by the node's clock. limit: bytes; the rest is cut off.

        previous: of the container that this one took the place of.
        """
        query = {"tailLines": str(lines)} | ({"container": container} if container else {})
        query |= {"sinceTime": since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")} if since else {}
        query |= {"limitBytes": str(limit)} if limit else {}
        query |= {"previous": "true"} if previous else {}
        return await self._connection.ask_text(replace(PODS.call("get", namespace, pod, "log"), query=query))

    async def execute(
        self, namespace: str, pod: str, argv: Sequence[str], *, container: str, silence: timedelta
    ) -> tuple[int, str]:
        """Run a program in a container; returns its exit code and what it said last. silence: how long it may say nothing."""
        from responder.clients.kubernetes_exec import execute

        call = replace(PODS.call("get", namespace, pod, "exec"), method="POST")  # it may have an effect
        return await execute(self._connection, call, argv, container=container, silence=silence)

    async def kinds_of(self, api_version: str) -> Mapping[str, Resource]:
        """The namespaced kinds that the cluster serves in this version of a group; none when it does not know it."""
        group, _, version = api_version.rpartition("/")
        try:
            found = await self._ask(Call("get", f"API {api_version}", f"/apis/{api_version}" if group else f"/api/{version}"))
        except NotFoundError:
            return {}
        listed = [one for one in found.get("resources") or [] if one.get("namespaced") and "/" not in one["name"]]
        return {one["kind"]: Resource(group, version, one["name"]) for one in listed}

    async def _write(self, call: Call, dry_run: bool) -> Object:
        # A server older than 1.25 does not know fieldValidation and ignores it.
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        return await self._ask(replace(call, query={**call.query, **query, **({"dryRun": "All"} if dry_run else {})}))

    async def create_event(
        self,
        about: Object,
        *,
        reason: str,
        message: str,
        at: datetime,
        kind: str = "Normal",
        action: str = "Rollback",
        name: str = "",
    ) -> Object:
        """Leave a core/v1 Event on an object, as an audit trail for whoever describes it. name: so that it is there once."""
        meta = about["metadata"]
        stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        involved = {"apiVersion": about["apiVersion"], "kind": about["kind"], "namespace": meta["namespace"]}
        involved |= {"name": meta["name"], "uid": meta["uid"]}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": ({"name": name} if name else {"generateName": f"{meta['name']}."}) | {"namespace": meta["namespace"]},
            "involvedObject": involved,
            "reason": reason,
            "message": message[:1024],
            "type": kind,
            "action": action,
            "count": 1,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "reportingInstance": FIELD_MANAGER,
        }
        return await self.create(EVENTS, meta["namespace"], event)

    async def serves(self, group: str) -> bool:
        """Does the cluster know this API group? Every authenticated client may ask. The answer may be half a minute old."""
        return await self.known_version(group) is not None

    async def known_version(self, group: str) -> str | None:
        """Like `served_version`, but the answer may be half a minute old."""
        now = asyncio.get_running_loop().time()
        known = self._served.get(group)
        if known is None or now - known[0] >= _GROUPS_KNOWN_FOR:
            known = (now, await self._shared.read(group, lambda: self.served_version(group)))
            self._served[group] = known
        return known[1]

    async def served_version(self, group: str) -> str | None:
        """The version that the cluster prefers for this API group; None when it does not know the group."""
        try:
            found = await self._ask(Call("get", f"API group {group}", f"/apis/{group}"))
        except NotFoundError:
            return None
        return str((found.get("preferredVersion") or {}).get("version", ""))

    async def watch(self, resource: Resource, namespace: str, name: str) -> AsyncGenerator[Object | None]:
        """One object: as it is now, then after every change; None while it does not exist.

        Never ends by itself: a lost connection, an expired resourceVersion or a missing right is tried again with backoff.
        """
        watch = Watch(self._connection, resource.call("list", namespace), name)
        try:
            while True:
                yield await retry_for_ever(f"watch {resource} {name} in namespace {namespace}")(watch.next_change)
        finally:
            watch.close()


def retry_for_ever(doing: str) -> AsyncRetrying:
    """For watches: every error of ours is tried again, with backoff up to half a minute."""

    def tell(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        # The server ends every watch after some minutes: only what goes on is worth a warning.
        level = logging.WARNING if state.attempt_number >= _WORTH_A_WARNING else logging.INFO
        _log.log(level, "kubernetes_try_again", doing=doing, attempt=state.attempt_number, reason=str(error))

    wait = wait_random_exponential(multiplier=0.1, max=30)
    return AsyncRetrying(wait=wait, retry=retry_if_exception_type(ResponderError), before_sleep=tell)
