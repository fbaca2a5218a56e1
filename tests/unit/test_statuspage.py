"""Statuspage: against a page over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import httpx
import pytest

from responder.clients.http import new_client
from responder.domain.notification import Message, Moment
from responder.domain.rulebook import Severity
from responder.errors import ForbiddenError, OutcomeUnknownError, PermanentError, TemporaryError
from responder.notifiers.statuspage import Statuspage
from responder.sandbox.catchers import Fault, StatuspageCatcher
from tests.unit.message_values import delivery, message

COMPONENTS = {"c-shop": "Shop", "c-api": "API"}
STORY = (Moment.OPENED, Moment.ACTING, Moment.RECOVERED, Moment.RESOLVED)


@pytest.fixture
async def page() -> AsyncIterator[StatuspageCatcher]:
    async with StatuspageCatcher(COMPONENTS) as catcher:
        yield catcher


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with new_client() as opened:
        yield opened


def notifier(page: StatuspageCatcher, client: httpx.AsyncClient, spacing: timedelta = timedelta(0), key: str = "") -> Statuspage:
    return Statuspage(client, api_key=key or page.api_key, page_id=page.page_id, address=page.url, spacing=spacing)


@pytest.fixture
def statuspage(page: StatuspageCatcher, client: httpx.AsyncClient) -> Statuspage:
    return notifier(page, client)


async def tell(
    statuspage: Statuspage, told: Message, remote: Mapping[str, str] | None = None, attempts: int = 0
) -> Mapping[str, str]:
    return await statuspage.send(delivery(told, to="statuspage", remote=remote, attempts=attempts))


async def opened(statuspage: Statuspage, **changes: Any) -> Mapping[str, str]:
    return await tell(statuspage, message(1, **changes))


def statuses(page: StatuspageCatcher) -> list[str]:
    """Of all updates of the only incident, oldest first."""
    (incident,) = page.incidents
    return [update["status"] for update in reversed(incident["incident_updates"])]


def last_text(page: StatuspageCatcher) -> str:
    return str(page.incidents[0]["incident_updates"][0]["body"])


async def test_a_whole_story_is_one_incident_with_components_out_and_back(
    page: StatuspageCatcher, statuspage: Statuspage
) -> None:
    remote: Mapping[str, str] = {}
    seen = []
    for number, moment in enumerate(STORY, 1):
        remote = await tell(statuspage, message(number, moment=moment, components=("c-shop",)), remote)
        seen.append((page.incidents[0]["status"], page.components["c-shop"]["status"]))

    assert seen == [
        ("investigating", "partial_outage"),
        ("identified", "partial_outage"),
        ("monitoring", "partial_outage"),
        ("resolved", "operational"),
    ]
    assert statuses(page) == ["investigating", "identified", "monitoring", "resolved"]
    assert page.components["c-api"]["status"] == "operational"
    (incident,) = page.incidents
    assert remote == {"incident": incident["id"]}
    assert incident["impact"] == "major"
    assert incident["metadata"] == {"responder": {"incident": "inc_7", "message": "inc_7-4"}}


@pytest.mark.parametrize(
    ("severity", "impact", "component"),
    [
        (Severity.P0, "critical", "major_outage"),
        (Severity.P1, "major", "partial_outage"),
        (Severity.P2, "minor", "degraded_performance"),
        (Severity.P3, "none", "degraded_performance"),
    ],
)
async def test_severity_chooses_impact_and_component_status(
    severity: Severity, impact: str, component: str, page: StatuspageCatcher, statuspage: Statuspage
) -> None:
    await opened(statuspage, severity=severity, components=("c-shop",))
    assert page.incidents[0]["impact"] == impact
    assert page.components["c-shop"]["status"] == component


async def test_nothing_an_alert_carries_becomes_public(page: StatuspageCatcher, statuspage: Statuspage) -> None:
    remote: Mapping[str, str] = {}
    told = message(title="pod db-secret-0", text="customer=acme", facts=(("Alert", "10.0.0.7"),), link="https://inside")
    for number, moment in enumerate((*STORY[:3], Moment.FAILED, Moment.RESOLVED), 1):
        changed = message(number, moment=moment, title=told.title, text=told.text, facts=told.facts, link=told.link)
        remote = await tell(statuspage, changed, remote)
    public = str(page.incidents)
    assert "shop" in public
    for internal in ("db-secret-0", "acme", "10.0.0.7", "inside", "error_rate_spike"):
        assert internal not in public


async def test_a_failure_keeps_the_incident_open_and_says_that_people_work_on_it(
    page: StatuspageCatcher, statuspage: Statuspage
) -> None:
    remote = await opened(statuspage, components=("c-shop",))
    await tell(statuspage, message(2, moment=Moment.FAILED, closes=True), remote)
    assert page.incidents[0]["status"] == "investigating"
    assert "not solved yet" in last_text(page)
    assert page.components["c-shop"]["status"] == "partial_outage"


NOT_ON_THE_PAGE = [
    pytest.param(Moment.NOTICE, True, id="a refusal"),
    pytest.param(Moment.NOTICE, False, id="a plan's note"),
    pytest.param(Moment.RECOVERED, False, id="recovered, though the page never knew"),
    pytest.param(Moment.RESOLVED, True, id="resolved, though the page never knew"),
]


@pytest.mark.parametrize(("moment", "closes"), NOT_ON_THE_PAGE)
async def test_what_readers_need_not_know_opens_nothing(
    moment: Moment, closes: bool, page: StatuspageCatcher, statuspage: Statuspage
) -> None:
    assert await tell(statuspage, message(1, moment=moment, closes=closes)) == {}
    assert page.incidents == []


async def test_a_refusal_after_opening_does_not_leave_readers_alone(page: StatuspageCatcher, statuspage: Statuspage) -> None:
    remote = await opened(statuspage)
    await tell(statuspage, message(2, moment=Moment.NOTICE, closes=True, text="refused: no proven version"), remote)
    assert statuses(page) == ["investigating", "investigating"]
    assert "Our engineers are working on them" in last_text(page)
    assert "refused" not in str(page.incidents)


async def test_a_note_meant_for_the_public_is_posted_in_its_own_words(page: StatuspageCatcher, statuspage: Statuspage) -> None:
    extra = {"public_name": "Our shop", "public_title": "Slow check-out", "public_text": "Paying takes long."}
    remote = await opened(statuspage, extra=extra)
    await tell(statuspage, message(2, moment=Moment.ACTING, extra={"public_name": "Our shop"}), remote)
    await tell(statuspage, message(3, moment=Moment.NOTICE, extra={"public_text": "Almost done."}), remote)
    (incident,) = page.incidents
    assert incident["name"] == "Slow check-out"
    assert statuses(page) == ["investigating", "identified", "identified"]
    texts = [update["body"].split("\n")[0] for update in reversed(incident["incident_updates"])]
    assert texts[0] == "Paying takes long."
    assert "Our shop" in texts[1]
    assert texts[2] == "Almost done."


async def test_endless_public_words_are_cut_to_the_limits(page: StatuspageCatcher, statuspage: Statuspage) -> None:
    await opened(statuspage, extra={"public_title": "t" * 9999, "public_text": "x" * 1_000_000})
    assert len(page.incidents[0]["name"]) == 255
    assert last_text(page).endswith("Reference: inc_7-1")


async def test_an_opening_whose_answer_was_lost_is_found_again(page: StatuspageCatcher, client: httpx.AsyncClient) -> None:
    page.fail(Fault(hang=True, after_accepting=True, method="POST"))
    async with new_client(total_timeout=timedelta(milliseconds=100)) as impatient:
        with pytest.raises(OutcomeUnknownError):
            await opened(notifier(page, impatient))

    remote = await tell(notifier(page, client), message(1), attempts=1)

    assert statuses(page) == ["investigating"]
    assert remote == {"incident": page.incidents[0]["id"]}


async def test_an_opening_that_a_person_resolved_meanwhile_is_found_by_its_text(
    page: StatuspageCatcher, statuspage: Statuspage
) -> None:
    await opened(statuspage)
    page.incidents[0]["status"] = "resolved"
    remote = await tell(statuspage, message(1), attempts=1)
    assert remote == {"incident": page.incidents[0]["id"]}
    assert len(page.incidents) == 1


@pytest.mark.parametrize("moment", [Moment.ACTING, Moment.RECOVERED, Moment.RESOLVED, Moment.FAILED])
async def test_an_update_whose_answer_was_lost_is_not_posted_twice(
    moment: Moment, page: StatuspageCatcher, statuspage: Statuspage
) -> None:
    remote = await opened(statuspage)
    page.fail(Fault(502, after_accepting=True, method="PATCH"))
    with pytest.raises(TemporaryError):
        await tell(statuspage, message(2, moment=moment), remote)

    await tell(statuspage, message(2, moment=moment), remote, attempts=1)

    assert len(statuses(page)) == 2


async def test_an_update_is_recognised_by_its_text_even_without_metadata(page: StatuspageCatcher, statuspage: Statuspage) -> None:
    remote = await opened(statuspage)
    await tell(statuspage, message(2, moment=Moment.ACTING), remote)
    page.incidents[0]["metadata"] = {}
    await tell(statuspage, message(2, moment=Moment.ACTING), remote, attempts=1)
    assert statuses(page) == ["investigating", "identified"]


async def test_an_update_whose_text_a_person_rewrote_is_recognised(page: StatuspageCatcher, statuspage: Statuspage) -> None:
    remote = await opened(statuspage)
    await tell(statuspage, message(2, moment=Moment.ACTING), remote)
    page.incidents[0]["incident_updates"][0]["body"] = "We are on it."
    await tell(statuspage, message(2, moment=Moment.ACTING), remote, attempts=1)
    assert statuses(page) == ["investigating", "identified"]


async def test_an_update_that_never_arrived_is_posted_on_the_next_attempt(
    page: StatuspageCatcher, statuspage: Statuspage
) -> None:
    remote = await opened(statuspage)
    page.fail(Fault(502, method="PATCH"))
    with pytest.raises(TemporaryError):
        await tell(statuspage, message(2, moment=Moment.ACTING), remote)
    await tell(statuspage, message(2, moment=Moment.ACTING), remote, attempts=1)
    assert statuses(page) == ["investigating", "identified"]


async def test_message_12_is_not_taken_for_message_1(page: StatuspageCatcher, statuspage: Statuspage) -> None:
    remote = await tell(statuspage, message(12))
    await tell(statuspage, message(2, moment=Moment.ACTING), remote, attempts=1)
    assert statuses(page) == ["investigating", "identified"]


async def test_later_news_open_the_incident_when_the_opening_was_given_up(
    page: StatuspageCatcher, statuspage: Statuspage
) -> None:
    await tell(statuspage, message(2, moment=Moment.ACTING, components=("c-shop",)))
    assert statuses(page) == ["identified"]
    assert page.components["c-shop"]["status"] == "partial_outage"


async def test_what_a_person_resolved_on_the_page_is_not_opened_again(page: StatuspageCatcher, statuspage: Statuspage) -> None:
    remote = await opened(statuspage, components=("c-shop",))
    page.incidents[0]["status"] = "resolved"
    page.components["c-shop"]["status"] = "under_maintenance"
    for number, moment in enumerate((Moment.ACTING, Moment.FAILED, Moment.RESOLVED), 2):
        assert await tell(statuspage, message(number, moment=moment, components=("c-shop",)), remote) == remote
    assert page.incidents[0]["status"] == "resolved"
    assert page.components["c-shop"]["status"] == "under_maintenance"
    assert len(page.incidents[0]["incident_updates"]) == 1


async def test_what_a_person_deleted_from_the_page_is_given_up(page: StatuspageCatcher, statuspage: Statuspage) -> None:
    remote = await opened(statuspage)
    page.incidents.clear()
    with pytest.raises(PermanentError, match="gone from the status page"):
        await tell(statuspage, message(2, moment=Moment.ACTING), remote)
    assert page.incidents == []


async def test_other_peoples_metadata_and_incidents_are_left_alone(page: StatuspageCatcher, statuspage: Statuspage) -> None:
    await tell(statuspage, message(1, incident="inc_other"))
    remote = await opened(statuspage)
    page.incidents[0]["metadata"]["jira"] = {"issue_id": "X-1"}
    await tell(statuspage, message(2, moment=Moment.RESOLVED), remote)
    assert page.incidents[0]["metadata"]["jira"] == {"issue_id": "X-1"}
    assert [incident["status"] for incident in page.incidents] == ["resolved", "investigating"]


async def test_a_wrong_key_is_named_but_not_shown(page: StatuspageCatcher, client: httpx.AsyncClient) -> None:
    with pytest.raises(ForbiddenError, match="Could not authenticate") as raised:
        await opened(notifier(page, client, key="not-the-right-key"))
    assert "not-the-right-key" not in str(raised.value)


async def test_an_unknown_component_is_an_error_for_good(statuspage: Statuspage) -> None:
    with pytest.raises(PermanentError, match="Component not found"):
        await opened(statuspage, components=("nope",))


@pytest.mark.parametrize("status", [420, 429])
async def test_too_fast_is_a_temporary_error(status: int, page: StatuspageCatcher, statuspage: Statuspage) -> None:
    page.fail(Fault(status, "slow down", retry_after="9"))
    with pytest.raises(TemporaryError) as raised:
        await opened(statuspage)
    assert raised.value.retry_after == timedelta(seconds=9)


async def test_requests_are_spaced_so_that_the_limit_is_kept(client: httpx.AsyncClient) -> None:
    # A busy machine brings some requests later than others: the page allows one in a fraction of the time they are apart.
    async with StatuspageCatcher(rate=(1, timedelta(milliseconds=10))) as page:
        statuspage = notifier(page, client, spacing=timedelta(milliseconds=250))
        await asyncio.gather(*(tell(statuspage, message(1, incident=f"inc_{number}")) for number in range(2)))
        assert len(page.incidents) == 2
        assert page.refused_by_rate == 0


ODD_ANSWERS = ["", "null", "<html>", "[1]", "{}"]


@pytest.mark.parametrize("text", ODD_ANSWERS)
async def test_an_answer_that_makes_no_sense_is_tried_again(text: str, page: StatuspageCatcher, statuspage: Statuspage) -> None:
    remote = await opened(statuspage)
    page.fail(Fault(200, text, method="GET"))
    if text == "{}":
        page.fail(Fault(404, method="PATCH"))
    with pytest.raises(TemporaryError):
        await tell(statuspage, message(2, moment=Moment.ACTING), remote)
