"""Pages name commands, options, settings, addresses, metrics, log events and files that exist; links lead somewhere."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from responder.actions.registry import PARAMETERS
from responder.cli.main import cli
from responder.domain.guards import NAMES
from responder.rulebook.loader import load_rulebook
from responder.settings.client import ClientSettings
from responder.settings.service import SECRETS, Settings
from responder.web.openapi import openapi_document
from responder.web.people_file import read_people
from tests.unit.test_metrics_docs import labelled

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
    if path.name != "CHANGELOG.md"
}
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "responder").rglob("*.py"))
# Not settings of the service: of the command line, of tests, of a secret that a rulebook names, and the examples' own.
OTHER_VARIABLES = {name.upper() for name in ClientSettings.model_fields} | {"SECRET_", "TEST_KUBECONFIG"}

pages = pytest.mark.parametrize("page", PAGES)


def anchors(text: str) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ +(.*)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    words = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", word.lower()).replace(" ", "-") for word in words}


@pages
def test_every_link_leads_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), link
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path.read_text(encoding="utf-8")), link


def code(text: str) -> Iterator[str]:
    """Lines of code blocks, and what stands in backticks."""
    for block in re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield from block.splitlines()
    yield from re.findall(r"^ {4,}(\S.*)$", text, re.MULTILINE)
    yield from re.findall(r"`([^`\n]+)`", text)


def command_lines(text: str) -> Iterator[str]:
    for line in code(text):
        for part in re.split(r"&&|;|\||\$\(", line):
            found = re.match(r"(?:\.venv/bin/)?responder ([a-z].*)", part.strip())
            if found:
                yield re.sub(r"(^|\s)#.*", "", found[1]).rstrip(") ")


def wrong_in(line: str) -> str:
    """What the command line would not understand; "" when it would. Names in capitals, … and [brackets] stand for others."""
    words = shlex.split(re.sub(r"[\[\]]", " ", line.replace("…", "x")), posix=True)
    command: click.Command | None = cli
    for word in words:
        if isinstance(command, click.Group):
            command = command.get_command(click.Context(command), word)
            if command is None:
                return f"no command {word}"
    assert command is not None
    options = {"--help", *(name for one in command.params for name in (*one.opts, *one.secondary_opts))}
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options]
    return f"no option {', '.join(unknown)}" if unknown else ""


@pages
def test_every_command_and_option_exists(page: str) -> None:
    wrong = {}
    for line in command_lines(PAGES[page]):
        try:
            problem = wrong_in(line)
        except ValueError:  # a quotation that goes on in the next line
            continue
        if problem:
            wrong[line] = problem
    assert not wrong


@pages
def test_every_setting_exists(page: str) -> None:
    known = {name.upper() for name in Settings.model_fields} | {f"{name.upper()}_FILE" for name in SECRETS} | OTHER_VARIABLES
    named = set(re.findall(r"\bRESPONDER_([A-Z_]+)", PAGES[page]))
    assert {name for name in named if name not in known and not name.startswith("SECRET_") and not name.endswith("_")} == set()


@pages
def test_every_address_exists(page: str) -> None:
    known = {re.sub(r"\{[^}]*\}", "{}", path): set(methods) for path, methods in openapi_document()["paths"].items()}  # type: ignore[attr-defined]
    for method, path in re.findall(r"`(GET|POST|PUT|DELETE) (/[^\s`\[?]*)", PAGES[page]):
        if path.endswith("…") or path.startswith("/webhooks/sentry/legacy/"):  # a secret address is described nowhere
            continue
        assert method.lower() in known.get(re.sub(r"\{[^}]*\}|<[^>]*>|\b[A-Z]+\b", "{}", path), set()), f"{method} {path}"


@pages
def test_every_metric_exists(page: str) -> None:
    named = set(re.findall(r"`(responder_\w+)(?:\{[^`]*)?`", PAGES[page])) - {"responder_message"}
    assert named <= labelled().keys()


@pages
def test_every_log_event_exists(page: str) -> None:
    for sentence in re.findall(r"the log(?:'s)? (?:says )?((?:`\w+`(?:, | and )?)+)", PAGES[page]):
        for event in re.findall(r"`(\w+)`", sentence):
            assert f'"{event}"' in SOURCE, event


@pages
def test_every_file_of_ours_exists(page: str) -> None:
    for name in re.findall(r"`((?:deploy|docs|rules|responder|scripts|tests|bench)/[\w./-]+)`", PAGES[page]):
        if not name.startswith("responder/") or "." in name:  # labels and annotations on objects look like our package
            assert (ROOT / name).exists(), name


SNIPPETS = [
    pytest.param(textwrap.dedent(snippet), id=f"{page} {number}")
    for page, text in PAGES.items()
    for number, snippet in enumerate(re.findall(r"^ *```yaml\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE), 1)
]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_every_snippet_can_be_used(snippet: str, tmp_path: Path) -> None:
    path = tmp_path / "snippet.yaml"
    if snippet.startswith("- "):
        path.write_text(re.sub(r"\b([0-9a-f]+)…", lambda found: found[1].ljust(64, "0"), snippet), encoding="utf-8")
        assert read_people(path)
    elif snippet.startswith("rules:"):
        path.write_text(snippet.replace("rules: ../", f"rules: {ROOT}/rules/", 1), encoding="utf-8")
        result = CliRunner().invoke(cli, ["test", str(path)])
        assert result.exit_code == 0, result.output
    else:
        path.write_text(snippet, encoding="utf-8")
        load_rulebook(path, PARAMETERS)


def test_the_page_of_guards_lists_every_guard_and_no_other() -> None:
    page = PAGES["docs/guards.md"]
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(NAMES)
