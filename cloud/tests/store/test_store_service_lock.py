"""One instance of each service per store: on both stores, by clocks that are handed in, and as processes."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_offset

from opq_cloud.store.records.accounts.account_records import LEASES
from opq_cloud.store.service_lock import (
    FREE_S,
    RENEWED_S,
    LockDocuments,
    has_ended,
    locked_documents,
    locked_files,
    own_lease,
)
from opq_cloud.store.store import CloudStore
from opq_proto.errors import StoreError
from opq_proto.kit.system_place import start_of

NAMES = ("mauka", "view")


def locks_of(store: CloudStore, clock: list[float], *names: str) -> LockDocuments:
    return LockDocuments(names or NAMES, lambda: store.people.documents, lambda: clock[0])


def test_a_second_service_is_refused_by_name(
    open_again: Callable[[], CloudStore],
) -> None:
    """Once the first has renewed its lock."""
    first, second = locks_of(open_again(), [100.0]), locks_of(open_again(), [5000.0], "mauka")
    assert first.acquire()
    assert not second.acquire() and not second.acquire()  # it may have been killed
    assert first.renew() is None
    wanted = f"mauka runs already on this store, on {socket.gethostname()} as process {os.getpid()}; end"
    with pytest.raises(StoreError, match=wanted):
        second.acquire()
    first.release()
    assert locks_of(open_again(), [0.0], "mauka").acquire()  # at once


def test_a_killed_services_place_can_be_taken(
    open_again: Callable[[], CloudStore],
) -> None:
    """After its time; a service that was only paused ends."""
    first, clock = locks_of(open_again(), [100.0]), [5000.0]
    second = locks_of(open_again(), clock, "view")
    assert first.acquire()
    taken = []
    while not taken or not taken[-1]:
        taken.append(second.acquire())
        clock[0] += RENEWED_S
    assert FREE_S <= RENEWED_S * (len(taken) - 1) <= FREE_S + RENEWED_S
    lost = first.renew()
    assert lost is not None and str(lost).startswith("view runs already on this store")
    first.release()
    assert second.renew() is None  # the first has released its own, and no other
    (left,) = open_again().people.documents.find(LEASES)
    assert (left["pid"], left["host"]) == (os.getpid(), socket.gethostname())


def ended_holder() -> Any:
    """What a process of this machine that was killed has left."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return {**own_lease(), "pid": process.pid, "started": "before", "renewals": 7}


@pytest.mark.parametrize(
    ("changed", "ended"),
    [
        ({}, True),
        ({"pid": os.getpid()}, True),
        ({"pid": os.getpid(), "started": start_of(os.getpid())}, False),
        ({"pid_namespace": "of another machine"}, False),
        ({"pid_namespace": ""}, False),
    ],
)
def test_an_ended_holder_is_known_by_its_process(changed: dict[str, Any], ended: bool) -> None:
    """A process that has the same number by now is another one; of another machine nothing is known."""
    assert has_ended({**ended_holder(), **changed}) is ended


def test_a_killed_holder_is_replaced_at_once(open_again: Callable[[], CloudStore]) -> None:
    store = open_again()
    assert store.people.documents.insert(LEASES, "view", ended_holder())
    assert locks_of(store, [0.0], "view").acquire()


def test_a_store_that_is_away_is_no_loss(open_again: Callable[[], CloudStore]) -> None:
    store, away = open_again(), [False]

    def documents() -> object:
        if away[0]:
            raise StoreError("away")
        return store.people.documents

    locks = LockDocuments(NAMES, documents)  # type: ignore[arg-type]
    assert locks.acquire()
    away[0] = True
    with pytest.raises(StoreError, match="away"):
        locks.renew()
    locks.release()
    away[0] = False
    assert locks.renew() is None


def test_a_lock_is_renewed_until_the_end(
    open_again: Callable[[], CloudStore],
) -> None:
    """A wait ends with its process."""
    store, lost, stop = open_again(), list[StoreError](), threading.Event()
    documents = store.people.documents
    with locked_documents(NAMES, lambda: documents, stop, lost.append):
        before = documents.get(LEASES, "view")
        assert before is not None
        stop.set()
        with locked_documents(("view",), lambda: documents, stop, lost.append):
            now = documents.get(LEASES, "view")  # it may have been renewed meanwhile
            assert now is not None and {**now, "renewals": 0} == {**before, "renewals": 0}
        until_s = time.monotonic() + 240
        while documents.get(LEASES, "view") == before and time.monotonic() < until_s:
            time.sleep(0.1)
        assert (documents.get(LEASES, "view") or {})["renewals"] > before["renewals"]
    assert not lost and not documents.find(LEASES)


def test_a_locked_file_names_its_holder(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with ExitStack() as opened:
        opened.enter_context(locked_files(NAMES, folder))
        wanted = f"view runs already on this store, on {socket.gethostname()} as process {os.getpid()}"
        with pytest.raises(StoreError, match=wanted), locked_files(("notifications", "view"), folder):
            pytest.fail("two have it")
        with locked_files(("notifications",), folder):  # what was taken before the refusal is free again
            pass
        assert {each.name: each.stat().st_mode & 0o777 for each in folder.iterdir()} == {
            f"{name}.lock": 0o600 for name in (*NAMES, "notifications")
        }
    with locked_files(NAMES, folder):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="locks cannot be written"), locked_files(NAMES, tmp_path / "file"):
        pytest.fail("it is not a folder")


@pytest.mark.timeout(900)
def test_a_second_process_ends_with_one_line(place: Any, tmp_path: Path) -> None:
    """A killed one is replaced."""
    file = tmp_path / "cloud.toml"
    file.write_text(f'[store]\nmongo_uri = "{place.where}"\n' if place.kind == "mongo" else "")
    other = tmp_path / "other" if place.kind == "mongo" else tmp_path

    def started(folder: Path) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "opq_cloud", "event-service", str(file), "--data-dir", str(folder)]
        command += ["--port-offset", str(free_offset())]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    @contextmanager
    def ready() -> Iterator["subprocess.Popen[str]"]:
        process = started(tmp_path)
        try:
            assert process.stderr is not None
            assert any("cloud.ready" in line for line in process.stderr)
            yield process
        finally:
            process.kill()
            process.communicate()

    with ready() as first:
        second = started(other)
        _, text = second.communicate(timeout=200)
        assert second.returncode == 1
        said = f"runs already on this store, on {socket.gethostname()} as process {first.pid}; end that one"
        assert text.splitlines()[-1].startswith(f"opq-cloud event-service: event-service {said}")
    with ready():
        pass
