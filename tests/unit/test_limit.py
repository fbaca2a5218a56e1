"""Time limits that stand still while a person is being waited for. When one ends is looked at, not waited for."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from responder.engine.limit import Limit, paused

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def left(limit: Limit) -> float | None:
    """Seconds until it ends, None while it stands still."""
    when = limit._timeout.when()
    return None if when is None else when - asyncio.get_running_loop().time()


async def test_while_two_are_being_asked_it_stands_still_until_both_have_answered() -> None:
    async with Limit(HOUR) as limit:
        with paused([limit]):
            with paused([limit]):
                assert left(limit) is None
            assert left(limit) is None, "the other has not answered yet"
        assert left(limit) == pytest.approx(3600, abs=60)


async def test_it_goes_on_where_it_stood_also_after_a_no() -> None:
    async with Limit(HOUR) as outer, Limit(MINUTE) as inner:
        with pytest.raises(RuntimeError), paused([outer, inner]):
            raise RuntimeError
        assert left(outer) == pytest.approx(3600, abs=30)
        assert left(inner) == pytest.approx(60, abs=30)


async def test_a_stop_shortens_it_though_a_person_is_being_asked_and_the_answer_does_not_lengthen_it_again() -> None:
    async with Limit(HOUR) as limit:
        with paused([limit]):
            limit.shorten(MINUTE)
            assert left(limit) == pytest.approx(60, abs=30)
        assert left(limit) == pytest.approx(60, abs=30)


async def test_a_stop_lengthens_nothing() -> None:
    async with Limit(MINUTE) as limit:
        limit.shorten(HOUR)
        assert left(limit) == pytest.approx(60, abs=30)


async def test_what_takes_longer_ends_and_what_ended_is_not_begun_again_by_an_answer() -> None:
    with pytest.raises(TimeoutError):
        async with Limit(timedelta(0)) as limit:
            with paused([limit]):
                pass
            await asyncio.sleep(3600)
