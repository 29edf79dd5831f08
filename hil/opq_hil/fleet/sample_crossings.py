"""SampleCrossings: limits that the rms of a Box crosses, seen in its samples as the Box itself sees them.

The rms of the last nominal cycle after each block of 200 samples, beside the limits that a gateway sets by
default; what crosses leaves at once as a Measurement of its own.
"""

import numpy as np

from opq_gateway.blocks import SampleBlock
from opq_hil.box.commands import BoxCrossings, parse_limits
from opq_hil.mains.courses import FloatArray
from opq_proto.link_messages import Crossing

BLOCK_SAMPLES = 200
LIMITS = "dip=0.9,swell=1.1,interruption=0.1"
"""Of the gateway's default configuration (box_settings.limits)."""


class SampleCrossings:
    """Of one Box; pieces of samples in order, cut anywhere."""

    def __init__(self, nominal_v: float, nominal_hz: float) -> None:
        self._crossings = BoxCrossings(parse_limits(LIMITS))
        self._nominal_v, self._nominal_hz = nominal_v, nominal_hz
        self._squares = np.empty(0)
        self._first = 0
        """Sample of the first square that is kept."""
        self._beyond = False

    def crossings_of(self, block: SampleBlock) -> list[Crossing]:
        """What is crossed at the ends of the blocks that a piece completes."""
        cycle = round(block.rate_millihz / 1000 / self._nominal_hz)
        if self._first + len(self._squares) != block.first_sample:
            self._squares, self._first = np.empty(0), block.first_sample
        self._squares = np.concatenate((self._squares, block.counts.astype(np.float64) ** 2))
        first_end = max(self._first + cycle, block.first_sample + 1)
        ends = np.arange(-(-first_end // BLOCK_SAMPLES) * BLOCK_SAMPLES, block.end_sample + 1, BLOCK_SAMPLES)
        rms_v = self._rms_v(ends - self._first, cycle) * block.v_per_lsb
        found = []
        shares = rms_v / self._nominal_v
        if self._beyond or ((shares < 0.9) | (shares > 1.1)).any():
            for end, share in zip(ends.tolist(), shares.tolist(), strict=True):
                found += self._at(block, end - cycle, share)
        kept = max(0, len(self._squares) - cycle - BLOCK_SAMPLES)
        self._squares, self._first = self._squares[kept:], self._first + kept
        return found

    def _rms_v(self, ends: "np.ndarray[tuple[int], np.dtype[np.int64]]", cycle: int) -> FloatArray:
        """(n,) rms in counts of the cycles that end before these samples."""
        sums = np.concatenate(([0.0], np.cumsum(self._squares)))
        return np.asarray(np.sqrt((sums[ends] - sums[ends - cycle]) / cycle))

    def _at(self, block: SampleBlock, sample: int, share: float) -> list[Crossing]:
        crossed = list(self._crossings.crossed_by(share))
        self._beyond = self._beyond or bool(crossed)
        t_ns = block.t_ns - (block.first_sample - sample) * 10**12 // block.rate_millihz
        return [
            Crossing(
                sample=sample,
                t_ns=t_ns,
                uncertainty_ns=block.uncertainty_ns,
                source=block.source,
                kind=kind,
                entering=entering,
                rms_v=share * self._nominal_v,
                limit_v=limit * self._nominal_v,
            )
            for kind, entering, limit in crossed
        ]
