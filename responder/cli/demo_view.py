"""How the demo looks: a live picture on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_STEP_STYLES = {"succeeded": "green", "failed": "red", "running": "yellow", "pending": "dim", "skipped": "dim"}
_STATUS_STYLES = {"resolved": "bold green", "failed": "bold red", "refused": "bold yellow"}
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything shown at one moment, as the API and the played services tell it."""

    at: datetime
    rules: Sequence[Mapping[str, Any]]
    incident: Mapping[str, Any] | None
    deployment: Mapping[str, Any] | None
    healthy: bool
    slack: Sequence[str]
    statuspage: Sequence[str]

    @property
    def is_acting(self) -> bool:
        return self.incident is not None and bool(self.incident["acted_at"])


class DemoView:
    def __init__(self) -> None:
        self._console = Console(highlight=False, width=None if Console().is_terminal else _WIDTH)

    def prologue(self, service: str, cluster: str, folder: Path) -> None:
        self._console.print("[bold]Responder demo[/bold]: a bad deploy, from the first alert to resolved")
        self.say(f"folder   {folder}")
        self.say(f"service  {service}   (its database and its log are in the folder)")
        self.say(f"cluster  {cluster}   (played; kubectl works with the kubeconfig in the folder)")
        self._console.print()

    def say(self, line: str) -> None:
        self._console.print(escape(line), soft_wrap=True)

    @contextmanager
    def live(self) -> Iterator[Callable[[Picture], None]]:
        """Gives a function that shows a picture."""
        if not self._console.is_terminal:
            yield _Lines(self.say).show
            return
        self._console.print()
        with Live(console=self._console, refresh_per_second=10, transient=False) as live:
            yield lambda picture: live.update(_render(picture))

    def epilogue(self, service: str, incident: str, report: Path, log: Path, *, serving: bool) -> None:
        self._console.print()
        rows = [("Report", str(report))]
        if serving:
            rows += [
                ("Report in a browser", f"{service}/v1/incidents/{incident}/report?format=html"),
                ("Incident", f"{service}/v1/incidents/{incident}"),
                ("What rules wait for", f"{service}/v1/rules"),
                ("Metrics", f"{service}/metrics"),
            ]
        rows.append(("Log of the service", str(log)))
        for name, place in rows:
            self.say(f"{name:<20} {place}")
        if serving:
            self._console.print("\nServing until Ctrl-C.")


class _Lines:
    """For logs and pipes: a line whenever something new is to be told."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._told: set[str] = set()

    def show(self, picture: Picture) -> None:
        for rule in picture.rules:
            self._once(f"rule {rule['rule']}: {rule['state']}: {rule['reason']}")
        if picture.incident is not None:
            for event in picture.incident["events"]:
                self._once(f"{event['at'][11:19]} {event['kind']}: {event['text']}")
            self._once(f"incident {picture.incident['id']}: {picture.incident['status']}")
        for number, line in enumerate(picture.slack, 1):
            self._once(f"Slack {number}: {line}")
        for line in picture.statuspage:
            self._once(f"Status page: {line}")

    def _once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._say(line)


def _render(picture: Picture) -> Panel:
    parts: list[RenderableType] = [_service(picture), *_countdowns(picture)]
    if picture.incident is not None:
        parts += [Text(), _incident(picture.incident), _events(picture.incident)]
    parts += [Text(), _told(picture)]
    return Panel(Group(*parts), title="checkout in production", border_style="cyan", width=_WIDTH)


def _service(picture: Picture) -> Text:
    text = Text("Service  ")
    text.append("healthy" if picture.healthy else "7.31 % of requests fail", style="green" if picture.healthy else "bold red")
    if picture.deployment is not None:
        status = picture.deployment.get("status") or {}
        image = picture.deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        updated, wanted = status.get("updatedReplicas", 0), picture.deployment["spec"]["replicas"]
        text.append(
            f"   Deployment asks for {image}, {updated} of {wanted} pods updated, {status.get('availableReplicas', 0)} available"
        )
    return text


def _countdowns(picture: Picture) -> Iterator[Table]:
    """The rules that wait, each with how much of its `for` is over."""
    for rule in picture.rules:
        line = Table.grid(padding=(0, 1))
        line.add_column(width=26, no_wrap=True)
        line.add_column(width=30)
        line.add_column(no_wrap=True)
        if rule["due_at"]:
            since, due = datetime.fromisoformat(rule["since"]), datetime.fromisoformat(rule["due_at"])
            whole = max(0.001, (due - since).total_seconds())
            left = max(0.0, (due - picture.at).total_seconds())
            line.add_row(
                f"Rule     {rule['rule']}", ProgressBar(total=whole, completed=whole - left, width=30), f"acts in {left:.1f} s"
            )
        else:
            line.add_row(f"Rule     {rule['rule']}", Text(rule["state"], style="bold red"), "")
        yield line


def _incident(incident: Mapping[str, Any]) -> Group:
    head = Text(f"Incident {incident['id']}   {incident['severity']}   ")
    head.append(incident["status"], style=_STATUS_STYLES.get(incident["status"], "bold yellow"))
    lines: list[Text] = [head]
    if incident["pinned"]:
        pinned = incident["pinned"]
        lines.append(
            Text(
                f"Pinned   from {pinned['from']['version']} (revision {pinned['from']['revision']}) "
                f"to {pinned['to']['version']} (revision {pinned['to']['revision']})"
            )
        )
    for step in incident["steps"]:
        line = Text("Step     ")
        line.append(f"{step['status']:<10}", style=_STEP_STYLES.get(step["status"], ""))
        line.append(f" {step['name']}  {step['output']}")
        lines.append(line)
    return _cut(lines)


def _events(incident: Mapping[str, Any]) -> Group:
    return _cut(Text(f"  {event['at'][11:19]} {event['text']}", style="dim") for event in incident["events"])


def _told(picture: Picture) -> Group:
    lines = [Text(f"Slack    {line}") for line in picture.slack]
    lines += [Text(f"Page     {line}") for line in picture.statuspage]
    return _cut(lines) if lines else Group(Text("Nobody has been told anything yet.", style="dim"))


def _cut(lines: Iterable[Text]) -> Group:
    """Each on one line of the terminal, and cut visibly when it is longer."""
    shown = list(lines)
    for line in shown:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*shown)
