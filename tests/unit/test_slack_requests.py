"""What comes from Slack: signed, just now, once, from somebody we know; answered in time whatever the engine does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from responder.domain.guard import Outcome, Verdict
from responder.domain.incident import Incident
from responder.domain.people import Actor, KeptAnswer, Suppression
from responder.engine.commands import Commands
from responder.engine.orders import GuardsError, Orders, RollbackRequest
from responder.errors import JournalUnavailableError, RefusedError, TemporaryError
from responder.ports import People
from responder.web import slack as web_slack
from responder.web.app import build_app
from responder.web.problems import ProblemError
from responder.web.rate import CommandRate
from responder.web.services import PeopleServices, SlackServices
from responder.web.slack_promises import SlackPromises
from responder.web.slack_signature import SlackSignature
from responder.web.slack_words import read_words
from responder.web.tokens import Holder, Role, Tokens
from tests.harness.slack import SIGNING_SECRET, pressed, signed
from tests.unit.played_commands import Played
from tests.unit.web_parts import NOW, Parts, an_incident

ANN, VIC, OLD, HOOK = "U0ANN", "U0VIC", "U0OLD", "U0STRANGER"
PEOPLE = (
    Holder("ann", Role.RESPONDER, slack=ANN),
    Holder("vic", Role.VIEWER, slack=VIC),
    Holder("old", Role.ADMIN, slack=OLD, expires=NOW),
)
URL = "https://hooks.slack.com/actions/x"


class PlayedSlack(Played):
    async def quieten(self, incident: str, actor: Actor, length: timedelta, reason: str, key: str = "") -> Suppression:
        self._note("quieten", incident, actor.name, length)
        return Suppression("sup_1", (), NOW, reason, actor.name, NOW)


@dataclass
class Scene:
    played: PlayedSlack = field(default_factory=PlayedSlack)
    told: list[tuple[str, str]] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    rate: CommandRate = field(default_factory=lambda: CommandRate(0))
    secret: bytes | None = SIGNING_SECRET.encode()
    announced: list[tuple[str, str]] = field(default_factory=list)
    unreachable: bool = False
    promises: SlackPromises = field(init=False)
    http: httpx.AsyncClient = field(init=False)

    async def tell(self, url: str, text: str) -> None:
        if self.unreachable:
            raise TemporaryError("Slack is away")
        self.told.append((url, text))
        self.heard.set()

    async def announce(self, key: str, who: str, text: str) -> None:
        self.announced.append((who, text))
        self.heard.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Scene]:
        people = PeopleServices(cast("Commands", self.played), cast("Orders", self.played), cast("People", self.played))
        parts = Parts(tokens=Tokens.of(operator="op", named=PEOPLE, clock=lambda: NOW))
        parts.incidents.incidents = [an_incident()]
        self.promises = SlackPromises(people.people, lambda: NOW, self.tell, self.announce)
        slack = SlackServices(self.secret, self.tell, self.promises)
        services = replace(parts.services(), people=people, slack=slack, command_rate=self.rate)
        transport = httpx.ASGITransport(build_app(services), raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://responder.example") as self.http:
            yield self

    async def press(self, kind: str, user: str = ANN, at: datetime = NOW, value: str = "inc_7|") -> httpx.Response:
        button = {"action_id": f"responder_{kind}", "type": "button", "value": value}
        return await self.send("interactions", pressed(button, user, "1.2", URL), at)

    async def say(self, text: str, user: str = ANN, at: datetime = NOW) -> str:
        answer = await self.send("commands", {"text": text, "user_id": user, "response_url": URL}, at)
        assert answer.status_code == 200
        return str(answer.json()["text"])

    async def send(self, way: str, form: dict[str, str], at: datetime = NOW, **headers: str) -> httpx.Response:
        body, usual = signed(form, at)
        return await self.http.post(f"/webhooks/slack/{way}", content=body, headers={**usual, **headers})


PRESSES = [
    ("approve", ("approve", "inc_7", "ann", "", "")),
    ("reject", ("reject", "inc_7", "ann", "", "")),
    ("stop", ("cancel", "inc_7", "ann", "")),
    ("cancel", ("cancel", "inc_7", "ann", "")),
    ("acknowledge", ("acknowledge", "inc_7", "ann", "")),
    ("suppress", ("quieten", "inc_7", "ann", timedelta(hours=1))),
    ("hold", ("hold", "ann", True, "pressed in Slack at inc_7")),
]


@pytest.mark.parametrize(("kind", "call"), PRESSES, ids=[kind for kind, _ in PRESSES])
async def test_a_press_is_the_command_of_the_person_and_is_answered_with_nothing(kind: str, call: tuple[Any, ...]) -> None:
    async with Scene().open() as on:
        answer = await on.press(kind)
        assert (answer.status_code, answer.content) == (200, b"")
        assert on.played.calls == [call]


async def test_a_yes_is_to_the_request_that_the_button_stood_for() -> None:
    async with Scene().open() as on:
        await on.press("approve", value="inc_7|drop the table")
        assert on.played.calls == [("approve", "inc_7", "ann", "", "drop the table")]


def vector() -> dict[str, str]:
    """As published with the documentation of how requests are signed."""
    return {
        "secret": "8f742231b10e8888abcd99yyyzzz85a5",
        "stamp": "1531420618",
        "body": "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        "&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        "&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        "&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
        "signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }


def test_the_published_example_of_a_signature_fits() -> None:
    known = vector()
    at = datetime.fromtimestamp(int(known["stamp"]), NOW.tzinfo)
    headers = {
        b"x-slack-signature": known["signature"].encode(),
        b"x-slack-request-timestamp": known["stamp"].encode(),
    }
    signature = SlackSignature(known["secret"].encode())
    assert signature.check(headers, known["body"].encode(), at) == known["signature"][3:]
    with pytest.raises(ProblemError, match="came before"):
        signature.check(headers, known["body"].encode(), at)
    with pytest.raises(ProblemError, match="does not fit"):
        signature.check(headers, known["body"].encode() + b"&x=1", at)


TAMPERED = [
    ("no signature", {"X-Slack-Signature": ""}, "does not fit"),
    ("another signature", {"X-Slack-Signature": "v0=" + "0" * 64}, "does not fit"),
    ("no version", {"X-Slack-Signature": "0" * 64}, "does not fit"),
    ("no time", {"X-Slack-Request-Timestamp": ""}, "does not fit"),
    ("another time", {"X-Slack-Request-Timestamp": str(int(NOW.timestamp()) + 1)}, "does not fit"),
    ("a time that is none", {"X-Slack-Request-Timestamp": "now"}, "does not fit"),
]


@pytest.mark.parametrize(("headers", "said"), [one[1:] for one in TAMPERED], ids=[one[0] for one in TAMPERED])
@pytest.mark.parametrize("way", ["interactions", "commands"])
async def test_what_is_tampered_with_is_refused_and_does_nothing(way: str, headers: dict[str, str], said: str) -> None:
    async with Scene().open() as on:
        form = {"text": "hold off", "user_id": ANN, "payload": "{}"}
        answer = await on.send(way, form, **headers)
        assert (answer.status_code, said in answer.json()["detail"]) == (401, True)
        assert on.played.calls == []


@pytest.mark.parametrize("way", ["interactions", "commands"])
async def test_another_body_under_a_good_signature_is_refused(way: str) -> None:
    async with Scene().open() as on:
        body, headers = signed({"text": "hold off", "user_id": VIC}, NOW)
        answer = await on.http.post(f"/webhooks/slack/{way}", content=body.replace(VIC.encode(), ANN.encode()), headers=headers)
        assert answer.status_code == 401
        assert on.played.calls == []


@pytest.mark.parametrize(("seconds", "status"), [(-301, 401), (-300, 200), (0, 200), (300, 200), (301, 401)])
async def test_only_what_was_signed_within_five_minutes_counts(seconds: int, status: int) -> None:
    async with Scene().open() as on:
        assert (await on.press("approve", at=NOW + timedelta(seconds=seconds))).status_code == status
        assert len(on.played.calls) == (status == 200)


async def test_the_same_request_counts_once_also_after_a_restart() -> None:
    scene = Scene()
    async with scene.open() as on:
        assert (await on.press("approve")).status_code == 200
        again = await on.press("approve")
        assert (again.status_code, "came before" in again.json()["detail"]) == (401, True)
    async with scene.open() as on:  # what was seen in memory is forgotten, what is on record is not
        assert (await on.press("approve")).status_code == 200
        await asyncio.wait_for(on.heard.wait(), 5)
        assert "came before" in on.told[0][1]
    assert len(scene.played.calls) == 1


def test_a_flood_of_requests_makes_it_forget_none_that_could_still_come_again() -> None:
    check, now = SlackSignature(SIGNING_SECRET.encode()).check, NOW

    def ask(number: int) -> None:
        body, headers = signed({"text": f"hold off {number}"}, NOW)
        check({name.lower().encode(): value.encode() for name, value in headers.items()}, body, now)

    for number in range(1100):
        ask(number)
    now = NOW + timedelta(minutes=5)
    ask(1100)
    with pytest.raises(ProblemError):
        ask(0)


async def test_without_a_signing_secret_nothing_is_taken() -> None:
    async with Scene(secret=None).open() as on:
        answer = await on.press("approve")
        assert (answer.status_code, "RESPONDER_SLACK_SIGNING_SECRET" in answer.json()["detail"]) == (401, True)


@pytest.mark.parametrize("user", [VIC, OLD, HOOK], ids=["a viewer", "one whose time is over", "a stranger"])
async def test_who_may_not_is_told_so_and_is_on_record(user: str) -> None:
    async with Scene().open() as on:
        answer = await on.press("approve", user)
        assert (answer.status_code, answer.content) == (200, b"")
        await asyncio.wait_for(on.heard.wait(), 5)
        assert on.told[0][0] == URL
        assert on.told[0][1].startswith("Not done: ")
        assert user in on.told[0][1]
        assert on.played.calls == []
        assert [(one.action, one.subject, one.outcome) for one in on.played.noted] == [("approve", "inc_7", "denied")]


async def test_a_name_is_no_proof_of_who_it_is() -> None:
    async with Scene().open() as on:
        payload = json.loads(pressed({"action_id": "responder_approve", "value": "inc_7|"}, HOOK, "1.2", URL)["payload"])
        payload["user"] |= {"username": "ann", "name": "ann"}
        await on.send("interactions", {"payload": json.dumps(payload)})
        await asyncio.wait_for(on.heard.wait(), 5)
        assert on.played.calls == []


REFUSALS = [
    (RefusedError("nothing waits for approval: running"), "Not done: nothing waits for approval: running"),
    (JournalUnavailableError("disk full"), "could not be put on record"),
    (RuntimeError("xoxb-a-secret"), "an unexpected error"),
]


@pytest.mark.parametrize(("error", "said"), REFUSALS, ids=["does not apply", "no journal", "a bug"])
async def test_whatever_the_engine_does_slack_gets_an_empty_200_and_the_person_a_reason(error: Exception, said: str) -> None:
    async with Scene().open() as on:
        on.played.error = error
        answer = await on.press("approve")
        assert (answer.status_code, answer.content) == (200, b"")
        await asyncio.wait_for(on.heard.wait(), 5)
        assert said in on.told[0][1]
        assert "xoxb" not in on.told[0][1]
        assert said in await on.say("hold off")


PROMISED = "Not done yet, it takes longer than usual. What comes of it is said here or in the channel, after a restart too."


@dataclass
class Slow(PlayedSlack):
    """Orders and yeses take until the gate opens. unwritable: so does what is put on record."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    unwritable: bool = False

    async def approve(self, incident: str, actor: Actor, reason: str = "", step: str | None = None) -> Incident:
        await self.gate.wait()
        return await super().approve(incident, actor, reason, step)

    async def force(self, request: RollbackRequest, actor: Actor, key: str = "") -> Incident:
        await self.gate.wait()
        return await super().force(request, actor, key)

    async def keep_answer(self, key: str, answer: KeptAnswer, at: datetime) -> None:
        if self.unwritable:
            await self.gate.wait()
        await super().keep_answer(key, answer, at)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_slack, "ANSWER_WITHIN", timedelta(milliseconds=20))


@pytest.mark.usefixtures("impatient")
async def test_an_engine_that_hangs_does_not_keep_slack_waiting() -> None:
    played = Slow()
    async with Scene(played).open() as on:
        answer = await on.press("approve")
        assert (answer.status_code, answer.content) == (200, b"")
        await asyncio.wait_for(on.heard.wait(), 5)
        assert on.told == [(URL, PROMISED)]
        on.heard.clear()
        played.gate.set()
        await asyncio.wait_for(on.heard.wait(), 5)
        assert on.told[1:] == [(URL, "approve: done.")]


@pytest.mark.usefixtures("impatient")
async def test_what_was_promised_is_said_after_a_restart_though_nobody_knows_what_came_of_it() -> None:
    played = Slow()
    async with Scene(played).open() as on:
        assert await on.say("rollback shop checkout is broken") == PROMISED
        await on.promises.catch_up()  # what is under way is not cut off
        assert on.told == []
    async with Scene(played).open() as after:
        await after.promises.catch_up()
        await after.promises.catch_up()
        ((url, text),) = after.told
        assert url == URL
        assert "Your `rollback shop` was cut off by a restart of Responder: it may or may not have been done." in text


@pytest.mark.usefixtures("impatient")
async def test_an_outcome_that_could_not_be_said_any_more_is_said_after_the_restart() -> None:
    played = Slow()
    async with Scene(played).open() as on:

        async def cut_off(_url: str, _text: str) -> None:
            raise asyncio.CancelledError

        await on.say("rollback shop checkout is broken")
        on.promises._tell = cut_off  # type: ignore[method-assign]
        played.gate.set()
        async with asyncio.timeout(5):
            while not any(b"is ordered" in one.body for one in played.answers.values()):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0)
    async with Scene(played).open() as after:
        await after.promises.catch_up()
        assert [text for _, text in after.told] == ["inc_0001: the rollback of shop is ordered."]


@pytest.mark.usefixtures("impatient")
async def test_what_slack_does_not_take_is_told_to_everybody() -> None:
    played = Slow()
    async with Scene(played).open() as on:
        await on.say("rollback shop checkout is broken")
        on.unreachable = True
        played.gate.set()
        await asyncio.wait_for(on.heard.wait(), 5)
        assert on.announced == [("ann", "inc_0001: the rollback of shop is ordered.")]


@pytest.mark.usefixtures("impatient")
async def test_what_is_not_even_on_record_is_said_to_be_so() -> None:
    played = Slow(unwritable=True)
    async with Scene(played).open() as on:
        assert "Not done yet, and not even on record." in await on.say("rollback shop checkout is broken")
        assert played.answers == {}
        played.gate.set()
        await asyncio.wait_for(on.heard.wait(), 5)
        assert [text for _, text in on.told] == ["inc_0001: the rollback of shop is ordered."]


async def test_what_was_answered_in_time_is_not_said_again() -> None:
    played = Slow()
    played.gate.set()
    async with Scene(played).open() as on:
        assert "is ordered" in await on.say("rollback shop checkout is broken")
        assert await on.say("status")
    async with Scene(played).open() as after:
        await after.promises.catch_up()
        assert after.told == []


ODD: list[tuple[str, dict[str, str], int]] = [
    ("no payload", {}, 400),
    ("a payload that is no JSON", {"payload": "{"}, 400),
    ("a list", {"payload": "[]"}, 200),
    ("another kind", {"payload": '{"type": "view_submission"}'}, 200),
    ("no actions", {"payload": '{"type": "block_actions", "user": {"id": "U0ANN"}}'}, 200),
    ("actions that are none", {"payload": '{"type": "block_actions", "user": {"id": "U0ANN"}, "actions": [5, {}]}'}, 200),
    ("a link's button", pressed({"action_id": "WaXA", "value": "click_me_123"}, ANN, "1.2", URL), 200),
    ("an unknown button of ours", pressed({"action_id": "responder_explode", "value": "inc_7|"}, ANN, "1.2", URL), 200),
    ("a value that is no text", pressed({"action_id": "responder_approve", "value": 5}, ANN, "1.2", URL), 200),
]


@pytest.mark.parametrize(("form", "status"), [one[1:] for one in ODD], ids=[one[0] for one in ODD])
async def test_what_is_no_press_of_ours_does_nothing(form: dict[str, str], status: int) -> None:
    async with Scene().open() as on:
        answer = await on.send("interactions", form)
        assert answer.status_code == status
        assert on.played.calls == []


WORDS: list[tuple[str, tuple[Any, ...]]] = [
    ("hold on release day", ("hold", "ann", True, "release day")),
    ("hold off", ("hold", "ann", False, "")),
    ("suppress shop 2h load test", ("suppress", "ann", ['target="shop"'], NOW + timedelta(hours=2), "load test")),
    (
        "suppress alertname=“High” namespace=~&quot;a|b&quot; 30m noise",
        ("suppress", "ann", ['alertname="High"', 'namespace=~"a|b"'], NOW + timedelta(minutes=30), "noise"),
    ),
    ("suppress end sup_7", ("end", "sup_7", "ann", "")),
]


@pytest.mark.parametrize(("text", "call"), WORDS, ids=[text for text, _ in WORDS])
async def test_what_is_typed_is_the_command_of_the_person(text: str, call: tuple[Any, ...]) -> None:
    async with Scene().open() as on:
        assert "Not done" not in await on.say(text)
        assert on.played.calls[0][: len(call)] == call


async def test_a_rollback_is_ordered_and_guards_that_refuse_are_told_with_the_way_past_them() -> None:
    async with Scene().open() as on:
        assert "is ordered" in await on.say("rollback shop —to v41 checkout is broken")
        request = on.played.calls[0][1]
        order = request.order
        assert (request.target, order.by, order.reason, order.version) == ("shop", "ann", "checkout is broken", "v41")
        on.played.error = GuardsError(["paused by a person"], {"shop": [Verdict("paused", Outcome.REFUSE, "x")]}, ["paused"])
        said = await on.say("rollback shop it is broken still")
        assert "Not done: paused by a person" in said
        assert "--override paused" in said


@pytest.mark.parametrize(
    "text", ["explode", "rollback", "rollback shop", "rollback shop --to", "suppress", "suppress shop", "suppress 2h x",
             "suppress shop 2h", "hold maybe", "hold on"]
)  # fmt: skip
async def test_what_is_typed_wrongly_is_answered_with_how_it_is_written(text: str) -> None:
    with pytest.raises(ProblemError, match="It is written:"):
        read_words(text)
    async with Scene().open() as on:
        assert "hold [on REASON | off]" in await on.say(text)
        assert on.played.calls == []


async def test_a_viewer_may_look_and_not_more() -> None:
    async with Scene().open() as on:
        assert "inc_0001 P1 shop: Running" in await on.say("status", VIC)
        assert "Nothing is on hold." in await on.say("hold", VIC)
        assert "a viewer may not do that" in await on.say("hold off", VIC)
        assert "nobody has named this user" in await on.say("status", HOOK)
        assert on.played.calls == []


async def test_too_many_commands_of_one_person_are_refused() -> None:
    async with Scene(rate=CommandRate(2)).open() as on:
        said = [await on.say(f"hold on because {number}") for number in range(4)]
        assert ["more than 2 commands a minute" in one for one in said] == [False, False, True, True]


async def test_a_probe_of_the_certificate_is_answered() -> None:
    async with Scene().open() as on:
        answer = await on.send("commands", {"ssl_check": "1", "token": "x"})
        assert (answer.status_code, answer.content) == (200, b"")


async def test_a_form_beyond_bounds_is_refused() -> None:
    async with Scene().open() as on:
        answer = await on.send("interactions", {"payload": "x" * 1_100_000})
        assert answer.status_code == 413


def test_the_shipped_manifest_asks_for_no_more_than_is_used() -> None:
    manifest = (Path(__file__).parents[2] / "deploy/slack/manifest.yaml").read_text()
    assert "/webhooks/slack/interactions" in manifest
    assert "/webhooks/slack/commands" in manifest
    scopes = manifest.partition("bot:")[2].partition("settings:")[0].split()
    assert scopes == ["-", "chat:write", "-", "commands"]
