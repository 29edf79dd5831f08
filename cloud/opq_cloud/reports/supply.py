"""The supply of a Box over a span: its interruptions, and how long it is known whether there was supply.

An interruption counts where it began, and its minutes where they are: one that outlasts its Box at the place
ends there as the Box leaves. A share of supply is of what was measured.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from opq_cloud.store.box_record import FactSpan
from opq_cloud.store.intervals.served_phases import IntervalReader, ServedPhase, left_ns, read_served
from opq_measure.standards.indices import SupplyIndex, supply_of, union_ns
from opq_proto.measurement.intervals import TEN_MINUTES_MS, TEN_MINUTES_NS, Disturbance, IntervalColumns
from opq_proto.time_units import DAY_NS

Span = tuple[int, int | None]
"""Beginning and end of a time without supply; None: it has not ended."""


def supply_of_box(
    lost: Sequence[Span],
    covered_ns: float,
    tens: Sequence[IntervalColumns],
    span_ns: tuple[int, int],
    long_s: float,
) -> SupplyIndex:
    """The supply in [start, end) of `span_ns`.

    `lost`: interruptions and outages, apart from one another. `covered_ns`: how long the Box measured in the
    span. `tens`: its ten minutes, or at least those that the interruptions touch.
    """
    start_ns, end_ns = span_ns
    clipped = [
        (max(begin_ns, start_ns), min(end_ns if until_ns is None else until_ns, end_ns))
        for begin_ns, until_ns in lost
        if ((end_ns if until_ns is None else until_ns) - begin_ns) / 1e9 > long_s
    ]
    dark_ns = 0.0  # measured in an interruption, by a Box with a battery
    for columns in tens:
        share = np.nan_to_num(columns.coverage.astype(np.float64), nan=1.0)
        gone = np.zeros(len(share))
        for begin_ns, until_ns in clipped:
            inside = np.minimum(columns.end_ns, until_ns) - np.maximum(columns.start_ns, begin_ns)
            gone += np.maximum(inside, 0)
        dark_ns += float(np.minimum(share * TEN_MINUTES_NS, gone).sum())
    found = supply_of(lost, start_ns, end_ns, long_s, max(0.0, covered_ns - dark_ns))
    is_known = covered_ns > 0 or union_ns(clipped) >= end_ns - start_ns
    return found if is_known else replace(found, known_minutes=0.0)


def is_known(complete_percent: float, supply: SupplyIndex, events: int) -> bool:
    """Whether anything is known of a Box in a span: it measured, had an event that began, or no supply.

    Counts of what is not known are unknown, not 0, and are left out of means.
    """
    return bool(complete_percent > 0 or events or supply.minutes or supply.sustained or supply.short)


def with_ends(
    intervals: IntervalReader, phase: ServedPhase, events: Sequence[Disturbance], until_ns: int
) -> tuple[Disturbance, ...]:
    """The same, but an event whose end was not seen ends with the first ten minutes of its phase after its
    beginning that nothing touches, if there are some before a moment."""
    return tuple(
        each if each.end_ns is not None else replace(each, end_ns=_quiet_ns(intervals, phase, each, until_ns))
        for each in events
    )


def _quiet_ns(intervals: IntervalReader, phase: ServedPhase, event: Disturbance, until_ns: int) -> int | None:
    at_ns = event.start_ns + 1
    while at_ns < until_ns:
        columns = read_served(intervals, phase, TEN_MINUTES_MS, at_ns, min(at_ns + DAY_NS, until_ns), ())
        quiet = columns.start_ns[~columns.flagged]
        if len(quiet):
            return int(quiet[0])
        at_ns += DAY_NS
    return None


def until_left(spans: Sequence[FactSpan], box_id: str, lost: Span, end_ns: int) -> Span:
    """A time without supply, as far as its Box was at the place.

    `spans`: when each Box was there. `end_ns`: who is there until then has not left.
    """
    begin_ns, until_ns = lost
    gone_ns = left_ns(spans, box_id, begin_ns, end_ns)
    if gone_ns is None:
        return lost
    return begin_ns, gone_ns if until_ns is None else min(until_ns, gone_ns)
