"""Data requests: the samples of a span of time from the ring, in whole Cycles of 200.

Pure except for reading the ring. Where a Box's clock was set, the ring chooses the samples that are meant
(ring/time_axes.py). The choice is made when the request comes and stays while it waits, although the clock
may be set again meanwhile. The answer has the times that the best clock gives them, and how far they are from
those of the request. An answer lists the gaps before, in and after its samples, each with its reason. Samples
next to a gap that do not fill a whole Cycle belong to the gap.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from opq_gateway.ring.ring import RingSpan
from opq_gateway.ring.time_axes import AxisPlace, PlacedSpan, SampleStamp
from opq_proto.messages import Gap, Waveform
from opq_proto.wire.frames import CYCLE_SAMPLES, Response, waveform_to_frames
from opq_proto.wire.opqbox3_pb2 import GetDataCommand
from opq_proto.wire.waveforms import NOT_SAMPLED_YET, REQUEST_TOO_LONG

CYCLE_NS = 40_000_000
"""The ring is read this far beyond the requested span, so that whole Cycles cover it: at least one Cycle of
200 samples from 5 kS/s on."""
HALF_MS_NS = 500_000
"""Time stamps of Cycles are rounded to whole ms."""
MAX_FRAMES = 40_000
"""Most Cycles of an answer, whatever the configuration allows: 11 minutes at 12 kS/s, 30 MB."""
BEFORE_RING = "older than the ring holds"
NO_SAMPLES_TEXT = "the gateway has no samples of this time"
OF_NO_START = "the gateway has no samples of this start of the Box"


class HeldSpan(Protocol):
    """Samples without a gap: their number and their length."""

    @property
    def first_sample(self) -> int: ...

    @property
    def end_sample(self) -> int: ...

    @property
    def span_ns(self) -> int: ...


class SampleStore(Protocol):
    """One Box's samples by time: a ring on disk, or anything that returns the same."""

    bad_records: int
    """Damaged records that reads have left out."""

    def span(self) -> RingSpan | None:
        """From the oldest to the newest sample held; None when empty."""
        ...

    def newest(self) -> HeldSpan | None:
        """The newest samples without a gap; None when empty."""
        ...

    def placed(
        self,
        start_ns: int,
        end_ns: int,
        place: AxisPlace | None = None,
        stamp: SampleStamp | None = None,
    ) -> PlacedSpan:
        """The span with the times of the axis that stamps its samples best; see `Ring.placed`."""
        ...

    def passed(self, t_ns: int, place: AxisPlace | None) -> bool:
        """Whether the samples up to a time of an axis are here, or will never come."""
        ...

    def read(self, start_ns: int, end_ns: int, place: AxisPlace | None = None) -> Waveform | None:
        """The samples that touch [start_ns, end_ns), with their gaps; None when nothing is there."""
        ...


def stamp_named(data: GetDataCommand) -> SampleStamp | None:
    """The sample by which a request names the clock of its times and the start of the Box; None where the
    request does not name them."""
    if not data.HasField("sample_ns"):
        return None
    return SampleStamp(data.sample, data.sample_ns, data.start_id or None)


@dataclass(frozen=True, slots=True)
class DataRequest:
    """The requested span, [start_ns, end_ns), and the envelope of the answer."""

    box_id: str
    seq: int
    start_ns: int
    end_ns: int
    shortened: bool = False
    """Whether the requested end was later than `end_ns`."""
    inside: bool = False
    """Whether only Cycles that end inside the span are wanted, as an original Box answers
    (docs/reference/opq-interop.md G.5)."""
    place: AxisPlace | None = None
    """The axis of the span's times; None: the best one."""
    stamp: SampleStamp | None = None
    """A sample, with its time on the axis of the span's times and its start, where the request names them."""
    is_gone: bool = False
    """Whether the ring has no samples of the start that the request names."""
    moved_ns: int = 0
    """Difference that moved the requested times to this axis."""

    def placed(self, ring: SampleStore) -> "DataRequest":
        """The request with its times on the axis that is best now."""
        span = ring.placed(self.start_ns, self.end_ns, self.place, self.stamp)
        moved_ns = self.moved_ns + span.start_ns - self.start_ns
        return replace(
            self,
            start_ns=span.start_ns,
            end_ns=span.end_ns,
            place=span.axis,
            stamp=self._stamp_on(span),
            is_gone=span.is_gone,
            moved_ns=moved_ns,
        )

    def _stamp_on(self, span: PlacedSpan) -> SampleStamp | None:
        """The stamp on the axis of this span; the start of the Box stays."""
        stamp = self.stamp
        if stamp is None or span.axis is None:
            return stamp
        moved_ns = span.start_ns - self.start_ns
        return None if stamp.start_id is None else stamp._replace(t_ns=stamp.t_ns + moved_ns)


def limited(request: DataRequest, span: RingSpan | None, longest_ns: int) -> DataRequest:
    """The request with its end at most `longest_ns` after its start, or after the oldest sample if later."""
    begin_ns = request.start_ns if span is None else max(request.start_ns, span.start_ns)
    if request.end_ns - begin_ns <= longest_ns:
        return request
    return replace(request, end_ns=begin_ns + longest_ns, shortened=True)


def ready(ring: SampleStore, request: DataRequest) -> bool:
    """Whether the ring reaches far enough for the request."""
    return request.is_gone or ring.passed(request.end_ns + _cycle_ns(ring), request.place)


def answer(ring: SampleStore, request: DataRequest, now_ms: int) -> list[bytes]:
    """The answer's frames: header and Cycles, or the header alone (start and end 0) when there is nothing.

    Raises:
        OSError: the ring cannot be read.
    """
    span = ring.span()
    request = request.placed(ring)
    wave = None
    if request.start_ns < request.end_ns and not request.is_gone:
        around = _cycle_ns(ring)
        found = ring.read(request.start_ns - around, request.end_ns + around, request.place)
        cut = cycles_that_end_inside if request.inside else whole_cycles
        wave = cut(found, request.start_ns, request.end_ns) if found is not None else None
    start_ns = span.start_ns if span is not None else None
    end_ns = span.end_ns if span is not None else None
    if wave is None:
        frames = waveform_to_frames(None, request.box_id, request.seq, now_ms, start_ns, end_ns)
        return _completed(frames, request, (Gap(0, 0, _nothing(ring, request, span)),), ())
    frames = waveform_to_frames(wave, request.box_id, request.seq, now_ms, start_ns, end_ns)
    return _completed(frames, request, *_outer_gaps(ring, wave, request, span))


def whole_cycles(wave: Waveform, start_ns: int, end_ns: int) -> Waveform | None:
    """The part of `wave` that covers [start_ns, end_ns) in whole Cycles, on the Box's grid of 200.

    Where a gap is next to it, a run's rest below 200 samples joins the gap. None when no Cycle is left.
    """
    return _cycles_between(wave, _sample_at(wave, start_ns), _sample_at(wave, end_ns, up=True), up=True)


def cycles_that_end_inside(wave: Waveform, start_ns: int, end_ns: int) -> Waveform | None:
    """The Cycles with start < time stamp < end; a time stamp is the Cycle's end in whole ms.

    The first one begins up to a Cycle before the span; the last one ends before the span's end.
    """
    return _cycles_between(wave, _sample_at(wave, start_ns + HALF_MS_NS), _last_inside(wave, end_ns))


def _last_inside(wave: Waveform, end_ns: int) -> int:
    """End of the last Cycle whose time stamp is before `end_ns`."""
    return _sample_at(wave, end_ns - HALF_MS_NS - 1) // CYCLE_SAMPLES * CYCLE_SAMPLES


def _cycles_between(wave: Waveform, low: int, high: int, up: bool = False) -> Waveform | None:
    """The Cycles from the one with sample `low` up to `high`; with `up` also the Cycle that contains
    `high`."""
    low = low // CYCLE_SAMPLES * CYCLE_SAMPLES
    parts = []
    gaps: list[Gap] = []
    first: Waveform | None = None
    position = 0
    reasons = {gap.first_sample + gap.samples: gap.reason for gap in wave.gaps}
    for run in wave.runs():
        begin = max(run.first_sample, low)
        there = run.first_sample + len(run.counts) - begin
        wanted = min(run.first_sample + len(run.counts), high) - begin
        wanted = -(-wanted // CYCLE_SAMPLES) if up else wanted // CYCLE_SAMPLES
        length = min(there // CYCLE_SAMPLES, wanted) * CYCLE_SAMPLES
        if length <= 0:
            continue
        if first is None:
            first = replace(run, first_sample=begin, start_ns=run.time_ns(begin - run.first_sample))
        elif begin > position:
            reason = reasons.get(run.first_sample, "lost between Box and gateway")
            gaps.append(Gap(position, begin - position, reason))
        parts.append(run.counts[begin - run.first_sample : begin - run.first_sample + length])
        position = begin + length
    if first is None:
        return None
    return replace(first, counts=np.concatenate(parts), gaps=tuple(gaps))


def _sample_at(wave: Waveform, t_ns: int, up: bool = False) -> int:
    """Index of the last sample at or before `t_ns`; with `up` the first at or after it.

    Time stamps are floored to ns, so a slack of two ns is needed for a sample's time stamp to give its index.
    """
    scaled = (t_ns - wave.start_ns) * wave.rate_millihz
    slack = 2 * wave.rate_millihz
    return wave.first_sample + (-((slack - scaled) // 10**12) if up else (scaled + slack) // 10**12)


def _cycle_ns(ring: SampleStore) -> int:
    newest = ring.newest()
    if newest is None or newest.end_sample <= newest.first_sample:
        return CYCLE_NS
    return min(CYCLE_NS, newest.span_ns * CYCLE_SAMPLES // (newest.end_sample - newest.first_sample) + 1000)


def _outer_gaps(
    ring: SampleStore, wave: Waveform, request: DataRequest, span: RingSpan | None
) -> tuple[tuple[Gap, ...], tuple[Gap, ...]]:
    """The parts of the request before and after the waveform, as gaps; indices below 0 do not exist."""
    before: tuple[Gap, ...] = ()
    behind: tuple[Gap, ...] = ()
    start = max(0, _sample_at(wave, request.start_ns + (HALF_MS_NS if request.inside else 0)))
    if start < wave.first_sample:
        old = span is not None and request.start_ns < span.start_ns
        before = (Gap(start, wave.first_sample - start, BEFORE_RING if old else NO_SAMPLES_TEXT),)
    end = wave.first_sample + len(wave.counts) + sum(gap.samples for gap in wave.gaps)
    wanted_end = _last_inside(wave, request.end_ns) if request.inside else None
    missing = (_sample_at(wave, request.end_ns, up=True) if wanted_end is None else wanted_end) - end
    if missing > 0:
        over = ring.passed(request.end_ns, request.place)
        behind = (Gap(end, missing, NO_SAMPLES_TEXT if over else NOT_SAMPLED_YET),)
    elif request.shortened:
        behind = (Gap(end, 1, REQUEST_TOO_LONG),)
    return before, behind


def _nothing(ring: SampleStore, request: DataRequest, span: RingSpan | None) -> str:
    if span is None:
        return "the gateway has no samples of this Box yet"
    if request.is_gone:
        return OF_NO_START
    if request.end_ns <= request.start_ns:
        return "the span ends before it begins"
    if request.end_ns <= span.start_ns:
        return BEFORE_RING
    return NO_SAMPLES_TEXT if ring.passed(request.start_ns + 1, request.place) else NOT_SAMPLED_YET


def _completed(
    frames: list[bytes], request: DataRequest, before: tuple[Gap, ...], behind: tuple[Gap, ...]
) -> list[bytes]:
    """The answer, with the gaps outside of its samples, and how far its times are from those of the
    request."""
    if not before and not behind and not request.moved_ns:
        return frames
    response = Response.FromString(frames[0])
    if request.moved_ns:
        response.get_data_response.moved_ns = request.moved_ns
    inner = [Gap(gap.first_sample, gap.samples, gap.reason) for gap in response.get_data_response.gap]
    del response.get_data_response.gap[:]
    for gap in (*before, *inner, *behind):
        response.get_data_response.gap.add(
            first_sample=gap.first_sample, samples=gap.samples, reason=gap.reason
        )
    return [response.SerializeToString(), *frames[1:]]
