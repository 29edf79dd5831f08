"""`opq-tools rules stream` and `opq-tools rules table`: the same commands for both."""

import json
import re
from typing import Any

import click

from opq_proto.kit.command_line import CommandGroup, json_option
from opq_tools.rules.server import RuleServer, server_command, text_of

_NAME = re.compile(r"\s*CREATE\s+\w+\s+`?(\w[\w/-]*)", re.IGNORECASE)


def family(what: str) -> click.Group:
    """Makes the group of commands; `what`: "stream" or "table"."""
    path = f"/{what}s"

    removed = {"update": f"give opq-tools rules {what} create NAME … --replace"}

    @click.group(what, cls=CommandGroup, removed=removed)
    def group() -> None: ...

    options = 'DATASOURCE="demo"' if what == "stream" else 'DATASOURCE="demo", TYPE="memory"'
    definition = f"demo '() WITH ({options})'"

    def help_text(line: str, rest: str) -> str:
        return f"{line}\n\n\b\nExample:\n  opq-tools rules {what} {rest}"

    group.help = help_text(f"Define, list and drop {what}s of a running rule engine.", f"create {definition}")

    def statement(name: str | None, text: str) -> str:
        text = text.strip()
        return text if text.upper().startswith("CREATE ") else f"CREATE {what.upper()} {name or ''} {text}"

    creates = f"`(columns) WITH (...)`, or the whole CREATE {what.upper()} statement."

    @group.command("create", help=help_text(creates, f"create {definition}"))
    @click.argument("name", required=False)
    @click.argument("definition", required=False)
    @click.option(
        "-f",
        "--file",
        default=None,
        help="File with the definition; it has the name too if NAME is left out.",
    )
    @click.option(
        "--replace",
        is_flag=True,
        help=f"Replace the {what} of this name; rules that use it go on with the new one.",
    )
    @server_command
    def create(
        server: RuleServer, name: str | None, definition: str | None, file: str | None, replace: bool
    ) -> None:
        if name is not None and definition is None and file is None and _NAME.match(name):
            name, definition = None, name
        elif name is None and file is None:
            raise click.UsageError("want NAME and the definition, or -f FILE (- for stdin)")
        sql = statement(name, text_of(definition, file, "the definition"))
        match = _NAME.match(sql)
        if name is not None and match is not None and match[1] != name:
            raise click.UsageError(f"the statement is for {match[1]!r}, not of {name!r}")
        if replace:
            its = name or (match[1] if match else "")
            click.echo(server.request("PUT", f"{path}/{its}", {"sql": sql}, sql))
            return
        answer = server.request("POST", path, {"sql": sql}, sql)
        click.echo(f"{what} {name} created" if name else answer)

    @group.command("list", help=help_text(f"Names of all {what}s.", "list"))
    @json_option
    @server_command
    def names(server: RuleServer, as_json: bool) -> None:
        found = server.request("GET", path)
        click.echo(json.dumps(found) if as_json else "\n".join(found) or f"no {what}s")

    @group.command("show", help=help_text(f"Columns and options of a {what}.", "show demo"))
    @click.argument("name")
    @json_option
    @server_command
    def show(server: RuleServer, name: str, as_json: bool) -> None:
        if as_json:
            click.echo(json.dumps(server.request("GET", f"{path}/{name}")))
            return
        click.echo(
            _table(server.request("GET", f"{path}/{name}/schema"), server.request("GET", f"{path}/{name}"))
        )

    @group.command("delete", help=help_text(f"Drop a {what}; refused while rules use it.", "delete demo"))
    @click.argument("name")
    @click.option("--force", is_flag=True, help="Delete it although rules use it; these stop.")
    @server_command
    def delete(server: RuleServer, name: str, force: bool) -> None:
        click.echo(server.request("DELETE", f"{path}/{name}" + ("?force=true" if force else "")))

    return group


def _table(schema: dict[str, Any], described: dict[str, Any]) -> str:
    lines = ["Fields", "-" * 40]
    lines += [f"{name}\t{column.get('type', '')}" for name, column in schema.items()] or ["(schemaless)"]
    options = described.get("Options", {})
    shown = {key: "true" if value is True else value for key, value in options.items()}
    lines += ["", *(f"{key.upper()}: {value}" for key, value in shown.items())]
    return "\n".join(lines)


stream_command, table_command = family("stream"), family("table")
