"""`responder replay`: what would these rules have decided on what was recorded?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import click

from responder.actions.registry import PARAMETERS
from responder.cli.output import write
from responder.cli.replay_plot import Picture, draw_html, draw_svg
from responder.cli.replay_view import document, show, spell_at
from responder.domain.decision import DecisionKind
from responder.domain.hindsight import compare
from responder.domain.incident import Incident
from responder.domain.quantity import parse_duration
from responder.domain.rulebook import Rulebook
from responder.engine.replay import Replay
from responder.engine.value_track import ValueTracks
from responder.errors import RulebookError, SettingsError
from responder.ports import Entry
from responder.rulebook.loader import load_rulebook
from responder.settings.environment import settings_from_environment

_FAILED = 1
_PROGRESS_EVERY = 2_000  # entries


@dataclass(frozen=True, slots=True)
class Recording:
    """What is replayed. entries: how many. incidents: what really happened in a time; None when nobody knows."""

    name: str
    entries: int
    last_at: datetime | None
    read: Callable[[], Iterable[Entry]]
    incidents: Callable[[datetime, datetime], list[Incident]] | None


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rules", required=True, type=click.Path(exists=True, path_type=Path), help="The rulebook to try.")
@click.option("--database", metavar="URL", help="The recorded journal (RESPONDER_DATABASE_URL); it may be in use.")
@click.option("--from", "since", metavar="TIME", help="Tell from here on: a time, or how long before the end, such as 24h.")
@click.option("--to", "until", metavar="TIME", help="Stop here.")
@click.option("--plot", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Also draw it: .svg or .html.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay(
    *,
    file: Path | None,
    rules: Path,
    database: str | None,
    since: str | None,
    until: str | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Say what the rules would have decided on the recorded journal, or on FILE, which holds one webhook a line.

    Nothing is done and nothing is written. Exit codes: 0 done, 1 it can't be read, 2 wrong usage.
    """
    if file is not None and database is not None:
        raise click.UsageError("give either FILE or --database, not both")
    if plot is not None and plot.suffix not in (".svg", ".html"):
        raise click.UsageError("--plot: name a file that ends with .svg or .html")
    try:
        rulebook = load_rulebook(rules, PARAMETERS)
        with _opened(file, database) as recording:
            _replay(recording, rulebook, _ends(since, until, recording.last_at), plot, as_json=as_json)
    except (RulebookError, SettingsError) as error:
        first, *others = str(error).splitlines()
        for line in (first if isinstance(error, RulebookError) else f"responder: {first}", *others):
            click.echo(line, err=True)
        raise SystemExit(_FAILED) from error


@contextmanager
def _opened(file: Path | None, database: str | None) -> Iterator[Recording]:
    if file is not None:
        from responder.cli.replay_source import WebhookFile

        lines = WebhookFile(file, lambda problem: click.echo(f"left out: {problem}", err=True))
        entries = list(lines.entries())
        if not entries:
            raise SettingsError(f"{file} holds no webhook that can be used")
        yield Recording(str(file), len(entries), max(entry.at for entry in entries), lambda: entries, None)
        return
    from responder.stores.record import open_record

    record = open_record(database or settings_from_environment().database_url.get_secret_value())
    try:
        span = record.span()
        yield Recording("the recorded journal", span.entries, span.last_at, record.entries, record.incidents)
    finally:
        record.close()


def _ends(since: str | None, until: str | None, last_at: datetime | None) -> tuple[datetime | None, datetime | None]:
    return _moment(since, "--from", last_at), _moment(until, "--to", last_at)


def _moment(text: str | None, option: str, last_at: datetime | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except ValueError:
        pass
    try:
        return last_at - parse_duration(text) if last_at is not None else None
    except ValueError:
        raise click.UsageError(
            f"{option}: {text!r} is neither a time such as 2026-01-31T10:00:00Z nor a duration such as 24h"
        ) from None


def _replay(
    recording: Recording, rulebook: Rulebook, ends: tuple[datetime | None, datetime | None], plot: Path | None, *, as_json: bool
) -> None:
    since, until = ends
    tracks = ValueTracks(rulebook, since) if plot is not None else None
    began = perf_counter()
    with ExitStack() as stack:
        advance = stack.enter_context(_progress(recording.entries))
        watchers = [each for each in (advance, tracks.note if tracks is not None else None) if each is not None]
        found = Replay(rulebook, since, until).run(recording.read(), _together(watchers))
    seconds = perf_counter() - began
    first = max(since, found.first_at) if since and found.first_at else found.first_at  # nothing earlier is on record
    last = until or found.last_at
    incidents = recording.incidents(first, last) if recording.incidents is not None and first and last else None
    responses = [one for one in found.decisions if one.kind in (DecisionKind.RESPOND, DecisionKind.SUPPRESS)]
    comparisons = (
        compare([one for one in responses if one.kind is DecisionKind.RESPOND], incidents) if incidents is not None else None
    )
    if plot is not None and tracks is not None and first and last:
        title = f"Replay of {recording.name}, {spell_at(first)} to {spell_at(last)} UTC"
        _draw(plot, Picture(title, first, last, list(tracks.tracks.values()), found.decisions, incidents or []))
    if as_json:
        click.echo(json.dumps(document(found, comparisons, seconds), indent=2))
        return
    show(recording.name, found, responses, comparisons, seconds)
    if plot is not None:
        click.echo(f"\nPlot: {plot}")


def _together(watchers: list[Callable[[Entry], None]]) -> Callable[[Entry], None] | None:
    if len(watchers) < 2:
        return watchers[0] if watchers else None

    def both(entry: Entry) -> None:
        for each in watchers:
            each(entry)

    return both


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Entry], None] | None]:
    """Gives what to call with every entry; None when nobody looks at a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("Replaying"), BarColumn(), MofNCompleteColumn(), TextColumn("entries"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("replay", total=total)
        seen = 0

        def advance(_entry: Entry) -> None:
            nonlocal seen
            seen += 1
            if seen % _PROGRESS_EVERY == 0:
                progress.update(task, completed=seen)

        yield advance


def _draw(plot: Path, picture: Picture) -> None:
    write(plot, (draw_html(picture) if plot.suffix == ".html" else draw_svg(picture)).encode())
