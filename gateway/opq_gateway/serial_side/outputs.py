"""Outputs: what leaves the serial side for the rooms behind it; called in the reader's thread.

None of these may wait: what they cannot take at once they put into a Channel, or drop and count.
The ring is written before, so what is dropped here is not lost.
"""

from collections.abc import Sequence
from typing import Protocol

from opq_gateway.blocks import Block
from opq_proto.link_messages import BoxMeasurement, Crossing, Hello
from opq_proto.messages import Gap


class Outputs(Protocol):
    """Of all Boxes; per Box in the order of its sample indices."""

    def restart(self, box_id: str, hello: Hello) -> None:
        """Sample indices begin anew, or the nominal values are others; blocks follow."""
        ...

    def push_all(self, box_id: str, blocks: Sequence[Block]) -> None:
        """The next blocks in order, without a hole between them, stamped."""
        ...

    def gap(self, box_id: str, gap: Gap) -> None:
        """Samples that will never come; the next block is behind them."""
        ...

    def figures(self, box_id: str, figures: BoxMeasurement) -> None:
        """The Box's own figures of a window."""
        ...

    def crossing(self, box_id: str, crossing: Crossing) -> None:
        """The Box saw its rms cross a limit; with the time of the gateway where the Box has none."""
        ...
