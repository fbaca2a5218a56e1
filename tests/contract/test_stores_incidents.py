"""The contract of incidents: one per identity, one open per target, everything in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from responder.domain.incident import OPEN_STATUSES, Incident, IncidentEvent, IncidentStatus
from responder.errors import ConflictError, InvalidInputError, NotFoundError
from responder.ports import OpenResult
from responder.stores.database import Database
from tests.harness.databases import DATABASES, NOW, OpenDatabase, at, happening, incident, post


@pytest.fixture(params=DATABASES)
def open_it(request: pytest.FixtureRequest) -> OpenDatabase:
    return DATABASES[request.param]


@pytest.fixture
async def database(open_it: OpenDatabase, tmp_path: Path) -> AsyncIterator[Database]:
    async with open_it(tmp_path) as opened:
        yield opened


def closed(of: Incident, minutes: float = 0, status: IncidentStatus = IncidentStatus.RESOLVED) -> Incident:
    return replace(of, status=status, closed_at=at(minutes))


async def test_an_opened_incident_is_on_record_with_events_and_messages(database: Database) -> None:
    first = incident(1)
    assert await database.incidents.open(first, [happening("opened"), happening("guarded")], [post("slack", 1)]) == (
        OpenResult.OPENED,
        first,
    )
    assert await database.incidents.get("inc_1") == first
    assert await database.incidents.find(first.identity) == first
    assert await database.incidents.events("inc_1") == [happening("opened"), happening("guarded")]
    assert [delivery.message.id for delivery in await database.outbox.due(NOW, 10)] == ["inc_1-1"]


async def test_nothing_is_known_of_an_incident_that_was_never_opened(database: Database) -> None:
    assert await database.incidents.get("inc_9") is None
    assert await database.incidents.find("nothing") is None
    assert await database.incidents.events("inc_9") == []


@pytest.mark.parametrize("status", [IncidentStatus.RUNNING, IncidentStatus.RESOLVED], ids=["while it is open", "after it closed"])
async def test_a_known_identity_is_not_opened_again(database: Database, status: IncidentStatus) -> None:
    first = incident(1, status=status)
    await database.incidents.open(first)
    again = replace(incident(2), identity=first.identity)
    assert await database.incidents.open(again, [happening("opened")], [post("slack", 1, of="inc_2")]) == (
        OpenResult.KNOWN,
        first,
    )
    assert await database.incidents.get("inc_2") is None
    assert await database.incidents.events("inc_2") == []
    assert await database.outbox.next_due() is None


@pytest.mark.parametrize("status", sorted(OPEN_STATUSES))
async def test_an_open_incident_holds_its_target(database: Database, status: IncidentStatus) -> None:
    holder = incident(1, status=status)
    await database.incidents.open(holder)
    assert await database.incidents.open(incident(2), [happening("opened")]) == (OpenResult.BUSY, holder)
    assert await database.incidents.get("inc_2") is None
    assert (await database.incidents.open(incident(3, target="other")))[0] is OpenResult.OPENED


@pytest.mark.parametrize("status", sorted(set(IncidentStatus) - OPEN_STATUSES))
async def test_an_incident_that_opens_closed_is_never_busy(database: Database, status: IncidentStatus) -> None:
    await database.incidents.open(incident(1))
    assert (await database.incidents.open(closed(incident(2), status=status)))[0] is OpenResult.OPENED
    assert (await database.incidents.open(closed(incident(3), status=status)))[0] is OpenResult.OPENED


async def test_closing_frees_the_target(database: Database) -> None:
    first = incident(1)
    await database.incidents.open(first)
    await database.incidents.save(closed(first))
    assert (await database.incidents.open(incident(2)))[0] is OpenResult.OPENED
    assert await database.incidents.get("inc_1") == closed(first)
    with pytest.raises(ConflictError, match="app"):
        await database.incidents.save(first)
    assert await database.incidents.get("inc_1") == closed(first)


async def test_of_many_openings_at_once_one_wins(database: Database) -> None:
    results = await asyncio.gather(*(database.incidents.open(incident(number)) for number in range(10)))
    assert sorted(result for result, _ in results) == [OpenResult.BUSY] * 9 + [OpenResult.OPENED]
    (winner,) = [on_record for result, on_record in results if result is OpenResult.OPENED]
    assert {on_record.id for _, on_record in results} == {winner.id}


async def test_save_adds_events_after_those_on_record(database: Database) -> None:
    first = incident(1)
    await database.incidents.open(first, [happening("opened", 5)])
    detailed = IncidentEvent(at(0), "noted", "output \ud800", {"after": at(1), "$odd": (1, 2), "text": "\udcff"})
    await database.incidents.save(replace(first, status=IncidentStatus.VERIFYING), [detailed, happening("verified", 1)])
    events = await database.incidents.events("inc_1")
    assert [event.kind for event in events] == ["opened", "noted", "verified"]
    assert events[1].data == {"after": at(1), "$odd": (1, 2), "text": "\ufffd"}
    assert events[1].text == "output \ufffd"


async def test_saving_what_was_never_opened_is_an_error_and_leaves_nothing(database: Database) -> None:
    with pytest.raises(NotFoundError, match="inc_1"):
        await database.incidents.save(incident(1), [happening("opened")], [post("slack", 1)])
    assert await database.incidents.events("inc_1") == []
    assert await database.outbox.next_due() is None


async def test_a_save_that_fails_half_way_leaves_nothing_and_the_next_one_works(database: Database) -> None:
    first = incident(1)
    await database.incidents.open(first)
    bad = IncidentEvent(NOW, "noted", "", {"thing": object()})
    with pytest.raises(TypeError, match="object"):
        await database.incidents.save(closed(first), [happening("closed"), bad], [post("slack", 1)])
    assert await database.incidents.get("inc_1") == first
    assert await database.incidents.events("inc_1") == []
    await database.incidents.save(closed(first), [happening("closed")], [post("slack", 1)])
    assert await database.incidents.events("inc_1") == [happening("closed")]


async def test_lists_are_newest_first_and_go_on_from_a_cursor(database: Database) -> None:
    for number in range(5):
        await database.incidents.open(closed(incident(number, opened_at=at(number // 2))))
    whole = [each.id for each in await database.incidents.list()]
    assert whole == ["inc_4", "inc_3", "inc_2", "inc_1", "inc_0"]
    pages = [[each.id for each in await database.incidents.list(limit=2, before=cursor)] for cursor in (None, "inc_3", "inc_1")]
    assert pages == [whole[:2], whole[2:4], whole[4:]]
    with pytest.raises(InvalidInputError, match="inc_77"):
        await database.incidents.list(before="inc_77")


async def test_lists_can_be_narrowed_to_a_target_and_to_open_ones(database: Database) -> None:
    await database.incidents.open(closed(incident(1)))
    await database.incidents.open(incident(2))
    await database.incidents.open(incident(3, target="other"))
    assert [each.id for each in await database.incidents.list(target="app")] == ["inc_2", "inc_1"]
    assert [each.id for each in await database.incidents.list(open_only=True)] == ["inc_3", "inc_2"]
    assert [each.id for each in await database.incidents.list(target="app", open_only=True)] == ["inc_2"]


async def test_pruning_deletes_what_closed_long_ago_with_its_events_and_done_messages(database: Database) -> None:
    await database.incidents.open(closed(incident(1), 2), [happening("opened")], [post("slack", 1), post("slack", 2)])
    await database.incidents.open(incident(2))
    await database.incidents.open(closed(incident(3), 20))
    (head,) = await database.outbox.due(NOW, 10)
    await database.outbox.delivered(head.id, NOW, {"ts": "1"})
    assert await database.incidents.prune(at(10)) == 1
    assert [each.id for each in await database.incidents.list()] == ["inc_3", "inc_2"]
    assert await database.incidents.events("inc_1") == []
    (waiting,) = await database.outbox.due(NOW, 10)
    assert (waiting.message.id, waiting.remote) == ("inc_1-2", {"ts": "1"}), "what still waits is delivered all the same"
    await database.outbox.delivered(waiting.id, NOW, {})
    assert await database.incidents.prune(at(10)) == 0
    with pytest.raises(NotFoundError):
        await database.outbox.begin(waiting.id)


async def test_a_pruned_incident_is_still_known(database: Database) -> None:
    first = closed(incident(1), 2, IncidentStatus.FAILED)
    await database.incidents.open(first)
    assert await database.incidents.prune(at(10)) == 1
    result, on_record = await database.incidents.open(replace(incident(2), identity=first.identity))
    assert result is OpenResult.KNOWN
    assert (on_record.id, on_record.status, on_record.closed_at) == ("inc_1", IncidentStatus.FAILED, at(2))
    assert await database.incidents.list() == []


async def test_pruning_does_not_forget_bad_versions(database: Database) -> None:
    await database.incidents.open(closed(incident(1), 2))
    await database.ledger.mark_bad("app", "f1", at(1), "inc_1")
    await database.incidents.prune(at(10))
    assert await database.ledger.bad_fingerprints("app") == {"f1": "inc_1"}


async def test_what_is_asked_for_is_what_was_saved_last_also_when_one_save_is_cut_off(database: Database) -> None:
    first = incident(1)
    await database.incidents.open(first)
    await database.incidents.save(replace(first, reason="saved"))
    cut_off = asyncio.create_task(database.incidents.save(replace(first, reason="saved by one that was cut off")))
    await asyncio.sleep(0)
    cut_off.cancel()
    await asyncio.gather(cut_off, return_exceptions=True)
    (listed,) = await database.incidents.list()
    assert listed.reason == "saved by one that was cut off"
    assert await database.incidents.get("inc_1") == listed


async def test_of_several_saves_at_once_the_last_one_is_what_is_asked_for(database: Database) -> None:
    first = incident(1)
    await database.incidents.open(first)
    await asyncio.gather(*(database.incidents.save(replace(first, reason=str(number))) for number in range(20)))
    (listed,) = await database.incidents.list()
    assert (await database.incidents.get("inc_1")) == listed


async def test_a_save_that_was_refused_is_not_what_is_asked_for(database: Database) -> None:
    first, second = incident(1), incident(2, target="other")
    await database.incidents.open(first)
    await database.incidents.open(second)
    await database.incidents.save(replace(second, reason="saved"))
    with pytest.raises(ConflictError):
        await database.incidents.save(replace(second, target=first.target))
    found = await database.incidents.get(second.id)
    assert found is not None
    assert (found.target, found.reason) == ("other", "saved")


async def test_nothing_is_kept_in_memory_of_closed_incidents(database: Database) -> None:
    first = incident(1)
    await database.incidents.open(first)
    await database.incidents.save(replace(first, reason="saved"))
    await database.incidents.save(closed(first))
    assert (await database.incidents.get("inc_1")) == closed(first)
    assert database.incidents._open == {}  # type: ignore[attr-defined]
