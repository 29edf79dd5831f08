"""The part of the store's interface that is about years: intervals, phenomena, other meters."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from opq_cloud.store.records.intervals import IntervalRecords
from opq_cloud.store.records.phenomena import Phenomenon
from opq_cloud.store.records.reference_meters import MeterValue


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

    def put_meter_values(self, values: Iterable[MeterValue]) -> int:
        """Stores values of other meters, in place of those of the same time; returns how many."""

    def meter_values(self, meter: str, quantity: str, start_s: int, end_s: int) -> list[MeterValue]:
        """Returns another meter's values from [start_s, end_s), in time order."""

    def meters(self) -> dict[str, int]:
        """Returns meter -> number of its values."""

    def remove_meter(self, meter: str) -> int:
        """Removes all values of a meter; returns how many."""
