"""Reassembly: takes blocks as they arrive, returns blocks in order and marked gaps.

A hole in the sample indices is requested by Resend and waited for. A hole that is not filled is marked as a
gap, never closed up. Pure: the caller carries out the returned requests. One Reassembly per Box and index
axis.

The only clock is the Box's own samples. A line keeps the order, so once a sample has arrived, the Box can no
longer send anything that its ring had already lost when it sent that sample. The load of this machine and the
speed of an emulated Box do not matter.

The Box serves requests in their order. So a block that arrives shows that earlier requested blocks were sent
and lost on the line; they are requested again at once. At 921,600 baud and one wrong byte in a thousand every
third frame is lost, and each still arrives within a second.
"""

from bisect import insort
from collections import deque
from dataclasses import dataclass

from opq_gateway.blocks import SampleBlock
from opq_gateway.ring.lost import NOT_RESENT, OVERRUN
from opq_proto.messages import Gap

REQUEST_AGAIN_SAMPLES = 1800
"""If none of the requested samples comes within this many live samples (0.15 s at 12 kS/s), request or answer
was lost. A round and a frame take 30 ms; a Box may first send 4 KB that wait already, 44 ms."""
SOON_SAMPLES = 3 * REQUEST_AGAIN_SAMPLES
"""A hole is given up after this many samples if the Box reports that it lost them, or if it did not answer a
request within the length of its ring."""
MAX_REACH_SAMPLES = 240_000
"""20 s: after this many samples a hole is given up even if the Box holds more, because live samples wait
after it."""
WAITING_BLOCKS = 4096
"""Most blocks held after a hole: a little over 20 s of 200-sample blocks at 12 kS/s."""
MAX_REQUESTS = 16
"""Most requests at once; a Box keeps a list of 32 (device/cmodules/pipeline/resends.h)."""
MAX_REQUESTED_SAMPLES = 8000
"""Most samples requested and not yet here: 0.3 s of a line's capacity. With more, samples that are lost again
would wait until the Box no longer has them."""


@dataclass(frozen=True, slots=True)
class ResendRequest:
    """A request to the Box to send these samples again."""

    first_sample: int
    count: int


Output = SampleBlock | Gap | ResendRequest


class Reassembly:
    """Puts the blocks of one Box in order of their sample index.

    Counters, only rising: `duplicates`, `recovered`, `overflow` (samples, samples, blocks).
    """

    def __init__(self, reach_samples: int) -> None:
        """Begins an axis at the first block, or at the index that `expect` sets.

        Args:
            reach_samples: how far back the Box can resend (Hello.ring_samples).
        """
        self.duplicates = 0
        self.recovered = 0
        self.overflow = 0
        self._reach = reach_samples
        self._most_wait = min(reach_samples, MAX_REACH_SAMPLES)
        self._expected: int | None = None
        self._waiting: dict[int, SampleBlock] = {}
        self._order: list[int] = []  # first samples of the waiting blocks, rising
        self._requested: deque[tuple[int, int]] = deque()  # [first, end) in order of request, not yet passed
        self._requested_at = 0  # newest sample at the last request or at the last block that answered one
        self._unanswered_from: int | None = None  # the newest sample at the first unanswered request
        self._may_miss = False  # something may be missing that was not requested

    @property
    def expected(self) -> int | None:
        """Index of the next sample in order; None before the first."""
        return self._expected

    @property
    def newest_end(self) -> int:
        """End of the newest block that waits; 0 without waiting blocks."""
        return self._waiting[self._order[-1]].end_sample if self._order else 0

    @property
    def waiting(self) -> int:
        """Number of blocks held after a hole."""
        return len(self._waiting)

    def expect(self, first_sample: int) -> None:
        """Sets the first sample, before the first block."""
        self._expected = first_sample

    def passed(self, end_sample: int) -> None:
        """Skips blocks that follow each other from `expected` to `end_sample`; no block may wait."""
        self._expected = end_sample

    def accept_block(self, block: SampleBlock) -> list[Output]:
        """Accepts a block; returns the blocks that are in order now, and the requests to send."""
        if not len(block.counts):
            return []
        if self._expected is None:
            self._expected = block.first_sample
        if block.first_sample == self._expected and not self._waiting:
            self._expected = block.end_sample
            return [block]
        if block.end_sample <= self._expected:
            self.duplicates += len(block.counts)
            return []
        held = self._waiting.get(block.first_sample)
        if held is not None and held.end_sample >= block.end_sample:
            self.duplicates += len(block.counts)
        elif held is None and len(self._waiting) >= WAITING_BLOCKS and block.first_sample > self._expected:
            self.overflow += 1
        else:
            self._wait(block)
        return self._go_on()

    def _wait(self, block: SampleBlock) -> None:
        """Holds a block that lies after a hole, or fills a part of one."""
        order, first = self._order, block.first_sample
        if order and first < order[-1]:
            self.recovered += len(block.counts)
            self._unanswered_from = None
            self._passed(block)
            if first not in self._waiting:
                insort(order, first)
        elif not order or first > order[-1]:
            self._may_miss = self._may_miss or not order or first > self._waiting[order[-1]].end_sample
            order.append(first)
        self._waiting[first] = block

    def _go_on(self) -> list[Output]:
        """Returns the blocks in order, and requests or gives up missing samples."""
        out = self._pop_whole()
        while self._waiting:
            if self._requested and self._order[-1] - self._requested_at >= REQUEST_AGAIN_SAMPLES:
                self._requested.clear()  # the requested samples did not come: request them again
                self._may_miss = True
            if not self._is_lost():
                return out + self._request()
            out.append(self._give_up())
            out += self._pop_whole()
        self._requested.clear()
        return out

    def flush(self, reason: str = NOT_RESENT) -> list[Output]:
        """Gives up every hole at once, since the axis ends (a new boot, or the gateway's end)."""
        out = self._pop_whole()
        while self._waiting:
            out.append(self._give_up(reason))
            out += self._pop_whole()
        self._requested.clear()
        return out

    def _pop_whole(self) -> list[Output]:
        """All blocks that follow without a hole."""
        out: list[Output] = []
        order, done = self._order, 0
        while done < len(order) and self._expected is not None and order[done] <= self._expected:
            block = self._waiting.pop(order[done])
            done += 1
            if block.first_sample < self._expected:  # overlaps a block with other borders
                self.duplicates += min(self._expected, block.end_sample) - block.first_sample
                block = block.part(self._expected, block.end_sample)
            if len(block.counts):
                out.append(block)
                self._expected = block.end_sample
        del order[:done]
        return out

    def _passed(self, block: SampleBlock) -> None:
        """Handles a requested block: samples that were requested before it have been sent, and are lost if
        they are not here."""
        for at, (first, end) in enumerate(self._requested):
            if first < block.end_sample and block.first_sample < end:
                for _ in range(at + 1):
                    self._requested.popleft()
                if block.end_sample < end:
                    self._requested.appendleft((block.end_sample, end))
                self._requested_at = self._order[-1]
                self._may_miss = self._may_miss or at > 0 or block.first_sample > first
                return

    def _is_lost(self) -> bool:
        """Whether to give up the first hole."""
        assert self._expected is not None
        end, newest = self._order[0], self._order[-1]
        if newest - end >= self._most_wait:
            return True
        if any(first < end and stop > self._expected for first, stop in self._requested):
            return False  # its samples are on their way
        since = self._unanswered_from
        timed_out = since is not None and newest - since >= self._most_wait
        return (timed_out or self._waiting[end].overrun_before) and newest - end >= SOON_SAMPLES

    def _request(self) -> list[Output]:
        """Requests for missing samples that are not on their way."""
        requests = MAX_REQUESTS - len(self._requested)
        samples = MAX_REQUESTED_SAMPLES - sum(end - first for first, end in self._requested)
        if not self._may_miss or requests <= 0 or samples <= MAX_REQUESTED_SAMPLES // 2:
            return []
        self._may_miss = False
        missing: list[tuple[int, int]] = []
        for begin, end in self._holes():
            first = max(begin, self._order[-1] - self._reach)  # the Box has no older ones
            for start, stop in _without(first, end, self._requested):
                if len(missing) == requests or samples <= 0:
                    self._may_miss = True
                    break
                missing.append((start, min(stop, start + samples)))
                samples -= stop - start
            if self._may_miss:
                break  # later holes can wait
        self._may_miss = self._may_miss or samples < 0
        if missing and not self._requested:
            self._requested_at = self._order[-1]
        if missing and self._unanswered_from is None:
            self._unanswered_from = self._order[-1]
        self._requested.extend(missing)
        return [ResendRequest(first, end - first) for first, end in missing]

    def _holes(self) -> list[tuple[int, int]]:
        """[first, end) of every hole before the newest block, the first one first."""
        assert self._expected is not None
        holes = []
        position = self._expected
        for first in self._order:
            if first > position:
                holes.append((position, first))
            position = max(position, self._waiting[first].end_sample)
        return holes

    def _give_up(self, reason: str = NOT_RESENT) -> Gap:
        assert self._expected is not None
        end = self._order[0]
        if self._waiting[end].overrun_before:
            reason = OVERRUN
            self._unanswered_from = None  # the Box had nothing to answer with
        gap = Gap(self._expected, end - self._expected, reason)
        self._may_miss = True
        self._expected = end
        return gap


def _without(first: int, end: int, requested: deque[tuple[int, int]]) -> list[tuple[int, int]]:
    """[first, end) without the parts that were requested already."""
    left = []
    for start, stop in sorted(requested):
        if start < end and stop > first:
            if start > first:
                left.append((first, start))
            first = stop
    if first < end:
        left.append((first, end))
    return left
