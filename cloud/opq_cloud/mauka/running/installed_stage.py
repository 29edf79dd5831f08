"""InstalledStage: the thread in which the installed analyses see an event, after the built-in ones.

    built-in findings are stored --> events, bounded --> all installed analyses at once
        --> their findings, which the runner stores before it marks the event as analysed

So a slow one delays its own findings, and no event's built-in ones. An event for which there is no room is
tried again later.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Condition

from opq_cloud.mauka.measuring.clock_alignment import Alignments, stamped
from opq_cloud.mauka.running.analysis_pool import AnalysisJob
from opq_cloud.mauka.running.event_analysis import EventOutcome
from opq_cloud.mauka.running.installed_analyses import InstalledAnalyses, InstalledAnalysis
from opq_cloud.store.incidents.join_plan import CarriedOut
from opq_proto.decision import Nominal
from opq_proto.kit.own_thread import OwnThread
from opq_proto.messages import Event, Finding

MAX_EVENTS, MAX_BYTES = 16, 64 << 20
"""Events that it holds at most, and the bytes of their samples; a larger one is held alone."""
AT_ONCE = 8
"""Analyses that see an event at the same time; further ones follow."""
POLL_S = 0.2

Parts = Mapping[Nominal, Event]
"""An event by nominal values."""
Call = Callable[[InstalledAnalysis, Parts, int], tuple[list[Finding], EventOutcome]]


@dataclass(slots=True)
class AnalysedEvent:
    """An event whose built-in findings are stored.

    Attributes:
        found: findings of the built-in analyses; with `theirs` after the installed ones.
        stored: what was stored, and when (monotonic, ns).
        analyses, lacking: the installed ones that saw it, and those that should have and could not.
        began_ms: when they began (UTC).
    """

    job: AnalysisJob
    parts: Parts
    outcome: EventOutcome
    alignments: Alignments
    found: list[Finding]
    stored: list[tuple[CarriedOut, int]]
    theirs: list[Finding] = field(default_factory=list)
    analyses: tuple[InstalledAnalysis, ...] = ()
    lacking: frozenset[str] = frozenset()
    began_ms: int = 0

    @property
    def size(self) -> int:
        """Bytes of its samples."""
        return sum(wave.counts.nbytes for wave in self.job.event.waveforms)


class InstalledStage(OwnThread):
    """Holds events from `add` until `seen` returns them. The runner's thread calls all but `_run`."""

    def __init__(self, installed: InstalledAnalyses, call: Call) -> None:
        """`call` runs one analysis on the parts of an event, and raises nothing; from any thread."""
        super().__init__("installed-analyses")
        self._installed, self._call = installed, call
        self._changed = Condition()
        self._waiting: deque[AnalysedEvent] = deque()
        self._held: list[AnalysedEvent] = []
        self._seen: list[AnalysedEvent] = []

    def __contains__(self, event_id: int) -> bool:
        return any(each.job.event_id == event_id for each in self._held)

    @property
    def busy(self) -> bool:
        """Whether it holds any event."""
        return bool(self._held)

    def add(self, event: AnalysedEvent) -> bool:
        """Takes an event over; False: there is no room."""
        size = event.size + sum(each.size for each in self._held)
        if self._held and (len(self._held) >= MAX_EVENTS or size > MAX_BYTES):
            return False
        self._held.append(event)
        with self._changed:
            self._waiting.append(event)
            self._changed.notify_all()
        return True

    def seen(self, wait_s: float) -> list[AnalysedEvent]:
        """Waits up to `wait_s`, then returns the events that all analyses have seen, in their order."""
        with self._changed:
            if not self._seen and wait_s:
                self._changed.wait(wait_s)
            found, self._seen = self._seen, []
        self._held = [each for each in self._held if not any(each is one for one in found)]
        return found

    def show(self, event: AnalysedEvent, threads: ThreadPoolExecutor | None = None) -> None:
        """Shows it to all analyses, in this thread or in several; none is replaced meanwhile."""

        def call(analysis: InstalledAnalysis) -> tuple[list[Finding], EventOutcome]:
            return self._call(analysis, event.parts, event.job.event_id)

        with self._installed.steady() as analyses:
            event.analyses, event.lacking = analyses, self._installed.lacking
            event.began_ms = time.time_ns() // 1_000_000
            results: Iterable[tuple[list[Finding], EventOutcome]]
            results = map(call, analyses) if threads is None else threads.map(call, analyses)
            for findings, outcome in results:
                event.theirs += stamped(findings, event.alignments)
                event.outcome.add(outcome)

    def close(self) -> None:
        """Ends after the event that is being analysed; the others remain in the store, not marked."""
        super().close()
        self._waiting.clear()
        self._held.clear()
        self._seen.clear()

    def _run(self) -> None:
        with ThreadPoolExecutor(AT_ONCE, "installed-analysis") as threads:
            while not self._stop.is_set():
                with self._changed:
                    if not self._waiting:
                        self._changed.wait(POLL_S)
                    event = self._waiting.popleft() if self._waiting else None
                if event is None:
                    continue
                self.show(event, threads)
                with self._changed:
                    self._seen.append(event)
                    self._changed.notify_all()
