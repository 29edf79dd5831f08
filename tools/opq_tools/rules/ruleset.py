"""`opq-tools rules export` and `import`: all streams, tables, rules and named properties, and a file."""

import json
import uuid
from pathlib import Path

import click

from opq_tools.rule_server import RuleServer, ServerRefusedError, server_command, text_of

_MAX_IN_BODY = 1 << 20
"""Characters; longer rule sets are uploaded, because a request's body has at most 4 MiB."""


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@server_command
def export(server: RuleServer, file: Path) -> None:
    """Export into FILE (- for stdout). It contains the passwords of rules: protect it as you protect them.

    \b
    Example:
      opq-tools rules export rules.json
    """
    found = server.request("POST", "/ruleset/export")
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


@click.command("import")
@click.option("-f", "--file", required=True, help="File that `export` wrote; - for stdin.")
@click.option("--dry", is_flag=True, help="Only check whether everything would be accepted.")
@server_command
def take(server: RuleServer, file: str, dry: bool) -> None:
    """Import from a file, all or nothing.

    A definition that exists is replaced where its version in the file is higher, and stays otherwise.

    Example: opq-tools rules import -f rules.json
    """
    text = text_of(None, file, "the rule set")
    try:
        json.loads(text)
    except ValueError as error:
        raise ServerRefusedError(f"{file} is no JSON: {error}") from error
    path = f"/ruleset/import?dry={dry}"
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
