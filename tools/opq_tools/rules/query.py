"""`opq-tools rules query`: prints rows of a SELECT as they come."""

import click

from opq_tools.shared.rule_server import RuleServer, ServerRefusedError, server_command


@click.command("query")
@click.argument("sql", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=None, help="End after this many rows.")
@server_command
def command(server: RuleServer, sql: str | None, limit: int | None) -> None:
    """Print the rows of a SELECT as they come.

    It runs as a temporary rule until Ctrl-C; each line is a JSON object. For a record that cannot be
    computed, the line has `error`.

    Without SQL it prompts for statements; an empty line, `quit` or Ctrl-D ends it.

    \b
    Example:
      opq-tools rules query "SELECT box, rms FROM boxes WHERE rms < 110" --limit 10
    """
    if sql is not None:
        _rows(server, sql, limit)
        return
    while (statement := _read_statement()) is not None:
        try:
            _rows(server, statement, limit)
        except ServerRefusedError as error:
            click.echo(error, err=True)


def _read_statement() -> str | None:
    """A line from the prompt, which looks unlike the rows; None: the user ends."""
    try:
        line: str = click.prompt("opq", default="", show_default=False, prompt_suffix="> ", err=True).strip()
    except click.Abort:
        return None
    return None if line.rstrip(";").lower() in ("", "quit", "exit") else line


def _rows(server: RuleServer, sql: str, limit: int | None) -> None:
    try:
        for number, row in enumerate(server.events("/query", {"sql": sql}, sql), 1):
            click.echo(row)
            if number == limit:
                return
    except KeyboardInterrupt:
        return
