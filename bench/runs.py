"""How soon after its deadline a rollback's first write leaves, guards included, against a local genuine API server.

python -m bench.runs [--alone 30] [--at-once 200]    # needs KUBEBUILDER_ASSETS and etcd

The service runs in this process, on SQLite, as `serve` builds it. The moment of a write is when the request that changes a
Deployment is handed to the client; the dry run before it does not count as the write, but takes part of the time. Beside it, in
the same run: what one read of a target costs with nothing else going on.

Many at once are due at the same moment, on different targets. That it does not fall behind means three things:
- as many runs a second get to their write as when only a few are due (no collapse: the ratio of the two is near 1 or above);
- webhooks are answered all the while (p99 of all answers until the last write: below 100 ms);
- other alerts are decided on all the while: the lag is from the deadline of a fresh alert to its incident.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import httpx
import structlog
from pydantic import SecretStr

from responder.clients.kubernetes import KubernetesClient
from responder.domain.target import Target, WorkloadRef
from responder.settings.service import Settings
from responder.targets.registry import build_workloads
from responder.wiring.clock import wall_clock
from responder.wiring.service import Service
from responder.wiring.serving import serving
from tests.harness.alertmanager import webhook_body
from tests.harness.cluster import Cluster
from tests.harness.control_plane import kubeconfig_for_tests

HOLD = timedelta(seconds=2)
A_FEW = 20
_PROBE_HOLD = timedelta(seconds=1)
_PROBE_EVERY = 0.1  # seconds between two webhooks
_ALERT_EVERY = 3  # webhooks: every so manyth is an alert that is decided on
_RULES = """
version: 1
limits: {{rollbacks: 9999 per 1h, per_namespace: 9999 per 1h}}
targets:
{targets}
rules:
  - {{name: errors, match: 'alertname="HighErrorRate"', for: 2s, severity: P1, respond: rollback, plan: back}}
  - {{name: probe, match: 'alertname="Probe"', for: 1s, by: [probe], severity: P3, respond: notify}}
plans:
  back: {{steps: [rollback], monitor: {{for: 0s, settle: 5m}}}}
"""
_TARGET = """  {name}:
    kubernetes: {{namespace: {namespace}, deployment: {name}}}
    match: 'deployment="{name}"'
    mode: armed
    guards: {{proven_for: 0s}}
"""


class Writes:
    """When the first write to each Deployment was handed to the client, by name."""

    def __init__(self) -> None:
        self.at: dict[str, datetime] = {}
        self._patch = KubernetesClient.patch_json

    def __enter__(self) -> Writes:
        writes = self

        async def patch(client: KubernetesClient, *arguments: Any, **options: Any) -> Any:
            if not options.get("dry_run"):
                name = next(one for one in arguments if isinstance(one, str) and one.startswith("app-"))
                writes.at.setdefault(name, wall_clock())
            return await writes._patch(client, *arguments, **options)

        KubernetesClient.patch_json = patch  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        KubernetesClient.patch_json = self._patch  # type: ignore[method-assign]


async def deploy(cluster: Cluster, namespace: str, names: Iterable[str]) -> None:
    """Each with a good version and then a bad one, both fully available."""
    at_a_time = asyncio.Semaphore(20)

    async def one(name: str) -> None:
        async with at_a_time:
            for image in ("shop/app:v1", "shop/app:v2"):
                await cluster.deploy(namespace, name, image=image, spec={"strategy": {"type": "Recreate"}})
                await cluster.until(
                    lambda: cluster.get(namespace, name), lambda found: found["status"].get("availableReplicas") == 1, seconds=120
                )

    await asyncio.gather(*(one(name) for name in names))


async def run(cluster: Cluster, namespace: str, names: list[str], writes: Writes, url: str) -> list[float]:
    """Fire for all of these at once; milliseconds from the deadline to the write, one for each."""
    started = wall_clock()
    labels = [{"alertname": "HighErrorRate", "namespace": namespace, "deployment": name} for name in names]
    bodies = [webhook_body(one, status="firing", started=started) for one in labels]
    merged = {**bodies[0], "alerts": [alert for body in bodies for alert in body["alerts"]]}
    async with httpx.AsyncClient(trust_env=False) as http:
        (await http.post(f"{url}/webhooks/alertmanager", json=merged)).raise_for_status()
    due = started + HOLD
    async with asyncio.timeout(300):
        while not writes.at.keys() >= set(names):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return [(writes.at[name] - due) / timedelta(milliseconds=1) for name in names]


@dataclass
class Probes:
    """Webhooks beside the runs. answered: seconds that each took. refused: those that were answered by an error."""

    service: Service
    answered: list[float] = field(default_factory=list)
    refused: int = 0

    @asynccontextmanager
    async def going(self) -> AsyncIterator[None]:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            task = asyncio.create_task(self._go(http))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _go(self, http: httpx.AsyncClient) -> None:
        async with asyncio.TaskGroup() as group:
            number = 0
            while True:
                number += 1
                group.create_task(self._post(http, "Unrelated" if number % _ALERT_EVERY else "Probe", number))
                await asyncio.sleep(_PROBE_EVERY)

    async def _post(self, http: httpx.AsyncClient, alert: str, number: int) -> None:
        labels = {"alertname": alert, "probe": str(number)}
        body = webhook_body(labels, status="firing", started=wall_clock())
        before = time.perf_counter()
        answer = await http.post(f"{self.service.url}/webhooks/alertmanager", json=body)
        self.answered.append(time.perf_counter() - before)
        self.refused += answer.is_error

    async def lags(self) -> list[float]:
        """Milliseconds from the deadline of an alert to its incident, of all that had one."""
        await asyncio.sleep(2 * _PROBE_HOLD.total_seconds())
        found = [one for one in await self.service.database.incidents.list(limit=10_000) if one.rule == "probe"]
        return [(one.opened_at - one.began_at - _PROBE_HOLD) / timedelta(milliseconds=1) for one in found if one.began_at]


async def requests_alone(kubeconfig: Path, namespace: str, name: str) -> float:
    """Median milliseconds of one fresh read of the target, as the guards make it, with nothing else going on."""
    client = KubernetesClient(str(kubeconfig))
    workload = build_workloads(client, wall_clock).of(Target(name, WorkloadRef(namespace, name), ()))
    taken = []
    loop = asyncio.get_running_loop()
    for _ in range(30):
        before = loop.time()
        await workload.read()
        taken.append((loop.time() - before) * 1000)
    await client.close()
    return median(taken)


async def measure(alone: int, at_once: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = kubeconfig_for_tests(Path(folder))
        async with Cluster(kubeconfig) as cluster:
            namespace = await cluster.new_namespace("bench")
            single, few, many = (
                [f"app-{word}-{number}" for number in range(count)]
                for word, count in (("alone", alone), ("few", A_FEW), ("many", at_once))
            )
            await deploy(cluster, namespace, [*single, *few, *many])
            targets = "".join(_TARGET.format(name=name, namespace=namespace) for name in [*single, *few, *many])
            rules = Path(folder) / "rules.yaml"
            rules.write_text(_RULES.format(targets=targets))
            settings = Settings(port=0, rules=rules, database_url=SecretStr(f"sqlite:///{folder}/responder.db"))
            read = await requests_alone(kubeconfig, namespace, single[0])
            with Writes() as writes:
                async with serving(settings, kubeconfig=str(kubeconfig)) as service:
                    one_by_one = [(await run(cluster, namespace, [name], writes, service.url))[0] for name in single]
                    of_few = await run(cluster, namespace, few, writes, service.url)
                    probes = Probes(service)
                    used, machine = time.process_time(), _machine_time()
                    async with probes.going():
                        together = await run(cluster, namespace, many, writes, service.url)
                    used, machine = time.process_time() - used, _machine_time() - machine
                    lags = await probes.lags()
            few_rate, many_rate = (len(taken) / max(taken) * 1000 for taken in (of_few, together))
            return {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "one read of a target, ms": round(read, 1),
                "alone: due to write, median ms": round(median(one_by_one), 1),
                "alone: due to write, worst ms": round(max(one_by_one), 1),
                "alone: median as a multiple of one read": round(median(one_by_one) / read, 2),
                f"{A_FEW} at once: runs/s": round(few_rate, 1),
                f"{at_once} at once: runs/s": round(many_rate, 1),
                f"{at_once} at once: runs/s as a multiple of those of {A_FEW}": round(many_rate / few_rate, 2),
                f"{at_once} at once: first ms": round(min(together), 1),
                f"{at_once} at once: median ms": round(median(together), 1),
                f"{at_once} at once: last ms": round(max(together), 1),
                f"{at_once} at once: own CPU per run, all that went on included, ms": round(used / at_once * 1000, 1),
                "meanwhile: CPU of the whole machine in use": f"{machine.busy / machine.total:.0%}",
                "meanwhile: of that, by this process": f"{used / machine.busy:.0%}",
                f"meanwhile: webhooks answered, p99 ms (of {len(probes.answered)})": round(_p99(probes.answered) * 1000, 1),
                "meanwhile: webhooks refused": probes.refused,
                f"meanwhile: lag of a decision, median ms (of {len(lags)})": round(median(lags), 1),
                "meanwhile: lag of a decision, worst ms": round(max(lags), 1),
            }


class MachineTime(NamedTuple):
    """Seconds since it was started, over all cores, as /proc/stat has them."""

    busy: float
    total: float

    def __sub__(self, earlier: MachineTime) -> MachineTime:
        return MachineTime(self.busy - earlier.busy, self.total - earlier.total)


def _machine_time() -> MachineTime:
    ticks = [int(one) for one in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle, waiting = ticks[3], ticks[4]
    hertz = os.sysconf("SC_CLK_TCK")
    return MachineTime((sum(ticks) - idle - waiting) / hertz, sum(ticks) / hertz)


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alone", type=int, default=30)
    parser.add_argument("--at-once", type=int, default=200)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    print(json.dumps(asyncio.run(measure(options.alone, options.at_once)), indent=2))


if __name__ == "__main__":
    main()
