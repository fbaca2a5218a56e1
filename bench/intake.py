"""How many webhooks per second are durable, against a bare Starlette route on the same server in the same run.

    python -m bench.intake                     # about a minute
    python -m bench.intake --seconds 10 --rounds 5 --write    # the figures for docs/benchmarks.md

The service is the real `responder serve` with its evaluator, on SQLite in /var/tmp (a disk, so that fsync counts), against a
simulated cluster. wrk posts one-alert bodies of about 1 kB, a hundred different alerts in turn, over 32 connections.
It is held against a bare route that answers with the same bytes, and against one that answers with nothing (`bench/bare.py`).
They take turns, so that whatever else the machine does falls on all of them. Needs Debian's `wrk`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS = 32
ACTIVE_ALERTS = 10_000
GOALS = {"ratio": 0.6, "p99_ms": 100.0, "memory_mib": 120.0, "start_s": 1.5}

RULEBOOK = """
version: 1
targets:
  checkout:
    kubernetes: {namespace: shop, deployment: checkout}
    match: ['namespace="shop"', 'deployment="checkout"']
rules:
  - name: error_rate
    match: ['alertname="HighErrorRate"']
    when: {value: {above: 5%}}
    for: 24h
    by: [pod]
    severity: P1
    respond: rollback
  - {name: latency, match: ['alertname="HighLatency"'], for: 5m, severity: P2, respond: notify}
"""

SCRIPT = """
local bodies = %s
local count = 0
request = function()
  count = count + 1
  return wrk.format("POST", nil, {["Content-Type"] = "application/json"}, bodies[count %% #bodies + 1])
end
done = function(summary, latency)
  local errors = summary.errors
  local lost = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format('{"requests": %%d, "us": %%d, "p99_us": %%d, "refused": %%d, "lost": %%d}',
    summary.requests, summary.duration, latency:percentile(99), errors.status, lost))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """One run of wrk."""

    per_second: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Figures:
    loads: dict[str, list[Load]]  # by name: same, empty, service
    memory_mib: float
    memory_after_load_mib: float
    starts_s: list[float]

    def rate(self, name: str) -> float:
        return median(load.per_second for load in self.loads[name])

    def ratio(self, name: str) -> float:
        return self.rate("service") / self.rate(name)

    @property
    def p99_ms(self) -> float:
        return max(load.p99_ms for load in self.loads["service"])


# --- what is posted --------------------------------------------------------------------------------------------------


def alert(number: int, started: datetime) -> dict[str, Any]:
    labels = {
        "alertname": "HighErrorRate",
        "namespace": "shop",
        "deployment": "checkout",
        "environment": "production",
        "severity": "critical",
        "instance": "10.2.3.4:8080",
        "job": "checkout",
        "pod": f"checkout-6d5f7c9b8-{number:05d}",
    }
    annotations = {
        "summary": "5xx above 5 %",
        "description": "The error rate of checkout is 12.3 % over the last five minutes.",
        "value": "0.123",
        "runbook_url": "https://runbooks.example/HighErrorRate",
    }
    return {
        "status": "firing",
        "labels": labels,
        "annotations": annotations,
        "startsAt": started.isoformat().replace("+00:00", "Z"),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example:9090/graph?g0.expr=error_rate",
        "fingerprint": f"{number:016x}",
    }


def body(alerts: list[dict[str, Any]]) -> str:
    return json.dumps(
        {
            "receiver": "responder",
            "status": "firing",
            "alerts": alerts,
            "groupLabels": {"alertname": "HighErrorRate"},
            "commonLabels": {"alertname": "HighErrorRate", "namespace": "shop"},
            "commonAnnotations": {},
            "externalURL": "http://alertmanager.example:9093",
            "version": "4",
            "groupKey": '{}:{alertname="HighErrorRate"}',
            "truncatedAlerts": 0,
        }
    )


# --- processes -------------------------------------------------------------------------------------------------------


@contextmanager
def process(command: list[str], environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[str]]:
    with log.open("w") as errors:
        child = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def bare(folder: Path) -> Iterator[str]:
    """The address of the bare server."""
    with process([sys.executable, "-m", "bench.bare"], dict(os.environ), folder / "bare.log") as child:
        assert child.stdout is not None
        url = child.stdout.readline().strip()
        if not url:
            raise SystemExit(f"the bare server did not start: {(folder / 'bare.log').read_text()[-2000:]}")
        yield url


@contextmanager
def service(folder: Path, kubeconfig: Path) -> Iterator[tuple[str, int, float]]:
    """The address of `responder serve`, its process id, and the seconds it took until it was ready."""
    (folder / "rules.yaml").write_text(RULEBOOK)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RESPONDER_")}
    environ |= {
        "KUBECONFIG": str(kubeconfig),
        "RESPONDER_PORT": "0",
        "RESPONDER_RULES": str(folder / "rules.yaml"),
        "RESPONDER_DATABASE_URL": f"sqlite:///{folder / 'responder.db'}",
    }
    log = folder / "service.log"
    began = time.perf_counter()
    with process([sys.executable, "-m", "responder", "serve"], environ, log) as child:
        url = wait_for(lambda: address_in(log, child), "the service to be ready")
        wait_for(lambda: answers(f"{url}/readyz"), "/readyz")
        yield url, child.pid, time.perf_counter() - began


def address_in(log: Path, child: subprocess.Popen[str]) -> str | None:
    if child.poll() is not None:
        raise SystemExit(f"the service ended: {log.read_text()[-2000:]}")
    for line in log.read_text().splitlines():
        if '"event": "ready"' in line:
            return str(json.loads(line)["url"])
    return None


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def wait_for(look: Any, what: str, seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.005)
    raise SystemExit(f"waited {seconds:.0f} s in vain for {what}")


# --- measuring -------------------------------------------------------------------------------------------------------


def load(url: str, script: Path, seconds: int) -> Load:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script)]
    ran = subprocess.run([*command, url], capture_output=True, text=True, check=True)
    found = json.loads(ran.stdout[ran.stdout.rindex("{") :])
    if found["refused"] or found["lost"] or not found["requests"]:
        raise SystemExit(f"not every webhook was accepted: {found}")
    return Load(found["requests"] / found["us"] * 1e6, found["p99_us"] / 1e3)


def post_active_alerts(url: str, started: datetime) -> None:
    """Returns when the evaluator has seen them all; the database was empty before."""
    deliveries = range(0, ACTIVE_ALERTS, 500)
    for first in deliveries:
        alerts = [alert(number, started) for number in range(first, first + 500)]
        request = Request(f"{url}/webhooks/alertmanager", body(alerts).encode(), {"Content-Type": "application/json"})
        with urlopen(request, timeout=10) as answer:
            assert answer.status == 202, answer.status
    wait_for(lambda: get(f"{url}/readyz")["journal_position"] >= len(deliveries), "all alerts to be evaluated")


def get(url: str) -> Any:
    with urlopen(url, timeout=30) as answer:
        return json.load(answer)


def resident_mib(pid: int) -> float:
    whole = psutil.Process(pid)
    return sum(one.memory_info().rss for one in [whole, *whole.children(recursive=True)]) / 2**20


def measure(folder: Path, kubeconfig: Path, seconds: int, rounds: int) -> Figures:
    started = datetime.now(UTC) - timedelta(minutes=1)
    script = folder / "load.lua"
    quoted = (f"[==[{body([alert(number, started)])}]==]" for number in range(100))
    script.write_text(SCRIPT % ("{" + ",\n".join(quoted) + "}"))
    starts = []
    for number in range(3):
        (folder / f"start{number}").mkdir()
        with service(folder / f"start{number}", kubeconfig) as (_, _, start):
            starts.append(start)
    (folder / "memory").mkdir()
    with service(folder / "memory", kubeconfig) as (url, pid, _):
        post_active_alerts(url, started)
        memory = resident_mib(pid)
        assert len(get(f"{url}/v1/rules")["rules"]) >= ACTIVE_ALERTS
    with ExitStack() as stack:
        bare_url = stack.enter_context(bare(folder))
        (folder / "load").mkdir()
        service_url, pid, _ = stack.enter_context(service(folder / "load", kubeconfig))
        urls = {"same": f"{bare_url}/same", "empty": f"{bare_url}/empty", "service": f"{service_url}/webhooks/alertmanager"}
        for url in urls.values():
            load(url, script, 1)
        loads: dict[str, list[Load]] = {name: [] for name in urls}
        for _ in range(rounds):
            for name, url in urls.items():
                loads[name].append(load(url, script, seconds))
                print(f"  {name:<8}{loads[name][-1].per_second:>9,.0f}/s", file=sys.stderr)
        after = resident_mib(pid)
    return Figures(loads, memory, after, starts)


@contextmanager
def cluster() -> Iterator[Path]:
    """The kubeconfig of a simulated cluster in a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix="responder-bench-cluster-"))
    try:
        with process([sys.executable, "-m", "bench.intake", "--cluster", str(folder)], dict(os.environ), folder / "log"):
            wait_for((folder / "kubeconfig").exists, "the simulated cluster")
            yield folder / "kubeconfig"
    finally:
        shutil.rmtree(folder)


async def run_cluster(folder: Path) -> None:
    from responder.sandbox.cluster import SandboxCluster

    async with SandboxCluster() as sandbox:
        sandbox.write_kubeconfig(folder / "kubeconfig.new")
        (folder / "kubeconfig.new").rename(folder / "kubeconfig")
        await asyncio.Event().wait()


# --- telling ---------------------------------------------------------------------------------------------------------


def table(figures: Figures) -> str:
    # The goal speaks of a route that does nothing, so the empty answer is what counts; the other says what the bytes cost.
    ratio, memory, start = figures.ratio("empty"), figures.memory_mib, median(figures.starts_s)
    rows = [
        ("Durable webhooks/s, against a bare route giving an empty answer", f"{ratio:.2f}", "≥ 0.60", ratio >= GOALS["ratio"]),
        ("— against a bare route giving the same answer", f"{figures.ratio('same'):.2f}", "", None),
        ("— the service", f"{figures.rate('service'):,.0f}/s", "", None),
        ("— bare Starlette, same answer", f"{figures.rate('same'):,.0f}/s", "", None),
        ("— bare Starlette, empty answer", f"{figures.rate('empty'):,.0f}/s", "", None),
        ("p99 of an answer at 32 connections", f"{figures.p99_ms:.1f} ms", "< 100 ms", figures.p99_ms < GOALS["p99_ms"]),
        (f"Resident memory with {ACTIVE_ALERTS:,} active alerts", f"{memory:.0f} MiB", "< 120 MiB", memory < GOALS["memory_mib"]),
        ("— after the load", f"{figures.memory_after_load_mib:.0f} MiB", "", None),
        ("Process start → ready", f"{start:.2f} s", "< 1.5 s", start < GOALS["start_s"]),
    ]
    lines = ["| | measured | goal | |", "|---|---:|---:|---|"]
    verdicts = {True: "met", False: "missed", None: ""}
    lines += [f"| {name} | {found} | {goal} | {verdicts[met]} |" for name, found, goal, met in rows]
    return "\n".join(lines)


def write(text: str, page: Path) -> None:
    """Replace this benchmark's section of the page, or add it."""
    start, end = "<!-- intake: written by python -m bench.intake --write -->", "<!-- end of intake -->"
    section = f"{start}\n{text}\n{end}"
    whole = page.read_text() if page.exists() else "# Benchmarks\n"
    if start in whole:
        before, _, rest = whole.partition(start)
        whole = before + section + rest.partition(end)[2]
    else:
        whole = f"{whole.rstrip()}\n\n## Intake\n\n{section}\n"
    page.write_text(whole)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3, help="length of one round of load")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of load for each server")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/benchmarks.md")
    parser.add_argument("--cluster", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cluster:
        asyncio.run(run_cluster(options.cluster))
        return 0
    if shutil.which("wrk") is None:
        raise SystemExit("needs wrk: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="responder-bench-", dir="/var/tmp") as folder, cluster() as kubeconfig:
        figures = measure(Path(folder), kubeconfig, options.seconds, options.rounds)
    busy, cores = os.getloadavg()[0], os.cpu_count()
    when = datetime.now(UTC).date().isoformat()
    text = f"{table(figures)}\n\nMeasured {when} on {cores} cores, load average {busy:.1f}; wrk runs on the same machine."
    print(text)
    if options.write:
        write(text, ROOT / "docs" / "benchmarks.md")
    return 0 if "missed" not in text else 1


if __name__ == "__main__":
    sys.exit(main())
