"""A replay as a picture: for each rule its numbers, its threshold and what was decided. One SVG, made here: it needs no network,
no script and no library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape

from responder.domain.decision import Decision, DecisionKind
from responder.domain.incident import Incident
from responder.domain.wording import one_line, spell_number
from responder.engine.value_track import Series, Track, bounds_of

WIDTH = 1200
_LEFT, _RIGHT, _TOP, _PANEL, _GAP = 70, 20, 78, 150, 46
_MARKS_LIMIT = 400  # decisions shown in one panel
_PANELS_LIMIT = 40
_COLOURS = ("#2563eb", "#d97706", "#059669", "#7c3aed", "#0891b2", "#be185d")
_MARKS = {
    DecisionKind.RESPOND: "#dc2626",
    DecisionKind.SUPPRESS: "#6b7280",
    DecisionKind.WAIT: "#f59e0b",
    DecisionKind.CLEAR: "#16a34a",
}
_STEPS = [
    timedelta(seconds=s) for s in (1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10800, 21600, 43200, 86400, 2 * 86400, 7 * 86400)
]
_STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff; }
text { fill: #1f2937; } .faint { fill: #6b7280; font-size: 11px; } .title { font-size: 13px; font-weight: 600; }
.grid { stroke: #e5e7eb; } .bound { stroke: #dc2626; stroke-dasharray: 5 4; } .incident { stroke: #9ca3af; stroke-width: 2; }
.response { stroke: #dc2626; stroke-opacity: 0.35; } .line { fill: none; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117; } text { fill: #e6edf3; } .faint { fill: #9198a1; }
  .grid { stroke: #262c36; } .bound, .response { stroke: #ff7b72; } .incident { stroke: #656c76; }
}
""".strip()

_PAGE_STYLE = ":root{color-scheme:light dark}body{margin:0}@media(prefers-color-scheme:dark){body{background:#0d1117}}"


@dataclass(frozen=True, slots=True)
class Picture:
    """title: one line. since, until: the ends of the time axis."""

    title: str
    since: datetime
    until: datetime
    tracks: Sequence[Track]
    decisions: Sequence[Decision]
    incidents: Sequence[Incident]


def draw_svg(picture: Picture) -> str:
    """The picture as one SVG document. Pointing at a mark shows its reason."""
    shown = [track for track in picture.tracks if track.series or any(one.rule == track.rule.name for one in picture.decisions)]
    left_out = shown[_PANELS_LIMIT:]
    shown = shown[:_PANELS_LIMIT]
    height = _TOP + max(1, len(shown)) * (_PANEL + _GAP) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f"<style>{_STYLE}</style>",
        f'<text x="{_LEFT}" y="22" class="title">{escape(one_line(picture.title, 150))}</text>',
        *_legend(),
    ]
    for index, track in enumerate(shown):
        parts += _Panel(picture, track, _TOP + index * (_PANEL + _GAP)).draw()
    if not shown:
        parts.append(f'<text x="{_LEFT}" y="{_TOP + 40}">No rule saw anything.</text>')
    if left_out:
        parts.append(f'<text x="{_LEFT}" y="{height - 4}" class="faint">and {len(left_out)} more rules</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def draw_html(picture: Picture) -> str:
    """The same in a page of its own."""
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(picture.title)}</title>'
    return f"{head}<style>{_PAGE_STYLE}</style></head><body>\n{draw_svg(picture)}</body></html>\n"


def _legend() -> Iterator[str]:
    x = _LEFT
    for kind, colour in _MARKS.items():
        yield f'<path d="{_triangle(x + 5, 44)}" fill="{colour}"/><text x="{x + 14}" y="44" class="faint">{kind.value}</text>'
        x += 90
    yield f'<line x1="{x}" x2="{x}" y1="34" y2="46" class="incident"/>'
    yield f'<text x="{x + 8}" y="44" class="faint">incident on record</text>'


def _triangle(x: float, y: float) -> str:
    return f"M{x - 4.5:.1f} {y - 9:.1f}h9l-4.5 9z"


class _Panel:
    def __init__(self, picture: Picture, track: Track, top: float) -> None:
        self._picture = picture
        self._track = track
        self._top = top
        numbers = [number for series in track.series.values() for _, number in series.points if number is not None]
        numbers += bounds_of(track.condition)
        self._low = min([0.0, *numbers])
        self._high = max([self._low + 1e-9, *numbers])
        if self._high - self._low < 1e-8 and not numbers:
            self._high = self._low + 1
        self._high += (self._high - self._low) * 0.08

    def draw(self) -> Iterator[str]:
        bottom, above = self._top + _PANEL, self._top - 6
        yield f'<g><text x="{_LEFT}" y="{above}" class="title">{escape(self._track.rule.name)}</text>'
        yield f'<text x="{WIDTH - _RIGHT}" y="{above}" text-anchor="end" class="faint">{escape(self._caption())}</text>'
        for at in _ticks(self._picture.since, self._picture.until):
            x = self._x(at)
            yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{self._top}" y2="{bottom}" class="grid"/>'
            label = _label(at, self._picture.until - self._picture.since)
            yield f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle" class="faint">{label}</text>'
        for number, text in self._ends():
            y = self._y(number)
            yield f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
            yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" class="faint">{text}</text>'
        for number in bounds_of(self._track.condition):
            y = self._y(number)
            yield f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="bound"/>'
            yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" class="faint">{spell_number(number)}</text>'
        for index, series in enumerate(self._track.series.values()):
            yield from self._line(series, _COLOURS[index % len(_COLOURS)])
        yield from self._incidents()
        yield from self._decisions()
        yield "</g>"

    def _ends(self) -> Iterator[tuple[float, str]]:
        """What is written at the foot and at the head of the scale."""
        if self._track.condition is None:
            yield from ((0.0, "calm"), (1.0, "firing"))
            return
        for number in (self._low, self._high):
            yield number, spell_number(float(f"{number:.3g}"))

    def _caption(self) -> str:
        names = ", ".join(series.name for series in list(self._track.series.values())[:3])
        count = len(self._track.series) + len(self._track.others)
        more = f" and {count - 3} more" if count > 3 else ""
        hidden = len([one for one in self._picture.decisions if one.rule == self._track.rule.name]) - _MARKS_LIMIT
        return names + more + (f"; {hidden} more decisions" if hidden > 0 else "")

    def _line(self, series: Series, colour: str) -> Iterator[str]:
        """Straight from number to number when there is one to compare, else steps: firing or not."""
        steps = self._track.condition is None
        path, pen_up = [], True
        last: float | None = None
        for at, number in series.points:
            if number is None:
                if not pen_up and last is not None:
                    path.append(f"H{self._x(at):.1f}")
                pen_up = True
                continue
            x, y = self._x(at), self._y(number)
            if pen_up:
                path.append(f"M{x:.1f} {y:.1f}")
            else:
                path.append(f"H{x:.1f}V{y:.1f}" if steps else f"L{x:.1f} {y:.1f}")
            pen_up, last = False, number
        yield f'<path d="{"".join(path)}" class="line" stroke="{colour}"><title>{escape(series.name)}</title></path>'

    def _incidents(self) -> Iterator[str]:
        for incident in self._picture.incidents:
            if incident.rule != self._track.rule.name and self._track.rule.name not in (rule for rule, _ in incident.groups):
                continue
            x = self._x(incident.opened_at)
            text = f"{incident.id}: {incident.status.value}: {one_line(incident.reason, 200)}"
            yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{self._top}" y2="{self._top + _PANEL}" class="incident">'
            yield f"<title>{escape(text)}</title></line>"

    def _decisions(self) -> Iterator[str]:
        mine = [one for one in self._picture.decisions if one.rule == self._track.rule.name and one.kind in _MARKS]
        for decision in mine[:_MARKS_LIMIT]:
            colour, y = _MARKS[decision.kind], self._top + 9
            reason = one_line(f"{decision.group}: {decision.reason}", 300)
            text = f"{decision.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} {decision.kind.value} {reason}"
            x = self._x(decision.at)
            if decision.kind is DecisionKind.RESPOND:
                yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{self._top}" y2="{self._top + _PANEL}" class="response"/>'
            yield f'<path d="{_triangle(x, y)}" fill="{colour}"><title>{escape(text)}</title></path>'

    def _x(self, at: datetime) -> float:
        whole = max(1e-6, (self._picture.until - self._picture.since).total_seconds())
        share = min(1.0, max(0.0, (at - self._picture.since).total_seconds() / whole))
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def _y(self, number: float) -> float:
        share = (number - self._low) / (self._high - self._low)
        return self._top + _PANEL * (1 - min(1.0, max(0.0, share)))


def _ticks(since: datetime, until: datetime) -> Iterable[datetime]:
    """Round moments, at most a dozen."""
    whole = until - since
    step = next((one for one in _STEPS if whole / one <= 12), max(_STEPS[-1], whole / 10))
    day = since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    at = day + step * -((day - since) // step)
    while at <= until:
        yield at
        at += step


def _label(at: datetime, whole: timedelta) -> str:
    if whole > timedelta(days=3):
        return f"{at:%d %b}"
    return (
        f"{at:%d %b %H:%M}"
        if whole > timedelta(hours=20)
        else f"{at:%H:%M:%S}"
        if whole < timedelta(minutes=10)
        else f"{at:%H:%M}"
    )
