"""SourceStore: a Box's samples by time, made on request: the same samples that a ring on disk would give.

The gateway's command handler reads it like its ring, so an answer has the same header, the same Cycles and
the same gaps; the samples are the source's own, bit for bit.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from opq_gateway.ring.ring import RingSpan
from opq_gateway.ring.time_axes import AxisPlace, PlacedSpan, SampleStamp
from opq_proto.messages import Gap, Waveform
from opq_sim.box.box import BLOCK_SAMPLES
from opq_sim.box.box_stamps import BoxStamps
from opq_sim.box.source import RunClock, SampleSource

HELD_S = 3600.0
"""Waveforms may be requested this far back, as with a small ring, but not before the run's start."""
NO_SUPPLY = "the Box had no supply"


@dataclass(frozen=True, slots=True)
class NewestSamples:
    """The last block that was taken."""

    first_sample: int
    end_sample: int
    span_ns: int


class SourceStore:
    """The samples of one Box up to now, by the clock of the run."""

    bad_records = 0

    def __init__(
        self,
        box_id: str,
        samples: Callable[[], SampleSource],
        rate_millihz: int,
        clock: RunClock,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._box_id, self._samples, self._rate_millihz = box_id, samples, rate_millihz
        self._monotonic_ns = monotonic_ns
        self._stamps, self._start_id = BoxStamps(clock, samples()), clock.start_id

    def span(self) -> RingSpan | None:
        """From the oldest available sample to the newest; None before the first."""
        end = self._taken()
        if end <= 0:
            return None
        held = round(HELD_S * self._rate_millihz / 1000) // BLOCK_SAMPLES * BLOCK_SAMPLES
        first = max(0, end - held)
        return RingSpan(self._t_ns(first), self._t_ns(end))

    def newest(self) -> NewestSamples | None:
        """The last block."""
        end = self._taken()
        if end <= 0:
            return None
        first = end - BLOCK_SAMPLES
        return NewestSamples(first, end, self._t_ns(end) - self._t_ns(first))

    def placed(
        self,
        start_ns: int,
        end_ns: int,
        place: AxisPlace | None = None,
        stamp: SampleStamp | None = None,
    ) -> PlacedSpan:
        """The span as it is: the clock of the run is never set, and the run is one start."""
        start_id = None if stamp is None else stamp.start_id
        return PlacedSpan(start_ns, end_ns, place, is_gone=start_id not in (None, self._start_id))

    def passed(self, t_ns: int, place: AxisPlace | None) -> bool:
        """Whether the samples up to a time were taken."""
        span = self.span()
        return span is not None and span.end_ns >= t_ns

    def read(self, start_ns: int, end_ns: int, place: AxisPlace | None = None) -> Waveform | None:
        """The samples that touch [start_ns, end_ns); None when none was taken then, or they are too old."""
        span = self.span()
        if span is None or end_ns <= span.start_ns or start_ns >= span.end_ns:
            return None
        first = self._block(max(start_ns, span.start_ns))
        end = min(self._block(min(end_ns, span.end_ns)) + BLOCK_SAMPLES, self._taken())
        if end <= first:
            return None
        source, stamp, last = self._samples(), self._stamps.stamp(first), self._stamps.stamp(end)
        counts, gaps = source.counts(first, end - first), []
        for begin, stop in reversed(self._stamps.silent(first, end)):
            counts = np.delete(counts, np.s_[begin - first : stop - first])
            gaps.append(Gap(begin, stop - begin, NO_SUPPLY))
        if not len(counts):
            return None
        return Waveform(
            self._box_id,
            stamp.t_ns,
            max(stamp.uncertainty_ns, last.uncertainty_ns),
            min(stamp.source, last.source),
            stamp.rate_millihz,
            source.v_per_lsb,
            first,
            counts,
            tuple(gaps),
            start_id=self._start_id,
            nominal_v=source.nominal_v,
            nominal_hz=source.nominal_hz,
        )

    def _taken(self) -> int:
        """Number of samples in whole blocks taken by now."""
        return self._stamps.taken(self._monotonic_ns()) // BLOCK_SAMPLES * BLOCK_SAMPLES

    def _t_ns(self, sample: int) -> int:
        return self._stamps.stamp(sample).t_ns

    def _block(self, t_ns: int) -> int:
        """The first sample of the block that contains a time."""
        return max(0, self._stamps.sample_at(t_ns)) // BLOCK_SAMPLES * BLOCK_SAMPLES
