"""ClockLine: time, uncertainty and source along one run of a Box's samples, as its blocks said it.

Blocks of one clock setting (the time goes on by the rate, to the nanosecond) become one entry, so that a
second of a steady clock is one entry and not sixty.
"""

from bisect import bisect_left, bisect_right

from opq_gateway.blocks import Block
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

ROUNDING_NS = 1


class ClockLine:
    """Fed with every block of a run, in order; asked for spans of samples, rising."""

    def __init__(self) -> None:
        self._begins: list[int] = []  # first samples
        self._known: list[tuple[int, TimeSource]] = []  # uncertainty and source from there on
        self._last: Block | None = None  # that told the time anew

    def off_ns(self, block: Block) -> int:
        """By how much the block that follows says another time than the line."""
        return 0 if self._last is None else block.t_ns - self._last.time_ns(block.first_sample)

    def add(self, block: Block, off_ns: int) -> bool:
        """Take in the block that follows, off by `off_ns`; True where it tells the time anew."""
        last = self._last
        if last is None or last.uncertainty_ns != block.uncertainty_ns or last.source != block.source:
            self._begins.append(block.first_sample)
            self._known.append((block.uncertainty_ns, block.source))
        elif last.rate_millihz == block.rate_millihz and -ROUNDING_NS <= off_ns <= ROUNDING_NS:
            return False
        self._last = block
        return True

    def over(self, first: float, end: float) -> tuple[int, TimeSource]:
        """The largest uncertainty and the worst source of samples first .. end."""
        at = max(0, bisect_right(self._begins, first) - 1)
        found = self._known[at : bisect_left(self._begins, end)] or self._known[-1:]
        if len(found) == 1:
            uncertainty_ns, source = found[0]
        elif found:
            uncertainty_ns = max(uncertainty_ns for uncertainty_ns, _ in found)
            source = min(source for _, source in found)
        else:
            return UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE
        return min(uncertainty_ns, UNKNOWN_UNCERTAINTY_NS), source

    def forget(self, before: float) -> None:
        """Nothing before this sample is asked for any more."""
        gone = bisect_right(self._begins, before) - 1
        if gone > 0:
            del self._begins[:gone], self._known[:gone]
