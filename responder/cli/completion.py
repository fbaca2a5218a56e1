"""`responder completion`: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_RESPONDER_COMPLETE"
_SHELLS = ["bash", "fish", "zsh"]


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands and options.

    \b
    bash: eval "$(responder completion bash)", in ~/.bashrc
    zsh:  eval "$(responder completion zsh)", in ~/.zshrc
    fish: responder completion fish > ~/.config/fish/completions/responder.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    made = kind(context.find_root().command, {}, "responder", _VARIABLE)
    click.echo(made.source_template % made.source_vars())  # `source` would start a bash to ask for its version
