"""What can be rolled back, at its real place. Implemented by targets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, runtime_checkable

from responder.domain.target import Target
from responder.domain.version import Pin, RolloutStatus, WorkloadState


class Workload(Protocol):
    """One declared target at its real place."""

    async def read(self) -> WorkloadState:
        """Facts, fresh from the server. Raises the errors of `responder.errors`; a missing right is named."""
        ...

    async def roll_back(self, pin: Pin, before_write: Callable[[], Awaitable[None]]) -> str:
        """Make the target equal to `pin.to_version`; safe to call again after a crash. Returns one sentence on what was done.

        before_write is awaited once, right before the first request that changes anything.
        Raises RefusedError when the target is neither at pin.from_version nor at pin.to_version, or its uid changed.
        """
        ...

    async def rollout(self, pin: Pin) -> RolloutStatus:
        """How far the rollout of pin.to_version is."""
        ...

    def watch(self) -> AsyncIterator[WorkloadState]:
        """A state whenever something changed; the first at once. Reconnects by itself; ends only by cancellation."""
        ...


@runtime_checkable
class Inspectable(Protocol):
    """A target that can look closer than `Workload.read` needs to."""

    async def inspect(self) -> WorkloadState:
        """As `read`, with what stands around it (`WorkloadState.surroundings`)."""
        ...


@runtime_checkable
class Stepwise(Protocol):
    """A target whose rollback takes several writes, so that it can be cut off half-way."""

    async def has_begun(self, pin: Pin) -> bool:
        """Whether an earlier attempt of this very rollback changed something. Then it is finished, whatever the alert does."""
        ...


@runtime_checkable
class Traceable(Protocol):
    """A target on which a trace of a rollback can be left for whoever looks at the object."""

    async def leave_trace(self, pin: Pin) -> None:
        """Best effort: raises nothing of ours, changes nothing that runs. Once per incident, however often it is called."""
        ...


class Workloads(Protocol):
    """All declared targets at their places."""

    def of(self, target: Target) -> Workload:
        """Asks nobody yet. Raises InvalidInputError when there is nothing for this kind of target."""
        ...
