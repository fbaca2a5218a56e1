"""etcd, kube-apiserver, kube-controller-manager and our kubelet as one process tree with a folder of its own.

`python -m tests.harness.control_plane FOLDER [OWNER_PID]` runs one until it is interrupted or the owner is gone, so nothing
is left behind however a test run ends. FOLDER/ready appears when FOLDER/kubeconfig can be used.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.harness.kubelet import Kubelet

# Nodes never report here, so the controllers that doubt silent nodes stay away.
_CONTROLLERS = "*,-nodelifecycle,-nodeipam,-podgc,-attachdetach,-cloud-node-lifecycle,-ttl,-csrsigning,-service,-route"
_START_SECONDS = 60
_ROOT = Path(__file__).parents[2]


def kubeconfig_for_tests(shared: Path) -> Path:
    """Kubeconfig of the genuine cluster for this test run, started by the first worker that asks.

    shared: folder that all workers of the run see. RESPONDER_TEST_KUBECONFIG names a cluster that already runs (started with
    this module); else KUBEBUILDER_ASSETS names the folder of kube-apiserver, kube-controller-manager and maybe etcd.
    Without either the test is skipped; where CI is set it fails.
    """
    ready_made = os.environ.get("RESPONDER_TEST_KUBECONFIG")
    if ready_made:
        return Path(ready_made)
    missing = _what_is_missing()
    if missing:
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    folder = shared / "control-plane"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            _launch(folder)
    return folder / "kubeconfig"


def _what_is_missing() -> str:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets:
        return "no genuine API server: set KUBEBUILDER_ASSETS to the folder of kube-apiserver and kube-controller-manager"
    for name in ("kube-apiserver", "kube-controller-manager", "etcd"):
        if _program(name) is None:
            return f"no genuine API server: {name} is neither in KUBEBUILDER_ASSETS ({assets}) nor on the PATH"
    return ""


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("KUBEBUILDER_ASSETS", "")) or shutil.which(name)


def _launch(folder: Path) -> None:
    # Under xdist the worker may end before the run does: the run's own process is the owner.
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    command = [sys.executable, "-m", "tests.harness.control_plane", str(folder), str(owner)]
    with (folder / "log").open("w") as log:
        keeper = subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + _START_SECONDS
    while not (folder / "ready").exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            keeper.terminate()
            tails = [f"{path}:\n{path.read_text()[-2000:]}" for path in [folder / "log", *folder.glob("*.log")]]
            pytest.fail("the control plane did not start\n" + "\n".join(tails))
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class ControlPlane:
    """One control plane on free loopback ports. The API server makes its own certificate; we authenticate by a static token."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, self._etcd_port, self._peer_port, self._controller_port = free_ports(4)
        self._token = secrets.token_hex(16)
        self._children: list[subprocess.Popen[bytes]] = []
        self._url = f"https://127.0.0.1:{self._port}"

    async def start(self) -> None:
        (self._folder / "tokens.csv").write_text(f'{self._token},test-admin,1,"system:masters"\n')
        self._start_etcd()
        certificate = self._start_api_server()
        await self._until_exists(certificate)
        self._write_kubeconfig(certificate)
        async with self.http() as http:
            await self._until_answers(http, "/readyz")
            self._start_controllers()
            await self._until_answers(http, "/api/v1/namespaces/default")

    def http(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self._token}"}
        limits = httpx.Limits(max_connections=200, keepalive_expiry=5)
        return httpx.AsyncClient(base_url=self._url, headers=headers, verify=False, trust_env=False, limits=limits, timeout=20)

    def stop(self) -> None:
        for child in reversed(self._children):
            child.terminate()
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _start_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._peer_port}"
        self._spawn(
            "etcd",
            f"--data-dir={self._folder}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
        )

    def _start_api_server(self) -> Path:
        certificates = self._folder / "certificates"
        self._spawn(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            f"--cert-dir={certificates}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._port}",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--token-auth-file={self._folder}/tokens.csv",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={certificates}/apiserver.key",
            f"--service-account-signing-key-file={certificates}/apiserver.key",
            "--profiling=false",
        )
        return certificates / "apiserver.crt"

    def _start_controllers(self) -> None:
        program = _program("kube-controller-manager")
        assert program is not None
        # Old releases open an insecure fixed port unless told not to; new ones no longer know the flag.
        usage = subprocess.run([program, "--help"], capture_output=True, text=True, check=False).stdout
        self._spawn(
            "kube-controller-manager",
            f"--kubeconfig={self._folder}/kubeconfig",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._controller_port}",
            f"--cert-dir={self._folder}/controller-certificates",
            "--leader-elect=false",
            f"--controllers={_CONTROLLERS}",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            "--profiling=false",
            *(["--port=0"] if "--port int " in usage else []),
        )

    def _spawn(self, name: str, *arguments: str) -> None:
        program = _program(name)
        assert program is not None, name
        environment = {**os.environ, "ETCD_UNSUPPORTED_ARCH": ""}
        with (self._folder / f"{name}.log").open("w") as log:
            child = subprocess.Popen(
                [program, *arguments],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread
            )
        self._children.append(child)

    def _write_kubeconfig(self, certificate: Path) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self._url, "certificate-authority": str(certificate)}}],
            "users": [{"name": "admin", "user": {"token": self._token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
        path = self._folder / "kubeconfig"
        path.write_text(json.dumps(config))
        path.chmod(0o600)

    async def _until_exists(self, path: Path) -> None:
        async with asyncio.timeout(_START_SECONDS):
            while not await asyncio.to_thread(path.exists):
                self._check_children()
                await asyncio.sleep(0.05)

    async def _until_answers(self, http: httpx.AsyncClient, path: str) -> None:
        async with asyncio.timeout(_START_SECONDS):
            while True:
                self._check_children()
                with contextlib.suppress(httpx.HTTPError):
                    if (await http.get(path)).is_success:
                        return
                await asyncio.sleep(0.05)

    def _check_children(self) -> None:
        for child in self._children:
            if child.poll() is not None:
                raise RuntimeError(f"{child.args!r} ended with {child.returncode}")


def _die_with_parent() -> None:
    """Linux only: a killed keeper takes its servers with it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


async def keep(folder: Path, owner: int | None) -> None:
    """Run a control plane until the owner is gone or we are told to stop."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    plane = ControlPlane(folder)
    try:
        await plane.start()
        async with plane.http() as http:
            kubelet = asyncio.create_task(Kubelet(http).run())
            (folder / "ready").touch()
            while not stopped.is_set() and not kubelet.done() and (owner is None or _is_alive(owner)):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), 0.5)
            kubelet.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await kubelet
    finally:
        plane.stop()
        (folder / "ready").unlink(missing_ok=True)
        shutil.rmtree(folder / "etcd", ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    if missing := _what_is_missing():
        sys.exit(missing)
    place = Path(sys.argv[1]).resolve()
    place.mkdir(parents=True, exist_ok=True)
    asyncio.run(keep(place, int(sys.argv[2]) if len(sys.argv) > 2 else None))
