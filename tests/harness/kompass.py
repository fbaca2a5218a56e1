"""KOMPASS on an engine of its own: a Compose project of two services beside CouchDB and MeiliSearch, as its team deploys it.

Containers hold busybox and a script. CouchDB is played by express-pouchdb (real databases and real replication), MeiliSearch and
Linear by servers of a few lines that keep what they are sent and ask for their keys.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from responder.sandbox.loopback import LoopbackServer
from tests.harness.control_plane import free_ports
from tests.harness.docker import Docker
from tests.harness.node_packages import node_modules
from tests.harness.program import Program, clean_environment, find_program

COUCHDB_PASSWORD, SEARCH_KEY = "password-of-couchdb", "master-key-of-meilisearch"
API_TOKEN, LOGIN_PASSWORD, LINEAR_KEY = "token-of-the-api", "password-of-the-test-account", "lin_api_key-of-the-tests"
SERVICES = ("backend", "frontend")

_HERE = Path(__file__).parent
_COMPOSE = """
version: '3'
services:
  backend:
    image: kompass/backend:latest
    network_mode: host
    stop_signal: SIGKILL
    command: ["/bin/busybox", "sh", "-c", "/bin/busybox --install -s /bin && exec /srv/backend"]
  frontend:
    image: kompass/frontend:latest
    network_mode: host
    stop_signal: SIGKILL
"""
_OF_THE_ENVIRONMENT = """
version: '3'
services:
  backend:
    environment: {backend}
  frontend:
    command: ["/bin/busybox", "httpd", "-f", "-p", "127.0.0.1:{port}", "-h", "/www"]
"""


class Search:
    """Of MeiliSearch: its health, one index, and that it asks for its key. documents: ids in the index; None without an index."""

    def __init__(self) -> None:
        self.documents: list[str] | None = None
        self.deleted = 0
        index = "/indexes/customers"
        routes = [
            Route("/health", self._health),
            Route(index, self._delete, methods=["DELETE"]),
            Route(f"{index}/stats", self._stats),
            Route(f"{index}/documents", self._add, methods=["POST"]),
        ]
        self.server = LoopbackServer(Starlette(routes=routes))

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "available"})

    async def _delete(self, request: Request) -> Response:
        if refused := _unauthorized(request, f"Bearer {SEARCH_KEY}"):
            return refused
        self.documents, self.deleted = None, self.deleted + 1
        return JSONResponse(
            {"taskUid": self.deleted, "indexUid": "customers", "status": "enqueued", "type": "indexDeletion"}, 202
        )

    async def _stats(self, request: Request) -> Response:
        if refused := _unauthorized(request, f"Bearer {SEARCH_KEY}"):
            return refused
        if self.documents is None:
            return JSONResponse({"code": "index_not_found"}, 404)
        return JSONResponse({"numberOfDocuments": len(self.documents), "isIndexing": False})

    async def _add(self, request: Request) -> Response:
        if refused := _unauthorized(request, f"Bearer {SEARCH_KEY}"):
            return refused
        self.documents = sorted(row["id"] for row in json.loads(await request.body())["rows"])
        return JSONResponse({"taskUid": 0, "status": "enqueued"}, 202)


class Linear:
    """issues: the `input` of every issue that was opened."""

    def __init__(self) -> None:
        self.issues: list[dict[str, Any]] = []
        self.server = LoopbackServer(Starlette(routes=[Route("/graphql", self._post, methods=["POST"])]))

    async def _post(self, request: Request) -> Response:
        if refused := _unauthorized(request, LINEAR_KEY):
            return refused
        body = json.loads(await request.body())
        assert "issueCreate" in body["query"], body
        self.issues.append(body["variables"]["input"])
        issue = {"identifier": f"KOM-{len(self.issues)}", "url": "https://linear.example/KOM"}
        return JSONResponse({"data": {"issueCreate": {"success": True, "issue": issue}}})


def _unauthorized(request: Request, wanted: str) -> Response | None:
    return None if request.headers.get("authorization") == wanted else JSONResponse({"code": "invalid_api_key"}, 401)


@dataclass(frozen=True)
class Couch:
    url: str
    http: httpx.AsyncClient = field(repr=False)

    async def create(self, database: str, *documents: dict[str, Any]) -> None:
        assert (await self.http.put(f"/{database}")).status_code in (200, 201)
        for one in documents:
            await self.put(database, one)

    async def put(self, database: str, document: dict[str, Any]) -> None:
        answer = await self.http.post(f"/{database}", json=document)
        assert answer.status_code in (200, 201), answer.text

    async def documents(self, database: str) -> dict[str, dict[str, Any]]:
        """By id, without revisions."""
        rows = (await self.http.get(f"/{database}/_all_docs", params={"include_docs": "true"})).raise_for_status().json()["rows"]
        return {row["id"]: {key: value for key, value in row["doc"].items() if not key.startswith("_")} for row in rows}

    async def databases(self) -> list[str]:
        return list((await self.http.get("/_all_dbs")).json())

    async def back_up(self, database: str, name: str) -> None:
        """As the team's own job does it."""
        answer = await self.http.post("/_replicate", json={"source": database, "target": name, "create_target": True})
        assert answer.json()["ok"] is True, answer.text


@contextlib.asynccontextmanager
async def couchdb(folder: Path) -> AsyncIterator[Couch]:
    modules = node_modules(_HERE / "couchdb")
    folder.mkdir()  # noqa: ASYNC240 (nothing else runs yet)
    [port] = free_ports(1)
    command = [find_program("node", "nodejs"), str(_HERE / "couchdb" / "server.js"), str(port), COUCHDB_PASSWORD]
    program = Program([*command, str(folder / "couch.log")], folder / "log", clean_environment(NODE_PATH=str(modules)))
    program.launch()
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=url, auth=("admin", COUCHDB_PASSWORD), trust_env=False, timeout=20) as http:

        async def is_up() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return (await http.get("/_up")).is_success
            return False

        try:
            await program.until("up", is_up)
            yield Couch(url, http)
        finally:
            await program.end()


@dataclass(frozen=True)
class Kompass:
    """One environment: the project `kompass` in `folder`. docker_host: where its engine is, for whoever logs in there."""

    docker: Docker
    name: str
    folder: Path
    backend: str
    frontend: str

    @property
    def docker_host(self) -> str:
        return f"unix://{self.docker.socket}"

    def deploy(self, version: str) -> None:
        """As the team's own script does it: what runs is kept as `rollback`, then the new images take the name."""
        for service in SERVICES:
            if self.docker("images", "--quiet", f"kompass/{service}:latest"):
                self.docker("tag", f"kompass/{service}:latest", f"kompass/{service}:rollback")
            self.docker("tag", f"kompass/{service}:{version}", f"kompass/{service}:latest")
        self.compose("up", "--detach")

    def compose(self, *arguments: str) -> None:
        files = ["-f", "docker-compose.yml", "-f", f"docker-compose.{self.name}.yml"]
        command = ["docker-compose", "--project-name", "kompass", *files, *arguments]
        environment = clean_environment(DOCKER_HOST=self.docker_host)
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr

    def runs(self) -> dict[str, str]:
        """The version of every running container, by service."""
        form = '{{.Label "com.docker.compose.service"}} {{.Label "kompass.version"}}'
        return dict(line.split(" ", 1) for line in self.docker("ps", "--format", form).splitlines())

    def clear(self) -> None:
        if ids := self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", *ids)
        for service in SERVICES:
            for tag in ("latest", "rollback"):
                if self.docker("images", "--quiet", f"kompass/{service}:{tag}"):
                    self.docker("rmi", f"kompass/{service}:{tag}")


def make_images(docker: Docker, *versions: str) -> None:
    for service in SERVICES:
        for version in versions:
            _make_image(docker, f"kompass/{service}:{version}", version)


def _make_image(docker: Docker, name: str, version: str) -> None:
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        archive = Path(folder) / "tree.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(find_program("busybox", "busybox-static"), "bin/busybox")
            tar.add(_HERE / "kompass_backend", "srv/backend")
            for path, text in {"version": version, "www/health": '{"status":"ok"}'}.items():
                member = tarfile.TarInfo(path)
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()))
        docker("import", "--change", f"LABEL kompass.version={version}", str(archive), name)


def kompass(docker: Docker, name: str, folder: Path, couch: Couch, search: Search) -> Kompass:
    """Write its Compose files; nothing runs yet."""
    folder.mkdir()
    backend, frontend = free_ports(2)
    environment = {
        "PORT": str(backend),
        "COUCHDB": couch.url.replace("://", f"://admin:{COUCHDB_PASSWORD}@"),
        "SEARCH": search.server.url,
        "SEARCH_KEY": SEARCH_KEY,
        "TOKEN": API_TOKEN,
        "PASSWORD": LOGIN_PASSWORD,
    }
    (folder / "docker-compose.yml").write_text(_COMPOSE)
    overlay = _OF_THE_ENVIRONMENT.format(backend=json.dumps(environment), port=frontend)
    (folder / f"docker-compose.{name}.yml").write_text(overlay)
    return Kompass(docker, name, folder, f"http://127.0.0.1:{backend}", f"http://127.0.0.1:{frontend}")
