"""`responder plan`: what would happen now, by the real command over real HTTP, with the engine on a real database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from responder.cli.main import cli
from responder.domain.plan import Input, Step
from responder.domain.target import Mode
from responder.errors import PermanentError
from responder.ports import StepContext
from tests.simulation.deeds import Deed, Scale
from tests.simulation.served import served
from tests.simulation.world import ROLLBACK, V2, World, a_world, rulebook


class Seen:
    """An action with a preview; some of them misbehave."""

    def __init__(self) -> None:
        self.ran = False

    async def run(self, _parameters: Mapping[str, object], _context: StepContext) -> str:
        self.ran = True
        return "done"

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        if "acts" in parameters:
            await context.mark_changed()
        if "fails" in parameters:
            raise PermanentError("no right to patch deployments")
        if "crashes" in parameters:
            raise KeyError("spec")
        return "would set replicas of app to 0\n--- app\n+++ app\n-replicas: 3\n+replicas: 0"


UNTOLD = "what it would change can't be told"
STEPS = (
    Step("off", "seen", condition="inputs.full == 'yes'"),
    Step("both", "parallel", steps=(Step("left", "seen", {"acts": 1}), Step("back", "rollback"))),
    Step("check", "deed", {"token": "hunter2", "headers": {"X-Key": "abc"}}, rescue=(Step("again", "seen", {"fails": 1}),)),
    Step("crash", "seen", {"crashes": 1}, needs=("check",), destroys=True),
)


@asynccontextmanager
async def planned(folder: Path, *steps: Step, **plan: Any) -> AsyncIterator[tuple[World, str]]:
    async with a_world(folder, rulebook(*steps, **plan)) as world:
        world.actions = {"deed": Deed(), "scale": Scale(), "seen": Seen()}
        async with served(world) as url:
            yield world, url


async def ask(url: str, *arguments: str, token: str = "op") -> Result:
    environment = {"RESPONDER_URL": url, "RESPONDER_TOKEN": token}
    return await asyncio.to_thread(CliRunner().invoke, cli, ["plan", *arguments], env=environment)


async def test_every_step_says_what_it_would_do_and_nothing_is_done(tmp_path: Path) -> None:
    async with planned(tmp_path, *STEPS, inputs={"full": Input(default="no")}, on_failure=(Step("tell", "deed"),)) as (
        world,
        url,
    ):
        result = await ask(url, "back", "--target", "app")
        assert result.exit_code == 0, result.output
        lines = [line.strip() for line in result.output.splitlines()]
        for line in (  # the server's log is in the output too: it runs in this process
            "Plan back on app",
            "from v2 (revision 2) to v1 (revision 1)",
            "pass    paused: the rollout is not paused",
            "1. off (seen) [skipped now: `inputs.full == 'yes'` is false]: would set replicas of app to 0",
            "-replicas: 3",
            "2. both (parallel): 2 steps side by side",
            f"3. left (seen): seen with acts: 1; {UNTOLD}: a preview changes nothing",
            "4. back (rollback): would bring app back from v2 (revision 2) to v1 (revision 1)",
            "-image: shop:v2",
            "+image: shop:v1",
            "5. check (deed): deed with token: [redacted], headers: {'X-Key': '…'}",
            f"6. again (seen) [if check fails]: seen with fails: 1; {UNTOLD}: no right to patch deployments",
            f"7. crash (seen) [needs check; destroys data]: seen with crashes: 1; {UNTOLD}: internal error: KeyError",
            "8. tell (deed) [if the plan fails]: deed",
            "It would run.",
        ):
            assert line in lines, (line, result.output)
        assert world.workload.current == V2
        assert not await world.all_incidents()
        assert world.actions["deed"].story == []  # type: ignore[attr-defined]
        assert world.actions["seen"].ran is False  # type: ignore[attr-defined]


async def test_as_json_with_inputs(tmp_path: Path) -> None:
    async with planned(tmp_path, *STEPS[:1], inputs={"full": Input()}) as (_, url):
        result = await ask(url, "back", "--target", "app", "--input", "full=yes", "--json")
        answer = json.loads(result.output)
        assert answer["steps"] == [
            {
                "name": "off", "uses": "seen", "phase": "steps", "depth": 0, "when": "",
                "what": "would set replicas of app to 0", "difference": "--- app\n+++ app\n-replicas: 3\n+replicas: 0",
            }
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(["back", "--target", "app"], 2, "plan back needs the input `full`", id="an input is missing"),
        pytest.param(["back", "--target", "app", "--input", "full"], 2, "is not name=value", id="half an input"),
        pytest.param(["nope", "--target", "app", "--input", "full=yes"], 2, "no plan `nope` is declared", id="an unknown plan"),
        pytest.param(["back", "--target", "shop", "--input", "full=yes"], 2, "no target `shop` is declared", id="no such target"),
        pytest.param(["back", "--target", "app", "--input", "full={{ 1 }}"], 2, "does not look as it must", id="a hostile input"),
    ],
)
async def test_what_is_wrong_is_said_at_once(arguments: list[str], code: int, said: str, tmp_path: Path) -> None:
    async with planned(tmp_path, *STEPS[:1], inputs={"full": Input()}) as (_, url):
        result = await ask(url, *arguments)
        assert result.exit_code == code
        assert said in result.output


async def test_a_refusal_is_shown_and_is_the_exit_code(tmp_path: Path) -> None:
    async with planned(tmp_path, ROLLBACK) as (world, url):
        world.workload.paused = True
        result = await ask(url, "back", "--target", "app")
        assert result.exit_code == 3
        assert "refuse  paused: the rollout was paused by a person" in result.output
        assert "It would be refused: the rollout was paused by a person" in result.output


async def test_in_observe_mode_it_says_so(tmp_path: Path) -> None:
    async with planned(tmp_path, ROLLBACK) as (world, url):
        target = world.rules.targets["app"]
        world.rules = replace(world.rules, targets={"app": replace(target, mode=Mode.OBSERVE)})
        result = await ask(url, "back", "--target", "app")
        assert "Observe mode: it would be said, and nothing done." in result.output


async def test_a_viewer_may_not_ask(tmp_path: Path) -> None:
    async with planned(tmp_path, ROLLBACK) as (_, url):
        result = await ask(url, "back", "--target", "app", token="view")
        assert result.exit_code == 1
        assert "403" in result.output
