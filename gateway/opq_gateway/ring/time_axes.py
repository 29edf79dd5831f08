"""The axes of time of a ring: which sample was taken when, also where a Box's clock was set.

Within one start of the Box the sample index continues without a break. Where the clock was set, another axis
of time begins. So each axis of a start gives every sample of this start a time: its samples the stored stamp,
earlier samples a time by index and rate, with a growing bound. A read by time uses the axis that is meant
(`meant`), and gives the samples the times of the best one (`best`):

    better source of the clock, then less uncertainty; of equals the axis that was written later
    a better axis stamps earlier samples too, as far back as its bound is the smaller one
    where axes do not compete for a moment, the one that holds most of the span

Nothing of this is stored: a file keeps the stamps that its blocks came with.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from opq_gateway.ring.segment import RecordColumns, Segment
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

CLOCK_STEP_NS = 1_000_000
"""Where time stamps differ by more than this from the times by index and rate, the Box's clock was set. A
millisecond is more than any clock discipline slews between two blocks (500 ppm of 16.7 ms: 8 us). A
Measurement across such a step could last an hour, or have a negative length."""
HOLDOVER_DRIFT = 10e-6
"""Drift of a crystal over 10 K (AT cut, below 1 ppm/K); a TCXO stays far below."""
FROM_INDEX_NS = 1_000
"""Added to the bound of a time that comes from an index."""
SAME_STAMP_NS = 2_000_000_000
"""A time stamp of a request belongs to an axis that gives this sample a time within this distance. The time
within a file is interpolated here, and a hurried slewing is a second at most (steering.py)."""

UNLIMITED = 2**63
"""End of the samples of an axis that still grows."""
REFUTED_RANK = -1
"""Rank of time stamps if another axis has better ones for these samples; below every source."""


class AxisPlace(NamedTuple):
    """Names an axis by one of its samples: it stays valid while files are added, joined or deleted."""

    start_id: int
    sample: int


class SampleStamp(NamedTuple):
    """A sample, and its time by the clock that is meant."""

    sample: int
    t_ns: int
    start_id: int | None = None
    """The start of the Box to which the sample index belongs; None: not stated."""


class PlacedSpan(NamedTuple):
    """A span of time on an axis; None: the ring is empty, or has no samples of the start that is meant."""

    start_ns: int
    end_ns: int
    axis: AxisPlace | None
    is_gone: bool = False
    """Whether the ring has no samples of the start that is meant."""


@dataclass(eq=False, slots=True)
class AxisRun:
    """The axes of one start over which the index rises, in the order of writing."""

    axes: "list[TimeAxis]" = field(default_factory=list)
    _best: "dict[TimeAxis, tuple[int, int]]" = field(default_factory=dict)
    _lasting: int = -1
    """Length of the newest axis, in samples, when `_best` was computed."""

    def best(self) -> "dict[TimeAxis, tuple[int, int]]":
        """First and end of the samples for which each axis is the best, the newest axis first.

        Other axes are left out. It is computed again while the newest axis is young, because its rate becomes
        more accurate.
        """
        newest = self.axes[-1]
        lasting = newest.end_sample - newest.first_sample
        if lasting > 2 * self._lasting:
            best: dict[TimeAxis, tuple[int, int]] = {}
            limit = UNLIMITED
            for at in range(len(self.axes) - 1, -1, -1):
                axis = self.axes[at]
                if axis.first_sample < limit:
                    first = axis.better_from(self.axes[:at])
                    best[axis] = first, min(limit, axis.end_sample if limit < UNLIMITED else limit)
                    limit = first
            self._best, self._lasting = best, lasting
        return self._best


@dataclass(eq=False, slots=True)
class TimeAxis:
    """Adjoining files of one start whose times agree with their indices; the last one may still grow."""

    segments: list[Segment]
    run: AxisRun
    clock_of: Callable[[Segment], tuple[int, TimeSource]]
    """Returns uncertainty and source of the last block of a file."""

    @property
    def start_id(self) -> int:
        return self.segments[0].start_id

    @property
    def first_sample(self) -> int:
        return self.segments[0].first_sample

    @property
    def end_sample(self) -> int:
        return self.segments[-1].end_sample

    @property
    def start_ns(self) -> int:
        return self.segments[0].start_ns

    @property
    def end_ns(self) -> int:
        return self.segments[-1].end_ns

    @property
    def place(self) -> AxisPlace:
        return AxisPlace(self.start_id, self.end_sample - 1)

    @property
    def best_from(self) -> int:
        """The first sample for which it is the best axis; or else its own first sample."""
        return self.run.best().get(self, (self.first_sample, 0))[0]

    def better_from(self, before: "Sequence[TimeAxis]") -> int:
        """The first sample for which it is better than the axes before it."""
        first = self.first_sample
        if not before:
            return first
        uncertainty_ns, source = self.clock_of(self.segments[0])
        for earlier in reversed(before):
            was_ns, was_source = self.clock_of(earlier.segments[-1])
            refuted = was_source <= min(source, TimeSource.NTP) and (
                abs(self.start_ns - earlier.t_ns(self.first_sample)) > was_ns + uncertainty_ns
            )
            if refuted or was_ns >= UNKNOWN_UNCERTAINTY_NS:
                first = earlier.first_sample
                continue
            room_ns = was_ns - uncertainty_ns - FROM_INDEX_NS
            reach = self.first_sample - int(max(0, room_ns) / self._drift(uncertainty_ns) / _period_ns(self))
            first = min(first, max(earlier.first_sample, reach))
            if reach > earlier.first_sample:
                break
        return first

    def t_ns(self, sample: int) -> int:
        """The time of a sample of its run. Within a file it is interpolated."""
        at = max(0, bisect_right(self.segments, sample, key=lambda one: one.first_sample) - 1)
        segment = self.segments[at]
        return segment.start_ns + round((sample - segment.first_sample) * _period_ns(self, at))

    def holds(self, start_ns: int, end_ns: int) -> bool:
        """Whether it gives any sample of its run a time in [start_ns, end_ns)."""
        first = self.best_from
        begin_ns = self.start_ns if first >= self.first_sample else self.t_ns(first)
        return begin_ns < end_ns and self.end_ns > start_ns

    def sample_at(self, t_ns: int) -> int:
        """The sample of its run that is taken at a time; the reverse of `t_ns`."""
        at = max(0, bisect_right(self.segments, t_ns, key=lambda one: one.start_ns) - 1)
        segment = self.segments[at]
        return segment.first_sample + round((t_ns - segment.start_ns) / _period_ns(self, at))

    def best(self, first: int, end: int) -> "TimeAxis":
        """The axis of its run that is the best for all samples first .. end - 1."""
        for one, (best_from, _) in self.run.best().items():  # the newest one comes first
            if best_from <= first or one.first_sample < end:
                return one
        return self

    def held(self, start_ns: int, end_ns: int) -> list[Segment]:
        """Its files that touch [start_ns, end_ns), and the next one, because its first loss may lie in the
        span."""
        found = [one for one in self.segments if one.end_ns > start_ns and one.start_ns < end_ns]
        after = self.segments.index(found[-1]) + 1 if found else len(self.segments)
        return [*found, *self.segments[after : after + 1]]

    def clock_at(self, sample: int) -> tuple[int, TimeSource]:
        """Uncertainty and source of the time that it gives a sample."""
        uncertainty_ns, source = self.clock_of(self.segments[0])
        before_ns = (self.first_sample - sample) * _period_ns(self)
        if before_ns <= 0:
            return uncertainty_ns, source
        grown_ns = uncertainty_ns + FROM_INDEX_NS + round(before_ns * self._drift(uncertainty_ns))
        return min(grown_ns, UNKNOWN_UNCERTAINTY_NS), min(source, TimeSource.HOLDOVER)

    def stamped(self, part: RecordColumns) -> RecordColumns:
        """Records of earlier axes of its run with the times of this one."""
        rows = part.rows.copy()
        first, period_ns = rows["first_sample"], _period_ns(self)
        before = self.first_sample - first
        rows["t_ns"] = self.start_ns - np.round(before * period_ns).astype(np.int64)
        rows["rate_millihz"] = round(1e12 / period_ns)
        rows["uncertainty_ns"], rows["source"] = self.clock_at(int(first[0]) if len(first) else 0)
        lost = [
            replace(one, start_ns=self.t_ns(one.first_sample), end_ns=self.t_ns(one.end_sample))
            for one in part.lost
        ]
        return replace(part, rows=rows, lost=tuple(lost))

    def _drift(self, uncertainty_ns: int) -> float:
        """Growth of the bound with the time before the axis: the drift of the crystal and the bound of the
        rate."""
        return HOLDOVER_DRIFT + 2 * uncertainty_ns / max(1, self.segments[0].span_ns)


def _period_ns(axis: TimeAxis, at: int = 0) -> float:
    """Nanoseconds from sample to sample in a file of the axis."""
    segment = axis.segments[at]
    return segment.span_ns / max(1, segment.end_sample - segment.first_sample)


@dataclass(eq=False, slots=True)
class TimeAxes:
    """The axes of a ring's files, in the order of writing."""

    segments: Sequence[Segment]
    clock_of: Callable[[Segment], tuple[int, TimeSource]]
    axes: list[TimeAxis] = field(default_factory=list)

    def __post_init__(self) -> None:
        for segment in self.segments:
            last = self.axes[-1] if self.axes else None
            if last is not None and _goes_on(last.segments[-1], segment):
                last.segments.append(segment)
                continue
            follows = (
                last is not None
                and last.start_id == segment.start_id
                and last.end_sample <= segment.first_sample
            )
            run = last.run if last is not None and follows else AxisRun()
            run.axes.append(axis := TimeAxis([segment], run, self.clock_of))
            self.axes.append(axis)

    @property
    def in_force(self) -> TimeAxis | None:
        """The axis of the newest samples; None when the ring is empty."""
        return self.axes[-1] if self.axes else None

    def start_ns(self) -> int:
        """The oldest sample's time by its best axis."""
        runs = {id(axis.run): axis.run for axis in self.axes}
        return min(axis.t_ns(first) for run in runs.values() for axis, (first, _) in run.best().items())

    def at(self, place: AxisPlace | None) -> TimeAxis | None:
        """The axis of a place; None where its samples were deleted."""
        if place is None:
            return None
        start_id, sample = place
        for axis in reversed(self.axes):
            if axis.start_id == start_id and axis.first_sample <= sample < axis.end_sample:
                return axis
        return None

    def stamping(self, stamp: SampleStamp) -> TimeAxis | None:
        """The axis by which this sample has about this time, or None.

        Where the start is given, the axis of this start by which the sample has the nearest time.
        """
        sample, t_ns, start_id = stamp
        if start_id is not None:
            of_start = [axis for axis in reversed(self.axes) if axis.start_id == start_id]
            return min(of_start, key=lambda axis: abs(axis.t_ns(sample) - t_ns), default=None)
        near = [
            (abs(axis.t_ns(sample) - t_ns), -at, axis)
            for at, axis in enumerate(self.axes)
            if axis.run.axes[0].first_sample <= sample < axis.run.axes[-1].end_sample
        ]
        return min(near)[2] if near and min(near)[0] <= SAME_STAMP_NS else None

    def meant(self, start_ns: int, end_ns: int) -> TimeAxis | None:
        """The axis that a request for a span of time means; the newest axis if no axis has samples of the
        span."""
        if len(self.axes) < 2:
            return self.in_force
        touching = [axis for axis in self.axes if axis.holds(start_ns, end_ns)]
        if len(touching) < 2:
            return touching[0] if touching else self.in_force
        held = sorted(self._held(touching, start_ns, end_ns), key=lambda one: one[:3], reverse=True)
        taken: list[tuple[int, int]] = []
        longest_ns, chosen = 0, self.in_force
        for *_, begin_ns, stop_ns, axis in held:
            left_ns = stop_ns - begin_ns - _covered_ns(begin_ns, stop_ns, taken)
            taken.append((begin_ns, stop_ns))
            if left_ns > longest_ns:
                longest_ns, chosen = left_ns, axis
        return chosen

    def _held(
        self, axes: Sequence[TimeAxis], start_ns: int, end_ns: int
    ) -> Iterator[tuple[int, int, int, int, int, TimeAxis]]:
        """What each axis holds of a span of time, with its rank: (source, - uncertainty, order, from, to)."""
        for order, axis in enumerate(axes):
            low, high = axis.run.best().get(axis, (0, 0))
            high = min(high, axis.end_sample)
            worse = max(axis.first_sample, high)  # from here on a later axis is better
            for begin, stop in ((low, high), (worse, axis.end_sample)):
                if begin >= stop:
                    continue
                begin_ns = max(start_ns, axis.t_ns(begin))
                stop_ns = axis.end_ns if stop == axis.end_sample else axis.t_ns(stop)
                if axis is self.axes[-1] and begin_ns < stop_ns:
                    stop_ns = end_ns  # its further samples are still to come
                stop_ns = min(end_ns, stop_ns)
                if begin_ns < stop_ns:
                    uncertainty_ns, source = axis.clock_at(axis.sample_at(begin_ns))
                    rank = REFUTED_RANK if begin == worse else int(source)
                    yield rank, -uncertainty_ns, order, begin_ns, stop_ns, axis


def _goes_on(before: Segment, after: Segment) -> bool:
    """Whether a file continues the time axis of the one before it."""
    missing = after.first_sample - before.end_sample
    if before.start_id != after.start_id or missing < 0:
        return False
    period_ns = before.span_ns / max(1, before.end_sample - before.first_sample)
    return abs(before.end_ns + round(missing * period_ns) - after.start_ns) <= CLOCK_STEP_NS


def _covered_ns(begin_ns: int, stop_ns: int, spans: Sequence[tuple[int, int]]) -> int:
    """The length of [begin_ns, stop_ns) that the spans cover."""
    covered_ns = 0
    for start_ns, end_ns in sorted(spans):
        low_ns, high_ns = max(begin_ns, start_ns), min(stop_ns, end_ns)
        if low_ns < high_ns:
            covered_ns += high_ns - low_ns
            begin_ns = high_ns
    return covered_ns
