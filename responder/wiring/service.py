"""The running service, as commands and tests hold it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from responder.clients.kubernetes import KubernetesClient
from responder.domain.rulebook import Rulebook
from responder.domain.target import HelmRef, WorkloadRef
from responder.engine.brain import Brain
from responder.engine.desk import IncidentDesk
from responder.engine.feed import Feed
from responder.engine.reload import Reloader
from responder.stores.database import Database


class Server(uvicorn.Server):
    """uvicorn without its signal handling: the command decides when to stop, and everything beside the server must stop too."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(slots=True)
class Service:
    """A running service. url: where it listens. stop: ask it to end; `wait` returns when it has, or raises what broke it."""

    url: str
    reloader: Reloader
    database: Database
    brain: Brain
    desk: IncidentDesk
    server: Server
    feed: Feed
    cluster: KubernetesClient
    main: asyncio.Task[None] | None = None

    @property
    def rulebook(self) -> Rulebook:
        """The one in force now."""
        return self.reloader.in_force

    def stop(self) -> None:
        self.feed.close()  # or the server would wait for those who listen
        self.server.should_exit = True

    def reload_soon(self) -> None:
        """For signal handlers. The outcome is logged and counted."""
        self.reloader.reload_soon()

    async def load_credentials(self) -> None:
        """Find out now, and not at the first rollback, that the cluster's credentials can't be used. Sends nothing.

        Raises SettingsError.
        """
        places = (target.workload for target in self.rulebook.targets.values())
        if any(isinstance(place, WorkloadRef | HelmRef) for place in places):
            await self.cluster.connect()

    async def wait(self) -> None:
        if self.main is not None:
            await asyncio.shield(self.main)
