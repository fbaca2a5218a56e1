"""Commands with bodies made up from our own /openapi.json, right and wrong ones, sent to the real process."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from responder.sandbox.cluster import SandboxCluster
from responder.web.openapi import OPERATIONS, Operation
from tests.acceptance.test_people import OPERATOR_TOKEN, RULES
from tests.harness.alertmanager import webhook_body
from tests.harness.cluster import Cluster
from tests.harness.service import VIEWER_TOKEN, WEBHOOK_TOKEN, ResponderService
from tests.harness.slack import SIGNING_SECRET

pytestmark = pytest.mark.acceptance

SECRETS = (OPERATOR_TOKEN, VIEWER_TOKEN, WEBHOOK_TOKEN, SIGNING_SECRET)
EXAMPLES = 40
"""Per address and way of making bodies."""
ADDRESSES = [one for one in OPERATIONS if one.who in ("operator", "admin", "slack")]


def fuzz(url: str, one: Operation, mode: GenerationMode, seen: Counter[int], incident: str) -> None:
    """Every other time it is about the incident and the target that there are."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operation = schema[one.path][one.method.upper()]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case) -> None:
        if sum(seen.values()) % 2:
            if "id" in case.path_parameters:
                case.path_parameters["id"] = incident
            if isinstance(case.body, dict) and isinstance(case.body.get("target"), str):
                case.body["target"] = "app"
        answer = case.call(headers={"Authorization": f"Bearer {OPERATOR_TOKEN}"})
        seen[answer.status_code] += 1
        assert answer.status_code < 500, (case.as_curl_command(), answer.text)
        assert not [secret for secret in SECRETS if secret in answer.text]

    send()


@pytest.mark.timeout(300)
async def test_no_body_breaks_the_service_and_none_brings_a_secret_to_light(tmp_path: Path) -> None:
    kubeconfig, people = tmp_path / "kubeconfig", tmp_path / "people.yaml"
    people.write_text("- {name: ann, role: admin, slack: U0ANN}\n")
    async with SandboxCluster(start_delay=0.02, stop_delay=0.02) as sandbox:
        sandbox.write_kubeconfig(kubeconfig)
        async with Cluster(kubeconfig) as cluster:
            namespace = await cluster.new_namespace()
            await cluster.roll_out(namespace, "app", "shop/app:v1", "shop/app:v2")
            environment = {
                "RESPONDER_OPERATOR_TOKEN": OPERATOR_TOKEN,
                "RESPONDER_COMMANDS_PER_MINUTE": "0",
                "RESPONDER_TOKENS_FILE": str(people),
                "RESPONDER_SLACK_SIGNING_SECRET": SIGNING_SECRET,
                "KUBECONFIG": str(kubeconfig),
            }
            async with ResponderService(tmp_path / "service", RULES.format(namespace=namespace), environment) as service:
                labels = {"alertname": "Errors", "namespace": namespace, "deployment": "app"}
                began = datetime.now(UTC) + timedelta(seconds=1)
                assert (await service.post_alerts(webhook_body(labels, status="firing", started=began))).status_code == 202
                async with asyncio.timeout(20):
                    while not (found := await service.incidents()):  # noqa: ASYNC110 - no event tells
                        await asyncio.sleep(0.05)
                seen: dict[str, Counter[int]] = {}
                for one in ADDRESSES:
                    counted = seen[f"{one.method} {one.path}"] = Counter()
                    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE) if one.body else (GenerationMode.POSITIVE,)
                    for mode in modes:
                        await asyncio.to_thread(fuzz, service.url, one, mode, counted, found[0]["id"])
                log = service.log
                assert (await service.http.get("/readyz")).status_code == 200
    assert not [secret for secret in SECRETS if secret in log]
    assert "Traceback" not in log
    # Bodies that are right get beyond the reading of bodies, those that are wrong don't.
    assert seen["put /v1/hold"][200]
    assert seen["put /v1/hold"][400]
    assert seen["post /v1/rollbacks"][404]
    for word in ("approve", "reject", "cancel", "acknowledge"):
        counted = seen[f"post /v1/incidents/{{id}}/{word}"]
        assert counted[404]
        assert counted[200] or counted[409]
    assert seen["post /v1/rollbacks"][409] or seen["post /v1/rollbacks"][202]
    assert set(seen["post /webhooks/slack/interactions"]) == {401}
