"""Plain text tables, one line a row, that survive hostile text."""

from __future__ import annotations

from collections.abc import Sequence

import click

_WIDEST = 80


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print aligned columns. Control characters become blanks; cells are cut, except the last, which ends the line."""
    if not rows:
        click.echo(empty)
        return
    lines = [[_plain(cell) for cell in line] for line in (headings, *rows)]
    widths = [min(_WIDEST, max(len(line[column]) for line in lines)) for column in range(len(headings))]
    for line in lines:
        cells = [_cut(cell, width).ljust(width) for cell, width in zip(line[:-1], widths, strict=False)]
        click.echo("  ".join([*cells, line[-1]]).rstrip())


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else f"{cell[: width - 1]}…"


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
