"""One instance of each service works on a store, and one of each other service in a data folder.

A second one is refused, by the name of the first:

    embedded     a locked file beside the store, `mauka.lock`; the kernel unlocks it when its process ends
    MongoDB      a document in `opq_leases`, renewed every RENEWED_S; free again once its process has ended,
                 where the waiting process can know that, or once it was not renewed for FREE_S, by the
                 monotonic clock of the waiting process: no two clocks are compared
    data folder  a locked file, `triggering-broker.lock`, for services without a store, or with one elsewhere

Not part of `store/__init__.py`, which opens the store for commands too: they work beside the services.
"""

import fcntl
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from opq_cloud.store.driver import Fields
from opq_cloud.store.records.accounts.account_records import LEASES
from opq_cloud.store.records.keyed_documents import KeyedDocuments
from opq_proto.errors import StoreError
from opq_proto.kit import log
from opq_proto.kit.own_thread import PeriodicCall
from opq_proto.kit.system_place import own_namespace, start_of

RENEWED_S = 2.0
FREE_S = 10.0
"""A holder that ended without releasing its document, or cannot reach the store, is gone after this time."""
LOOK_S = 0.5
STORE = "on this store", "a store of its own"
"""Where a service already runs, and what a second one needs instead."""


@contextmanager
def locked_in_folder(names: Sequence[str], data_dir: Path) -> Iterator[None]:
    """Holds the locks of these services in a data folder, whose record has one entry for each. A folder that
    cannot be written has no record, and no lock.

    Raises:
        StoreError: another process has one of them.
    """
    own = "in this data folder", "a --data-dir of its own"
    with ExitStack() as held:
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in names:
                held.enter_context(_locked_file(name, data_dir / f"{name}.lock", own))
        except OSError as error:
            log.get().warning("service_lock.not_held", folder=str(data_dir), error=error.strerror)
        yield


@contextmanager
def locked_files(names: Sequence[str], folder: Path) -> Iterator[None]:
    """Holds the locks of these services in the folder of an embedded store.

    Raises:
        StoreError: another process has one of them, or the folder cannot be written.
    """
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in names:
                held.enter_context(_locked_file(name, folder / f"{name}.lock"))
        except OSError as error:
            raise StoreError(f"{folder}: the services' locks cannot be written: {error.strerror}") from error
        yield


@contextmanager
def _locked_file(name: str, path: Path, where: tuple[str, str] = STORE) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            host, pid = _written(lock)
            raise _runs_already(name, host or "this machine", pid or "unknown", where) from error
        with suppress(OSError):  # a full disk: the lock holds without the name of its holder
            os.ftruncate(lock, 0)
            os.write(lock, f"{socket.gethostname()} {os.getpid()}".encode())
        yield
    finally:
        os.close(lock)


def _written(lock: int) -> tuple[str, str]:
    """Host and process id of the holder, as `_locked_file` writes them; empty where it could not."""
    host, _, pid = os.read(lock, 200).decode(errors="replace").partition(" ")
    return host, pid


def file_holders(folder: Path) -> dict[str, str]:
    """Returns process id -> name of one of its services, for the locks that are held in a folder."""
    found = {}
    for path in sorted(folder.glob("*.lock")):
        with suppress(OSError), path.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                _, pid = _written(lock.fileno())
                if pid:
                    found[pid] = path.stem
    return found


def own_lease() -> Fields:
    """Returns what the document of a lock says of this process."""
    pid = os.getpid()
    named = {"host": socket.gethostname(), "pid": pid, "since_ns": time.time_ns()}
    return {**named, "pid_namespace": own_namespace("pid"), "started": start_of(pid)}


def has_ended(holder: Fields) -> bool:
    """Whether the process that holds a document has certainly ended.

    Only a process of the same pid namespace can know: equal host names do not make one machine.
    """
    namespace = own_namespace("pid")
    if not namespace or holder.get("pid_namespace") != namespace:
        return False
    pid = int(holder["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # a process of another user
    started = start_of(pid)
    return started != "" and started != holder.get("started")


class LockDocuments:
    """The documents of one process' services."""

    def __init__(
        self,
        names: Sequence[str],
        documents: Callable[[], KeyedDocuments],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`documents` may raise StoreError; it is called again then."""
        self._names, self._documents, self._now = names, documents, monotonic_s
        self._own = own_lease()
        self._renewals = 0
        self._seen: dict[str, tuple[Fields, float]] = {}
        """Another holder's document, and when it was first seen."""

    def acquire(self) -> bool:
        """Takes what is free; False: call it again, until FREE_S has shown that a holder is gone.

        Raises:
            StoreError: the store does not answer, or another process holds one and has renewed it meanwhile.
        """
        documents, others = self._documents(), self._renewed()
        return all([self._take(documents, name) for name in others])  # noqa: C419 - each is looked at

    def renew(self) -> StoreError | None:
        """Renews all; returns why this process has to end: another one holds one of them now.

        Raises:
            StoreError: the store does not answer.
        """
        documents, others = self._documents(), self._renewed()
        for name in others:
            if (there := documents.get(LEASES, name)) is not None:
                return _runs_already(name, *_holder(there))
        return None

    def release(self) -> None:
        """Releases those that are held, for the next process at once."""
        with suppress(StoreError):
            documents = self._documents()
            for name in self._names:
                if self._is_own(documents.get(LEASES, name) or {}):
                    documents.remove(LEASES, name)

    def _renewed(self) -> list[str]:
        """Renews what is held, and takes what is free; returns the others."""
        documents = self._documents()
        self._renewals += 1
        own = {**self._own, "renewals": self._renewals}
        return [
            name
            for name in self._names
            if not documents.change(LEASES, name, lambda found: own if self._is_own(found) else None)
            and not documents.insert(LEASES, name, own)
        ]

    def _take(self, documents: KeyedDocuments, name: str) -> bool:
        there = documents.get(LEASES, name)
        if there is None:
            return False  # just released
        seen, since_s = self._seen.setdefault(name, (there, self._now()))
        if there != seen:
            raise _runs_already(name, *_holder(there))
        if self._now() < since_s + FREE_S and not has_ended(there):
            return False
        own = {**self._own, "renewals": self._renewals}
        return documents.change(LEASES, name, lambda found: own if found == seen else None)

    def _is_own(self, found: Fields) -> bool:
        return {key: found.get(key) for key in self._own} == self._own


@contextmanager
def locked_documents(
    names: Sequence[str],
    documents: Callable[[], KeyedDocuments],
    stop: threading.Event,
    lost: Callable[[StoreError], object],
) -> Iterator[None]:
    """Holds the documents of these services; waits for a holder that may be gone, until `stop` at most.

    Args:
        lost: is called if another process has taken one, while this one could not reach the store.
    Raises:
        StoreError: as `LockDocuments.acquire`.
    """
    locks, own_log = LockDocuments(names, documents), log.get()

    def renew() -> None:
        try:
            if (error := locks.renew()) is not None:
                lost(error)
        except StoreError as error:
            own_log.warning("service_lock.not_renewed", error=str(error))

    try:
        while not locks.acquire() and not stop.wait(LOOK_S):
            own_log.info("service_lock.waits", free_s=FREE_S, why="its last holder did not release it")
        with PeriodicCall("service-locks", renew, RENEWED_S):
            yield
    finally:
        locks.release()


def _holder(document: Fields) -> tuple[str, str]:
    return str(document["host"]), str(document["pid"])


def _runs_already(name: str, host: str, pid: str, where: tuple[str, str] = STORE) -> StoreError:
    place, other = where
    return StoreError(
        f"{name} runs already {place}, on {host} as process {pid}; end that one, or give this one {other}"
    )
