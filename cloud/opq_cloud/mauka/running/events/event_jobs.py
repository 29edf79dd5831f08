"""EventJobs: events given to an executor, and given again where a call was lost.

An analysis that takes too long or uses up the memory costs its process, which is ended and started again. Its
event is tried once more from the beginning. Where the same analysis ends the process again, the others go on
without it, and the event is done. A process that is killed from outside costs the event a second try.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from opq_cloud.mauka.running.calls.analysis_tasks import (
    Analyses,
    EventParts,
    LoadedAnalyses,
    analyse_event_parts,
    find_first,
    load,
)
from opq_cloud.mauka.running.calls.event_analysis import AnalysisResult
from opq_cloud.mauka.running.calls.executor import LOST, CallingThread, Executor, NeighbourLostError
from opq_cloud.mauka.running.calls.worker_notes import STARTING
from opq_cloud.store.event_record import EventRecord
from opq_plugins.sdk.modules import Analysis
from opq_proto.messages import Event, Finding

JOBS_PER_WORKER = 2
"""Events per worker: one is analysed, the waveforms of the next are in memory. The others wait in the store.
"""
ANALYSIS_TRIES = 2
"""Tries of an analysis that ended its process; after these, the event is done without it."""
LOST_CALLS = 3
"""Calls that are lost before any analysis begins; after these, the event has failed."""


@dataclass(slots=True)
class AnalysisJob:
    """An event that is analysed.

    Attributes:
        record: the event's record when it was read; an event that has changed since then is not marked.
        again, complete: as in the runner.
        left_out: analyses that an operator has stopped.
        order: the Boxes in the order in which they are analysed alone, until one shows something.
        ended: analyses that ended a process on this event, and how often.
        begun_ns: incidents that began with its first Box, and when (monotonic) they were stored.
        result: set when the job is over.
    """

    event_id: int
    event: Event
    parts: EventParts
    record: EventRecord
    again: bool = False
    complete: bool = True
    left_out: frozenset[str] = frozenset()
    order: tuple[str, ...] = ()
    ended: Counter[str] = field(default_factory=Counter)
    begun_ns: dict[int, int] = field(default_factory=dict)
    result: AnalysisResult = field(default_factory=AnalysisResult)

    @property
    def given_up(self) -> frozenset[str]:
        """Analyses that are left out for this event because they ended its process too often."""
        return frozenset(
            name for name, times in self.ended.items() if times >= ANALYSIS_TRIES and name != STARTING
        )

    @property
    def waveform_s(self) -> float:
        """Total length of all its waveforms in seconds."""
        return sum((wave.end_ns - wave.start_ns) / 1e9 for wave in self.event.waveforms)


class EventJobs:
    """Used by one thread; any may call `rows`."""

    def __init__(
        self,
        executor: Executor,
        analyses: Analyses,
        call_s: float | None = None,
        on_ended: Callable[[str, int, str], None] = lambda analysis, event_id, why: None,
    ) -> None:
        """
        Args:
            call_s: longest analysis of one event, in addition to the length of its waveforms; None: no limit.
            on_ended: is called with analysis, event and reason for each call that was lost.
        """
        self._executor, self._analyses, self._call_s = executor, analyses, call_s
        self.on_ended = on_ended
        self._waiting: deque[AnalysisJob] = deque()
        self._under_way: dict[Future[Any], AnalysisJob] = {}
        self._first: list[tuple[AnalysisJob, list[Finding]]] = []

    @classmethod
    def here(cls, analyses: Sequence[Analysis]) -> "EventJobs":
        """Analyses events in the thread that waits for them."""
        return cls(CallingThread(), LoadedAnalyses(tuple(analyses)))

    def __contains__(self, event_id: int) -> bool:
        return any(job.event_id == event_id for job in self._jobs())

    @property
    def count(self) -> int:
        """How many events are analysed at a time."""
        return self._executor.workers

    @property
    def busy(self) -> bool:
        """Whether any event is under way."""
        return bool(self._waiting or self._under_way)

    @property
    def has_room(self) -> bool:
        """Whether another event may be added."""
        return len(self._jobs()) < JOBS_PER_WORKER * self._executor.workers

    def prepare(self) -> None:
        """Lets the processes load the analyses, so that they are ready when the next event comes."""
        self._executor.prepare(partial(load, self._analyses))

    def add(self, job: AnalysisJob) -> None:
        """Begins an event, or queues it until a worker is free."""
        self._waiting.append(job)
        self._hand_out()

    def finished(self, wait_s: float) -> list[AnalysisJob]:
        """Waits up to `wait_s`, then returns the events that are over."""
        self._hand_out()
        self._executor.wait(list(self._under_way), wait_s)
        over = []
        for future in [each for each in self._under_way if each.done()]:
            job = self._under_way.pop(future)
            if isinstance(why := future.exception(), LOST):
                over += self._again(job, why)
            elif why is not None:
                over += self._failed(job, f"{type(why).__name__}: {why}")
            elif isinstance(given := future.result(), AnalysisResult):
                job.result = given
                over.append(job)
            else:
                job.order = ()
                self._first += [(job, given)] if given else []
                self._waiting.appendleft(job)
        self._hand_out()
        return over

    def first_found(self) -> list[tuple[AnalysisJob, list[Finding]]]:
        """The events of which one Box shows something, since the last call; call it after `finished`."""
        found, self._first = self._first, []
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Returns a row per process for the status."""
        return self._executor.rows()

    def close(self) -> None:
        """Ends all calls; events under way remain in the store, not marked as analysed."""
        self._executor.close()
        self._waiting.clear()
        self._under_way.clear()
        self._first.clear()

    def _jobs(self) -> list[AnalysisJob]:
        return [*self._waiting, *self._under_way.values()]

    def _hand_out(self) -> None:
        while self._waiting and len(self._under_way) < self._executor.workers:
            job = self._waiting.popleft()
            limit_s = None if self._call_s is None else self._call_s + job.waveform_s
            left_out = job.left_out | job.given_up
            given = self._analyses, job.event_id, job.parts, left_out
            future: Future[Any]
            if job.order:
                future = self._executor.submit(limit_s, find_first, *given, job.order)
            else:
                future = self._executor.submit(limit_s, analyse_event_parts, *given)
            self._under_way[future] = job

    def _again(self, job: AnalysisJob, why: BaseException | None) -> list[AnalysisJob]:
        """Has an event tried again whose call was lost; returns it where there were enough tries.

        One that ended its process comes after those that wait.
        """
        is_own = not isinstance(why, NeighbourLostError)
        if is_own:
            analysis = self._executor.ended_in(job.event_id)
            job.ended[analysis] += 1
            self.on_ended(analysis, job.event_id, str(why))
        if job.ended[STARTING] >= LOST_CALLS:
            return self._failed(job, f"no analysing process runs: {why}")
        (self._waiting.append if is_own else self._waiting.appendleft)(job)
        return []

    def _failed(self, job: AnalysisJob, why: str) -> list[AnalysisJob]:
        job.result = AnalysisResult(failed={STARTING: why})
        return [job]
