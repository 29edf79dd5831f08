"""SqliteFile: one SQLite file in WAL mode, checked and migrated; one connection under a lock; transactions.

Only its owner may read it, because it may contain measurements of a person's home, passwords and names.
Several processes may hold the file. Many writers of one process use `kit.sqlite_database`. On a file
system that is mounted read-only an existing file is opened for reading alone.
"""

import contextlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from opq_proto.errors import OtherFormError, OtherSchemaError, StoreError
from opq_proto.kit.whole_file import PRIVATE_MODE, private_folder

IN_MEMORY = ":memory:"
"""SQLite's name for a database in memory."""
BUSY_S = 20.0
"""How long a writer waits for the writers of other processes."""
WAL_LIMIT_BYTES = 64 << 20
"""A write-ahead log that grew beyond this is cut to this size."""

LOST = (
    "what is stored from now on may be lost; end all programs of this data folder, start them again, and run "
    "opq-tools store check"
)
"""What follows from a lost file, log or lock, and what to do."""

Row = tuple[Any, ...]
Synchronous = Literal["NORMAL", "FULL"]
"""FULL: what is committed survives a power cut. NORMAL: it survives the process, and a power cut may take
the last seconds, but never breaks the file."""


def is_on_read_only(path: Path) -> bool:
    """Whether a file or folder is on a file system that is mounted read-only."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def reading_address(path: Path) -> str:
    """The URI by which SQLite reads a file and changes nothing, also on a read-only file system.

    A write-ahead log there is read where SQLite can share it with its writer. Without one no process writes
    the file, and it is read as it is. Source: sqlite.org/wal.html, read-only databases.
    """
    path = path.absolute()
    as_it_is = path.is_file() and is_on_read_only(path) and not Path(f"{path}-wal").exists()
    return f"{path.as_uri()}?{'immutable=1' if as_it_is else 'mode=ro'}"


class SqliteFile:
    """One file and one connection, which threads share under a lock.

    Attributes:
        connection: for what the methods do not cover; the caller then sees to the lock.
        read_only: the file system is mounted read-only.
    """

    def __init__(
        self,
        path: Path,
        migrations: Sequence[str],
        *,
        application_id: int,
        synchronous: Synchronous = "FULL",
        busy_s: float = BUSY_S,
        pragmas: Iterable[str] = (),
    ) -> None:
        """Open or create `path`, and bring it to the present schema.

        Args:
            migrations: script k changes schema k to k + 1; a published one is never changed.
            application_id: marks files of this form; a file with another one is refused.
            pragmas: further ones, e.g. `cache_size=-16000`.
        Raises:
            StoreError: the file has another form, or belongs to a newer version of this program.
            sqlite3.Error, OSError: it cannot be opened; `store_error` says what to do.
        """
        self.path = path
        self._lock = threading.RLock()
        self._synchronous, self._busy_s = synchronous, busy_s
        private_folder(path.parent, ours=False)
        self.read_only = path.is_file() and is_on_read_only(path)
        if str(path) != IN_MEMORY and not self.read_only:
            _keep_private(path)
        self.connection = self.connected()
        try:
            if not self.read_only:
                _enter_wal(self.connection, busy_s)
            for pragma in (f"synchronous={synchronous}", f"journal_size_limit={WAL_LIMIT_BYTES}", *pragmas):
                self.connection.execute(f"PRAGMA {pragma}")
            migrate(self.connection, path, migrations, application_id, self.read_only)
            self._inodes = {} if self.read_only else _inodes(path, Path(f"{path}-wal"))
            self._lock_shown = bool(self._has_lock())
        except BaseException as error:
            self.connection.close()
            if self.read_only and isinstance(error, sqlite3.OperationalError):
                raise StoreError(
                    f"{path}: its write-ahead log cannot be read on a read-only file system ({error}); "
                    "copy the data folder to where it can be written"
                ) from error
            raise

    def connected(self) -> sqlite3.Connection:
        """A further connection to the file."""
        address = reading_address(self.path) if self.read_only else str(self.path)
        return sqlite3.connect(
            address, self._busy_s, isolation_level=None, check_same_thread=False, uri=self.read_only
        )

    @contextmanager
    def transaction(self, synced: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection inside BEGIN IMMEDIATE: COMMIT at the end, ROLLBACK on any exception.

        `synced`: committed with synchronous=FULL, whatever the file's own is.
        """
        with self._lock:
            fuller = synced and self._synchronous != "FULL"
            if fuller:
                self.connection.execute("PRAGMA synchronous=FULL")
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
            finally:
                if fuller:
                    self.connection.execute(f"PRAGMA synchronous={self._synchronous}")

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """One statement, committed."""
        with self._lock:
            self.connection.execute(statement, parameters)

    def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """`statement` for each of `rows` in one transaction."""
        with self.transaction() as connection:
            connection.executemany(statement, rows)

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a SELECT."""
        with self._lock:
            return self.connection.execute(statement, parameters).fetchall()

    def query_row(self, statement: str, parameters: Sequence[Any] = ()) -> Row | None:
        """The first row of a SELECT, or None."""
        with self._lock:
            row: Row | None = self.connection.execute(statement, parameters).fetchone()
        return row

    def data_version(self) -> int | None:
        """Returns a number that changes with each commit of another connection; None while this one is in
        use.

        Source: sqlite.org/pragma.html#pragma_data_version.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return int(self.connection.execute("PRAGMA data_version").fetchone()[0])
        finally:
            self._lock.release()

    def lost(self) -> str | None:
        """Returns what happened to the file, its log or its locks while it is open; None: nothing.

        Never waits. It opens neither file, because closing one ends all locks of this process on it.
        """
        for path, inode in self._inodes.items():
            try:
                status = path.stat()
            except OSError as error:
                return f"{path}: {error.strerror}: {LOST}"
            if status.st_ino != inode:
                return f"{path}: was replaced by another file while it is in use: {LOST}"
            if path == self.path and not status.st_size:
                return f"{path}: is empty (0 bytes) while in use; opq-tools restore a back-up"
        # twice: the kernel's list may skip a row while others change
        if self._lock_shown and self._has_lock() is False and self._has_lock() is False:
            return f"{self.path}: its locks are lost, so another program may delete its log: {LOST}"
        return None

    def _has_lock(self) -> bool | None:
        """Whether the kernel lists a lock of this process on the file: SQLite holds one while a log is open.

        None: its list cannot be read.

        Source: man proc_locks; SQLite's pager.c, pager_unlock (a shared lock stays in WAL mode).
        """
        try:
            rows = Path("/proc/locks").read_text().splitlines()
        except OSError:
            return None
        mine = str(os.getpid()), str(self._inodes.get(self.path))
        return any((each[-4], each[-3].rpartition(":")[2]) == mine for each in map(str.split, rows))

    def close(self) -> None:
        with self._lock:
            self._inodes, self._lock_shown = {}, False  # first: the last one who closes deletes the log
            self.connection.close()


def _inodes(*paths: Path) -> dict[Path, int]:
    """Returns the inode of each file that is there."""
    return {path: path.stat().st_ino for path in paths if path.is_file()}


def run_migration(connection: sqlite3.Connection, script: str) -> None:
    """Runs one migration, in the caller's transaction."""
    statement = ""
    for part in script.split(";"):
        statement += f"{part};"
        if part.strip() and sqlite3.complete_statement(statement):  # a trigger has semicolons inside
            connection.execute(statement)
            statement = ""


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    migrations: Sequence[str],
    application_id: int,
    read_only: bool = False,
) -> None:
    """Checks the form of the file, and runs missing migrations, in one transaction.

    Raises:
        StoreError: the file has another form or belongs to a newer version of this program, or its schema
            is behind and it cannot be written.
        sqlite3.Error: SQLite refuses.
    """
    connection.execute("BEGIN" if read_only else "BEGIN IMMEDIATE")
    try:
        version, owner, tables = (
            int(connection.execute(question).fetchone()[0])
            for question in (
                "PRAGMA user_version",
                "PRAGMA application_id",
                "SELECT count(*) FROM sqlite_master",
            )
        )
        if owner != application_id and tables:
            raise OtherFormError(path)
        if version > len(migrations):
            raise OtherSchemaError(path, version, len(migrations))
        if version < len(migrations) and read_only:
            raise StoreError(
                f"{path}: has schema {version}, this program makes {len(migrations)} of it, and its "
                "file system is read-only; "
                "copy the data folder to where it can be written"
            )
        if version < len(migrations):
            connection.execute(f"PRAGMA application_id = {application_id}")
            for migration in migrations[version:]:
                run_migration(connection, migration)
            connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


FILE_ERRORS: Final = (sqlite3.Error, OSError)
"""What opening and using a SqliteFile raises, for `store_error`."""


DAMAGED: Final = "it is damaged or no database; restore a copy, or choose another --data-dir"


def store_error(path: Path, error: Exception, damaged: str = DAMAGED) -> StoreError:
    """Makes a StoreError that says in one line what to do about an error of SQLite or the file system.

    Args:
        damaged: what to do about a damaged file.
    """
    text = str(error)
    if isinstance(error, OSError):
        return StoreError(f"{path}: cannot be opened: {error.strerror or text}; choose another --data-dir")
    if "malformed" in text or "not a database" in text:
        advice = damaged
    elif _is_now_read_only(path):
        advice = "its file system is read-only; mount it for writing (`dmesg` says whether the kernel did it)"
    elif "locked" in text or "busy" in text:
        advice = "another process holds it for writing; end that one, or try again"
    elif "full" in text or "disk I/O" in text:
        advice = "the disk is full or refuses to write; free space there, nothing of this call was stored"
    elif "readonly" in text or "unable to open" in text:
        advice = "it cannot be written; check its owner and mode, or choose another --data-dir"
    else:
        advice = "nothing of this call was stored"
    return StoreError(f"{path}: {text}: {advice}")


def _is_now_read_only(path: Path) -> bool:
    try:
        return is_on_read_only(path)
    except OSError:
        return False


def _keep_private(path: Path) -> None:
    """Lets only the owner read the file, also an existing one; SQLite gives its other files the same mode."""
    if not path.exists():
        path.touch(mode=PRIVATE_MODE)
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        with contextlib.suppress(FileNotFoundError, PermissionError):  # not there, or another user's
            mode = file.stat().st_mode
            if stat.S_ISREG(mode) and stat.S_IMODE(mode) & ~PRIVATE_MODE:
                file.chmod(PRIVATE_MODE)


def _enter_wal(connection: sqlite3.Connection, busy_s: float) -> None:
    deadline_s = time.monotonic() + busy_s
    while True:  # SQLite does not call its busy handler for this one
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline_s:
                raise
            time.sleep(0.02)
