"""The catchers refuse and answer what the services' own documentation says they do. Plain HTTP, none of our notifiers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest

from responder.sandbox.catchers import Fault, PagerDutyCatcher, SlackCatcher, StatuspageCatcher

TEXT = {"type": "mrkdwn", "text": "hello"}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        yield client


@pytest.fixture
async def slack() -> AsyncIterator[SlackCatcher]:
    async with SlackCatcher() as catcher:
        yield catcher


@pytest.fixture
async def page() -> AsyncIterator[StatuspageCatcher]:
    async with StatuspageCatcher({"c1": "Shop", "c2": "API"}) as catcher:
        yield catcher


def section(length: int) -> Mapping[str, object]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": "x" * length}}


def header(length: int, kind: str = "plain_text") -> Mapping[str, object]:
    return {"type": "header", "text": {"type": kind, "text": "x" * length}}


SLACK: Sequence[Any] = (
    pytest.param({"text": "hello"}, "ok", id="text alone"),
    pytest.param({"blocks": [section(5)]}, "ok", id="blocks alone"),
    pytest.param({}, "no_text", id="neither text nor blocks"),
    pytest.param({"text": ""}, "no_text", id="an empty text"),
    pytest.param([], "invalid_payload", id="not an object"),
    pytest.param({"text": 5}, "invalid_payload", id="text that is a number"),
    pytest.param({"blocks": [section(3000)]}, "ok", id="the longest section"),
    pytest.param({"blocks": [section(3001)]}, "invalid_blocks", id="a section too long"),
    pytest.param({"blocks": [section(0)]}, "invalid_blocks", id="an empty section"),
    pytest.param({"blocks": [header(150)]}, "ok", id="the longest header"),
    pytest.param({"blocks": [header(151)]}, "invalid_blocks", id="a header too long"),
    pytest.param({"blocks": [header(5, "mrkdwn")]}, "invalid_blocks", id="a header that is not plain text"),
    pytest.param({"blocks": [section(1)] * 50}, "ok", id="the most blocks"),
    pytest.param({"blocks": [section(1)] * 51}, "invalid_blocks", id="too many blocks"),
    pytest.param({"blocks": [{"type": "section", "fields": [TEXT] * 10}]}, "ok", id="the most fields"),
    pytest.param({"blocks": [{"type": "section", "fields": [TEXT] * 11}]}, "invalid_blocks", id="too many fields"),
    pytest.param({"blocks": [{"type": "section", "fields": []}]}, "invalid_blocks", id="no fields"),
    pytest.param({"blocks": [{"type": "section"}]}, "invalid_blocks", id="a section of nothing"),
    pytest.param(
        {"blocks": [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2001}]}]}, "invalid_blocks", id="a long field"
    ),
    pytest.param({"blocks": [{"type": "context", "elements": [TEXT] * 10}]}, "ok", id="the most elements"),
    pytest.param({"blocks": [{"type": "context", "elements": [TEXT] * 11}]}, "invalid_blocks", id="too many elements"),
    pytest.param({"blocks": [{"type": "sandwich"}]}, "invalid_blocks", id="an unknown block"),
)


@pytest.mark.parametrize(("payload", "answer"), SLACK)
async def test_slack_takes_and_refuses(payload: object, answer: str, slack: SlackCatcher, http: httpx.AsyncClient) -> None:
    response = await http.post(slack.url, json=payload)
    assert (response.status_code, response.text) == (200 if answer == "ok" else 400, answer)
    assert len(slack.messages) == (1 if answer == "ok" else 0)


async def test_slack_does_not_know_other_webhooks(slack: SlackCatcher, http: httpx.AsyncClient) -> None:
    response = await http.post(f"{slack.base_url}/services/T1/B1/other", json={"text": "x"})
    assert (response.status_code, response.text) == (404, "no_service")


async def test_slack_shows_who_would_be_called(slack: SlackCatcher, http: httpx.AsyncClient) -> None:
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "<!channel> <@U1> &lt;!here&gt;"}}]
    await http.post(slack.url, json={"text": "<!here> x", "blocks": blocks})
    assert slack.messages[0].mentions == ("!here", "!channel", "@U1")


async def test_faults_come_in_order_and_end(slack: SlackCatcher, http: httpx.AsyncClient) -> None:
    slack.fail(Fault(500, times=2))
    slack.fail(Fault(429, "rate_limited", retry_after="3", after_accepting=True))
    seen = [await http.post(slack.url, json={"text": "x"}) for _ in range(4)]
    assert [one.status_code for one in seen] == [500, 500, 429, 200]
    assert seen[2].headers["retry-after"] == "3"
    assert len(slack.messages) == 2


async def test_a_lost_answer_is_one_that_was_accepted(slack: SlackCatcher, http: httpx.AsyncClient) -> None:
    slack.fail(Fault(hang=True, after_accepting=True))
    waiting = asyncio.create_task(http.post(slack.url, json={"text": "x"}))
    await slack.until(lambda: len(slack.messages) == 1)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


class Api:
    """Statuspage by hand."""

    def __init__(self, page: StatuspageCatcher, http: httpx.AsyncClient) -> None:
        self._page, self._http = page, http

    async def __call__(self, method: str, path: str, body: object = None, key: str | None = None, **params: str) -> Any:
        headers = {"Authorization": key if key is not None else f"OAuth {self._page.api_key}"}
        url = f"{self._page.url}/pages/{self._page.page_id}{path}"
        return await self._http.request(method, url, json=body, headers=headers, params=params or None)


@pytest.fixture
def api(page: StatuspageCatcher, http: httpx.AsyncClient) -> Api:
    return Api(page, http)


@pytest.mark.parametrize("key", ["", "catcher-key", "Bearer catcher-key", "OAuth other"])
async def test_statuspage_wants_the_word_oauth_and_the_key(key: str, api: Api) -> None:
    response = await api("GET", "/incidents", key=key)
    assert (response.status_code, response.json()) == (401, {"error": "Could not authenticate"})


REFUSED: Sequence[Any] = (
    pytest.param({"status": "investigating"}, id="no name"),
    pytest.param({"name": "n" * 256}, id="a name too long"),
    pytest.param({"name": "n", "status": "broken"}, id="an unknown status"),
    pytest.param({"name": "n", "impact_override": "huge"}, id="an unknown impact"),
    pytest.param({"name": "n", "body": "x" * 25_001}, id="a body too long"),
    pytest.param({"name": "n", "components": {"nope": "operational"}}, id="an unknown component"),
    pytest.param({"name": "n", "components": {"c1": "sad"}}, id="an unknown component status"),
    pytest.param({"name": "n", "metadata": {"responder": "text"}}, id="metadata that is not an object of objects"),
)


@pytest.mark.parametrize("incident", REFUSED)
async def test_statuspage_refuses(incident: object, api: Api, page: StatuspageCatcher) -> None:
    response = await api("POST", "/incidents", {"incident": incident})
    assert response.status_code == 422
    assert response.json()["error"]
    assert page.incidents == []


async def test_statuspage_wants_the_body_wrapped(api: Api) -> None:
    assert (await api("POST", "/incidents", {"name": "n"})).status_code == 400
    assert (await api("POST", "/incidents", [])).status_code == 400


async def test_an_incident_lives_and_is_resolved(api: Api, page: StatuspageCatcher) -> None:
    body = {"name": "Down", "status": "investigating", "body": "We look.", "components": {"c1": "major_outage"}}
    created = await api("POST", "/incidents", {"incident": body})
    assert created.status_code == 201
    path = f"/incidents/{created.json()['id']}"
    await api("PATCH", path, {"incident": {"metadata": {"a": {}}}})
    resolved = await api(
        "PATCH", path, {"incident": {"status": "resolved", "body": "Done.", "components": {"c1": "operational"}}}
    )

    shown = (await api("GET", path)).json()
    assert shown == resolved.json()
    assert [(one["status"], one["body"]) for one in shown["incident_updates"]] == [
        ("resolved", "Done."),
        ("investigating", "We look."),
    ]
    assert shown["incident_updates"][0]["affected_components"][0]["old_status"] == "major_outage"
    assert shown["resolved_at"]
    assert page.components["c1"]["status"] == "operational"


async def test_resolving_sets_no_component_back_by_itself(api: Api, page: StatuspageCatcher) -> None:
    created = await api("POST", "/incidents", {"incident": {"name": "n", "components": {"c1": "major_outage"}}})
    await api("PATCH", f"/incidents/{created.json()['id']}", {"incident": {"status": "resolved"}})
    assert page.components["c1"]["status"] == "major_outage"


async def test_search_looks_into_names_and_texts_but_not_into_metadata(api: Api) -> None:
    for name, body in (("One", "alpha"), ("Two", "beta")):
        incident = {"name": name, "body": body, "metadata": {"responder": {"id": "gamma"}}}
        await api("POST", "/incidents", {"incident": incident})
    found = {
        query: [one["name"] for one in (await api("GET", "/incidents", q=query)).json()] for query in ("two", "ALPHA", "gamma")
    }
    assert found == {"two": ["Two"], "ALPHA": ["One"], "gamma": []}


async def test_unresolved_leaves_out_what_is_resolved(api: Api, page: StatuspageCatcher) -> None:
    for name in ("One", "Two"):
        await api("POST", "/incidents", {"incident": {"name": name}})
    page.incidents[0]["status"] = "resolved"
    assert [one["name"] for one in (await api("GET", "/incidents/unresolved")).json()] == ["One"]


async def test_unknown_incidents_and_pages_are_not_found(api: Api, page: StatuspageCatcher, http: httpx.AsyncClient) -> None:
    assert (await api("GET", "/incidents/nope")).status_code == 404
    assert (await api("PATCH", "/incidents/nope", {"incident": {}})).status_code == 404
    headers = {"Authorization": f"OAuth {page.api_key}"}
    assert (await http.get(f"{page.url}/pages/other/incidents", headers=headers)).status_code == 404


async def test_components_are_listed_and_set(api: Api) -> None:
    assert (await api("PATCH", "/components/c2", {"component": {"status": "degraded_performance"}})).status_code == 200
    assert (await api("PATCH", "/components/c2", {"component": {"status": "sad"}})).status_code == 422
    listed = (await api("GET", "/components")).json()
    assert [(one["name"], one["status"]) for one in listed] == [("Shop", "operational"), ("API", "degraded_performance")]


@pytest.mark.parametrize("status", [420, 429])
async def test_too_many_requests_are_refused(status: int, http: httpx.AsyncClient) -> None:
    async with StatuspageCatcher(rate=(2, timedelta(minutes=1)), rate_status=status) as page:
        api = Api(page, http)
        assert [(await api("GET", "/incidents")).status_code for _ in range(3)] == [200, 200, status]


@pytest.mark.parametrize("service", ["slack", "statuspage", "pagerduty"])
async def test_a_catcher_runs_in_a_process_of_its_own(service: str, http: httpx.AsyncClient) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "responder.sandbox.catchers", service, "--component", "c1=Shop", stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(30):
            assert process.stdout is not None
            where = json.loads(await process.stdout.readline())
            base = where["messages"].removesuffix("/messages")
            ordered = await http.post(f"{base}/faults", json={"status": 503})
            assert ordered.text == "ok"
            assert (await http.post(f"{base}/faults", json={"status": "sad"})).status_code == 400
            if service == "slack":
                seen = [(await http.post(where["url"], json={"text": "x"})).status_code for _ in range(2)]
                caught = (await http.get(where["messages"])).json()
                assert [one["payload"] for one in caught["messages"]] == [{"text": "x"}]
            elif service == "pagerduty":
                event = {**TRIGGER, "routing_key": where["routing_key"]}
                seen = [(await http.post(f"{where['url']}/v2/enqueue", json=event)).status_code for _ in range(2)]
                assert seen.pop() == 202
                seen.append(200)
                caught = (await http.get(where["messages"])).json()
                assert [one["status"] for one in caught["alerts"]] == ["triggered"]
            else:
                headers = {"Authorization": f"OAuth {where['api_key']}"}
                url = f"{where['url']}/pages/{where['page_id']}/components"
                seen = [(await http.get(url, headers=headers)).status_code for _ in range(2)]
                caught = (await http.get(where["messages"])).json()
                assert caught["components"]["c1"]["name"] == "Shop"
            assert seen == [503, 200]
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()


# --- PagerDuty -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def pager() -> AsyncIterator[PagerDutyCatcher]:
    async with PagerDutyCatcher() as catcher:
        yield catcher


TRIGGER: Mapping[str, Any] = {  # the shape of the sample in PagerDuty's documentation
    "payload": {
        "summary": "Example alert on host1.example.com",
        "timestamp": "2015-07-17T08:42:58.315+0000",
        "source": "monitoringtool:cloudvendor:central-region-dc-01:852559987:cluster/api-stats-prod-003",
        "severity": "info",
        "component": "postgres",
        "group": "prod-datapipe",
        "class": "deploy",
        "custom_details": {"ping time": "1500ms", "load avg": 0.75},
    },
    "dedup_key": "samplekeyhere",
    "images": [{"src": "https://example.com/logo.png", "href": "https://example.com/", "alt": "Example text"}],
    "links": [{"href": "https://example.com/", "text": "Link text"}],
    "event_action": "trigger",
    "client": "Sample Monitoring Service",
    "client_url": "https://monitoring.example.com",
}
CHANGE: Mapping[str, Any] = {
    "payload": {
        "summary": "Build Success: Increase snapshot create timeout to 30 seconds",
        "timestamp": "2020-07-17T08:42:58.315+0000",
        "source": "acme-build-pipeline-tool-default-i-9999",
        "custom_details": {"build_state": "passed", "build_number": "2", "run_time": "1236s"},
    },
    "links": [{"href": "https://acme.example.com/build/2", "text": "View more details in Acme!"}],
}


def without(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return {key: value for key, value in body.items() if key != name}


def with_payload(**changes: object) -> Mapping[str, Any]:
    return {**TRIGGER, "payload": {**TRIGGER["payload"], **changes}}


EVENTS: Sequence[Any] = (
    pytest.param(TRIGGER, 202, id="the documented trigger"),
    pytest.param(without(TRIGGER, "dedup_key"), 202, id="a trigger without a key: one is made up"),
    pytest.param({"event_action": "acknowledge", "dedup_key": "k"}, 202, id="the documented acknowledge, of no alert"),
    pytest.param({"event_action": "resolve", "dedup_key": "k"}, 202, id="the documented resolve, of no alert"),
    pytest.param({"event_action": "resolve"}, 400, id="a resolve without a key"),
    pytest.param({"event_action": "open", "dedup_key": "k"}, 400, id="an unknown action"),
    pytest.param(without(TRIGGER, "payload"), 400, id="a trigger without a payload"),
    pytest.param({**TRIGGER, "dedup_key": "k" * 256}, 400, id="a key too long"),
    pytest.param(with_payload(summary="s" * 1024), 202, id="the longest summary"),
    pytest.param(with_payload(summary="s" * 1025), 400, id="a summary too long"),
    pytest.param(with_payload(summary=""), 400, id="an empty summary"),
    pytest.param(with_payload(source=""), 400, id="an empty source"),
    pytest.param(with_payload(severity="fatal"), 400, id="an unknown severity"),
    pytest.param(with_payload(timestamp="noon"), 400, id="a time that is none"),
    pytest.param(with_payload(custom_details={"x": "y" * 600_000}), 400, id="larger than 512 KB"),
    pytest.param({**TRIGGER, "links": [{"text": "no address"}]}, 400, id="a link to nowhere"),
    pytest.param({**TRIGGER, "images": [{"src": "http://example.com/x.png"}]}, 400, id="an image without https"),
    pytest.param([], 400, id="not an object"),
)


@pytest.mark.parametrize(("body", "status"), EVENTS)
async def test_pagerduty_takes_and_refuses(body: Any, status: int, pager: PagerDutyCatcher, http: httpx.AsyncClient) -> None:
    sent = {"routing_key": pager.routing_key, **body} if isinstance(body, dict) else body
    response = await http.post(f"{pager.url}/v2/enqueue", json=sent)
    answer = response.json()
    assert response.status_code == status
    assert answer["status"] == ("success" if status == 202 else "invalid event")
    assert bool(answer.get("dedup_key")) is (status == 202)
    assert len(pager.events) == (1 if status == 202 else 0)


@pytest.mark.parametrize("key", [None, "", "stranger0key0of0thirty0two0chars"])
async def test_pagerduty_wants_the_key(key: str | None, pager: PagerDutyCatcher, http: httpx.AsyncClient) -> None:
    body = TRIGGER if key is None else {**TRIGGER, "routing_key": key}
    assert (await http.post(f"{pager.url}/v2/enqueue", json=body)).status_code == 400


async def test_pagerduty_merges_while_it_is_open_and_opens_anew_afterwards(
    pager: PagerDutyCatcher, http: httpx.AsyncClient
) -> None:
    async def send(action: str) -> None:
        body = {**(TRIGGER if action == "trigger" else {"dedup_key": "samplekeyhere"}), "event_action": action}
        await http.post(f"{pager.url}/v2/enqueue", json={"routing_key": pager.routing_key, **body})

    for action in ("resolve", "trigger", "trigger", "acknowledge", "trigger", "resolve", "acknowledge", "trigger"):
        await send(action)
    assert [(one["status"], one["merged"]) for one in pager.alerts] == [("resolved", 2), ("triggered", 0)]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(CHANGE, 202, id="the documented change"),
        pytest.param({"payload": {"summary": "x"}}, 202, id="a summary is enough"),
        pytest.param({"payload": {}}, 400, id="no summary"),
        pytest.param({**CHANGE, "dedup_key": "k"}, 400, id="a change has no key"),
        pytest.param({"payload": {"summary": "x", "severity": "info"}}, 400, id="nor a severity"),
    ],
)
async def test_pagerduty_takes_changes(
    body: Mapping[str, Any], status: int, pager: PagerDutyCatcher, http: httpx.AsyncClient
) -> None:
    response = await http.post(f"{pager.url}/v2/change/enqueue", json={"routing_key": pager.routing_key, **body})
    assert response.status_code == status
    assert len(pager.changes) == (1 if status == 202 else 0)
