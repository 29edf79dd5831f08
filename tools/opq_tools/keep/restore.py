"""`opq-tools restore`: puts a back-up into an empty data folder."""

import json
import os
import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import IO

import click

from opq_proto.errors import OpqError
from opq_proto.kit.shared_options import data_dir_option, json_option, mongo_option
from opq_proto.kit.system_place import default_data_dir
from opq_tools.keep.archive import PIECE_BYTES, STORE_FILES, Manifest, read_archive

SET_ASIDE = "cloud.toml.restored"


class RestoreError(OpqError):
    """Nothing was restored."""


def restore(archive: Path, into: Path, mongo_uri: str | None = None) -> Manifest:
    """Puts an archive's files into a folder that is empty or not there; all of them, or none.

    Args:
        mongo_uri: an empty MongoDB that gets the store; if this is ended, it goes on when it is called again.
    Raises:
        StoreError: the MongoDB has data already, or fails.
        ArchiveError: the archive is not whole.
        RestoreError: the folder is in use.
        OSError: the disk does not take it.
    """
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise RestoreError(f"{into}: is not empty; move it away, or give another by --data-dir")
    into.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=into.parent, prefix=f".{into.name}-restoring-"))  # mode 0700

    def take(name: str, mode: int, content: IO[bytes]) -> None:
        path = unfinished / name
        for folder in reversed(Path(name).parents):
            (unfinished / folder).mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as out:
            while piece := content.read(PIECE_BYTES):
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())

    try:
        manifest = read_archive(archive, take)
        if mongo_uri:
            from opq_tools.keep.mongo import move_into_mongo

            if STORE_FILES[0] not in manifest.files:
                raise RestoreError(f"{archive}: has no store; leave out --mongo-uri")
            move_into_mongo(unfinished, mongo_uri, str(archive.resolve()))
        _set_config_aside(unfinished, into, mongo_uri)
        unfinished.replace(into)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return manifest


def _set_config_aside(folder: Path, into: Path, mongo_uri: str | None) -> None:
    """Renames the configuration that `up` wrote if it names another store, that of the copied system.

    Commands with this --data-dir would read and change that one. `into`: where the folder is put.
    """
    path = folder / "config" / "cloud.toml"
    try:
        named = tomllib.loads(path.read_text()).get("store")
    except (OSError, ValueError):
        return
    if not isinstance(named, dict):
        return
    elsewhere = Path(str(named.get("data_dir") or into)).resolve() != into.resolve()
    if elsewhere or named.get("mongo_uri") != mongo_uri:
        path.replace(path.with_name(SET_ASIDE))
        click.echo(f"config/cloud.toml names the store of the copied system: now {SET_ASIDE}", err=True)


@click.command(short_help="Put a back-up into an empty data folder.")
@click.argument("archive", type=click.Path(path_type=Path, dir_okay=False))
@data_dir_option
@mongo_option
@json_option
def command(archive: Path, data_dir: Path | None, mongo_uri: str | None, as_json: bool) -> None:
    """Put a back-up into an empty data folder, on this or another machine; all of it, or nothing.

    With --mongo-uri the store goes into that empty MongoDB, and the rest into the folder.

    Start the system on that folder afterwards. Boxes send again what their gateway still holds; the store
    takes each Measurement once.

    Example: opq-tools restore opq-20261126T120000Z.tar --data-dir /var/lib/opq
    """
    into = data_dir or default_data_dir()
    try:
        manifest = restore(archive, into, mongo_uri)
    except OSError as error:
        raise RestoreError(f"{error.filename or into}: {error.strerror or error}") from error
    if as_json:
        click.echo(json.dumps({"data_dir": str(into), **manifest.in_short()}))
    else:
        what = f"{len(manifest.files)} files, {manifest.bytes:,} bytes"
        click.echo(f"{into}: {what}, as they were at {manifest.made_at}")
