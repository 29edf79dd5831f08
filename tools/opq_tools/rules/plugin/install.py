"""`opq-tools plugin install`: installs or replaces a plug-in, by name, from a package, a folder or a URL."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from uuid import uuid4

import click

from opq_plugins.package.archive import pack, read_package
from opq_plugins.package.manifest import MANIFEST, PACKAGE, parse_manifest
from opq_plugins.package.manifest import REST_KINDS as KINDS
from opq_plugins.policy import Policy
from opq_tools.rules.plugin.shipped import shipped_or_own, shipped_plugins, with_libraries
from opq_tools.shared.input_file import read_input
from opq_tools.shared.progress import shown_step
from opq_tools.shared.rule_server import RuleServer, ServerRefusedError, server_command, show_answer


@click.command("install", short_help="Install or replace one: a name, a package, a folder or a URL.")
@click.argument("what", metavar="SOURCE | KIND NAME [URL]", nargs=-1, required=True)
@click.option(
    "-z",
    "--zip",
    "zip_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="With KIND NAME: a zip on this machine instead of a URL.",
)
@click.option(
    "--wheels",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Of a name or a folder: folder with wheels of the libraries that it needs.  "
    "[default: from the package index]",
)
@click.option("--downgrade", is_flag=True, help="Also allow a lower version than the running one.")
@click.option("--rollback", is_flag=True, help="With KIND NAME: return to the version before.")
@click.option(
    "--watch",
    is_flag=True,
    help="Of the original's form: install again whenever a file is saved, until Ctrl-C.",
)
@click.option(
    "--name", help="Of the original's form: name of the deployed folder.  [default: that of SOURCE]"
)
@click.option(
    "--endpoint",
    help="Of the original's form: address of Mauka's plug-in manager.  [default: that of the data folder]",
)
@server_command
def command(
    server: RuleServer,
    what: tuple[str, ...],
    zip_file: Path | None,
    wheels: Path | None,
    downgrade: bool,
    rollback: bool,
    watch: bool,
    name: str | None,
    endpoint: str | None,
) -> None:
    """Install a plug-in in a running system; a higher version replaces the running one while rules run.

    SOURCE is the NAME of a plug-in that comes with the toolkit, such as change, a package (FILE.zip), or a
    folder with plugin.json. Libraries that a name or folder needs and this Python lacks are packed with it.
    If the new version fails, the old one goes on. A package at a URL needs the kind (source, sink, function,
    trigger, analysis or package: a plug-in of any kinds) and its name.

    SOURCE may also be a folder of the original's developer guide: plugins/__init__.py, plugins/NAME.py and,
    with the list, OpqMauka.py. Mauka runs each in its own confined process, and replaces its earlier
    version between two messages.

    \b
    Examples:
      opq-tools plugin install change
      opq-tools plugin install mysql-sink
      opq-tools plugin install mysqlSink.zip
      opq-tools plugin install sink mysql http://127.0.0.1:8000/mysqlSink.zip
      opq-tools plugin install sink mysql --rollback
      opq-tools plugin install my-plugins --watch
    """
    source = Path(what[0])
    if len(what) == 1 and _is_original(source):
        if zip_file is not None or downgrade or rollback:
            raise click.UsageError("--zip, --downgrade and --rollback are not for plug-ins of the original")
        from opq_tools.mauka.mauka_command import manager_endpoint  # both need the extra "cloud"
        from opq_tools.rules.plugin.original import install_original

        given = click.get_current_context().params
        where = manager_endpoint(endpoint, given["port_offset"], given["data_dir"])
        install_original(source, watch, name, where)
    elif watch or name is not None or endpoint is not None:
        raise click.UsageError("--watch, --name and --endpoint are for a folder of the original's form")
    elif len(what) == 1:
        if zip_file is not None or rollback:
            raise click.UsageError("--zip and --rollback need KIND NAME")
        with shown_step(f"reading {source} and the libraries that it needs"):
            its, data = _read_source(source, wheels, server)
        with _uploaded(server, data) as place:
            _install(server, PACKAGE, {"name": its, "file": place}, downgrade)
    else:
        _install_named(server, what, zip_file, downgrade, rollback)


def _is_original(source: Path) -> bool:
    return (source / "plugins").is_dir() and not (source / MANIFEST).exists()


def _read_source(source: Path, wheels: Path | None, server: RuleServer) -> tuple[str, bytes]:
    """Returns a plug-in's name and its zip. Raises PluginError, UsageError, ServerRefusedError."""
    source = shipped_or_own(source)
    if source.is_dir():
        server.request("GET", f"/plugins/{KINDS[PACKAGE]}")  # refuses before pip takes a minute for libraries
        with tempfile.TemporaryDirectory(prefix="opq-plugin-") as here:
            whole = with_libraries(source.resolve(), Path(here), wheels)
            return parse_manifest(read_input(source / MANIFEST)).name, pack(whole)[1]
    if wheels is not None:
        raise click.UsageError("--wheels is for a name or a folder; a package has its wheels")
    if not source.exists():
        raise click.UsageError(
            f"there is no {source}, and the toolkit has {', '.join(shipped_plugins())};"
            " for a package at a URL give KIND NAME URL"
        )
    return read_package(source, None, Policy()).manifest.name, read_input(source)


def _install_named(
    server: RuleServer, what: Sequence[str], zip_file: Path | None, downgrade: bool, rollback: bool
) -> None:
    kind, name, *more = what
    if kind not in KINDS:
        raise click.UsageError(f"{kind!r} is not a KIND; want one of {', '.join(KINDS)}")
    if len(more) > 1:
        raise click.UsageError(f"{more[1]!r} is more than this command takes")
    if rollback:
        if more or zip_file is not None or downgrade:
            raise click.UsageError("give --rollback without SOURCE: the previous version is still installed")
        show_answer(server.request("POST", f"/plugins/{KINDS[kind]}/{name}/rollback"))
        return
    if bool(more) == (zip_file is not None):
        raise click.UsageError("want a URL or JSON as an argument, or -z FILE.zip")
    if zip_file is not None:
        with _uploaded(server, read_input(zip_file)) as place:
            _install(server, kind, {"name": name, "file": place}, downgrade)
    else:
        _install(server, kind, _body(name, more[0]), downgrade)


@contextmanager
def _uploaded(server: RuleServer, data: bytes) -> Iterator[str]:
    """Uploads a zip for the duration of an installation; yields its URL at the engine."""
    with shown_step(f"uploading {max(1, len(data) >> 10)} KiB"):
        place = server.upload_bytes(data, f"plugin-{uuid4().hex}.zip")
    try:
        yield f"file://{place}"
    finally:
        with suppress(ServerRefusedError):
            server.request("DELETE", f"/config/uploads/{PurePath(place).name}")


def _body(name: str, given: str) -> dict[str, object]:
    """The request for a URL, or for the JSON that eKuiper's command takes."""
    if not given.lstrip().startswith("{"):
        return {"name": name, "file": given}
    try:
        body: dict[str, object] = json.loads(given)
    except ValueError as error:
        raise ServerRefusedError(f"the plug-in is not JSON: {error}") from error
    if body.setdefault("name", name) != name:
        raise click.UsageError(f"the JSON is for {body['name']!r}, not of {name!r}")
    return body


def _install(server: RuleServer, kind: str, body: dict[str, object], downgrade: bool) -> None:
    with shown_step(f"installing {body['name']}: the server checks it, starts it and replaces what runs"):
        if downgrade:
            answer = server.request("PUT", f"/plugins/{KINDS[kind]}/{body['name']}?downgrade=true", body)
        else:
            answer = server.request("POST", f"/plugins/{KINDS[kind]}", body)
    show_answer(answer)
