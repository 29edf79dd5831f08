"""The part of the store's interface that is about years: intervals and phenomena."""

from collections.abc import Sequence
from typing import Protocol

from opq_cloud.store.records.intervals import IntervalRecords
from opq_cloud.store.records.phenomena import Phenomenon


class SeenIntervals(Protocol):
    """What View and exports read of it."""

    def seen_intervals(self, box_id: str) -> IntervalRecords | None:
        """Returns the intervals and disturbances, for those of this Box; None where it may not be seen."""

    def phenomena(self, start_ms: int, end_ms: int, box_id: str = "") -> list[Phenomenon]:
        """Returns what lasted or changed in [start_ms, end_ms), at a Box or at all, by its beginning."""


class LongTermStore(Protocol):
    """All of it."""

    @property
    def intervals(self) -> IntervalRecords:
        """Intervals and disturbances of class A."""

    def replace_phenomena(
        self, analysis: str, box_id: str, start_ms: int, end_ms: int, found: Sequence[Phenomenon]
    ) -> list[Phenomenon]:
        """Stores what an analysis found at a Box (first of `box_ids`) in a span; returns the new ones.

        What it found before keeps its number; what it no longer finds is removed.
        """
