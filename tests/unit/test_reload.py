"""`POST /-/reload` and SIGHUP's way into the running service; the live state of the rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from responder.settings.service import Settings
from responder.web.tokens import Tokens
from responder.wiring.service import Service
from responder.wiring.serving import serving
from tests.unit.web_parts import Parts, problem_of

RULES = """\
version: 1
targets:
  app: {kubernetes: {namespace: shop, deployment: app}, match: ['deployment="app"']}
rules:
  - {name: errors, match: ['alertname="Errors"'], when: {value: {above: 5%}}, for: 1h, respond: rollback, severity: P1}
  - {name: smoke, match: ['alertname="Smoke"'], for: 1m, unless: 'alertname="DatabaseDown"'}
"""


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.005)


class Running:
    def __init__(self, service: Service, http: httpx.AsyncClient, rules: Path) -> None:
        self.service, self.http, self.rules = service, http, rules

    async def alert(self, value: str = "0.07", name: str = "Errors") -> None:
        alert = {
            "status": "firing",
            "labels": {"alertname": name, "deployment": "app"},
            "annotations": {"value": value},
            "startsAt": (datetime.now(UTC) - timedelta(minutes=1)).isoformat().replace("+00:00", "Z"),
        }
        before = self.service.brain.position
        answer = await self.http.post("/webhooks/alertmanager", json={"version": "4", "alerts": [alert]})
        assert answer.status_code == 202
        await until(lambda: self.service.brain.position > before and self.service.brain.is_up_to_date)

    async def rows(self) -> dict[str, dict[str, object]]:
        return {row["rule"]: row for row in (await self.http.get("/v1/rules")).json()["rules"]}

    async def metric(self) -> str:
        text = (await self.http.get("/metrics")).text
        return next(line.split()[-1] for line in text.splitlines() if line.startswith("responder_rulebook_reload_ok "))


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    settings = Settings(port=0, rules=rules, database_url=SecretStr(f"sqlite:///{tmp_path / 'responder.db'}"))
    async with serving(settings) as service, httpx.AsyncClient(base_url=service.url) as http:
        yield Running(service, http, rules)


async def test_good_files_come_into_force(running: Running) -> None:
    await running.alert()
    assert (await running.rows())["errors"]["for"] == "1h"
    running.rules.write_text(RULES.replace("1h", "2h").replace("app:", "shop:"))
    answer = await running.http.post("/-/reload")
    assert answer.status_code == 200
    assert {name: answer.json()[name] for name in ("changed", "rules", "targets", "plans")} == {
        "changed": True,
        "rules": 2,
        "targets": 1,
        "plans": 0,
    }
    rows = await running.rows()
    assert (rows["errors"]["state"], rows["errors"]["for"], rows["errors"]["target"]) == ("pending", "2h", "shop")
    assert [one["name"] for one in (await running.http.get("/v1/targets")).json()["targets"]] == ["shop"]
    assert running.service.rulebook.digest == answer.json()["digest"]
    assert await running.metric() == "1.0"
    assert (await running.http.post("/-/reload")).json()["changed"] is False


async def test_bad_files_leave_the_rulebook_in_force_and_say_so(running: Running) -> None:
    running.rules.write_text(RULES.replace("rules:", "ruls:").replace("deployment: app", "deployment: App"))
    answer = await running.http.post("/-/reload")
    document = problem_of(answer)
    assert (answer.status_code, document["detail"]) == (422, "the rulebook can't be used; the one before stays in force")
    assert isinstance(document["problems"], list)
    assert [line.partition("rules.yaml:")[2].partition(": ")[0] for line in document["problems"]] == ["3:51", "4:1"]
    assert await running.metric() == "0.0"
    assert set(await running.rows()) == {"errors", "smoke"}
    running.rules.write_text(RULES)
    assert (await running.http.post("/-/reload")).status_code == 200
    assert await running.metric() == "1.0"


async def test_a_signal_reloads_too(running: Running) -> None:
    assert await running.metric() == "1.0"
    running.rules.write_text(RULES.replace("smoke", "smoke_test"))
    running.service.reload_soon()
    await until(lambda: {rule.name for rule in running.service.rulebook.rules} == {"errors", "smoke_test"})
    running.rules.write_text("version: 2")
    running.service.reload_soon()
    async with asyncio.timeout(10):
        while True:
            if await running.metric() == "0.0":
                break
            await asyncio.sleep(0.005)


async def test_only_an_operator_may_reload() -> None:
    async def reload() -> dict[str, object]:
        return {"changed": True}

    parts = Parts(tokens=Tokens.of(webhook="w" * 20, viewer="v" * 20, operator="o" * 20), overrides={"reload": reload})
    async with parts.client() as client:
        for token, status in (("w", 403), ("v", 403), ("o", 200), ("x", 401)):
            answer = await client.post("/-/reload", headers={"Authorization": f"Bearer {token * 20}"})
            assert answer.status_code == status
        assert (await client.get("/-/reload", headers={"Authorization": f"Bearer {'o' * 20}"})).status_code == 405


async def test_without_tokens_no_web_site_can_have_a_browser_post() -> None:
    async def reload() -> dict[str, object]:
        return {"changed": True}

    async with Parts(overrides={"reload": reload}).client() as client:
        for origin, status in (
            ("https://evil.example", 403),
            ("null", 403),
            ("http://localhost:8080", 200),
            ("http://127.0.0.1", 200),
        ):
            assert (await client.post("/-/reload", headers={"Origin": origin})).status_code == status


# --- what the rules wait for -----------------------------------------------------------------------------------------------


async def test_every_rule_is_listed_with_what_it_waits_for_and_why(running: Running) -> None:
    rows = await running.rows()
    assert {name: row["state"] for name, row in rows.items()} == {"errors": "inactive", "smoke": "inactive"}
    assert rows["errors"]["waits_for"] == 'something that matches alertname="Errors"'
    assert (rows["errors"]["decisions"], rows["errors"]["reason"]) == ([], "it has seen nothing yet")
    await running.alert()
    row = (await running.rows())["errors"]
    assert {name: row[name] for name in ("state", "group", "target", "values", "alerts", "severity", "respond", "for")} == {
        "state": "pending",
        "group": "app",
        "target": "app",
        "values": [0.07],
        "alerts": 1,
        "severity": "P1",
        "respond": "rollback",
        "for": "1h",
    }
    assert str(row["waits_for"]).endswith("UTC: it responds if nothing clears before")
    (decision,) = row["decisions"]  # type: ignore[misc]
    assert decision["kind"] == "wait"
    assert "0.07 is above 0.05" in decision["reason"]


async def test_what_a_rule_ignored_is_told_too(running: Running) -> None:
    await running.alert("0.01")
    row = (await running.rows())["errors"]
    assert (row["state"], row["reason"]) == ("inactive", "nothing that matches is going on")
    assert [one["reason"] for one in row["decisions"]] == ["Errors: value 0.01 is not above 0.05"]  # type: ignore[attr-defined]


async def test_a_rule_that_is_held_back_waits_for_that_to_end(running: Running) -> None:
    await running.alert(name="DatabaseDown")
    await running.alert(name="Smoke")
    row = (await running.rows())["smoke"]
    assert (row["state"], row["due_at"]) == ("pending", None)
    assert str(row["reason"]).endswith("held back while DatabaseDown fires")
    assert row["waits_for"] == "what holds it back to be over, and then for 1m anew: it responds if nothing clears before"
