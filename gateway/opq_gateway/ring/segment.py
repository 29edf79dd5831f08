"""Segment: what is known of one file of the ring, whatever its format."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opq_gateway.blocks import SampleBlock
from opq_gateway.ring.lost import Lost
from opq_proto.messages import TimeSource


class StatedFacts(NamedTuple):
    """The facts in a file's head, which hold for all its samples: the start of the Box, and what the Box
    stated."""

    start_id: int
    v_per_lsb: float
    nominal_v: float | None = None
    """Nominal voltage; None: the Box stated none."""
    nominal_hz: float | None = None

    @classmethod
    def of_block(cls, block: SampleBlock) -> "StatedFacts":
        """What is stated of a block's samples."""
        return cls(block.start_id, block.v_per_lsb, block.nominal_v, block.nominal_hz)


UNKNOWN_FACTS = StatedFacts(0, 0.0)


@dataclass(slots=True, eq=False)
class Segment:
    """What is known of one file; grows while the file is written.

    `facts` hold for all its records, because another start, gain or nominal value begins a new segment. Times
    and indices rise from record to record.
    """

    path: Path
    facts: StatedFacts = UNKNOWN_FACTS
    records: int = 0
    start_ns: int = 0
    end_ns: int = 0
    last_ns: int = 0
    """Time of the last record's first sample."""
    first_sample: int = 0
    end_sample: int = 0
    file_bytes: int = 0
    written_bytes: int = 0
    """Written bytes; preallocated room follows them."""
    may_seal: bool = False
    """Whether this is a raw segment that is not sealed yet."""
    clock: tuple[int, TimeSource] | None = None
    """Uncertainty and source of its last block; None: not read yet (`catalogue.clock_of`)."""

    @property
    def start_id(self) -> int:
        return self.facts.start_id

    @property
    def span_ns(self) -> int:
        """Length of the stored time."""
        return self.end_ns - self.start_ns

    def added(self, blocks: Sequence[SampleBlock], losses: int) -> None:
        """Accounts for the appended blocks, which follow each other."""
        first, last = blocks[0], blocks[-1]
        if not self.end_ns:
            self.start_ns, self.first_sample = first.t_ns, first.first_sample
        self.last_ns = last.t_ns
        self.clock = last.uncertainty_ns, last.source
        self.end_sample = end_sample = last.first_sample + len(last.counts)
        self.end_ns = last.time_ns(end_sample)
        self.records += len(blocks) + losses


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
"""One row per block, as appended."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordColumns:
    """Neighbouring records of one start, gain and nominal values, in the order of writing."""

    facts: StatedFacts
    rows: NDArray[np.void]
    """(n,) of ROW."""
    counts: NDArray[np.int16]
    """(sum of rows["count"],) int16."""
    lost: tuple[Lost, ...] = ()
    bad: int = 0
    """Number of damaged records that were left out."""

    @property
    def start_id(self) -> int:
        return self.facts.start_id

    @property
    def ends(self) -> NDArray[np.int64]:
        """Index after each row's last sample."""
        return np.asarray(self.rows["first_sample"] + self.rows["count"], np.int64)

    @property
    def ends_ns(self) -> NDArray[np.int64]:
        """UTC after each row's last sample, as in `SampleBlock.end_ns`."""
        lasting = self.rows["count"].astype(np.int64) * 10**12 // self.rows["rate_millihz"].astype(np.int64)
        return np.asarray(self.rows["t_ns"] + lasting, np.int64)

    def touching(self, start_ns: int, end_ns: int) -> "RecordColumns":
        """The rows and losses that touch [start_ns, end_ns)."""
        lost = tuple(one for one in self.lost if one.end_ns > start_ns and one.start_ns < end_ns)
        wanted = np.flatnonzero((self.ends_ns > start_ns) & (self.rows["t_ns"] < end_ns))
        if len(wanted) == len(self.rows):
            return replace(self, lost=lost)
        if not len(wanted):
            return replace(self, rows=self.rows[:0], counts=self.counts[:0], lost=lost)
        part = self.part(int(wanted[0]), int(wanted[-1]) + 1)
        return replace(part, lost=lost)

    def part(self, low: int, high: int) -> "RecordColumns":
        """Rows low .. high - 1 with their samples, without the losses."""
        at = np.concatenate(([0], np.cumsum(self.rows["count"], dtype=np.int64)))
        counts = self.counts[at[low] : at[high]] if len(self.counts) else self.counts
        return replace(self, rows=self.rows[low:high], counts=counts, lost=())

    def blocks(self) -> list[SampleBlock]:
        """The blocks as they were appended."""
        found = []
        at = 0
        start_id, v_per_lsb, nominal_v, nominal_hz = self.facts
        for first_sample, t_ns, uncertainty_ns, rate_millihz, count, source, flags in self.rows.tolist():
            found.append(
                SampleBlock(
                    start_id,
                    v_per_lsb,
                    first_sample,
                    t_ns,
                    uncertainty_ns,
                    TimeSource(source),
                    rate_millihz,
                    self.counts[at : at + count],
                    bool(flags & FLAG_OVERRUN_BEFORE),
                    bool(flags & FLAG_CLIPPED),
                    nominal_v,
                    nominal_hz,
                )
            )
            at += count
        return found
