"""A shop as a Compose project on an engine of our own: two services that are deployed together, and a database beside them."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.docker import Docker
from tests.harness.program import find_program

# Without a signal to end on, the first process of a container takes ten seconds to stop.
_SERVICE = """
  {name}:
    image: {image}
    network_mode: host
    stop_signal: SIGKILL
    command: {command}
"""
SLEEP = '["/bin/busybox", "sleep", "1000"]'


@dataclass(frozen=True, slots=True)
class Shop:
    """The project `shop` in `folder`. environment: how its engine is reached."""

    docker: Docker
    folder: Path
    environment: dict[str, str]

    def write(self, command: str = SLEEP, more: str = "") -> None:
        """The Compose file. command, more: of the service `web`."""
        services = _SERVICE.format(name="web", image="shop/web:latest", command=command) + more
        services += _SERVICE.format(name="worker", image="shop/worker:latest", command=SLEEP)
        services += _SERVICE.format(name="database", image="shop/database:11", command=SLEEP)
        (self.folder / "docker-compose.yml").write_text(f"version: '3'\nservices:{services}")

    def ran(self, version: str) -> None:
        """A version that needs not run any more, only to have run."""
        for service in ("web", "worker"):
            self.docker("tag", f"shop/{service}:{version}", f"shop/{service}:latest")

    def deploy(self, version: str) -> None:
        """As the team's own script does it: what runs is kept as `rollback`, then the new one is started."""
        for service in ("web", "worker"):
            if self.docker("images", "--quiet", f"shop/{service}:latest"):
                self.docker("tag", f"shop/{service}:latest", f"shop/{service}:rollback")
            self.docker("tag", f"shop/{service}:{version}", f"shop/{service}:latest")
        self.up()

    def up(self, *arguments: str) -> None:
        command = ["docker-compose", "--project-name", "shop", "up", "--detach", *arguments]
        subprocess.run(command, cwd=self.folder, env=os.environ | self.environment, check=True, capture_output=True, timeout=60)

    def containers(self) -> dict[str, dict[str, Any]]:
        """By service. Fails when a service has more than one."""
        ids = self.docker("ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project=shop").split()
        found = json.loads(self.docker("inspect", *ids)) if ids else []
        services = [one["Config"]["Labels"]["com.docker.compose.service"] for one in found]
        assert len(set(services)) == len(services), services
        return dict(zip(services, found, strict=True))

    def versions(self) -> dict[str, set[str]]:
        """The versions of every running container of each service, also while they are being replaced."""
        form = '{{.Label "com.docker.compose.service"}} {{.Label "shop.version"}}'
        found: dict[str, set[str]] = {}
        for line in self.docker("ps", "--format", form).splitlines():
            service, _, version = line.partition(" ")
            found.setdefault(service, set()).add(version.rpartition(" ")[2])
        return found

    def runs(self) -> dict[str, str]:
        """What each service runs: the version in the image's own label."""
        return {service: f"{one['Config']['Labels']['shop.version']}" for service, one in self.containers().items()}

    def clear(self) -> None:
        if ids := self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", *ids)
        if names := self.docker("images", "--format", "{{.Repository}}:{{.Tag}}", "shop/*").split():
            self.docker("rmi", "--force", *names)


def make_image(docker: Docker, name: str, version: str) -> None:
    """An image of a megabyte that holds busybox and nothing else."""
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        archive = Path(folder) / "tree.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(find_program("busybox", "busybox-static"), "bin/busybox")
            (Path(folder) / "version").write_text(version)
            tar.add(Path(folder) / "version", "version")
        docker("import", "--change", f'LABEL shop.version="{version}"', str(archive), name)
