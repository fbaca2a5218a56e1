"""`kubernetes.exec` against a played endpoint: the control planes of these tests have no kubelet that could run a program."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from responder.clients.kubernetes import KubernetesClient
from responder.errors import ForbiddenError, PermanentError, RefusedError, TemporaryError
from tests.harness.steps import Killed, StepStage

OK = json.dumps({"status": "Success"}).encode()


def exit_code(code: int) -> bytes:
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return json.dumps({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}).encode()


def pod(name: str, *, ready: bool = True) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    meta = {"name": name, "uid": f"uid-{name}", "labels": {"app": "app"}}
    return {"metadata": meta, "spec": {"containers": [{"name": "main"}, {"name": "side"}]}, "status": {"conditions": conditions}}


class Played:
    """An API server with one Deployment. program: what happens on the socket; asked: queries of the exec requests."""

    def __init__(self) -> None:
        self.pods = [pod("app-2"), pod("app-1"), pod("app-0", ready=False)]
        self.program: Callable[[web.WebSocketResponse], Awaitable[None]] = self.says((1, b"done\n"), (3, OK))
        self.refusal: int | None = None
        self.annotations: dict[str, str] = {}
        self.asked: list[tuple[str, list[tuple[str, str]]]] = []

    @staticmethod
    def says(*messages: tuple[int, bytes]) -> Callable[[web.WebSocketResponse], Awaitable[None]]:
        async def program(socket: web.WebSocketResponse) -> None:
            for channel, data in messages:
                await socket.send_bytes(bytes([channel]) + data)

        return program

    async def deployment(self, _: web.Request) -> web.Response:
        spec = {"selector": {"matchLabels": {"app": "app"}}}
        return web.json_response({"metadata": {"name": "app", "uid": "u", "annotations": self.annotations}, "spec": spec})

    async def listed(self, _: web.Request) -> web.Response:
        return web.json_response({"metadata": {}, "items": self.pods})

    async def execute(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.match_info["pod"], list(request.query.items())))
        if self.refusal:
            return web.json_response({"message": "no"}, status=self.refusal)
        socket = web.WebSocketResponse(protocols=["v4.channel.k8s.io"])
        await socket.prepare(request)
        assert socket.ws_protocol == "v4.channel.k8s.io"
        assert request.headers["Authorization"] == "Bearer t0ken"
        await self.program(socket)
        await socket.close()
        return socket


@pytest.fixture
async def played(tmp_path: Path) -> AsyncIterator[Played]:
    server = Played()
    app = web.Application()
    app.router.add_get("/apis/apps/v1/namespaces/shop/deployments/app", server.deployment)
    app.router.add_get("/api/v1/namespaces/shop/pods", server.listed)
    app.router.add_get("/api/v1/namespaces/shop/pods/{pod}/exec", server.execute)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    config = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://{host}:{port}"}}],
        "users": [{"name": "u", "user": {"token": "t0ken"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    yield server
    await runner.cleanup()


@pytest.fixture
async def stage(played: Played, tmp_path: Path) -> AsyncIterator[StepStage]:
    client = KubernetesClient(str(tmp_path / "kubeconfig"))
    yield StepStage(client, "shop")
    await client.close()


ARGV = {"argv": ["sh", "-c", "npx prisma migrate status && echo 'a b' $X"]}


async def test_an_argument_list_in_a_ready_pod(played: Played, stage: StepStage) -> None:
    assert await stage.run("kubernetes.exec", ARGV) == "sh succeeded in pod app-1\ndone"
    name, query = played.asked[0]
    assert name == "app-1"
    assert [value for key, value in query if key == "command"] == ARGV["argv"]
    assert ("container", "main") in query
    assert stage.story == ["mark", "record write"]
    assert stage.shown == ["about to run sh in container main of pod app-1"]


@pytest.mark.parametrize("on_pod", [False, True], ids=["on the workload", "on the pod"])
async def test_an_annotation_keeps_us_away_but_for_a_check(played: Played, stage: StepStage, on_pod: bool) -> None:
    hold = {"responder.dev/hold": "ann is looking"}
    if on_pod:
        played.pods[1]["metadata"]["annotations"] = hold
    else:
        played.annotations = hold

    with pytest.raises(RefusedError, match="keeps Responder away: ann is looking"):
        await stage.run("kubernetes.exec", ARGV)

    assert (played.asked, stage.story) == ([], [])
    assert "succeeded" in await stage.run("kubernetes.exec", {**ARGV, "changes": False})


async def test_output_is_cut_and_redacted(played: Played, stage: StepStage) -> None:
    played.program = Played.says(*[(1, b"x" * 10_000)] * 30, (2, b"password hunter2-the-password end"), (3, OK))
    said = await stage.run("kubernetes.exec", ARGV)
    assert "hunter2" not in said
    assert said.endswith("password [secret] end")
    assert len(said) < 4000


async def test_an_exit_code_fails_the_step(played: Played, stage: StepStage) -> None:
    played.program = Played.says((2, b"no such table"), (3, exit_code(3)))
    with pytest.raises(PermanentError, match="sh ended with 3 in pod app-1\nno such table"):
        await stage.run("kubernetes.exec", ARGV)


async def test_a_program_that_is_not_there(played: Played, stage: StepStage) -> None:
    status = {"status": "Failure", "reason": "InternalError", "message": 'exec: "nope": executable file not found'}
    played.program = Played.says((3, json.dumps(status).encode()))
    with pytest.raises(PermanentError, match="executable file not found"):
        await stage.run("kubernetes.exec", ARGV)


@pytest.mark.parametrize("killed", [pytest.param(False, id="the connection breaks"), pytest.param(True, id="killed")])
async def test_what_changes_something_is_not_run_twice(played: Played, stage: StepStage, killed: bool) -> None:
    played.program = Played.says((1, b"half"))
    if killed:
        stage.kill_after_record = True
        with pytest.raises(Killed):
            await stage.run("kubernetes.exec", ARGV)
        stage.kill_after_record = False
    else:
        with pytest.raises(PermanentError, match="ended before the program did; whether it came to its end is not known"):
            await stage.run("kubernetes.exec", ARGV)
    runs = len(played.asked)
    played.program = Played.says((3, OK))
    with pytest.raises(PermanentError, match="was begun in pod app-1 and interrupted"):
        await stage.run("kubernetes.exec", ARGV)
    assert len(played.asked) == runs


async def test_a_mere_check_may_run_again(played: Played, stage: StepStage) -> None:
    check = {**ARGV, "changes": False}
    played.program = Played.says((1, b"half"))
    with pytest.raises(TemporaryError):
        await stage.run("kubernetes.exec", check)
    played.program = Played.says((3, OK))
    assert await stage.run("kubernetes.exec", check) == "sh succeeded in pod app-1"
    assert "mark" not in stage.story


async def test_the_missing_right_is_named(played: Played, stage: StepStage) -> None:
    played.refusal = 403
    with pytest.raises(ForbiddenError, match="missing right: get pods/exec in namespace shop"):
        await stage.run("kubernetes.exec", ARGV)


async def test_no_pod_is_ready(played: Played, stage: StepStage) -> None:
    played.pods = [pod("app-0", ready=False)]
    with pytest.raises(TemporaryError, match="no pod of deployment/app in namespace shop is ready"):
        await stage.run("kubernetes.exec", ARGV)
    assert stage.story == []


async def test_the_preview_runs_nothing(played: Played, stage: StepStage) -> None:
    assert (await stage.preview("kubernetes.exec", ARGV)).startswith("would run sh -c npx prisma migrate status")
    assert played.asked == []
