"""The contract of outbox and ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from responder.domain.incident import IncidentStatus
from responder.domain.notification import Delivery
from responder.domain.plan import BARE_ROLLBACK
from responder.domain.version import LedgerEntry
from responder.errors import NotFoundError
from responder.ports import OutboxEntry
from responder.stores import ledger
from responder.stores.database import Database
from tests.harness.databases import DATABASES, NOW, OpenDatabase, at, incident, post


@pytest.fixture(params=DATABASES)
def open_it(request: pytest.FixtureRequest) -> OpenDatabase:
    return DATABASES[request.param]


@pytest.fixture
async def database(open_it: OpenDatabase, tmp_path: Path) -> AsyncIterator[Database]:
    async with open_it(tmp_path) as opened:
        yield opened


async def told(database: Database, *entries: OutboxEntry, number: int = 1) -> None:
    await database.incidents.open(incident(number, target=f"target-{number}"), (), entries)


async def due(database: Database, minutes: float = 0) -> Sequence[tuple[str, str]]:
    return [(delivery.to, delivery.message.id) for delivery in await database.outbox.due(at(minutes), 10)]


async def only(database: Database, minutes: float = 0) -> Delivery:
    (delivery,) = await database.outbox.due(at(minutes), 10)
    return delivery


async def test_an_empty_outbox_has_nothing_due(database: Database) -> None:
    assert await due(database) == []
    assert await database.outbox.next_due() is None
    assert await database.outbox.pending() == 0


async def test_pending_counts_what_is_neither_delivered_nor_given_up(database: Database) -> None:
    await told(database, post("slack", 1), post("slack", 2), post("statuspage", 1), post("email", 1))
    slack, statuspage, _ = await database.outbox.due(NOW, 10)
    await database.outbox.delivered(slack.id, NOW, {})
    await database.outbox.give_up(statuspage.id, NOW, "gone")
    assert await database.outbox.pending() == 2


async def test_messages_come_back_as_they_were(database: Database) -> None:
    sent = replace(
        post("slack", 1).message, facts=(("from", "v3"), ("to", "v2")), components=("c1",), extra={"k": "ü"}, closes=True
    )
    await told(database, OutboxEntry("slack", sent))
    assert await only(database) == Delivery(id=(await only(database)).id, to="slack", message=sent)


async def test_only_the_oldest_of_each_notifier_and_incident_is_due(database: Database) -> None:
    await told(database, post("slack", 1), post("statuspage", 1), post("slack", 2))
    await told(database, post("slack", 1, of="inc_2"), number=2)
    assert await due(database) == [("slack", "inc_1-1"), ("statuspage", "inc_1-1"), ("slack", "inc_2-1")]
    assert len(await database.outbox.due(NOW, 2)) == 2


async def test_a_delivered_message_lets_the_next_one_through_with_what_was_remembered(database: Database) -> None:
    await told(database, post("slack", 1), post("slack", 2), post("slack", 3))
    await database.outbox.delivered((await only(database)).id, NOW, {"ts": "17", "channel": "C1"})
    second = await only(database)
    assert (second.message.id, second.remote) == ("inc_1-2", {"ts": "17", "channel": "C1"})
    await database.outbox.delivered(second.id, NOW, {"ts": "18"})
    third = await only(database)
    assert (third.message.id, third.remote) == ("inc_1-3", {"ts": "18", "channel": "C1"})
    await database.outbox.delivered(third.id, NOW, {})
    assert await due(database) == []


async def test_what_is_remembered_stays_with_its_incident_and_notifier(database: Database) -> None:
    await told(database, post("slack", 1), post("statuspage", 1))
    await told(database, post("slack", 1, of="inc_2"), number=2)
    first, *others = await database.outbox.due(NOW, 10)
    await database.outbox.delivered(first.id, NOW, {"ts": "17"})
    assert [delivery.remote for delivery in await database.outbox.due(NOW, 10)] == [{} for _ in others]


async def test_a_postponed_message_holds_up_the_later_ones(database: Database) -> None:
    await told(database, post("slack", 1), post("slack", 2))
    await database.outbox.postpone((await only(database)).id, at(5), "Slack is down \udcff")
    assert await due(database, 4) == []
    assert await database.outbox.next_due() == at(5)
    assert await due(database, 5) == [("slack", "inc_1-1")]


async def test_no_message_waits_for_hours_because_the_clock_was_set_back(database: Database) -> None:
    await told(database, post("slack", 1))
    await database.outbox.postpone((await only(database)).id, at(5), "away")
    assert await due(database, 4) == []
    assert await due(database, -60) == [("slack", "inc_1-1")]


async def test_giving_up_lets_the_next_one_through(database: Database) -> None:
    await told(database, post("slack", 1), post("slack", 2))
    await database.outbox.give_up((await only(database)).id, NOW, "no such channel")
    assert await due(database) == [("slack", "inc_1-2")]


async def test_an_attempt_that_was_begun_is_counted_even_when_the_process_dies(open_it: OpenDatabase, tmp_path: Path) -> None:
    async with open_it(tmp_path) as database:
        await told(database, post("slack", 1))
        await database.outbox.begin((await only(database)).id)
    async with open_it(tmp_path) as database:
        assert (await only(database)).attempts == 1


async def test_next_due_is_the_earliest_head(database: Database) -> None:
    await told(database, post("slack", 1, minutes=7), post("slack", 2, minutes=1), post("statuspage", 1, minutes=3))
    assert await database.outbox.next_due() == at(3)


async def test_the_same_message_put_twice_is_told_once(database: Database) -> None:
    await told(database, post("slack", 1))
    await database.incidents.save(incident(1), (), [post("slack", 1), post("statuspage", 1)])
    assert await due(database) == [("slack", "inc_1-1"), ("statuspage", "inc_1-1")]
    await database.outbox.delivered((await database.outbox.due(NOW, 1))[0].id, NOW, {})
    assert await due(database) == [("statuspage", "inc_1-1")]


@pytest.mark.parametrize("verb", ["begin", "delivered", "postpone", "give_up"])
async def test_an_unknown_delivery_is_an_error(database: Database, verb: str) -> None:
    outbox = database.outbox
    calls = {
        "begin": lambda: outbox.begin(9),
        "delivered": lambda: outbox.delivered(9, NOW, {"ts": "1"}),
        "postpone": lambda: outbox.postpone(9, NOW, ""),
        "give_up": lambda: outbox.give_up(9, NOW, ""),
    }
    with pytest.raises(NotFoundError, match="9"):
        await calls[verb]()


# --- ledger ----------------------------------------------------------------------------------------------------------


def stretch(version: str, rolled_out: float | None, replaced: float | None = None, **changes: object) -> LedgerEntry:
    return LedgerEntry(
        target="app",
        fingerprint=f"fingerprint-{version}",
        version=version,
        revision="1",
        rolled_out_at=None if rolled_out is None else at(rolled_out),
        replaced_at=None if replaced is None else at(replaced),
        **changes,  # type: ignore[arg-type]
    )


async def test_every_field_of_a_ledger_entry_is_kept(database: Database) -> None:
    samples: dict[str, Any] = {
        "str": "text",
        "datetime | None": at(3),
        "bool": False,
        "timedelta": timedelta(seconds=5, microseconds=1),
    }
    entry = LedgerEntry(**{each.name: samples[str(each.type)] for each in fields(LedgerEntry)})
    await database.ledger.put(entry)
    assert await database.ledger.entries(entry.target) == [entry]


async def test_entries_are_oldest_first_with_the_current_version_last(database: Database) -> None:
    current, older, newer, unknown = stretch("v4", None), stretch("v2", 1, 5), stretch("v3", 5, 9), stretch("v1", None, 1)
    for entry in (current, newer, unknown, older):
        await database.ledger.put(entry)
    assert await database.ledger.entries("app") == [unknown, older, newer, current]
    assert await database.ledger.entries("other") == []


@pytest.mark.parametrize("rolled_out", [None, 3], ids=["time unknown", "time known"])
async def test_an_entry_is_replaced_by_target_fingerprint_and_time(database: Database, rolled_out: float | None) -> None:
    await database.ledger.put(stretch("v1", rolled_out))
    await database.ledger.put(stretch("v1", rolled_out, available_from=at(4)))
    await database.ledger.put(stretch("v1", 8))
    assert await database.ledger.entries("app") == sorted(
        [stretch("v1", rolled_out, available_from=at(4)), stretch("v1", 8)], key=lambda entry: entry.rolled_out_at or at(-1)
    )


async def test_a_history_is_written_as_a_whole_or_not_at_all(database: Database) -> None:
    """Half of one would look like all of it, and never be filled again."""
    with pytest.raises(TypeError):
        await database.ledger.put(stretch("v1", 1, 2), stretch("v2", 2, longest=object()))
    assert await database.ledger.entries("app") == []
    await database.ledger.put(stretch("v1", 1, 2), stretch("v2", 2))
    assert [entry.version for entry in await database.ledger.entries("app")] == ["v1", "v2"]


async def test_the_ledger_keeps_the_newest_entries_only(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ENTRIES_PER_TARGET", 3)
    for number in range(5):
        await database.ledger.put(stretch(f"v{number}", number, number + 1))
    assert [entry.version for entry in await database.ledger.entries("app")] == ["v2", "v3", "v4"]


async def test_bad_fingerprints_name_the_latest_incident(database: Database) -> None:
    await database.ledger.mark_bad("app", "f1", at(5), "inc_2")
    await database.ledger.mark_bad("app", "f1", at(1), "inc_1")
    await database.ledger.mark_bad("app", "f2", at(3), "inc_3")
    assert await database.ledger.bad_fingerprints("app") == {"f1": "inc_2", "f2": "inc_3"}
    assert await database.ledger.bad_fingerprints("other") == {}


async def test_alerts_that_asked_for_a_rollback_are_known_by_the_workload_also_after_pruning(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "TROUBLES_PER_TARGET", 2)

    async def opened(number: int, **changes: Any) -> None:
        drawn = incident(number, status=IncidentStatus.REFUSED, target=f"name-{number}")
        asks = {"workload": "shop/app", "plan": BARE_ROLLBACK, "began_at": at(number), "closed_at": at(number), **changes}
        await database.incidents.open(replace(drawn, **asks))

    await opened(1)
    await opened(2, began_at=at(1))
    await opened(3, plan=None)
    await opened(4, began_at=None)
    await opened(5, workload="shop/other")
    assert await database.ledger.troubles("shop/app") == [at(1)]
    await database.incidents.prune(at(60))
    await opened(6)
    assert await database.ledger.troubles("shop/app") == [at(1), at(6)]
    await opened(7)
    assert await database.ledger.troubles("shop/app") == [at(6), at(7)]


async def test_rollbacks_are_counted_once_per_incident_from_a_moment_on(database: Database) -> None:
    await database.ledger.mark_bad("app", "f1", at(1), "inc_1")
    await database.ledger.mark_bad("app", "f1", at(9), "inc_1")
    await database.ledger.mark_bad("app", "f1", at(2), "inc_2")
    await database.ledger.mark_bad("other", "f1", at(2), "inc_3")
    assert [await database.ledger.rollbacks_since("app", at(minute)) for minute in (0, 1, 1.5, 2, 2.5)] == [2, 2, 1, 1, 0]


async def test_rollbacks_begun_before_are_known_with_what_became_of_them(database: Database) -> None:
    for number, (name, status, rule) in enumerate(
        [
            ("a", IncidentStatus.FAILED, "errors"),
            ("b", IncidentStatus.RESOLVED, "forced"),
            ("c", IncidentStatus.RUNNING, "errors"),
        ]
    ):
        about = replace(incident(), id=f"inc_{name}", identity=name, target=name, rule=rule, status=IncidentStatus.RUNNING)
        await database.incidents.open(about)
        await database.ledger.mark_bad(name, "f1", at(number), about.id)
        await database.incidents.save(replace(about, status=status))
    await database.ledger.mark_bad("a", "f2", at(7), "inc_a")
    await database.ledger.mark_bad("pruned", "f1", at(8), "inc_gone")

    past = await database.ledger.past_rollbacks(10)

    assert [(one.target, one.incident, one.at) for one in past] == [
        ("pruned", "inc_gone", at(8)),
        ("c", "inc_c", at(2)),
        ("b", "inc_b", at(1)),
        ("a", "inc_a", at(0)),
    ]
    assert [one.incident for one in past if one.failed] == ["inc_a"]
    assert [one.incident for one in past if one.succeeded and one.ordered] == ["inc_b"]
    assert len(await database.ledger.past_rollbacks(2)) == 2
