"""`opq-tools query`: rows of a SELECT, as they come."""

import click

from opq_tools.rules.server import Server, asks


@click.command("query")
@click.argument("sql")
@click.option("--limit", type=click.IntRange(min=1), default=None, help="End after so many rows.")
@asks
def command(server: Server, sql: str, limit: int | None) -> None:
    """Run a SELECT as a temporary rule and print its rows until Ctrl-C, a JSON object in each line.

    \b
    Example:
      opq-tools query "SELECT box, rms FROM boxes WHERE rms < 110" --limit 10
    """
    try:
        for number, row in enumerate(server.events("/query", {"sql": sql}, sql), 1):
            click.echo(row)
            if number == limit:
                return
    except KeyboardInterrupt:
        return
