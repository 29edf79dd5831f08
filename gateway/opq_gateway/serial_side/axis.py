"""Axis: one run of sample indices of a Box, from one start of the Box to the next.

It gives each block its time, finds where the run begins (after a restart of the gateway: where the ring ends)
and notices when the indices begin again. Pure; the clocks are handed in.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from opq_gateway.blocks import SampleBlock
from opq_gateway.ring.lost import NOT_RESENT, NOT_RUNNING, STOOD_STILL
from opq_gateway.ring.segment import Segment
from opq_gateway.serial_side.clock import BoxClock, Clocks, SampleTime
from opq_gateway.serial_side.reassembly import Output, Reassembly
from opq_proto.link.messages import FLAG_CLIPPED, FLAG_OVERRUN_BEFORE, FLAG_RESENT, Crossing, Hello, Samples
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Gap, TimeSource

BACKWARD_BLOCKS = 3
"""A line keeps the order. So this many live blocks in a row from before the expected index mean that the
indices began again, even if the hello was lost or the boot id is the same."""
SAME_AXIS_NS = 1_000_000_000
"""A restarted gateway continues the ring's axis when a block's time agrees with its index to within this."""
LONGEST_SILENCE_S = 20.0
"""Where the line brings no samples, blocks after a hole wait at most this long."""
OWN_HOLES = 16
STALL_BESIDE_S = 1.0
"""A port's buffer holds some data from before a standstill ended."""
HELD_BLOCKS = 1024
"""Most blocks held while the run's time is not known yet (clock.START_S): 17 s."""


class Axis:
    """One run of indices: takes Samples, returns blocks in order and gaps."""

    def __init__(self, hello: Hello, ring: Segment | None, clocks: Clocks) -> None:
        """`ring` is the ring's newest segment where its run may be this one."""
        self._clocks = clocks
        self._hello = hello
        self._ring = ring if ring is not None and ring.boot_id == hello.boot_id else None
        before = None if self._ring is None else (self._ring.end_sample, self._ring.end_ns)
        self.clock = BoxClock(clocks, before, str(hello.box_id))
        self._held: list[Samples] = []
        self._backward = 0
        self._received_s = 0.0
        self.too_old = 0
        """Samples left out because they lie before the run's first."""
        self._own_holes: deque[tuple[int, int, str]] = deque(maxlen=OWN_HOLES)
        """[first, end) samples that the Box sent while this gateway did not listen, and why it did not."""
        self.line = Reassembly(hello.ring_samples)

    def straight(self, run: Sequence[Samples], hello: Hello) -> list[SampleBlock]:
        """The leading blocks of `run` in the usual case: live, each the next one, and nothing waits.

        The rest of `run` goes through `accept_samples`, one by one.
        """
        line, stamp = self.line, self.clock.stamp
        expected = line.expected
        if expected is None or line.waiting or self._held:
            return []
        now_s = self._clocks.monotonic_s()
        boot_id, v_per_lsb = hello.boot_id, hello.v_per_lsb
        blocks = []
        for samples in run:
            counts = samples.counts
            if samples.first_sample != expected or samples.flags or not len(counts):
                break
            stamped = stamp(samples, True, now_s)
            if stamped is None:
                break
            block = SampleBlock(
                boot_id,
                v_per_lsb,
                expected,
                stamped.t_ns,
                stamped.uncertainty_ns,
                stamped.source,
                stamped.rate_millihz,
                counts,
            )
            blocks.append(block)
            expected += len(counts)
        if blocks:
            self._hello = hello
            self._backward = 0
            line.passed(expected)
        return blocks

    def accept_samples(self, samples: Samples, hello: Hello) -> list[Output] | None:
        """Takes a block; returns what is in order now and what to request. None: the indices began again
        elsewhere."""
        self._received_s = now_s = self._clocks.monotonic_s()
        self._hello = hello
        live = not samples.flags & FLAG_RESENT
        stamp = self.clock.stamp(samples, live, now_s)
        if stamp is None:
            return self._hold(samples)
        if self._held:
            held, self._held = self._held, []
            out = [each for one in held for each in self._again(one)]
            return out + (self._place(samples, stamp, live) or [])
        return self._place(samples, stamp, live)

    def stalled(self, seconds: float) -> None:
        """The gateway stood still until now; holes after the newest sample are its own."""
        expected, holes = self.line.expected, self._own_holes
        if expected is None:
            return
        first = max(expected, self.line.newest_end)
        end = first + round((seconds + STALL_BESIDE_S) * self._hello.rate_millihz / 1000)
        if holes and holes[-1][2] == STOOD_STILL and holes[-1][0] <= first <= holes[-1][1]:
            before_first, before_end, _ = holes.pop()
            first, end = before_first, max(end, before_end)
        holes.append((first, end, STOOD_STILL))

    def tick(self) -> list[Output]:
        """Gives up a hole after LONGEST_SILENCE_S without samples, so that the blocks after it leave."""
        silent = self.line.waiting and self._clocks.monotonic_s() - self._received_s >= LONGEST_SILENCE_S
        return self._explained(self.line.flush()) if silent else []

    def flush(self, reason: str = NOT_RESENT) -> list[Output]:
        """Ends the axis: stamps the blocks that wait for their time, and gives up every hole."""
        out: list[Output] = []
        if self._held:
            self.clock.begin_stamping()
            held, self._held = self._held, []
            out = [each for one in held for each in self._again(one)]
        return self._explained(out + self.line.flush(reason))

    def _explained(self, outputs: list[Output]) -> list[Output]:
        """The outputs; a gap that the line seems to have made is this gateway's where it did not listen."""
        return [self._explained_gap(each) if isinstance(each, Gap) else each for each in outputs]

    def _explained_gap(self, gap: Gap) -> Gap:
        """The gap, with the reason that explains at least half of it."""
        if gap.reason == NOT_RESENT:
            gap_end = gap.first_sample + gap.samples
            for first, end, reason in self._own_holes:
                if 2 * (min(end, gap_end) - max(first, gap.first_sample)) >= gap.samples:
                    return replace(gap, reason=reason)
        return gap

    def stamped(self, crossing: Crossing) -> Crossing | None:
        """The crossing, with this axis' time where the Box has none; None where the time is not known yet."""
        is_timed = crossing.source != TimeSource.FREE or crossing.uncertainty_ns != UNKNOWN_UNCERTAINTY_NS
        stamp = None if is_timed else self.clock.at(crossing.sample)
        if stamp is None:
            return crossing if is_timed or self.clock.uses_own_time else None
        return replace(crossing, t_ns=stamp.t_ns, uncertainty_ns=stamp.uncertainty_ns, source=stamp.source)

    def _hold(self, samples: Samples) -> list[Output]:
        if len(self._held) < HELD_BLOCKS:
            self._held.append(samples)
        else:
            self.too_old += len(samples.counts)
        return []

    def _again(self, samples: Samples) -> list[Output]:
        """Places a block that was held."""
        stamp = self.clock.at(samples.first_sample)
        if stamp is None:
            self.too_old += len(samples.counts)
            return []
        return self._place(samples, stamp, not samples.flags & FLAG_RESENT) or []

    def _place(self, samples: Samples, stamp: SampleTime | Samples, live: bool) -> list[Output] | None:
        block = self._block(samples, stamp)
        line = self.line
        expected = line.expected
        if expected == block.first_sample:
            self._backward = 0
        elif expected is None:
            if not self._begins_with(block, not live, stamp is samples):
                self.too_old += len(block.counts)
                return []
        elif live:
            self._backward = self._backward + 1 if block.end_sample <= expected else 0
            if self._backward >= BACKWARD_BLOCKS:
                return None
        return self._explained(line.accept_block(block))

    def _block(self, samples: Samples, stamp: SampleTime | Samples) -> SampleBlock:
        flags = samples.flags
        return SampleBlock(
            self._hello.boot_id,
            self._hello.v_per_lsb,
            samples.first_sample,
            stamp.t_ns,
            stamp.uncertainty_ns,
            stamp.source,
            stamp.rate_millihz,
            samples.counts,
            bool(flags & FLAG_OVERRUN_BEFORE),
            bool(flags & FLAG_CLIPPED),
        )

    def _begins_with(self, block: SampleBlock, resent: bool, own_time: bool) -> bool:
        """Whether the run may begin with this block, the first; False where it is old and has to be left out.

        After a restart of the gateway, what the ring lacks is a hole if it is the same run. The Box's own
        time shows that; where it has none, boot id and index alone do, for the system's clock may have been
        set meanwhile. The line may still hold what the Box sent again for the earlier gateway.
        """
        ring = self._ring
        if ring is not None and resent and block.end_sample <= ring.end_sample:
            return False
        self._ring = None
        if ring is not None and ring.end_sample <= block.first_sample:
            since_ns = (block.first_sample - ring.end_sample) * 10**12 // block.rate_millihz
            if not own_time or abs(block.t_ns - ring.end_ns - since_ns) < SAME_AXIS_NS:
                self.line.expect(ring.end_sample)
                self._own_holes.append((ring.end_sample, block.first_sample, NOT_RUNNING))
                return True
        return not resent
