"""The outbox: messages wait here until their notifier has taken them, in order per notifier and incident."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, exists, func, insert, or_, select, update

from responder.domain.notification import Delivery, Message
from responder.errors import NotFoundError
from responder.ports import OutboxEntry
from responder.stores.codec import clean_text, from_document, mapping_from_document, to_document
from responder.stores.connection import ConnectionThread
from responder.stores.schema import outbox, outbox_remotes

NEVER_SO_LONG = timedelta(minutes=15)
"""No message is put off for longer: one that would be due later was written by a clock that has been set back since."""


def put(connection: Connection, entries: Sequence[OutboxEntry]) -> None:
    """Within the incident's transaction. A message that is already there for this notifier is left as it is."""
    for entry in entries:
        message = entry.message
        same = select(outbox.c.id).where(outbox.c.notifier == entry.to, outbox.c.message_id == message.id)
        if connection.execute(same).first() is not None:
            continue
        connection.execute(
            insert(outbox).values(
                notifier=entry.to,
                incident_id=message.incident_id,
                message_id=message.id,
                attempts=0,
                due_at=message.at,
                gave_up=False,
                error="",
                document=to_document(message),
            )
        )


class SqlOutbox:
    """See `ports.Outbox`. An unknown delivery raises NotFoundError."""

    def __init__(self, writer: ConnectionThread, reader: ConnectionThread) -> None:
        self._writer = writer
        self._reader = reader

    async def put(self, entries: Sequence[OutboxEntry]) -> None:
        await self._writer.transact(lambda connection: put(connection, entries))

    async def due(self, now: datetime, limit: int) -> list[Delivery]:
        remote = and_(outbox_remotes.c.incident_id == outbox.c.incident_id, outbox_remotes.c.notifier == outbox.c.notifier)
        query = (
            select(
                outbox.c.id, outbox.c.notifier, outbox.c.attempts, outbox.c.document, outbox_remotes.c.document.label("remote")
            )
            .outerjoin(outbox_remotes, remote)
            .where(_is_head(), or_(outbox.c.due_at <= now, outbox.c.due_at > now + NEVER_SO_LONG))
            .order_by(outbox.c.due_at, outbox.c.id)
            .limit(limit)
        )

        def read(connection: Connection) -> list[Delivery]:
            return [
                Delivery(
                    id=row.id,
                    to=row.notifier,
                    message=from_document(Message, row.document),
                    attempts=row.attempts,
                    remote=mapping_from_document(row.remote) if row.remote else {},
                )
                for row in connection.execute(query)
            ]

        return await self._reader.run(read)

    async def next_due(self) -> datetime | None:
        query = select(func.min(outbox.c.due_at)).where(_is_head())
        return await self._reader.run(lambda connection: connection.scalar(query))

    async def pending(self) -> int:
        query = select(func.count()).select_from(outbox).where(outbox.c.done_at.is_(None))
        return await self._reader.run(lambda connection: connection.scalar(query) or 0)

    async def begin(self, delivery_id: int) -> None:
        await self._writer.transact(lambda connection: _change(connection, delivery_id, {"attempts": outbox.c.attempts + 1}))

    async def delivered(self, delivery_id: int, at: datetime, remote: Mapping[str, str]) -> None:
        def finish(connection: Connection) -> None:
            _change(connection, delivery_id, {"done_at": at, "error": ""})
            _remember(connection, delivery_id, remote)

        await self._writer.transact(finish)

    async def postpone(self, delivery_id: int, until: datetime, error: str) -> None:
        change = {"due_at": until, "error": clean_text(error)}
        await self._writer.transact(lambda connection: _change(connection, delivery_id, change))

    async def give_up(self, delivery_id: int, at: datetime, error: str) -> None:
        change = {"done_at": at, "gave_up": True, "error": clean_text(error)}
        await self._writer.transact(lambda connection: _change(connection, delivery_id, change))


def _is_head() -> ColumnElement[bool]:
    """The oldest message that is not done, of its notifier and incident: due or not, it holds up the later ones."""
    earlier = outbox.alias("earlier")
    return and_(
        outbox.c.done_at.is_(None),
        ~exists().where(
            earlier.c.notifier == outbox.c.notifier,
            earlier.c.incident_id == outbox.c.incident_id,
            earlier.c.done_at.is_(None),
            earlier.c.id < outbox.c.id,
        ),
    )


def _change(connection: Connection, delivery_id: int, values: Mapping[str, object]) -> None:
    if connection.execute(update(outbox).where(outbox.c.id == delivery_id).values(**values)).rowcount == 0:
        raise NotFoundError(f"there is no delivery {delivery_id}")


def _remember(connection: Connection, delivery_id: int, remote: Mapping[str, str]) -> None:
    """Add to what is known at the service; a notifier that has nothing new to say forgets nothing."""
    if not remote:
        return
    key = connection.execute(select(outbox.c.incident_id, outbox.c.notifier).where(outbox.c.id == delivery_id)).one()
    mine = and_(outbox_remotes.c.incident_id == key.incident_id, outbox_remotes.c.notifier == key.notifier)
    known = connection.scalar(select(outbox_remotes.c.document).where(mine))
    if known is None:
        values = {"incident_id": key.incident_id, "notifier": key.notifier, "document": to_document(remote)}
        connection.execute(insert(outbox_remotes).values(**values))
        return
    merged = {**mapping_from_document(known), **remote}
    connection.execute(update(outbox_remotes).where(mine).values(document=to_document(merged)))
