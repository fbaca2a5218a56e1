"""A Node platform as its team runs it: two git checkouts under pm2, BullMQ on Redis, PostgreSQL, Prometheus; every part is real.

`systemctl` is a script that ends Redis, which a loop starts again; the CDN is a server of a few lines that asks for its token.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from responder.sandbox.loopback import LoopbackServer
from tests.harness.control_plane import free_ports
from tests.harness.node_packages import cache_folder, node_modules
from tests.harness.pm2 import pm2_environment
from tests.harness.postgres import PASSWORD, USER, Postgres, postgres_server
from tests.harness.program import Program, find_program
from tests.harness.prometheus import Prometheus

CDN_TOKEN = "token-of-the-cdn"
PROJECTS = (1, 2, 3)

_HERE = Path(__file__).parent
_APP = _HERE / "platform"
_RELEASE = "// What tells one release from another.\nmodule.exports = {release};\n"
_JOBS_THAT_FAIL = """// Every job fails at once.
module.exports = {
  version: "v2",
  names: ["ai-analysis", "document-processing"],
  work: async () => { throw new Error("model not found"); },
};
"""
_SCHEMA = """
create extension if not exists pg_stat_statements;
create table projects (
  id bigint primary key, name text not null, status text not null default 'open', updated_at timestamptz not null default now()
);
create table scenes (id bigint primary key, project_id bigint not null references projects (id) on delete cascade, title text);
insert into projects (id, name) values (1, 'Opening'), (2, 'Chase'), (3, 'Ending');
insert into scenes values (11, 1, 'Dawn'), (21, 2, 'Bridge'), (22, 2, 'Tunnel');
"""
_FRONTEND_BUILD = """
const fs = require("fs");
fs.mkdirSync(".next/static", { recursive: true });
fs.copyFileSync("version", ".next/static/version.txt");
"""
_FRONTEND_SERVER = """
const text = require("fs").readFileSync(".next/static/version.txt");
const port = Number(require("fs").readFileSync(".env", "utf8").split("=")[1]);
require("http").createServer((_, answer) => answer.end(text)).listen(port, "127.0.0.1");
"""
_SYSTEMCTL = """#!/bin/sh
# The part of systemctl that a plan needs: `systemctl restart redis-server`. A loop starts Redis again.
[ "$1 $2" = "restart redis-server" ] || exit 5
echo restarted >>{folder}/restarts
exec redis-cli -u redis://127.0.0.1:{port} shutdown save
"""


class Cdn:
    """purged: how often everything was cleared."""

    def __init__(self) -> None:
        self.purged = 0
        self.server = LoopbackServer(Starlette(routes=[Route("/purge_cache", self._purge, methods=["POST"])]))

    async def _purge(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {CDN_TOKEN}":
            return JSONResponse({"success": False}, 403)
        assert json.loads(await request.body()) == {"purge_everything": True}
        self.purged += 1
        return JSONResponse({"success": True, "errors": []})


@dataclass(frozen=True)
class Checkout:
    """A git checkout under pm2. environment: of everything that runs in it."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, check=False, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def git(self, *arguments: str) -> str:
        return self.run("git", "-c", "user.name=Test", "-c", "user.email=test@example.com", *arguments)

    def commit(self, tag: str, **files: str) -> None:
        """files: by path, `__` for `/` and `_dot_` for `.`."""
        for name, text in files.items():
            path = self.folder / name.replace("__", "/").replace("_dot_", ".")
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", f"Release {tag}")
        self.git("tag", tag)

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def processes(self) -> dict[str, dict[str, Any]]:
        """By name: what pm2 knows of each."""
        line = next(line for line in self.run("pm2", "jlist").splitlines() if line.startswith("["))
        return {one["name"]: one["pm2_env"] for one in json.loads(line)}


@dataclass
class Platform:
    """folder: of what does not belong to a checkout: log, backups, the static files of the front end."""

    folder: Path
    app: Checkout
    frontend: Checkout
    postgres: Postgres
    database: str
    redis_port: int
    cdn: Cdn
    api: str
    frontend_url: str
    prometheus_url: str
    http: httpx.AsyncClient

    @property
    def log(self) -> Path:
        return self.folder / "app.log"

    @property
    def backups(self) -> Path:
        return self.folder / "backups"

    async def release(self, tag: str, **what: object) -> None:
        """A release of the application code, deployed; it answers."""
        await self._deploy(tag, backend__src__release_dot_js=_RELEASE.format(release=json.dumps({"version": tag, **what})))

    async def release_bad_queues(self, tag: str) -> None:
        release = _RELEASE.format(release=json.dumps({"version": tag}))
        await self._deploy(tag, backend__src__queues__jobs_dot_js=_JOBS_THAT_FAIL, backend__src__release_dot_js=release)

    async def release_frontend(self, tag: str) -> None:
        await asyncio.to_thread(self.frontend.commit, tag, version=tag)
        await asyncio.to_thread(self.frontend.run, "npm", "run", "build")
        await asyncio.to_thread(self.frontend.run, "pm2", "restart", "frontend")
        await self.until(self.frontend_version, tag)

    async def _deploy(self, tag: str, **files: str) -> None:
        await asyncio.to_thread(self.app.commit, tag, **files)
        await asyncio.to_thread(self.app.run, "npm", "run", "build")
        await asyncio.to_thread(self.app.run, "pm2", "restart", "api", "queue-worker")
        await self.until(self.version, tag)

    async def until(self, read: Callable[[], Awaitable[str]], wanted: str) -> None:
        async with asyncio.timeout(60):
            while await read() != wanted:  # noqa: ASYNC110 (a process sets no event)
                await asyncio.sleep(0.05)

    async def get(self, path: str) -> Any:
        return (await self.http.get(path)).raise_for_status().json()

    async def post(self, path: str, body: object = None) -> Any:
        return (await self.http.post(path, json=body)).raise_for_status().json()

    async def version(self) -> str:
        """What answers now; "" while nothing does."""
        with contextlib.suppress(httpx.HTTPError):
            return str((await self.get("/api/version"))["version"])
        return ""

    async def frontend_version(self) -> str:
        with contextlib.suppress(httpx.HTTPError):
            return (await self.http.get(self.frontend_url)).text
        return ""

    async def stats(self) -> dict[str, Any]:
        return dict(await self.get("/api/queue/stats"))

    async def worker_version(self) -> str:
        return await self.redis("GET", "platform:worker")

    async def redis(self, *command: str, database: int = 0) -> str:
        return await self.postgres.run("redis-cli", "-u", f"redis://127.0.0.1:{self.redis_port}/{database}", *command)

    async def sql(self, statement: str) -> str:
        return await self.postgres.query(self.database, statement)

    async def back_up(self, stamp: str) -> None:
        """As the team's own job does it."""
        await self.postgres.run("pg_dump", "--format=custom", f"--file={self.backups}/backup_{stamp}.dump", self.database)


@contextlib.contextmanager
def node_environment() -> Iterator[dict[str, str]]:
    """pm2 and npm of their own: what is installed comes out of npm's cache, nothing is asked for anywhere.

    v1 of both checkouts is installed and built once; each platform begins with a copy.
    """
    node_modules(_APP)  # fills the cache
    with pm2_environment() as environment:
        own = Path.home() / ".npmrc"
        lines = own.read_text() if own.exists() else ""
        mine = {"cache": cache_folder() / "npm", "offline": "true", "ignore-scripts": "true", "audit": "false", "fund": "false"}
        lines += "".join(f"\n{name}={value}" for name, value in mine.items()) + "\n"
        (Path(environment["HOME"]) / ".npmrc").write_text(lines)
        node = {**environment, "LANG": os.environ.get("LANG", "C.UTF-8")}
        _install(Checkout(_installed("platform", node), node))
        _install_frontend(Checkout(_installed("frontend", node), node))
        yield node


@contextlib.asynccontextmanager
async def node_platform(folder: Path, node: dict[str, str]) -> AsyncIterator[Platform]:
    """v1 of both checkouts runs. node: from `node_environment`."""
    for name, package in (("git", "git"), ("redis-server", "redis-server"), ("redis-cli", "redis-tools")):
        find_program(name, package)
    async with contextlib.AsyncExitStack() as stack:
        (folder / "backups").mkdir(parents=True)
        (folder / "app.log").touch()
        redis_port = await stack.enter_async_context(_redis(folder / "redis"))
        postgres = await stack.enter_async_context(postgres_server(shared_preload_libraries="pg_stat_statements"))
        database = await postgres.new_database("platform", _SCHEMA)
        cdn = Cdn()
        await cdn.server.start()
        stack.push_async_callback(cdn.server.stop)
        api_port, frontend_port = free_ports(2)
        app, frontend = Checkout(folder / "platform", node), Checkout(folder / "frontend", node)
        settings = {
            "PORT": api_port,
            "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
            "CACHE_URL": f"redis://127.0.0.1:{redis_port}/1",
            "LOG": folder / "app.log",
            "PGHOST": "127.0.0.1",
            "PGPORT": postgres.port,
            "PGUSER": USER,
            "PGPASSWORD": PASSWORD,
            "PGDATABASE": database,
        }
        stack.callback(subprocess.run, ["pm2", "delete", "all"], env=node, capture_output=True, timeout=60, check=False)
        await asyncio.to_thread(_start, app, settings, {"api": "dist/api.js", "queue-worker": "dist/worker.js"})
        await asyncio.to_thread(_start, frontend, {"PORT": frontend_port}, {"frontend": "server.js"})
        api = f"http://127.0.0.1:{api_port}"
        never = {"alert": "Never", "expr": "vector(0) > 1"}
        prometheus = await stack.enter_async_context(
            Prometheus(folder / "prometheus", page=f"{api}/metrics", alert=never, alertmanagers=[], job="platform")
        )
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=api, trust_env=False, timeout=20))
        frontend_url = f"http://127.0.0.1:{frontend_port}"
        platform = Platform(folder, app, frontend, postgres, database, redis_port, cdn, api, frontend_url, prometheus.url, http)
        await platform.until(platform.version, "v1")
        await platform.until(platform.frontend_version, "v1")
        yield platform


def _installed(name: str, environment: dict[str, str]) -> Path:
    """Where a checkout is that others are copies of."""
    return Path(environment["HOME"]) / "checkouts" / name


def _start(checkout: Checkout, settings: dict[str, object], programs: dict[str, str]) -> None:
    shutil.copytree(_installed(checkout.folder.name, checkout.environment), checkout.folder, symlinks=True)
    (checkout.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    for name, script in programs.items():
        checkout.run("pm2", "start", script, "--name", name)


def _install(app: Checkout) -> None:
    shutil.copytree(_APP, app.folder)
    app.git("init", "--quiet", "--initial-branch=main")
    app.commit("v1")
    app.run("npm", "ci")
    app.run("npm", "run", "build")


def _install_frontend(frontend: Checkout) -> None:
    frontend.folder.mkdir()
    package = {"name": "frontend", "version": "1.0.0", "private": True}
    lock = {**package, "lockfileVersion": 3, "requires": True, "packages": {"": {"name": "frontend", "version": "1.0.0"}}}
    files = {
        ".gitignore": "node_modules\n.next\n.env\n",
        "build.js": _FRONTEND_BUILD,
        "server.js": _FRONTEND_SERVER,
        "package.json": json.dumps({**package, "scripts": {"build": "node build.js"}}),
        "package-lock.json": json.dumps(lock),
    }
    for name, text in files.items():
        (frontend.folder / name).write_text(text)
    frontend.git("init", "--quiet", "--initial-branch=main")
    frontend.commit("v1", version="v1")
    frontend.run("npm", "ci")
    frontend.run("npm", "run", "build")


@contextlib.asynccontextmanager
async def _redis(folder: Path) -> AsyncIterator[int]:
    """The port. `bin/systemctl` in the folder restarts it."""
    (folder / "bin").mkdir(parents=True)
    [port] = free_ports(1)
    systemctl = folder / "bin" / "systemctl"
    systemctl.write_text(_SYSTEMCTL.format(folder=folder, port=port))
    systemctl.chmod(0o755)
    serve = f"redis-server --bind 127.0.0.1 --port {port} --dir {folder} --save '3600 1' --loglevel warning"
    loop = f"trap 'kill $!; wait $!; exit 0' TERM; while :; do {serve} & wait $!; done"
    program = Program(["/bin/sh", "-c", loop], folder / "log")
    program.launch()

    async def answers() -> bool:
        process = await asyncio.create_subprocess_exec(
            "redis-cli", "-p", str(port), "PING", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        return (await process.communicate())[0].strip() == b"PONG"

    try:
        await program.until("answering", answers)
        yield port
    finally:
        await program.end()
