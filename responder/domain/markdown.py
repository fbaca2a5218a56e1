"""Markdown out of text that nobody can trust: whatever it holds, it stays text in its own cell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from responder.domain.wording import one_line

CELL_LIMIT = 300
"""Characters of foreign text in one cell or line."""
_LINK_LIMIT = 2000
# An underscore inside a word means nothing in CommonMark; everywhere else it may begin or end emphasis.
_ACTIVE = re.compile(r"[\\`*\[\]<|~&$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_WEB = re.compile(r"https?://[^\s/?#@\\]+(?:[/?#]|$)", re.IGNORECASE)


def escape(text: str, limit: int = CELL_LIMIT) -> str:
    """One line, cut to `limit` characters, in which nothing is markup. Not for the beginning of a line."""
    return _ACTIVE.sub(lambda found: "\\" + found[0], one_line(text, limit))


def link(address: str) -> str:
    """An address as a link when it is one of the web, else as text."""
    if len(address) > _LINK_LIMIT or not _WEB.match(address):
        return escape(address)
    return f"<{quote(address, safe=':/?#@!$&()+,;=%~.-_')}>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table. Cells must be escaped already; an empty one stays empty."""
    lines = [_row(header), "|" + "---|" * len(header)]
    lines += [_row(row) for row in rows]
    return lines


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
