"""`opq-tools restore`: puts a back-up into an empty data folder."""

import errno
import fcntl
import json
import os
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

import click

from opq_proto.errors import OpqError
from opq_proto.kit.shared_options import json_option, mongo_option, new_data_dir_option
from opq_proto.kit.system_place import default_data_dir
from opq_proto.kit.system_record import RESTORED, RESTORING
from opq_proto.kit.whole_file import PRIVATE_MODE, flush_to_disk, write_whole_file
from opq_tools.keep.archive import PIECE_BYTES, STORE_FILES, ArchiveError, Manifest, read_archive

SET_ASIDE = "cloud.toml.restored"
MOVED = "moved.json"
"""In D/.restoring: the names that are moved, or will be."""
KEPT = {"lost+found"}
"""What the folder of an empty disk has."""


class RestoreError(OpqError):
    """Nothing was restored."""


class _RestoredFolder:
    """A folder that gets the files of an archive: all of them, or none.

    They are unpacked into D/.restoring, and moved to their places once all are there and right. The folder
    itself stays, because it may be a mount point. Nothing starts while D/.restoring is there; if this is
    killed, the next call removes what it left. The folder is locked against another restore until the end.
    """

    def __init__(self, folder: Path) -> None:
        """Raises RestoreError: the folder is in use. Raises OSError."""
        self._folder, self._marker = folder, folder / RESTORING
        self.unpacked = self._marker / "files"
        self._is_new = not folder.exists()
        if not self._is_new and not folder.is_dir():
            raise RestoreError(f"{folder}: is not a folder; give another by --data-dir")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock_folder(folder)
        try:
            self._remove_unfinished()
            if {each.name for each in folder.iterdir()} - KEPT:
                raise RestoreError(f"{folder}: is not empty; move it away, or give another by --data-dir")
            self._marker.mkdir(mode=0o700)
            self.unpacked.mkdir(mode=0o700)
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._abandon()
        os.close(self._lock)

    def _remove_unfinished(self) -> None:
        try:
            names = json.loads((self._marker / MOVED).read_bytes())
        except (FileNotFoundError, ValueError):  # nothing was moved yet
            names = []
        for name in map(str, names):
            place = self._folder / Path(name).name
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        if self._marker.exists():
            shutil.rmtree(self._marker)

    def put_in_place(self) -> None:
        """Moves all files to their places, the store last. Raises OSError."""
        names = sorted(
            (each.name for each in self.unpacked.iterdir()), key=lambda name: (name in STORE_FILES, name)
        )
        owner = self._folder.stat()
        if os.geteuid() == 0 and owner.st_uid != 0:  # root restores for the user of the services
            for folder, folders, files in os.walk(self.unpacked):
                for name in (*folders, *files):
                    os.chown(Path(folder) / name, owner.st_uid, owner.st_gid)
        write_whole_file(self._marker / MOVED, [json.dumps(names).encode()], PRIVATE_MODE)
        flush_to_disk(self._marker)
        for name in names:
            (self.unpacked / name).replace(self._folder / name)
        flush_to_disk(self._folder)
        ended = self._marker.replace(self._folder / RESTORED)  # from here on all is there
        flush_to_disk(self._folder)  # or a power cut brings D/.restoring back
        shutil.rmtree(ended, ignore_errors=True)  # nothing reads what may stay of it

    def _abandon(self) -> None:
        """Removes what is there of an archive that was not restored."""
        with suppress(OSError):
            self._remove_unfinished()
            if self._is_new:
                self._folder.rmdir()


def _lock_folder(folder: Path) -> int:
    """Locks the folder for this restore, as long as the returned descriptor is open.

    Raises:
        RestoreError: another restore works there.
        OSError: the folder cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise RestoreError(f"{folder}: another restore works there; wait for it, or end it") from error
    except OSError:  # NFS does not lock a folder, and is restored into without a lock
        pass
    return descriptor


def restore(archive: Path, into: Path, mongo_uri: str | None = None) -> Manifest:
    """Puts an archive's files into a folder that is empty or not there; all of them, or none.

    Args:
        mongo_uri: an empty MongoDB that gets the store; if this is ended, it goes on when it is called again.
    Raises:
        StoreError: the MongoDB has data already, or fails.
        ArchiveError: the archive is not whole.
        RestoreError: the folder is in use, or does not take the files.
        OSError: the folder cannot be used.
    """

    def take(name: str, mode: int, content: IO[bytes]) -> None:
        path = restored.unpacked / name
        try:
            for folder in reversed(Path(name).parents):
                (restored.unpacked / folder).mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as out:
                for piece in _pieces(archive, content):
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:  # the folder does not take it; the archive that is read is well
            raise RestoreError(f"{into}: {error.strerror or error}{_wants(archive, into, error)}") from error

    with _RestoredFolder(into) as restored:
        manifest = read_archive(archive, take)
        if mongo_uri:
            from opq_tools.keep.mongo import move_into_mongo

            if STORE_FILES[0] not in manifest.files:
                raise RestoreError(f"{archive}: has no store; leave out --mongo-uri")
            move_into_mongo(restored.unpacked, mongo_uri, str(archive.resolve()))
        _set_config_aside(restored.unpacked, into, mongo_uri)
        restored.put_in_place()
    return manifest


def _pieces(archive: Path, content: IO[bytes]) -> Iterator[bytes]:
    """The content piece by piece. Raises ArchiveError: the archive cannot be read."""
    while True:
        try:
            piece = content.read(PIECE_BYTES)
        except OSError as error:
            raise ArchiveError(f"{archive}: {error.strerror or error}") from error
        if not piece:
            return
        yield piece


def _wants(archive: Path, into: Path, error: OSError) -> str:
    """How much a full disk would need; empty for another error."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return ""
    size, free = archive.stat().st_size, shutil.disk_usage(into).free
    return f"; {archive.name} has {size:,} bytes, and {free:,} bytes were left"


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
@new_data_dir_option
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
