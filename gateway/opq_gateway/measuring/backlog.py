"""Backlog: what is in the ring and was not measured when the gateway ended; it is measured first.

From a little before the end of the last Measurement that was queued (the phase must be found again) to what
the ring held when the gateway began. The live blocks follow it without a gap, for the Box sends again what
the ring lacks.
"""

from collections.abc import Callable
from typing import Protocol

from opq_gateway.blocks import Block

LEAD_NS = 1_000_000_000
"""Samples before the first cycle that counts: three windows of the tracked phase."""
SLICE_NS = 10 * 10**9
"""Read at once."""


class Blocks(Protocol):
    """Of a ring."""

    def read_blocks(self, start_ns: int, end_ns: int) -> list[Block]:
        """In the order in which they were written."""
        ...


class Backlog:
    """One Box's; `next` until it is `done`."""

    def __init__(self, ring: Blocks, since_ns: int, until_ns: int) -> None:
        self.since_ns, self.until_ns = since_ns, until_ns
        self._ring = ring
        self._at_ns = since_ns - LEAD_NS
        self._last: Block | None = None
        self.done = since_ns >= until_ns

    def next(self) -> list[Block]:
        """The blocks that follow, none of them twice.

        Raises:
            OSError: the ring cannot be read.
        """
        if self.done:
            return []
        end_ns = min(self._at_ns + SLICE_NS, self.until_ns)
        found = []
        for block in self._ring.read_blocks(self._at_ns, end_ns):
            if self.covers(block):
                continue
            found.append(block)
            self._last = block
        self._at_ns = end_ns
        self.done = end_ns >= self.until_ns
        return found

    def covers(self, block: Block) -> bool:
        """Whether a block was given already."""
        last = self._last
        return last is not None and last.boot_id == block.boot_id and block.end_sample <= last.end_sample


def backlog_of(ring: Blocks, newest_ns: int | None, last_end_ns: Callable[[], int | None]) -> Backlog | None:
    """None: there is nothing in the ring, or nothing was ever measured of it."""
    since_ns = last_end_ns()
    if since_ns is None or newest_ns is None or since_ns >= newest_ns:
        return None
    return Backlog(ring, since_ns, newest_ns)
