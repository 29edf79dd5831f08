"""Reassembly: blocks as they arrive in, blocks in order and marked gaps out.

A hole in the sample indices is asked for by Resend and waited for; a hole that nobody fills is
marked as a gap, never closed up. Pure: the caller hands in a monotonic time and carries out
what is returned. One Reassembly per Box and index axis.
"""

from dataclasses import dataclass

from opq_gateway.blocks import Block
from opq_proto.messages import Gap

WAIT_S = 1.0
"""A hole is given up when nothing of it arrived for so long."""
ASK_AGAIN_S = 0.25
"""A request or its answer may be lost too; the last one leaves 250 ms to answer."""
LONGEST_WAIT_S = 20.0
"""A hole is given up after this even if the Box still fills it: what waits behind is live."""
WAITING_BLOCKS = 4096
"""Blocks held behind a hole: 20 s of 200-sample blocks at 12 kS/s, and some."""
MOST_ASKS = 16
"""Requests at once; further holes are asked for when time comes to ask again."""
OVERRUN = "the Box's converter overran"
NOT_RESENT = "lost between Box and gateway; the Box did not send them again"


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the Box for these samples again."""

    first_sample: int
    count: int


Output = Block | Gap | Ask


class Reassembly:
    """Puts the blocks of one Box in order of their sample index.

    Counters, only rising: `duplicates`, `recovered`, `overflow` (samples, samples, blocks).
    """

    def __init__(self, reach_samples: int) -> None:
        """Begin an axis; the first block decides where, unless `expect` does.

        Args:
            reach_samples: how far back the Box can resend (Hello.ring_samples).
        """
        self.duplicates = 0
        self.recovered = 0
        self.overflow = 0
        self._reach = reach_samples
        self._expected: int | None = None
        self._waiting: dict[int, Block] = {}
        self._hole_end: int | None = None  # the first hole ends here; None: there is none
        self._hole_since_s = 0.0
        self._progress_s = 0.0
        self._asked_s = 0.0
        self._asked_until = 0  # holes before this sample were asked for at least once

    @property
    def expected(self) -> int | None:
        """Index of the next sample to come out in order; None before the first."""
        return self._expected

    @property
    def waiting(self) -> int:
        """Blocks held behind a hole."""
        return len(self._waiting)

    def expect(self, first_sample: int) -> None:
        """Before the first block: the stream goes on at this sample."""
        self._expected = first_sample

    def push(self, block: Block, now_s: float) -> list[Output]:
        """Take in a block; returns what is in order now, and what to ask for."""
        if not len(block.counts):
            return []
        if self._expected is None:
            self._expected = block.first_sample
        if block.end_sample <= self._expected:
            self.duplicates += len(block.counts)
            return []
        held = self._waiting.get(block.first_sample)
        if held is not None and held.end_sample >= block.end_sample:
            self.duplicates += len(block.counts)
        elif held is None and len(self._waiting) >= WAITING_BLOCKS and block.first_sample > self._expected:
            self.overflow += 1
        else:
            if self._waiting and block.first_sample < max(self._waiting):
                self._progress_s = now_s
                self.recovered += len(block.counts)
            self._waiting[block.first_sample] = block
        return self.tick(now_s)

    def tick(self, now_s: float) -> list[Output]:
        """Time passes, with or without a block: hand on, ask again or give up."""
        out = self._take()
        while self._waiting:
            end = min(self._waiting)
            if end != self._hole_end:
                self._hole_end = end
                self._hole_since_s = self._progress_s = now_s
            if now_s - self._progress_s < WAIT_S and now_s - self._hole_since_s < LONGEST_WAIT_S:
                return out + self._ask(now_s)
            out.append(self._give_up())
            out += self._take()
        self._hole_end = None
        return out

    def flush(self) -> list[Output]:
        """Give up every hole at once: the axis ends (a new boot, an end)."""
        out = self._take()
        while self._waiting:
            out.append(self._give_up())
            out += self._take()
        self._hole_end = None
        return out

    def _take(self) -> list[Output]:
        """Everything that follows without a hole."""
        out: list[Output] = []
        while self._waiting and self._expected is not None:
            first = min(self._waiting)
            if first > self._expected:
                break
            block = self._waiting.pop(first)
            if first < self._expected:  # overlaps what a block with other borders brought
                self.duplicates += min(self._expected, block.end_sample) - first
                block = block.part(self._expected, block.end_sample)
            if len(block.counts):
                out.append(block)
                self._expected = block.end_sample
        return out

    def _ask(self, now_s: float) -> list[Output]:
        """New holes at once, all of them again when nothing arrives."""
        newest = max(self._waiting)
        again = now_s - max(self._asked_s, self._progress_s) >= ASK_AGAIN_S
        if newest <= self._asked_until and not again:
            return []
        asks: list[Output] = []
        for first, end in self._holes():
            first = max(first, newest - self._reach)  # the Box has no older ones
            if first < end and (again or end > self._asked_until):
                asks.append(Ask(first, end - first))
        self._asked_until = max(self._asked_until, newest)
        if asks:
            self._asked_s = now_s
        return asks[:MOST_ASKS]

    def _holes(self) -> list[tuple[int, int]]:
        """[first, end) of every hole before the newest block, first one first."""
        assert self._expected is not None
        holes = []
        position = self._expected
        for first in sorted(self._waiting):
            if first > position:
                holes.append((position, first))
            position = max(position, self._waiting[first].end_sample)
        return holes

    def _give_up(self) -> Gap:
        assert self._expected is not None
        block = self._waiting[min(self._waiting)]
        reason = OVERRUN if block.overrun_before else NOT_RESENT
        gap = Gap(self._expected, block.first_sample - self._expected, reason)
        self._expected = block.first_sample
        return gap
