"""What differs between the kinds of workloads whose pod template can be put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from responder.clients.kubernetes import KubernetesClient, Resource
from responder.domain.version import RolloutStatus
from responder.targets.revision import Revision

Object = Mapping[str, Any]


class Templates(Protocol):
    """Objects that hold a pod template which can be replaced. keeper: the kind of object that keeps revisions, for messages."""

    @property
    def resource(self) -> Resource: ...

    @property
    def keeper(self) -> str: ...

    async def revisions(self, client: KubernetesClient, found: Object, /) -> list[Revision]:
        """What it can go back to, newest first, the current one included as soon as the controller has seen it."""
        ...

    def is_paused(self, found: Object, /) -> bool: ...

    def caveat(self, found: Object, /) -> str:
        """What people should know before a rollback of this one; "" for nothing."""
        ...


class Kind(Templates, Protocol):
    """Workloads that tell by their own status how far they are."""

    async def rollout(
        self, client: KubernetesClient, found: Object, known: Sequence[Revision], *, explain: bool
    ) -> RolloutStatus:
        """explain: read the pods, too, to say why it does not get on."""
        ...
