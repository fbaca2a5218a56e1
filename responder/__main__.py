"""`python -m responder` and the console script."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from responder.cli.main import cli

    cli(prog_name="responder")


if __name__ == "__main__":
    main()
