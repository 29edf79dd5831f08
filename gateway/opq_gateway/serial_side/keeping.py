"""Keeping: the blocks of one Box into its ring, and what the disk does not take counted and told."""

from collections.abc import Sequence

from opq_gateway.blocks import Block
from opq_gateway.counters import Counters
from opq_gateway.ring.ring import Ring
from opq_gateway.status import Status
from opq_proto.messages import Gap
from opq_proto.rate_limit import RateLimitedLog


class Keeping:
    """The serial side's way into the ring; a full disk stops nothing else."""

    def __init__(self, ring: Ring, status: Status, counters: Counters, lines: RateLimitedLog) -> None:
        self._ring = ring
        self._status = status
        self._counters = counters
        self._lines = lines

    def keep(self, blocks: Sequence[Block]) -> None:
        """Blocks that came together, in order."""
        try:
            self._ring.append_all(blocks)
        except OSError as error:
            self._failed(error, len(blocks))
            return
        self._counters.add("ring_blocks", len(blocks))
        if self._status.ring_problem:
            self._lines.info("ring.recovered")
            self._status.ring_problem = ""

    def gap(self, gap: Gap) -> None:
        """Samples that will never come, with the reason, so that the ring accounts for every index."""
        self._ring.gap(gap)

    def _failed(self, error: OSError, blocks: int) -> None:
        self._counters.add("ring_failed", blocks)
        reason = error.strerror or str(error)
        if not self._status.ring_problem:
            self._lines.error("ring.failed", reason=reason)
        self._status.ring_problem = reason
