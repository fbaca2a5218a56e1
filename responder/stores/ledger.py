"""The ledger: what each target has run, and which versions were rolled back from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from responder.domain.incident import FORCED, Incident, IncidentStatus
from responder.domain.past_rollbacks import PastRollback
from responder.domain.version import LedgerEntry
from responder.stores.codec import from_document, to_document
from responder.stores.connection import ConnectionThread
from responder.stores.schema import bad_versions, incidents, ledger, troubles

ENTRIES_PER_TARGET = 1000  # the oldest go first; what was bad is kept apart and stays
TROUBLES_PER_TARGET = 500

# The current version is the newest, however little is known about it.
_OLDEST_FIRST = (ledger.c.replaced_at.is_(None), ledger.c.rolled_out_at.asc().nulls_first(), ledger.c.number)


class SqlLedger:
    """See `ports.Ledger`."""

    def __init__(self, writer: ConnectionThread, reader: ConnectionThread) -> None:
        self._writer = writer
        self._reader = reader

    async def put(self, *entries: LedgerEntry) -> None:
        def work(connection: Connection) -> None:
            for entry in entries:
                _put(connection, entry)

        await self._writer.transact(work)

    async def entries(self, target: str) -> list[LedgerEntry]:
        query = select(ledger.c.document).where(ledger.c.target == target).order_by(*_OLDEST_FIRST)
        documents = await self._reader.run(lambda connection: list(connection.scalars(query)))
        return [from_document(LedgerEntry, document) for document in documents]

    async def mark_bad(self, target: str, fingerprint: str, at: datetime, incident_id: str) -> None:
        """Once per incident: marking again, after a crash, neither counts twice nor moves the time."""
        values = {"target": target, "fingerprint": fingerprint, "incident_id": incident_id}
        known = select(bad_versions.c.at).filter_by(**values)

        def work(connection: Connection) -> None:
            if connection.execute(known).first() is None:
                connection.execute(insert(bad_versions).values(at=at, **values))

        await self._writer.transact(work)

    async def bad_fingerprints(self, target: str) -> Mapping[str, str]:
        """Of several incidents, the latest."""
        columns = bad_versions.c
        query = select(columns.fingerprint, columns.incident_id).where(columns.target == target).order_by(columns.at)
        rows = await self._reader.run(lambda connection: connection.execute(query).all())
        return {row.fingerprint: row.incident_id for row in rows}

    async def troubles(self, target: str) -> list[datetime]:
        query = select(troubles.c.began_at).where(troubles.c.workload == target).order_by(troubles.c.began_at)
        return await self._reader.run(lambda connection: list(connection.scalars(query)))

    async def rollbacks_since(self, target: str, since: datetime) -> int:
        query = select(func.count()).select_from(bad_versions).where(bad_versions.c.target == target, bad_versions.c.at >= since)
        return await self._reader.run(lambda connection: connection.scalar(query) or 0)

    async def past_rollbacks(self, limit: int) -> list[PastRollback]:
        """Of incidents that were pruned nobody knows any more how they ended."""
        bad, began = bad_versions.c, func.min(bad_versions.c.at, type_=bad_versions.c.at.type)
        query = (
            select(bad.target, bad.incident_id, began.label("at"), incidents.c.status, incidents.c.rule)
            .select_from(bad_versions.outerjoin(incidents, incidents.c.id == bad.incident_id))
            .group_by(bad.target, bad.incident_id, incidents.c.status, incidents.c.rule)
            .order_by(began.desc())
            .limit(limit)
        )
        rows = await self._reader.run(lambda connection: connection.execute(query).all())
        return [
            PastRollback(
                row.target,
                row.incident_id,
                row.at,
                failed=row.status == IncidentStatus.FAILED,
                succeeded=row.status == IncidentStatus.RESOLVED,
                ordered=row.rule == FORCED,
            )
            for row in rows
        ]


def note_trouble(connection: Connection, incident: Incident) -> None:
    """Within the transaction that opens it: an alert asks for a rollback, whatever comes of it. The latest are kept."""
    if incident.plan is None or incident.began_at is None or not incident.workload:
        return
    mine = troubles.c.workload == incident.workload
    if connection.execute(select(mine).where(mine, troubles.c.began_at == incident.began_at)).first() is not None:
        return
    connection.execute(insert(troubles).values(workload=incident.workload, began_at=incident.began_at))
    latest = select(troubles.c.began_at).where(mine).order_by(troubles.c.began_at.desc()).offset(TROUBLES_PER_TARGET).limit(1)
    if (oldest := connection.scalar(latest)) is not None:
        connection.execute(delete(troubles).where(mine, troubles.c.began_at <= oldest))


def _put(connection: Connection, entry: LedgerEntry) -> None:
    """An unknown rolled_out_at is a key like any other."""
    values = {
        "target": entry.target,
        "fingerprint": entry.fingerprint,
        "rolled_out_at": entry.rolled_out_at,
        "replaced_at": entry.replaced_at,
        "document": to_document(entry),
    }
    key = and_(
        ledger.c.target == entry.target,
        ledger.c.fingerprint == entry.fingerprint,
        ledger.c.rolled_out_at.is_not_distinct_from(entry.rolled_out_at),
    )
    if connection.execute(update(ledger).where(key).values(**values)).rowcount == 0:
        connection.execute(insert(ledger).values(**values))
        _drop_oldest(connection, entry.target)


def _drop_oldest(connection: Connection, target: str) -> None:
    mine = ledger.c.target == target
    surplus = (connection.scalar(select(func.count()).select_from(ledger).where(mine)) or 0) - ENTRIES_PER_TARGET
    if surplus > 0:
        oldest = list(connection.scalars(select(ledger.c.number).where(mine).order_by(*_OLDEST_FIRST).limit(surplus)))
        connection.execute(delete(ledger).where(ledger.c.number.in_(oldest)))
