"""Who says what, and rulebooks in which there is something to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from responder.domain.incident import Incident, Order
from responder.domain.matcher import parse_matcher
from responder.domain.people import Actor
from responder.domain.rulebook import ApprovalTerms, Response, Rulebook, Unanswered
from responder.domain.target import Mode
from responder.engine.orders import RollbackRequest
from tests.simulation.world import World, a_world, rulebook

ANN, BOB = Actor("ann", frozenset({"operator"})), Actor("bob", frozenset({"viewer"}))
ERRORS = (parse_matcher('alertname="Errors"'),)
LONG = timedelta(hours=1)
SOON = timedelta(milliseconds=300)


def asking(
    within: timedelta = LONG,
    by: tuple[str, ...] = (),
    unanswered: Unanswered = Unanswered.REFUSE,
    grace: timedelta = timedelta(0),
    mode: Mode = Mode.ARMED,
) -> Rulebook:
    return changed_rules(
        rulebook(mode=mode), response=Response.APPROVE, approval=ApprovalTerms(within, by, unanswered), grace=grace
    )


def counting(grace: timedelta = LONG, mode: Mode = Mode.ARMED) -> Rulebook:
    return changed_rules(rulebook(mode=mode), grace=grace)


def changed_rules(rules: Rulebook, **changes: object) -> Rulebook:
    first, *others = rules.rules
    return replace(rules, rules=(replace(first, **changes), *others))  # type: ignore[arg-type]


@asynccontextmanager
async def running(folder: Path, rules: Rulebook | None = None, *, proven: bool = True) -> AsyncIterator[World]:
    async with a_world(folder, rules, proven=proven) as world:
        await world.start()
        yield world


def order(**changes: object) -> RollbackRequest:
    plan = str(changes.pop("plan", ""))
    target = str(changes.pop("target", "app"))
    inputs = changes.pop("inputs", {})
    return RollbackRequest(target, Order("ann", "it is broken", **changes), plan, inputs)  # type: ignore[arg-type]


async def happened(world: World, condition: Callable[[Incident, list[str]], bool]) -> None:
    """Wait until the first incident and the kinds of its events fulfil the condition."""
    async with asyncio.timeout(20):
        while not condition(first := await world.incident(), await world.kinds(first)):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.005)
