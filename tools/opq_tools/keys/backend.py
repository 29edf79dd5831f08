"""`opq-tools keys ... --backend`: keys of services, which admit them to the addresses between services.

Services that bind watch its folder like that of the Boxes: a change takes effect within a second.
"""

import json
import os
import time

import click

from opq_proto.errors import KeyFileError
from opq_proto.keys.backend_keys import FOLDER, BackendKeyFolder
from opq_proto.keys.key_files import public_key_in
from opq_proto.keys.register import KeyEntry, KeyRegister, key_fingerprint
from opq_proto.kit.command_line import text_table
from opq_tools.keys.place import KeyLog, KeyPlace


def list_names(place: KeyPlace) -> None:
    """Prints every name's key and its state."""
    entries, problems = KeyRegister(_keys(place)).entries()
    for problem in problems:
        click.echo(f"not admitted: {problem}", err=True)
    if place.as_json:
        rows = [
            {
                "name": entry.box_id,
                "public_key": entry.public_key,
                "state": entry.state,
                "since_ms": entry.since_ms,
                "fingerprint": key_fingerprint(entry.public_key),
                "next_public_key": entry.next_public_key,
            }
            for entry in entries
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    if not entries:
        click.echo("no service has a key; opq-tools keys add --backend cloud makes one")
        return
    cells = [
        (
            entry.box_id,
            entry.state,
            time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.since_ms / 1000)),
            entry.public_key,
        )
        for entry in entries
    ]
    click.echo(text_table(("service", "state", "since (UTC)", "public key"), cells))


def add_service(place: KeyPlace, names: tuple[str, ...], public_key: str | None) -> None:
    """Makes a pair for each name and admits it; the first time the server's pair too."""
    if public_key is not None and len(names) != 1:
        raise click.UsageError("--public-key is one name's; give one name")
    keys = _keys(place)
    for name in names:
        if os.path.lexists(keys.box_public(name)):
            raise KeyFileError(
                f"{name} is admitted already, nothing was changed; revoke it first, or add another name"
            )
    place.key_folder_to_fill(FOLDER)
    written = []
    if not os.path.lexists(keys.server_secret):
        written += keys.create(server=True, box_ids=())
    register = KeyRegister(keys)
    log = KeyLog(place, register, "admitted services by their key", "services")
    for name in names:
        written += register.add(name, None if public_key is None else public_key_in(public_key))
    log.write(names)
    if place.as_json:
        click.echo(json.dumps({"names": list(names), "files": list(map(str, written))}, indent=1))
    else:
        click.echo("\n".join(map(str, written)))


def revoke_service(place: KeyPlace, names: tuple[str, ...]) -> None:
    """Revokes the keys of names: their connections end within a second, and no others."""
    register = KeyRegister(_keys(place))
    before = _entries(register)
    log = KeyLog(place, register, "revoked the key of services", "services")
    unknown = [name for name in names if name not in before or before[name].state == "revoked"]
    if unknown:
        raise KeyFileError(f"{', '.join(unknown)}: no admitted key; nothing was changed")
    for name in names:
        register.revoke(name)
        click.echo(f"{name} is shut out")
    log.write(names)


def _entries(register: KeyRegister) -> dict[str, KeyEntry]:
    return {entry.box_id: entry for entry in register.entries()[0]}


def _keys(place: KeyPlace) -> BackendKeyFolder:
    return BackendKeyFolder(place.key_folder(FOLDER))
