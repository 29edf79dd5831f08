"""Ring: the raw samples of the last hours of one Box, on disk.

    append -> live segment (live.py) -> raw segment (raw.py) -> sealed segment (sealed.py) -> deleted

One writer; any number of readers, in this process or another, which read by time while it writes. What is
written is never changed: a start begins a new segment, and so does another gain, another nominal value or a
step of the clock. A read by time gives the samples that are meant where several axes of time hold the span
(time_axes.py). The oldest segment is deleted when the later ones hold the wanted hours, or when all take more
than the wanted bytes (`catalogue.due`).

Every sample is in the ring or in a recorded loss with its reason (`read_lost`). A kill -9 at any byte loses
at most the block being written (the kernel has what was written); a power cut loses what was not written back
yet: what came since the last `sync`.
"""

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from opq_gateway.blocks import SampleBlock
from opq_gateway.ring.live import MIN_RECORDS, LiveSegment
from opq_gateway.ring.lost import Lost
from opq_gateway.ring.pending import PendingLosses
from opq_gateway.ring.raw import HEAD_BYTES
from opq_gateway.ring.record import stride_bytes
from opq_gateway.ring.segment import RecordColumns, Segment
from opq_gateway.ring.segment_catalogue import SegmentCatalogue, clock_of, read_span
from opq_gateway.ring.time_axes import (
    SAME_STAMP_NS,
    AxisPlace,
    PlacedSpan,
    SampleStamp,
    TimeAxes,
    TimeAxis,
)
from opq_gateway.ring.waveform import Holes, longest_waveform
from opq_proto.kit.whole_file import private_folder
from opq_proto.messages import Gap, Waveform

SEGMENT_S = 600
"""Longest segment: it takes 15.6 MB at 12 kS/s from the disk ahead of the samples."""
SEGMENTS_PER_RING = 12
"""Least number of segments; the ring holds its hours, or bytes, to 1/12 more or less."""
RECORD_SAMPLES = 200
"""Least samples per record: the default block of the link and the wire's Cycle."""
MAX_RECORDS = 1 << 16
RETRY_S = 1.0
"""A disk that refused is tried again after this time."""
MAX_BROKEN = 60
"""Most segments that begin early in BROKEN_S, for a start, gain or a step backwards. Without this limit a Box
whose clock jumps to and fro would make 30 files a second, too many for the disk and for the other Boxes."""
BROKEN_S = 60.0
"""Time in which early segments are counted."""
UNSTEADY_S = 10.0
"""The samples of a Box with too many early segments are refused for this time."""
MAX_SET = 20
"""A step of the clock forwards does not begin a segment after this many early ones in BROKEN_S; the samples
fit into the file in any case."""
AROUND_NS = 1_000_000_000
"""Records of an earlier axis are read this far around the wanted ones: their times are interpolated (as
`SAME_STAMP_NS`)."""
ROUNDED_NS = 20
"""A span is this much shorter where its times come from an index, so that their rounding adds no block."""


@dataclass(frozen=True, slots=True)
class RingSpan:
    """What the ring holds: [start_ns, end_ns), with gaps in between."""

    start_ns: int
    end_ns: int


class Ring:
    """The ring of one Box; `append`, `append_all`, `gap`, `close` from one thread, the rest from any.

    Attributes:
        bad_records: damaged records met while reading, left out.
        deleted_segments: oldest segments deleted.
        sealed_segments: raw segments that sealed ones took the place of.
        lost_records: losses recorded.
        unreadable_files: files in its folder that cannot be read; known from the first `append` on.
    """

    def __init__(
        self,
        folder: Path,
        box_id: str,
        hours: float,
        *,
        most_bytes: int | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens the files; leaves out broken tails and unreadable files.

        It changes nothing before the first `append`, because until then this is one of many readers.

        Raises:
            OSError: the folder cannot be made or read.
            OtherFormError: a file in it has another form.
        """
        private_folder(folder)
        self.folder = folder
        self.box_id = box_id
        self._keep_ns = round(hours * 3600e9)
        self._most_bytes = most_bytes
        self._segment_ns = max(1, min(SEGMENT_S * 10**9, self._keep_ns // SEGMENTS_PER_RING))
        self._first_ns = (
            self._segment_ns // 4 + self._segment_ns * (3 * crc32(box_id.encode()) >> 16) // 2**18
        )
        """The first segment's length varies, so that Boxes which begin together do not always change files
        together."""
        self._monotonic_s = monotonic_s
        self._catalogue = SegmentCatalogue(folder)
        self._axes = TimeAxes((), clock_of)
        self._lock = threading.Lock()
        self._live: LiveSegment | None = None
        self._pending: PendingLosses | None = None
        self._refused: tuple[OSError, float] | None = None
        self._broken_s: deque[float] = deque(maxlen=MAX_BROKEN)
        self.bad_records = 0
        self.lost_records = 0

    @property
    def deleted_segments(self) -> int:
        return self._catalogue.deleted

    @property
    def sealed_segments(self) -> int:
        return self._catalogue.sealed

    @property
    def unreadable_files(self) -> int:
        return self._catalogue.unreadable()

    def append(self, block: SampleBlock) -> None:
        """Writes a block after the last one; see `append_all`."""
        self.append_all((block,))

    def append_all(self, blocks: Sequence[SampleBlock]) -> None:
        """Writes blocks after the last one, with one write for those that follow each other.

        Raises:
            OSError: the disk is full or gone, or the Box changes too often. Refused blocks are a loss, which
                is recorded with the next accepted block; within `RETRY_S` the disk is not tried again.
        """
        done = 0
        try:
            self._retry()
            while done < len(blocks):
                done += self._write(blocks[done:])
        except OSError as error:
            if self._refused is None:
                retry_s = UNSTEADY_S if error.errno == errno.EBUSY else RETRY_S
                self._refused = (error, self._monotonic_s() + retry_s)
                self.close()
            self._losses().refuse(blocks[done:], error.strerror or str(error))
            raise

    def gap(self, gap: Gap) -> None:
        """Records that the samples right before the next block are given up, with the reason."""
        self._losses().accept_gap(gap)

    def _losses(self) -> PendingLosses:
        if self._pending is None:
            self._pending = PendingLosses(self.newest())
        return self._pending

    def _retry(self) -> None:
        if self._refused is not None:
            error, until_s = self._refused
            if self._monotonic_s() < until_s:
                raise OSError(error.errno, error.strerror)
            self._refused = None

    def _write(self, blocks: Sequence[SampleBlock]) -> int:
        """Writes the first of `blocks` and those that follow it without a hole; returns how many."""
        first, live, pending = blocks[0], self._live, self._losses()
        if live is not None and not live.fits(first):
            if live.broken_by(first):
                self._break()
            live = None
        elif live is not None and live.set_before(first) and self._has_room_for_axis():
            live = None
        lost: Sequence[Lost] = ()
        if live is None or live.segment.end_sample != first.first_sample or not pending.none:
            lost = pending.before(first)
        begun = live is None or live.room <= len(lost)
        if live is None or begun:
            live = self._begin(first, len(lost))
        count = live.run(blocks, live.room - len(lost))
        live.write(lost, blocks if count == len(blocks) else blocks[:count])
        if lost or begun:
            self.lost_records += len(lost)
            pending.written(live.segment)
        return count

    def _break(self) -> None:
        """Counts a segment that ends early; raises OSError when there were too many."""
        now_s = self._monotonic_s()
        if len(self._broken_s) == MAX_BROKEN and now_s - self._broken_s[0] < BROKEN_S:
            raise OSError(errno.EBUSY, "the Box's time, start or gain changes with nearly every block")
        self._broken_s.append(now_s)

    def _has_room_for_axis(self) -> bool:
        """Whether a step forwards may begin a segment; counts it then."""
        now_s = self._monotonic_s()
        if sum(now_s - at_s < BROKEN_S for at_s in self._broken_s) >= MAX_SET:
            return False
        self._broken_s.append(now_s)
        return True

    def _begin(self, block: SampleBlock, losses: int) -> LiveSegment:
        self.close()
        capacity = max(RECORD_SAMPLES, len(block.counts))
        lasting_ns = max(1, block.end_ns - block.t_ns)
        segment_ns, self._first_ns = self._first_ns or self._segment_ns, 0
        records = -(-segment_ns // lasting_ns)
        if self._most_bytes is not None:
            records = min(records, self._most_bytes // SEGMENTS_PER_RING // stride_bytes(capacity))
        records = max(MIN_RECORDS, losses + 1, min(records + losses, MAX_RECORDS))
        room_bytes = HEAD_BYTES + records * stride_bytes(capacity)
        self._catalogue.delete_old(self._keep_ns, self._most_bytes, room_bytes)
        path = self._catalogue.claim()
        live = LiveSegment(path, self.box_id, block, capacity, records, segment_ns)
        self._catalogue.add(live.segment)
        with self._lock:
            self._live = live
        return live

    def sync(self) -> bool:
        """Makes the disk itself store the appended blocks; False if it had stored them already.

        Raises:
            OSError: the disk could not.
        """
        with self._lock:
            live = self._live
        ended = self._catalogue.sync_ended()
        return (live is not None and live.sync()) or ended

    def close(self) -> None:
        """Ends the segment being written; reads still work."""
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            live.end()
            self._catalogue.ended(live.segment)

    def span(self) -> RingSpan | None:
        """From the oldest to the newest sample, by the best axes; None when the ring is empty."""
        axes = self._time_axes()
        if axes.in_force is None:
            return None
        return RingSpan(axes.start_ns(), axes.in_force.end_ns)

    def newest(self) -> Segment | None:
        """The segment with the newest samples, which has start, gain and last index; None when the ring is
        empty."""
        held = self._catalogue.held()
        return held[-1] if held else None

    def file_bytes(self) -> int:
        """Bytes that the ring takes on the disk."""
        return sum(segment.file_bytes for segment in self._catalogue.held())

    def read_blocks(self, start_ns: int, end_ns: int) -> list[SampleBlock]:
        """Every block that touches [start_ns, end_ns), in the order of writing."""
        return [block for stretch in self.stretches(start_ns, end_ns) for block in stretch.blocks()]

    def segments(self) -> list[Segment]:
        """The segments with samples, in the order of writing; times fall back where the clock was set
        back."""
        return self._catalogue.held()

    def segment_blocks(self, segment: Segment, start_ns: int, end_ns: int) -> list[SampleBlock]:
        """Every block of one segment that touches [start_ns, end_ns); none when it was deleted meanwhile.

        Raises:
            OSError: the disk cannot read it.
        """
        stretch = read_span(segment, start_ns, end_ns)
        if stretch is None:
            return []
        self.bad_records += stretch.bad
        return stretch.blocks()

    def read(self, start_ns: int, end_ns: int, place: AxisPlace | None = None) -> Waveform | None:
        """The blocks that touch [start_ns, end_ns) as one Waveform, with the gaps between them and why.

        The times are those of the best axis, or of the given one; then the earlier samples of its start have
        its times, too. Where the span contains several starts of the Box or gains, the longest part is
        returned, because a Waveform has one axis. None without samples.
        """
        axes = self._time_axes()
        axis = axes.at(place)
        if axis is not None:
            first = axis.run.axes[0].first_sample
        else:
            axis = axes.meant(start_ns, end_ns)
            if axis is None:
                return None
            first = axis.best_from
        found = self._earlier(axis, start_ns, end_ns, first)
        found += self._read(axis.held(start_ns, end_ns), start_ns, end_ns)
        return longest_waveform(self.box_id, found)

    def placed(
        self,
        start_ns: int,
        end_ns: int,
        place: AxisPlace | None = None,
        stamp: SampleStamp | None = None,
    ) -> PlacedSpan:
        """The span with the times of the best axis of its samples.

        Args:
            place: the axis of these times; None: the best one.
            stamp: a sample and its time on the axis of these times, where known. Where it names its start,
                the span is of that start, even if another start has these times.
        """
        axes = self._time_axes()
        axis, moved_ns = axes.at(place), 0
        start_id = None if stamp is None else stamp.start_id
        if axis is None and stamp is not None:
            axis = axes.stamping(stamp)
            if axis is not None and place is None and start_id is not None:
                off_ns = axis.t_ns(stamp.sample) - stamp.t_ns
                # its clock was set and later set back
                moved_ns = off_ns if abs(off_ns) > SAME_STAMP_NS else 0
        if axis is None and start_id is not None:
            return PlacedSpan(start_ns, end_ns, None, is_gone=True)
        if axis is None:
            axis = axes.meant(start_ns, end_ns)
        if axis is None:
            return PlacedSpan(start_ns, end_ns, None)
        start_ns, end_ns = start_ns + moved_ns, end_ns + moved_ns
        first = axis.sample_at(start_ns)
        best = axis.best(first, axis.sample_at(end_ns))
        if best is axis:
            return PlacedSpan(start_ns, end_ns, best.place)
        moved_ns = best.t_ns(first) - axis.t_ns(first)
        return PlacedSpan(start_ns + moved_ns + ROUNDED_NS, end_ns + moved_ns - ROUNDED_NS, best.place)

    def passed(self, t_ns: int, place: AxisPlace | None) -> bool:
        """Whether the samples up to a time of an axis are here, or will never come."""
        axes = self._time_axes()
        axis, newest = axes.at(place), axes.in_force
        if axis is None or newest is None:
            return newest is not None and newest.end_ns >= t_ns
        if axis is newest:
            return axis.end_ns >= t_ns
        return axis.run is not newest.run or axis.sample_at(t_ns) <= newest.end_sample

    def read_lost(self, start_ns: int, end_ns: int) -> list[Lost]:
        """Every loss that touches [start_ns, end_ns), in the order of recording.

        Damage of the disk is included, as the hole that it leaves.
        """
        holes = Holes()
        for stretch in self.stretches(start_ns, end_ns, counts=False):
            holes.accept_records(stretch)
        return holes.found

    def stretches(self, start_ns: int, end_ns: int, counts: bool = True) -> Iterator[RecordColumns]:
        """The records that touch [start_ns, end_ns), segment by segment, in the order of writing.

        Raises:
            OSError: the disk cannot read any of it; where it can read a part, the rest is a hole.
        """
        yield from self._read(self._catalogue.held(start_ns, end_ns), start_ns, end_ns, counts)

    def _time_axes(self) -> TimeAxes:
        held = self._catalogue.held()
        axes = self._axes
        if axes.segments != held:
            axes = self._axes = TimeAxes(held, clock_of)
        return axes

    def _earlier(self, axis: TimeAxis, start_ns: int, end_ns: int, first: int) -> list[RecordColumns]:
        """The records of the earlier axes of its run from sample `first` on, with the times of this one."""
        found: list[RecordColumns] = []
        if start_ns >= axis.start_ns or first >= axis.first_sample:
            return found
        begin, end = max(first, axis.sample_at(start_ns)), axis.sample_at(min(end_ns, axis.start_ns))
        for earlier in axis.run.axes:
            if earlier.end_sample <= begin or earlier.first_sample >= end:
                continue
            span_ns = earlier.t_ns(begin) - AROUND_NS, earlier.t_ns(end) + AROUND_NS
            for part in self._read(earlier.held(*span_ns), *span_ns):
                found.append(axis.stamped(part).touching(start_ns, end_ns))
        return found

    def _read(
        self, segments: Iterable[Segment], start_ns: int, end_ns: int, counts: bool = True
    ) -> Iterator[RecordColumns]:
        """The records of these files that touch a span by their recorded times."""
        refused: OSError | None = None
        read = False
        for segment in segments:
            try:
                stretch = read_span(segment, start_ns, end_ns, counts)
            except OSError as error:
                refused = error
                self.bad_records += 1
                continue
            if stretch is not None:
                read = True
                self.bad_records += stretch.bad
                yield stretch
        if refused is not None and not read:
            raise refused

    def unsealed(self) -> list[Segment]:
        """Ended raw segments that may be sealed, oldest first; empty before the first `append`."""
        return self._catalogue.unsealed()

    def replace(self, segment: Segment, sealed: Path) -> bool:
        """Puts a sealed file in a raw one's place; False: the segment was deleted meanwhile."""
        return self._catalogue.replace(segment, sealed)
