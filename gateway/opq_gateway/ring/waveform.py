"""Waveform and losses of stretches: the results for readers of the ring.

A Waveform has one axis. Where a span of time has several starts of the Box, gains, nominal values or settings
of its clock, the Waveform is the longest part.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from opq_gateway.ring.lost import NOT_ON_DISK, Lost, completed
from opq_gateway.ring.segment import RecordColumns
from opq_gateway.ring.time_axes import CLOCK_STEP_NS
from opq_proto.messages import Gap, TimeSource, Waveform

FIT_SAMPLES = 12_000
"""From this many samples on, the rate is fitted to the stamps; with fewer, their rounding would show."""


def longest_waveform(box_id: str, stretches: Sequence[RecordColumns]) -> Waveform | None:
    """The longest part on one axis as a Waveform, with gaps and their reasons; None: no samples."""
    axes: list[list[RecordColumns]] = []
    for stretch in stretches:
        for part in _on_one_axis(stretch):
            if axes and _goes_on(axes[-1][-1], part):
                axes[-1].append(part)
            else:
                axes.append([part])
    if not axes:
        return None
    axis = max(axes, key=lambda parts: sum(len(part.counts) for part in parts))
    return _joined(box_id, axis, [one for stretch in stretches for one in stretch.lost])


def _on_one_axis(stretch: RecordColumns) -> list[RecordColumns]:
    """The parts of a stretch, cut where the index falls back or the time does not agree with it."""
    rows = stretch.rows
    if len(rows) < 2:
        return [stretch] if len(rows) else []
    first, rate = rows["first_sample"], rows["rate_millihz"].astype(np.int64)
    falls_back = first[1:] < stretch.ends[:-1]
    since_ns = _times_ns(first[1:] - first[:-1], rate[:-1])
    steps = np.abs(rows["t_ns"][:-1] + since_ns - rows["t_ns"][1:]) > CLOCK_STEP_NS
    cuts = [0, *(np.flatnonzero(falls_back | steps) + 1).tolist(), len(rows)]
    if len(cuts) == 2:
        return [stretch]
    return [stretch.part(low, high) for low, high in pairwise(cuts)]


def _times_ns(samples: NDArray[np.int64], rate_millihz: NDArray[np.int64]) -> NDArray[np.int64]:
    """Duration of this many samples; in two steps, because samples * 10**12 exceeds int64 at 13 minutes."""
    whole, rest = np.divmod(samples, rate_millihz)
    return np.asarray(whole * 10**12 + rest * 10**6 // rate_millihz * 10**6, np.int64)


def _goes_on(before: RecordColumns, after: RecordColumns) -> bool:
    """Whether `after` continues `before`: same stated facts, a later index, and a time that agrees with
    it."""
    last, first = before.part(len(before.rows) - 1, len(before.rows)).blocks()[0], after.rows[0]
    return (
        before.facts == after.facts
        and last.end_sample <= int(first["first_sample"])
        and abs(last.time_ns(int(first["first_sample"])) - int(first["t_ns"])) <= CLOCK_STEP_NS
    )


def _joined(box_id: str, parts: list[RecordColumns], lost: list[Lost]) -> Waveform:
    rows = np.concatenate([part.rows for part in parts]) if len(parts) > 1 else parts[0].rows
    counts = [part.counts for part in parts]
    first, ends = rows["first_sample"], rows["first_sample"] + rows["count"]
    facts = parts[0].facts
    gaps_known = [
        Gap(one.first_sample, one.samples, one.reason) for one in lost if one.start_id == parts[0].start_id
    ]
    gaps: list[Gap] = []
    for at in np.flatnonzero(first[1:] > ends[:-1]):
        gaps += completed(int(ends[at]), int(first[at + 1]), gaps_known, NOT_ON_DISK)
    return Waveform(
        box_id=box_id,
        start_ns=int(rows["t_ns"][0]),
        uncertainty_ns=int(rows["uncertainty_ns"].max()),
        source=TimeSource(int(rows["source"].min())),
        rate_millihz=_rate_millihz(rows),
        v_per_lsb=facts.v_per_lsb,
        first_sample=int(first[0]),
        counts=np.concatenate(counts) if len(counts) > 1 else counts[0],
        gaps=tuple(gaps),
        start_id=facts.start_id or None,
        nominal_v=facts.nominal_v,
        nominal_hz=facts.nominal_hz,
    )


def _rate_millihz(rows: NDArray[np.void]) -> int:
    """The rate that fits the stamps of the first and last block; a single block's own rate."""
    own = int(np.sort(rows["rate_millihz"])[len(rows) // 2])
    samples = int(rows["first_sample"][-1]) - int(rows["first_sample"][0])
    lasting_ns = int(rows["t_ns"][-1]) - int(rows["t_ns"][0])
    if lasting_ns <= 0 or samples < FIT_SAMPLES:
        return own
    fitted = round(samples * 1e12 / lasting_ns)
    return fitted if abs(fitted - own) <= own // 10_000 else own


@dataclass(slots=True)
class Holes:
    """Finds the missing samples of stretches, which are handed in in the order of writing."""

    found: list[Lost] = field(default_factory=list)
    _before: Lost | None = None
    """End of the last stretch, as a loss of no samples."""

    def accept_records(self, stretch: RecordColumns) -> None:
        """Adds a stretch's recorded losses, and the holes that were not recorded."""
        self.found += stretch.lost
        if not len(stretch.rows):
            return
        rows, ends, ends_ns = stretch.rows, stretch.ends, stretch.ends_ns
        before = self._before
        if before is not None and before.start_id == stretch.start_id:
            self._hole(before, int(rows["first_sample"][0]), int(rows["t_ns"][0]), stretch.lost)
        for at in np.flatnonzero(rows["first_sample"][1:] > ends[:-1]):
            start = Lost(stretch.start_id, int(ends[at]), 0, int(ends_ns[at]), int(ends_ns[at]), NOT_ON_DISK)
            following = rows[at + 1]
            self._hole(start, int(following["first_sample"]), int(following["t_ns"]), stretch.lost)
        self._before = Lost(
            stretch.start_id, int(ends[-1]), 0, int(ends_ns[-1]), int(ends_ns[-1]), NOT_ON_DISK
        )

    def _hole(self, start: Lost, end_sample: int, end_ns: int, lost: Iterable[Lost]) -> None:
        gaps_known = [Gap(o.first_sample, o.samples, "") for o in lost if o.start_id == start.start_id]
        for gap in completed(start.first_sample, end_sample, gaps_known, NOT_ON_DISK):
            if gap.reason:
                hole = replace(start, first_sample=gap.first_sample, samples=gap.samples)
                self.found.append(replace(hole, end_ns=max(start.start_ns, end_ns)))
