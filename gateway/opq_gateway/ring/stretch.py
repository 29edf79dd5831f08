"""Stretch: records of one segment in columns; what every file format of the ring gives when read.

Columns, not Blocks, because ten seconds are 600 records: a Waveform is joined of them in one step.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from opq_gateway.blocks import Block
from opq_gateway.ring.lost import Lost
from opq_proto.messages import TimeSource

FLAG_CLIPPED = 1
FLAG_OVERRUN_BEFORE = 2
ROW = np.dtype(
    [
        ("first_sample", "<i8"),
        ("t_ns", "<i8"),
        ("uncertainty_ns", "<u4"),
        ("rate_millihz", "<u4"),
        ("count", "<u2"),
        ("source", "u1"),
        ("flags", "u1"),
    ]
)
"""One row per block as it was appended."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Neighbouring records of one boot and gain, in the order they were written."""

    boot_id: int
    v_per_lsb: float
    rows: NDArray[np.void]
    """(n,) of ROW."""
    counts: NDArray[np.int16]
    """(sum of rows["count"],) int16."""
    lost: tuple[Lost, ...] = ()
    bad: int = 0
    """Records left out because they are damaged."""

    @property
    def ends(self) -> NDArray[np.int64]:
        """Index behind each row's last sample."""
        return np.asarray(self.rows["first_sample"] + self.rows["count"], np.int64)

    @property
    def ends_ns(self) -> NDArray[np.int64]:
        """UTC behind each row's last sample, as `Block.end_ns` says it."""
        lasting = self.rows["count"].astype(np.int64) * 10**12 // self.rows["rate_millihz"].astype(np.int64)
        return np.asarray(self.rows["t_ns"] + lasting, np.int64)

    def touching(self, start_ns: int, end_ns: int) -> "Stretch":
        """The rows and losses that touch [start_ns, end_ns)."""
        lost = tuple(one for one in self.lost if one.end_ns > start_ns and one.start_ns < end_ns)
        wanted = np.flatnonzero((self.ends_ns > start_ns) & (self.rows["t_ns"] < end_ns))
        if len(wanted) == len(self.rows):
            return replace(self, lost=lost)
        if not len(wanted):
            return replace(self, rows=self.rows[:0], counts=self.counts[:0], lost=lost)
        part = self.part(int(wanted[0]), int(wanted[-1]) + 1)
        return replace(part, lost=lost)

    def part(self, low: int, high: int) -> "Stretch":
        """Rows low .. high - 1 with their samples; without the losses."""
        at = np.concatenate(([0], np.cumsum(self.rows["count"], dtype=np.int64)))
        counts = self.counts[at[low] : at[high]] if len(self.counts) else self.counts
        return replace(self, rows=self.rows[low:high], counts=counts, lost=())

    def blocks(self) -> list[Block]:
        """The blocks as they were appended."""
        found = []
        at = 0
        for first_sample, t_ns, uncertainty_ns, rate_millihz, count, source, flags in self.rows.tolist():
            found.append(
                Block(
                    self.boot_id,
                    self.v_per_lsb,
                    first_sample,
                    t_ns,
                    uncertainty_ns,
                    TimeSource(source),
                    rate_millihz,
                    self.counts[at : at + count],
                    bool(flags & FLAG_OVERRUN_BEFORE),
                    bool(flags & FLAG_CLIPPED),
                )
            )
            at += count
        return found
