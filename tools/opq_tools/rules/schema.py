"""`opq-tools schema create, list, show ...`: protobuf schemas for a rule engine's streams and sinks."""

import base64
import json
from pathlib import Path

import click

from opq_proto.command_line import json_option
from opq_tools.input_file import read_input, read_input_text
from opq_tools.rules.server import RuleServer, server_command

_FILE = click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
_VERSION = click.option("--version", default="", help="Version of the schema; an update needs a greater one.")


@click.group("schema")
def command() -> None:
    """Messages of protobuf, for FORMAT protobuf of streams and sinks.

    \b
    Example:
      opq-tools schema create lab lab.proto
    """


@command.command("create")
@click.argument("name")
@_FILE
@_VERSION
@server_command
def create_schema(server: RuleServer, name: str, file: Path, version: str) -> None:
    """Make a schema of a .proto file or a descriptor set.

    \b
    Example:
      opq-tools schema create lab lab.proto
      protoc --include_imports --descriptor_set_out=lab.desc lab.proto
      opq-tools schema create lab lab.desc
    """
    body = {"name": name, "content": _content(file), "version": version}
    click.echo(server.request("POST", "/schemas/protobuf", body))


@command.command("update")
@click.argument("name")
@_FILE
@_VERSION
@server_command
def update_schema(server: RuleServer, name: str, file: Path, version: str) -> None:
    """Replace a schema while rules run, or create it.

    Example: opq-tools schema update lab lab.proto
    """
    body = {"content": _content(file), "version": version}
    click.echo(server.request("PUT", f"/schemas/protobuf/{name}", body))


@command.command("list")
@json_option
@server_command
def list_schemas(server: RuleServer, as_json: bool) -> None:
    """List all schemas, also the built-in ones.

    Example: opq-tools schema list
    """
    found = server.request("GET", "/schemas/protobuf")
    click.echo(json.dumps(found) if as_json else "\n".join(found))


@command.command("show")
@click.argument("name")
@json_option
@server_command
def show_schema(server: RuleServer, name: str, as_json: bool) -> None:
    """Show a schema's messages (as in SCHEMAID) and its users.

    Example: opq-tools schema show lab
    """
    found = server.request("GET", f"/schemas/protobuf/{name}")
    if as_json:
        click.echo(json.dumps(found))
        return
    used = [f"used by {user}" for user in found["users"]]
    click.echo("\n".join([*found["messages"], *used]))


@command.command("delete")
@click.argument("name")
@server_command
def delete_schema(server: RuleServer, name: str) -> None:
    """Delete a schema; refused while streams or sinks use it.

    Example: opq-tools schema delete lab
    """
    click.echo(server.request("DELETE", f"/schemas/protobuf/{name}"))


def _content(file: Path) -> str:
    """Content of the file: text as it is, a descriptor set in base64."""
    return read_input_text(file) if file.suffix == ".proto" else base64.b64encode(read_input(file)).decode()
