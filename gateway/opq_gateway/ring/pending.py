"""Pending losses: losses that are known and not yet written to a file.

A loss is written together with the block after it, so that its time is known and it does not need a separate
write. While the disk refuses, adjoining losses are joined here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from opq_gateway.blocks import SampleBlock
from opq_gateway.ring.lost import BEFORE_CONTACT, NOT_RESENT, NOT_RUNNING, OVERRUN, Lost, completed
from opq_gateway.ring.segment import Segment
from opq_proto.messages import Gap

MAX_LOSSES = 64
"""Most separate losses while the disk refuses; further ones join the last one, which they adjoin."""


@dataclass(frozen=True, slots=True)
class _Position:
    """Everything up to here is accounted for: written, or among the losses."""

    start_id: int
    end_sample: int
    end_ns: int


class PendingLosses:
    """The losses of one ring; used by its writing thread."""

    def __init__(self, newest: Segment | None) -> None:
        """Continues after the newest segment."""
        self._gaps: list[Gap] = []
        self._lost: list[Lost] = []
        self._fresh = True
        self._at: Segment | _Position | None = newest

    def accept_gap(self, gap: Gap) -> None:
        """Records that samples before the next block are given up."""
        self._gaps.append(gap)

    @property
    def none(self) -> bool:
        """Whether no loss is known; a hole before the next block may still follow."""
        return not self._gaps and not self._lost

    def before(self, block: SampleBlock) -> list[Lost]:
        """Every loss that has to be written before `block`."""
        return self._lost + self._hole(block)

    def written(self, segment: Segment) -> None:
        """Records that the losses are in `segment`, whose end is the position from now on."""
        self._at = segment
        self._fresh = False
        self._gaps, self._lost = [], []

    def refuse(self, blocks: Sequence[SampleBlock], why: str) -> None:
        """Records that the disk did not take these blocks."""
        for block in blocks:
            for hole in self._hole(block):
                self._add(hole)
            self._gaps = []
            reason = f"the disk did not take them: {why}"
            lost = Lost(
                block.start_id, block.first_sample, len(block.counts), block.t_ns, block.end_ns, reason
            )
            self._add(lost)
            self._at = _Position(block.start_id, block.end_sample, block.end_ns)
            self._fresh = False

    def _add(self, lost: Lost) -> None:
        last = self._lost[-1] if self._lost else None
        adjoins = last is not None and last.start_id == lost.start_id and last.end_sample == lost.first_sample
        if last is not None and adjoins and (last.reason == lost.reason or len(self._lost) >= MAX_LOSSES):
            self._lost[-1] = last.joined(lost)
        else:
            self._lost.append(lost)

    def _hole(self, block: SampleBlock) -> list[Lost]:
        """The losses between the position and `block`, with the reasons given or guessed."""
        at = self._at
        if at is not None and at.start_id == block.start_id:
            position, start_ns = at.end_sample, at.end_ns
            reason = NOT_RUNNING if self._fresh else NOT_RESENT
        else:
            position, start_ns = 0, None
            reason = BEFORE_CONTACT
        if block.overrun_before:
            reason = OVERRUN
        found = []
        for gap in completed(position, block.first_sample, self._gaps, reason):
            begin_ns = max(0, block.time_ns(gap.first_sample)) if start_ns is None else start_ns
            start_ns = max(begin_ns, block.time_ns(gap.first_sample + gap.samples))
            found.append(Lost(block.start_id, gap.first_sample, gap.samples, begin_ns, start_ns, gap.reason))
        return found
