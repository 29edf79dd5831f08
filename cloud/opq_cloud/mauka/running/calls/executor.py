"""The one way to call an analysis: `submit` gives a call to an executor, and returns its Future.

    runner, bulk run, re-analysis --submit--> WorkerProcesses  processes of this machine (pebble)
                                              DaskWorkers      of a Dask scheduler: bulk/dask_workers.py
                                              CallingThread    here, for a prompt, a test, a simulation

A call that takes too long or uses up the memory costs its process, and its Future fails with one of `LOST`.
Each process notes in a small file which event and which analysis it has in hand, so the reason can be named.
"""

import multiprocessing
import os
import signal
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future
from concurrent.futures import wait as wait_for_any
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, TypeVarTuple

from pebble import ProcessExpired, ProcessPool

from opq_cloud.mauka.running.calls.worker_notes import STARTING, begin_worker, read_note
from opq_plugins.sandbox.process_tree import resident_bytes

START_S = 120.0
"""Time limit for a new process to begin a call, with its imports."""
IDLE_S = 60.0
"""Processes without work end after this time, and their memory is free."""
DEAD_S = 1.0
"""A process that was dead twice at this interval is lost, whatever pebble reports."""
ENOUGH_BYTES = 1 << 62
LOST = (OSError, BrokenExecutor, CancelledError)
"""Errors of a call whose worker was lost; TimeoutError, an OSError, is its time limit."""


class NeighbourLostError(ConnectionError):
    """Another call's process was lost, and all were started again: submit this one again."""


Arguments = TypeVarTuple("Arguments")
Answer = TypeVar("Answer")


class Executor(ABC):
    """Carries calls out. Used by one thread; `rows` by any."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many calls it carries out at a time."""

    @abstractmethod
    def submit(
        self, limit_s: float | None, function: Callable[[*Arguments], Answer], *arguments: *Arguments
    ) -> "Future[Answer]":
        """Gives a call to a worker. `limit_s`: its longest time; None: there is no limit."""

    @abstractmethod
    def wait(self, futures: Collection["Future[Any]"], seconds: float) -> None:
        """Waits until one of them is done, or for that long."""

    def prepare(self, load: Callable[[], object]) -> None:
        """Makes it ready for a call that is about to come; `load` imports what the call needs."""
        return

    def ended_in(self, event_id: int) -> str:
        """Returns the analysis that had the event in hand when its process ended, only once."""
        return STARTING

    def rows(self) -> list[dict[str, Any]]:
        """A row per process of its own: pid, event_id, analysis, busy_s, memory_mb."""
        return []

    def close(self) -> None:
        """Ends its workers; calls under way fail with CancelledError."""
        return


class CallingThread(Executor):
    """Carries calls out one by one in the thread that waits for them; nothing ends one that hangs."""

    workers = 1

    def __init__(self) -> None:
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(
        self, limit_s: float | None, function: Callable[[*Arguments], Answer], *arguments: *Arguments
    ) -> "Future[Answer]":
        answer: Future[Answer] = Future()
        self._waiting.append((answer, partial(function, *arguments)))
        return answer

    def wait(self, futures: Collection["Future[Any]"], seconds: float) -> None:
        """Carries out the oldest call."""
        if self._waiting:
            answer, call = self._waiting.popleft()
            try:
                answer.set_result(call())
            except Exception as error:  # an analysis may be third-party code
                answer.set_exception(error)

    def close(self) -> None:
        self._waiting.clear()


class WorkerProcesses(Executor):
    """Processes that start with the first call and end `IDLE_S` after the last one.

    pebble ends a call after its limit, with its process. Where a process was lost in any other way, all are
    ended and started again, because they read their calls from one pipe; calls under way fail too.
    """

    workers = 1

    def __init__(self, count: int, memory_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`memory_bytes`: limit of the data of each process, which ends where a call needs more."""
        self.workers = count
        self._memory_bytes, self._clock = memory_bytes, clock
        self._pool: ProcessPool | None = None
        self._notes: TemporaryDirectory[str] | None = None
        self._under_way: dict[Future[Any], float] = {}
        """Call -> when it should be done at the latest, whatever happened to its process."""
        self._used_s = 0.0
        self._ended_in: dict[int, str] = {}
        self._dead: set[int] = set()
        self._next_look_s = 0.0

    def prepare(self, load: Callable[[], object]) -> None:
        """Starts the processes where there are none, and lets them carry `load` out."""
        if self._pool is None or not self._pool.active:
            pool = self._started()
            for _ in range(self.workers):
                pool.schedule(load, timeout=START_S)

    def _started(self) -> ProcessPool:
        if self._pool is not None and self._pool.active:
            return self._pool
        self._end(NeighbourLostError("another process was lost, and all were started again"))
        self._notes = TemporaryDirectory(prefix="opq-analyses-")
        self._used_s = self._clock()
        self._pool = ProcessPool(
            max_workers=self.workers,
            initializer=begin_worker,
            initargs=(self._notes.name, self._memory_bytes),
            context=multiprocessing.get_context("spawn"),
        )
        return self._pool

    def submit(
        self, limit_s: float | None, function: Callable[[*Arguments], Answer], *arguments: *Arguments
    ) -> "Future[Answer]":
        pool = self._started()
        answer: Future[Answer] = Future()
        answer.set_running_or_notify_cancel()
        self._under_way[answer] = float("inf") if limit_s is None else self._clock() + START_S + limit_s
        done = pool.schedule(function, arguments, timeout=limit_s)
        done.add_done_callback(partial(self._hand_on, pool, answer))
        return answer

    def _hand_on(self, pool: ProcessPool, answer: "Future[Any]", done: "Future[Any]") -> None:
        """Passes on the result of pebble's Future, unless the call was given up meanwhile.

        While the processes are ended, `_end` answers: a call that is just being sent fails with any error.
        """
        if answer.done() or pool is not self._pool:
            return
        try:
            answer.set_result(done.result())
        except ProcessExpired as error:
            answer.set_exception(ConnectionError(f"its process ended ({_ending(error.exitcode)})"))
        except BaseException as error:
            answer.set_exception(error)

    def wait(self, futures: Collection["Future[Any]"], seconds: float) -> None:
        if futures:
            wait_for_any(futures, seconds, FIRST_COMPLETED)
        self.check()

    def check(self) -> None:
        """Replaces processes that were lost, and ends them where there was nothing to do."""
        lost = [each for each in self._under_way if each.done() and isinstance(each.exception(), LOST)]
        self._under_way = {each: end_s for each, end_s in self._under_way.items() if not each.done()}
        if self._pool is None:
            return
        if lost:
            self._note_ended()
        is_broken = any(not isinstance(each.exception(), TimeoutError) for each in lost)
        if is_broken or not self._pool.active or self._has_dead():
            self._end(NeighbourLostError("another process was lost, and all were started again"))
        elif any(self._clock() > end_s for end_s in self._under_way.values()):
            self._end(TimeoutError(f"no process began the call within {START_S:g} s"))
        elif self._under_way:
            self._used_s = self._clock()
        elif self._clock() - self._used_s > IDLE_S:
            self._end(NeighbourLostError("ended without work"))

    def _has_dead(self) -> bool:
        """Whether a process died without a report of pebble; it may have held the lock of the pipe."""
        now_s = time.monotonic()
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + DEAD_S
            dead = {row["pid"] for row in self._notes_now() if not _is_alive(row)}
            found, self._dead = bool(dead & self._dead), dead
            return found
        return False

    def ended_in(self, event_id: int) -> str:
        return self._ended_in.pop(event_id, STARTING)

    def rows(self) -> list[dict[str, Any]]:
        return [
            {**row, "memory_mb": round(resident_bytes([row["pid"]], ENOUGH_BYTES) / 2**20, 1)}
            for row in self._notes_now()
            if _is_alive(row)
        ]

    def close(self) -> None:
        self._end(CancelledError())

    def _notes_now(self) -> list[dict[str, Any]]:
        folder = self._notes
        found = [] if folder is None else [read_note(path) for path in sorted(Path(folder.name).glob("*"))]
        return [row for row in found if row is not None]

    def _note_ended(self) -> None:
        """Keeps the notes of processes that have ended."""
        for row in self._notes_now():
            if not _is_alive(row) and self._notes is not None:
                (Path(self._notes.name) / str(row["pid"])).unlink()
                if row["event_id"] is not None:
                    self._ended_in[row["event_id"]] = row["analysis"]

    def _end(self, why: BaseException) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        pool.stop()  # type: ignore[no-untyped-call]
        for row in self._notes_now():  # at once: a call that hangs in a library does not end on SIGTERM
            with suppress(ProcessLookupError):
                os.kill(row["pid"], signal.SIGKILL)
        pool.join()
        under_way, self._under_way = self._under_way, {}
        for each in under_way:
            if not each.done():
                each.set_exception(why)
        if self._notes is not None:
            self._notes.cleanup()
            self._notes = None


def _is_alive(row: dict[str, Any]) -> bool:
    return Path(f"/proc/{row['pid']}").exists()


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
