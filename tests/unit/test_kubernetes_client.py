"""The client's edge: credentials, errors, and what it never says."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from responder.clients import kubernetes_connection
from responder.clients.kubernetes import DEPLOYMENTS, PODS, KubernetesClient, retry_for_ever
from responder.clients.kubernetes_errors import JSON_PATCH, Call, error_of_answer
from responder.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    ResponderError,
    SettingsError,
    TemporaryError,
    UnreachableError,
)

SECRET = "s3cr3t-t0ken"
READ = Call("get", "deployments.apps", "/x", "shop", "app")
WRITE = Call("patch", "deployments.apps", "/x", "shop", "app", method="PATCH", content=JSON_PATCH)
REHEARSAL = Call("patch", "deployments.apps", "/x", "shop", "app", method="PATCH", query={"dryRun": "All"}, content=JSON_PATCH)
FAILED_TEST = {"reason": "Invalid", "details": {}, "message": "the server rejected our request due to an error in our request"}
INVALID = {"reason": "Invalid", "message": "is invalid", "details": {"causes": [{"field": "spec.replicas"}]}}


@pytest.mark.parametrize(
    ("call", "status", "body", "expected"),
    [
        pytest.param(READ, 400, {}, PermanentError, id="400 is permanent"),
        pytest.param(READ, 401, {}, PermanentError, id="401 is permanent"),
        pytest.param(READ, 403, {}, ForbiddenError, id="403 is a missing right"),
        pytest.param(READ, 404, {}, NotFoundError, id="404 is not found"),
        pytest.param(WRITE, 409, {}, ConflictError, id="409 is a conflict"),
        pytest.param(READ, 410, {}, TemporaryError, id="410 is temporary: list again"),
        pytest.param(WRITE, 422, FAILED_TEST, ConflictError, id="422 of a failed test is a conflict"),
        pytest.param(WRITE, 422, INVALID, PermanentError, id="422 with fields is permanent"),
        pytest.param(READ, 429, {}, TemporaryError, id="429 is temporary"),
        pytest.param(READ, 500, {}, TemporaryError, id="500 to a read is temporary"),
        pytest.param(WRITE, 500, {}, OutcomeUnknownError, id="500 to a write leaves the outcome unknown"),
        pytest.param(WRITE, 504, {}, OutcomeUnknownError, id="504 to a write leaves the outcome unknown"),
        pytest.param(REHEARSAL, 504, {}, TemporaryError, id="504 to a dry run is temporary"),
        pytest.param(WRITE, 503, {}, TemporaryError, id="503 to a write is temporary: nothing was done"),
    ],
)
def test_statuses_become_our_errors(call: Call, status: int, body: dict[str, Any], expected: type[ResponderError]) -> None:
    assert type(error_of_answer(call, status, json.dumps(body).encode(), None)) is expected


def test_a_missing_right_is_named() -> None:
    error = error_of_answer(READ, 403, b'{"message": "no"}', None)

    assert str(error) == "missing right: get deployments.apps in namespace shop (no)"


def test_the_server_s_message_is_cut() -> None:
    assert len(str(error_of_answer(READ, 400, json.dumps({"message": "x" * 9000}).encode(), None))) < 500


def test_retry_after_is_passed_on() -> None:
    error = error_of_answer(READ, 429, b"{}", "7")

    assert isinstance(error, TemporaryError)
    assert error.retry_after == timedelta(seconds=7)


def kubeconfig_at(folder: Path, server: str, token: str = SECRET) -> str:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return str(path)


Answer = Callable[[str, str], Awaitable[bytes | None]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """A server on loopback. answer gets method and Authorization; None closes the connection without a word."""
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        token = next((line.split(": ", 1)[1] for line in head.split("\r\n") if line.lower().startswith("authorization")), "")
        reply = await answer(head.split(" ")[0], token)
        if reply is not None:
            writer.write(reply)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


def reply(status: int, body: object) -> bytes:
    text = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    return head.encode() + text


@asynccontextmanager
async def client_of(path: str | None, timeout: float = 5) -> AsyncIterator[KubernetesClient]:
    client = KubernetesClient(path, timeout=timedelta(seconds=timeout))
    try:
        yield client
    finally:
        await client.close()


async def test_nobody_listens(tmp_path: Path) -> None:
    async with serving(lambda *_: asyncio.sleep(0, None)) as url:
        pass  # the port is free again
    async with client_of(kubeconfig_at(tmp_path, url)) as client:
        with pytest.raises(UnreachableError, match="no connection to the API server"):
            await client.patch_json(DEPLOYMENTS, "shop", "app", [{"op": "test"}])


@pytest.mark.parametrize(
    ("dry_run", "expected"),
    [
        pytest.param(False, OutcomeUnknownError, id="of a write the outcome is unknown"),
        pytest.param(True, UnreachableError, id="a dry run took no effect"),
    ],
)
@pytest.mark.parametrize("silent", [pytest.param(False, id="connection cut"), pytest.param(True, id="no answer in time")])
async def test_the_answer_never_comes(tmp_path: Path, dry_run: bool, expected: type[ResponderError], silent: bool) -> None:
    async def never(method: str, token: str) -> None:
        if silent:
            await asyncio.Event().wait()

    async with serving(never) as url, client_of(kubeconfig_at(tmp_path, url), timeout=0.3) as client:
        with pytest.raises(expected) as caught:
            await client.patch_json(DEPLOYMENTS, "shop", "app", [{"op": "test"}], dry_run=dry_run)
    assert type(caught.value) is expected


async def test_a_list_is_read_page_by_page(tmp_path: Path) -> None:
    pages = iter(
        [{"metadata": {"continue": "next"}, "items": [{"n": 1}]}, {"metadata": {}, "items": [{"n": 2}]}],
    )

    async def page(method: str, token: str) -> bytes:
        return reply(200, next(pages))

    async with serving(page) as url, client_of(kubeconfig_at(tmp_path, url)) as client:
        assert await client.list(PODS, "shop", labels="app=shop") == [{"n": 1}, {"n": 2}]


async def test_requests_wait_for_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("responder.clients.kubernetes_connection._REQUESTS_AT_ONCE", 1)
    inside: list[int] = []
    seen: list[int] = []

    async def slow(method: str, token: str) -> bytes:
        inside.append(1)
        seen.append(len(inside))
        await asyncio.sleep(0.01)
        inside.pop()
        return reply(200, {"ok": True})

    async with serving(slow) as url, client_of(kubeconfig_at(tmp_path, url)) as client:
        await asyncio.gather(*(client.get(PODS, "shop", "a") for _ in range(8)))
    assert seen == [1] * 8


async def test_what_can_wait_leaves_room_for_the_others(tmp_path: Path) -> None:
    held = asyncio.Event()
    arrived: list[str] = []

    async def hold_gets(method: str, token: str) -> bytes:
        arrived.append(method)
        if method == "GET":
            await held.wait()
        return reply(200, {"ok": True})

    async with serving(hold_gets) as url, client_of(kubeconfig_at(tmp_path, url)) as client:
        patient = client.patiently()
        looking = [asyncio.create_task(patient.get(PODS, "shop", "a")) for _ in range(40)]
        await asyncio.sleep(0)
        await client.patch_json(DEPLOYMENTS, "shop", "app", [])
        assert arrived.count("GET") <= 4
        held.set()
        await asyncio.gather(*looking)
    assert arrived.count("GET") == 40


async def test_readings_of_a_namespace_that_are_asked_for_together_are_one(tmp_path: Path) -> None:
    asked: list[str] = []

    async def count(method: str, token: str) -> bytes:
        asked.append(method)
        return reply(200, {"metadata": {}, "items": [{"n": len(asked)}]})

    async with serving(count) as url, client_of(kubeconfig_at(tmp_path, url)) as client:
        answers = await asyncio.gather(*(client.list_shared(PODS, "shop") for _ in range(20)))
        assert answers == [[{"n": 1}]] * 20
        assert await client.list_shared(PODS, "shop") == [{"n": 2}]


async def test_a_netrc_is_not_asked_for_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    tokens: list[str] = []

    async def note(method: str, token: str) -> bytes:
        tokens.append(token)
        return reply(200, {"ok": True})

    async with serving(note) as url, client_of(kubeconfig_at(tmp_path, url)) as client:
        await client.get(PODS, "shop", "a")
    assert tokens == [f"Bearer {SECRET}"]


async def test_a_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def proxy(method: str, token: str) -> bytes:
        asked.append(method)
        return reply(200, {"ok": True})

    async with serving(proxy) as url:
        monkeypatch.setenv("http_proxy", url)
        async with client_of(kubeconfig_at(tmp_path, "http://cluster.invalid")) as client:
            await client.get(PODS, "shop", "a")
    assert asked == ["GET"]


async def test_renewed_credentials_are_picked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many requests find out at once; each succeeds with what the file holds now, which one of them has read."""
    accepted, load, loads = "first", kubernetes_connection._load, []

    async def counted(kubeconfig: str | None) -> object:
        loads.append(kubeconfig)
        return await load(kubeconfig)

    monkeypatch.setattr(kubernetes_connection, "_load", counted)

    async def guarded(method: str, token: str) -> bytes:
        return reply(200, {"ok": True}) if token == f"Bearer {accepted}" else reply(401, {"message": "Unauthorized"})

    async with serving(guarded) as url, client_of(kubeconfig_at(tmp_path, url, "first")) as client:
        await client.get(PODS, "shop", "a")
        accepted = "second"
        kubeconfig_at(tmp_path, url, "second")
        answers = await asyncio.gather(*(client.get(PODS, "shop", "a") for _ in range(8)))
    assert answers == [{"ok": True}] * 8
    assert len(loads) == 2, "at first, and once for all"


async def test_a_token_that_is_not_accepted_is_not_told(tmp_path: Path) -> None:
    async def refuse(method: str, token: str) -> bytes:
        return reply(401, {"message": "Unauthorized"})

    async with serving(refuse) as url, client_of(kubeconfig_at(tmp_path, url)) as client:
        with pytest.raises(PermanentError, match="Unauthorized") as caught:
            await client.get(PODS, "shop", "a")
    assert SECRET not in _all_that_is_shown(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("]: no yaml {", "not a kubeconfig file", id="no YAML"),
        pytest.param("[]", "not a kubeconfig file", id="a list"),
        pytest.param("{}", "not a kubeconfig file|an entry is missing", id="nothing in it"),
        pytest.param(
            json.dumps(
                {
                    "clusters": [{"name": "c", "cluster": {"server": "https://x", "certificate-authority": "/no/such/file"}}],
                    "users": [{"name": "u", "user": {"token": SECRET}}],
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "x",
                }
            ),
            "an entry is missing, or a file that it names",
            id="a file that does not exist",
        ),
        pytest.param(
            json.dumps({"users": [{"name": "u", "user": {"token": SECRET, "exec": {}}}], "current-context": "x", "contexts": []}),
            "an entry is missing|not a kubeconfig file",
            id="a context that does not exist",
        ),
    ],
)
async def test_unusable_kubeconfigs_are_settings_errors_that_quote_nothing(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    async with client_of(str(path)) as client:
        with pytest.raises(SettingsError, match=reason) as caught:
            await client.connect()
    assert SECRET not in _all_that_is_shown(caught.value)


async def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    async with client_of(str(tmp_path / "nowhere")) as client:
        with pytest.raises(SettingsError, match=r"no such file: .*nowhere"):
            await client.connect()


def test_nothing_heavy_is_imported_before_the_first_use() -> None:
    code = "import sys, responder.targets.kubernetes; print([m for m in ('kubernetes', 'aiohttp', 'yaml') if m in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )

    assert shown.stdout.strip() == "[]"


def _all_that_is_shown(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error))


async def test_a_watch_that_ends_is_no_news_but_a_cluster_that_stays_away_is() -> None:
    failures = iter([UnreachableError("nobody listens")] * 5)

    async def change() -> str:
        for failure in failures:
            raise failure
        return "seen"

    with structlog.testing.capture_logs() as lines:
        assert await retry_for_ever("watch it").copy(sleep=_at_once)(change) == "seen"
    assert [line["log_level"] for line in lines] == ["info", "info", "info", "warning", "warning"]


async def _at_once(_seconds: float) -> None: ...
