"""Several processes on one store, and processes that are killed: nothing lost, nothing doubled."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from opq_cloud.store import CloudStore

WRITER = Path(__file__).parent / "writer.py"
PROCESSES = 4
AtOnce = Callable[[str, int], list[list[str]]]
"""Task and items -> what each process printed between `open` and `closed`."""


class WriterProcess:
    """A process on the store; it prints what was acknowledged."""

    def __init__(self, pid: int, stdout: IO[str]) -> None:
        self.pid, self.stdout = pid, stdout

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.kill(self.pid, signal.SIGKILL)

    def lines(self) -> list[str]:
        """What else it prints; afterwards it has ended, and its files are closed."""
        with self.stdout:
            found = self.stdout.read().splitlines()
        end_s = time.monotonic() + 240
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < end_s:
                os.kill(self.pid, 0)
                time.sleep(0.002)
        return found


class WriterServer:
    """Forks writers (writer.py)."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, str(WRITER), str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])

    def start(self, task: str, place: Any, **spec: Any) -> WriterProcess:
        reading, writing = os.pipe()
        request = json.dumps([task, {"kind": place.kind, "where": place.where, **spec}])
        socket.send_fds(self._channel, [request.encode()], [writing])
        os.close(writing)
        return WriterProcess(int(self._channel.recv(64)), os.fdopen(reading))

    def close(self) -> None:
        self._channel.close()
        assert self._process.wait(240) == 0


@pytest.fixture(scope="module")
def writers() -> Iterator[WriterServer]:
    server = WriterServer()
    yield server
    server.close()


@pytest.fixture
def cleared_uri(mongo_uri: str) -> str:
    """A new database each: the server may still be at the last request of a killed writer."""
    return mongo_uri


def load_writer() -> Any:
    import importlib.util

    spec = importlib.util.spec_from_file_location("store_writer", WRITER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def four(writers: WriterServer, place: Any) -> AtOnce:
    """What four processes print that do the same at the same time."""

    def run(task: str, items: int) -> list[list[str]]:
        running = [writers.start(task, place, items=items, seal_rows=40) for _ in range(PROCESSES)]
        outputs = [process.lines() for process in running]
        assert [(lines[0], lines[-1]) for lines in outputs] == [("open", "closed")] * PROCESSES
        return [lines[1:-1] for lines in outputs]

    return run


def test_four_processes_never_get_the_same_id(place: Any, four: AtOnce) -> None:
    items = 30 if place.kind == "embedded" else 15
    answers = [json.loads(lines[0]) for lines in four("ids", items)]
    ids = [number for answer in answers for number in answer["ids"]]
    assert len(set(ids)) == PROCESSES * items
    assert all(answer["ids"] == sorted(answer["ids"]) for answer in answers)
    tokens = [answer["tokens"] for answer in answers]
    assert all(known == tokens[0] for known in tokens), "one token, one event"
    assert not set(ids) & set(tokens[0].values())
    assert sum(answer["finished"] for answer in answers) == items, "every event was finished once"


def test_four_processes_store_a_measurement_once(four: AtOnce, open_again: Callable[[], CloudStore]) -> None:
    new = [int(lines[0]) for lines in four("rows", 30)]
    assert sum(new) == 30 * 30, "every measurement was new once"
    store = open_again()
    assert store.counts()["measurements"] == 30 * 30
    assert store.sequences("2", 0, 10**6) == list(range(300))
    assert [m.sequence for m in store.measurements("3", 0, 2**52)] == list(range(300))


def test_four_processes_store_a_waveform_once(four: AtOnce, open_again: Callable[[], CloudStore]) -> None:
    new = [int(lines[0]) for lines in four("waves", 15)]
    assert sum(new) == 15
    store = open_again()
    counts = store.counts()
    assert (counts["events"], counts["box_events"], counts["fs.files"]) == (15, 15, 15)
    assert all(len(event.waveforms) == 1 for n in store.events() if (event := store.event(n.event_id)))


def test_four_processes_never_double_a_finding(
    place: Any, four: AtOnce, open_again: Callable[[], CloudStore]
) -> None:
    items = 20 if place.kind == "embedded" else 10
    four("incidents", items)
    store = open_again()
    assert store.counts()["incidents"] == 2 * items
    assert [len(incident.findings) for incident in store.incidents(limit=1000)] == [2] * items


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "kills",
    [{"embedded": 4, "mongo": 2}, pytest.param({"embedded": 12, "mongo": 4}, marks=pytest.mark.slow)],
    ids=["few", "many"],
)
def test_a_killed_writer_loses_and_doubles_nothing(
    writers: WriterServer, place: Any, open_again: Callable[[], CloudStore], kills: dict[str, int]
) -> None:
    items, rows = 300 if place.kind == "embedded" else 60, 20
    seed = random.Random(17)
    done = -1
    for _ in range(kills[place.kind]):
        process = writers.start("everything", place, items=items, rows=rows, seal_rows=100)
        assert process.stdout.readline() == "open\n"
        timer = threading.Timer(seed.uniform(0.01, 0.4), process.kill)
        timer.start()
        lines = process.lines()
        timer.cancel()
        timer.join()
        done = max([done, *(int(line) for line in lines if line != "closed")])
        check(open_again(), done, rows)
    last = writers.start("everything", place, items=done + 5, rows=rows, seal_rows=100)
    assert last.lines()[-1] == "closed"
    store = open_again()
    check(store, done + 4, rows)
    total = done + 5
    counts = store.counts()
    assert counts["measurements"] == total * rows
    assert counts["events"] == total
    assert counts["box_events"] == 2 * total
    assert counts["incidents"] == 2 * total
    assert len(store.incidents(limit=10_000)) == total
    assert store.unanalysed_events() == []
    if place.kind == "embedded":
        assert counts["fs.files"] == 2 * total


def check(store: CloudStore, done: int, rows: int) -> None:
    """All that was acknowledged up to work item `done` is there, once."""
    writer = load_writer()
    if done < 0:
        return
    assert store.sequences("1", 0, (done + 1) * rows - 1) == list(range((done + 1) * rows))
    times = [m.sequence for m in store.measurements("1", 0, 2**52)]
    assert len(times) == len(set(times))
    for item in {0, done // 2, done}:
        must_be_there = writer.Trigger(f"token{item}", 0, 1, ("1",), "1", "new: it was lost")
        event_id = store.open_event(must_be_there, "test")
        event = store.event(event_id)
        assert event is not None
        assert event.start_ns == writer.item_ns(item)
        for wave, box_id in zip(event.waveforms, ("1", "2"), strict=True):
            assert wave.counts.tobytes() == writer.waveform(item, box_id).counts.tobytes()
        found = store.incidents(start_ns=event.start_ns, end_ns=event.end_ns)
        assert [len(incident.findings) for incident in found] == [2]
