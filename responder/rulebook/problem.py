"""What is wrong in a rulebook, and where."""

from __future__ import annotations

from dataclasses import dataclass

# One step of the way to a value: a key or a list index.
Step = str | int


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """line, column: counted from 1, as editors do. where: the part of the rulebook in its own words, "" for the whole file."""

    file: str
    line: int
    column: int
    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        hint = f" ({self.hint})" if self.hint else ""
        text = f"{self.file}:{self.line}:{self.column}: {where}{self.what}{hint}"
        return text.replace("\r", "\\r").replace("\n", "\\n")  # quoted words may hold them; a problem is one line
