"""Who may what: every address, for every role, with no token, a wrong one, an expired one and the right one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from click.testing import CliRunner

from responder.cli.main import cli
from responder.domain.matcher import parse_matcher
from responder.domain.people import Actor
from responder.engine.commands import Commands
from responder.engine.guard_view import GuardView
from responder.engine.orders import Orders
from responder.engine.preview import Previewer
from responder.errors import NotFoundError, SettingsError
from responder.ports import People
from responder.web.admission import SenderSecrets
from responder.web.openapi import OPERATIONS, Operation
from responder.web.people_file import PeopleFile, read_people
from responder.web.rate import CommandRate
from responder.web.services import PeopleServices
from responder.web.tokens import Holder, Role, Tokens, digest_of
from tests.unit.played_commands import Played
from tests.unit.test_openapi import GOOD, with_everything
from tests.unit.web_parts import NOW, Parts

ALERTS: dict[str, object] = {"version": "4", "status": "firing", "groupLabels": {}, "alerts": [], "receiver": "r"}
MAY = {
    "nobody": set(Role),
    "sender": {Role.WEBHOOK},
    "reader": {Role.VIEWER, Role.RESPONDER, Role.ADMIN},
    "operator": {Role.RESPONDER, Role.ADMIN},
    "admin": {Role.ADMIN},
}
"""Who may, by what /openapi.json says of an address."""
PEOPLE = tuple(
    Holder(f"{role}-{state}", role, (digest_of(f"{role}-{state}"),), expires=expires)
    for role in Role
    for state, expires in (("right", NOW + timedelta(days=1)), ("expired", NOW))
)
# Signed ones are of `test_slack_requests` and `test_web_intakes`.
ADDRESSES = [one for one in OPERATIONS if one.who != "slack" and one.path != "/webhooks/sentry"]


class _Nothing:
    """In the place of what looks at targets: none is there."""

    async def look(self, target: str) -> Any:
        raise NotFoundError("no target of this name")

    async def preview(self, _: object) -> Any:
        raise NotFoundError("no plan of this name")


def parts(played: Played, named: tuple[Holder, ...] = PEOPLE, rate: int = 0) -> Parts:
    async def reload() -> dict[str, object]:
        played.calls.append(("reload",))
        return {"changed": False}

    people = PeopleServices(cast("Commands", played), cast("Orders", played), cast("People", played))
    made = with_everything()
    made.tokens = Tokens.of(named=named, clock=lambda: NOW)
    made.overrides |= {
        "people": people,
        "reload": reload,
        "previewer": cast("Previewer", _Nothing()),
        "guards": cast("GuardView", _Nothing()),
        "command_rate": CommandRate(rate),
        "sender_secrets": SenderSecrets(),
    }
    return made


async def ask(client: httpx.AsyncClient, one: Operation, token: str | None) -> httpx.Response:
    path = one.path.replace("{id}", "inc_0001").replace("{target}", "shop").replace("{name}", "back")
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    body = GOOD.get(one.path, {"target": "shop"}) if one.body is not None else ALERTS if one.who == "sender" else None
    return await client.request(one.method, path, json=body, headers=headers)


CASES = [
    pytest.param(one, role, state, id=f"{one.method} {one.path}, {state} token of a {role}")
    for one in ADDRESSES
    for role in Role
    for state in ("no", "wrong", "expired", "right")
    if not (one.path == "/v1/stream" and state == "right" and role in MAY[one.who])  # it would never end
]


@pytest.mark.parametrize(("one", "role", "state"), CASES)
async def test_every_address_for_every_role_and_token(one: Operation, role: Role, state: str) -> None:
    played = Played()
    token = {"no": None, "wrong": "guessed", "expired": f"{role}-expired", "right": f"{role}-right"}[state]
    async with parts(played).client() as client:
        answer = await ask(client, one, token)
    if one.who == "nobody":
        assert answer.status_code == 200
    elif state != "right":
        assert answer.status_code == 401
        assert "Bearer" in answer.headers["www-authenticate"]
        assert played.calls == []
    elif role not in MAY[one.who]:
        assert answer.status_code == 403
        assert played.calls == []
        denied = [(entry.by, entry.outcome) for entry in played.noted]
        assert denied == ([(f"{role}-right", "denied")] if one.who in ("operator", "admin") else [])
    else:
        assert answer.status_code not in (401, 403, 500), answer.text
        assert answer.status_code in (one.status, 400, 404) if one.who == "sender" else answer.status_code in (one.status, 404)


READABLE_IN_A_BROWSER = "/v1/incidents/{id}/report"
WINDOW_CASES = [pytest.param(one, id=f"{one.method} {one.path}") for one in ADDRESSES if one.who != "nobody"]


@pytest.mark.parametrize("one", WINDOW_CASES)
async def test_a_browsers_window_for_passwords_opens_reports_and_what_senders_send_to_and_nothing_else(one: Operation) -> None:
    """What a browser keeps and sends by itself must never be good for a command."""
    played = Played()
    role = Role.WEBHOOK if one.who == "sender" else Role.ADMIN
    async with parts(played).client() as client:
        client.auth = httpx.BasicAuth("anybody", f"{role}-right")
        answer = await ask(client, one, None)
        client.auth = httpx.BasicAuth("anybody", "guessed")
        guessed = await ask(client, one, None)
    opens = one.path in (READABLE_IN_A_BROWSER, "/webhooks/grafana")
    assert (answer.status_code not in (401, 403, 500)) is opens
    assert guessed.status_code == 401
    assert ("Basic" in guessed.headers["www-authenticate"]) is (one.path == READABLE_IN_A_BROWSER)
    assert opens or played.calls == []


def test_what_a_role_may_do_is_described_of_every_address() -> None:
    assert {one.who for one in OPERATIONS} == {*MAY, "slack"}
    assert {one.path for one in OPERATIONS if one.who == "admin"} == {"/-/reload"}
    assert not [one.path for one in OPERATIONS if one.who == "reader" and one.method != "get"]
    assert not [one.path for one in OPERATIONS if one.who == "nobody" and one.path.startswith("/v1/")]


# --- names, words, scopes ----------------------------------------------------------------------------------------------


async def test_who_did_it_is_the_name_and_not_the_role() -> None:
    played = Played()
    async with parts(played).client() as client:
        await client.put("/v1/hold", json={"held": False}, headers={"Authorization": "Bearer admin-right"})
    assert played.calls == [("hold", "admin-right", False, "")]


def test_a_role_stands_for_those_below_it_and_the_operators_token_for_an_administrator() -> None:
    tokens = Tokens.of(webhook="same", operator="same", viewer="v")
    headers = {b"authorization": b"Bearer same"}
    assert tokens.admit(headers, frozenset({Role.WEBHOOK})).name == "webhook"
    actor = tokens.admit(headers, frozenset({Role.ADMIN}))
    assert (actor.name, actor.roles) == ("operator", {"operator", "admin", "responder", "viewer"})


def test_a_limit_to_targets_leaves_out_what_concerns_all() -> None:
    limited = Actor("ci", targets=frozenset({"shop"}))
    assert limited.beyond(["shop"]) == ()
    assert limited.beyond(["shop", "db", ""]) == ("db", "")
    assert Actor("ann").beyond(["db", ""]) == ()


def test_an_empty_file_lets_nobody_in_and_does_not_open_the_door() -> None:
    assert Tokens.of().is_open
    assert not Tokens.of(named=()).is_open


def test_tokens_that_expire_need_a_clock() -> None:
    with pytest.raises(ValueError, match="clock"):
        Tokens.of(named=(Holder("ann", Role.VIEWER, expires=NOW),))


def test_who_has_no_user_id_at_slack_is_nobody_there() -> None:
    ann, bob = Holder("ann", Role.ADMIN, (digest_of("a"),)), Holder("bob", Role.VIEWER, slack="U012BOB")
    tokens = Tokens.of(named=(ann, bob))
    assert tokens.by_slack("U012BOB") == bob
    assert tokens.by_slack("") is None, "a request without a user is not from somebody without a user id"
    assert tokens.by_slack("U012EVE") is None


# --- rate --------------------------------------------------------------------------------------------------------------


async def test_too_many_commands_are_refused_with_the_time_to_wait_and_only_for_who_gives_them() -> None:
    async with parts(Played(), rate=2).client() as client:
        put = [await client.put("/v1/hold", json={"held": False}, headers={"Authorization": "Bearer admin-right"}) for _ in "123"]
        assert [one.status_code for one in put] == [200, 200, 429]
        assert put[2].headers["retry-after"] == "30"
        other = await client.put("/v1/hold", json={"held": False}, headers={"Authorization": "Bearer responder-right"})
        assert other.status_code == 200
        read = await client.get("/v1/hold", headers={"Authorization": "Bearer admin-right"})
        assert read.status_code == 200


async def test_webhooks_are_never_told_that_they_are_too_many() -> None:
    one = next(one for one in OPERATIONS if one.path == "/webhooks/alertmanager")
    async with parts(Played(), rate=1).client() as client:
        assert 429 not in {(await ask(client, one, "webhook-right")).status_code for _ in range(5)}


def test_a_bucket_fills_up_again() -> None:
    rate, now = CommandRate(60), NOW
    for _ in range(60):
        rate.check("ann", now)
    with pytest.raises(Exception, match="more than 60 commands a minute"):
        rate.check("ann", now)
    with pytest.raises(Exception, match="more than 60"):
        rate.check("ann", now - timedelta(hours=1))  # a clock set back gives nothing
    rate.check("ann", now + timedelta(seconds=1))
    rate.check("bob", now)
    rate.check("bob", now - timedelta(hours=1))  # and takes nothing


# --- the file ----------------------------------------------------------------------------------------------------------

DIGEST = hashlib.sha256(b"a token").hexdigest()


def test_the_file_names_people_and_tools(tmp_path: Path) -> None:
    file = tmp_path / "people.yaml"
    file.write_text(
        f"- {{name: ann, role: responder, token_sha256: {DIGEST}, slack: U012ABC}}\n"
        f"- {{name: ci, role: admin, token_sha256: ['{'0' * 64}', '{'1' * 64}'], targets: [shop], expires: 2026-12-31}}\n"
        "- {name: bob, role: viewer, slack: W9}\n".replace("W9", "W99")
    )
    ann, ci, bob = read_people(file)
    assert ann == Holder("ann", Role.RESPONDER, (digest_of("a token"),), slack="U012ABC")
    assert (ci.targets, ci.expires, len(ci.digests)) == ({"shop"}, datetime(2027, 1, 1, tzinfo=UTC), 2)
    assert (bob.digests, bob.slack) == ((), "W99")


WRONG = [
    ("no list", "ann: responder", "1:1: must be a list of people"),
    ("no name", "- {role: viewer, slack: U012}", "1:3: `name` is missing"),
    ("an unknown role", "- {name: ann, role: king, slack: U012}", "1:21: `role`"),
    ("a name that is a role", "- {name: admin, role: viewer, slack: U012}", "`admin` means a role"),
    ("the name of the operator's token", "- {name: operator, role: viewer, slack: U012}", "`operator` means"),
    ("the token itself", "- {name: ann, role: viewer, token: hunter2}", "tokens are not written down here"),
    ("a digest that is none", "- {name: ann, role: viewer, token_sha256: hunter2}", "must be the SHA-256 of a token"),
    ("nothing to know them by", "- {name: ann, role: viewer}", "neither `token_sha256` nor `slack`"),
    ("a name at Slack", "- {name: ann, role: viewer, slack: '@ann'}", "not a name"),
    ("targets of a viewer", "- {name: ann, role: viewer, slack: U012, targets: [a]}", "would limit nothing"),
    ("no targets", "- {name: ann, role: admin, slack: U012, targets: []}", "`targets`"),
    ("a webhook at Slack", "- {name: am, role: webhook, slack: U012}", "no person at Slack"),
    ("an unknown key", "- {name: ann, role: viewer, slack: U012, color: red}", "1:49: `color` is not known here"),
    ("a day without a year", "- {name: ann, role: viewer, slack: U012, expires: tomorrow}", "must be a day such as"),
    ("the same name twice", "- {name: ann, role: viewer, slack: U01}\n- {name: ann, role: admin, slack: U02}", "2:10: this name"),
    ("the same user twice", "- {name: ann, role: viewer, slack: U01}\n- {name: bob, role: admin, slack: U01}", "this slack is"),
    (
        "the same token twice",
        f"- {{name: a, role: viewer, token_sha256: {DIGEST}}}\n- {{name: b, role: admin, token_sha256: {DIGEST}}}",
        "this token_sha256 is in the list twice",
    ),
    ("no YAML", "- {", "people.yaml:"),
]


@pytest.mark.parametrize(("text", "said"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG])
def test_a_wrong_file_is_refused_with_the_place_and_without_the_value(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "people.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as raised:
        read_people(file)
    assert said in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read"):
        read_people(tmp_path / "nowhere.yaml")


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[tuple[PeopleFile, Callable[[str], None], Callable[[str], bool]]]:
    """The file, a way to write it, and whether a token is known."""
    path = folder / "people.yaml"

    def write(text: str) -> None:
        beside = folder / "beside"
        beside.write_text(text)
        os.replace(beside, path)  # noqa: PTH105 (as Kubernetes and editors do)

    write(f"- {{name: ann, role: viewer, token_sha256: {DIGEST}}}\n")
    tokens = Tokens.of(named=read_people(path), clock=lambda: NOW)

    def knows(token: str) -> bool:
        try:
            tokens.admit({b"authorization": f"Bearer {token}".encode()}, frozenset({Role.VIEWER}))
        except Exception:  # noqa: BLE001 (any refusal)
            return False
        return True

    yield PeopleFile(path, tokens), write, knows


async def test_a_changed_file_counts_without_a_restart_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    async with watched(tmp_path) as (file, write, knows):
        assert knows("a token")
        write(f"- {{name: ann, role: viewer, token_sha256: {digest_of('another').hex()}}}\n")
        assert knows("a token")
        await file.look()
        assert (knows("a token"), knows("another")) == (False, True)
        write("- {name: ann\n")
        await file.look()
        assert knows("another")
        with pytest.raises(SettingsError):
            file.read()
        write("[]\n")
        await file.look()
        assert not knows("another")


def test_a_new_token_is_shown_once_with_the_line_that_lets_it_in(tmp_path: Path) -> None:
    words = ["token", "new", "ann", "--role", "responder", "--target", "shop", "--expires", "2026-12-31"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    token = next(word for word in result.output.split() if word.startswith("rsp_"))
    file = tmp_path / "people.yaml"
    file.write_text(result.output.splitlines()[-1])
    (ann,) = read_people(file)
    assert ann.has(digest_of(token))
    assert (ann.targets, len(token) > 40) == ({"shop"}, True)
    assert token not in file.read_text()


@pytest.mark.parametrize("arguments", [["admin", "--role", "viewer"], ["a b", "--role", "viewer"], ["ann", "--role", "king"]])
def test_a_token_for_nobody_is_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, ["token", "new", *arguments]).exit_code == 2


def test_matchers_of_a_suppression_tell_which_target_it_concerns() -> None:
    from responder.engine.scope import covered

    assert covered([parse_matcher('target="shop"'), parse_matcher('severity="x"')]) == ["shop"]
    assert covered([parse_matcher('target=~"shop"')]) == [""]
    assert covered([parse_matcher('alertname="x"')]) == [""]
