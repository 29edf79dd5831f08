"""SqliteDatabase: one SQLite file with a writer thread, group commit, and a pool of readers.

A write is a job: a function of the connection that the one writer thread of this process runs inside
BEGIN IMMEDIATE, with as many others as wait, and commits together with synchronous=FULL: when `write`
returns, its work is on disk. Several processes may hold the file.
"""

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from opq_proto.errors import StoreError
from opq_proto.kit.sqlite_file import BUSY_S, DAMAGED, SqliteFile, store_error

GROUP_LIMIT = 256
"""Most jobs of one commit, so that the first does not wait for ever."""
QUEUE_LIMIT = 1024
"""Jobs that may wait; their callers wait with them."""
IDLE_READERS = 8
"""Readers that are kept for the next query; each holds up to `cache_size` of the pages that it has read."""

Result = TypeVar("Result")
Job = Callable[[sqlite3.Connection], Any]


class SqliteDatabase:
    """The file, its writer thread and its readers."""

    def __init__(
        self,
        path: Path,
        migrations: Sequence[str],
        *,
        application_id: int,
        busy_s: float = BUSY_S,
        pragmas: Sequence[str] = (),
        name: str = "sqlite-writer",
        damaged: str = DAMAGED,
    ) -> None:
        """Opens as `SqliteFile` does, but every error is a StoreError. `name` is the thread's name.

        `damaged` says what to do about a damaged file.
        """
        self.path, self._damaged = path, damaged
        self._pragmas = ("synchronous=FULL", *pragmas)
        self._jobs: queue.Queue[tuple[Job, Future[Any]] | None] = queue.Queue(QUEUE_LIMIT)
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        self._submit_lock = threading.Lock()
        self._open = True
        self._rolled_back: list[Callable[[], None]] = []
        try:
            self._file = SqliteFile(
                path, migrations, application_id=application_id, busy_s=busy_s, pragmas=pragmas
            )
        except (OSError, sqlite3.Error) as error:
            raise self._store_error(error) from error
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def read_only(self) -> bool:
        return self._file.read_only

    def write(self, job: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `job` in the writer's transaction; returns its result once that is on disk.

        A job may run twice (when a neighbour in its group failed): what it changes outside the
        database must bear that.
        """
        result: Result = self.submit(job).result()
        return result

    def submit(self, job: Callable[[sqlite3.Connection], Result]) -> Future[Result]:
        """Queue `job` and go on; waits only while QUEUE_LIMIT others wait."""
        future: Future[Result] = Future()
        with self._submit_lock:
            if not self._open:
                raise StoreError(f"{self.path}: the store is closed")
            self._jobs.put((job, future))
        return future

    def foreign_version(self) -> int | None:
        """Returns a number that changes with each commit of another process, or another SqliteDatabase here.

        None while the writer is at work, so that callers never wait for it.
        """
        try:
            return self._file.data_version()
        except sqlite3.Error as error:
            raise self._store_error(error) from error

    def lost(self) -> str | None:
        """Returns `SqliteFile.lost`."""
        return self._file.lost()

    def on_rollback(self, call: Callable[[], None]) -> None:
        """Registers `call`, which runs in the writer thread after the work of a job was rolled back."""
        self._rolled_back.append(call)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a read transaction: all its queries see one state of the file."""
        connection = self._reader()
        try:
            connection.execute("BEGIN")
            yield connection
        except sqlite3.Error as error:
            raise self._store_error(error) from error
        finally:
            self._return_reader(connection)

    def close(self) -> None:
        """Finish the jobs that wait, then close every connection. A second call does nothing."""
        with self._submit_lock:
            if not self._open:
                return
            with self._idle_lock:
                self._open = False
            self._jobs.put(None)
        self._thread.join()
        with self._idle_lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self._file.close()

    def _store_error(self, error: Exception) -> StoreError:
        return store_error(self.path, error, self._damaged)

    def _reader(self) -> sqlite3.Connection:
        with self._idle_lock:
            if not self._open:
                raise StoreError(f"{self.path}: the store is closed")
            if self._idle:
                return self._idle.pop()
        try:
            connection = self._file.connected()
            for pragma in self._pragmas:
                connection.execute(f"PRAGMA {pragma}")
        except sqlite3.Error as error:
            raise self._store_error(error) from error
        return connection

    def _return_reader(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        with self._idle_lock:
            if self._open and len(self._idle) < IDLE_READERS:
                self._idle.append(connection)
                return
        connection.close()

    def _work(self) -> None:
        last = False
        while not last:
            group: list[tuple[Job, Future[Any]]] = []
            item = self._jobs.get()
            while item is not None:
                group.append(item)
                if len(group) >= GROUP_LIMIT:
                    break
                try:
                    item = self._jobs.get_nowait()
                except queue.Empty:
                    break
            last = item is None
            if group and not self._commit(group) and len(group) > 1:
                for one in group:  # one of them failed: each again on its own
                    self._commit([one])

    def _commit(self, group: list[tuple[Job, Future[Any]]]) -> bool:
        """Run and commit `group`; False when it failed: a job alone has its answer, several have none yet."""
        results: list[Any] = []
        try:
            with self._file.transaction() as connection:
                results.extend(job(connection) for job, _ in group)
        except BaseException as error:  # handed to the caller who waits for this job
            for call in self._rolled_back:
                call()
            if len(group) == 1:
                failure = self._store_error(error) if isinstance(error, sqlite3.Error) else error
                group[0][1].set_exception(failure)
            return False
        for (_, future), result in zip(group, results, strict=True):
            future.set_result(result)
        return True
