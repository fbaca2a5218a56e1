"""A rollback while the connection breaks and others write: it ends well, with exactly one change."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from responder.domain.version import Pin
from responder.errors import OutcomeUnknownError, RefusedError, TemporaryError
from responder.targets.kubernetes import TemplateWorkload
from tests.harness.cluster import Cluster
from tests.harness.kubernetes_proxy import Forward, KubernetesProxy, Request
from tests.harness.rollback import Intent, pin_of


@pytest.fixture
async def pin(cluster: Cluster, namespace: str, workload: TemplateWorkload) -> Pin:
    await cluster.roll_out(namespace, "app", "shop/app:1.0", "shop/app:1.1", replicas=1)
    return await pin_of(workload, "1.0")


class Once:
    """A rule that does something at the first request that matches, and passes everything else on."""

    def __init__(self, matches: Any, instead: Any) -> None:
        self._matches = matches
        self._instead = instead
        self.happened = False

    async def __call__(self, request: Request, forward: Forward) -> httpx.Response | None:
        if self.happened or not self._matches(request):
            return await forward()
        self.happened = True
        response: httpx.Response | None = await self._instead(request, forward)
        return response


async def test_the_order_of_requests(proxy: KubernetesProxy, proxied: TemplateWorkload, pin: Pin) -> None:
    """Reads, the rehearsal, the intent, the change: nothing else."""
    at_intent: list[int] = []

    async def intent() -> None:
        at_intent.append(len(proxy.requests))

    await proxied.roll_back(pin, intent)

    assert [(one.method, one.is_dry_run) for one in proxy.requests] == [
        ("GET", False),
        ("GET", False),
        ("PATCH", True),
        ("PATCH", False),
    ]
    assert at_intent == [3]
    rehearsal, change = proxy.requests[2:]
    assert rehearsal.json() == change.json()
    assert [(one["op"], one["path"]) for one in change.json()] == [
        ("test", "/metadata/uid"),
        ("test", "/metadata/generation"),
        ("replace", "/spec/template"),
    ]
    assert change.query["fieldManager"] == ["responder"]
    assert change.query["fieldValidation"] == ["Strict"]


async def test_the_answer_is_lost_after_the_server_made_the_change(
    cluster: Cluster, namespace: str, proxy: KubernetesProxy, proxied: TemplateWorkload, pin: Pin
) -> None:
    before, intent = await cluster.get(namespace, "app"), Intent()

    async def lose_answer(_: Request, forward: Forward) -> None:
        await forward()

    proxy.rule = Once(lambda request: request.is_write, lose_answer)
    said = await proxied.roll_back(pin, intent)

    assert said.endswith("1.1 (revision 2) replaced by 1.0 (revision 1)")
    assert len(proxy.writes) == 1
    assert intent.written == 1
    assert (await cluster.get(namespace, "app"))["metadata"]["generation"] == before["metadata"]["generation"] + 1


async def test_the_connection_breaks_before_the_server_got_the_change(
    cluster: Cluster, namespace: str, proxy: KubernetesProxy, proxied: TemplateWorkload, pin: Pin
) -> None:
    before, intent = await cluster.get(namespace, "app"), Intent()

    async def lose_request(_: Request, forward: Forward) -> None:
        return None

    proxy.rule = Once(lambda request: request.is_write, lose_request)
    await proxied.roll_back(pin, intent)

    assert len(proxy.writes) == 2
    assert intent.written == 1
    after = await cluster.get(namespace, "app")
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert after["spec"]["template"]["spec"]["containers"][0]["image"] == "shop/app:1.0"


async def test_a_deployment_that_never_answers_leaves_the_outcome_unknown(
    proxy: KubernetesProxy, proxied: TemplateWorkload, pin: Pin
) -> None:
    async def lose_writes(request: Request, forward: Forward) -> httpx.Response | None:
        return None if request.is_write else await forward()

    proxy.rule = lose_writes
    with pytest.raises(OutcomeUnknownError):
        await proxied.roll_back(pin, Intent())


async def test_an_autoscaler_scales_between_read_and_write(
    cluster: Cluster, namespace: str, proxy: KubernetesProxy, proxied: TemplateWorkload, pin: Pin
) -> None:
    intent = Intent()

    async def scale_first(_: Request, forward: Forward) -> httpx.Response:
        await cluster.scale(namespace, "app", 2)
        return await forward()

    proxy.rule = Once(lambda request: request.is_write, scale_first)
    await proxied.roll_back(pin, intent)

    after = await cluster.wait_available(namespace, "app")
    assert after["spec"]["replicas"] == 2
    assert after["spec"]["template"]["spec"]["containers"][0]["image"] == "shop/app:1.0"
    assert len(proxy.writes) == 2
    assert intent.written == 1


async def test_somebody_deploys_between_read_and_write(
    cluster: Cluster, namespace: str, proxy: KubernetesProxy, proxied: TemplateWorkload, pin: Pin
) -> None:
    async def deploy_first(_: Request, forward: Forward) -> httpx.Response:
        await cluster.deploy(namespace, "app", image="shop/app:1.2-fix")
        return await forward()

    proxy.rule = Once(lambda request: request.is_write, deploy_first)
    with pytest.raises(RefusedError, match=r"changed by somebody else: it is asked to run 1\.2-fix"):
        await proxied.roll_back(pin, Intent())

    assert (await cluster.get(namespace, "app"))["spec"]["template"]["spec"]["containers"][0]["image"] == "shop/app:1.2-fix"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(httpx.Response(409, json={"kind": "Status", "message": "please apply your changes"}), id="409 conflict"),
        pytest.param(
            httpx.Response(429, headers={"Retry-After": "0"}, json={"message": "slow down"}), id="429 too many requests"
        ),
        pytest.param(httpx.Response(503, json={"message": "not ready"}), id="503 not ready"),
        pytest.param(httpx.Response(500, json={"message": "webhook failed"}), id="500 of an admission webhook"),
        pytest.param(httpx.Response(200, text="<html>captive portal</html>"), id="200 with something that is not JSON"),
    ],
)
async def test_passing_trouble_is_tried_again(
    proxy: KubernetesProxy, proxied: TemplateWorkload, pin: Pin, answer: httpx.Response
) -> None:
    async def trouble(_: Request, forward: Forward) -> httpx.Response:
        return answer

    proxy.rule = Once(lambda request: request.is_write, trouble)

    assert "replaced by 1.0" in await proxied.roll_back(pin, Intent())
    assert len(proxy.writes) == 2


async def test_lasting_trouble_is_left_to_the_step(proxy: KubernetesProxy, proxied: TemplateWorkload, pin: Pin) -> None:
    async def overloaded(_: Request, forward: Forward) -> httpx.Response:
        return httpx.Response(503, json={"message": "not ready"})

    proxy.rule = overloaded
    with pytest.raises(TemporaryError, match="not ready"):
        await proxied.roll_back(pin, Intent())
    assert proxy.writes == []


async def test_an_admission_webhook_that_changes_the_template_is_found_in_the_rehearsal(
    cluster: Cluster, namespace: str, proxy: KubernetesProxy, proxied: TemplateWorkload, pin: Pin
) -> None:
    before, intent = await cluster.get(namespace, "app"), Intent()

    async def meddle(_: Request, forward: Forward) -> httpx.Response:
        answer = (await forward()).json()
        answer["spec"]["template"]["spec"]["containers"][0]["image"] = "mirror/app:1.0"
        return httpx.Response(200, json=answer)

    proxy.rule = Once(lambda request: request.is_dry_run, meddle)
    with pytest.raises(RefusedError, match="would make something else"):
        await proxied.roll_back(pin, intent)

    assert intent.written == 0
    assert (await cluster.get(namespace, "app"))["metadata"]["generation"] == before["metadata"]["generation"]


async def test_an_admission_webhook_without_dry_run_does_not_stand_in_the_way(
    proxy: KubernetesProxy, proxied: TemplateWorkload, pin: Pin
) -> None:
    async def unsupported(_: Request, forward: Forward) -> httpx.Response:
        return httpx.Response(400, json={"message": 'admission webhook "w" does not support dry run'})

    proxy.rule = Once(lambda request: request.is_dry_run, unsupported)

    assert "replaced by 1.0" in await proxied.roll_back(pin, Intent())
