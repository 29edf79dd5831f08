"""ClockLine: time, uncertainty and source along one run of a Box's samples, as its blocks said it.

Blocks of one clock setting (the time goes on by the rate, to the nanosecond) become one entry, so that a
second of a steady clock is one entry and not sixty.
"""

from collections import deque

from opq_gateway.blocks import Block
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

ROUNDING_NS = 1


class ClockLine:
    """Fed with every block of a run, in order; asked for spans of samples, rising."""

    def __init__(self) -> None:
        self._entries: deque[tuple[int, int, TimeSource]] = deque()  # first sample, uncertainty, source
        self._last: Block | None = None  # that told the time anew

    def add(self, block: Block) -> bool:
        """Take in the block that follows; True where it tells the time anew."""
        last = self._last
        if last is None or last.uncertainty_ns != block.uncertainty_ns or last.source != block.source:
            self._entries.append((block.first_sample, block.uncertainty_ns, block.source))
        elif (
            last.rate_millihz == block.rate_millihz
            and abs(last.time_ns(block.first_sample) - block.t_ns) <= ROUNDING_NS
        ):
            return False
        self._last = block
        return True

    def over(self, first: float, end: float) -> tuple[int, TimeSource]:
        """The largest uncertainty and the worst source of samples first .. end."""
        entries = self._entries
        last = len(entries) - 1
        found = [
            entry
            for at, entry in enumerate(entries)
            if entry[0] < end and (at == last or entries[at + 1][0] > first)
        ]
        if not found:
            return (entries[-1][1], entries[-1][2]) if entries else (UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE)
        uncertainty_ns = max(uncertainty_ns for _, uncertainty_ns, _ in found)
        return min(uncertainty_ns, UNKNOWN_UNCERTAINTY_NS), min(source for _, _, source in found)

    def forget(self, before: float) -> None:
        """Nothing before this sample is asked for any more."""
        entries = self._entries
        while len(entries) > 1 and entries[1][0] <= before:
            entries.popleft()
