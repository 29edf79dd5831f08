"""Axis: one run of sample indices of a Box, from one start of the Box to the next.

It gives each block its time and the name of its start. It finds where the run begins (after a restart of the
gateway: where the ring ends) and notices when the indices begin again. Pure; the clocks are handed in.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from opq_gateway.blocks import SampleBlock, boot_id_of, drawn_start_id
from opq_gateway.ring.lost import MACHINE_PAUSED, NOT_RESENT, NOT_RUNNING
from opq_gateway.ring.segment import Segment
from opq_gateway.ring.segment_catalogue import clock_of
from opq_gateway.serial_side.reassembly import Output, Reassembly
from opq_gateway.serial_side.serial_clock import BoxClock, Clocks, SampleTime
from opq_proto.link.messages import FLAG_CLIPPED, FLAG_OVERRUN_BEFORE, FLAG_RESENT, Crossing, Hello, Samples
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Gap, TimeSource

BACKWARD_BLOCKS = 3
"""A line keeps the order, so this many live blocks in a row from before the expected index mean that the
indices began again, even if the hello was lost or the boot id is the same."""
SAME_START_NS = 1_000_000_000
"""A restarted gateway continues the ring's start when a block's time agrees with its index to within this."""
SAME_START_S = 60.0
"""Where the Box does not know the time, samples that come this much later than by their index belong to
another start. A gateway that starts on a busy machine reads samples late, and an emulated Box may be
slower."""
LONGEST_SILENCE_S = 20.0
"""Where the line brings no samples, blocks after a hole wait at most this long."""
OWN_HOLES = 16
STALL_BESIDE_S = 1.0
"""A port's buffer contains some data from before the end of a pause."""
HELD_BLOCKS = 1024
"""Most blocks held while the run's time is not known yet (clock.START_S): 17 s."""


@dataclass(frozen=True, slots=True)
class _SamplesEnd:
    """The end of earlier samples, and when the last one came."""

    sample: int
    t_ns: int
    uncertainty_ns: int
    source: TimeSource
    heard_s: float | None
    """By the monotonic clock; None: not known."""


class Axis:
    """One run of indices: takes Samples, returns blocks in order and gaps.

    Attributes:
        start_id: the start of the Box; None until its first block shows whether it is the ring's.
    """

    def __init__(
        self,
        box_id: str,
        hello: Hello,
        ring: Segment | None,
        clocks: Clocks,
        ring_heard_s: float | None = None,
    ) -> None:
        """`ring` is the ring's newest segment where its start may be this one; `ring_heard_s`: when its last
        sample came, by the monotonic clock."""
        self._box_id, self._clocks = box_id, clocks
        self._hello = hello
        self._ring = ring if ring is not None and boot_id_of(ring.start_id) == hello.boot_id else None
        self._ring_heard_s = ring_heard_s
        self.start_id = drawn_start_id(hello.boot_id) if self._ring is None else None
        before = None if self._ring is None else (self._ring.end_sample, self._ring.end_ns)
        self.clock = BoxClock(clocks, before, box_id)
        self._held: list[Samples] = []
        self._backward = 0
        self._received_s = 0.0
        self._newest: SampleBlock | None = None
        self._reopened = False
        self.too_old = 0
        """Number of samples left out because they lie before the run's first sample."""
        self._own_holes: deque[tuple[int, int, str]] = deque(maxlen=OWN_HOLES)
        """[first, end) of samples that the Box sent while this gateway did not listen, and why it did not
        listen."""
        self.line = Reassembly(hello.ring_samples)

    def straight(self, run: Sequence[Samples], hello: Hello) -> list[SampleBlock]:
        """The leading blocks of `run` that are live and follow each other while no block waits, the usual
        case.

        The rest of `run` goes through `accept_samples`, one by one.
        """
        line, stamp = self.line, self.clock.stamp
        expected = line.expected
        if expected is None or line.waiting or self._held or self._reopened:
            return []
        now_s = self._received_s = self._clocks.monotonic_s()
        start_id, v_per_lsb = self.start_id, hello.v_per_lsb
        nominal_v, nominal_hz = hello.nominal_v, hello.nominal_hz
        assert start_id is not None  # known since the first block
        blocks = []
        for samples in run:
            counts = samples.counts
            if samples.first_sample != expected or samples.flags or not len(counts):
                break
            stamped = stamp(samples, True, now_s)
            if stamped is None:
                break
            block = SampleBlock(
                start_id,
                v_per_lsb,
                expected,
                stamped.t_ns,
                stamped.uncertainty_ns,
                stamped.source,
                stamped.rate_millihz,
                counts,
                False,
                False,
                nominal_v,
                nominal_hz,
            )
            blocks.append(block)
            expected += len(counts)
        if blocks:
            self._hello = hello
            self._newest = blocks[-1]
            self._backward = 0
            line.passed(expected)
        return blocks

    def accept_samples(self, samples: Samples, hello: Hello) -> list[Output] | None:
        """Accepts a block; returns the blocks that are in order now and the requests to send. None: the
        indices began again elsewhere."""
        now_s = self._clocks.monotonic_s()
        self._hello = hello
        live = not samples.flags & FLAG_RESENT
        if live and self._reopened and not self._goes_on(samples, now_s):
            return None
        self._received_s = now_s
        if self._ring is not None and not self._may_continue(self._ring, samples, live, now_s):
            self.too_old += len(samples.counts)
            return []
        stamp = self.clock.stamp(samples, live, now_s)
        if stamp is None:
            return self._hold(samples)
        if self._held:
            held, self._held = self._held, []
            out = [each for one in held for each in self._again(one)]
            return out + (self._place(samples, stamp, live) or [])
        return self._place(samples, stamp, live)

    def reopened(self) -> None:
        """The port was opened again. The next samples may be of another start that has the same boot id and
        has sampled for longer; an emulated Box has the same boot id in each start with one seed."""
        self._reopened = True

    def _goes_on(self, samples: Samples, now_s: float) -> bool:
        """Whether the first live block after the port was opened again is of the same start."""
        self._reopened = False
        last = self._newest
        if last is None or samples.first_sample <= last.end_sample:
            return True  # falling indices are found by BACKWARD_BLOCKS
        known = last.end_sample, last.end_ns, last.uncertainty_ns, last.source
        return self._agrees(_SamplesEnd(*known, self._received_s), samples, now_s)

    def stalled(self, seconds: float) -> None:
        """The gateway paused until now; it has caused the holes after the newest sample."""
        expected, holes = self.line.expected, self._own_holes
        if expected is None:
            return
        first = max(expected, self.line.newest_end)
        end = first + round((seconds + STALL_BESIDE_S) * self._hello.rate_millihz / 1000)
        if holes and holes[-1][2] == MACHINE_PAUSED and holes[-1][0] <= first <= holes[-1][1]:
            before_first, before_end, _ = holes.pop()
            first, end = before_first, max(end, before_end)
        holes.append((first, end, MACHINE_PAUSED))

    def tick(self) -> list[Output]:
        """Gives up a hole after LONGEST_SILENCE_S without samples, so that the blocks after it are passed
        on. Whatever lost them at first, the Box holds them and only the line kept it from sending them again.
        """
        silent = self.line.waiting and self._clocks.monotonic_s() - self._received_s >= LONGEST_SILENCE_S
        return self.line.flush() if silent else []

    def flush(self, reason: str = NOT_RESENT) -> list[Output]:
        """Ends the axis: stamps the blocks that wait for their time, and gives up every hole."""
        out: list[Output] = []
        if self._held:
            self.clock.begin_stamping()
            held, self._held = self._held, []
            out = [each for one in held for each in self._again(one)]
        return self._explained(out + self.line.flush(reason))

    def _explained(self, outputs: list[Output]) -> list[Output]:
        """The outputs; a gap that seems to be the line's is this gateway's where it did not listen."""
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
        line = self.line
        expected = line.expected
        if expected == samples.first_sample:
            self._backward = 0
        elif expected is None:
            if not self._begins_with(samples, live):
                self.too_old += len(samples.counts)
                return []
        elif live:
            is_before = samples.first_sample + len(samples.counts) <= expected
            self._backward = self._backward + 1 if is_before else 0
            if self._backward >= BACKWARD_BLOCKS:
                return None
        block = self._newest = self._block(samples, stamp)
        return self._explained(line.accept_block(block))

    def _block(self, samples: Samples, stamp: SampleTime | Samples) -> SampleBlock:
        flags, hello = samples.flags, self._hello
        assert self.start_id is not None  # known since the first block
        return SampleBlock(
            self.start_id,
            hello.v_per_lsb,
            samples.first_sample,
            stamp.t_ns,
            stamp.uncertainty_ns,
            stamp.source,
            stamp.rate_millihz,
            samples.counts,
            bool(flags & FLAG_OVERRUN_BEFORE),
            bool(flags & FLAG_CLIPPED),
            hello.nominal_v,
            hello.nominal_hz,
        )

    def _may_continue(self, ring: Segment, samples: Samples, live: bool, now_s: float) -> bool:
        """Decides by its first block whether the run continues the ring's start; False: the block is old.

        The line may still hold blocks that the Box sent again for the earlier gateway; they decide nothing. A
        run that does not continue the ring's start gets a name and its own clock.
        """
        if not live and samples.first_sample + len(samples.counts) <= ring.end_sample:
            return False
        if self.start_id is None:
            end_sample = samples.first_sample + len(samples.counts)
            follows = ring.end_sample <= samples.first_sample if live else ring.end_sample < end_sample
            end = _SamplesEnd(ring.end_sample, ring.end_ns, *clock_of(ring), self._ring_heard_s)
            if follows and self._agrees(end, samples, now_s):
                self.start_id = ring.start_id
            else:
                self._ring = None
                self.start_id = drawn_start_id(self._hello.boot_id)
                self.clock = BoxClock(self._clocks, None, self._box_id)
        return True

    def _agrees(self, before: _SamplesEnd, samples: Samples, now_s: float) -> bool:
        """Whether the time since earlier samples agrees with the number of samples since.

        Two time stamps of a receiver show it. Another clock may have been set meanwhile, but the monotonic
        clock was not, if the machine did not start since. Otherwise boot id and index decide.
        """
        since_ns = (samples.first_sample - before.sample) * 10**12 // samples.rate_millihz
        source = min(before.source, samples.source)
        if before.heard_s is not None and source < TimeSource.HOLDOVER:
            return now_s - before.heard_s - since_ns / 1e9 < SAME_START_S
        if source is TimeSource.FREE:
            return True
        bounds_ns = before.uncertainty_ns + samples.uncertainty_ns
        return abs(samples.t_ns - before.t_ns - since_ns) < SAME_START_NS + bounds_ns

    def _begins_with(self, samples: Samples, live: bool) -> bool:
        """Whether the run may begin with this first block; False where it is old and has to be left out.

        After a restart of the gateway, samples that the ring lacks are a hole if the start is the same.
        """
        ring, self._ring = self._ring, None
        if ring is None:
            return live
        self.line.expect(ring.end_sample)
        self._own_holes.append((ring.end_sample, samples.first_sample, NOT_RUNNING))
        return True
