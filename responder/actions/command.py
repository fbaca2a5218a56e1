"""`command.run` and `command.check`: other programs as steps, from a list that whoever runs Responder allows.

`command.run` writes down that it begins before it begins. Found begun after a crash, or after a try whose end nobody saw, it
asks `check`, or runs again when it is `idempotent`; with neither it fails and a person has to look: nothing runs twice unasked.
The program itself does not outlive Responder (see `clients.programs`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from responder.actions.command_parameters import CommandParameters, CommandRunParameters
from responder.actions.expectations import text_problem
from responder.actions.secrets import FromSecret
from responder.actions.templates import render_argument
from responder.clients.program_output import Finished
from responder.clients.programs import GRACE, Programs, failure, shown_command
from responder.domain.wording import one_line
from responder.errors import ForbiddenError, NotFoundError, PermanentError, TemporaryError, UnreachableError
from responder.ports import StepContext

_LONGEST = timedelta(hours=24)  # the step's own timeout is what counts
_CHECK_TIMEOUT = timedelta(minutes=5)  # of `check` and `undo`
_SHOWN_OUTPUT = 2000
_SETTLE = GRACE + timedelta(milliseconds=500)  # what was cut off has ended by then


@dataclass(frozen=True, slots=True)
class _Command:
    """Ready to run: everything filled in."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    folder: str
    stdin: str = field(repr=False)
    host: str
    timeout: timedelta
    secrets: Sequence[str] = field(repr=False)

    def __str__(self) -> str:
        place = f" on {self.host}" if self.host else ""
        return f"{shown_command(self.argv)}{place}"


class CommandCheck:
    """A command that changes nothing: no intent, and it runs again whenever it is asked."""

    def __init__(self, programs: Programs, secrets: Mapping[str, str]) -> None:
        """secrets: what `from_secret` may name, by lower-case name."""
        self._programs = programs
        self._secrets = secrets

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        wanted = CommandParameters.read(parameters)
        command = self._command(wanted, wanted.run, context)
        finished = await self._execute(command)
        problem = _problem(wanted, finished)
        if problem:
            raise TemporaryError(f"{command.argv[0]} {problem}{_said(finished)}")
        return _output(command, finished)

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        wanted = CommandParameters.read(parameters)
        return f"would run {self._command(wanted, wanted.run, context)}"

    def _command(self, wanted: CommandParameters, argv: Sequence[str], context: StepContext) -> _Command:
        """Raises RefusedError when it may not be run."""
        self._programs.check_allowed(argv[0])

        def filled(text: str) -> str:
            return render_argument(text, context.incident, context.target)

        env, hidden = {}, []
        for name, value in wanted.env.items():
            if isinstance(value, FromSecret):
                env[name] = value.value(self._secrets)
                hidden.append(env[name])
            else:
                env[name] = filled(value)
        return _Command(
            argv=(argv[0], *(filled(one) for one in argv[1:])),
            env=env,
            folder=wanted.folder,
            stdin=filled(wanted.stdin) if argv is wanted.run else "",
            host=wanted.host or "",
            timeout=(wanted.timeout or _LONGEST) if argv is wanted.run else _CHECK_TIMEOUT,
            secrets=(*hidden, *context.secrets),
        )

    async def _execute(self, command: _Command) -> Finished:
        return await self._programs.execute(
            command.argv,
            env=command.env,
            folder=command.folder,
            stdin=command.stdin,
            host=command.host,
            timeout=command.timeout,
            secrets=command.secrets,
        )


class CommandRun(CommandCheck):
    """A command that changes something."""

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        wanted = CommandRunParameters.read(parameters)
        command = self._command(wanted, wanted.run, context)
        if wanted.check is not None:
            self._programs.check_allowed(wanted.check[0])
        if wanted.undo is not None:
            self._programs.check_allowed(wanted.undo[0])
        known = context.intent or {}
        if known.get("stage") == "ended":
            return str(known.get("output", ""))
        if known.get("stage") == "begun":
            done = await self._after_break(wanted, command, context)
            if done:
                return done
        await context.mark_changed()
        await context.record({"stage": "begun", "run": list(command.argv), "host": command.host})
        context.progress(f"running {command}")
        try:
            finished = await self._execute(command)
        except (UnreachableError, NotFoundError, ForbiddenError):
            await context.record({"stage": "unbegun"})
            raise
        problem = _problem(wanted, finished)
        if problem and finished.code in wanted.expect.exit:
            raise _again(wanted, f"{command.argv[0]} ended {problem}{_said(finished)}")
        if problem:
            raise _again(wanted, str(failure(command.argv, finished, command.host)))
        output = _output(command, finished)
        await context.record({"stage": "ended", "run": list(command.argv), "host": command.host, "output": output})
        return output

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        wanted = CommandRunParameters.read(parameters)
        lines = [f"would run {self._command(wanted, wanted.run, context)}"]
        if wanted.env:
            lines[0] += f" with {', '.join(wanted.env)} set"
        if wanted.undo is not None:
            lines.append(f"undone, should the plan fail later, by {self._command(wanted, wanted.undo, context)}")
        return "\n".join(lines)

    async def compensate(self, parameters: Mapping[str, object], context: StepContext) -> str:
        wanted = CommandRunParameters.read(parameters)
        if wanted.undo is None or (context.intent or {}).get("stage") not in ("begun", "ended"):
            return ""
        command = self._command(wanted, wanted.undo, context)
        finished = await self._execute(command)
        if finished.code != 0:
            raise failure(command.argv, finished, command.host)
        return f"undone by {_output(command, finished)}"

    async def _after_break(self, wanted: CommandRunParameters, command: _Command, context: StepContext) -> str:
        """It was begun and its end was not seen. Returns what to say when it is done already, "" when it is to run again."""
        if wanted.check is None and not wanted.idempotent:
            raise PermanentError(
                f"{command.argv[0]} was interrupted, and whether it has taken effect is not known: a person has to look."
                " It does not run twice unless it says `idempotent: true` or has a `check`"
            )
        await context.sleep(_SETTLE)
        if wanted.check is None:
            return ""
        asked = self._command(wanted, wanted.check, context)
        context.progress(f"was interrupted; asking {asked} whether it is done")
        finished = await self._execute(asked)
        return f"{command} was done already, says {asked}" if finished.code == 0 else ""


def _again(wanted: CommandRunParameters, text: str) -> Exception:
    """A bad end is worth another try, should the step ask for one, only where that is safe."""
    return TemporaryError(text) if wanted.idempotent else PermanentError(text)


def _problem(wanted: CommandParameters, finished: Finished) -> str:
    if finished.code not in wanted.expect.exit:
        return f"ended with {finished.code}"
    unwanted = _unwanted(finished, wanted.expect.stdout_lacks)
    return unwanted or text_problem(finished.stdout, wanted.expect.stdout_contains, wanted.expect.json_values)


def _unwanted(finished: Finished, pattern: str | None) -> str:
    """What was cut out of a long output could hold it as well: then nobody can say that it does not."""
    if pattern is None:
        return ""
    found = next((line for line in finished.stdout.splitlines() if re.search(pattern, line)), None)
    if found is not None:
        return f"with an unwanted line: {one_line(found, 200)}"
    return "" if finished.complete else "with more output than can be looked through"


def _said(finished: Finished) -> str:
    said = finished.tail()
    return f": {said}" if said else ""


def _output(command: _Command, finished: Finished) -> str:
    said = finished.stdout.strip() or finished.stderr.strip()
    if len(said) > _SHOWN_OUTPUT:
        said = f"{said[: _SHOWN_OUTPUT // 2]}\n… (cut)\n{said[-_SHOWN_OUTPUT // 2 :]}"
    return f"{command}\n{said}" if said else str(command)
