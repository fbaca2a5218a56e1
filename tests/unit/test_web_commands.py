"""Commands over HTTP: what a body must look like, who may send it, and how refusals are told. The engine is played."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from responder.domain.guard import Outcome, Verdict
from responder.domain.incident import IncidentStatus
from responder.engine.orders import BusyError, GuardsError
from responder.errors import DeniedError, JournalUnavailableError, NotFoundError, RefusedError
from responder.web.tokens import Tokens
from tests.unit.played_commands import OPERATOR, Played, parts
from tests.unit.web_parts import NOW, an_incident, problem_of


async def ask(played: Played, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
    async with parts(played).client() as client:
        content = {} if body is None else {"content": body} if isinstance(body, bytes) else {"json": body}
        return await client.request(method, path, headers={**OPERATOR, **headers}, **content)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "said"),
    [(None, ""), ({}, ""), ({"reason": "the fix is out"}, "the fix is out")],
    ids=["no body", "an empty object", "a reason"],
)
@pytest.mark.parametrize("name", ["approve", "reject", "cancel", "acknowledge"])
async def test_an_incident_is_answered_with_or_without_a_reason(name: str, body: object, said: str) -> None:
    played = Played()
    answer = await ask(played, "POST", f"/v1/incidents/inc_1/{name}", body)
    assert answer.status_code == 200
    assert answer.json()["incident"]["id"] == "inc_0001"
    assert played.calls[0][:4] == (name, "inc_1", "operator", said)


async def test_a_rollback_is_ordered_with_everything_that_was_said() -> None:
    played = Played()
    body = {
        "target": "shop",
        "reason": " broken ",
        "revision": 7,
        "plan": "back",
        "inputs": {"level": "2"},
        "immediate": True,
        "skip_validation": True,
        "create_backup": True,
        "override": ["paused", "paused"],
    }
    answer = await ask(played, "POST", "/v1/rollbacks", body)
    assert answer.status_code == 202
    [(_, request, by, key)] = played.calls
    assert (request.target, request.plan, request.inputs, by, key) == ("shop", "back", {"level": "2"}, "operator", "")
    order = request.order
    assert (order.by, order.reason, order.version, order.revision) == ("operator", "broken", "", "7")
    assert (order.immediate, order.skip_validation, order.create_backup, order.override) == (True, True, True, ("paused",))
    assert answer.json()["incident"]["order"]["override"] == ["paused"]


async def test_a_dry_run_answers_what_would_happen() -> None:
    played = Played()
    answer = await ask(played, "POST", "/v1/rollbacks", {"target": "shop", "reason": "look", "dry_run": True})
    assert answer.status_code == 200
    assert answer.json() | {"pinned": None} == answer.json()
    assert answer.json()["would"] == "refuse"
    assert answer.json()["may_override"] == ["paused"]
    assert answer.json()["guards"]["shop"][0] == {"guard": "paused", "outcome": "refuse", "reason": "paused by a person"}
    assert played.calls[0][0] == "preview"


QUIET = {"matchers": ['a="b"'], "reason": "x"}
WRONG = {
    "no reason": ("/v1/rollbacks", {"target": "shop"}, "reason"),
    "a blank reason": ("/v1/rollbacks", {"target": "shop", "reason": "  "}, "reason"),
    "no target": ("/v1/rollbacks", {"reason": "x"}, "target"),
    "a target that is no text": ("/v1/rollbacks", {"target": 1, "reason": "x"}, "target"),
    "a member that is not known": ("/v1/rollbacks", {"target": "shop", "reason": "x", "immediatly": True}, "immediatly"),
    "a truth as text": ("/v1/rollbacks", {"target": "shop", "reason": "x", "immediate": "true"}, "immediate"),
    "inputs that are no object": ("/v1/rollbacks", {"target": "shop", "reason": "x", "inputs": ["a"]}, "inputs"),
    "an input that is no text": ("/v1/rollbacks", {"target": "shop", "reason": "x", "inputs": {"a": 1}}, "inputs.a"),
    "an override that is no list": ("/v1/rollbacks", {"target": "shop", "reason": "x", "override": "paused"}, "override"),
    "an override that is no text": ("/v1/rollbacks", {"target": "shop", "reason": "x", "override": [1]}, "override[0]"),
    "a reason without end": ("/v1/rollbacks", {"target": "shop", "reason": "x" * 1001}, "reason"),
    "control characters": ("/v1/rollbacks", {"target": "shop", "reason": "x\u0000"}, "reason"),
    "no matchers": ("/v1/suppressions", {"matchers": [], "duration": "1h", "reason": "x"}, "matchers"),
    "a matcher that is none": ("/v1/suppressions", {"matchers": ["nonsense"], "duration": "1h", "reason": "x"}, "matchers[0]"),
    "a pattern that is none": ("/v1/suppressions", {"matchers": ['a=~"("'], "duration": "1h", "reason": "x"}, "matchers[0]"),
    "matchers for everything": ("/v1/suppressions", {"matchers": ['a=~".*"'], "duration": "1h", "reason": "x"}, "matchers"),
    "neither duration nor until": ("/v1/suppressions", {"matchers": ['a="b"'], "reason": "x"}, "duration"),
    "both duration and until": (
        "/v1/suppressions",
        {**QUIET, "duration": "1h", "until": "2026-03-01T13:00:00Z"},
        "duration",
    ),
    "a duration without unit": ("/v1/suppressions", {**QUIET, "duration": "5"}, "duration"),
    "no duration at all": ("/v1/suppressions", {**QUIET, "duration": "0s"}, "duration"),
    "a duration without end": ("/v1/suppressions", {**QUIET, "duration": "10y"}, "duration"),
    "a time without zone": ("/v1/suppressions", {**QUIET, "until": "2026-03-01T13:00:00"}, "until"),
    "a time that has gone": ("/v1/suppressions", {**QUIET, "until": "2026-03-01T11:00:00Z"}, "until"),
    "a time that is none": ("/v1/suppressions", {**QUIET, "until": "tomorrow"}, "until"),
    "a time out of range": ("/v1/suppressions", {**QUIET, "until": "0001-01-01T00:00:00+14:00"}, "until"),
    "a step that is no text": ("/v1/incidents/inc_1/approve", {"step": 1}, "step"),
    "a step where there is none": ("/v1/incidents/inc_1/cancel", {"step": "x"}, "step"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "body", "named"), WRONG.values(), ids=WRONG.keys())
async def test_what_is_wrong_with_a_body_is_named(path: str, body: dict[str, object], named: str) -> None:
    played = Played()
    answer = await ask(played, "POST", path, body)
    assert answer.status_code == 400, answer.text
    assert problem_of(answer)["field"] == named
    assert played.calls == []


@pytest.mark.parametrize(
    ("body", "named"),
    [({}, "held"), ({"held": 1}, "held"), ({"held": True}, "reason"), ({"held": True, "reason": " "}, "reason")],
    ids=["no word", "a number", "no reason", "a blank reason"],
)
async def test_a_hold_needs_a_word_and_a_reason(body: dict[str, object], named: str) -> None:
    answer = await ask(Played(), "PUT", "/v1/hold", body)
    assert answer.status_code == 400
    assert problem_of(answer)["field"] == named


async def test_a_hold_is_turned_on_and_off() -> None:
    played = Played()
    on = await ask(played, "PUT", "/v1/hold", {"held": True, "reason": "migration"})
    assert on.json() == {"held": True, "reason": "migration", "by": "operator", "at": "2026-03-01T12:00:00Z"}
    off = await ask(played, "PUT", "/v1/hold", {"held": False})
    assert off.json()["held"] is False


async def test_one_matcher_that_selects_is_enough_for_a_suppression() -> None:
    body = {"matchers": ['alertname="x"', 'team!="db"', 'pod=~".*"'], "duration": "2h", "reason": "test"}
    assert (await ask(Played(), "POST", "/v1/suppressions", body)).status_code == 201


async def test_a_suppression_ends_after_its_duration_or_at_its_time() -> None:
    played = Played()
    made = await ask(played, "POST", "/v1/suppressions", {"matchers": ['alertname="x"'], "duration": "2h", "reason": "test"})
    assert made.status_code == 201
    assert made.json()["suppression"]["until"] == "2026-03-01T14:00:00Z"
    body = {"matchers": ["alertname=x"], "until": "2026-03-01T15:00:00+02:00", "reason": "test"}
    assert (await ask(played, "POST", "/v1/suppressions", body)).json()["suppression"]["until"] == "2026-03-01T13:00:00Z"
    assert played.calls[0][3] == NOW + timedelta(hours=2)
    ended = await ask(played, "DELETE", "/v1/suppressions/sup_1")
    assert (ended.status_code, ended.json()["suppression"]["id"]) == (200, "sup_1")


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'"x"', "application/json", 400),
        (b'{"reason": "\xff"}', "application/json", 400),
        (b'{"reason": "\\ud800"}', "application/json", 400),
        (b"reason=x", "application/x-www-form-urlencoded", 415),
        (b" " * 70_000, "application/json", 413),
    ],
    ids=["half an object", "a list", "a text", "no UTF-8", "half a character", "a form", "too much"],
)
async def test_a_body_that_is_no_object_is_refused(body: bytes, kind: str, status: int) -> None:
    played = Played()
    answer = await ask(played, "POST", "/v1/rollbacks", body, **{"Content-Type": kind})
    assert answer.status_code == status
    problem_of(answer)
    assert played.calls == []


REFUSALS: dict[str, tuple[Exception, int, dict[str, object]]] = {
    "what does not apply": (RefusedError("it is closed: resolved"), 409, {"detail": "it is closed: resolved"}),
    "who may not": (DeniedError("ann may not: it waits for lead"), 403, {"detail": "ann may not: it waits for lead"}),
    "what is not there": (NotFoundError("no target `x` is declared", field="target"), 404, {"field": "target"}),
    "guards": (
        GuardsError(["paused"], {"shop": [Verdict("paused", Outcome.REFUSE, "paused")]}, ["paused"]),
        409,
        {"may_override": ["paused"], "guards": {"shop": [{"guard": "paused", "outcome": "refuse", "reason": "paused"}]}},
    ),
    "a database that is away": (JournalUnavailableError("the database can't be used"), 503, {}),
}


@pytest.mark.parametrize(("error", "status", "members"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_refusal_says_what_it_knows(error: Exception, status: int, members: dict[str, object]) -> None:
    answer = await ask(Played(error), "POST", "/v1/rollbacks", {"target": "shop", "reason": "x"})
    assert answer.status_code == status
    assert members.items() <= problem_of(answer).items()


async def test_what_runs_already_comes_with_the_refusal() -> None:
    busy = BusyError(an_incident(4, IncidentStatus.WAITING_APPROVAL))
    answer = await ask(Played(busy), "POST", "/v1/rollbacks", {"target": "shop", "reason": "x"})
    assert answer.status_code == 409
    assert answer.json()["incident"]["id"] == "inc_0004"
    assert "waiting approval" in answer.json()["detail"]


async def test_the_same_command_under_one_key_gets_the_same_answer() -> None:
    played = Played()
    async with parts(played).client() as client:
        keyed = {**OPERATOR, "Idempotency-Key": "k"}
        body = {"target": "shop", "reason": "x"}
        first = await client.post("/v1/rollbacks", json=body, headers=keyed)
        again = await client.post("/v1/rollbacks", json=dict(reversed(body.items())), headers=keyed)
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert "Idempotency-Replayed" not in first.headers
        assert again.headers["Idempotency-Replayed"] == "true"
        other = await client.post("/v1/rollbacks", json={**body, "immediate": True}, headers=keyed)
        assert (other.status_code, problem_of(other)["field"]) == (422, "Idempotency-Key")
        elsewhere = await client.post("/v1/suppressions", json=body, headers=keyed)
        assert elsewhere.status_code == 422
    assert len(played.calls) == 1


async def test_a_refusal_is_kept_under_its_key_and_a_failure_is_not() -> None:
    played = Played(RefusedError("on hold"))
    async with parts(played).client() as client:
        keyed = {**OPERATOR, "Idempotency-Key": "k"}
        body = {"target": "shop", "reason": "x"}
        assert (await client.post("/v1/rollbacks", json=body, headers=keyed)).status_code == 409
        played.error = None
        kept = await client.post("/v1/rollbacks", json=body, headers=keyed)
        assert (kept.status_code, problem_of(kept)["detail"]) == (409, "on hold")
        played.error = JournalUnavailableError("away")
        later = {**OPERATOR, "Idempotency-Key": "k2"}
        assert (await client.post("/v1/rollbacks", json=body, headers=later)).status_code == 503
        played.error = None
        assert (await client.post("/v1/rollbacks", json=body, headers=later)).status_code == 202


@pytest.mark.parametrize("key", ["x" * 256, "k\u00e4se"], ids=["too long", "not ASCII"])
async def test_a_key_that_is_none_is_refused(key: str) -> None:
    async with parts(Played()).client() as client:
        headers = [(b"authorization", b"Bearer op"), (b"idempotency-key", key.encode())]
        answer = await client.post("/v1/rollbacks", json={"target": "shop", "reason": "x"}, headers=headers)
        assert (answer.status_code, problem_of(answer)["field"]) == (400, "Idempotency-Key")


COMMANDS = [
    ("POST", "/v1/incidents/inc_1/approve"),
    ("POST", "/v1/incidents/inc_1/reject"),
    ("POST", "/v1/incidents/inc_1/cancel"),
    ("POST", "/v1/incidents/inc_1/acknowledge"),
    ("POST", "/v1/rollbacks"),
    ("POST", "/v1/suppressions"),
    ("DELETE", "/v1/suppressions/sup_1"),
    ("PUT", "/v1/hold"),
]
STRANGERS = {"": 401, "no": 401, "hook": 403, "view": 403}
QUESTIONS = [("GET", "/v1/suppressions"), ("GET", "/v1/hold"), ("GET", "/v1/audit")]


@pytest.mark.parametrize(
    ("method", "path", "token", "status"),
    [
        *((*one, token, status) for one in COMMANDS for token, status in STRANGERS.items()),
        *((*one, token, status) for one in QUESTIONS for token, status in {**STRANGERS, "view": 200, "op": 200}.items()),
    ],
)
async def test_only_operators_give_commands_and_viewers_may_look(method: str, path: str, token: str, status: int) -> None:
    played = Played()
    async with parts(played).client() as client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = await client.request(method, path, headers=headers)
    assert answer.status_code == status
    assert status == 200 or played.calls == []


async def test_without_tokens_whoever_is_here_is_called_local() -> None:
    played = Played()
    async with parts(played, Tokens.of()).client() as client:
        assert (await client.post("/v1/incidents/inc_1/approve")).status_code == 200
    assert played.calls[0][2] == "local"


async def test_the_audit_log_is_read_in_pages() -> None:
    played = Played()
    answer = await ask(played, "GET", "/v1/audit?limit=1&cursor=9")
    assert played.calls == [("audit", 9, 1)]
    assert answer.json()["next"] == 7
    assert answer.json()["audit"][0]["text"] == "held by ann"
