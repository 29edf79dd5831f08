"""`opq-tools keys`: manages admitted keys, on a running or a stopped cloud.

The key folder is the list: brokers watch it, so that a change takes effect within a second without a restart.
The connections are requested from a running broker.
"""

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from opq_cloud.core.service import REFUSED, UNKNOWN
from opq_cloud.store import FILE_NAME, open_store
from opq_proto.errors import KeyFileError
from opq_proto.keys.key_files import KeyFolder, checked_public_key, read_key_file
from opq_proto.keys.register import KeyRegister, key_fingerprint
from opq_proto.kit.command_line import CommandGroup, text_table
from opq_proto.kit.http_client import fetch
from opq_proto.kit.ports import with_offset
from opq_proto.kit.shared_options import port_offset_option
from opq_proto.kit.system_place import find_system
from opq_tools.keys.backend import add_service, list_names, revoke_service
from opq_tools.keys.keygen import box_ids
from opq_tools.keys.place import (
    Decorated,
    KeyLog,
    KeyPlace,
    data_dir_option,
    json_option,
    keys_option,
    mongo_option,
    new_data_dir_option,
    pass_place,
)
from opq_tools.keys.server_rotation import rotate_server
from opq_tools.shared import values

TIMEOUT_S = 2.0
LARGEST_ANSWER_BYTES = 64 * 2**20
ASKED_SERVICES = ("mauka_health", "triggering_broker_health")
"""Services that may answer: the whole cloud, in `up` and `opq-cloud all`, or a triggering broker alone."""

UNNAMED_SERVICES = {
    UNKNOWN: "are in their handshake, or were too many at once to see whose each is",
    REFUSED: "are of keys that are not admitted",
}


def _ids(who: tuple[str, ...]) -> tuple[str, ...]:
    try:
        found = box_ids(",".join(who))
    except click.BadParameter as error:
        raise click.UsageError(f"WHO: {error.message}") from error
    if not found:
        raise click.UsageError("WHO is missing; want Boxes, e.g. 1,2,5-9, or names with --backend")
    return found


def _names(who: tuple[str, ...]) -> tuple[str, ...]:
    if not who:
        raise click.UsageError("WHO is missing; want names of services, e.g. cloud")
    return who


def _place_options(command: Decorated, folder_option: Callable[..., Any] = data_dir_option) -> Decorated:
    """Adds the options of every command."""
    for option in (
        json_option,
        folder_option,
        keys_option("curve in --data-dir; with --backend: backend there"),
    ):
        command = option(command)
    return command


_new_place_options = partial(_place_options, folder_option=new_data_dir_option)


_who = click.argument("who", metavar="[WHO]...", nargs=-1, shell_complete=values.boxes)
_backend = click.option(
    "--backend",
    "of_backend",
    is_flag=True,
    help="Services, by name, which connect to the addresses behind the brokers; without it Boxes.",
)
_public = click.option(
    "--public-key",
    metavar="KEY",
    help="Public key of a Box that made its pair itself: 40 characters of Z85, or its file.",
)


@click.group(
    "keys",
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Keys of Boxes and services: list, add, revoke and exchange them, while the cloud runs or not.

    \b
    Examples: opq-tools keys list
              opq-tools keys rotate 1,2,5-9
    """


@command.command("list", short_help="List every Box's key, its state, and whether it is connected.")
@_backend
@_place_options
@mongo_option("URI of the store where it is a MongoDB; it has the time of each Box's last message.")
@port_offset_option
@pass_place
def list_keys(place: KeyPlace, of_backend: bool, port_offset: int | None) -> None:
    """List every Box's key, its state, and whether it is connected; null where no broker answers.

    Example: opq-tools keys list --json
    """
    if of_backend:
        list_names(place)
        return
    entries, problems = _register(place).entries()
    connected, last_ms = _connections(find_system(place.data_dir, port_offset)[1]), _last_seen(place)
    rows: list[dict[str, Any]] = [
        {
            "box_id": entry.box_id,
            "public_key": entry.public_key,
            "state": entry.state,
            "since_ms": entry.since_ms,
            "connected": _is_connected(connected, entry.box_id),
            "last_seen_ms": last_ms.get(entry.box_id),
            "next_public_key": entry.next_public_key,
            "fingerprint": key_fingerprint(entry.public_key),
        }
        for entry in entries
    ]
    for problem in problems:
        click.echo(f"not admitted: {problem}", err=True)
    for name, why in UNNAMED_SERVICES.items():
        if connected is not None and name in connected:
            click.echo(f"{connected[name]} connections {why}", err=True)
    if place.as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    if not rows:
        click.echo("no Box has a key; opq-tools keys add 1 makes one")
        return
    words = {None: "not known", True: "yes", False: "no"}
    cells = [
        (
            row["box_id"],
            row["state"],
            time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(row["since_ms"] / 1000)),
            words[row["connected"]],
            row["public_key"],
            row["fingerprint"],
        )
        for row in rows
    ]
    click.echo(text_table(("box", "state", "since (UTC)", "connected", "public key", "fingerprint"), cells))


@command.command("add", short_help="Admit Boxes, with new pairs or by public keys.")
@_who
@_backend
@_public
@click.option("--again", is_flag=True, help="The key that was revoked, which the Box's gateway still has.")
@_new_place_options
@mongo_option()
@pass_place
def add(place: KeyPlace, who: tuple[str, ...], of_backend: bool, public_key: str | None, again: bool) -> None:
    """Admit WHO: make a key pair for each, or take the public key of a pair that a Box made itself.

    A Box whose key was revoked gets a new pair too, which its gateway then needs; with --again it keeps the
    one that it has.

    With --backend, a service on another machine needs, in a folder like this one,
    `public_keys/opqserver.key` and `private_keys/opqpeer_NAME_secret`.

    \b
    Examples: opq-tools keys add 5-9
              opq-tools keys add 7 --public-key opqbox7.key
              opq-tools keys add --backend cloud view
    """
    if again and (of_backend or public_key is not None):
        raise click.UsageError("--again is for Boxes, without --public-key: their revoked key is taken")
    if of_backend:
        add_service(place, _names(who), public_key)
        return
    boxes = _ids(who)
    public = _key_of(boxes, public_key)
    register = KeyRegister(KeyFolder(place.key_folder_to_fill("curve")))
    log = KeyLog(place, register, "admitted a Box by its key", "box")
    former = {box_id: register.revoked_key(box_id) for box_id in boxes}

    def one(box_id: str) -> list[Path]:
        written = register.admit_again(box_id) if again else register.add(box_id, public)
        if not again and former[box_id] not in (None, public):
            click.echo(
                f"Box {box_id} has another key than the one that was revoked: its gateway needs "
                f"{written[0]}, or a new start where that is its own folder",
                err=True,
            )
        return written

    _report(_each(boxes, one, log), place)


@command.command("revoke", short_help="Revoke Boxes' keys: their connections end within a second.")
@_who
@_backend
@_place_options
@mongo_option()
@pass_place
def revoke(place: KeyPlace, who: tuple[str, ...], of_backend: bool) -> None:
    """Revoke the keys of WHO: their connections end within a second, and no others.

    \b
    Examples: opq-tools keys revoke 4
              opq-tools keys revoke --backend view
    """
    if of_backend:
        revoke_service(place, _names(who))
        return
    boxes = _ids(who)
    register = _register(place)

    def one(box_id: str) -> list[Path]:
        if not register.revoke(box_id):
            raise KeyFileError(f"Box {box_id} has no admitted key; nothing to revoke")
        return []

    _report(_each(boxes, one, KeyLog(place, register, "revoked a key", "box")), place)


@command.command("rotate", short_help="Exchange keys while Boxes send.")
@_who
@click.option("--server", "of_server", is_flag=True, help="The server's own pair, by which clients know it.")
@click.option("--backend", "of_backend", is_flag=True, help="With --server: the pair that services use.")
@_public
@click.option(
    "--force",
    is_flag=True,
    help="Also where an exchange is still waiting; with --server also where a client loses its connection.",
)
@_place_options
@mongo_option()
@pass_place
def rotate(
    place: KeyPlace,
    who: tuple[str, ...],
    of_backend: bool,
    of_server: bool,
    public_key: str | None,
    force: bool,
) -> None:
    """Exchange the keys of WHO while they send; both keys are admitted until the new one is used.

    Copy each private file to its gateway and restart the gateway. The first frame with the new key makes the
    old one invalid. Until then `keys list` shows `rotating`.

    With --server the pair is replaced from the next start of the services that bind, and none can connect
    with the old public key: refused while Boxes are admitted, and with --backend while a name is admitted
    whose private file is on another machine.

    \b
    Examples: opq-tools keys rotate 1
              opq-tools keys rotate --server --backend
    """
    if of_server:
        if who or public_key is not None:
            raise click.UsageError("--server is for the server's own pair; leave out WHO and --public-key")
        rotate_server(place, of_backend, force)
        return
    if of_backend:
        raise click.UsageError(
            "a service's key is not exchanged: add a second name with keys add --backend, set "
            "backend_keys.name, start the services again, and revoke the first"
        )
    boxes = _ids(who)
    register, public = _register(place), _key_of(boxes, public_key)
    log = KeyLog(place, register, "began to exchange a key", "box")
    _report(_each(boxes, lambda box_id: register.rotate(box_id, public, force), log), place)


def _register(place: KeyPlace) -> KeyRegister:
    return KeyRegister(KeyFolder(place.key_folder("curve")))


def _key_of(boxes: tuple[str, ...], text: str | None) -> bytes | None:
    if text is None:
        return None
    if len(boxes) != 1:
        raise click.UsageError("--public-key is for one Box; name one Box")
    if Path(text).is_file():
        return read_key_file(text).public
    try:
        return checked_public_key(text)
    except KeyFileError as error:
        raise click.UsageError(f"--public-key: {error}; a file of that name is not there either") from error


def _each(boxes: tuple[str, ...], one: Callable[[str], list[Path]], log: KeyLog) -> dict[str, list[Path]]:
    """Box -> files written; does all Boxes that it can, then raises KeyFileError for the others."""
    done: dict[str, list[Path]] = {}
    problems = []
    for box_id in boxes:
        try:
            done[box_id] = one(box_id)
        except KeyFileError as error:
            problems.append(str(error))
    log.write(done)
    if problems:
        names = f"; done: Boxes {', '.join(done)}" if done else ""
        raise KeyFileError("; ".join(problems[:10]) + names)
    return done


def _report(done: Mapping[str, list[Path]], place: KeyPlace) -> None:
    if place.as_json:
        rows = [{"box_id": box_id, "files": [str(path) for path in paths]} for box_id, paths in done.items()]
        click.echo(json.dumps(rows, indent=1))
        return
    for box_id, paths in done.items():
        click.echo("\n".join(map(str, paths)) if paths else f"Box {box_id} is shut out")


def _is_connected(connected: dict[str, int] | None, box_id: str) -> bool | None:
    """Whether a Box is connected; None where no broker answers, or an unnamed connection may be the Box's."""
    if connected is None:
        return None
    return True if connected.get(box_id, 0) > 0 else None if UNKNOWN in connected else False


def _connections(port_offset: int) -> dict[str, int] | None:
    """`ConnectedService.connections` of the broker that runs on this machine; None: no broker answers."""
    for name in ASKED_SERVICES:
        try:
            url = f"http://127.0.0.1:{with_offset(name, port_offset)}/connections"
            found = json.loads(fetch(url, TIMEOUT_S, LARGEST_ANSWER_BYTES))
        except (OSError, ValueError):
            continue
        if isinstance(found, dict) and all(isinstance(count, int) for count in found.values()):
            return found
    return None


def _last_seen(place: KeyPlace) -> dict[str, int]:
    folder = place.data_folder()
    if place.mongo_uri is None and not (folder / FILE_NAME).exists():
        return {}
    store = open_store(place.mongo_uri, folder)
    try:
        return {box_id: row.timestamp_ms for box_id, row in store.latest_measurements().items()}
    finally:
        store.close()
