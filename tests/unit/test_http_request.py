"""`http.request`: sent once, whatever happens to the answer; and `http.check` over many requests."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from responder.actions.http import HttpCheck
from responder.actions.http_parameters import HttpCheckParameters, HttpRequestParameters
from responder.actions.http_request import HttpRequest
from responder.clients.http import new_client
from responder.errors import OutcomeUnknownError, PermanentError, RefusedError, ResponderError, TemporaryError
from responder.sandbox.loopback import LoopbackServer
from tests.unit.test_actions import Stage


@dataclass
class Service:
    """Notes every request. answer: what it says to the next ones; done: whether `/state` says that it is done."""

    url: str = ""
    answer: Callable[[], Response] = lambda: Response("ok")
    done: bool = False
    delays: list[float] = field(default_factory=list)
    seen: list[tuple[str, str, str, Mapping[str, str]]] = field(default_factory=list)

    def sent(self) -> list[str]:
        return [f"{method} {path} {body}".strip() for method, path, body, _ in self.seen]

    async def handle(self, request: Request) -> Response:
        body = (await request.body()).decode()
        self.seen.append((request.method, request.url.path, body, dict(request.headers)))
        if request.url.path == "/state":
            return Response(json.dumps({"paused": self.done}))
        if self.delays:
            await asyncio.sleep(self.delays.pop(0))
        return self.answer()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    found = Service()
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    app = Starlette(routes=[Route("/{path:path}", found.handle, methods=methods)])
    server = LoopbackServer(app)
    await server.start()
    found.url = server.url
    yield found
    await server.stop()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with new_client() as opened:
        yield opened


async def send(client: httpx.AsyncClient, parameters: Mapping[str, object], stage: Stage | None = None, **secrets: str) -> str:
    return await HttpRequest(client, secrets).run(parameters, (stage or Stage()).context)


class TestSending:
    async def test_it_is_on_record_before_it_is_sent(self, client: httpx.AsyncClient, service: Service) -> None:
        stage = Stage()
        output = await send(client, {"url": f"{service.url}/queues/pause", "json": {"queue": "mail"}}, stage)
        assert stage.story == ["mark changed", "record begun", "record ended"]
        assert service.sent() == ['POST /queues/pause {"queue":"mail"}']
        assert output == f"POST {service.url}/queues/pause answered 200: ok"

    async def test_templates_are_filled_into_values_only(self, client: httpx.AsyncClient, service: Service) -> None:
        stage = Stage(inputs={"backup": 'kompass_backup","target":"x'})
        body = {"source": "{{ inputs.backup }}", "deep": [{"to": "{{ version.to }}"}, 7, None, True]}
        await send(client, {"url": service.url, "json": body}, stage)
        assert json.loads(service.seen[0][2]) == {
            "source": 'kompass_backup","target":"x',
            "deep": [{"to": "1.4.2"}, 7, None, True],
        }

    async def test_text_is_sent_as_it_is(self, client: httpx.AsyncClient, service: Service) -> None:
        await send(client, {"url": service.url, "body": "clear {{ target }}", "method": "PUT"})
        assert service.sent() == ["PUT / clear app"]

    async def test_secrets_are_sent_and_never_shown(self, client: httpx.AsyncClient, service: Service) -> None:
        secrets = {"key": "master-key-1", "couch": "pass-word-2"}
        service.answer = lambda: Response("keys: master-key-1 pass-word-2", status_code=400)
        stage = Stage()
        asked = {
            "url": service.url,
            "headers": {"X-Key": {"from_secret": "KEY", "prefix": "Bearer "}, "X-Plain": "plain-header"},
            "auth": {"user": "admin", "from_secret": "COUCH"},
        }
        with pytest.raises(PermanentError) as failed:
            await send(client, asked, stage, **secrets)
        headers = service.seen[0][3]
        assert (headers["x-key"], headers["x-plain"]) == ("Bearer master-key-1", "plain-header")
        assert base64.b64decode(headers["authorization"].removeprefix("Basic ")) == b"admin:pass-word-2"
        assert str(failed.value).endswith("answered 400: keys: [secret] [secret]")
        preview = await HttpRequest(client, secrets).preview(asked, stage.context)
        assert not [word for word in ("master-key", "pass-word") if word in f"{stage.intents}{stage.shown}{preview}"]

    async def test_a_secret_in_the_body_is_sent_and_never_shown(self, client: httpx.AsyncClient, service: Service) -> None:
        stage = Stage()
        service.answer = lambda: Response("no pass-word-2 here", 400)
        asked = {"url": service.url, "json": {"user": "ann", "keys": [{"password": {"from_secret": "LOGIN"}}]}}
        with pytest.raises(PermanentError) as failed:
            await send(client, asked, stage, login="pass-word-2")
        assert json.loads(service.seen[0][2]) == {"user": "ann", "keys": [{"password": "pass-word-2"}]}
        preview = await HttpRequest(client, {"login": "pass-word-2"}).preview(asked, stage.context)
        assert str(failed.value).endswith("answered 400: no [secret] here")
        assert "pass-word-2" not in f"{stage.story} {preview}"
        assert '"from_secret": "LOGIN"' in preview

    async def test_a_secret_of_the_body_that_is_not_set_is_named_before_anything(
        self, client: httpx.AsyncClient, service: Service
    ) -> None:
        stage = Stage()
        with pytest.raises(RefusedError, match="there is no secret LOGIN"):
            await send(client, {"url": service.url, "json": {"password": {"from_secret": "LOGIN"}}}, stage)
        assert (service.seen, stage.story) == ([], [])

    async def test_a_secret_that_is_not_set_is_named_before_anything(self, client: httpx.AsyncClient, service: Service) -> None:
        stage = Stage()
        with pytest.raises(RefusedError, match="set RESPONDER_SECRET_KEY "):
            await send(client, {"url": service.url, "headers": {"X": {"from_secret": "key"}}}, stage)
        assert (stage.story, service.seen) == ([], [])

    @pytest.mark.parametrize(
        ("status", "body", "expect", "problem"),
        [
            pytest.param(204, "", {}, "", id="any 2xx by default"),
            pytest.param(302, "", {}, "answered 302", id="a redirect is not followed"),
            pytest.param(404, "", {"status": [200, 404]}, "", id="a status that is asked for"),
            pytest.param(200, '{"ok": true}', {"json": {"ok": True}}, "", id="a value"),
            pytest.param(200, '{"ok": false}', {"json": {"ok": True}}, "with ok = false, not true", id="another value"),
            pytest.param(200, "no", {"body_contains": "yes"}, "without the expected text", id="other text"),
        ],
    )
    async def test_what_a_good_answer_is(
        self, client: httpx.AsyncClient, service: Service, status: int, body: str, expect: Mapping[str, object], problem: str
    ) -> None:
        service.answer = lambda: Response(body, status_code=status)
        if not problem:
            assert f"answered {status}" in await send(client, {"url": service.url, "expect": expect})
            return
        with pytest.raises(PermanentError, match=problem):
            await send(client, {"url": service.url, "expect": expect})

    @pytest.mark.parametrize(
        ("parameters", "what"),
        [
            pytest.param({"url": "http://x/{{ inputs.id }}"}, "must be written out", id="an address by template"),
            pytest.param({"json": {"a": ["{{ labels.pod }}"]}}, "labels", id="a label deep in the body"),
            pytest.param({"json": {"{{ inputs.a }}": 1}}, "not in names", id="a name by template"),
            pytest.param({"body": "{{ annotations.a }}"}, "annotations", id="an annotation as text"),
            pytest.param({"body": "x", "json": {}}, "keep one", id="two bodies"),
            pytest.param({"headers": {"a b": "x"}}, "no name of a header", id="a bad header"),
            pytest.param({"headers": {"a": "x\r\nb: y"}}, "printable", id="a header in a header"),
            pytest.param({"method": "TRACE"}, "GET", id="an odd method"),
        ],
    )
    def test_what_can_never_be_right_is_refused_when_it_is_loaded(self, parameters: Mapping[str, object], what: str) -> None:
        with pytest.raises(ValidationError, match=what):
            HttpRequestParameters.model_validate({"url": "http://127.0.0.1/", **parameters})


class TestOnce:
    BEGUN: Mapping[str, object] = {"stage": "begun"}

    @pytest.mark.parametrize("lost", ["no answer in time", "an error of the service"])
    async def test_when_the_answer_is_lost_it_is_not_sent_again(
        self, client: httpx.AsyncClient, service: Service, lost: str
    ) -> None:
        first = Stage()
        asked: dict[str, Any] = {"url": service.url}
        if lost == "no answer in time":
            service.delays, asked["timeout"] = [1.0], "50ms"
            with pytest.raises(OutcomeUnknownError):
                await send(client, asked, first)
        else:
            service.answer = lambda: Response("later", status_code=502)
            with pytest.raises(TemporaryError, match="answered 502: later"):
                await send(client, asked, first)
        with pytest.raises(PermanentError, match="a person has to look"):
            await send(client, asked, Stage(intent=first.intents[-1]))
        assert len(service.seen) == 1

    async def test_what_is_safe_is_sent_again(self, client: httpx.AsyncClient, service: Service) -> None:
        await send(client, {"url": service.url, "safe": True}, Stage(intent=self.BEGUN))
        assert service.sent() == ["POST /"]

    @pytest.mark.parametrize("done", [True, False])
    async def test_its_check_is_asked(self, client: httpx.AsyncClient, service: Service, done: bool) -> None:
        service.done = done
        check = {"url": f"{service.url}/state", "expect": {"json": {"paused": True}}}
        await send(client, {"url": f"{service.url}/pause", "check": check}, Stage(intent=self.BEGUN))
        assert service.sent() == ["GET /state"] if done else ["GET /state", "POST /pause"]

    async def test_what_had_been_answered_is_not_sent_again(self, client: httpx.AsyncClient, service: Service) -> None:
        first = Stage()
        output = await send(client, {"url": service.url}, first)
        assert await send(client, {"url": service.url}, Stage(intent=first.intents[-1])) == output
        assert len(service.seen) == 1

    async def test_what_was_never_sent_may_be_sent(self, client: httpx.AsyncClient, service: Service) -> None:
        first = Stage()
        with pytest.raises(TemporaryError, match="can't be reached"):
            await send(client, {"url": "http://127.0.0.1:1/"}, first)
        await send(client, {"url": service.url}, Stage(intent=first.intents[-1]))
        assert len(service.seen) == 1

    async def test_reading_needs_no_record(self, client: httpx.AsyncClient, service: Service) -> None:
        stage = Stage(intent=self.BEGUN)
        await send(client, {"url": service.url, "method": "GET"}, stage)
        assert stage.story == []

    async def test_what_may_have_been_done_is_undone(self, client: httpx.AsyncClient, service: Service) -> None:
        asked = {"url": f"{service.url}/pause", "undo": {"url": f"{service.url}/resume", "json": {"target": "{{ target }}"}}}
        action = HttpRequest(client, {})
        assert await action.compensate(asked, Stage(intent={"stage": "unbegun"}).context) == ""
        assert await action.compensate(asked, Stage(intent=self.BEGUN).context) == f"undone by POST {service.url}/resume"
        assert service.sent() == ['POST /resume {"target":"app"}']

    async def test_an_undo_that_fails_is_said(self, client: httpx.AsyncClient, service: Service) -> None:
        service.answer = lambda: Response("no", status_code=403)
        with pytest.raises(ResponderError, match="answered 403: no"):
            await HttpRequest(client, {}).compensate(
                {"url": service.url, "undo": {"url": service.url}}, Stage(intent=self.BEGUN).context
            )

    async def test_its_preview_sends_nothing(self, client: httpx.AsyncClient, service: Service) -> None:
        asked = {
            "url": f"{service.url}/pause?key=x",
            "json": {"to": "{{ version.to }}"},
            "undo": {"url": f"{service.url}/resume"},
        }
        shown = await HttpRequest(client, {}).preview(asked, Stage().context)
        assert shown == (
            f'would send POST {service.url}/pause\n{{\n  "to": "1.4.2"\n}}\n'
            f"undone, should the plan fail later, by POST {service.url}/resume"
        )
        assert service.seen == []


class TestManyRequests:
    async def test_the_mean_of_so_many_requests_is_bounded(self, client: httpx.AsyncClient, service: Service) -> None:
        check = {"url": service.url, "requests": 20, "mean_below": "10s", "p95_below": "10s"}
        output = await HttpCheck(client, {}).run(check, Stage().context)
        assert len(service.seen) == 20
        assert output.startswith(f"{service.url}: 1 good probe of 20 requests in a row, median ") or output.startswith(
            service.url
        )

    @pytest.mark.parametrize("bound", ["mean_below", "p95_below"])
    async def test_a_slow_probe_is_made_again(self, client: httpx.AsyncClient, service: Service, bound: str) -> None:
        service.delays = [0.2, 0.2]
        stage = Stage()
        await HttpCheck(client, {}).run(
            {"url": service.url, "requests": 20, bound: "18ms" if bound == "mean_below" else "150ms"}, stage.context
        )
        assert len(service.seen) >= 40
        assert any("of 20 requests is" in text for text in stage.shown)

    async def test_one_bad_answer_spoils_a_probe(self, client: httpx.AsyncClient, service: Service) -> None:
        answers = [200, 200, 503, *[200] * 20]
        service.answer = lambda: Response("", status_code=answers.pop(0))
        await HttpCheck(client, {}).run({"url": service.url, "requests": 5}, Stage().context)
        assert len(service.seen) == 8

    @pytest.mark.parametrize(
        ("parameters", "what"),
        [
            pytest.param({"mean_below": "1s"}, "needs `requests: 2`", id="a mean of one"),
            pytest.param({"p95_below": "1s", "requests": 19}, "needs `requests: 20`", id="a percentile of too few"),
            pytest.param({"requests": 0}, "greater than or equal to 1", id="none"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, parameters: Mapping[str, object], what: str) -> None:
        with pytest.raises(ValidationError, match=what):
            HttpCheckParameters.model_validate({"url": "http://127.0.0.1/", **parameters})

    async def test_a_header_may_be_a_secret(self, client: httpx.AsyncClient, service: Service) -> None:
        check = {"url": service.url, "successes": 1, "headers": {"Authorization": {"from_secret": "T", "prefix": "Bearer "}}}
        await HttpCheck(client, {"t": "token"}).run(check, Stage().context)
        assert service.seen[0][3]["authorization"] == "Bearer token"
