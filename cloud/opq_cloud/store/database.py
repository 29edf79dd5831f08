"""One SQLite file: a writer thread with group commit, a pool of readers, errors in one line.

Writes are jobs: functions of the connection that the one writer thread of this process runs
inside `BEGIN IMMEDIATE`, as many as wait, and commits together with `synchronous=FULL`: when
`write` returns, its work is on disk. Several processes may hold the file (WAL).
"""

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from opq_cloud.store.schema import prepare
from opq_cloud.store.store import Ttls
from opq_proto.errors import StoreError

BUSY_S = 20.0
"""How long a writer waits for the writers of other processes."""
GROUP_LIMIT = 256
"""Jobs that one commit takes at most, so that the first does not wait for ever."""
QUEUE_LIMIT = 1024
"""Jobs that may wait; their callers wait with them."""

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], Any]


class Database:
    """The file and its connections; see the module's text."""

    def __init__(self, path: Path, busy_s: float = BUSY_S) -> None:
        """Open or create `path`, and bring it to the present schema.

        Raises:
            StoreError: no folder or file can be made there, it is no database of ours, its schema
                is newer than this program, or it stays locked.
        """
        self.path = path
        self._busy_s = busy_s
        self._jobs: queue.Queue[tuple[Job, Future[Any]] | None] = queue.Queue(QUEUE_LIMIT)
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        self._door = threading.Lock()
        self._open = True
        self._rolled_back: list[Callable[[], None]] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()
        except (OSError, sqlite3.Error) as error:
            raise explain(path, error) from error
        try:
            prepare(self._writer, path, busy_s)
        except (OSError, sqlite3.Error) as error:
            self._writer.close()
            raise explain(path, error) from error
        except StoreError:
            self._writer.close()
            raise
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self._busy_s, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -16000")  # 16 MB
        return connection

    def write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run `job` in the writer's transaction; returns its result once that is on disk.

        A job may run twice (when a neighbour in its group failed): what it remembers outside the
        database must bear that.
        """
        result: T = self.submit(job).result()
        return result

    def on_rollback(self, call: Callable[[], None]) -> None:
        """Have `call` run, in the writer thread, when work was undone that a job had done."""
        self._rolled_back.append(call)

    def submit(self, job: Callable[[sqlite3.Connection], T]) -> "Future[T]":
        """Queue `job` and go on; waits only while `QUEUE_LIMIT` others wait."""
        future: Future[T] = Future()
        with self._door:
            if not self._open:
                raise StoreError(f"{self.path}: the store is closed")
            self._jobs.put((job, future))
        return future

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a read transaction: all its queries see one state of the file."""
        connection = self._take()
        try:
            connection.execute("BEGIN")
            yield connection
        except sqlite3.Error as error:
            raise explain(self.path, error) from error
        finally:
            self._give_back(connection)

    def _take(self) -> sqlite3.Connection:
        with self._idle_lock:
            if not self._open:
                raise StoreError(f"{self.path}: the store is closed")
            if self._idle:
                return self._idle.pop()
        try:
            return self._connect()
        except sqlite3.Error as error:
            raise explain(self.path, error) from error

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        with self._idle_lock:
            if self._open:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Finish the jobs that wait, then close every connection. A second call does nothing."""
        with self._door:
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
        self._writer.close()

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
                    self._commit([one], final=True)
            elif group and len(group) == 1 and not group[0][1].done():
                self._commit(group, final=True)

    def _commit(self, group: list[tuple[Job, Future[Any]]], final: bool = False) -> bool:
        """Run and commit `group`; False when it failed and (unless `final`) is still unanswered."""
        results: list[Any] = []
        final = final or len(group) == 1
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            results.extend(job(self._writer) for job, _ in group)
            self._writer.execute("COMMIT")
        except BaseException as error:  # handed to the caller who waits for this job
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            for call in self._rolled_back:
                call()
            if final:
                told = explain(self.path, error) if isinstance(error, sqlite3.Error) else error
                for _, future in group:
                    future.set_exception(told)
            return False
        for (_, future), result in zip(group, results, strict=True):
            future.set_result(result)
        return True


def explain(path: Path, error: Exception) -> StoreError:
    """What a person can do about an error of SQLite or the file system, in one line."""
    text = str(error)
    if isinstance(error, OSError):
        return StoreError(f"{path}: cannot be opened: {error.strerror or text}; choose another --data-dir")
    if "locked" in text or "busy" in text:
        advice = "another process holds it for writing; end that one, or try again"
    elif "full" in text or "disk I/O" in text:
        advice = "the disk is full or refuses to write; free space there, nothing of this call was stored"
    elif "readonly" in text or "unable to open" in text:
        advice = "it cannot be written; check its owner and mode, or choose another --data-dir"
    elif "malformed" in text or "not a database" in text:
        advice = "it is damaged or no database; restore a copy, or choose another --data-dir"
    else:
        advice = "nothing of this call was stored"
    return StoreError(f"{path}: {text}: {advice}")


class EmbeddedPart:
    """Some tables of the one file, and the store's methods over them; `EmbeddedStore` is all its parts."""

    def __init__(self, database: Database, ttls: Ttls) -> None:
        self._database = database
        self._ttls = ttls
