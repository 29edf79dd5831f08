"""Where one Box's samples go: first into the ring (RingWriter), then to the other rooms (Outputs).

All of it runs in the reader's thread. An Output must not wait: it puts items into a Channel, or drops and
counts them. The ring is written first, so items that an Output drops are not lost.
"""

from collections.abc import Sequence
from typing import Protocol

from opq_gateway.blocks import SampleBlock
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.ring.ring import Ring
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.link.messages import BoxMeasurement, ChannelValue, Crossing, Hello
from opq_proto.messages import Gap


class Outputs(Protocol):
    """Receives the data of all Boxes; per Box in the order of its sample indices."""

    def restart(self, box_id: str, hello: Hello) -> None:
        """A start of the Box begins; blocks follow."""
        ...

    def accept_blocks(self, box_id: str, blocks: Sequence[SampleBlock]) -> None:
        """Accepts the next stamped blocks, in order and without a hole between them."""
        ...

    def gap(self, box_id: str, gap: Gap) -> None:
        """Samples will never come; the next block lies after them."""
        ...

    def figures(self, box_id: str, figures: BoxMeasurement | ChannelValue) -> None:
        """Accepts the Box's figures of a window, or a value of its program."""
        ...

    def crossing(self, box_id: str, crossing: Crossing) -> None:
        """The Box's rms crossed a limit; stamped by the gateway where the Box has no time."""
        ...


class RingWriter:
    """Writes the samples of the serial side to the ring; a full disk stops only this."""

    def __init__(self, ring: Ring, status: BoxStatus, counters: BoxCounters, lines: RateLimitedLog) -> None:
        self._ring = ring
        self._status = status
        self._counters = counters
        self._lines = lines

    def store_blocks(self, blocks: Sequence[SampleBlock]) -> None:
        """Stores blocks that came together, in order."""
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
        """Records samples that will never come, with the reason, so that the ring accounts for every
        index."""
        self._ring.gap(gap)

    def _failed(self, error: OSError, blocks: int) -> None:
        self._counters.add("ring_failed", blocks)
        reason = error.strerror or str(error)
        if not self._status.ring_problem:
            self._lines.error("ring.failed", reason=reason)
        self._status.ring_problem = reason
