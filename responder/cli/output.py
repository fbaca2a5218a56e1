"""Files that commands write."""

from __future__ import annotations

from pathlib import Path

import click


def write(path: Path, content: bytes) -> None:
    """Ends the command when the file can't be written."""
    try:
        path.write_bytes(content)
    except OSError as error:
        click.echo(f"responder: {path} can't be written: {error.strerror}", err=True)
        raise SystemExit(1) from None
