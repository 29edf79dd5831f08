"""`opq-tools backup`: copies a system's data into one archive, while it runs."""

import errno
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click

from opq_proto.errors import OpqError
from opq_proto.kit import system_record
from opq_proto.kit.archive_time import SUFFIXES, is_compressed
from opq_proto.kit.shared_options import data_dir_option, json_option, mongo_option
from opq_proto.kit.sqlite_file import reading_address
from opq_proto.kit.system_place import find_system
from opq_tools.keep.archive import STORE_FILES, ArchiveWriter, Manifest, read_archive
from opq_tools.shared.progress import shown_progress

SQLITE_HEAD = b"SQLite format 3\0"
NOT_BACKED_UP = frozenset(
    {"exports", "log", "lost+found", "ports", system_record.FOLDER, system_record.RESTORED}
)
"""Of the data folder: what is made again; a restored folder is another system."""
NUMBERS_RESERVED = ".numbers-reserved"
"""Marks that no number beyond those in the gateway's queue was used. After the copy some are, so that a
gateway on the copy has to begin far behind them (`opq_gateway.uplink.sequence_numbers`)."""
DATABASE_SUFFIXES = ("-journal", "-shm", "-wal")
RING = "ring"
OF_UNITS = Path("/etc/opq/cloud.toml")
"""The cloud's configuration where systemd or a container runs it."""


class BackupError(OpqError):
    """No back-up was made; nothing of it is left."""


def copied_files(data_dir: Path, with_rings: bool) -> Iterator[Path]:
    """Yields the files of a data folder that a back-up holds, in order.

    Left out are logs, exports, locks, what SQLite keeps beside a database, and the gateway's rings of raw
    samples unless `with_rings`.
    """
    for folder, folders, names in os.walk(data_dir):
        here = Path(folder)
        top = here == data_dir
        folders[:] = sorted(
            name
            for name in folders
            if not (top and name in NOT_BACKED_UP)
            and not (name == RING and not with_rings and here.parent == data_dir / "gateway")
        )
        for name in sorted(names):
            path = here / name
            locks = name == "lock" or name.endswith(".lock")
            if (
                (top and name in NOT_BACKED_UP)
                or locks
                or name.endswith((*DATABASE_SUFFIXES, NUMBERS_RESERVED))
            ):
                continue
            if path.is_file() and not path.is_symlink():
                yield path


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(SQLITE_HEAD)) == SQLITE_HEAD


def _copied_database(path: Path, to: Path) -> Path:
    """A database as it is at one moment, whoever writes to it."""
    try:
        with (
            closing(sqlite3.connect(reading_address(path), uri=True, timeout=60)) as source,
            closing(sqlite3.connect(to)) as target,
        ):
            source.backup(target)  # in one step: a step by step copy begins again after each write
            target.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:  # reading needs no room, so it is where the copy is
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise BackupError(f"{path}: {error}; `opq-tools doctor` says what helps") from error
    to.chmod(path.stat().st_mode & 0o777)
    return to


def back_up(data_dir: Path, to: Path, with_rings: bool = False, mongo_uri: str | None = None) -> Manifest:
    """Copies the data folder into the archive `to`, which is read back before it gets its name.

    The store comes last: what a gateway's queue holds no more when it is copied is in the store by then.

    Args:
        mongo_uri: where the store is, if not in the data folder.
    Raises:
        BackupError, ArchiveError, StoreError, OSError: nothing was made.
    """
    stores = [data_dir / name for name in STORE_FILES]
    paths = sorted(copied_files(data_dir, with_rings), key=stores.__contains__)
    if mongo_uri:
        paths = [path for path in paths if path not in stores]
    elif not paths:
        raise BackupError(f"{data_dir}: holds nothing to copy; give --data-dir")
    unfinished = to.with_name(f"{to.name}.unfinished")
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        with (
            tempfile.TemporaryDirectory(dir=to.parent, prefix=".opq-backup-") as beside,
            os.fdopen(os.open(unfinished, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as out,
            ArchiveWriter(out, made_at, version("opq-toolkit"), is_compressed(to)) as archive,
            shown_progress("files", len(paths)) as show,
        ):
            for done, path in enumerate(paths):
                show(done)
                name = path.relative_to(data_dir).as_posix()
                try:
                    if _is_database(path):
                        copy = _copied_database(path, Path(beside) / "database")
                        archive.add(name, copy)
                        copy.unlink()
                    else:
                        archive.add(name, path)
                except FileNotFoundError:
                    if path.exists():
                        raise
                    continue  # it was removed meanwhile: a sealed ledger that was too old, say
            if mongo_uri:
                from opq_tools.keep.mongo import copy_from_mongo

                for path in copy_from_mongo(mongo_uri, Path(beside)):
                    archive.add(path.name, path)
            archive.close()
            out.flush()
            os.fsync(out.fileno())
        manifest = read_archive(unfinished)
        unfinished.replace(to)
    finally:
        unfinished.unlink(missing_ok=True)
    return manifest


def _named(to: Path) -> Path:
    """The archive's path. Raises BackupError: it cannot be made there."""
    if to.is_dir():
        return to / f"opq-{datetime.now(UTC):%Y%m%dT%H%M%SZ}{SUFFIXES[0]}"
    if to.exists():
        raise BackupError(f"{to}: exists already; give another name")
    if not to.name.endswith(SUFFIXES):
        raise BackupError(
            f"{to}: there is no such folder; make or mount it, "
            f"or name a file that ends with {', '.join(SUFFIXES)}"
        )
    if not to.parent.is_dir():
        raise BackupError(f"{to}: there is no folder {to.parent}; make or mount it")
    return to


@click.command(short_help="Copy a system's data into one archive, while it runs.")
@click.argument("to", type=click.Path(path_type=Path))
@click.option(
    "--rings", is_flag=True, help="Copy the gateway's rings of raw samples too: up to 2 GB a day and Box."
)
@data_dir_option
@mongo_option
@json_option
def command(to: Path, rings: bool, data_dir: Path | None, mongo_uri: str | None, as_json: bool) -> None:
    """Copy a system's data into one archive, while it runs: store, accounts, keys, settings, rules, plug-ins,
    the gateway's ledger and its queue.

    Where the configuration names a MongoDB, or --mongo-uri does, the store is copied from there, into the
    form of an embedded one, which `opq-tools restore` puts into either kind.

    TO is a folder that is there, in which the archive gets a name with the time, or a file that is made. A
    file ends with .tar; with .tar.gz or .tgz it is compressed. The archive holds secret keys and is readable
    by its owner only. docs/operating.md shows how to keep several, encrypted.

    Example: opq-tools backup /mnt/backups
    """
    folder, _ = find_system(data_dir, None)
    if not folder.is_dir():
        raise BackupError(f"{folder}: there is no such data folder; give --data-dir")
    system_record.refuse_unfinished(folder)
    if mongo_uri is None and any(each.is_file() for each in (folder / "config/cloud.toml", OF_UNITS)):
        from opq_tools.shared.opened_store import store_place  # a gateway alone has not what it needs

        mongo_uri, _ = store_place(None, folder)
    to = _named(to)
    if to.resolve().is_relative_to(folder.resolve()):
        raise BackupError(f"{to}: is in the data folder itself; give another place")
    try:
        manifest = back_up(folder, to, rings, mongo_uri)
    except OSError as error:
        raise BackupError(f"{error.filename or to}: {error.strerror or error}") from error
    if as_json:
        click.echo(json.dumps({"archive": str(to), **manifest.in_short()}))
    else:
        click.echo(f"{to}: {len(manifest.files)} files, {manifest.bytes:,} bytes, read back and compared")
        if STORE_FILES[0] not in manifest.files:
            click.echo("It has no store; where that is a MongoDB, give --mongo-uri.")
