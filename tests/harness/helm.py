"""Helm as a program, and a chart with a Deployment and a ConfigMap, installed into one namespace."""

from __future__ import annotations

import asyncio
import fcntl
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.cluster import Cluster

_FETCH = Path(__file__).parents[2] / "scripts" / "fetch_helm.py"
_CHART = {
    "Chart.yaml": "apiVersion: v2\nname: shop\nversion: 0.3.0\nappVersion: '7'\n",
    "values.yaml": "image: shop/app:1.0\nreplicas: 2\nmode: plain\n",
    "templates/settings.yaml": """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {mode: {{ .Values.mode | quote }}}
""",
    "templates/web.yaml": """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {{ .Values.labels | default (dict "app" "web") | toJson }}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata:
      labels: {app: web}
      annotations: {rollme: {{ .Values.stamp | default "" | quote }}}
    spec:
      containers:
        - {name: app, image: {{ .Values.image | quote }}}
""",
    "templates/hook.yaml": """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: "hook-{{ .Release.Revision }}"
  annotations: {"helm.sh/hook": post-rollback}
""",
}


def helm_program() -> Path:
    """On the PATH, else fetched once into the user's cache folder; skips the test when it can't be had."""
    installed = shutil.which("helm")
    if installed:
        return Path(installed)
    if platform.machine() != "x86_64":
        pytest.skip("helm is not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "responder-tests"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "helm-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run([sys.executable, str(_FETCH), str(cache)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"helm is not installed and can't be fetched: {done.stderr[-300:]}")
    return cache / "helm"


@dataclass(frozen=True)
class Chart:
    """The release `shop`. environment: what `helm` needs to find the cluster."""

    cluster: Cluster
    namespace: str
    folder: Path
    environment: Mapping[str, str]

    @staticmethod
    def make(cluster: Cluster, namespace: str, folder: Path) -> Chart:
        program = helm_program()
        for name, text in _CHART.items():
            path = folder / "chart" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (folder / "home").mkdir()
        environment = {
            "PATH": f"{program.parent}:/usr/bin:/bin",
            "HOME": str(folder / "home"),
            "KUBECONFIG": str(cluster.kubeconfig),
        }
        return Chart(cluster, namespace, folder, environment)

    async def deploy(self, *, wait: bool = True, **values: str) -> None:
        """Install or upgrade, as a pipeline does; with wait, until it is available."""
        sets = [word for key, value in values.items() for word in ("--set-json", f"{key}={value}")]
        await self.helm("upgrade", "--install", "shop", str(self.folder / "chart"), *sets)
        if wait:
            await self.cluster.wait_available(self.namespace, "web")

    async def helm(self, *arguments: str, exits: tuple[int, ...] = (0,)) -> str:
        process = await asyncio.create_subprocess_exec(
            "helm",
            *arguments,
            "--namespace",
            self.namespace,
            env=dict(self.environment),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode in exits, said.decode()
        return said.decode()
