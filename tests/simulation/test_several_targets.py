"""A plan that rolls back several targets: which version each goes to is seen before anything is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from responder.cli.main import cli
from responder.domain.incident import Order
from responder.domain.people import Actor
from responder.domain.plan import Plan, Step
from responder.engine.orders import RollbackRequest
from responder.errors import InvalidInputError
from responder.web.documents import preview_document
from tests.simulation.served import served
from tests.simulation.two_targets import add_database, coordinated
from tests.simulation.world import World, a_world

ANN = Actor("ann")


@asynccontextmanager
async def two_targets(folder: Path) -> AsyncIterator[tuple[World, str]]:
    """`back` is app's and rolls back app and db."""
    async with a_world(folder, coordinated()) as world:
        await add_database(world)
        async with served(world) as url:
            yield world, url


async def ask(url: str, *arguments: str) -> str:
    environment = {"RESPONDER_URL": url, "RESPONDER_TOKEN": "op"}
    return (await asyncio.to_thread(CliRunner().invoke, cli, arguments, env=environment)).output


DRY_RUNS = {
    "of an order": ("rollback", "app", "--plan", "back", "--version", "v1", "--reason", "broken", "--dry-run"),
    "of a plan": ("plan", "back", "--target", "app", "--version", "v1"),
}


@pytest.mark.parametrize("arguments", DRY_RUNS.values(), ids=DRY_RUNS)
async def test_a_dry_run_names_both_ends_for_each_target_and_whose_the_ordered_version_is(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    async with two_targets(tmp_path) as (_, url):
        lines = [line.strip() for line in (await ask(url, *arguments)).splitlines()]  # the server's log is among them
        assert any(line.endswith("from v2 (revision 2) to v1 (revision 1)") and not line.startswith("db") for line in lines)
        assert "db from v2 (revision 2) to v1 (revision 1)" in lines
        of_app, of_db = (line for line in lines if line.startswith("pass") and " proven: " in line)
        assert of_db.endswith("; version v1 was ordered for another target, not for db")
        assert "another target" not in of_app


async def test_the_answer_of_a_dry_run_has_the_versions_by_target(tmp_path: Path) -> None:
    async with two_targets(tmp_path) as (world, _):
        document = preview_document(await world.orders.preview(RollbackRequest("app", Order("ann", "broken"), "back")))
        pins = document["pins"]
        assert isinstance(pins, dict)
        assert {name: pin["to"]["version"] for name, pin in pins.items()} == {"app": "v1", "db": "v1"}


@pytest.mark.parametrize("field", ["version", "revision"])
async def test_a_version_for_a_plan_that_leaves_the_target_alone_is_refused_not_ignored(field: str, tmp_path: Path) -> None:
    async with two_targets(tmp_path) as (world, _):
        plans = {
            "others": Plan("others", (Step("db", "rollback", {"target": "db"}),)),
            "tidy": Plan("tidy", (Step("x", "played"),)),
        }
        world.rules.plans.update(plans)  # type: ignore[attr-defined]
        for plan, why in (("others", "rolls back db only"), ("tidy", "rolls nothing back")):
            request = RollbackRequest("app", Order("ann", "broken", **{field: "1"}), plan)  # type: ignore[arg-type]
            with pytest.raises(InvalidInputError, match=f"the plan {plan} {why}: a version of app would be ignored") as refused:
                await world.orders.force(request, ANN)
            assert refused.value.field == field
        assert await world.all_incidents() == []
