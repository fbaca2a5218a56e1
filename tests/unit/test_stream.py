"""`/v1/stream`: changes as they happen, from where somebody was, with bounded buffers. Over a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from responder.domain.incident import IncidentEvent
from responder.engine.feed import BUFFERED, KEPT, Feed
from responder.web.tokens import Tokens
from tests.unit.served import served
from tests.unit.web_parts import NOW, Parts, an_incident

EVENT = IncidentEvent(NOW, "joined", "another rule fires\ntoo")


async def take(feed: Feed, after: str = "") -> tuple[bool, list[str]]:
    with feed.listening(after) as listener:
        taken = await listener.take()
    assert taken is not None
    return taken[0], [change.id for change in taken[1]]


def noted(feed: Feed, times: int) -> None:
    for number in range(times):
        feed.note(an_incident(number % 9000), [EVENT])


async def test_who_comes_back_goes_on_where_it_was() -> None:
    feed = Feed("a")
    noted(feed, 5)
    assert await take(feed, "a-3") == (False, ["a-4", "a-5"])


@pytest.mark.parametrize("after", ["b-3", "a-9", "a-x", "a-", "nonsense", "a-٣"])
async def test_who_asks_for_what_is_not_kept_is_told_that_something_is_missing(after: str) -> None:
    feed = Feed("a")
    noted(feed, 5)
    assert await take(feed, after) == (True, [])


async def test_what_is_kept_is_bounded() -> None:
    feed = Feed("a")
    noted(feed, KEPT + 10)
    assert await take(feed, "a-1") == (True, [])
    assert (await take(feed, f"a-{KEPT + 8}"))[1] == [f"a-{KEPT + 9}", f"a-{KEPT + 10}"]


async def test_a_slow_listener_loses_the_oldest_and_hears_that_it_did() -> None:
    feed = Feed("a")
    with feed.listening() as listener:
        noted(feed, BUFFERED + 3)
        taken = await listener.take()
        assert taken is not None
        assert taken[0] is True
        assert [one.id for one in taken[1]][-1] == f"a-{BUFFERED + 3}"
        assert len(taken[1]) <= BUFFERED


@asynccontextmanager
async def streaming(feed: Feed, tokens: Tokens | None = None, **headers: str) -> AsyncIterator[tuple[httpx.Response, Any]]:
    parts = Parts(tokens=tokens or Tokens.of(), overrides={"feed": feed})
    async with (
        served(parts) as port,
        httpx.AsyncClient(trust_env=False, timeout=10) as http,
        http.stream("GET", f"http://127.0.0.1:{port}/v1/stream", headers=headers) as answer,
    ):
        yield answer, answer.aiter_lines()


async def next_event(lines: Any) -> dict[str, str]:
    """The next event that is not only a hint when to come again."""
    async with asyncio.timeout(10):
        found: dict[str, str] = {}
        async for line in lines:
            if line:
                name, _, value = line.partition(": ")
                found[name] = value
            elif "data" in found:
                return found
            else:
                found = {}
    raise AssertionError("the stream ended")


async def test_a_change_is_one_event_with_the_incident_and_what_happened() -> None:
    feed = Feed("a")
    async with streaming(feed) as (answer, lines):
        assert answer.headers["content-type"].startswith("text/event-stream")
        while not feed._listeners:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.005)
        feed.note(an_incident(7), [EVENT])
        event = await next_event(lines)
        feed.close()
    assert (event["id"], event["event"]) == ("a-1", "incident")
    data = json.loads(event["data"])
    assert data["incident"]["id"] == "inc_0007"
    assert data["events"][0]["text"] == "another rule fires\ntoo"


async def test_a_broken_connection_goes_on_by_last_event_id_and_a_stranger_hears_of_the_gap() -> None:
    feed = Feed("a")
    noted(feed, 2)
    async with streaming(feed, **{"Last-Event-ID": "a-1"}) as (_, lines):
        assert (await next_event(lines))["id"] == "a-2"
        feed.close()
    async with streaming(feed, **{"Last-Event-ID": "of-another-life-4"}) as (_, lines):
        assert (await next_event(lines))["event"] == "missed"
        feed.close()


async def test_without_a_token_nobody_listens() -> None:
    async with streaming(Feed("a"), Tokens.of(viewer="viewer-token")) as (answer, _):
        assert answer.status_code == 401


async def test_listening_leaves_nothing_behind() -> None:
    feed = Feed("a")
    async with streaming(feed) as (_, _lines):
        while not feed._listeners:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.005)
    async with asyncio.timeout(10):
        while feed._listeners:
            feed.note(an_incident(), [])
            await asyncio.sleep(0.01)
