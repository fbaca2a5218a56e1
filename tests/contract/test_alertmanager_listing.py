"""The second look's client against a real Alertmanager: what it says of alerts that are active, held back, over, or unknown."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import yaml

from responder.clients.alertmanager import AlertmanagerClient
from responder.clients.http import new_client
from responder.domain.listing import Listing
from responder.domain.matcher import parse_matcher
from tests.harness.alertmanager import Alertmanager, alertmanager_config
from tests.harness.control_plane import free_ports

WHEN = datetime(2026, 11, 22, 4, 0, 30, 123456, tzinfo=UTC)
ERRORS = {"alertname": "Errors", "deployment": "app", "path": '/a\\b "quoted"\n{x}', "source": "eu-1"}
SLOW = {"alertname": "Slow", "deployment": "app"}


@pytest.fixture
async def alertmanager(tmp_path: Path) -> AsyncIterator[Alertmanager]:
    """One, without a peer; `Outage` inhibits what is labelled `tier="low"`."""
    (port,) = free_ports(1)
    config = alertmanager_config("http://127.0.0.1:9/nobody", tmp_path / "no-token")
    config["inhibit_rules"] = [{"source_matchers": ['alertname="Outage"'], "target_matchers": ['tier="low"']}]
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(config))
    one = Alertmanager(tmp_path, "alone", port)
    await one.launch()
    yield one
    await one.end()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with new_client() as client:
        yield client


async def listed(client: AlertmanagerClient, *matchers: str) -> Listing:
    return await client.alerts([parse_matcher(text) for text in matchers])


async def test_an_active_alert_is_listed_as_its_webhook_would_tell_it(
    alertmanager: Alertmanager, http: httpx.AsyncClient
) -> None:
    await alertmanager.post(ERRORS, started=WHEN, annotations={"value": "0.12"})
    await alertmanager.post(SLOW, started=WHEN)
    client = AlertmanagerClient([alertmanager.url], http, settled_after=timedelta(0))
    found = await listed(client, 'alertname="Errors"', 'deployment!="web"')
    (alert,) = found.alerts
    assert found.knows_absence
    assert not found.troubles
    assert alert.is_active
    assert (alert.labels, alert.annotations) == (ERRORS, {"value": "0.12"})
    assert alert.started_at == WHEN.replace(microsecond=123000), "its webhooks have every digit, its API milliseconds"
    assert len(alert.key) == 16


@pytest.mark.parametrize(
    ("matchers", "names"),
    [
        pytest.param((), {"Errors", "Slow"}, id="no matcher asks for everything"),
        pytest.param(('alertname=~"(?P<a>Slow)"',), {"Errors", "Slow"}, id="a regular expression is not sent"),
        pytest.param(('source="alertmanager"', 'exported_source="eu-1"'), {"Errors", "Slow"}, id="nor is a label that we set"),
        pytest.param((f"path={json.dumps(ERRORS['path'])}",), {"Errors"}, id="quotes, backslashes and line ends arrive"),
        pytest.param(('team=""',), {"Errors", "Slow"}, id="a missing label is empty"),
        pytest.param(('alertname="Else"',), set(), id="nothing of that name"),
    ],
)
async def test_matchers_are_understood_as_ours(
    alertmanager: Alertmanager, http: httpx.AsyncClient, matchers: tuple[str, ...], names: set[str]
) -> None:
    await alertmanager.post(ERRORS, started=WHEN)
    await alertmanager.post(SLOW, started=WHEN)
    found = await listed(AlertmanagerClient([alertmanager.url], http), *matchers)
    assert {alert.labels["alertname"] for alert in found.alerts} == names


async def test_a_silenced_alert_is_held_back_by_that_silence(alertmanager: Alertmanager, http: httpx.AsyncClient) -> None:
    await alertmanager.post(SLOW, started=WHEN)
    silence = await alertmanager.silence(alertname="Slow")
    (alert,) = (await listed(AlertmanagerClient([alertmanager.url], http), 'alertname="Slow"')).alerts
    assert alert.held_back_by == f"silence {silence}"


async def test_an_inhibited_alert_is_held_back(alertmanager: Alertmanager, http: httpx.AsyncClient) -> None:
    client = AlertmanagerClient([alertmanager.url], http)
    await alertmanager.post({**SLOW, "tier": "low"}, started=WHEN)
    await alertmanager.post({"alertname": "Outage"}, started=WHEN)
    (alert,) = (await listed(client, 'alertname="Slow"')).alerts
    assert alert.held_back_by == "an inhibition"
    await alertmanager.post({"alertname": "Outage"}, started=WHEN, ended=datetime.now(UTC))
    (alert,) = (await listed(client, 'alertname="Slow"')).alerts
    assert alert.is_active


async def test_an_alert_that_is_over_is_not_listed(alertmanager: Alertmanager, http: httpx.AsyncClient) -> None:
    await alertmanager.post(SLOW, started=WHEN)
    await alertmanager.post(SLOW, started=WHEN, ended=datetime.now(UTC))
    found = await listed(AlertmanagerClient([alertmanager.url], http, settled_after=timedelta(0)), 'alertname="Slow"')
    assert found == Listing(knows_absence=True)


async def test_one_that_was_just_started_has_forgotten_what_fires(alertmanager: Alertmanager, http: httpx.AsyncClient) -> None:
    client = AlertmanagerClient([alertmanager.url], http)
    await alertmanager.post(SLOW, started=WHEN)
    await alertmanager.restart()
    found = await listed(client, 'alertname="Slow"')
    assert not found.alerts
    assert not found.knows_absence
    assert "was started only" in found.troubles[0]
    await alertmanager.post(SLOW, started=WHEN)
    assert (await listed(client, 'alertname="Slow"')).alerts, "what it does list counts at once"


async def test_active_at_one_replica_is_active_and_the_other_may_be_away(
    alertmanager: Alertmanager, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    """A silence that the first replica knows and the second does not; then the first one ends."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "alertmanager.yml").write_text((tmp_path / "alertmanager.yml").read_text())
    (port,) = free_ports(1)
    second = Alertmanager(tmp_path / "b", "second", port)
    await second.launch()
    try:
        for one in (alertmanager, second):
            await one.post(SLOW, started=WHEN)
        await alertmanager.silence(alertname="Slow")
        client = AlertmanagerClient([alertmanager.url, second.url], http)
        (alert,) = (await listed(client, 'alertname="Slow"')).alerts
        assert alert.is_active
        await alertmanager.program.kill()
        found = await listed(client, 'alertname="Slow"')
        assert [alert.is_active for alert in found.alerts] == [True]
        assert any("can't be reached" in trouble for trouble in found.troubles)
    finally:
        await second.end()


async def test_nobody_there_is_told_and_not_raised() -> None:
    (port,) = free_ports(1)
    async with new_client() as http:
        found = await listed(AlertmanagerClient([f"http://127.0.0.1:{port}"], http), 'alertname="Slow"')
    assert not found.knows_absence
    assert found.alerts == ()
    assert "can't be reached" in found.troubles[0]
