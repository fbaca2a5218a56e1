"""Incidents with their events. Incident, events and messages change together, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from responder.domain.incident import Incident, IncidentEvent, IncidentStatus
from responder.errors import ConflictError, InvalidInputError, NotFoundError
from responder.ports import OpenResult, OutboxEntry
from responder.stores import ledger
from responder.stores import outbox as messages
from responder.stores.codec import clean_text, from_document, mapping_from_document, to_document
from responder.stores.connection import ConnectionThread
from responder.stores.schema import handled_identities, incident_events, incidents, joined_identities, outbox, outbox_remotes
from responder.stores.sqlite import give_back_space

_INCIDENTS_PER_PRUNE = 100


class SqlIncidents:
    """See `ports.Incidents`."""

    def __init__(self, writer: ConnectionThread, reader: ConnectionThread) -> None:
        self._writer = writer
        self._reader = reader
        self._open: dict[str, str | Incident] = {}  # open ones as they were written last: they are asked for all the time

    async def open(
        self, incident: Incident, events: Sequence[IncidentEvent] = (), outbox: Sequence[OutboxEntry] = ()
    ) -> tuple[OpenResult, Incident]:
        """Unless OPENED, nothing is written: neither events nor messages. BUSY returns the incident that holds the target."""

        def work(connection: Connection) -> tuple[OpenResult, Incident]:
            known = _find(connection, incident.identity) or _find_pruned(connection, incident)
            if known is not None:
                return OpenResult.KNOWN, known
            if incident.is_open:
                holder = connection.scalar(select(incidents.c.document).where(incidents.c.open_target == incident.target))
                if holder is not None:
                    return OpenResult.BUSY, from_document(Incident, holder)
            connection.execute(insert(incidents).values(id=incident.id, identity=incident.identity, **_columns(incident)))
            ledger.note_trouble(connection, incident)
            _add_events(connection, incident.id, events)
            messages.put(connection, outbox)
            return OpenResult.OPENED, incident

        return await self._writer.transact(work)

    async def save(self, incident: Incident, events: Sequence[IncidentEvent] = (), outbox: Sequence[OutboxEntry] = ()) -> None:
        """Raises NotFoundError when it was never opened, ConflictError when it is open again but its target is taken."""

        def work(connection: Connection) -> str:
            columns = {"identity": incident.identity, **_columns(incident)}
            change = update(incidents).where(incidents.c.id == incident.id).values(**columns)
            try:
                changed = connection.execute(change).rowcount
            except IntegrityError as error:
                raise ConflictError(f"target {incident.target} has another open incident") from error
            if changed == 0:
                raise NotFoundError(f"there is no incident {incident.id}")
            _keep_joined(connection, incident)
            _add_events(connection, incident.id, events)
            messages.put(connection, outbox)
            return str(columns["document"])

        self._open.pop(incident.id, None)  # until it is known what is written
        document = await self._writer.transact(work)
        if incident.is_open:
            self._open[incident.id] = document

    async def get(self, incident_id: str) -> Incident | None:
        known = self._open.get(incident_id)
        if known is not None:
            if isinstance(known, str):
                known = self._open[incident_id] = from_document(Incident, known)
            return known
        query = select(incidents.c.document).where(incidents.c.id == incident_id)
        document = await self._reader.run(lambda connection: connection.scalar(query))
        return None if document is None else from_document(Incident, document)

    async def find(self, identity: str) -> Incident | None:
        return await self._reader.run(lambda connection: _find(connection, identity))

    async def events(self, incident_id: str) -> list[IncidentEvent]:
        columns = incident_events.c
        query = select(columns.at, columns.kind, columns.text, columns.data).where(columns.incident_id == incident_id)
        rows = await self._reader.run(lambda connection: connection.execute(query.order_by(columns.seq)).all())
        return [IncidentEvent(row.at, row.kind, row.text, mapping_from_document(row.data)) for row in rows]

    async def list(
        self, *, target: str | None = None, open_only: bool = False, before: str | None = None, limit: int = 50
    ) -> list[Incident]:
        """Raises InvalidInputError when the incident named by `before` is not known (any more)."""

        def read(connection: Connection) -> list[str]:
            query = select(incidents.c.document)
            if target is not None:
                query = query.where(incidents.c.target == target)
            if open_only:
                query = query.where(incidents.c.open_target.is_not(None))
            if before is not None:
                query = query.where(_is_older_than(connection, before))
            query = query.order_by(incidents.c.opened_at.desc(), incidents.c.number.desc()).limit(limit)
            return list(connection.scalars(query))

        return [from_document(Incident, document) for document in await self._reader.run(read)]

    async def prune(self, before: datetime) -> int:
        """Messages that still wait are kept until they are done. Identities are kept: an incident is never opened twice."""
        pruned = 0
        while deleted := await self._writer.transact(lambda connection: _prune_some(connection, before)):
            pruned += deleted
        await self._writer.transact(lambda connection: _prune_leftovers(connection, before))
        if pruned:
            await give_back_space(self._writer)
        return pruned


def _columns(incident: Incident) -> dict[str, Any]:
    return {
        "target": incident.target,
        "open_target": incident.target if incident.is_open else None,
        "status": incident.status.value,
        "severity": incident.severity.value,
        "rule": incident.rule,
        "opened_at": incident.opened_at,
        "closed_at": incident.closed_at,
        "document": to_document(incident),
    }


def _find(connection: Connection, identity: str) -> Incident | None:
    """By its own identity, or by one that joined it."""
    joined = select(joined_identities.c.incident_id).where(joined_identities.c.identity == identity).scalar_subquery()
    mine = or_(incidents.c.identity == identity, incidents.c.id == joined)
    document = connection.scalar(select(incidents.c.document).where(mine))
    return None if document is None else from_document(Incident, document)


def _find_pruned(connection: Connection, incident: Incident) -> Incident | None:
    """What is still known of a pruned incident, put into the shape of the one that would repeat it."""
    joined = select(joined_identities.c.incident_id).where(joined_identities.c.identity == incident.identity).scalar_subquery()
    mine = or_(handled_identities.c.identity == incident.identity, handled_identities.c.incident_id == joined)
    row = connection.execute(select(handled_identities).where(mine)).first()
    if row is None:
        return None
    return replace(
        incident,
        id=row.incident_id,
        status=IncidentStatus(row.status),
        reason="handled before; its details have been pruned",
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        plan=None,
        pins={},
        steps=(),
    )


def _keep_joined(connection: Connection, incident: Incident) -> None:
    """An incident may also give up what joined it."""
    mine = joined_identities.c.incident_id == incident.id
    known = set(connection.scalars(select(joined_identities.c.identity).where(mine)))
    if gone := known.difference(incident.joined):
        connection.execute(delete(joined_identities).where(mine, joined_identities.c.identity.in_(gone)))
    new = [{"identity": identity, "incident_id": incident.id} for identity in incident.joined if identity not in known]
    if new:
        connection.execute(insert(joined_identities), new)


def _add_events(connection: Connection, incident_id: str, events: Sequence[IncidentEvent]) -> None:
    if not events:
        return
    last = connection.scalar(select(func.max(incident_events.c.seq)).where(incident_events.c.incident_id == incident_id)) or 0
    rows = [
        {
            "incident_id": incident_id,
            "seq": seq,
            "at": event.at,
            "kind": event.kind,
            "text": clean_text(event.text),
            "data": to_document(event.data),
        }
        for seq, event in enumerate(events, last + 1)
    ]
    connection.execute(insert(incident_events), rows)


def _is_older_than(connection: Connection, incident_id: str) -> Any:
    cursor = connection.execute(select(incidents.c.opened_at, incidents.c.number).where(incidents.c.id == incident_id)).first()
    if cursor is None:
        raise InvalidInputError(f"there is no incident {incident_id} to go on from", field="cursor")
    same_age = and_(incidents.c.opened_at == cursor.opened_at, incidents.c.number < cursor.number)
    return or_(incidents.c.opened_at < cursor.opened_at, same_age)


def _prune_some(connection: Connection, before: datetime) -> int:
    columns = incidents.c
    closed_at = func.coalesce(columns.closed_at, columns.opened_at, type_=columns.opened_at.type)
    chosen = select(columns.id, columns.identity, columns.status, columns.opened_at, closed_at.label("closed_at"))
    old = chosen.where(columns.open_target.is_(None), closed_at < before).limit(_INCIDENTS_PER_PRUNE)
    rows = connection.execute(old).all()
    if not rows:
        return 0
    handled = [
        {
            "identity": row.identity,
            "incident_id": row.id,
            "status": row.status,
            "opened_at": row.opened_at,
            "closed_at": row.closed_at,
        }
        for row in rows
    ]
    connection.execute(insert(handled_identities), handled)
    connection.execute(delete(incidents).where(columns.id.in_([row.id for row in rows])))  # its events go with it
    return len(rows)


def _prune_leftovers(connection: Connection, before: datetime) -> None:
    """Done messages and remembered values of incidents that are gone."""
    gone = outbox.c.incident_id.not_in(select(incidents.c.id))
    connection.execute(delete(outbox).where(gone, outbox.c.done_at < before))
    orphaned = and_(
        outbox_remotes.c.incident_id.not_in(select(incidents.c.id)),
        outbox_remotes.c.incident_id.not_in(select(outbox.c.incident_id)),
    )
    connection.execute(delete(outbox_remotes).where(orphaned))
