"""`opq-tools rules stream`: streams, and with --table tables, of a running rule engine."""

import json
import re
from typing import Any

import click

from opq_proto.kit.command_line import CommandGroup
from opq_proto.kit.shared_options import json_option
from opq_tools.shared import values
from opq_tools.shared.rule_server import RuleServer, server_command, text_of

_NAME = re.compile(r"\s*CREATE\s+\w+\s+`?(\w[\w/-]*)", re.IGNORECASE)
table_option = click.option(
    "--table", "what", flag_value="table", default="stream", help="A table instead of a stream."
)


@click.group("stream", cls=CommandGroup)
def stream_command() -> None:
    """Define, list and drop streams and tables of a running rule engine.

    \b
    Example:
      opq-tools rules stream create demo '() WITH (DATASOURCE="demo")'
    """


@stream_command.command("create", short_help="Define a stream or a table.")
@click.argument("name", required=False)
@click.argument("definition", required=False)
@click.option(
    "-f", "--file", default=None, help="File with the definition; it has the name too if NAME is left out."
)
@click.option("--replace", is_flag=True, help="Replace the one of this name; rules that use it go on.")
@table_option
@server_command
def create(
    server: RuleServer, name: str | None, definition: str | None, file: str | None, replace: bool, what: str
) -> None:
    """Define a stream or table: `(columns) WITH (...)`, or the whole CREATE statement.

    \b
    Example:
      opq-tools rules stream create demo '() WITH (DATASOURCE="demo")'
      opq-tools rules stream create --table known '() WITH (DATASOURCE="demo", TYPE="memory")'
    """
    if name is not None and definition is None and file is None and _NAME.match(name):
        name, definition = None, name
    elif name is None and file is None:
        raise click.UsageError("want NAME and the definition, or -f FILE (- for stdin)")
    sql = _statement(what, name, text_of(definition, file, "the definition"))
    match = _NAME.match(sql)
    if name is not None and match is not None and match[1] != name:
        raise click.UsageError(f"the statement is for {match[1]!r}, not of {name!r}")
    if replace:
        its = name or (match[1] if match else "")
        click.echo(server.request("PUT", f"/{what}s/{its}", {"sql": sql}, sql))
        return
    answer = server.request("POST", f"/{what}s", {"sql": sql}, sql)
    click.echo(f"{what} {name} created" if name else answer)


def _statement(what: str, name: str | None, text: str) -> str:
    text = text.strip()
    return text if text.upper().startswith("CREATE ") else f"CREATE {what.upper()} {name or ''} {text}"


@stream_command.command("show", short_help="List names, or show columns and options of one.")
@click.argument("name", required=False, shell_complete=values.streams)
@table_option
@json_option
@server_command
def show(server: RuleServer, name: str | None, what: str, as_json: bool) -> None:
    """Names of all streams, or of all tables; with NAME, its columns and options.

    \b
    Examples: opq-tools rules stream show --table
              opq-tools rules stream show demo
    """
    if name is None:
        found = server.request("GET", f"/{what}s")
        click.echo(json.dumps(found) if as_json else "\n".join(found) or f"no {what}s")
        return
    path = f"/{what}s/{name}"
    if as_json:
        click.echo(json.dumps(server.request("GET", path)))
        return
    click.echo(_table(server.request("GET", f"{path}/schema"), server.request("GET", path)))


@stream_command.command("delete")
@click.argument("name", shell_complete=values.streams)
@click.option("--force", is_flag=True, help="Delete it although rules use it; these stop.")
@table_option
@server_command
def delete(server: RuleServer, name: str, force: bool, what: str) -> None:
    """Drop a stream or table; refused while rules use it.

    Example: opq-tools rules stream delete demo
    """
    click.echo(server.request("DELETE", f"/{what}s/{name}" + ("?force=true" if force else "")))


def _table(schema: dict[str, Any], described: dict[str, Any]) -> str:
    lines = ["Fields", "-" * 40]
    lines += [f"{name}\t{column.get('type', '')}" for name, column in schema.items()] or ["(schemaless)"]
    options = described.get("Options", {})
    shown = {key: "true" if value is True else value for key, value in options.items()}
    lines += ["", *(f"{key.upper()}: {value}" for key, value in shown.items())]
    return "\n".join(lines)
