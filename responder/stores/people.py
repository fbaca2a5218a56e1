"""What people said: suppressions, the hold, the audit log, answers to commands that may be repeated."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update

from responder.domain.incident import Word
from responder.domain.matcher import parse_matcher
from responder.domain.people import AuditEntry, Hold, KeptAnswer, Suppression
from responder.stores.codec import from_document, mapping_from_document, to_document
from responder.stores.connection import ConnectionThread
from responder.stores.schema import audit, hold, kept_answers, suppressions

_THE_ROW = 1


class SqlPeople:
    """See `ports.People`."""

    def __init__(self, writer: ConnectionThread, reader: ConnectionThread) -> None:
        self._writer = writer
        self._reader = reader

    async def put_suppression(self, suppression: Suppression) -> None:
        values = {
            "created_at": suppression.created_at,
            "until": suppression.until,
            "ended_at": suppression.ended.at if suppression.ended else None,
            "document": _suppression_document(suppression),
        }
        await self._writer.transact(lambda connection: _put(connection, suppressions, {"id": suppression.id}, values))

    async def suppressions(self, *, ended: bool = False) -> list[Suppression]:
        columns = suppressions.c
        query = select(columns.document).order_by(columns.created_at.desc(), columns.id)
        if not ended:
            query = query.where(columns.ended_at.is_(None))
        documents = await self._reader.run(lambda connection: list(connection.scalars(query)))
        return [_suppression_of(document) for document in documents]

    async def put_hold(self, turned: Hold) -> None:
        values = {"document": to_document(turned)}
        await self._writer.transact(lambda connection: _put(connection, hold, {"number": _THE_ROW}, values))

    async def hold(self) -> Hold:
        document = await self._reader.run(lambda connection: connection.scalar(select(hold.c.document)))
        return Hold() if document is None else from_document(Hold, document)

    async def note(self, entry: AuditEntry) -> None:
        row = insert(audit).values(at=entry.at, document=to_document(entry))
        await self._writer.transact(lambda connection: connection.execute(row))

    async def audit(self, *, before: int | None = None, limit: int = 50) -> list[tuple[int, AuditEntry]]:
        query = select(audit.c.number, audit.c.document).order_by(audit.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.number < before)
        rows = await self._reader.run(lambda connection: connection.execute(query).all())
        return [(row.number, from_document(AuditEntry, row.document)) for row in rows]

    async def keep_answer(self, key: str, answer: KeptAnswer, at: datetime) -> None:
        values = {"at": at, "digest": answer.digest, "status": answer.status, "body": answer.body}
        await self._writer.transact(lambda connection: _put(connection, kept_answers, {"key": key}, values))

    async def kept_answer(self, key: str) -> KeptAnswer | None:
        columns = kept_answers.c
        query = select(columns.digest, columns.status, columns.body).where(columns.key == key)
        row = await self._reader.run(lambda connection: connection.execute(query).first())
        return None if row is None else KeptAnswer(row.digest, row.status, row.body)

    async def open_answers(self, status: int) -> list[tuple[str, KeptAnswer]]:
        columns = kept_answers.c
        query = select(columns.key, columns.digest, columns.status, columns.body).where(columns.status == status)
        rows = await self._reader.run(lambda connection: connection.execute(query.order_by(columns.at)).all())
        return [(row.key, KeptAnswer(row.digest, row.status, row.body)) for row in rows]

    async def prune(self, *, answers_before: datetime, others_before: datetime) -> int:
        gone = (
            delete(kept_answers).where(kept_answers.c.at < answers_before),
            delete(audit).where(audit.c.at < others_before),
            delete(suppressions).where(suppressions.c.ended_at < others_before),
        )
        return await self._writer.transact(lambda connection: sum(connection.execute(one).rowcount for one in gone))


def _put(connection: Connection, table: Table, key: dict[str, Any], values: dict[str, Any]) -> None:
    mine = [table.c[name] == value for name, value in key.items()]
    if connection.execute(update(table).where(*mine).values(**values)).rowcount == 0:
        connection.execute(insert(table).values(**key, **values))


def _suppression_document(suppression: Suppression) -> str:
    """Matchers as they are written: what they compile to is none of the store's business."""
    return to_document(
        {
            "id": suppression.id,
            "matchers": [str(matcher) for matcher in suppression.matchers],
            "until": suppression.until,
            "reason": suppression.reason,
            "by": suppression.by,
            "created_at": suppression.created_at,
            "ended": suppression.ended,
            "warned": suppression.warned,
        }
    )


def _suppression_of(document: str) -> Suppression:
    kept = mapping_from_document(document)
    ended = kept.pop("ended")
    matchers = tuple(parse_matcher(text) for text in kept.pop("matchers"))
    return Suppression(matchers=matchers, ended=Word(**ended) if ended else None, **kept)
