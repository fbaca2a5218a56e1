"""Reading: incidents, reports, targets, rules, health; who may, and what an error looks like."""

from __future__ import annotations

import pytest
import structlog

from responder.domain.incident import IncidentEvent, IncidentStatus
from responder.errors import ForbiddenError, ResponderError, UnreachableError
from responder.web.incidents import report_format
from responder.web.tokens import Tokens
from tests.unit.web_parts import NOW, FakeIncidents, Parts, an_incident, problem_of

EVENT = IncidentEvent(NOW, "opened", "The rule fired.", {"value": 0.07})


async def test_an_incident_shows_the_pins_of_its_own_target_its_steps_and_events() -> None:
    parts = Parts(incidents=FakeIncidents([an_incident()], [EVENT]))
    parts.overrides["progress_of"] = lambda incident_id: f"{incident_id}: 1 of 3 pods"
    async with parts.client() as client:
        answer = await client.get("/v1/incidents/inc_0001")
    incident = answer.json()["incident"]
    assert answer.status_code == 200
    assert {name: incident[name] for name in ("id", "target", "rule", "group", "severity", "status")} == {
        "id": "inc_0001",
        "target": "shop",
        "rule": "error_rate",
        "group": "",
        "severity": "P1",
        "status": "running",
    }
    assert (incident["opened_at"], incident["closed_at"]) == ("2026-03-01T12:00:00Z", None)
    assert incident["pinned"] == {
        "from": {"version": "v42", "revision": "8", "fingerprint": "cc" * 32},
        "to": {"version": "v41", "revision": "7", "fingerprint": "aa" * 32},
    }
    assert incident["steps"] == [
        {
            "name": "undo",
            "uses": "rollback",
            "phase": "steps",
            "status": "running",
            "attempts": 1,
            "started_at": "2026-03-01T12:00:00Z",
            "ended_at": None,
            "output": "",
        }
    ]
    assert incident["events"] == [
        {"at": "2026-03-01T12:00:00Z", "kind": "opened", "text": "The rule fired.", "data": {"value": 0.07}}
    ]
    assert incident["progress"] == "inc_0001: 1 of 3 pods"


async def test_an_incident_without_a_pin_says_so() -> None:
    parts = Parts(incidents=FakeIncidents([an_incident(target="elsewhere", status=IncidentStatus.NOTIFIED)]))
    async with parts.client() as client:
        incident = (await client.get("/v1/incidents/inc_0001")).json()["incident"]
    assert (incident["pinned"], incident["progress"]) == (None, "")


@pytest.mark.parametrize("path", ["/v1/incidents/inc_9", "/v1/incidents/inc_9/report", "/v1/targets/nope/versions", "/nope"])
async def test_what_is_not_there_is_a_404_problem(path: str) -> None:
    async with Parts().client() as client:
        answer = await client.get(path)
    assert answer.status_code == 404
    problem_of(answer)


def a_mixture() -> FakeIncidents:
    """Five incidents: 5 and 3 are open, 4 and 1 resolved, 2 refused and on another target."""
    return FakeIncidents(
        [
            an_incident(1, IncidentStatus.RESOLVED),
            an_incident(2, IncidentStatus.REFUSED, target="other"),
            an_incident(3, IncidentStatus.MONITORING),
            an_incident(4, IncidentStatus.RESOLVED),
            an_incident(5, IncidentStatus.RUNNING),
        ]
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("", [5, 4, 3, 2, 1], id="all, newest first"),
        pytest.param("open=true", [5, 3], id="open ones"),
        pytest.param("open=false", [4, 2, 1], id="closed ones"),
        pytest.param("status=resolved", [4, 1], id="of one status"),
        pytest.param("status=resolved,refused", [4, 2, 1], id="of two statuses"),
        pytest.param("status=resolved&status=running", [5, 4, 1], id="of two statuses, spelt apart"),
        pytest.param("status=resolved&open=true", [], id="of a status that contradicts open"),
        pytest.param("target=other", [2], id="of one target"),
        pytest.param("target=none", [], id="of a target without any"),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 4, 5, 6, 50])
async def test_following_the_cursor_gives_every_incident_once(query: str, expected: list[int], limit: int) -> None:
    found, cursor = [], ""
    async with Parts(incidents=a_mixture()).client() as client:
        for _ in range(10):
            page = (await client.get(f"/v1/incidents?limit={limit}&{query}{cursor}")).json()
            assert len(page["incidents"]) <= limit
            found += [int(incident["id"].removeprefix("inc_")) for incident in page["incidents"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
    assert found == expected


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("limit=201", "limit"), ("limit=x", "limit"), ("open=yes", "open"), ("status=dead", "status")],
)
async def test_a_wrong_parameter_is_named(query: str, field: str) -> None:
    async with Parts().client() as client:
        answer = await client.get(f"/v1/incidents?{query}")
    assert (answer.status_code, problem_of(answer)["field"]) == (400, field)


@pytest.mark.parametrize(
    ("wanted", "accept", "expected"),
    [
        pytest.param(None, "", "markdown", id="nothing said"),
        pytest.param(None, "*/*", "markdown", id="anything"),
        pytest.param(None, "text/html,application/xhtml+xml,*/*;q=0.8", "html", id="a browser"),
        pytest.param(None, "application/json", "json", id="a program"),
        pytest.param(None, "text/html;q=0.2, application/json;q=0.9", "json", id="by quality"),
        pytest.param(None, "text/html;q=x, text/markdown", "markdown", id="a broken quality"),
        pytest.param("json", "text/html", "json", id="the parameter wins"),
    ],
)
def test_the_form_of_a_report_follows_the_parameter_then_accept(wanted: str | None, accept: str, expected: str) -> None:
    assert report_format(wanted, accept) == expected


async def test_a_report_comes_as_markdown_json_or_html() -> None:
    parts = Parts(incidents=FakeIncidents([an_incident()], [EVENT]), markdown="# Report\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    async with parts.client() as client:
        markdown = await client.get("/v1/incidents/inc_0001/report")
        document = await client.get("/v1/incidents/inc_0001/report?format=json")
        page = await client.get("/v1/incidents/inc_0001/report", headers={"accept": "text/html"})
        wrong = await client.get("/v1/incidents/inc_0001/report?format=pdf")
    assert (markdown.headers["content-type"], markdown.text) == ("text/markdown; charset=utf-8", parts.markdown)
    assert document.json() == {"id": "inc_0001", "events": 1}
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<td>1</td>" in page.text
    assert (wrong.status_code, problem_of(wrong)["field"]) == (400, "format")


@pytest.mark.parametrize(
    ("text", "forbidden"),
    [
        pytest.param("<script>alert(1)</script>", "<script", id="a script"),
        pytest.param("<img src=x onerror=alert(1)>", "<img", id="an image with a handler"),
        pytest.param("[here](javascript:alert(1))", 'href="javascript', id="a link that runs code"),
        pytest.param("[here](data:text/html;base64,AAAA)", 'href="data', id="a link that carries a page"),
        pytest.param("![x](https://attacker.example/p.png)", "<img", id="an image from outside"),
        pytest.param("</body></html><form action=x>", "<form", id="an end of the page"),
    ],
)
async def test_text_from_outside_never_becomes_markup(text: str, forbidden: str) -> None:
    parts = Parts(incidents=FakeIncidents([an_incident()]), markdown=f"# Report\n\n{text}\n\n| {text} |\n|---|\n| {text} |\n")
    async with parts.client() as client:
        page = await client.get("/v1/incidents/inc_0001/report?format=html")
    assert forbidden not in page.text.lower()
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


async def test_targets_versions_and_rules_are_shown() -> None:
    async with Parts(overrides={"watched": lambda: ["shop"]}).client() as client:
        targets = (await client.get("/v1/targets")).json()["targets"]
        versions = (await client.get("/v1/targets/shop/versions")).json()
        rules = (await client.get("/v1/rules")).json()["rules"]
    assert targets == [
        {
            "name": "shop",
            "place": "deployment/shop in namespace shop",
            "kubernetes": {"kind": "Deployment", "namespace": "shop", "name": "shop"},
            "mode": "observe",
            "watched": True,
            "match": ['namespace="shop"'],
        }
    ]
    assert [(one["age_seconds"], one["proven"], one["proof"]) for one in versions["versions"]] == [
        (540, False, ""),
        (172800, True, "it ran for 2h"),
    ]
    assert [(one["version"], one["revision"], one["current"]) for one in versions["versions"]] == [
        ("v42", "8", True),
        ("v41", "7", False),
    ]
    assert versions["rollout"]["phase"] == "complete"
    assert rules == [{"rule": "error_rate", "state": "pending", "due_at": "2026-03-01T12:00:00Z"}]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(UnreachableError("the cluster does not answer"), 503, id="a cluster that does not answer"),
        pytest.param(ForbiddenError("no right to get deployments"), 502, id="a right that the service lacks"),
    ],
)
async def test_trouble_with_the_cluster_is_told_as_it_is(error: ResponderError, status: int) -> None:
    with structlog.testing.capture_logs() as lines:
        async with Parts(versions_error=error).client() as client:
            answer = await client.get("/v1/targets/shop/versions")
    assert (answer.status_code, problem_of(answer)["detail"]) == (status, str(error))
    assert ("retry-after" in answer.headers) is (status == 503)
    assert [line["event"] for line in lines] == ["request_refused"]


async def test_an_unexpected_error_tells_nothing_of_the_inside_but_is_logged_once() -> None:
    incidents = FakeIncidents()
    incidents.error = RuntimeError("secret inside")
    with structlog.testing.capture_logs() as lines:
        async with Parts(incidents=incidents).client() as client:
            answer = await client.get("/v1/incidents/inc_0001")
    assert answer.status_code == 500
    assert "secret inside" not in str(problem_of(answer))
    assert [line["event"] for line in lines] == ["request_failed"]


TOKENS = Tokens.of(webhook="hook-token", viewer="viewer-token", operator="operator-token")
GUARDED = [
    "/v1/incidents",
    "/v1/incidents/inc_0001",
    "/v1/incidents/inc_0001/report",
    "/v1/targets",
    "/v1/targets/shop/versions",
    "/v1/rules",
]


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize(
    ("token", "status"), [(None, 401), ("wrong", 401), ("hook-token", 403), ("viewer-token", 200), ("operator-token", 200)]
)
async def test_reading_takes_a_viewers_or_an_operators_token(path: str, token: str | None, status: int) -> None:
    parts = Parts(tokens=TOKENS, incidents=FakeIncidents([an_incident()]))
    async with parts.client() as client:
        answer = await client.get(path, headers={"authorization": f"Bearer {token}"} if token else {})
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) is (status == 401)


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics"])
async def test_health_and_metrics_need_no_token(path: str) -> None:
    async with Parts(tokens=TOKENS).client() as client:
        answer = await client.get(path, headers={"host": "responder.internal:8080"})
    assert answer.status_code == 200
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_service_that_is_not_ready_says_so_but_is_healthy() -> None:
    async with Parts(is_ready=False).client() as client:
        ready, health = await client.get("/readyz"), await client.get("/healthz")
    assert (ready.status_code, ready.json()) == (503, {"ready": False, "journal_position": 3})
    assert health.status_code == 200


async def test_another_method_is_a_405_problem_that_names_the_right_one() -> None:
    async with Parts().client() as client:
        answer = await client.post("/v1/targets")
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
    problem_of(answer)
