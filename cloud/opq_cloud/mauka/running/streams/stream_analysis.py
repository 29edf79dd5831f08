"""StreamAnalysis: the thread of an analysis of Measurements, Trends, findings, incidents or Histories.

    feed --> waiting items, bounded --> one call for many items --> results, stored by StreamRunner

Each has its own thread, so that one that hangs delays no other; what it does not finish in time waits, and
beyond `MAX_WAITING` the oldest is dropped and counted.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from queue import Full, Queue

from opq_cloud.mauka.running.installed.installed_analyses import InstalledAnalysis
from opq_cloud.mauka.running.known.provenance import Provenance
from opq_plugins.sdk.nouns import BatchResult, Item, ItemBatch, boxes_of
from opq_plugins.worker_errors import ENDED, NOT_CALLED
from opq_proto.decision import Nominal
from opq_proto.kit.channel import Channel
from opq_proto.kit.own_thread import OwnThread
from opq_proto.messages import History

MAX_WAITING = 20_000
"""Items that wait for one analysis."""
ITEMS_PER_CALL = 500
ITEM_TRIES = 3
"""Calls for one item that end the process of the analysis; after these, the item is left out."""
POLL_S = 0.2
JOIN_S = 1.0


@dataclass(frozen=True, slots=True)
class StreamResult:
    """The results for some items.

    Attributes:
        items: how many.
        given_up: items that are left out because they, or others of their Box, ended the process.
        history: the span, subjects and Boxes of the History that it is of, without their values.
    """

    name: str
    provenance: Provenance
    result: BatchResult
    items: int
    spent_s: float
    given_up: int = 0
    history: History | None = None


class StreamAnalysis(OwnThread):
    """Any thread may offer items; results go into a queue of the owner, which has room, or makes it wait."""

    _join_s = JOIN_S

    def __init__(
        self,
        analysis: InstalledAnalysis,
        nominal_of: Callable[[str], Nominal],
        results: "Queue[StreamResult]",
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
        """Analyses all items; after a failure of the process one by one, to find the one that causes it.

        Items of a Box that rests are left out, so that those of others need not wait.
        """
        waiting = deque(self._awake(items))
        size, ends = 1 if self.takes == History.__name__ else len(waiting), 0
        while waiting and not self._stop.is_set():
            if rest_s := self.analysis.rest_s:
                self._stop.wait(min(rest_s, POLL_S))
                continue
            if not ends and size == 1 and not self._awake([waiting[0]]):
                waiting.popleft()
                continue
            part = list(islice(waiting, size))
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
            if isinstance(failure, ENDED):
                ends += 1
            given_up = ends >= ITEM_TRIES
            if given_up or not isinstance(failure, (*ENDED, *NOT_CALLED)):
                ends = 0
                for _ in part:
                    waiting.popleft()
            history = next((_without_values(each) for each in part if isinstance(each, History)), None)
            self._give(result, len(part), spent_s, int(given_up), history)

    def _awake(self, items: Sequence[Item]) -> list[Item]:
        """Returns items of Boxes that do not rest; counts the others as given up."""
        if not self.analysis.has_rests:
            return list(items)
        awake, why = list[Item](), ""
        for item in items:
            rest_s, reason = self.analysis.rest_of(item)
            if rest_s:
                why = f"Box {boxes_of(item)[0]} rests for {rest_s:.1f} s more: {reason}"
            else:
                awake.append(item)
        if left := len(items) - len(awake):
            self._give(BatchResult(failed=left, error=why), left, 0.0, left)
        return awake

    def _give(
        self,
        result: BatchResult,
        items: int,
        spent_s: float,
        given_up: int,
        history: History | None = None,
    ) -> None:
        name, provenance = self.analysis.name, self.analysis.provenance
        self._put(StreamResult(name, provenance, result, items, spent_s, given_up, history))

    def _put(self, result: StreamResult) -> None:
        while not self._stop.is_set():
            with suppress(Full):
                self._results.put(result, timeout=POLL_S)
                return


def _without_values(history: History) -> History:
    return replace(history, boxes=tuple(replace(each, courses=()) for each in history.boxes))
