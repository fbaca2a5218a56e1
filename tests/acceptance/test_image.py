"""The container image on a real Docker engine: it serves as nobody, on a read-only file system, with no rights at all."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness import docker as harness
from tests.harness.docker import Docker

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
IMAGE = "responder:test"
SOMEONE = "10001:10001"
TOKEN = "a-token-for-the-webhook"
RULES = """
version: 1
rules:
  - name: anything
    match: ['alertname="DiskFull"']
    respond: notify
"""
WEBHOOK = {
    "version": "4",
    "groupKey": '{}:{alertname="DiskFull"}',
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "responder",
    "groupLabels": {"alertname": "DiskFull"},
    "commonLabels": {"alertname": "DiskFull"},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager.example",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "DiskFull"},
            "annotations": {"value": "0.93"},
            "startsAt": "2026-01-02T03:04:05.678Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example/graph",
            "fingerprint": "8d4fc3a1b2c3d4e5",
        }
    ],
}


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """An engine that has built the image."""
    missing = harness.what_is_missing()
    if missing:
        pytest.skip(missing)
    with harness.engine() as engine:
        base = harness.make_base_image(engine)
        engine("build", "--network", "host", "--build-arg", f"BASE={base}", "--tag", IMAGE, str(ROOT), timeout=600)
        yield engine


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
        assert isinstance(number, int)
        return number


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    """Rulebook and secrets as an orchestrator would mount them."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "rules.yaml").write_text(RULES)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "webhook-token").write_text(TOKEN + "\n")
    (tmp_path / "secrets" / "operator-token").write_text("a-token-for-operators\n")
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o444)
    return tmp_path


def serve(docker: Docker, mounts: Path, port: int, name: str) -> str:
    """Start the service with everything that could be taken away taken away. Returns the container's id."""
    options = ["--detach", "--name", name, "--network", "host", "--read-only", "--cap-drop", "ALL", "--user", SOMEONE]
    options += ["--security-opt", "no-new-privileges", "--tmpfs", "/tmp", "--volume", "journal:/data", "--health-interval", "1s"]
    options += ["--volume", f"{mounts}/rules:/rules:ro", "--volume", f"{mounts}/secrets:/secrets:ro"]
    environment = {
        "RESPONDER_PORT": str(port),
        "RESPONDER_WEBHOOK_TOKEN_FILE": "/secrets/webhook-token",
        "RESPONDER_OPERATOR_TOKEN_FILE": "/secrets/operator-token",
    }
    for variable, value in environment.items():
        options += ["--env", f"{variable}={value}"]
    return docker("run", *options, IMAGE)


def wait_until_healthy(docker: Docker, container: str) -> None:
    deadline = time.monotonic() + 60
    while (status := docker("inspect", "--format", "{{.State.Status}} {{.State.Health.Status}}", container)) != "running healthy":
        log = docker.logs(container)
        assert not status.startswith("exited"), log
        assert time.monotonic() < deadline, f"{status}\n{log}"
        time.sleep(0.2)


def post_webhook(port: int, token: str = TOKEN) -> httpx.Response:
    url = f"http://127.0.0.1:{port}/webhooks/alertmanager"
    return httpx.post(url, json=WEBHOOK, headers={"Authorization": f"Bearer {token}"}, trust_env=False)


def test_it_gets_healthy_and_accepts_a_webhook_without_root_rights_or_a_writable_disk(
    docker: Docker, mounts: Path, port: int
) -> None:
    container = serve(docker, mounts, port, "first")
    wait_until_healthy(docker, container)

    assert post_webhook(port, token="a-wrong-one").status_code == 401
    accepted = post_webhook(port)
    assert accepted.status_code == 202
    assert accepted.json() == {"accepted": 1, "ignored": 0}

    identities = docker("top", container, "-o", "pid,uid,gid").splitlines()[1:]
    assert identities
    assert all(line.split()[1:] == ["10001", "10001"] for line in identities)
    rights = docker("exec", container, "grep", "-E", "^(CapEff|CapPrm|NoNewPrivs)", "/proc/1/status").split()
    assert rights == ["CapPrm:", "0" * 16, "CapEff:", "0" * 16, "NoNewPrivs:", "1"]
    assert docker("exec", container, "sh", "-c", "touch /opt/responder/x 2>&1 || true").endswith("Read-only file system")
    assert docker("exec", container, "ls", "/data").split()[0] == "responder.db"
    secrets = (TOKEN, "a-token-for-operators")
    assert not any(secret in docker.logs(container) for secret in secrets)

    docker("stop", "--time", "10", container)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == "0", docker.logs(container)

    again = serve(docker, mounts, port, "second")
    wait_until_healthy(docker, again)
    docker("rm", "--force", again)


def test_it_is_made_to_run_and_for_nothing_else(docker: Docker) -> None:
    image = docker.inspect(IMAGE)["Config"]
    assert isinstance(image, dict)
    assert image["User"] == SOMEONE
    assert image["Entrypoint"] == ["/opt/responder/bin/responder"]
    assert image["Cmd"] == ["serve"]
    assert image["StopSignal"] == "SIGTERM"
    assert "/data" in image["Volumes"]
    assert image["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert not any("TOKEN" in variable or "SECRET" in variable for variable in image["Env"])

    def inside(script: str) -> str:
        return docker("run", "--rm", "--network", "none", "--entrypoint", "/bin/sh", IMAGE, "-c", script)

    assert inside("for tool in pip pip3 gcc cc make curl wget git; do command -v $tool; done; true") == ""
    assert (
        inside("for module in pip hatchling pytest; do python -c 'import '$module 2>/dev/null && echo $module; done; true") == ""
    )
    assert inside("find / -xdev -writable -type f -not -path '/proc/*' 2>/dev/null | head -5; true") == ""
    uncompiled = """
import importlib.util, pathlib
for module in pathlib.Path(importlib.util.find_spec("responder").origin).parent.rglob("*.py"):
    if not pathlib.Path(importlib.util.cache_from_source(str(module))).exists():
        print(module)
"""
    assert inside(f"python -c '{uncompiled}'") == ""
