"""A Docker engine of our own, with a base image of our own, so that the Dockerfile is tested without any image registry.

Needs root, dockerd and debootstrap. Leaves alone whatever other engine runs here.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

BASE_IMAGE = "responder-test-base"
_SUITE = "bookworm"
_START_SECONDS = 60
_CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # where Debian keeps it
# Nothing of these is needed to run Python; the CA bundle is replaced by this machine's own.
_LEFT_OUT = (
    "./var/cache",
    "./var/lib/apt",
    "./usr/share/doc",
    "./usr/share/man",
    "./usr/share/locale",
    "./dev",
    f".{_CA_BUNDLE}",
)


def what_is_missing() -> str:
    """Why there can be no engine here; "" when there can."""
    if os.geteuid() != 0:
        return "no Docker engine of our own: only root can start one"
    for program in ("docker", "dockerd", "debootstrap", "setpriv"):
        if shutil.which(program) is None:
            return f"no Docker engine of our own: {program} is not installed"
    return ""


class Docker:
    """One engine, driven by the ordinary client."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    @property
    def socket(self) -> Path:
        return self._socket

    def __call__(self, *arguments: str, timeout: float = 60, errors_too: bool = False) -> str:
        """Run one client command. Raises CalledProcessError, with what the client printed as a note."""
        try:
            return self._run(arguments, timeout, errors_too).strip()
        except subprocess.CalledProcessError as error:
            error.add_note(f"{error.stdout}\n{error.stderr}"[-4000:])
            raise

    def logs(self, container: str) -> str:
        """The last lines that the container printed, on both streams."""
        return self("logs", "--tail", "40", container, errors_too=True)

    def _run(self, arguments: tuple[str, ...], timeout: float, errors_too: bool) -> str:
        command = ["docker", "--host", f"unix://{self._socket}", *arguments]
        environment = {**os.environ, "DOCKER_BUILDKIT": "0"}  # the other builder is a plug-in that may be missing
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout, env=environment)
        return done.stdout + done.stderr if errors_too else done.stdout

    def inspect(self, name: str) -> dict[str, object]:
        found = json.loads(self("inspect", name))[0]
        assert isinstance(found, dict)
        return found

    def import_tree(self, archive: Path, image: str) -> None:
        self("import", str(archive), image, timeout=300)


@contextlib.contextmanager
def engine() -> Iterator[Docker]:
    """Start an engine in a folder of its own; afterwards nothing of it is left."""
    folder = Path(tempfile.mkdtemp(prefix="dockerd-"))
    socket, log = folder / "socket", folder / "log"
    # No bridge and no packet filter rules: containers use the host's network.
    command = ["setpriv", "--pdeathsig", "TERM", "dockerd", "--host", f"unix://{socket}", "--pidfile", f"{folder}/pid"]
    command += ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--iptables=false", "--bridge=none"]
    with log.open("w") as output:
        daemon = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        docker = Docker(socket)
        _wait_until_ready(docker, daemon, log)
        yield docker
        for container in docker("ps", "--quiet").split():
            docker("kill", container)
    finally:
        daemon.terminate()
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        _remove(folder)


def _wait_until_ready(docker: Docker, daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            docker("version")
        except subprocess.CalledProcessError:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.1)
        else:
            return


def _remove(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{folder}/")]):
        subprocess.run(["umount", "--lazy", mount], check=False)
    shutil.rmtree(folder)


def make_base_image(docker: Docker) -> str:
    """Import a small Debian with Python and this machine's own way to a package index. Returns the image's name."""
    with tempfile.TemporaryDirectory(prefix="base-image-") as folder:
        archive = Path(folder) / "base.tar"
        shutil.copyfile(_debian_with_python(), archive)
        with tarfile.open(archive, "a") as tar:
            _add_file(tar, _CA_BUNDLE, _ca_bundle())
            _add_file(tar, "/etc/pip.conf", _pip_configuration())
        docker.import_tree(archive, BASE_IMAGE)
    return BASE_IMAGE


def _debian_with_python() -> Path:
    """Archive of a Debian tree; made once (about a minute) and kept in the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "responder-tests"
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / f"{_SUITE}-python3.tar"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if archive.exists():
            return archive
        with tempfile.TemporaryDirectory(prefix="debian-") as tree:
            command = ["debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", _SUITE, tree]
            made = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
            if made.returncode != 0:
                raise RuntimeError(f"debootstrap failed:\n{made.stdout[-2000:]}{made.stderr[-2000:]}")
            unfinished = archive.with_suffix(".unfinished")
            left_out = [f"--exclude={path}" for path in _LEFT_OUT]
            subprocess.run(["tar", "--directory", tree, *left_out, "--create", "--file", str(unfinished), "."], check=True)
            unfinished.rename(archive)
    return archive


def _ca_bundle() -> bytes:
    """The certificate authorities that this machine trusts."""
    bundle = ssl.get_default_verify_paths().cafile or _CA_BUNDLE
    return Path(bundle).read_bytes()


def _pip_configuration() -> bytes:
    """How pip reaches an index here, less what names files of this machine."""
    listing = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    settings = {}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        option, value = name.rpartition(".")[2], value.strip("'\"")
        if (
            option in ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout")
            and "file:" not in value
        ):
            settings[option] = value
    lines = ["[global]", f"cert = {_CA_BUNDLE}", *(f"{option} = {value}" for option, value in settings.items())]
    return "\n".join(lines).encode() + b"\n"


def _add_file(tar: tarfile.TarFile, path: str, content: bytes) -> None:
    member = tarfile.TarInfo(f".{path}")
    member.size = len(content)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(content))
