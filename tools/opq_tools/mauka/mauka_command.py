"""`opq-tools mauka`: sends commands about plug-ins to a running Mauka, one by one or at a prompt."""

import sys
from pathlib import Path

import click

from opq_cloud.mauka.operating.manager_client import query_manager, succeeded
from opq_proto.errors import OpqError
from opq_proto.kit.shared_options import data_dir_option, port_offset_option
from opq_tools.shared.service_address import service_address

PROMPT = "opq-mauka> "


@click.command("mauka", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.option("--endpoint", help="Address of the plug-in manager.  [default: that of the data folder]")
@data_dir_option
@port_offset_option
def command(
    words: tuple[str, ...], endpoint: str | None, data_dir: Path | None, port_offset: int | None
) -> None:
    """Send a command about plug-ins to Mauka; without WORDS, a prompt with completion.

    `opq-tools mauka help` lists the commands: list-plugins, status NAME, load-plugin, unload-plugin,
    start-plugin, stop-plugin, restart-plugin, enable-plugin, disable-plugin, kill-plugin, load-config PATH.

    \b
    Example: opq-tools mauka list-plugins
             opq-tools mauka restart-plugin MyFancyPlugin
             opq-tools mauka
    """
    where = manager_endpoint(endpoint, port_offset, data_dir)
    if words:
        answer = query_manager(" ".join(words), where)
        click.echo(answer.rstrip("\n"))
        sys.exit(0 if succeeded(answer) else 1)
    run_prompt(where)


def manager_endpoint(endpoint: str | None, port_offset: int | None, data_dir: Path | None = None) -> str:
    """Address of Mauka's plug-in manager; raises click.UsageError where the offset gives no valid port."""
    return endpoint or service_address("plugin-manager", port_offset, data_dir)


def run_prompt(where: str) -> None:
    """Runs a prompt until `exit` or the end of the input; a failed command does not end it."""
    vocabulary = query_manager("completions", where, wait_s=5.0).split(",")
    if sys.stdin.isatty():
        import readline

        readline.set_completer_delims(" ")
        readline.set_completer(lambda text, state: completion(text, state, vocabulary))
        readline.parse_and_bind("tab: complete")
    while True:
        try:
            line = input(PROMPT if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if line == "exit":
            return
        if not line:
            continue
        try:
            answer = query_manager(line, where)
        except OpqError as error:
            click.echo(f"opq-tools: {error}", err=True)
            continue
        if line == "completions":
            vocabulary[:] = answer.split(",")
        click.echo(answer.rstrip("\n"))


def completion(text: str, state: int, vocabulary: list[str]) -> str | None:
    """The `state`-th word that begins with `text`, followed by a space; None: there are no more."""
    found = [word for word in vocabulary if word.startswith(text)]
    return f"{found[state]} " if state < len(found) else None
