"""`opq-tools ruleset`: exports all streams, tables and rules of an engine to a file and imports them."""

import json
import uuid
from pathlib import Path

import click

from opq_tools.rules.server import RuleServer, ServerRefusedError, server_command, text_of

_MAX_IN_BODY = 1 << 20
"""Characters; longer rule sets are uploaded, because a request's body has at most 4 MiB."""


@click.group("ruleset")
def command() -> None:
    """Export and import all streams, tables and rules.

    \b
    Example:
      opq-tools ruleset export rules.json
      opq-tools ruleset import -f rules.json
    """


@command.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--data", is_flag=True, help="Also export named configurations, and which plug-ins are needed.")
@click.option(
    "--rule", "rules", multiple=True, help="With --data: only this rule and what it needs; repeatable."
)
@server_command
def export(server: RuleServer, file: Path, data: bool, rules: tuple[str, ...]) -> None:
    """Export into FILE (- for stdout). It contains the passwords of rules: protect it as you protect them.

    \b
    Example:
      opq-tools ruleset export rules.json
      opq-tools ruleset export deep.json --data --rule deep
    """
    if rules and not data:
        raise click.UsageError("--rule goes with --data")
    if rules:
        found = server.request("POST", "/data/export", list(rules))
    else:
        found = server.request("GET", "/data/export") if data else server.request("POST", "/ruleset/export")
    text = json.dumps(found, indent=2) + "\n"
    if str(file) == "-":
        click.echo(text, nl=False)
        return
    part = file.with_name(file.name + ".part")
    try:
        part.touch(mode=0o600)
        part.write_text(text)
        part.replace(file)
    except OSError as error:
        raise ServerRefusedError(f"{file} cannot be written: {error.strerror}") from error
    click.echo(f"{sum(len(each) for each in found.values())} definitions in {file}")


@command.command("import")
@click.option("-f", "--file", required=True, help="File that `export` wrote; - for stdin.")
@click.option(
    "--data", is_flag=True, help="Replace everything that exists by the file's contents, all or nothing."
)
@click.option("--partial", is_flag=True, help="With --data: add to what exists instead of replacing it.")
@click.option("--dry", is_flag=True, help="With --data: only check whether the file can be read.")
@server_command
def take(server: RuleServer, file: str, data: bool, partial: bool, dry: bool) -> None:
    """Import from a file; existing definitions stay.

    Example: opq-tools ruleset import -f rules.json
    """
    if (partial or dry) and not data:
        raise click.UsageError("--partial and --dry go with --data")
    text = text_of(None, file, "the rule set")
    try:
        json.loads(text)
    except ValueError as error:
        raise ServerRefusedError(f"{file} is no JSON: {error}") from error
    path = f"/data/import?partial={partial}&dry={dry}" if data else "/ruleset/import"
    if len(text) <= _MAX_IN_BODY:
        counts = server.request("POST", path, {"content": text})
    else:
        name = f"ruleset_{uuid.uuid4().hex}"
        place = server.upload_bytes(text.encode(), name)
        try:
            counts = server.request("POST", path, {"file": f"file://{place}"})
        finally:
            server.request("DELETE", f"/config/uploads/{name}")
    click.echo(", ".join(f"{count} {name}" for name, count in counts.items()))


@command.command("status")
@server_command
def import_status(server: RuleServer) -> None:
    """Show why the last import was refused, or {} (JSON).

    Example: opq-tools ruleset status
    """
    click.echo(json.dumps(server.request("GET", "/data/import/status")))
