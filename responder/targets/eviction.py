"""An OrderedReady StatefulSet waits for ever for a broken pod of the version that is being replaced (kubernetes#67250).

Where the target opted in, such pods are deleted: those of the bad revision that are not ready, and no others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import structlog

from responder.clients.kubernetes import PODS, KubernetesClient
from responder.domain.version import RolloutStatus
from responder.errors import ConflictError, NotFoundError
from responder.targets.controller_revisions import REVISION_LABEL
from responder.targets.pods import is_ready
from responder.targets.revision import Revision, owned, selector_text

_log = structlog.get_logger(__name__)


async def help_along(
    client: KubernetesClient, stateful_set: dict[str, Any], bad: Revision | None, status: RolloutStatus
) -> RolloutStatus:
    """Delete what blocks the rollout. Returns the status, with what was done. Safe to repeat."""
    observed = (stateful_set.get("status") or {}).get("observedGeneration", 0)
    if bad is None or observed < stateful_set["metadata"]["generation"]:
        return status  # a pod deleted before the controller knows better would come back as it was
    namespace = stateful_set["metadata"]["namespace"]
    pods = owned(stateful_set, await client.list(PODS, namespace, labels=selector_text(stateful_set["spec"]["selector"])))
    gone = []
    for pod in pods:
        meta = pod["metadata"]
        if (meta.get("labels") or {}).get(REVISION_LABEL) != bad.name or is_ready(pod):
            continue
        try:
            await client.delete(PODS, namespace, meta["name"], uid=meta["uid"])
        except (NotFoundError, ConflictError):
            continue  # gone, or another pod of that name by now
        gone.append(meta["name"])
    if not gone:
        return status
    _log.info("unready_pods_evicted", namespace=namespace, pods=gone, revision=bad.name)
    return replace(status, reason=f"{status.reason}; deleted unready {', '.join(gone)} of {bad.version.version}")
