"""`opq-tools keys backend`: whose services may connect to the addresses that services meet at.

Its folder is watched as the Boxes' is: a change holds within a second, in every service that binds.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from opq_cloud.command_audit import key_values, note_in_store
from opq_proto.backend_keys import FOLDER, BackendKeyFolder
from opq_proto.config import default_data_dir
from opq_proto.errors import KeyFileError, StoreError
from opq_proto.key_register import KeyEntry, KeyRegister, key_fingerprint
from opq_proto.keys import public_key_in

_folder = click.option(
    "--keys",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Key folder.  [default: {FOLDER} in --data-dir]",
)
_data_dir = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Holds the key folder.  [default: that of `up`]",
)
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
_mongo = click.option("--mongo-uri", help="The store with the log of changes, where it is a MongoDB.")
_names = click.argument("names", metavar="NAME...", nargs=-1, required=True)


@click.group("backend", short_help="Keys of services, for addresses behind the brokers.")
def backend() -> None:
    """Keys of services: who may connect to 9881 to 9885, 9899, 9777, 10000, 10001 and 12000.

    They are asked for where the cloud's configuration says `[backend_keys] enabled = true`.

    Example: opq-tools keys backend add cloud
    """


@backend.command("list")
@_folder
@_data_dir
@_json
def list_names(folder: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Every name's key and its state.

    Example: opq-tools keys backend list --json
    """
    entries, problems = KeyRegister(_keys(folder, data_dir)).entries()
    for problem in problems:
        click.echo(f"not admitted: {problem}", err=True)
    if as_json:
        rows = [
            {
                "name": entry.box_id,
                "public_key": entry.public_key,
                "state": entry.state,
                "since_ms": entry.since_ms,
                "fingerprint": key_fingerprint(entry.public_key),
            }
            for entry in entries
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    for entry in entries:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.since_ms / 1000))
        click.echo(f"{entry.box_id:<12}  {entry.public_key}  {entry.state} since {since} UTC")
    if not entries:
        click.echo("no service has a key; opq-tools keys backend add cloud makes one")


@backend.command("add", short_help="Make a pair for each NAME and admit it.")
@_names
@click.option(
    "--public-key", metavar="KEY", help="Public key of a pair that was made elsewhere: 40 characters of Z85."
)
@_folder
@_data_dir
@_mongo
@_json
def add(
    names: tuple[str, ...],
    public_key: str | None,
    folder: Path | None,
    data_dir: Path | None,
    mongo_uri: str | None,
    as_json: bool,
) -> None:
    """Make a pair for each NAME and admit it; the first time the server's pair too.

    A service on another machine needs, in a folder like this one, `public_keys/opqserver.key` and
    `private_keys/opqpeer_NAME_secret`. A key is exchanged by a second name: add it, start the services with
    it, revoke the first.

    Example: opq-tools keys backend add cloud view
    """
    if public_key is not None and len(names) != 1:
        raise click.UsageError("--public-key is one name's; give one name")
    keys = _keys(folder, data_dir)
    for name in names:
        if os.path.lexists(keys.box_public(name)):
            raise KeyFileError(f"{name} is admitted already, nothing was changed; take another name")
    written = []
    if not os.path.lexists(keys.server_secret):
        written += keys.create(server=True, box_ids=())
    register = KeyRegister(keys)
    before = _entries(register)
    for name in names:
        written += register.add(name, None if public_key is None else public_key_in(public_key))
    _note("admitted services by their key", names, before, _entries(register), keys, data_dir, mongo_uri)
    if as_json:
        click.echo(json.dumps({"names": list(names), "files": list(map(str, written))}, indent=1))
    else:
        click.echo("\n".join(map(str, written)))


@backend.command("revoke", short_help="Shut NAMEs out: their connections end within a second.")
@_names
@_folder
@_data_dir
@_mongo
def revoke(names: tuple[str, ...], folder: Path | None, data_dir: Path | None, mongo_uri: str | None) -> None:
    """Shut NAMEs out: their connections end within a second, and nobody else's.

    Example: opq-tools keys backend revoke view
    """
    keys = _keys(folder, data_dir)
    register = KeyRegister(keys)
    before = _entries(register)
    unknown = [name for name in names if name not in before or before[name].state == "revoked"]
    if unknown:
        raise KeyFileError(f"{', '.join(unknown)}: no key that is admitted; nothing was changed")
    for name in names:
        register.revoke(name)
        click.echo(f"{name} is shut out")
    _note("revoked the key of services", names, before, _entries(register), keys, data_dir, mongo_uri)


def _entries(register: KeyRegister) -> dict[str, KeyEntry]:
    return {entry.box_id: entry for entry in register.entries()[0]}


def _note(
    what: str,
    names: Iterable[str],
    before: Mapping[str, KeyEntry],
    after: Mapping[str, KeyEntry],
    keys: BackendKeyFolder,
    data_dir: Path | None,
    mongo_uri: str | None,
) -> None:
    """Into the log of changes of the store beside the key folder, if there is one."""

    def values(entries: Mapping[str, KeyEntry], name: str) -> Mapping[str, object]:
        return key_values(entries[name]) if name in entries else {"key": "none"}

    rows = [(what, f"services {name}", values(before, name), values(after, name)) for name in names]
    try:
        note_in_store(mongo_uri, data_dir or keys.root.parent, rows)
    except StoreError as error:
        click.echo(f"opq-tools keys: done, but not in the log of changes: {error}", err=True)


def _keys(folder: Path | None, data_dir: Path | None) -> BackendKeyFolder:
    return BackendKeyFolder(folder or (data_dir or default_data_dir()) / FOLDER)
