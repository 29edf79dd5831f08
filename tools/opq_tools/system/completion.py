"""`opq-tools completion`: the script with which a shell completes our three programs."""

import click
from click.shell_completion import get_completion_class

PROGRAMS = ("opq-tools", "opq-gateway", "opq-cloud")


@click.command("completion", short_help="Completion with the tab key for bash, zsh and fish.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script with which SHELL completes opq-tools, opq-gateway and opq-cloud.

    Commands, options and values are completed: Boxes, incidents and events of the store, rules, streams and
    plug-ins of a running rule engine, and scenarios. One of these lines, in the shell's own file:

    \b
    Examples:
      eval "$(opq-tools completion bash)"       # ~/.bashrc
      eval "$(opq-tools completion zsh)"        # ~/.zshrc, below compinit
      opq-tools completion fish | source        # ~/.config/fish/config.fish
    """
    made = get_completion_class(shell)
    assert made is not None, f"click completes in {shell}"
    for program in PROGRAMS:
        variable = f"_{program.replace('-', '_')}_complete".upper()
        click.echo(made(click.Group(program), {}, program, variable).source())
