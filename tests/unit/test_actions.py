"""Actions: what they write down, do, wait for and say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from responder.actions.registry import PARAMETERS, build_actions
from responder.clients.http import new_client
from responder.clients.kubernetes import KubernetesClient
from responder.domain.target import Target, WorkloadRef
from responder.domain.version import Pin, RolloutPhase, RolloutStatus, Version, WorkloadState
from responder.errors import InvalidInputError, PermanentError, RefusedError, TemporaryError, UnreachableError
from responder.ports import StepContext
from responder.sandbox.loopback import LoopbackServer
from tests.harness.databases import incident

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BAD = Version("1.5.0", "5", "f-bad", "d-bad")
GOOD = Version("1.4.2", "4", "f-good", "d-good")
PIN = Pin("app", "uid-1", BAD, GOOD)


class Stage:
    """A step's surroundings; `story` is everything that happened, in order."""

    def __init__(self, workload: Any = None, intent: Mapping[str, object] | None = None, **changes: Any) -> None:
        self.now = NOON
        self.story: list[str] = []
        self.intents: list[Mapping[str, object]] = []
        self.shown: list[str] = []
        self.told: list[tuple[str, str, str | None]] = []
        self.slept: list[timedelta] = []
        self.workload = workload
        about = incident(pins={"app": PIN}, trigger_labels={"pod": "app-1", "items": "three"}, value=0.07, **changes)
        self.context = StepContext(
            incident=about,
            target="app",
            now=lambda: self.now,
            intent=intent,
            record=self._record,
            progress=self.shown.append,
            tell=self._tell,
            pin_of=self._pin_of,
            workload_of=lambda _name: self.workload,
            mark_acted=self._mark_acted,
            sleep=self._sleep,
            declared=lambda name: Target(name, WorkloadRef("shop", name), ()),
            record_of=lambda _name: None,
            mark_changed=self._mark_changed,
            targets=dict,
        )

    async def _record(self, intent: Mapping[str, object]) -> None:
        json.dumps(intent)
        self.intents.append(intent)
        self.story.append(f"record {intent.get('stage')}")

    async def _tell(self, title: str, text: str, to: str | None) -> None:
        self.told.append((title, text, to))

    async def _mark_acted(self, intent: Mapping[str, object]) -> None:
        self.story.append("mark acted")
        await self._record(intent)

    async def _mark_changed(self) -> None:
        self.story.append("mark changed")

    async def _sleep(self, duration: timedelta) -> None:
        assert duration > timedelta(0)
        self.slept.append(duration)
        self.now += duration
        await asyncio.sleep(0)

    @staticmethod
    def _pin_of(name: str) -> Pin:
        if name != "app":
            raise RefusedError(f"no pin for {name}")
        return PIN


class FakeWorkload:
    """Rolls back by noting it, then goes through the given states of the rollout."""

    def __init__(self, stage_story: Callable[[], list[str]], *states: RolloutStatus | Exception, done: bool = False) -> None:
        self._story = stage_story
        self._states = list(states)
        self._done = done

    async def roll_back(self, pin: Pin, before_write: Callable[[], Awaitable[None]]) -> str:
        if self._done:
            return f"{pin.target} is at {pin.to_version.version} already."
        await before_write()
        self._story().append(f"patch to {pin.to_version.version}")
        return f"set {pin.target} back to {pin.to_version.version}."

    async def rollout(self, _pin: Pin) -> RolloutStatus:
        state = self._states.pop(0)
        if isinstance(state, Exception):
            raise state
        return state

    async def read(self) -> WorkloadState:
        raise NotImplementedError

    def watch(self) -> AsyncIterator[WorkloadState]:
        raise NotImplementedError


class FakeStepwise(FakeWorkload):
    """Its rollback takes several writes. begun: an earlier attempt made some of them."""

    def __init__(self, stage_story: Callable[[], list[str]], *states: RolloutStatus | Exception, begun: bool) -> None:
        super().__init__(stage_story, *states)
        self._begun = begun

    async def has_begun(self, _pin: Pin) -> bool:
        return self._begun


PROGRESSING = RolloutStatus(RolloutPhase.PROGRESSING, "1 of 3 new pods available")
COMPLETE = RolloutStatus(RolloutPhase.COMPLETE, "3 of 3 new pods available")
FAILED = RolloutStatus(RolloutPhase.FAILED, "progress deadline exceeded")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with new_client() as opened:
        yield opened


async def run(uses: str, parameters: Mapping[str, object], stage: Stage, client: httpx.AsyncClient) -> str:
    return await build_actions(client, KubernetesClient())[uses].run(parameters, stage.context)


def on_stage(*states: RolloutStatus | Exception, done: bool = False, intent: Mapping[str, object] | None = None) -> Stage:
    stage = Stage(intent=intent)
    stage.workload = FakeWorkload(lambda: stage.story, *states, done=done)
    return stage


class TestRollback:
    async def test_the_intent_is_on_record_before_the_effect(self, client: httpx.AsyncClient) -> None:
        stage = on_stage(COMPLETE)
        output = await run("rollback", {}, stage, client)
        assert stage.story == ["mark acted", "record patch", "patch to 1.4.2", "record rollout"]
        assert stage.intents[0]["to"] == {"version": "1.4.2", "revision": "4", "fingerprint": "f-good", "digest": "d-good"}
        assert output == "set app back to 1.4.2; 3 of 3 new pods available"

    async def test_a_resumed_step_writes_nothing_again_and_waits_for_the_rollout(self, client: httpx.AsyncClient) -> None:
        first = on_stage(COMPLETE)
        await run("rollback", {}, first, client)
        stage = on_stage(PROGRESSING, COMPLETE, done=True, intent=first.intents[0])
        await run("rollback", {}, stage, client)
        assert stage.story == ["record rollout"]

    @pytest.mark.parametrize(
        ("begun", "looks"),
        [
            pytest.param(True, ["mark changed"], id="half done: it is finished, without asking for the alert again"),
            pytest.param(False, ["mark acted", "record patch"], id="cut off before its first byte: the last look again"),
        ],
    )
    async def test_a_rollback_of_several_writes_that_was_cut_off(
        self, client: httpx.AsyncClient, begun: bool, looks: list[str]
    ) -> None:
        first = on_stage(COMPLETE)
        await run("rollback", {}, first, client)
        stage = Stage(intent=first.intents[0])
        stage.workload = FakeStepwise(lambda: stage.story, COMPLETE, begun=begun)
        await run("rollback", {}, stage, client)
        assert stage.story == [*looks, "patch to 1.4.2", "record rollout"]

    async def test_a_first_attempt_always_takes_the_last_look(self, client: httpx.AsyncClient) -> None:
        stage = Stage()
        stage.workload = FakeStepwise(lambda: stage.story, COMPLETE, begun=True)
        await run("rollback", {}, stage, client)
        assert stage.story[0] == "mark acted"

    async def test_another_pin_than_the_one_written_down_is_refused_before_anything_is_done(
        self, client: httpx.AsyncClient
    ) -> None:
        first = on_stage(COMPLETE)
        await run("rollback", {}, first, client)
        other = {**first.intents[0], "to": {"version": "1.5.0", "revision": "5", "fingerprint": "f-bad", "digest": "d-bad"}}
        stage = on_stage(COMPLETE, intent=other)
        with pytest.raises(PermanentError, match="differ"):
            await run("rollback", {}, stage, client)
        assert stage.story == []

    async def test_progress_is_said_on_change_only_and_an_absent_api_is_waited_for(self, client: httpx.AsyncClient) -> None:
        away = UnreachableError("the API server can't be reached")
        stage = on_stage(PROGRESSING, PROGRESSING, away, away, PROGRESSING, COMPLETE)
        await run("rollback", {}, stage, client)
        assert [text[:20] for text in stage.shown[1:]] == ["1 of 3 new pods avai", "waiting for the roll", "1 of 3 new pods avai"]
        assert all(timedelta(milliseconds=500) <= pause <= timedelta(seconds=1) for pause in stage.slept)

    async def test_a_failed_rollout_fails_the_step_with_the_reason(self, client: httpx.AsyncClient) -> None:
        with pytest.raises(PermanentError, match="progress deadline exceeded"):
            await run("rollback", {}, on_stage(PROGRESSING, FAILED), client)

    async def test_a_target_that_is_gone_while_waiting_fails_the_step(self, client: httpx.AsyncClient) -> None:
        with pytest.raises(RefusedError, match="other uid"):
            await run("rollback", {}, on_stage(PROGRESSING, RefusedError("other uid")), client)

    async def test_a_target_without_a_pin_is_refused(self, client: httpx.AsyncClient) -> None:
        stage = on_stage(COMPLETE)
        with pytest.raises(RefusedError, match="no pin for other"):
            await run("rollback", {"target": "other"}, stage, client)
        assert stage.story == []


Answers = Sequence[tuple[int, str] | str]


@asynccontextmanager
async def service(answers: Answers) -> AsyncIterator[tuple[str, list[Request]]]:
    """Gives one answer after the other, the last one for ever. "hang": never answers."""
    requests: list[Request] = []
    released = asyncio.Event()

    async def answer(request: Request) -> Response:
        requests.append(request)
        current = answers[min(len(requests), len(answers)) - 1]
        if isinstance(current, str):
            await released.wait()
            return PlainTextResponse("late")
        headers = {"Location": "/elsewhere"} if 300 <= current[0] < 400 else None
        return PlainTextResponse(current[1], current[0], headers)

    server = LoopbackServer(Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])]))
    await server.start()
    try:
        yield server.url, requests
    finally:
        released.set()
        await server.stop()


OK = (200, '{"status": "up", "checks": [{"ok": true, "lag": 1}], "count": 1}')
DOWN = (503, "down")


class TestHttpCheck:
    async def test_successes_in_a_row_with_latencies(self, client: httpx.AsyncClient) -> None:
        async with service([OK]) as (url, requests):
            stage = Stage()
            output = await run("http.check", {"url": f"{url}/ready?token=hush", "every": "7s"}, stage, client)
        assert output.startswith(f"{url}/ready: 3 good answers in a row, median ")
        assert "hush" not in output + " ".join(stage.shown)
        assert len(requests) == 3
        assert stage.slept == [timedelta(seconds=7)] * 2

    async def test_a_bad_answer_begins_the_row_anew(self, client: httpx.AsyncClient) -> None:
        async with service([OK, OK, DOWN, OK]) as (url, requests):
            await run("http.check", {"url": url}, Stage(), client)
        assert len(requests) == 6

    async def test_by_default_it_probes_until_the_steps_timeout(self, client: httpx.AsyncClient) -> None:
        async with service([DOWN]) as (url, requests):
            stage = Stage()
            task = asyncio.create_task(run("http.check", {"url": url}, stage, client))
            async with asyncio.timeout(20):
                while len(requests) < 20:  # noqa: ASYNC110
                    await asyncio.sleep(0.002)
            assert not task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert "answered 503" in stage.shown[-1]

    async def test_failures_in_a_row_end_the_attempt(self, client: httpx.AsyncClient) -> None:
        async with service([DOWN, OK, DOWN, DOWN]) as (url, requests):
            with pytest.raises(TemporaryError, match="answered 503; 2 bad answers in a row"):
                await run("http.check", {"url": url, "failures": 2}, Stage(), client)
        assert len(requests) == 4

    BAD: Sequence[Any] = (
        pytest.param((302, ""), {}, "answered 302", id="a redirect is not followed"),
        pytest.param((204, ""), {}, "answered 204", id="another status"),
        pytest.param(OK, {"body_contains": "ready"}, "without the expected text", id="text is missing"),
        pytest.param((200, "no"), {"json": {"status": "up"}}, "not JSON", id="not JSON"),
        pytest.param(OK, {"json": {"state": "up"}}, "without state", id="a path is missing"),
        pytest.param(OK, {"json": {"checks.1.ok": True}}, "without checks.1.ok", id="an index is missing"),
        pytest.param(OK, {"json": {"status": "down"}}, 'status = "up", not "down"', id="another value"),
        pytest.param(OK, {"json": {"count": True}}, "count = 1, not true", id="1 is not true"),
        pytest.param("hang", {"timeout": "50ms"}, "did not answer within 0.05 s", id="no answer in time"),
    )

    @pytest.mark.parametrize(("answer", "extra", "said"), BAD)
    async def test_bad_answers(
        self, answer: tuple[int, str] | str, extra: Mapping[str, object], said: str, client: httpx.AsyncClient
    ) -> None:
        async with service([answer]) as (url, requests):
            with pytest.raises(TemporaryError) as raised:
                await run("http.check", {"url": url, "failures": 1, **extra}, Stage(), client)
        assert said in str(raised.value)
        assert len(requests) == 1

    GOOD: Sequence[Any] = (
        pytest.param((302, ""), {"status": 302}, id="a redirect that is asked for"),
        pytest.param((204, ""), {"status": "2xx"}, id="any success"),
        pytest.param((418, ""), {"status": [200, "410-420"]}, id="a list with a range"),
        pytest.param(OK, {"body_contains": '"up"'}, id="text"),
        pytest.param(OK, {"json": {"status": "up", "checks.0.ok": True, "checks.0.lag": 1}}, id="values by path"),
    )

    @pytest.mark.parametrize(("answer", "extra"), GOOD)
    async def test_good_answers(self, answer: tuple[int, str], extra: Mapping[str, object], client: httpx.AsyncClient) -> None:
        async with service([answer]) as (url, _):
            assert "1 good answer in a row" in await run("http.check", {"url": url, "successes": 1, **extra}, Stage(), client)

    async def test_headers_and_method_are_sent_and_never_shown(self, client: httpx.AsyncClient) -> None:
        async with service([OK]) as (url, requests):
            headers = {"Authorization": "Bearer very-secret"}
            stage = Stage()
            output = await run("http.check", {"url": url, "method": "POST", "headers": headers, "successes": 1}, stage, client)
        assert requests[0].method == "POST"
        assert requests[0].headers["authorization"] == "Bearer very-secret"
        assert "very-secret" not in output + " ".join(stage.shown)

    async def test_an_endless_body_is_read_only_as_far_as_needed(self, client: httpx.AsyncClient) -> None:
        async with service([(200, "x" * 3_000_000 + "late")]) as (url, _):
            with pytest.raises(TemporaryError, match="without the expected text"):
                await run("http.check", {"url": url, "failures": 1, "body_contains": "late"}, Stage(), client)

    async def test_a_service_that_is_not_there_is_a_bad_answer(self, client: httpx.AsyncClient) -> None:
        async with service([OK]) as (url, _):
            pass
        with pytest.raises(TemporaryError, match="can't be reached"):
            await run("http.check", {"url": url, "failures": 1}, Stage(), client)


class TestNotify:
    async def test_plain_text_goes_out_as_it_is(self, client: httpx.AsyncClient) -> None:
        stage = Stage()
        await run("notify", {"text": "Look at {this}", "to": "slack"}, stage, client)
        assert stage.told == [("", "Look at {this}", "slack")]

    TEMPLATES: Sequence[Any] = (
        pytest.param("{{ incident.id }} on {{ target }}", "inc_1 on app", id="incident and target"),
        pytest.param("{{ labels.pod }}", "app-1", id="a label"),
        pytest.param("{{ labels.items }}", "three", id="a label named like a method"),
        pytest.param("{{ labels.nope | default('?') }}", "?", id="a missing label with a default"),
        pytest.param("{{ version.from }} to {{ version.to }}", "1.5.0 to 1.4.2", id="versions"),
        pytest.param("{{ (value * 100) | round(1) }} %", "7.0 %", id="arithmetic"),
        pytest.param("{% if incident.severity == 'P1' %}loud{% endif %}", "loud", id="a condition"),
    )

    @pytest.mark.parametrize(("template", "text"), TEMPLATES)
    async def test_templates(self, template: str, text: str, client: httpx.AsyncClient) -> None:
        stage = Stage()
        await run("notify", {"text": template, "title": f"T {template}"}, stage, client)
        assert stage.told == [(f"T {text}", text, None)]

    async def test_what_an_alert_brings_is_never_read_as_a_template(self, client: httpx.AsyncClient) -> None:
        stage = Stage()
        stage.context.incident = replace(stage.context.incident, trigger_labels={"pod": "{{ 7 * 7 }}<b>&"})
        await run("notify", {"text": "{{ labels.pod }}"}, stage, client)
        assert stage.told[0][1] == "{{ 7 * 7 }}<b>&"

    async def test_a_missing_name_is_told_as_its_author_wrote_it(self, client: httpx.AsyncClient) -> None:
        with pytest.raises(PermanentError, match=r"^the template can't be filled in: there is no 'pot'; add"):
            await run("notify", {"text": "{{ labels.pot }}"}, Stage(), client)

    FAILING: Sequence[Any] = (
        pytest.param("{{ labels.nope }}", id="a missing label"),
        pytest.param("{{ labels.__class__ }}", id="a way out through the class"),
        pytest.param("{{ labels._values }}", id="a way out through a private name"),
        pytest.param("{{ ''.__class__.__mro__ }}", id="a way out through a string"),
        pytest.param("{{ value / 0 }}", id="arithmetic that can't be"),
        pytest.param("{% for i in range(10000000) %}x{% endfor %}", id="a loop without end"),
    )

    @pytest.mark.parametrize("template", FAILING)
    async def test_templates_that_fail_tell_nobody(self, template: str, client: httpx.AsyncClient) -> None:
        stage = Stage()
        with pytest.raises(PermanentError, match="can't be filled in"):
            await run("notify", {"text": template}, stage, client)
        assert stage.told == []


class TestSleep:
    async def test_the_end_is_written_down_first(self, client: httpx.AsyncClient) -> None:
        stage = Stage()
        assert await run("sleep", {"for": "10s"}, stage, client) == "waited 10s"
        assert stage.intents == [{"until": "2026-03-01T12:00:10+00:00"}]
        assert stage.slept == [timedelta(seconds=10)]

    RESTARTS: Sequence[Any] = (
        pytest.param("2026-03-01T12:00:04+00:00", [timedelta(seconds=4)], id="only the rest is waited for"),
        pytest.param("2026-03-01T11:59:00+00:00", [], id="what is over is over"),
        pytest.param("2026-03-01T18:00:00+00:00", [timedelta(seconds=10)], id="a clock set back makes it no longer"),
    )

    @pytest.mark.parametrize(("until", "slept"), RESTARTS)
    async def test_restart(self, until: str, slept: list[timedelta], client: httpx.AsyncClient) -> None:
        stage = Stage(intent={"until": until})
        await run("sleep", {"for": "10s"}, stage, client)
        assert stage.slept == slept
        assert stage.intents == []


VALID: Sequence[Any] = (
    pytest.param("rollback", {}, id="rollback"),
    pytest.param("rollback", {"target": "app"}, id="rollback of a target"),
    pytest.param(
        "http.check",
        {"url": "https://x/y", "status": [200, "2xx"], "every": "1m30s", "json": {"a.0": None}, "failures": 3},
        id="http.check",
    ),
    pytest.param(
        "http.check",
        {"url": "http://x/", "requests": 20, "p95_below": "300ms", "auth": {"user": "a", "from_secret": "B"}},
        id="p95",
    ),
    pytest.param("http.request", {"url": "http://x/", "json": {"a": [1, None]}, "timeout": "90s"}, id="http.request"),
    pytest.param(
        "http.request",
        {"url": "http://x/", "body": "x", "check": {"url": "http://x/"}, "undo": {"url": "http://x/"}, "headers": {"A": "b"}},
        id="http.request with everything",
    ),
    pytest.param("command.check", {"run": ["a", "b"]}, id="command.check"),
    pytest.param(
        "command.run",
        {
            "run": ["a"],
            "env": {"A": "b", "C": {"from_secret": "D"}},
            "check": ["a"],
            "undo": ["b"],
            "expect": {"json": {"a.0": 1}},
        },
        id="command.run",
    ),
    pytest.param("notify", {"text": "{{ labels.x }}"}, id="notify"),
    pytest.param("sleep", {"for": "90s"}, id="sleep"),
)


@pytest.mark.parametrize(("uses", "given"), VALID)
@pytest.mark.parametrize("mode", ["python", "json"])
def test_parameters_survive_the_way_through_the_database(uses: str, given: Mapping[str, object], mode: Any) -> None:
    model = PARAMETERS[uses]
    first = model.model_validate(given)
    assert model.model_validate(first.model_dump(by_alias=True, mode=mode)) == first


INVALID: Sequence[Any] = (
    pytest.param("rollback", {"targets": "app"}, "targets", id="an unknown key"),
    pytest.param("http.check", {}, "url", id="url is missing"),
    pytest.param("http.check", {"url": "https://{{ labels.host }}/"}, "written out", id="a template for a url"),
    pytest.param("http.check", {"url": "file:///etc/passwd"}, "must be an address", id="a file"),
    pytest.param("http.check", {"url": "https://[::1"}, "must be an address", id="half an address"),
    pytest.param("http.check", {"url": "http://x:99999/"}, "must be an address", id="an impossible port"),
    pytest.param("http.check", {"url": "http://x/", "status": 99}, "HTTP statuses", id="not a status"),
    pytest.param("http.check", {"url": "http://x/", "status": "299-200"}, "swap", id="a range backwards"),
    pytest.param("http.check", {"url": "http://x/", "status": True}, "HTTP statuses", id="true is no status"),
    pytest.param("http.check", {"url": "http://x/", "status": []}, "HTTP statuses", id="no status at all"),
    pytest.param("http.check", {"url": "http://x/", "every": 5}, "no unit", id="a duration without unit"),
    pytest.param("http.check", {"url": "http://x/", "every": "0"}, "longer than 0s", id="no pause"),
    pytest.param("http.check", {"url": "http://x/", "timeout": "Pooh"}, "duration", id="almost ISO 8601"),
    pytest.param("http.check", {"url": "http://x/", "successes": 0}, "successes", id="no success needed"),
    pytest.param("http.check", {"url": "http://x/", "headers": {"A": "x\r\nB: y"}}, "printable ASCII", id="a header in a header"),
    pytest.param("http.check", {"url": "http://x/", "json": {"a..b": 1}}, "not a path", id="a path with a hole"),
    pytest.param("notify", {"text": "{{ lables.x }}"}, "unknown name lables", id="a misspelt name"),
    pytest.param("notify", {"text": "{% if %}"}, "not a template", id="a broken template"),
    pytest.param("notify", {"text": ""}, "text", id="nothing to say"),
    pytest.param("sleep", {"for": "-3s"}, "negative", id="a negative duration"),
    pytest.param("sleep", {"for": "PT0S"}, "longer than 0s", id="an empty duration in ISO 8601"),
    pytest.param("sleep", {"for": True}, "must be a duration", id="true is no duration"),
)


@pytest.mark.parametrize(("uses", "given", "said"), INVALID)
async def test_wrong_parameters_are_refused_when_loaded_and_when_run(
    uses: str, given: Mapping[str, object], said: str, client: httpx.AsyncClient
) -> None:
    with pytest.raises(ValueError, match=said):
        PARAMETERS[uses].model_validate(given)
    with pytest.raises(InvalidInputError, match=said):
        await run(uses, given, on_stage(COMPLETE), client)


async def test_every_action_has_parameters_and_the_other_way_round(client: httpx.AsyncClient) -> None:
    assert set(build_actions(client, KubernetesClient())) == set(PARAMETERS)
    for model in PARAMETERS.values():
        assert model.model_json_schema()["additionalProperties"] is False


class TestUndo:
    async def test_goes_the_way_of_a_rollback(self, client: httpx.AsyncClient) -> None:
        stage = on_stage(COMPLETE)
        await run("kubernetes.undo", {"to_revision": 4}, stage, client)
        assert stage.story == ["mark acted", "record patch", "patch to 1.4.2", "record rollout"]

    async def test_another_revision_than_the_pinned_one_is_refused(self, client: httpx.AsyncClient) -> None:
        stage = on_stage(COMPLETE)
        with pytest.raises(RefusedError, match=r"revision 5 is asked for, but pinned is 1\.4\.2 \(revision 4\)"):
            await run("kubernetes.undo", {"to_revision": 5}, stage, client)
        assert stage.story == []
