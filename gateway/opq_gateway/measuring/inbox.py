"""Inbox: the queue of one Box between the reader's thread and the measuring thread.

It is not a Channel, because 400 Boxes hand in 24,000 blocks a second, and a lock with a wake-up for each
would cost more than the blocks. A deque is safe with one writing and one reading thread.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from opq_gateway.blocks import SampleBlock
from opq_gateway.counters import BoxCounters
from opq_proto.link.messages import BoxMeasurement, ChannelValue, Hello
from opq_proto.messages import Gap

MAX_S = 30.0
"""Most seconds of samples that wait. On a machine that is busy for longer the rest is not measured, but stays
in the ring."""
MAX_ITEMS = 20_000
"""Ten times the blocks of a link in that time, because a broken Box may flood it with blocks of one sample.
"""


@dataclass(frozen=True, slots=True)
class StreamRestart:
    """A start of the Box begins."""

    hello: Hello


Item = SampleBlock | Gap | StreamRestart | BoxMeasurement | ChannelValue


class Inbox:
    """A bounded queue. A block beyond the bound is dropped and counted, and measuring sees a gap.

    The Box's figures are bounded, too. Gaps and restarts are always accepted, since consecutive gaps become
    one and `intake` ignores a Box that restarts too often.
    """

    def __init__(self, counters: BoxCounters, most_s: float = MAX_S, most_items: int = MAX_ITEMS) -> None:
        self._counters = counters
        self.most_s = most_s
        self._most_items = most_items
        self._gap_last = False
        self._items: deque[Item] = deque()
        self.end_sample = 0
        """End of the newest block handed in; written by the reader's thread."""
        self._in = 0
        """Samples handed in; written by the reader's thread."""
        self._out = 0
        """Samples taken out; written by the measuring thread."""

    @property
    def samples(self) -> int:
        """Number of samples that wait."""
        return self._in - self._out

    def __len__(self) -> int:
        return len(self._items)

    def offer(self, item: Item) -> None:
        """Hands in an item; never waits."""
        if isinstance(item, SampleBlock):
            if self.samples * 1000 > self.most_s * item.rate_millihz or len(self._items) >= self._most_items:
                self._counters.add("unmeasured_samples", len(item.counts))
                return
            self._in += len(item.counts)
            self.end_sample = item.end_sample
        elif isinstance(item, Gap) and self._gap_last:
            return  # one gap is enough
        elif isinstance(item, BoxMeasurement | ChannelValue) and len(self._items) >= self._most_items:
            is_value = isinstance(item, ChannelValue)
            self._counters.add("own_values_dropped" if is_value else "box_figures_dropped")
            return
        self._gap_last = isinstance(item, Gap)
        self._items.append(item)

    def offer_all(self, blocks: Sequence[SampleBlock]) -> None:
        """Hands in blocks that follow each other; never waits."""
        last = blocks[-1]
        samples = last.end_sample - blocks[0].first_sample
        room = (self.samples + samples) * 1000 <= self.most_s * last.rate_millihz
        if room and len(self._items) + len(blocks) <= self._most_items:
            self._in += samples
            self.end_sample = last.end_sample
            self._gap_last = False
            self._items += blocks
            return
        for block in blocks:
            self.offer(block)

    def take_items(self) -> list[Item]:
        """Takes out everything that waits, oldest first."""
        found = [self._items.popleft() for _ in range(len(self._items))]
        self._out += sum([len(item.counts) for item in found if isinstance(item, SampleBlock)])
        return found
