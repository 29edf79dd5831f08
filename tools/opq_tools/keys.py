"""`opq-tools keys`: who is admitted, on a running and on a stopped cloud.

The key folder is the list: brokers watch it, so that a change holds within a second without a restart. Who is
connected is asked of a running broker.
"""

import json
import time
from collections.abc import Callable, Collection, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.request import urlopen

import click

from opq_cloud.command_audit import key_values, note_in_store
from opq_cloud.service import REFUSED, UNKNOWN
from opq_cloud.store import FILE_NAME, open_store
from opq_proto.config import default_data_dir
from opq_proto.errors import KeyFileError, StoreError
from opq_proto.key_register import KeyRegister, key_fingerprint
from opq_proto.keys import KeyFolder, checked_public_key, read_key_file
from opq_proto.ports import with_offset
from opq_tools.keygen import box_ids
from opq_tools.keys_backend import backend

F = TypeVar("F", bound=Callable[..., object])
ASK_S = 2.0
LARGEST_ANSWER_BYTES = 64 * 2**20
WHERE = ("mauka_health", "triggering_broker_health")
"""Who may answer: the whole, in `up` and `opq-cloud all`, or a triggering broker alone."""

UNNAMED = {
    UNKNOWN: "are in their handshake, or were too many at once to see whose each is",
    REFUSED: "are of keys that are not admitted",
}


def _ids(context: click.Context, parameter: click.Parameter, text: str) -> tuple[str, ...]:
    found = box_ids(text)
    if not found:
        raise click.BadParameter("want Boxes, e.g. 1,2,5-9")
    return found


def _key_options(command: F) -> F:
    for option in reversed(
        (
            click.option(
                "--keys",
                "folder",
                type=click.Path(file_okay=False, path_type=Path),
                help="Key folder.  [default: curve in --data-dir]",
            ),
            click.option(
                "--data-dir",
                type=click.Path(file_okay=False, path_type=Path),
                help="Holds the key folder.  [default: that of `up`]",
            ),
            click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
        )
    ):
        command = option(command)
    return command


_mongo = click.option("--mongo-uri", help="The store with the log of changes, where it is a MongoDB.")
_boxes = click.argument("boxes", metavar="BOXES", callback=_ids)
_public = click.option(
    "--public-key",
    metavar="KEY",
    help="Public key of a Box that made its pair itself: 40 characters of Z85, or its file.",
)


@click.group("keys", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Who is admitted: list, add, revoke and exchange keys, on a running and on a stopped cloud.

    \b
    Examples: opq-tools keys list
              opq-tools keys rotate 1,2,5-9
    """


command.add_command(backend)


@command.command("list", short_help="Every Box's key, its state, and whether it is connected.")
@_key_options
@click.option("--mongo-uri", help="The store, where it is a MongoDB: it knows when a Box was last heard.")
@click.option("--port-offset", type=int, default=0, help="The port offset of the running system.")
def list_keys(
    folder: Path | None, data_dir: Path | None, as_json: bool, mongo_uri: str | None, port_offset: int
) -> None:
    """Every Box's key, its state, and whether it is connected; null where no broker can say.

    Example: opq-tools keys list --json
    """
    entries, problems = _register(folder, data_dir).entries()
    connected, last_ms = _connections(port_offset), _last_seen(mongo_uri, data_dir)
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
    for name, why in UNNAMED.items():
        if connected is not None and name in connected:
            click.echo(f"{connected[name]} connections {why}", err=True)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(row["since_ms"] / 1000))
        line = {None: "", True: "  connected", False: "  not connected"}[row["connected"]]
        click.echo(f"{row['box_id']:>6}  {row['public_key']}  {row['state']} since {since} UTC{line}")
        click.echo(f"        fingerprint {row['fingerprint']}")
    if not rows:
        click.echo("no Box has a key; opq-tools keys add 1 makes one")


@command.command("add", short_help="Admit Boxes, with new pairs or by public keys.")
@_boxes
@_public
@_key_options
@_mongo
def add(
    boxes: tuple[str, ...],
    public_key: str | None,
    folder: Path | None,
    data_dir: Path | None,
    as_json: bool,
    mongo_uri: str | None,
) -> None:
    """Admit Boxes: make a pair for each, or take the public key that one of them made itself.

    \b
    Examples: opq-tools keys add 5-9
              opq-tools keys add 7 --public-key opqbox7.key
    """
    register, public = _register(folder, data_dir), _key_of(boxes, public_key)
    log = KeyLog(register, "admitted a Box by its key", folder, data_dir, mongo_uri)
    _report(_each(boxes, lambda box_id: register.add(box_id, public), log), as_json)


@command.command("revoke", short_help="Shut Boxes out: their connections end within a second.")
@_boxes
@_key_options
@_mongo
def revoke(
    boxes: tuple[str, ...],
    folder: Path | None,
    data_dir: Path | None,
    as_json: bool,
    mongo_uri: str | None,
) -> None:
    """Shut Boxes out: their connections end within a second, and nobody else's.

    Example: opq-tools keys revoke 4
    """
    register = _register(folder, data_dir)

    def one(box_id: str) -> list[Path]:
        if not register.revoke(box_id):
            raise KeyFileError(f"Box {box_id} has no key that is admitted; nothing to revoke")
        return []

    _report(_each(boxes, one, KeyLog(register, "revoked a key", folder, data_dir, mongo_uri)), as_json)


@command.command("rotate", short_help="Exchange keys while Boxes send.")
@_boxes
@_public
@click.option(
    "--force", is_flag=True, help="Also where an exchange waits: the key that was made for it ends."
)
@_key_options
@_mongo
def rotate(
    boxes: tuple[str, ...],
    public_key: str | None,
    force: bool,
    folder: Path | None,
    data_dir: Path | None,
    as_json: bool,
    mongo_uri: str | None,
) -> None:
    """Exchange keys while Boxes send: the new one is admitted beside the old one, until it has spoken.

    Bring each private file to its gateway and start that again; the first frame with the new key ends the
    old one. Until then `keys list` says rotating.

    Example: opq-tools keys rotate 1
    """
    register, public = _register(folder, data_dir), _key_of(boxes, public_key)
    log = KeyLog(register, "began to exchange a key", folder, data_dir, mongo_uri)
    _report(_each(boxes, lambda box_id: register.rotate(box_id, public, force), log), as_json)


def _register(folder: Path | None, data_dir: Path | None) -> KeyRegister:
    return KeyRegister(KeyFolder(folder or (data_dir or default_data_dir()) / "curve"))


def _key_of(boxes: tuple[str, ...], text: str | None) -> bytes | None:
    if text is None:
        return None
    if len(boxes) != 1:
        raise click.UsageError("--public-key is one Box's; name one Box")
    if Path(text).is_file():
        return read_key_file(text).public
    try:
        return checked_public_key(text)
    except KeyFileError as error:
        raise click.UsageError(f"--public-key: {error}; a file of that name is not there either") from error


class KeyLog:
    """What a command changed, for the log of changes of the store beside the key folder, if there is one."""

    def __init__(
        self,
        register: KeyRegister,
        what: str,
        folder: Path | None,
        data_dir: Path | None,
        mongo_uri: str | None,
    ) -> None:
        self._register, self._what, self._mongo_uri = register, what, mongo_uri
        self._data_dir = data_dir or (default_data_dir() if folder is None else folder.parent)
        self._before = self._values()

    def write(self, boxes: Collection[str]) -> None:
        """The store that cannot be written is said, and the change holds."""
        after, none = self._values(), {"key": "none"}
        entries: list[tuple[str, str, Mapping[str, object], Mapping[str, object]]] = [
            (self._what, f"box {box_id}", self._before.get(box_id, none), after.get(box_id, none))
            for box_id in boxes
        ]
        try:
            note_in_store(self._mongo_uri, self._data_dir, entries)
        except StoreError as error:
            click.echo(f"opq-tools keys: done, but not in the log of changes: {error}", err=True)

    def _values(self) -> dict[str, Mapping[str, object]]:
        try:
            entries = self._register.entries()[0]
        except KeyFileError:
            return {}
        return {each.box_id: key_values(each) for each in entries}


def _each(boxes: tuple[str, ...], one: Callable[[str], list[Path]], log: KeyLog) -> dict[str, list[Path]]:
    """What was written for each Box; one that cannot be done leaves the others done, and is said."""
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


def _report(done: Mapping[str, list[Path]], as_json: bool) -> None:
    if as_json:
        rows = [{"box_id": box_id, "files": [str(path) for path in paths]} for box_id, paths in done.items()]
        click.echo(json.dumps(rows, indent=1))
        return
    for box_id, paths in done.items():
        click.echo("\n".join(map(str, paths)) if paths else f"Box {box_id} is shut out")


def _is_connected(connected: dict[str, int] | None, box_id: str) -> bool | None:
    """None: nobody says, or it may be among those that are not named."""
    if connected is None:
        return None
    return True if connected.get(box_id, 0) > 0 else None if UNKNOWN in connected else False


def _connections(port_offset: int) -> dict[str, int] | None:
    """As `ConnectedService.connections`, of whoever runs on this machine; None: nobody answers."""
    for name in WHERE:
        try:
            url = f"http://127.0.0.1:{with_offset(name, port_offset)}/connections"
            with urlopen(url, timeout=ASK_S) as answer:
                found = json.loads(answer.read(LARGEST_ANSWER_BYTES))
        except (URLError, HTTPException, OSError, ValueError):
            continue
        if isinstance(found, dict) and all(isinstance(count, int) for count in found.values()):
            return found
    return None


def _last_seen(mongo_uri: str | None, data_dir: Path | None) -> dict[str, int]:
    folder = data_dir or default_data_dir()
    if mongo_uri is None and not (folder / FILE_NAME).exists():
        return {}
    store = open_store(mongo_uri, folder)
    try:
        return {box_id: row.timestamp_ms for box_id, row in store.latest_measurements().items()}
    finally:
        store.close()
