"""Writes the lock files; with --check says whether they still fit pyproject.toml, without asking any package index."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = "3.11"
LOCKS = {
    "requirements.lock": ["pyproject.toml"],
    "requirements-build.lock": ["--group", "build"],
    "requirements-dev.lock": ["pyproject.toml", "--group", "build", "--group", "dev", "--constraint", "requirements.lock"],
}


def digest() -> str:
    """Of everything the lock files are made from."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = pyproject["project"], pyproject["dependency-groups"]
    made_from = [
        project["requires-python"],
        sorted(project["dependencies"]),
        {name: sorted(groups[name]) for name in sorted(groups)},
    ]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def header() -> str:
    return f"# Made by `make lock`. Dependencies of pyproject.toml: sha256:{digest()}\n"


def write() -> None:
    for name, sources in LOCKS.items():
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", OLDEST_PYTHON]
        command += ["--generate-hashes", "--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links"]
        command += ["--upgrade"] if "--upgrade" in sys.argv else []
        pinned = ROOT / name
        resolved = ROOT / f".{name}"
        if pinned.exists():
            resolved.write_text(pinned.read_text())  # uv keeps the versions it finds there
        try:
            subprocess.run([*command, "--output-file", resolved.name, *sources], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            pinned.write_text(header() + resolved.read_text())
        finally:
            resolved.unlink(missing_ok=True)


def problems() -> list[str]:
    found = []
    for name in LOCKS:
        path = ROOT / name
        text = path.read_text() if path.exists() else ""
        if not text.startswith(header()):
            found.append(f"{name} does not fit pyproject.toml: run `make lock`")
        if "://" in text or re.search(r"^\s*-", text.replace("    --hash=", ""), re.MULTILINE):
            found.append(f"{name} names a package index or carries an option")
    return found


def main() -> int:
    if "--check" not in sys.argv:
        write()
    found = problems()
    print("\n".join(found) or "lock files fit pyproject.toml")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
