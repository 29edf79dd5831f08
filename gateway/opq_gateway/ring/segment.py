"""Segment: what is known of one file of the ring, whatever its format."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opq_gateway.blocks import Block


@dataclass(slots=True, eq=False)
class Segment:
    """What is known of one file; grows while it is written.

    `boot_id` and `v_per_lsb` are those of all its records: another boot or gain begins a new
    segment. Times and indices rise from record to record.
    """

    path: Path
    boot_id: int = 0
    v_per_lsb: float = 0.0
    records: int = 0
    start_ns: int = 0
    end_ns: int = 0
    last_ns: int = 0
    """Time of its last record's first sample."""
    first_sample: int = 0
    end_sample: int = 0
    file_bytes: int = 0
    written_bytes: int = 0
    """Of these; what lies behind is preallocated room."""
    may_seal: bool = False
    """A raw segment of the format that is written today."""

    @property
    def span_ns(self) -> int:
        """Stored time."""
        return self.end_ns - self.start_ns

    def added(self, blocks: Sequence[Block], losses: int) -> None:
        """Account for what was written behind the rest; `blocks` follow each other."""
        first, last = blocks[0], blocks[-1]
        if not self.end_ns:
            self.start_ns, self.first_sample = first.t_ns, first.first_sample
        self.last_ns = last.t_ns
        self.end_sample = end_sample = last.first_sample + len(last.counts)
        self.end_ns = last.time_ns(end_sample)
        self.records += len(blocks) + losses
