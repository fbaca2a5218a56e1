"""Waiting for the real service to have done what a test is about."""

from __future__ import annotations

import contextlib
import json
import sqlite3

from tests.harness.service import Json, ResponderService

SECONDS = 90.0


async def closed(service: ResponderService, incident_id: str = "", seconds: float = SECONDS) -> Json:
    """The incident, the newest one if none is named, once it is closed."""

    async def found() -> str:
        incidents = await service.incidents()
        done = [one["id"] for one in incidents if one["closed_at"] and incident_id in ("", one["id"])]
        return str(done[0]) if done else ""

    async def is_closed() -> bool:
        return bool(await found())

    await service.program.until(f"closed: {incident_id or 'an incident'}", is_closed, seconds)
    return await service.incident(await found())


async def in_the_ledger(service: ResponderService, count: int = 1) -> None:
    """Wait until so many targets have a version that the ledger has seen to be up."""

    async def are_known() -> bool:
        with contextlib.closing(sqlite3.connect(service.rules_file.parent / "responder.db")) as database:
            rows = database.execute("select document from ledger where replaced_at is null").fetchall()
        return sum(bool(json.loads(row[0]).get("available_from")) for row in rows) >= count

    await service.program.until(f"{count} in the ledger", are_known, SECONDS)
