"""StreamAnalysis: the thread of an analysis of single items: Measurements, Trends, findings or incidents.

    feed --> waiting items, bounded --> one call for many items --> results, stored by StreamRunner

Each has its own thread, so that one that hangs delays no other; what it does not finish in time waits, and
beyond `MAX_WAITING` the oldest is dropped and counted.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Full, Queue
from typing import Any, Protocol

from opq_cloud.mauka.running.analysis_pool import AnalysisProcess
from opq_cloud.mauka.running.analysis_worker import BatchTask, WorkerSetup
from opq_cloud.mauka.running.provenance import Provenance, provenance_of
from opq_plugins.sdk.modules import Analysis
from opq_plugins.sdk.nouns import BatchResult, Item, ItemBatch, boxes_of
from opq_proto.decision import Nominal
from opq_proto.kit.channel import Channel
from opq_proto.kit.own_thread import OwnThread

MAX_WAITING = 20_000
"""Items that wait for one analysis."""
ITEMS_PER_CALL = 500
TRIES = 3
"""Calls for one item that end the process of the analysis; after these, the item is left out."""
POLL_S = 0.2
JOIN_S = 1.0


class ItemAnalysis(Protocol):
    """An analysis of single items: `InstalledAnalysis`, or `BuiltInItemAnalysis`."""

    name: str

    @property
    def nouns(self) -> tuple[str, str]: ...

    @property
    def rest_s(self) -> float: ...

    @property
    def provenance(self) -> Provenance: ...

    def results_of(self, batch: ItemBatch, nominal: Nominal) -> BatchResult:
        """Raises OSError: its process ended, or had to be ended; ValueError: an answer that is no result."""


@dataclass(frozen=True, slots=True)
class StreamResult:
    """The results for some items.

    Attributes:
        items: how many.
        given_up: items that are left out because they ended the process.
    """

    name: str
    provenance: Provenance
    result: BatchResult
    items: int
    spent_s: float
    given_up: int = 0


class StreamAnalysis(OwnThread):
    """Any thread may offer items; results go into a queue of the owner, which has room, or makes it wait."""

    _join_s = JOIN_S

    def __init__(
        self, analysis: ItemAnalysis, nominal_of: Callable[[str], Nominal], results: "Queue[StreamResult]"
    ) -> None:
        super().__init__(f"analysis-{analysis.name}")
        self.analysis = analysis
        self.nouns = analysis.nouns
        self._nominal_of, self._results = nominal_of, results
        self.waiting: Channel[Item] = Channel(analysis.name, MAX_WAITING, "drop_oldest")
        self._busy_since_s: float | None = None
        self._dropped = 0

    @property
    def takes(self) -> str:
        return self.nouns[0]

    @property
    def busy_s(self) -> float:
        """How long its current call has taken."""
        since_s = self._busy_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def newly_dropped(self) -> int:
        """Returns how many items were dropped since the last call."""
        before, self._dropped = self._dropped, self.waiting.dropped
        return self._dropped - before

    def offer(self, items: Iterable[Item]) -> None:
        for item in items:
            self.waiting.offer(item)

    def _run(self) -> None:
        while not self._stop.is_set():
            by_nominal: dict[Nominal, list[Item]] = {}
            for item in self.waiting.take_all(ITEMS_PER_CALL, POLL_S):
                by_nominal.setdefault(self._nominal_of(boxes_of(item)[0]), []).append(item)
            for nominal, items in by_nominal.items():
                self._analyse(nominal, items)

    def _analyse(self, nominal: Nominal, items: Sequence[Item]) -> None:
        """Analyses all items; after a failure of the process one by one, to find the one that causes it."""
        at, size, ends = 0, len(items), 0
        while at < len(items) and not self._stop.is_set():
            if rest_s := self.analysis.rest_s:
                self._stop.wait(min(rest_s, POLL_S))
                continue
            part = items[at : at + size]
            began_s = self._busy_since_s = time.monotonic()
            failure: Exception | None = None
            try:
                result = self.analysis.results_of(ItemBatch.of(self.takes, part), nominal)
            except Exception as error:  # an analysis may be third-party code
                failure = error
                result = BatchResult(failed=len(part), error=f"{type(error).__name__}: {error}")
            self._busy_since_s = None
            spent_s = time.monotonic() - began_s
            if failure is not None and size > 1:
                size = 1  # all of them again
                continue
            ends = ends + 1 if isinstance(failure, OSError) else 0
            given_up = ends >= TRIES
            if not ends or given_up:
                at, ends = at + len(part), 0
            self._put(StreamResult(
                self.analysis.name, self.analysis.provenance, result, len(part), spent_s, int(given_up)
            ))  # fmt: skip

    def _put(self, result: StreamResult) -> None:
        while not self._stop.is_set():
            with suppress(Full):
                self._results.put(result, timeout=POLL_S)
                return


class BuiltInItemAnalysis:
    """A built-in analysis of single items, with its memory; in a watched process where it has one."""

    rest_s = 0.0

    def __init__(
        self,
        analysis: Analysis,
        setup: WorkerSetup | None = None,
        call_s: float = 0.0,
    ) -> None:
        """`setup`: of its process, which is ended after `call_s`; None: it runs in this one."""
        self.name, self.nouns = analysis.name, (analysis.takes, analysis.gives)
        self.provenance = provenance_of(analysis)
        self._analysis, self._setup, self._call_s = analysis, setup, call_s
        self.on_ended: Callable[[str, str], None] = lambda name, why: None
        """Is called with the name and the reason when its process ends or has to be ended."""
        self._states: dict[Any, Any] = {}
        self._process: AnalysisProcess | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        """Its process; 0: it has none."""
        process = self._process
        return 0 if process is None else process.pid

    def results_of(self, batch: ItemBatch, nominal: Nominal) -> BatchResult:
        """Raises TimeoutError and ConnectionError: its process had to be ended, or ended."""
        if self._setup is None:
            return self._analysis.results_of(batch, nominal, self._states)
        process = self._process = self._process or AnalysisProcess(self._setup, time.monotonic)
        try:
            return process.call(BatchTask(self.name, batch, nominal), self._call_s)
        except (EOFError, OSError) as error:
            self.close()
            why = str(error) or "its process ended"
            self.on_ended(self.name, why)
            raise (type(error) if isinstance(error, TimeoutError) else ConnectionError)(why) from None

    def close(self) -> None:
        """Ends its process; the next call starts another one."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.end()
