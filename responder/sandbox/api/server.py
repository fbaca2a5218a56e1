"""The HTTP face of the sandbox cluster's API."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from responder.ports import Clock
from responder.sandbox.api import refusals
from responder.sandbox.api.access import Tokens, User
from responder.sandbox.api.openapi import openapi
from responder.sandbox.api.operations import Operations, scale_of, timestamp
from responder.sandbox.api.paths import Asked, read_path
from responder.sandbox.api.refusals import Cause, RefusalError
from responder.sandbox.api.resources import REVIEWS, Resource, discovery
from responder.sandbox.api.selectors import selection
from responder.sandbox.api.store import Json
from responder.sandbox.api.tables import table
from responder.sandbox.api.watches import Watch, WatchRequest

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
REVIEW_PATH = f"/apis/{REVIEWS}/v1/selfsubjectaccessreviews"
ReadLog = Callable[[Json], str]


def _answer(body: Json, code: int = 200) -> Response:
    return Response(orjson.dumps(body) + b"\n", code, media_type="application/json")


def _true(text: str | None) -> bool:
    return (text or "").lower() in ("1", "true")


def _end_of(log: str, request: Request) -> str:
    """As `tailLines` and `limitBytes` want it. Lines of the sandbox have no times, so `sinceTime` leaves out none."""
    try:
        count, limit = (int(request.query_params.get(name) or len(log)) for name in ("tailLines", "limitBytes"))
    except ValueError as error:
        raise refusals.bad_request(f"tailLines or limitBytes: {error}") from error
    return "".join(log.splitlines(keepends=True)[-count:] if count else [])[:limit]


class ApiServer:
    """read_log: the log text of a pod."""

    def __init__(self, operations: Operations, tokens: Tokens, clock: Clock, read_log: ReadLog) -> None:
        self._operations, self._tokens, self._clock, self._read_log = operations, tokens, clock, read_log
        self._store = operations.store

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._handle, methods=METHODS)])

    async def _handle(self, request: Request) -> Response:
        try:
            user = self._tokens.user(request.headers.get("authorization"))
            return await self._route(request, user)
        except RefusalError as refusal:
            return _answer(refusal.status, refusal.code)

    async def _route(self, request: Request, user: User) -> Response:
        path = request.url.path.rstrip("/")
        if path in ("/readyz", "/healthz", "/livez"):
            return PlainTextResponse("ok")
        document = discovery(path) or openapi(path)
        if document is not None:
            return _answer(document)
        if path == REVIEW_PATH and request.method == "POST":
            return _answer(self._review(await self._body(request), user), 201)
        if not path.startswith(("/api/", "/apis/")):
            raise refusals.forbidden_path(user.name, "get", path) if not user.may("get") else refusals.no_such_resource()
        asked = read_path(request.method, path, watch=_true(request.query_params.get("watch")))
        if not user.may(asked.verb):
            raise refusals.forbidden(
                user.name, asked.verb, asked.resource, namespace=asked.namespace, name=asked.name, subresource=asked.subresource
            )
        return await self._serve(asked, request)

    async def _serve(self, asked: Asked, request: Request) -> Response:
        if asked.verb == "watch":
            return self._watch(asked, request)
        if asked.verb == "list":
            return self._list(asked, request)
        if asked.verb == "get":
            return self._get(asked, request)
        return await self._write(asked, request)

    async def _write(self, asked: Asked, request: Request) -> Response:
        resource, dry_run = asked.resource, self._dry_run(request)
        if asked.verb == "create":
            body = await self._body(request, resource)
            return _answer(self._operations.create(resource, asked.namespace, body, dry_run=dry_run), 201)
        if asked.verb == "update":
            return _answer(self._replace(asked, await self._body(request, resource), dry_run))
        if asked.verb == "patch":
            content_type, body_bytes = request.headers.get("content-type", ""), await request.body()
            patched = self._operations.patch(
                resource, asked.namespace, asked.name, content_type, body_bytes, subresource=asked.subresource, dry_run=dry_run
            )
            return _answer(patched)
        options = await self._delete_options(request)
        if await request.body():  # then the query says nothing, as with a genuine server
            dry_run = "All" in (options.get("dryRun") or [])
        return _answer(self._delete(asked, options, request, dry_run))

    def _get(self, asked: Asked, request: Request) -> Response:
        item = self._operations.get(asked.resource, asked.namespace, asked.name)
        if asked.subresource == "log":
            return PlainTextResponse(_end_of(self._read_log(item), request))
        if asked.subresource == "scale":
            return _answer(scale_of(item))
        return _answer(self._table(asked.resource, [item]) if self._wants_table(request) else item)

    def _replace(self, asked: Asked, body: Json, dry_run: bool) -> Json:
        if asked.subresource == "scale":
            old = self._operations.get(asked.resource, asked.namespace, asked.name)
            return self._operations.put_scale(asked.resource, old, body, dry_run=dry_run)
        return self._operations.replace(
            asked.resource, asked.namespace, asked.name, body, subresource=asked.subresource, dry_run=dry_run
        )

    def _found(self, asked: Asked, request: Request) -> list[Json]:
        query = request.query_params
        selected = selection(asked.resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        return [item for item in self._store.items(asked.resource.plural, asked.namespace or None) if selected(item)]

    def _list(self, asked: Asked, request: Request) -> Response:
        items = self._found(asked, request)
        if self._wants_table(request):
            return _answer(self._table(asked.resource, items))
        for item in items:
            item.pop("kind", None)
            item.pop("apiVersion", None)
        kind = {"kind": f"{asked.resource.kind}List", "apiVersion": asked.resource.api_version}
        return _answer({**kind, "metadata": {"resourceVersion": str(self._store.version)}, "items": items})

    def _watch(self, asked: Asked, request: Request) -> Response:
        query = request.query_params
        try:
            since, timeout = int(query.get("resourceVersion") or 0), float(query.get("timeoutSeconds") or 0)
        except ValueError as error:
            raise refusals.bad_request(f"resourceVersion or timeoutSeconds: {error}") from error
        wanted = WatchRequest(
            asked.resource,
            asked.namespace or None,
            selection(asked.resource, query.get("labelSelector", ""), query.get("fieldSelector", "")),
            since,
            timeout or None,
            _true(query.get("allowWatchBookmarks")),
            self._wants_table(request),
            _true(query.get("sendInitialEvents")),
        )
        return StreamingResponse(Watch(self._store, wanted, self._clock).lines(), media_type="application/json")

    def _delete(self, asked: Asked, options: Json, request: Request, dry_run: bool) -> Json:
        if asked.verb == "delete":
            return self._operations.delete(asked.resource, asked.namespace, asked.name, options, dry_run=dry_run)
        items = self._found(asked, request)
        for item in items:
            metadata = item["metadata"]
            self._operations.delete(asked.resource, metadata.get("namespace", ""), metadata["name"], options, dry_run=dry_run)
        kind = {"kind": f"{asked.resource.kind}List", "apiVersion": asked.resource.api_version}
        return {**kind, "metadata": {"resourceVersion": str(self._store.version)}, "items": items}

    def _review(self, review: Json, user: User) -> Json:
        verb = ((review.get("spec") or {}).get("resourceAttributes") or {}).get("verb", "")
        return {**review, "metadata": {"creationTimestamp": timestamp(self._clock())}, "status": {"allowed": user.may(verb)}}

    def _table(self, resource: Resource, items: list[Json]) -> Json:
        return table(resource, items, self._store.version, self._clock())

    @staticmethod
    def _wants_table(request: Request) -> bool:
        return "as=Table" in request.headers.get("accept", "")

    @staticmethod
    def _dry_run(request: Request) -> bool:
        values = request.query_params.getlist("dryRun")
        if any(value not in ("", "All") for value in values):
            options = Resource("meta.k8s.io", "v1", "", "PatchOptions")
            text = f'Unsupported value: []string{json.dumps(values).replace("[", "{").replace("]", "}")}: supported values: "All"'
            raise refusals.invalid(options, "", [Cause("dryRun", text, "FieldValueNotSupported")])
        return "All" in values

    @staticmethod
    async def _body(request: Request, resource: Resource | None = None) -> Json:
        kind = resource.kind if resource else "SelfSubjectAccessReview"
        raw = await request.body()
        if "protobuf" in request.headers.get(
            "content-type", ""
        ):  # what `kubectl create deployment` sends; `create -f` sends JSON
            raise refusals.unsupported_media_type()
        unrecognised = (
            f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: "
        )
        try:
            body: Any = orjson.loads(raw)
        except ValueError as error:
            raise refusals.bad_request(f"{unrecognised}{error} ({raw[:100].decode(errors='replace') or '<empty>'})") from error
        if not isinstance(body, dict):
            raise refusals.bad_request(f"{unrecognised}cannot unmarshal the value into an object")
        if resource and body.get("kind", kind) != kind and body.get("kind") != "Scale":
            raise refusals.bad_request(f"{body['kind']} in version {body.get('apiVersion')!r} cannot be handled as a {kind}")
        return body

    async def _delete_options(self, request: Request) -> Json:
        """Options come in the body or in the query."""
        body = await self._body(request, Resource("", "v1", "", "DeleteOptions")) if await request.body() else {}
        query = request.query_params
        if policy := query.get("propagationPolicy"):
            body["propagationPolicy"] = policy
        if (grace := query.get("gracePeriodSeconds")) is not None:
            body["gracePeriodSeconds"] = int(grace)
        return body
