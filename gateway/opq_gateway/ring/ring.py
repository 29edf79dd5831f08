"""Ring: the raw samples of the last hours of one Box, on disk.

One writer appends blocks to segment files (`segment.py`); any number of readers, in this
process or another, read by time while it writes. Nothing is ever rewritten: a start begins a
new segment, so does another boot, gain or a step of time backwards. The oldest segment is
deleted when those behind it hold the wanted hours: the measure is stored time, not the clock,
so a stepped system clock deletes nothing.

Survives kill -9 at any byte with at most the block being written lost (the kernel holds what
was written). A power cut may cost what the kernel had not written back yet, up to some 30 s.
"""

import contextlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from opq_gateway.blocks import Block
from opq_gateway.ring.segment import HEAD_BYTES, Segment, head, open_segment, read_span, record
from opq_gateway.serial_side.reassembly import NOT_RESENT, OVERRUN
from opq_proto.messages import Gap, Waveform

SEGMENTS_PER_RING = 12
"""The ring holds between its hours and 1/12 more."""
RECORD_SAMPLES = 200
"""Samples per record at least: the default block of the link and the wire's Cycle."""
CLOCK_STEP_NS = 1_000_000
"""Stamps further off than this from what the index says: the Box's clock was set. A millisecond
is more than any discipline slews between two blocks (500 ppm of 16.7 ms: 8 us)."""


@dataclass(frozen=True, slots=True)
class Span:
    """What the ring holds: [start_ns, end_ns), with gaps in between."""

    start_ns: int
    end_ns: int


class Ring:
    """The ring of one Box; `append` from one thread, the rest from any."""

    def __init__(self, folder: Path, box_id: str, hours: float) -> None:
        """Open what is there; broken tails are left out, foreign files ignored.

        Raises:
            OSError: the folder cannot be made or read.
        """
        self._folder = folder
        self._box_id = box_id
        self._keep_ns = round(hours * 3600e9)
        self._segment_ns = max(1, self._keep_ns // SEGMENTS_PER_RING)
        self._lock = threading.Lock()
        self._fd: int | None = None
        self.bad_records = 0
        self.deleted_segments = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._segments: list[Segment] = []
        self._number = 0
        for path in sorted(folder.glob("*.seg")):
            with contextlib.suppress(ValueError):
                self._number = max(self._number, int(path.stem))
            segment = open_segment(path)
            if segment is None:
                if path.stat().st_size <= HEAD_BYTES:
                    path.unlink(missing_ok=True)  # a writer was killed before its first record
            else:
                self._segments.append(segment)

    def append(self, block: Block) -> None:
        """Write a block behind the last one; deletes what is older than the hours.

        Raises:
            OSError: the disk is full or gone; nothing of the block counts as written, the next
                append begins a new segment.
        """
        current = self._segments[-1] if self._fd is not None else None
        if current is None or not self._fits(current, block):
            current = self._begin(block)
        data = record(block, current.capacity)
        assert self._fd is not None
        try:
            written = os.write(self._fd, data)
        except OSError:
            self.close()
            raise
        if written != len(data):
            self.close()  # never append behind a torn record: the stride would be lost
            raise OSError(f"{current.path}: {written} of {len(data)} bytes written; is the disk full?")
        with self._lock:
            current.added(block)

    def _fits(self, segment: Segment, block: Block) -> bool:
        return segment.records == 0 or (
            segment.boot_id == block.boot_id
            and segment.v_per_lsb == block.v_per_lsb
            and len(block.counts) <= segment.capacity
            and segment.end_sample <= block.first_sample
            and segment.last_ns < block.t_ns  # readers bisect by time
            and block.end_ns - segment.start_ns <= self._segment_ns
        )

    def _begin(self, block: Block) -> Segment:
        self.close()
        self._number += 1
        capacity = max(RECORD_SAMPLES, len(block.counts))
        segment = Segment(self._folder / f"{self._number:012d}.seg", capacity)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(segment.path, flags, 0o644)
        try:
            os.write(fd, head(capacity, self._box_id))
        except OSError:
            os.close(fd)
            segment.path.unlink(missing_ok=True)
            raise
        self._fd = fd
        with self._lock:
            self._segments.append(segment)
        self._delete_old()
        return segment

    def _delete_old(self) -> None:
        with self._lock:
            old: list[Segment] = []
            kept_ns = sum(segment.span_ns for segment in self._segments)
            while len(self._segments) > 1:
                kept_ns -= self._segments[0].span_ns
                if kept_ns < self._keep_ns:
                    break
                old.append(self._segments.pop(0))
            self.deleted_segments += len(old)
        for segment in old:
            segment.path.unlink(missing_ok=True)

    def close(self) -> None:
        """End the segment being written; reading goes on."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        with self._lock:
            if self._segments and not self._segments[-1].records:
                self._segments.pop().path.unlink(missing_ok=True)

    def span(self) -> Span | None:
        """From the oldest to the newest sample held; None when empty."""
        with self._lock:
            held = [segment for segment in self._segments if segment.records]
            if not held:
                return None
            return Span(min(s.start_ns for s in held), max(s.end_ns for s in held))

    def newest(self) -> Segment | None:
        """The segment with the newest samples: its boot, gain and last index; None when empty."""
        with self._lock:
            held = [segment for segment in self._segments if segment.records]
            return held[-1] if held else None

    def read_blocks(self, start_ns: int, end_ns: int) -> list[Block]:
        """Every block that touches [start_ns, end_ns), in the order it was written."""
        with self._lock:
            held = [s for s in self._segments if s.records and s.end_ns > start_ns and s.start_ns < end_ns]
        found: list[Block] = []
        for segment in held:
            blocks, bad = read_span(segment, start_ns, end_ns)
            self.bad_records += bad
            found += blocks
        return found

    def read(self, start_ns: int, end_ns: int) -> Waveform | None:
        """The blocks that touch [start_ns, end_ns) as one Waveform, with the gaps between them.

        Where the span holds several boots of the Box, gains or settings of its clock, the longest
        part is given: one Waveform has one axis. None when nothing is there.
        """
        axes: list[list[Block]] = []
        for block in self.read_blocks(start_ns, end_ns):
            if axes and _follows(axes[-1][-1], block):
                axes[-1].append(block)
            else:
                axes.append([block])
        if not axes:
            return None
        return _joined(self._box_id, max(axes, key=lambda axis: sum(len(block.counts) for block in axis)))


def _follows(before: Block, block: Block) -> bool:
    """Same boot and gain, a later index, and a time that agrees with the index."""
    return (
        before.boot_id == block.boot_id
        and before.v_per_lsb == block.v_per_lsb
        and before.end_sample <= block.first_sample
        and abs(before.time_ns(block.first_sample) - block.t_ns) <= CLOCK_STEP_NS
    )


def _joined(box_id: str, blocks: list[Block]) -> Waveform:
    """Blocks of one axis, rising, as one Waveform."""
    first = blocks[0]
    gaps: list[Gap] = []
    parts = []
    position = first.first_sample
    for block in blocks:
        if block.first_sample > position:
            reason = OVERRUN if block.overrun_before else NOT_RESENT
            gaps.append(Gap(position, block.first_sample - position, reason))
        parts.append(block.counts)
        position = block.end_sample
    return Waveform(
        box_id=box_id,
        start_ns=first.t_ns,
        uncertainty_ns=max(block.uncertainty_ns for block in blocks),
        source=min(block.source for block in blocks),
        rate_millihz=_rate_millihz(blocks),
        v_per_lsb=first.v_per_lsb,
        first_sample=first.first_sample,
        counts=np.concatenate(parts),
        gaps=tuple(gaps),
    )


def _rate_millihz(blocks: list[Block]) -> int:
    """The rate that fits the stamps of first and last block; a single block's own rate."""
    first, last = blocks[0], blocks[-1]
    own = sorted(block.rate_millihz for block in blocks)[len(blocks) // 2]
    if last.t_ns <= first.t_ns or last.first_sample - first.first_sample < 12_000:
        return own
    fitted = round((last.first_sample - first.first_sample) * 1e12 / (last.t_ns - first.t_ns))
    return fitted if abs(fitted - own) <= own // 10_000 else own
