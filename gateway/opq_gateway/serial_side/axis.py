"""Axis: one run of sample indices of a Box, from its start to its next.

Gives each block its time, finds where the run begins (after a restart of the gateway: where the
ring ends) and notices when the indices begin anew. Pure; the clocks are handed in.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from opq_gateway.blocks import Block
from opq_gateway.ring.segment import Segment
from opq_gateway.serial_side.clock import Anchor
from opq_gateway.serial_side.reassembly import Output, Reassembly
from opq_proto.clock import ClockState, system_clock
from opq_proto.link_messages import (
    FLAG_CLIPPED,
    FLAG_OVERRUN_BEFORE,
    FLAG_RESENT,
    Crossing,
    Hello,
    Samples,
)

BACKWARD_BLOCKS = 3
"""A line keeps the order: so many live blocks in a row from before what was expected mean that the
indices began anew, even if the hello was lost or the boot id is the same."""
SAME_AXIS_NS = 1_000_000_000
"""A restarted gateway goes on with the ring's axis when a block's time agrees so well with its index."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks of a run, handed in."""

    monotonic_s: Callable[[], float] = time.monotonic
    now_ns: Callable[[], int] = time.time_ns
    system: Callable[[], ClockState] = system_clock


class Axis:
    """One run of indices; Samples in, blocks in order and gaps out."""

    def __init__(self, hello: Hello, ring: Segment | None, clocks: Clocks) -> None:
        """Begin; `ring` is the ring's newest segment when its run may be this one."""
        self._clocks = clocks
        self.clock = Anchor(clocks.now_ns, clocks.system)
        self._ring = ring if ring is not None and ring.boot_id == hello.boot_id else None
        self._backward = 0
        self.too_old = 0
        """Samples left out because they came before the run's first."""
        self.line = Reassembly(hello.ring_samples)

    def take(self, samples: Samples, hello: Hello) -> list[Output] | None:
        """What is in order now and what to ask for; None: the indices began anew, elsewhere."""
        block = self._block(samples, hello)
        resent = bool(samples.flags & FLAG_RESENT)
        if self.line.expected is None and not self._begins_with(block, resent):
            self.too_old += len(block.counts)
            return []
        if not resent and self._began_anew(block):
            return None
        return self.line.push(block, self._clocks.monotonic_s())

    def tick(self) -> list[Output]:
        """Time passes."""
        return self.line.tick(self._clocks.monotonic_s())

    def flush(self) -> list[Output]:
        """The axis ends: every hole is given up."""
        return self.line.flush()

    def stamped(self, crossing: Crossing) -> Crossing:
        """The crossing with the time of this axis."""
        return crossing

    def _block(self, samples: Samples, hello: Hello) -> Block:
        stamp = self.clock.stamp(samples)
        return Block(
            hello.boot_id,
            hello.v_per_lsb,
            samples.first_sample,
            stamp.t_ns,
            stamp.uncertainty_ns,
            stamp.source,
            samples.rate_millihz,
            samples.counts,
            bool(samples.flags & FLAG_OVERRUN_BEFORE),
            bool(samples.flags & FLAG_CLIPPED),
        )

    def _begins_with(self, block: Block, resent: bool) -> bool:
        """Whether the run may begin with this block, the first; False: it is old, leave it out.

        After a restart of the gateway what the ring lacks is a hole, if it is the same run. The
        line may still hold what the Box sent again for the gateway before.
        """
        ring = self._ring
        if ring is not None and resent and block.end_sample <= ring.end_sample:
            return False
        self._ring = None
        if ring is not None and ring.end_sample <= block.first_sample:
            since_ns = (block.first_sample - ring.end_sample) * 10**12 // block.rate_millihz
            if abs(block.t_ns - ring.end_ns - since_ns) < SAME_AXIS_NS:
                self.line.expect(ring.end_sample)
                return True
        return not resent

    def _began_anew(self, block: Block) -> bool:
        backward = self.line.expected is not None and block.end_sample <= self.line.expected
        self._backward = self._backward + 1 if backward else 0
        return self._backward >= BACKWARD_BLOCKS
