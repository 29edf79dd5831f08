"""Which Boxes state the frequency of a day: a few of those that were there, with the most data in it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from opq_cloud.store.box_record import box_order
from opq_cloud.store.records.intervals.long_term import ShownIntervals
from opq_proto.measurement.intervals import TEN_MINUTES_MS, TEN_SECONDS_MS
from opq_proto.time_units import DAY_NS, NS_PER_MS

LENGTHS_MS: Final = (TEN_SECONDS_MS, TEN_MINUTES_MS)
FREQUENCY_BOXES: Final = 5
"""Boxes that state the frequency of a day, those with the most data."""
WHOLE: Final = 10
"""Tenths of a day: no Box has more."""
Span = tuple[int, int]
"""Beginning and end in ns."""


class StatingBoxes:
    """The Boxes that were there in each day, those with the most data first; equal tenths count alike.

    Boxes are looked at in their order, those of a day until FREQUENCY_BOXES of them have the whole of it: no
    later one comes before these.
    """

    def __init__(
        self, intervals: ShownIntervals, stays: Mapping[str, Sequence[Span]], days: Sequence[int]
    ) -> None:
        """`stays`: Box -> when it was there; `days` from 1970."""
        self._intervals = intervals
        there = {
            box_id: {day: share for day in days if (share := _share(stays[box_id], day * DAY_NS)) > 0}
            for box_id in sorted(stays, key=box_order)
        }
        self._there = {box_id: shares for box_id, shares in there.items() if shares}
        self._tenths: dict[tuple[str, int], int] = {}
        whole: Counter[int] = Counter()
        for box_id, shares in self._there.items() if len(self._there) > FREQUENCY_BOXES else ():
            asked = [day for day in shares if whole[day] < FREQUENCY_BOXES]
            self._look(box_id, asked)
            whole.update(day for day in asked if self._tenths[box_id, day] == WHOLE)

    def of(self, day: int) -> Iterator[str]:
        """Yields all of them; those after the first FREQUENCY_BOXES are looked at when they are asked for."""
        there = [box_id for box_id, shares in self._there.items() if day in shares]
        first = self._sorted(day, [box_id for box_id in there if (box_id, day) in self._tenths] or there)
        yield from first[:FREQUENCY_BOXES]
        for box_id in there if len(there) > FREQUENCY_BOXES else ():
            if (box_id, day) not in self._tenths:
                self._look(box_id, [day])
        yield from self._sorted(day, there)[FREQUENCY_BOXES:]

    def _sorted(self, day: int, box_ids: Sequence[str]) -> list[str]:
        return sorted(box_ids, key=lambda box_id: -self._tenths.get((box_id, day), 0))

    def _look(self, box_id: str, days: Sequence[int]) -> None:
        """Reads how much of some days a Box has."""
        if not days:
            return
        tenths = dict.fromkeys(days, 0)
        span = min(days) * DAY_NS, (max(days) + 1) * DAY_NS
        for length_ms in LENGTHS_MS:
            for row in self._intervals.days(box_id, length_ms, *span, ()):
                day = row.start_ms * NS_PER_MS // DAY_NS
                if day in tenths:
                    known_ns = (row.summary.intervals - row.summary.flagged) * length_ms * NS_PER_MS
                    share = round(WHOLE * self._there[box_id][day] * known_ns / DAY_NS)
                    tenths[day] = max(tenths[day], min(share, WHOLE))
        self._tenths |= {(box_id, day): share for day, share in tenths.items()}


def _share(stays: Sequence[Span], day_ns: int) -> float:
    """The share of a day in which a Box was there."""
    return sum(max(0, min(last, day_ns + DAY_NS) - max(first, day_ns)) for first, last in stays) / DAY_NS
