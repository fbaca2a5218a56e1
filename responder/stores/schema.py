"""The tables, and the check that a database holds this version of them, or an older one that can be brought here."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    insert,
    inspect,
    select,
    update,
)

from responder.errors import SettingsError
from responder.stores.codec import from_micros, to_micros

SCHEMA_VERSION = 3
"""2 added what people say: suppressions, hold, audit log, kept answers; 3 troubles. Older ones are brought here in place."""


class Micros(TypeDecorator[datetime]):
    """An aware datetime as microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else from_micros(value)


_Number = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER

metadata = MetaData()

# Whole numbers that must survive: `schema_version`; `journal_pruned_to`, so that ids of pruned entries are never given again.
meta = Table("meta", metadata, Column("name", String, primary_key=True), Column("value", BigInteger, nullable=False))

journal = Table(
    "journal",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),  # microseconds; read and written without a conversion layer
    Column("kind", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("entry_id", BigInteger, nullable=False),
    Column("digest", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

# open_target: the target while the incident is open, else NULL; its uniqueness is "at most one open incident per target".
incidents = Table(
    "incidents",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("identity", String, nullable=False, unique=True),
    Column("target", String, nullable=False),
    Column("open_target", String, unique=True),
    Column("status", String, nullable=False),
    Column("severity", String, nullable=False),
    Column("rule", String, nullable=False),
    Column("opened_at", Micros, nullable=False),
    Column("closed_at", Micros),
    Column("document", Text, nullable=False),
    Index("incidents_by_age", "opened_at", "number"),
    Index("incidents_by_target", "target", "opened_at"),
)

incident_events = Table(
    "incident_events",
    metadata,
    Column("incident_id", ForeignKey("incidents.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", Micros, nullable=False),
    Column("kind", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("data", Text, nullable=False),
)

# Identities of the decisions that joined an incident: handled, like the incident's own.
joined_identities = Table(
    "joined_identities",
    metadata,
    Column("identity", String, primary_key=True),
    Column("incident_id", String, nullable=False),
)

# What is left of pruned incidents: an episode that goes on for longer than the retention must not be handled again.
handled_identities = Table(
    "handled_identities",
    metadata,
    Column("identity", String, primary_key=True),
    Column("incident_id", String, nullable=False),
    Column("status", String, nullable=False),
    Column("opened_at", Micros, nullable=False),
    Column("closed_at", Micros, nullable=False),
)

# done_at: delivered or given up. No foreign key: a message outlives its incident until it is done.
outbox = Table(
    "outbox",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("notifier", String, nullable=False),
    Column("incident_id", String, nullable=False),
    Column("message_id", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Micros, nullable=False),
    Column("done_at", Micros),
    Column("gave_up", Boolean, nullable=False),
    Column("error", Text, nullable=False),
    Column("document", Text, nullable=False),
    UniqueConstraint("notifier", "message_id"),
)
Index(
    "outbox_waiting",
    outbox.c.notifier,
    outbox.c.incident_id,
    outbox.c.id,
    sqlite_where=outbox.c.done_at.is_(None),
)
Index("outbox_by_incident", outbox.c.incident_id)

outbox_remotes = Table(
    "outbox_remotes",
    metadata,
    Column("incident_id", String, primary_key=True),
    Column("notifier", String, primary_key=True),
    Column("document", Text, nullable=False),
)

ledger = Table(
    "ledger",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("target", String, nullable=False),
    Column("fingerprint", String, nullable=False),
    Column("rolled_out_at", Micros),
    Column("replaced_at", Micros),
    Column("document", Text, nullable=False),
    Index("ledger_by_target", "target", "rolled_out_at"),
)

bad_versions = Table(
    "bad_versions",
    metadata,
    Column("target", String, primary_key=True),
    Column("fingerprint", String, primary_key=True),
    Column("incident_id", String, primary_key=True),
    Column("at", Micros, nullable=False),
)

# When alerts began that asked for a rollback, by `Target.key`: neither another name nor pruning forgets what a version met.
troubles = Table(
    "troubles",
    metadata,
    Column("workload", String, primary_key=True),
    Column("began_at", Micros, primary_key=True),
)

# ended_at: when it was ended, or its time; until then it is among those that are looked at.
suppressions = Table(
    "suppressions",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_at", Micros, nullable=False),
    Column("until", Micros, nullable=False),
    Column("ended_at", Micros),
    Column("document", Text, nullable=False),
)

# One row, once the switch was turned.
hold = Table("hold", metadata, Column("number", Integer, primary_key=True), Column("document", Text, nullable=False))

audit = Table(
    "audit",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("at", Micros, nullable=False),
    Column("document", Text, nullable=False),
    Index("audit_by_age", "at"),
)

kept_answers = Table(
    "kept_answers",
    metadata,
    Column("key", String, primary_key=True),
    Column("at", Micros, nullable=False),
    Column("digest", String, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

_ADDED: dict[int, tuple[Table, ...]] = {2: (suppressions, hold, audit, kept_answers), 3: (troubles,)}
"""Tables by the version that brought them."""


def prepare(connection: Connection, where: str) -> None:
    """Create the tables in an empty database, or check those that are there and add what is missing.

    Raises SettingsError; `where` names the database.
    """
    if inspect(connection).get_table_names():
        _upgrade(connection, check(connection, where))
        return
    metadata.create_all(connection)
    connection.execute(
        insert(meta), [{"name": "schema_version", "value": SCHEMA_VERSION}, {"name": "journal_pruned_to", "value": 0}]
    )


def _upgrade(connection: Connection, found: int) -> None:
    """In the transaction of the caller: either all of it or nothing."""
    if found == SCHEMA_VERSION:
        return
    for version in range(found + 1, SCHEMA_VERSION + 1):
        metadata.create_all(connection, tables=_ADDED[version])
    connection.execute(update(meta).where(meta.c.name == "schema_version").values(value=SCHEMA_VERSION))


def check(connection: Connection, where: str) -> int:
    """The version of the tables. Raises SettingsError unless this Responder can read them."""
    if meta.name not in inspect(connection).get_table_names():
        raise SettingsError(f"RESPONDER_DATABASE_URL: {where} holds somebody else's tables, not Responder's")
    found = connection.scalar(select(meta.c.value).where(meta.c.name == "schema_version"))
    if not isinstance(found, int) or not 1 <= found <= SCHEMA_VERSION:
        raise SettingsError(
            f"RESPONDER_DATABASE_URL: {where} has schema version {found}, this Responder knows version {SCHEMA_VERSION}; "
            + ("run a newer Responder" if isinstance(found, int) and found > SCHEMA_VERSION else "start with a new file")
        )
    return found
