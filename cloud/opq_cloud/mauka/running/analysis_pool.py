"""AnalysisPool: built-in analyses in processes of their own, several events at a time, each process watched.

An analysis that takes too long or uses up the memory costs its process, which is ended and started again. Its
event is tried once more from the beginning. Where the same analysis ends the process again, the others go on
without it, and the event is done. A process that is killed from outside costs the event a second try.
"""

import os
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from pickle import UnpicklingError

from opq_cloud.core.settings.mauka import AnalysisWorkersSection
from opq_cloud.mauka.running.analysis_worker import (
    READY,
    BatchTask,
    FirstFindings,
    WorkerResult,
    WorkerSetup,
    WorkerTask,
)
from opq_cloud.store.event_record import EventRecord
from opq_plugins.sandbox.process_tree import resident_bytes
from opq_plugins.sdk.nouns import BatchResult
from opq_proto.decision import Nominal
from opq_proto.messages import Event, Finding

JOBS_PER_WORKER = 2
"""Events per worker: one is analysed, the waveforms of the next are in memory. The others wait in the store.
"""
TRIES = 2
"""Tries of an analysis that ended its process; after these, the event is done without it."""
STARTS = 3
"""Starts of processes that end before they begin any analysis; after these, the event has failed."""
START_S = 120.0
"""Time limit for a new process to become ready, with its imports."""
IDLE_S = 60.0
"""A process without work ends after this time, and its memory is free."""
PROGRAM = "import sys; from opq_cloud.mauka.running.analysis_worker import main; sys.exit(main(sys.argv[1:]))"
ENOUGH_BYTES = 1 << 62
STARTING = "start"
"""Used as the analysis' name while no analysis has begun."""


@dataclass(slots=True)
class AnalysisJob:
    """An event that a process analyses.

    Attributes:
        record: the event's record when it was read; an event that has changed since then is not marked.
        again, complete: as in the runner.
        order: the Boxes in the order in which they are analysed alone, until one shows something.
        ended: analyses that ended a process on this event, and how often.
        begun_ns: incidents that began with its first Box, and when (monotonic) they were stored.
        result: set when the job is over.
    """

    event_id: int
    event: Event
    parts: tuple[tuple[Nominal, Event], ...]
    record: EventRecord
    again: bool = False
    complete: bool = True
    left_out: frozenset[str] = frozenset()
    order: tuple[str, ...] = ()
    ended: Counter[str] = field(default_factory=Counter)
    begun_ns: dict[int, int] = field(default_factory=dict)
    result: WorkerResult = field(default_factory=WorkerResult)

    @property
    def given_up(self) -> frozenset[str]:
        """Analyses that are left out for this event because they ended its process too often."""
        return frozenset(name for name, times in self.ended.items() if times >= TRIES and name != STARTING)

    @property
    def waveform_s(self) -> float:
        """Total length of all its waveforms in seconds."""
        return sum((wave.end_ns - wave.start_ns) / 1e9 for wave in self.event.waveforms)


class AnalysisProcess:
    """One process, its job, and since when it has worked on it. Used only by its owner's thread."""

    def __init__(self, setup: WorkerSetup, clock: Callable[[], float]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        self.pipe = Connection(ours.detach())
        self._clock = clock
        self.pid = self._process.pid
        self.ready = False
        self.job: AnalysisJob | None = None
        self.analysis = STARTING
        self.since_s = clock()
        with suppress(OSError):  # it ended at once: the end of its socket reports it
            self.pipe.send(setup)

    def give(self, job: AnalysisJob) -> None:
        """Begins an event."""
        self.job, self.analysis, self.since_s = job, STARTING, self._clock()
        with suppress(OSError):
            self.pipe.send(WorkerTask(job.parts, job.left_out | job.given_up, job.order))

    def read(self) -> WorkerResult | FirstFindings | None:
        """Reads one message; returns it if it is the result of the job or its first findings.

        Raises:
            EOFError, OSError: the process has ended.
        """
        try:
            message = self.pipe.recv()
        except UnpicklingError as error:
            raise EOFError("a message was cut off") from error
        self.since_s = self._clock()
        if isinstance(message, WorkerResult | FirstFindings):
            return message
        if message == READY:
            self.ready = True
        else:
            self.analysis = str(message)
        return None

    def call(self, task: BatchTask, call_s: float) -> BatchResult:
        """Has a batch analysed.

        Raises:
            TimeoutError: there was no answer within `call_s`, after the start; end the process then.
            EOFError, OSError: the process has ended.
        """
        while not self.ready:
            self._wait(START_S)
            self.read()
        self.pipe.send(task)
        self._wait(call_s)
        try:
            result: BatchResult = self.pipe.recv()
        except UnpicklingError as error:
            raise EOFError("a message was cut off") from error
        return result

    def _wait(self, limit_s: float) -> None:
        if not self.pipe.poll(limit_s):
            raise TimeoutError(f"no answer for {limit_s:.0f} s")

    def is_overdue(self, call_s: float) -> bool:
        """Returns True if it has sent nothing for longer than an analysis of its event may take."""
        if self.job is None:
            return not self.ready and self._clock() - self.since_s > START_S
        return self._clock() - self.since_s > call_s + self.job.waveform_s

    def end(self) -> None:
        """Kills the process; nothing is lost, because everything it has is also in the store."""
        self._process.kill()
        self._process.wait()
        self.pipe.close()

    def row(self) -> dict[str, object]:
        """Returns its row for the status."""
        job = self.job
        return {
            "pid": self.pid,
            "event_id": None if job is None else job.event_id,
            "analysis": None if job is None else self.analysis,
            "busy_s": 0.0 if job is None else round(self._clock() - self.since_s, 3),
            "memory_mb": round(resident_bytes([self.pid], ENOUGH_BYTES) / 2**20, 1),
        }


class AnalysisPool:
    """Analyses events in processes that start when there is work. One thread owns it; any may call `rows`.

    Args:
        entries: (analysis, its settings); empty: all in `folders`.
        on_ended: is called with analysis, event and reason for each process that was lost.
    """

    def __init__(
        self,
        section: AnalysisWorkersSection,
        entries: Sequence[tuple[str, dict[str, object]]],
        folders: Sequence[Path],
        on_ended: Callable[[str, int, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._section, self._clock, self._on_ended = section, clock, on_ended
        self._setup = WorkerSetup(tuple(entries), tuple(folders), section.memory_mb << 20)
        self._waiting: deque[AnalysisJob] = deque()
        self._processes: list[AnalysisProcess] = []
        self._finished: list[AnalysisJob] = []
        self._first: list[tuple[AnalysisJob, tuple[Finding, ...]]] = []

    def __contains__(self, event_id: int) -> bool:
        return any(job.event_id == event_id for job in self._jobs())

    @property
    def count(self) -> int:
        """Largest number of processes."""
        return self._section.count

    @property
    def busy(self) -> bool:
        """Whether any event is under way."""
        return bool(self._jobs())

    @property
    def has_room(self) -> bool:
        """Whether another event may be added."""
        return len(self._jobs()) < JOBS_PER_WORKER * self._section.count

    def prepare(self) -> None:
        """Starts a process if none runs, so that it is ready when the next event comes."""
        if not self._processes:
            self._processes.append(AnalysisProcess(self._setup, self._clock))

    def add(self, job: AnalysisJob) -> None:
        """Begins an event, or queues it until a process is free."""
        self._waiting.append(job)
        self._hand_out()

    def finished(self, wait_s: float) -> list[AnalysisJob]:
        """Waits up to `wait_s`, then returns the events that are over."""
        self._hand_out()
        pipes = {each.pipe: each for each in self._processes}
        for pipe in wait(list(pipes), wait_s) if pipes else ():
            if isinstance(pipe, Connection):
                self._read(pipes[pipe])
        for each in list(self._processes):
            if each.is_overdue(self._section.call_s):
                self._lose(each, f"no answer for {self._clock() - each.since_s:.0f} s")
        self._hand_out()
        self._end_idle()
        found, self._finished = self._finished, []
        return found

    def first_found(self) -> list[tuple[AnalysisJob, tuple[Finding, ...]]]:
        """The events of which one Box shows something, since the last call; call it after `finished`."""
        found, self._first = self._first, []
        return found

    def rows(self) -> list[dict[str, object]]:
        """Returns a row per process for the status."""
        return [each.row() for each in list(self._processes)]

    def close(self) -> None:
        """Ends all processes; events under way remain in the store, not marked as analysed."""
        for each in self._processes:
            each.end()
        self._processes.clear()
        self._waiting.clear()
        self._finished.clear()
        self._first.clear()

    def _jobs(self) -> list[AnalysisJob]:
        under_way = [each.job for each in self._processes if each.job is not None]
        return [*under_way, *self._waiting, *self._finished]

    def _hand_out(self) -> None:
        """Gives waiting events to free processes, and starts new processes for the rest, within the limit."""
        for each in self._processes:
            if self._waiting and each.ready and each.job is None:
                each.give(self._waiting.popleft())
        starting = sum(not each.ready for each in self._processes)
        while len(self._waiting) > starting and len(self._processes) < self._section.count:
            self._processes.append(AnalysisProcess(self._setup, self._clock))
            starting += 1

    def _end_idle(self) -> None:
        for each in list(self._processes):
            if each.ready and each.job is None and self._clock() - each.since_s > IDLE_S:
                self._processes.remove(each)
                each.end()

    def _read(self, each: AnalysisProcess) -> None:
        try:
            while each.pipe.poll():
                result = each.read()
                if isinstance(result, FirstFindings) and each.job is not None:
                    self._first.append((each.job, result.findings))
                elif isinstance(result, WorkerResult) and each.job is not None:
                    each.job.result = result
                    self._finished.append(each.job)
                    each.job = None
        except (EOFError, OSError):
            self._lose(each, "its process ended")

    def _lose(self, each: AnalysisProcess, why: str) -> None:
        """Ends a process; its event is tried again, or is done without the analysis that ended it."""
        self._processes.remove(each)
        each.end()
        job = each.job
        if job is None and not each.ready and self._waiting:
            job = self._waiting.popleft()  # the process was started for this one
        if job is None:
            return
        job.ended[each.analysis] += 1
        self._on_ended(each.analysis, job.event_id, why)
        if job.ended[STARTING] >= STARTS:
            job.result = WorkerResult(failed={STARTING: f"no process that analyses lives: {why}"})
            self._finished.append(job)
        else:
            self._waiting.appendleft(job)
