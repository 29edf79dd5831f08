"""Segment: what is known of one file of the ring, whatever its format."""

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
    may_seal: bool = False
    """A raw segment of the format that is written today."""

    @property
    def span_ns(self) -> int:
        """Stored time."""
        return self.end_ns - self.start_ns

    def added(self, block: Block) -> None:
        """Account for a block that was written behind the others."""
        if not self.end_ns:
            self.boot_id, self.v_per_lsb = block.boot_id, block.v_per_lsb
            self.start_ns, self.first_sample = block.t_ns, block.first_sample
        self.records += 1
        self.last_ns, self.end_ns, self.end_sample = block.t_ns, block.end_ns, block.end_sample
