"""Reads what stands around a workload: autoscalers, budgets, quotas, and the ConfigMaps and Secrets that its versions name.

Everything is asked at the same time. What may not be read is said; a kind that the cluster does not serve is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Any

from responder.clients.kubernetes import CONFIG_MAPS, SECRETS, KubernetesClient, Resource
from responder.domain.surroundings import Budget, Config, Quota, Surroundings
from responder.domain.target import Concern, GuardSettings, WorkloadRef
from responder.errors import NotFoundError, ResponderError
from responder.targets.pod_needs import amounts, needs_of
from responder.targets.revision import Revision, time_of
from responder.targets.strategy import room_of

Object = Mapping[str, Any]

_AUTOSCALERS = ("autoscaling", "horizontalpodautoscalers")
_BUDGETS = ("policy", "poddisruptionbudgets")  # v1beta1 before Kubernetes 1.21; what is read of it is the same
_QUOTAS = ("", "resourcequotas")
_CONFIGS_AT_MOST = 30
_CONTENTS = ("f:data", "f:binaryData", "f:stringData")


class Neighbourhood:
    """Begun with the namespace alone, so that it is read while the workload itself is. Take it, or let go of it."""

    def __init__(self, client: KubernetesClient, ref: WorkloadRef, settings: GuardSettings) -> None:
        self._client = client
        self._ref = ref
        self._settings = settings
        self._lists = [
            asyncio.create_task(_asked(self._list(*_AUTOSCALERS))),
            asyncio.create_task(_asked(self._unless(settings.disruption_budget, *_BUDGETS))),
            asyncio.create_task(_asked(self._unless(settings.quota, *_QUOTAS))),
        ]

    def let_go(self) -> None:
        for task in self._lists:
            task.cancel()

    async def around(self, found: Object, known: Sequence[Revision], desired: int) -> Surroundings:
        """Of this workload and the versions that it could go back to."""
        others = [one for one in known if not one.version.current]
        references = {one.version.digest: _references(one.template) for one in others}
        configs, (autoscalers, no_autoscalers), (budgets, no_budgets), (quotas, no_quotas) = await asyncio.gather(
            self._configs(references), *self._lists
        )
        unavailable, surge = room_of(found, desired)
        labels = found["spec"]["template"]["metadata"].get("labels") or {}
        why = {"autoscalers": no_autoscalers, "budgets": no_budgets, "quotas": no_quotas}
        return Surroundings(
            replicas=desired,
            unavailable=unavailable,
            surge=surge,
            autoscalers=None if autoscalers is None else _autoscalers(autoscalers, self._ref),
            budgets=None if budgets is None else _budgets(budgets, labels),
            quotas=None if quotas is None else _quotas(quotas),
            needs={one.version.digest: needs_of(one.template) for one in others},
            references={digest: tuple(names) for digest, names in references.items()},
            configs=configs,
            unreadable={word: text for word, text in why.items() if text},
        )

    async def _unless(self, concern: Concern, group: str, plural: str) -> list[dict[str, Any]]:
        return [] if concern is Concern.IGNORE else await self._list(group, plural)

    async def _list(self, group: str, plural: str) -> list[dict[str, Any]]:
        version = await self._client.known_version(group) if group else "v1"
        return [*await self._client.list_shared(Resource(group, version, plural), self._ref.namespace)] if version else []

    async def _configs(self, references: Mapping[str, Mapping[str, bool]]) -> dict[str, Config]:
        if self._settings.changed_config is Concern.IGNORE:
            return {}
        optional: dict[str, bool] = {}
        for names in references.values():
            for name, may_miss in names.items():
                optional[name] = optional.get(name, True) and may_miss
        wanted = list(optional)[:_CONFIGS_AT_MOST]
        read = await asyncio.gather(*(self._config(name) for name in wanted))
        return {one.name: one for one in read if one.changed_at or one.unreadable or not optional[one.name]}

    async def _config(self, name: str) -> Config:
        kind, _, own = name.partition("/")
        try:
            found = await self._client.get_metadata(SECRETS if kind == "secret" else CONFIG_MAPS, self._ref.namespace, own)
        except NotFoundError:
            return Config(name)
        except ResponderError as error:
            return Config(name, unreadable=str(error))
        return Config(name, _changed_at(found["metadata"]))


async def _asked(reading: Awaitable[list[dict[str, Any]]]) -> tuple[list[dict[str, Any]] | None, str]:
    """What was read, or None and why not."""
    try:
        return await reading, ""
    except NotFoundError:
        return [], ""
    except ResponderError as error:
        return None, str(error)


def _autoscalers(items: Sequence[Object], ref: WorkloadRef) -> tuple[str, ...]:
    def is_meant(item: Object) -> bool:
        scaled = item["spec"].get("scaleTargetRef") or {}
        return (scaled.get("kind"), scaled.get("name")) == (ref.kind, ref.name)

    return tuple(f"HorizontalPodAutoscaler {item['metadata']['name']}" for item in items if is_meant(item))


def _budgets(items: Sequence[Object], labels: Mapping[str, str]) -> tuple[Budget, ...]:
    mine = [item for item in items if selects(item["spec"].get("selector"), labels)]
    return tuple(Budget(item["metadata"]["name"], (item.get("status") or {}).get("desiredHealthy", 0)) for item in mine)


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """A LabelSelector; an empty one selects everything, none nothing."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for expression in selector.get("matchExpressions") or []:
        key, values = expression["key"], expression.get("values") or []
        holds = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not holds[expression["operator"]]:
            return False
    return True


def _quotas(items: Sequence[Object]) -> tuple[Quota, ...]:
    """Those with scopes count some pods only, and which ones is not ours to work out."""
    whole = [item for item in items if not (item["spec"].get("scopes") or item["spec"].get("scopeSelector"))]
    return tuple(
        Quota(
            item["metadata"]["name"],
            amounts((item.get("status") or {}).get("hard")),
            amounts((item.get("status") or {}).get("used")),
        )
        for item in whole
    )


def _references(template: Object) -> dict[str, bool]:
    """What its pods can't start without, and what they can (True): `configmap/name`, `secret/name`."""
    found: dict[str, bool] = {}

    def note(kind: str, name: str | None, source: Object) -> None:
        if name:
            key = f"{kind}/{name}"
            found[key] = found.get(key, True) and bool(source.get("optional"))

    spec = template.get("spec") or {}
    for volume in spec.get("volumes") or []:
        for source in (volume, *((volume.get("projected") or {}).get("sources") or [])):
            if config := source.get("configMap"):
                note("configmap", config.get("name"), config)
            if secret := source.get("secret"):
                note("secret", secret.get("secretName") or secret.get("name"), secret)
    for container in (*(spec.get("initContainers") or []), *(spec.get("containers") or [])):
        keys = [one.get("valueFrom") or {} for one in container.get("env") or []]
        for source in (*(container.get("envFrom") or []), *keys):
            for word, kind in (("configMap", "configmap"), ("secret", "secret")):
                reference = source.get(f"{word}Ref") or source.get(f"{word}KeyRef") or {}
                note(kind, reference.get("name"), reference)
    return found


def _changed_at(meta: Object) -> datetime | None:
    """When its contents were last written, as far as the server tells."""
    written = [one for one in meta.get("managedFields") or [] if any(word in (one.get("fieldsV1") or {}) for word in _CONTENTS)]
    times = [time_of(one.get("time")) for one in written]
    return max((one for one in times if one is not None), default=time_of(meta.get("creationTimestamp")))
