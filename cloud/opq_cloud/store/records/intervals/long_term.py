"""The part of the store's interface that is about years: intervals and phenomena."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from opq_cloud.store.intervals.distribution import IntervalSummary
from opq_cloud.store.records.incidents.phenomena import NO_MOVES, StoredPhenomenon
from opq_cloud.store.records.intervals.interval_records import IntervalRecords, SummaryRow
from opq_proto.measurement.intervals import IntervalColumns
from opq_proto.messages import Disturbance


class ShownIntervals(Protocol):
    """The calls that read intervals and disturbances: of the store, or of what one visitor may see."""

    def read(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> IntervalColumns: ...

    def newest_ns(self, box_id: str, length_ms: int) -> int | None: ...

    def span_ns(self, box_id: str, length_ms: int) -> tuple[int, int] | None: ...

    def summary(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> IntervalSummary: ...

    def days(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> list[SummaryRow]: ...

    def disturbances(self, box_id: str | None, start_ns: int, end_ns: int) -> list[Disturbance]: ...

    def disturbances_during(self, box_id: str | None, start_ns: int, end_ns: int) -> list[Disturbance]: ...


class SeenIntervals(Protocol):
    """What View and exports read of it."""

    def seen_intervals(self, box_id: str) -> ShownIntervals | None:
        """Returns the intervals and disturbances, for those of this Box; None where it may not be seen."""

    def phenomena(self, start_ms: int, end_ms: int, box_id: str = "") -> list[StoredPhenomenon]:
        """Returns what lasted or changed in [start_ms, end_ms), at a Box or at all, by its beginning."""


class LongTermStore(Protocol):
    """All of it."""

    @property
    def intervals(self) -> IntervalRecords:
        """Intervals and disturbances of class A."""

    def replace_phenomena(
        self,
        analysis: str,
        box_id: str,
        start_ms: int,
        end_ms: int,
        found: Sequence[StoredPhenomenon],
        since_ms: Mapping[str, int] = NO_MOVES,
    ) -> list[StoredPhenomenon]:
        """Stores what an analysis found at a Box (first of `box_ids`) in a span; returns the new ones.

        What it found before keeps its number; what it no longer finds is removed.

        Args:
            since_ms: Box -> when its present stay begins; what ended before the stay of one of its Boxes is
                kept.
        """
