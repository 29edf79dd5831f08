"""InstalledStage: gives an event to the installed analyses once the built-in ones have seen it.

    built-in findings are stored --> events, bounded --> all installed analyses at once
        --> their results, whose findings the runner stores before it marks the event as analysed

Each runs in a confined process of the plug-in host; here threads wait for their answers. So a slow one delays
only its own findings. An event for which there is no room is tried again later.
"""

import time
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from opq_cloud.mauka.measuring.clock_alignment import Alignments
from opq_cloud.mauka.running.calls.event_analysis import AnalysisResult, EventOutcome, run_analyses
from opq_cloud.mauka.running.events.event_jobs import AnalysisJob
from opq_cloud.mauka.running.installed.installed_analyses import InstalledAnalyses, InstalledAnalysis
from opq_cloud.store.incidents.join_plan import CarriedOut
from opq_proto.messages import Finding

MAX_EVENTS = 16
"""Events that the stage holds, at most."""
MAX_BYTES = 64 << 20
"""Bytes of their samples, at most; a larger event is held alone."""
ANALYSES_AT_ONCE = 8
"""Analyses that see an event at the same time; further ones follow."""


@dataclass(slots=True)
class AnalysedEvent:
    """An event whose built-in findings are stored.

    Attributes:
        found: findings of the built-in analyses, then those of the installed ones.
        stored: what was stored, and when (monotonic, ns).
        results: what each installed analysis found.
        resting: analyses that rest after a failure, for all Boxes or for some of these -> for how long.
        analyses, lacking: the installed ones that saw it, and those that should have and could not.
        began_ms: when they began (UTC).
        generation: the number of changes of the installed ones until then.
    """

    job: AnalysisJob
    outcome: EventOutcome
    alignments: Alignments = field(default_factory=dict)
    found: list[Finding] = field(default_factory=list)
    stored: list[tuple[CarriedOut, int]] = field(default_factory=list)
    results: list[AnalysisResult] = field(default_factory=list)
    resting: dict[str, float] = field(default_factory=dict)
    analyses: tuple[InstalledAnalysis, ...] = ()
    lacking: frozenset[str] = frozenset()
    began_ms: int = 0
    generation: int = 0

    @property
    def size(self) -> int:
        """Bytes of its samples."""
        return sum(wave.counts.nbytes for wave in self.job.event.waveforms)


class InstalledStage:
    """Holds events from `add` until `seen` returns them; used by the runner's thread, within `with`."""

    def __init__(self, installed: InstalledAnalyses) -> None:
        self.left_out: Collection[str] = ()
        """Analyses that an operator has stopped."""
        self._installed = installed
        self._events: ThreadPoolExecutor | None = None
        self._calls: ThreadPoolExecutor | None = None
        self._held: dict[Future[None], AnalysedEvent] = {}

    def __enter__(self) -> "InstalledStage":
        self._events = ThreadPoolExecutor(1, "installed-analyses")
        self._calls = ThreadPoolExecutor(ANALYSES_AT_ONCE, "installed-analysis")
        return self

    def __exit__(self, *_: object) -> None:
        """Ends after the event that is being analysed; the others remain in the store, not marked."""
        if self._events is not None and self._calls is not None:
            self._events.shutdown(cancel_futures=True)
            self._calls.shutdown()
        self._events = self._calls = None
        self._held.clear()

    def __contains__(self, event_id: int) -> bool:
        return any(each.job.event_id == event_id for each in self._held.values())

    @property
    def busy(self) -> bool:
        """Whether it holds any event."""
        return bool(self._held)

    @property
    def names(self) -> tuple[str, ...]:
        """The analyses that see events now."""
        return self._installed.of_events if self._events is not None else ()

    def add(self, event: AnalysedEvent) -> bool:
        """Shows an event to the analyses and holds it until `seen`; False where there is no room for it."""
        size = event.size + sum(each.size for each in self._held.values())
        if self._events is None or (self._held and (len(self._held) >= MAX_EVENTS or size > MAX_BYTES)):
            return False
        self._held[self._events.submit(self.show, event)] = event
        return True

    def seen(self, wait_s: float) -> list[AnalysedEvent]:
        """Waits up to `wait_s`, then returns the events that all analyses have seen, in their order."""
        if self._held and wait_s:
            wait(self._held, wait_s, FIRST_COMPLETED)
        return [self._held.pop(each) for each in list(self._held) if each.done()]

    def is_outdated(self, event: AnalysedEvent) -> bool:
        """Whether an analysis has come, gone or changed since it was shown."""
        return event.generation != self._installed.generation

    def show(self, event: AnalysedEvent) -> None:
        """Shows it to all analyses at once; none is replaced meanwhile."""
        with self._installed.steady() as analyses:
            event.analyses, event.lacking = analyses, self._installed.lacking
            event.generation = self._installed.generation
            event.began_ms = time.time_ns() // 1_000_000
            chosen = []
            for analysis in analyses:
                if analysis.name in self.left_out:
                    continue
                if rest_s := max((analysis.rest_for(part) for _, part in event.job.parts), default=0.0):
                    event.resting[analysis.name] = rest_s
                if parts := analysis.awake(event.job.parts):
                    chosen.append((analysis, parts))
            in_turn = map if self._calls is None else self._calls.map
            event.results += in_turn(lambda one: run_analyses([one[0]], one[1], {}), chosen)
