"""ClockLine: time, uncertainty and source along one run of a Box's samples, taken from its blocks.

Blocks of one clock setting (the time follows the rate within a thousandth of its uncertainty) become one
entry, so a second of a steady clock is one entry and not sixty.
"""

from bisect import bisect_left, bisect_right

from opq_gateway.blocks import SampleBlock
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

ROUNDING_NS = 1
STRAIGHT_DIVISOR = 1000
"""A time that is off by less than its uncertainty divided by this stays on the line, because a slewed clock
is off by some hundred ns per block."""
COARSEST_NS = 10_000


class ClockLine:
    """Takes every block of a run, in order; `over` is called for spans of samples, rising."""

    def __init__(self) -> None:
        self._begins: list[int] = []  # first samples
        self._known: list[tuple[int, TimeSource]] = []  # uncertainty and source from each first sample on
        self._last: SampleBlock | None = None  # the last block that set the time
        self._uncertainty_ns = self._slack_ns = 0  # of the newest entry

    def accept_block(self, block: SampleBlock) -> tuple[int, bool]:
        """Accepts the next block; returns how many ns it is off the line, and whether it sets the time."""
        last = self._last
        if last is None:
            self._add(block)
            self._last = block
            return 0, True
        if block.uncertainty_ns != self._uncertainty_ns or block.source != last.source:
            self._add(block)
        off_ns = block.t_ns - last.time_ns(block.first_sample)
        if (
            -self._slack_ns <= off_ns <= self._slack_ns
            and last.rate_millihz == block.rate_millihz
            and last.source == block.source
        ):
            return off_ns, False
        self._last = block
        return off_ns, True

    def _add(self, block: SampleBlock) -> None:
        self._begins.append(block.first_sample)
        self._known.append((block.uncertainty_ns, block.source))
        self._uncertainty_ns = block.uncertainty_ns
        self._slack_ns = max(ROUNDING_NS, min(block.uncertainty_ns // STRAIGHT_DIVISOR, COARSEST_NS))

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

    def discard_before(self, before: float) -> None:
        """Drops the entries before this sample, which are no longer needed."""
        gone = bisect_right(self._begins, before) - 1
        if gone > 0:
            del self._begins[:gone], self._known[:gone]
