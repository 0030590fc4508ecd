"""`corenode completion`."""

import click


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete verbs and options.

    \b
    Examples:
      corenode completion bash > /etc/bash_completion.d/corenode
      corenode completion zsh > "${fpath[1]}/_corenode"
      corenode completion fish > ~/.config/fish/completions/corenode.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    click.echo(kind(ctx.find_root().command, {}, "corenode", "_CORENODE_COMPLETE").source())
