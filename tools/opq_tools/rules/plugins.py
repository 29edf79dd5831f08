"""`opq-tools plugin create, list, show ...`: manages plug-ins of a running rule engine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from uuid import uuid4

import click

from opq_plugins.package.manifest import PACKAGE
from opq_plugins.package.manifest import REST_KINDS as KINDS
from opq_proto.kit.command_line import json_option
from opq_tools.rules.server import RuleServer, ServerRefusedError, server_command

_KIND = click.argument("kind", type=click.Choice(list(KINDS)), metavar="KIND")
_KIND_OR_UDF = click.argument("kind", type=click.Choice([*KINDS, "udf"]), metavar="KIND")
_ZIP = click.option(
    "-z",
    "--zip",
    "zip_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Zip on this machine to upload, instead of PACKAGE (a URL).",
)


@contextmanager
def _package(
    server: RuleServer, name: str, given: str | None, zip_file: Path | None
) -> Iterator[dict[str, object]]:
    """The body of a POST: JSON, a URL, or a zip of this machine, which is uploaded during the call."""
    if (given is None) == (zip_file is None):
        raise click.UsageError("want a URL or JSON as an argument, or -z FILE.zip")
    if zip_file is not None:
        uploaded = server.upload(zip_file, f"plugin-{uuid4().hex}.zip")
        try:
            yield {"name": name, "file": f"file://{uploaded}"}
        finally:
            with suppress(ServerRefusedError):
                server.request("DELETE", f"/config/uploads/{PurePath(uploaded).name}")
        return
    if given is None or not given.lstrip().startswith("{"):
        yield {"name": name, "file": given}
        return
    try:
        body = json.loads(given)
    except ValueError as error:
        raise ServerRefusedError(f"the plug-in is no JSON: {error}") from error
    if body.setdefault("name", name) != name:
        raise click.UsageError(f"the JSON is for {body['name']!r}, not of {name!r}")
    yield body


@click.command("create", short_help="Install a plug-in, from a URL or a zip of this machine.")
@_KIND
@click.argument("name")
@click.argument("package", required=False)
@_ZIP
@server_command
def create_plugin(
    server: RuleServer, kind: str, name: str, package: str | None, zip_file: Path | None
) -> None:
    """Install a plug-in from a URL or a zip of this machine; a higher version replaces the running one.

    KIND is source, sink, function, trigger, analysis or package (a plug-in of any kinds).

    \b
    Example:
      opq-tools plugin create sink mysql -z mysqlSink.zip
      opq-tools plugin create sink mysql http://127.0.0.1:8000/mysqlSink.zip
    """
    with _package(server, name, package, zip_file) as body:
        _show(server.request("POST", f"/plugins/{KINDS[kind]}", body))


@click.command("update", short_help="Replace a plug-in while rules run.")
@_KIND
@click.argument("name")
@click.argument("package", required=False)
@_ZIP
@click.option("--downgrade", is_flag=True, help="Also allow a lower version.")
@click.option("--rollback", is_flag=True, help="Return to the previous version, which is still installed.")
@server_command
def update_plugin(
    server: RuleServer, kind: str, name: str, package: str | None, zip_file: Path | None,
    downgrade: bool, rollback: bool,
) -> None:  # fmt: skip
    """Replace a plug-in while rules run; if the new one fails, the old one goes on.

    \b
    Example:
      opq-tools plugin update sink mysql -z mysqlSink.zip
      opq-tools plugin update sink mysql --rollback
    """
    if rollback:
        if package is not None or zip_file is not None or downgrade:
            raise click.UsageError("--rollback stands alone: the previous version is still installed")
        _show(server.request("POST", f"/plugins/{KINDS[kind]}/{name}/rollback"))
        return
    path = f"/plugins/{KINDS[kind]}/{name}" + ("?downgrade=true" if downgrade else "")
    with _package(server, name, package, zip_file) as body:
        _show(server.request("PUT", path, body))


@click.command("list", short_help="List the installed plug-ins of a kind.")
@_KIND_OR_UDF
@json_option
@server_command
def list_plugins(server: RuleServer, kind: str, as_json: bool) -> None:
    """List the installed plug-ins of a kind; KIND udf lists the SQL functions that they add.

    \b
    Example:
      opq-tools plugin list sink
      opq-tools plugin list udf
    """
    kinds = KINDS.get(kind, "udfs")
    found = server.request("GET", f"/plugins/{kinds}")
    if as_json or (found and kind == PACKAGE):
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo("\n".join(found) or f"no {kinds}")


@click.command("show", short_help="Show version, process, protections and counters.")
@_KIND_OR_UDF
@click.argument("name")
@json_option
@server_command
def show_plugin(server: RuleServer, kind: str, name: str, as_json: bool) -> None:
    """Show version, process, protections and counters, as JSON in lines or in one document.

    Also the rules that use it; for a udf, its plug-in.

    Example: opq-tools plugin show sink mysql
    """
    found = server.request("GET", f"/plugins/{KINDS.get(kind, 'udfs')}/{name}")
    if kind != "udf":
        found |= server.request("GET", f"/plugins/{KINDS[kind]}/{name}/status")
    click.echo(json.dumps(found, indent=None if as_json else 2))


@click.command("delete")
@_KIND
@click.argument("name")
@click.option("--force", is_flag=True, help="Also delete it while rules use it.")
@server_command
def delete_plugin(server: RuleServer, kind: str, name: str, force: bool) -> None:
    """Remove all versions of a plug-in.

    Example: opq-tools plugin delete sink mysql
    """
    _show(server.request("DELETE", f"/plugins/{KINDS[kind]}/{name}" + ("?force=true" if force else "")))


def _show(answer: object) -> None:
    click.echo(answer if isinstance(answer, str) else json.dumps(answer))
