"""Joins two answers of one Box: parts that come in any order become one waveform.

A Box of this project numbers its samples, which gives the parts their places. An original Box does not: its
answers are whole windows of 200 samples from one buffer (docs/reference/opq-interop.md G.5). A part's place
is where both have the same samples; its time stamp only shows near which window to search. Pure: no database,
no clock.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from opq_cloud.store.event_record import EventRecord
from opq_proto.messages import Gap, Waveform
from opq_proto.wire.frames import CYCLE_SAMPLES

NOT_RECEIVED = "not received"
STAMP_WINDOWS = 6
"""An original Box's stamp may be wrong by this many windows, 100 ms: it is taken when a window is read."""
AXES_AGREE_NS = 10**9
"""Parts with one numbering agree in time within this and their uncertainties; else numbering restarted."""

Counts = NDArray[np.int16]


def joined_waveform(held: Waveform, more: Waveform) -> Waveform:
    """Returns `held` with what `more` adds to it; `held` itself where that is nothing.

    Parts that cannot come from one recording are not joined: the longer one is returned; of an original Box,
    whose clock was set back, the one that came first, which holds what was asked for.
    """
    place = _place(held, more)
    if place is None and not held.numbered and not more.numbered:
        return held
    if place is None:
        return more if len(more.counts) > len(held.counts) else held
    shift = place - more.first_sample
    runs = [(run.first_sample, run.counts) for run in held.runs()]
    runs += [(run.first_sample + shift, run.counts) for run in more.runs()]
    runs.sort(key=lambda run: run[0])
    known = (*held.gaps, *(replace(gap, first_sample=gap.first_sample + shift) for gap in more.gaps))
    parts: list[Counts] = []
    gaps: list[Gap] = []
    position = runs[0][0]
    for first, counts in runs:
        if first > position:
            gaps.append(Gap(position, first - position, _reason(known, position, first)))
            position = first
        rest = counts[position - first :]
        if len(rest):
            parts.append(rest)
            position += len(rest)
    if sum(map(len, parts)) <= len(held.counts):
        return held
    earlier = more if place < held.first_sample else held
    return replace(
        held,
        start_ns=earlier.start_ns,
        first_sample=runs[0][0],
        uncertainty_ns=max(held.uncertainty_ns, more.uncertainty_ns),
        counts=np.concatenate(parts),
        gaps=tuple(gaps),
    )


def waveform_within(wave: Waveform, start_ns: int, end_ns: int) -> Waveform | None:
    """Returns the samples in [start_ns, end_ns), with the gaps between them; None where there are none."""
    first, end = (
        wave.first_sample + max(0, -(-(at_ns - wave.start_ns) * wave.rate_millihz // 10**12))
        for at_ns in (start_ns, end_ns)
    )
    parts = []
    for run in wave.runs():
        begin, stop = max(run.first_sample, first), min(run.first_sample + len(run.counts), end)
        if begin < stop:
            parts.append((begin, run.counts[begin - run.first_sample : stop - run.first_sample]))
    if not parts:
        return None
    first, last = parts[0][0], parts[-1][0]
    return replace(
        wave,
        start_ns=wave.time_ns(first - wave.first_sample),
        first_sample=first,
        counts=np.concatenate([counts for _, counts in parts]),
        gaps=tuple(gap for gap in wave.gaps if first < gap.first_sample < last),
    )


def shown_part(record: EventRecord, waves: Iterable[Waveform]) -> tuple[Waveform, ...]:
    """Returns what a visitor to whom the event is shown as `record` may see of its waveforms."""
    if record.shown_ns is None:
        return tuple(waves)
    parts = (waveform_within(wave, *record.shown_ns) for wave in waves)
    return tuple(part for part in parts if part is not None)


def _reason(known: tuple[Gap, ...], first: int, end: int) -> str:
    for gap in known:
        if gap.first_sample < end and first < gap.first_sample + gap.samples:
            return gap.reason
    return NOT_RECEIVED


def _place(held: Waveform, more: Waveform) -> int | None:
    """Returns the index of the first sample of `more`, counted as in `held`; None if it is not known."""
    apart_ns = more.start_ns - held.start_ns
    expected = held.first_sample + round(apart_ns * held.rate_millihz / 10**12)
    if held.numbered is not more.numbered:
        return None
    if not held.numbered:
        return _matching_place(held, more, expected)
    if held.start_id is not None and more.start_id is not None:
        return more.first_sample if held.start_id == more.start_id else None
    tolerance_ns = AXES_AGREE_NS + held.uncertainty_ns + more.uncertainty_ns
    agrees = abs(more.first_sample - expected) * 10**12 <= tolerance_ns * held.rate_millihz
    return more.first_sample if agrees else None


def _matching_place(held: Waveform, more: Waveform, expected: int) -> int | None:
    """Returns the place nearest to `expected`, in whole windows, where all common samples are equal.

    Without common samples, the place before or after `held` where the stamp allows it, else None.
    """
    near = held.first_sample + round((expected - held.first_sample) / CYCLE_SAMPLES) * CYCLE_SAMPLES
    steps = sorted(range(-STAMP_WINDOWS, STAMP_WINDOWS + 1), key=abs)
    for step in steps:
        place = near + step * CYCLE_SAMPLES
        if _common_samples_agree(held, more, place):
            return place
    end = held.first_sample + len(held.counts) + sum(gap.samples for gap in held.gaps)
    slack = STAMP_WINDOWS * CYCLE_SAMPLES
    if near >= end - slack:  # after `held`, or next to it
        return max(near, end)
    length = len(more.counts) + sum(gap.samples for gap in more.gaps)
    if near + length <= held.first_sample + slack:
        return min(near, held.first_sample - length)
    return None


def _common_samples_agree(held: Waveform, more: Waveform, place: int) -> bool:
    """Whether at least one window is in both, and no sample differs."""
    shift = place - more.first_sample
    common = 0
    for mine in held.runs():
        for other in more.runs():
            first = max(mine.first_sample, other.first_sample + shift)
            last = min(mine.first_sample + len(mine.counts), other.first_sample + shift + len(other.counts))
            if last <= first:
                continue
            ours = mine.counts[first - mine.first_sample : last - mine.first_sample]
            start = first - shift - other.first_sample
            if not np.array_equal(ours, other.counts[start : start + last - first]):
                return False
            common += last - first
    return common >= CYCLE_SAMPLES
