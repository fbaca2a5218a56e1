"""What git says about a checkout, and the few things we ask it to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from responder.clients.programs import Programs, failure
from responder.domain.target import CheckoutRef
from responder.errors import NotFoundError, PermanentError

_ASK = timedelta(seconds=30)
_CHECK_OUT = timedelta(minutes=5)
_ENV = {"LC_ALL": "C.UTF-8", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
_STAGE = "responder.rollback"  # a variable in the checkout's own configuration
_REFLOG, _TAGS, _LOG = 200, 50, 10  # how many of each are looked at
_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class Commit:
    """at: when this checkout was brought there, None when it never was as far as it remembers."""

    sha: str
    tree: str
    subject: str
    at: datetime | None = None


class Git:
    """One checkout."""

    def __init__(self, programs: Programs, ref: CheckoutRef) -> None:
        self._programs = programs
        self._ref = ref

    async def id(self) -> str:
        """Another one after it was cloned anew."""
        folder = (await self._git("rev-parse", "--absolute-git-dir")).strip()
        found = await self._programs.run(["stat", "-c", "%d:%i", folder], host=self._ref.host, timeout=_ASK)
        return found.stdout.strip()

    async def head(self) -> str:
        return (await self._git("rev-parse", "--verify", "HEAD^{commit}")).strip()

    async def changed_files(self) -> list[str]:
        """Files under version control that differ from what is checked out."""
        text = await self._git("status", "--porcelain=v1", "-z", "--untracked-files=no", "--ignore-submodules=none")
        return [entry[3:] for entry in text.split("\0") if entry[2:3] == " "]

    async def commits(self) -> list[Commit]:
        """Where this checkout has been, latest first; then tagged commits, newest first; then the current one's ancestors."""
        been = await self._log(f"--max-count={_REFLOG}", "--walk-reflogs", "HEAD", date="%gd")
        tagged = await self._log(f"--max-count={_TAGS}", "--no-walk=sorted", "--tags")
        before = await self._log(f"--max-count={_LOG}", "--first-parent", "HEAD")
        stays: list[Commit] = []
        for commit in been:  # brought from there to there again: it has been there since the earlier of the two
            stays[len(stays) - bool(stays and stays[-1].sha == commit.sha) :] = [commit]
        found: dict[str, Commit] = {}
        for commit in stays:
            found.setdefault(commit.sha, commit)
        for commit in (*tagged, *before):
            found.setdefault(commit.sha, commit)
        return list(found.values())

    async def tags(self) -> dict[str, str]:
        """Commit → its newest tag."""
        form = "%(objectname) %(*objectname) %(refname:short)"
        text = await self._git("for-each-ref", "--sort=creatordate", f"--format={form}", "refs/tags")
        rows = [line.split(" ", 2) for line in text.splitlines()]
        return {peeled or sha: name for sha, peeled, name in rows}

    async def has(self, sha: str) -> bool:
        try:
            await self._git("cat-file", "-e", f"{_checked(sha)}^{{commit}}")
        except PermanentError:
            return False
        return True

    async def check_out(self, sha: str, *, force: bool) -> None:
        """force: over changed files, which must be our own unfinished work."""
        await self._git("checkout", "--quiet", "--detach", *(["--force"] if force else []), _checked(sha), timeout=_CHECK_OUT)

    async def stage(self) -> str:
        """What `set_stage` kept, "" when nothing."""
        finished = await self._programs.execute(
            ["git", "config", "--local", "--get", _STAGE], folder=self._ref.folder, host=self._ref.host, env=_ENV, timeout=_ASK
        )
        return finished.stdout.strip() if finished.code == 0 else ""

    async def set_stage(self, text: str) -> None:
        """Keep, in the checkout itself, how far its rollback is; "" when it is over."""
        await self._git("config", "--local", *([_STAGE, text] if text else ["--unset-all", _STAGE]))

    async def _log(self, *arguments: str, date: str = "") -> list[Commit]:
        form = f"%H%x00%T%x00{date}%x00%s"
        text = await self._git("log", "-z", "--date=iso-strict", f"--format={form}", *arguments, "--")
        fields = text.split("\0")
        rows = zip(*[iter(fields[: len(fields) - len(fields) % 4])] * 4, strict=True)
        return [Commit(sha, tree, subject[:200], _time(at)) for sha, tree, at, subject in rows]

    async def _git(self, *arguments: str, timeout: timedelta = _ASK) -> str:
        argv = ["git", *arguments]
        finished = await self._programs.execute(
            argv, folder=self._ref.folder, host=self._ref.host, env=_ENV, timeout=timeout, kept=8 * 1024 * 1024
        )
        if finished.code == 0:
            return finished.stdout
        if "not a git repository" in finished.stderr:
            raise NotFoundError(f"{self._ref}: there is no git checkout")
        raise failure(argv, finished, self._ref.host)


def _checked(sha: str) -> str:
    if not _SHA.fullmatch(sha):
        raise PermanentError(f"{sha[:80]!r} is no commit")
    return sha


def _time(text: str) -> datetime | None:
    """`HEAD@{2026-03-01T12:00:00+01:00}`."""
    found = re.search(r"@\{(.+)\}", text)
    return datetime.fromisoformat(found[1]) if found else None
