"""SampleCrossings: limits that a Box's rms crosses, found in its samples as the Box itself finds them.

The rms of the last nominal cycle after each block of 200 samples is compared with the default limits of a
gateway; each crossing leaves at once as its own Measurement.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from opq_gateway.blocks import SampleBlock
from opq_gateway.uplink.box_uplink import crossing_measurement
from opq_proto.link.messages import Crossing
from opq_proto.messages import Measurement
from opq_sim.box.box import BLOCK_SAMPLES
from opq_sim.box.commands import BoxCrossings, parse_limits
from opq_sim.mains.profiles import FloatArray

LIMITS = "dip=0.9,swell=1.1,interruption=0.1"
"""The limits of the gateway's default configuration (box_settings.limits)."""


class SampleCrossings:
    """Finds crossings in the samples of one Box; pieces come in order, cut anywhere."""

    def __init__(self, nominal_v: float, nominal_hz: float) -> None:
        self._crossings = BoxCrossings(parse_limits(LIMITS))
        self._nominal_v, self._nominal_hz = nominal_v, nominal_hz
        self._counts = np.empty(0, np.int16)
        self._first = 0
        """Sample number of the first count that is held."""
        self._beyond = False

    def crossings_of(self, block: SampleBlock) -> list[Crossing]:
        """The crossings at the ends of the blocks that a piece completes."""
        cycle = round(block.rate_millihz / 1000 / self._nominal_hz)
        if self._first + len(self._counts) != block.first_sample:
            self._counts, self._first = np.empty(0, np.int16), block.first_sample
        self._counts = np.concatenate((self._counts, block.counts))
        first_end = max(self._first + cycle, block.first_sample + 1)
        ends = range(-(-first_end // BLOCK_SAMPLES) * BLOCK_SAMPLES, block.end_sample + 1, BLOCK_SAMPLES)
        if not ends:
            return []
        rms_v = _rms(self._counts[ends[0] - cycle - self._first :], len(ends), cycle) * block.v_per_lsb
        found = []
        shares = rms_v / self._nominal_v
        if self._beyond or ((shares < 0.9) | (shares > 1.1)).any():
            for end, share in zip(ends, shares.tolist(), strict=True):
                found += self._at(block, end - cycle, share)
        dropped = max(0, len(self._counts) - cycle - BLOCK_SAMPLES)
        self._counts, self._first = self._counts[dropped:], self._first + dropped
        return found

    def measurements(self, block: SampleBlock, box_id: str, from_ns: int) -> list[Measurement]:
        """The crossings of a piece from a time on, as the gateway sends them."""
        made = (
            crossing_measurement(each, box_id, block.rate_millihz / 1000, self._nominal_v, self._nominal_hz)
            for each in self.crossings_of(block)
            if each.t_ns >= from_ns
        )
        return [replace(each, start_id=block.start_id) for each in made if each is not None]

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


def _rms(counts: NDArray[np.int16], spans: int, cycle: int) -> FloatArray:
    """(spans,) rms values of `cycle` counts each; every span begins BLOCK_SAMPLES after the previous one.

    A cycle is a part of a block and then whole blocks; sums of squares of counts are exact in any order.
    """
    values = counts.astype(np.float64)
    blocks, rest = divmod(cycle, BLOCK_SAMPLES)
    sums = np.zeros(spans)
    if rest:
        sums += _energies(values, spans, rest)
    if blocks:
        whole = _energies(values[rest:], spans + blocks - 1, BLOCK_SAMPLES)
        for at in range(blocks):
            sums += whole[at : at + spans]
    return np.sqrt(sums / cycle)


def _energies(values: FloatArray, spans: int, length: int) -> FloatArray:
    """(spans,) sums of squares of `length` values, BLOCK_SAMPLES apart."""
    step = values.itemsize
    rows: FloatArray = np.ndarray((spans, length), np.float64, values, 0, (BLOCK_SAMPLES * step, step))
    return np.asarray(np.einsum("ij,ij->i", rows, rows))
