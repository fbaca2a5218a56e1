"""`kubernetes.restore`: put back what a snapshot of a ConfigMap or Secret holds.

Only over the content that is known to be bad: the hash that the rulebook or a person names, or what nobody has touched since the
incident was opened. What is replaced is kept as a snapshot first.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from responder.actions.kubernetes.difference import content_hash, difference
from responder.actions.kubernetes.edit import Notes, check_hold, insist, make
from responder.actions.kubernetes.parameters.objects import RestoreParameters
from responder.actions.kubernetes.paths import Object, copied
from responder.actions.kubernetes.place import Place, check_mode, locate_object, place_of_target
from responder.actions.kubernetes.restart import restart_plan
from responder.actions.kubernetes.rollouts import is_past_the_change, rolled_out
from responder.actions.kubernetes.snapshots import CONTENT, keep, kept_in, known_snapshots, snapshot_of, taken_at
from responder.actions.templates import render_argument
from responder.clients.kubernetes import FIELD_MANAGER, KubernetesClient
from responder.errors import NotFoundError, PermanentError, RefusedError
from responder.ports import StepContext

Intent = Mapping[str, Any]


class Restore:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = RestoreParameters.read(parameters)
        place = await locate_object(step.object, context, self._client)
        for target in step.restart:
            check_mode(context, target)
        work = _Restore(self._client, step, place, context)
        text = await insist(context, work.attempt)
        for target in step.restart if work.intent is not None else ():
            text = f"{text}; {await work.restart(target)}"
        return text

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = RestoreParameters.read(parameters)
        place = await locate_object(step.object, context, self._client)
        work = _Restore(self._client, step, place, context)
        now = await self._client.get(place.resource, place.namespace, place.name)
        snapshot = await work.choose(now)
        then = _with_content(now, snapshot)
        if content_hash(now) == content_hash(then):
            return f"nothing to do: {place} holds what {snapshot['metadata']['name']} keeps"
        work.check(now)
        outcome = await self._client.replace(place.resource, place.namespace, place.name, then, dry_run=True)
        after = f", then restart {', '.join(step.restart)}" if step.restart else ""
        name = snapshot["metadata"]["name"]
        return f"would put back what {name} keeps into {place}{after}\n{difference(now, outcome)}"


class _Restore:
    """intent: what stands written down; None while there is nothing to do."""

    def __init__(self, client: KubernetesClient, step: RestoreParameters, place: Place, context: StepContext) -> None:
        self._client = client
        self._step = step
        self._place = place
        self._context = context
        self.intent: Intent | None = context.intent
        self._marked = False

    async def attempt(self) -> str:
        place = self._place
        now = await self._client.get(place.resource, place.namespace, place.name)
        if self.intent is None:
            snapshot = await self.choose(now)
            if content_hash(now) == content_hash(snapshot):
                return f"nothing to do: {place} holds what {snapshot['metadata']['name']} keeps"
            return await self._begin(now, snapshot)
        return await self._go_on(now, self.intent)

    async def choose(self, now: Object) -> Object:
        """The snapshot that is asked for."""
        step, context = self._step, self._context
        known = await known_snapshots(self._client, self._place)
        if step.snapshot is not None:
            name = render_argument(step.snapshot, context.incident, context.target)
            named = (one for one in known if one["metadata"]["name"] == name)
            return _intact(_found(named, f"no snapshot {name} of {self._place}"))
        limit = self._limit()
        if limit is not None:
            older = (one for one in known if taken_at(one) < limit)
            return _intact(_found(older, f"no snapshot of {self._place} is older than {limit.isoformat()}"))
        other = (one for one in known if content_hash(one) != content_hash(now))
        return _intact(_found(other, f"no snapshot of {self._place} holds anything else than it holds now"))

    def _limit(self) -> datetime | None:
        context = self._context
        text = "" if self._step.before is None else render_argument(self._step.before, context.incident, context.target)
        if text not in ("", "deploy"):
            try:
                limit = datetime.fromisoformat(text)
            except ValueError:
                limit = None
            if limit is None or limit.tzinfo is None:
                raise PermanentError(f"before: {text[:40]!r} is not a time with its zone")
            return limit
        pin = context.incident.pins.get(context.target)
        if pin is not None and pin.from_version.created_at is not None:
            return pin.from_version.created_at
        if text == "deploy":
            raise PermanentError("it is not known when the version was rolled out; name the snapshot")
        return None

    def check(self, now: Object) -> None:
        """Refuse what must not be replaced."""
        place, step = self._place, self._step
        if now.get("immutable"):
            raise RefusedError(f"{place} is immutable: it can only be deleted and made anew, under another name as a rule")
        if step.bad is not None:
            bad = render_argument(step.bad, self._context.incident, self._context.target)
            if len(bad) < 8 or not content_hash(now).startswith(bad):
                raise RefusedError(f"{place} holds content {content_hash(now)[:12]}, not the bad one ({bad[:12]})")
        elif not step.force:
            changes = _changes_since(now, self._context.incident.opened_at)
            if changes:
                told = ", ".join(f"{who} at {when:%H:%M:%S} UTC" for who, when in changes)
                raise RefusedError(
                    f"{place} was changed by {told}, after the incident began:"
                    " somebody may have mended it; `force: true` replaces it all the same"
                )

    async def _begin(self, now: Object, snapshot: Object) -> str:
        place, context = self._place, self._context
        await check_hold(self._client, place, now)
        self.check(now)
        then = _with_content(now, snapshot)
        await self._client.replace(place.resource, place.namespace, place.name, then, dry_run=True)
        current = snapshot_of(place, now, context.now(), context.incident.id)
        context.progress(f"about to put back what {snapshot['metadata']['name']} keeps into {place}")
        await self._mark()
        intent = {
            "stage": "write",
            "object": place.note(),
            "uid": now["metadata"]["uid"],
            "snapshot": snapshot["metadata"]["name"],
            "from": content_hash(now),
            "to": content_hash(snapshot),
            "kept": current["metadata"]["name"],
            "restarts": {},
        }
        await context.record(intent)
        self.intent = intent
        await keep(self._client, place, current)
        return await self._write(then, intent)

    async def _go_on(self, now: Object, intent: Intent) -> str:
        place = self._place
        if now["metadata"]["uid"] != intent["uid"]:
            raise RefusedError(f"{place} was deleted and made anew since this step began: another object")
        held = content_hash(now)
        if held == intent["to"]:
            return f"{place} holds what {intent['snapshot']} keeps; what it held is kept as {intent['kept']}"
        if intent["stage"] != "write" or held != intent["from"]:
            raise PermanentError(f"{place} was changed by somebody else since this step began; a person must look")
        resource = kept_in(place)
        snapshot = _intact(await self._client.get(resource, place.namespace, str(intent["snapshot"])))
        await self._mark()
        if await self._client.get_or_none(resource, place.namespace, str(intent["kept"])) is None:
            current = snapshot_of(place, now, self._context.now(), self._context.incident.id)
            current["metadata"]["name"] = intent["kept"]
            await keep(self._client, place, current)
        return await self._write(_with_content(now, snapshot), intent)

    async def _write(self, then: Object, intent: Intent) -> str:
        place = self._place
        await self._client.replace(place.resource, place.namespace, place.name, then)
        return f"put back what {intent['snapshot']} keeps into {place}; what it held is kept as {intent['kept']}"

    async def _mark(self) -> None:
        if not self._marked:
            await self._context.mark_changed()
            self._marked = True

    async def restart(self, target: str) -> str:
        """Each restart is written down by itself, so that it happens once."""
        context, intent = self._context, dict(self.intent or {})
        restarts: dict[str, Any] = dict(intent.get("restarts") or {})

        async def record(note: Mapping[str, object]) -> None:
            restarts[target] = dict(note)
            self.intent = {**intent, "stage": "restart", "restarts": restarts}
            await context.record(self.intent)

        place = place_of_target(context, target)
        if is_past_the_change(restarts.get(target)):
            return await rolled_out(context, target)
        notes = Notes(restarts.get(target), record, self._mark)
        edited = await make(self._client, place, restart_plan(place, context.now()), context, notes)
        await record({**(edited.intent or {}), "stage": "rollout"})
        return f"{edited.text}; {await rolled_out(context, target)}"


def _with_content(now: Object, snapshot: Object) -> Object:
    """The object with the content of the snapshot, and the version that was read as a precondition."""
    then: Object = copied({key: value for key, value in now.items() if key not in ("data", "binaryData")})
    then |= {key: copied(snapshot[key]) for key in ("data", "binaryData") if snapshot.get(key)}
    return then


def _found(candidates: Any, otherwise: str) -> Object:
    found: Object | None = next(iter(candidates), None)
    if found is None:
        raise NotFoundError(otherwise)
    return found


def _intact(snapshot: Object) -> Object:
    said = (snapshot["metadata"].get("annotations") or {}).get(CONTENT)
    if said and said != content_hash(snapshot):
        raise RefusedError(f"snapshot {snapshot['metadata']['name']} does not hold what was kept: somebody changed it")
    return snapshot


def _changes_since(item: Object, moment: datetime) -> list[tuple[str, datetime]]:
    """Who changed it since then, as far as the server keeps books on it."""
    entries = [(str(one.get("manager", "?")), one.get("time")) for one in item["metadata"].get("managedFields") or []]
    known = [(who, datetime.fromisoformat(when)) for who, when in entries if when and who != FIELD_MANAGER]
    return [(who, when) for who, when in known if when > moment]
