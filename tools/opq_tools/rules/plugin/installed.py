"""`opq-tools plugin show` and `delete`: plug-ins of a running rule engine."""

import json

import click

from opq_plugins.package.manifest import FOLDERS, PACKAGE
from opq_plugins.package.manifest import REST_KINDS as KINDS
from opq_proto.kit.command_line import text_table
from opq_proto.kit.shared_options import json_option
from opq_tools.shared import values
from opq_tools.shared.rule_server import RuleServer, server_command, show_answer

_KIND = click.argument("kind", type=click.Choice(list(KINDS)), metavar="KIND")


@click.command("show", short_help="List the plug-ins, or show one: version, process, counters.")
@click.argument("kind", type=click.Choice([*KINDS, "udf"]), metavar="[KIND]", required=False)
@click.argument("name", required=False, shell_complete=values.plugins)
@json_option
@server_command
def show_plugins(server: RuleServer, kind: str | None, name: str | None, as_json: bool) -> None:
    """List the installed plug-ins, or those of a kind; KIND udf lists the SQL functions that they add.

    With KIND and NAME, show version, process, protections, counters and the rules that use it, as JSON in
    lines or in one document; for a udf, its plug-in.

    \b
    Example:
      opq-tools plugin show
      opq-tools plugin show sink mysql
      opq-tools plugin show udf
    """
    if kind is None:
        _list(server, as_json)
        return
    if name is not None:
        _show_one(server, kind, name, as_json)
        return
    kinds = KINDS.get(kind, "udfs")
    found = server.request("GET", f"/plugins/{kinds}")
    if as_json or (found and kind == PACKAGE):
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo("\n".join(found) or f"no {kinds}")


def _list(server: RuleServer, as_json: bool) -> None:
    found = server.request("GET", f"/plugins/{KINDS[PACKAGE]}")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = []
    for each in found:
        has = [f"{folder}: {' '.join(each[folder])}" for folder in FOLDERS.values() if each.get(folder)]
        rows.append((each["name"], each["version"], ", ".join(has)))
    click.echo(text_table(("plug-in", "version", "has"), rows) if rows else "no plug-ins")


def _show_one(server: RuleServer, kind: str, name: str, as_json: bool) -> None:
    found = server.request("GET", f"/plugins/{KINDS.get(kind, 'udfs')}/{name}")
    if kind != "udf":
        found |= server.request("GET", f"/plugins/{KINDS[kind]}/{name}/status")
    click.echo(json.dumps(found, indent=None if as_json else 2))


@click.command("delete")
@_KIND
@click.argument("name", shell_complete=values.plugins)
@click.option("--force", is_flag=True, help="Also delete it while rules use it.")
@server_command
def delete_plugin(server: RuleServer, kind: str, name: str, force: bool) -> None:
    """Remove all versions of a plug-in.

    Example: opq-tools plugin delete sink mysql
    """
    show_answer(server.request("DELETE", f"/plugins/{KINDS[kind]}/{name}" + ("?force=true" if force else "")))
