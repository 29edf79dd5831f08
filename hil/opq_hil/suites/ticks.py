"""Mains that is a clock: its value is the tick at which it was converted, the truth for every stamp.

The converter gets a sawtooth of 65,536 counts that rises by one in each tick of 84 MHz. Every sample then
carries the low 16 bits of its own moment, whatever the firmware or the emulator report.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_hil.suites.scenario import require
from opq_hil.world.world import EXTERNAL, NS_PER_S, Played, World
from opq_proto.link.messages import Samples

TICK_HZ = 84_000_000
TURN = 1 << 16
TICKS_PER_SAMPLE = 7000


def tick_of(virtual_ns: int) -> int:
    """The tick of 84 MHz that contains a virtual ns: 21 ticks are 250 ns."""
    return virtual_ns * 21 // 250


def ns_of(tick: int) -> float:
    """Virtual time at which a tick begins."""
    return tick * 250 / 21


def saw() -> Played:
    """The waveform for the external converter: with an oversampling of 1 its counts arrive unchanged."""
    return Played(np.arange(TURN, dtype=np.uint16).view(np.int16), EXTERNAL, TICK_HZ * 1000, loop=True)


@dataclass(frozen=True, slots=True)
class SampleTicks:
    """The tick at which each sample of a run was taken: `zero + 7000 * index`."""

    zero: int

    def virtual_ns(self, sample: int) -> float:
        return ns_of(self.zero + TICKS_PER_SAMPLE * sample)

    def late_ns(self, block: Samples, world: World) -> float:
        """Stamp less true UTC of a block's first sample; integers first, because a UTC in ns has 61 bits."""
        assert world.gps is not None
        virtual_ns = self.virtual_ns(block.first_sample)
        whole = int(virtual_ns)
        true_ns = world.gps.utc_ns(world.oscillator.true_ns(whole))
        return (block.t_ns - true_ns) - (virtual_ns - whole)


def moments(blocks: Sequence[Samples], received_ns: Sequence[int]) -> SampleTicks:
    """Reads the ticks out of the counts.

    The low 16 bits of sample 0's tick are in every sample and must agree. The high bits follow from the time
    at which a block arrived. Several turns of 780 us lie between its end and its arrival; `settle` chooses
    one by the stamps.

    Raises:
        ScenarioFailedError: two samples are not whole multiples of 7000 ticks apart.
    """
    low = {int(value) for block in blocks for value in np.unique(_zero(block))}
    require(len(low) == 1, f"samples are not 7000 ticks apart: {len(low)} different origins, want 1")
    latest = min(
        tick_of(received_at) - TICKS_PER_SAMPLE * (block.first_sample + len(block.counts) - 1)
        for block, received_at in zip(blocks, received_ns, strict=True)
    )
    return SampleTicks(latest - (latest - low.pop()) % TURN)


def settle(found: SampleTicks, world: World, blocks: Sequence[Samples]) -> SampleTicks:
    """Chooses the turn that lies nearest to the stamps of locked blocks, at most 60 ms before the arrival.

    Whole seconds do not count, so that stamps by late labels show their turn too.
    """

    def late_ns(moment: SampleTicks) -> float:
        late = moment.late_ns(blocks[-1], world)
        return abs(late - round(late / NS_PER_S) * NS_PER_S)

    return min((SampleTicks(found.zero - turn * TURN) for turn in range(77)), key=late_ns)


def _zero(block: Samples) -> NDArray[np.int64]:
    """Sample 0's tick as each sample gives it, modulo a turn."""
    index = block.first_sample + np.arange(len(block.counts), dtype=np.int64)
    zeros = block.counts.astype(np.int64) - TICKS_PER_SAMPLE * index
    return np.asarray(zeros % TURN)
