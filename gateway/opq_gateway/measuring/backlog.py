"""RingBacklog: samples in the ring that were not measured before the gateway ended; they are measured first.

Reading begins shortly before the end of the last queued Measurement (the phase must be found again), or
before the end of the ledger, which is written once a second and may lie earlier. Reading ends where the ring
ended when the gateway began. It goes file by file in the order of writing, because later samples have earlier
times where the clock was set back. The live blocks follow without a gap, since the Box sends again what the
ring lacks.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from opq_gateway.blocks import SampleBlock
from opq_gateway.ring.lost import Lost
from opq_gateway.ring.segment import Segment
from opq_proto.messages import Gap

LEAD_NS = 1_000_000_000
"""Samples before the first cycle that counts: three windows for tracking the phase."""
INTERVAL_LEAD_NS = 30 * 10**9
"""Samples before ten minutes that are measured again: the flickermeter's slowest filter settles in them."""
LONGEST_UNDER_WAY_NS = 1200 * 10**9
"""Intervals that began longer ago are not completed."""
MAX_BEHIND_NS = 10 * 10**9
"""The ledger of a killed gateway is up to 2 s behind; a ledger that is further behind was not written."""
SLICE_NS = 10 * 10**9
"""Length of one read."""
BESIDE_NS = 1_000_000
"""Files and Measurements that are this close together are on the same axis."""


class Blocks(Protocol):
    """The part of a ring that measuring reads."""

    def segment_blocks(self, segment: Segment, start_ns: int, end_ns: int) -> list[SampleBlock]:
        """The blocks of [start_ns, end_ns) in a segment, in the order of writing."""
        ...

    def read_lost(self, start_ns: int, end_ns: int) -> list[Lost]:
        """Every recorded loss that touches [start_ns, end_ns)."""
        ...


class RingBacklog:
    """The backlog of one Box; call `next` until it is `done`."""

    def __init__(self, ring: Blocks, since_ns: int, segments: Sequence[Segment]) -> None:
        """`segments` in the order of writing. Measuring ended at `since_ns`, in the last segment that
        contains it; or else with the segments that end before it."""
        self.since_ns = since_ns
        self._ring = ring
        begin = _holding(segments, since_ns)
        self.spans: list[tuple[int, int]] = []
        """[start_ns, end_ns) of the samples to measure, one span for each axis."""
        for segment in segments[begin:]:
            start_ns = since_ns if not self.spans and segment.start_ns <= since_ns else segment.start_ns
            if self.spans and abs(start_ns - self.spans[-1][1]) <= BESIDE_NS:
                start_ns = self.spans.pop()[0]
            self.spans.append((start_ns, segment.end_ns))
        self.done = not any(end_ns > start_ns for start_ns, end_ns in self.spans)
        self._segments, self._begin = segments, begin
        self._waiting: deque[tuple[Segment, int]] = deque()
        self._read_from(since_ns - LEAD_NS)
        self._last: SampleBlock | None = None

    def note_ledger(self, end_ns: int) -> None:
        """Also reads the samples between the ledger's end and `since_ns`; call it before `next`."""
        behind_ns = min(self.since_ns - end_ns, MAX_BEHIND_NS)
        if behind_ns > 0:
            self._read_from(self.since_ns - behind_ns - LEAD_NS)

    def note_interval(self, start_ns: int) -> None:
        """Also reads the samples of the unfinished intervals that began at `start_ns`; call it after
        `note_ledger`."""
        if 0 <= self.since_ns - start_ns <= LONGEST_UNDER_WAY_NS:
            self._read_from(start_ns - INTERVAL_LEAD_NS)

    def _read_from(self, start_ns: int) -> None:
        """Reads from `start_ns` on, including earlier files as far as they adjoin."""
        segments, begin = self._segments, self._begin
        self._waiting = deque((one, one.start_ns) for one in segments[begin:])
        if self._waiting:
            self._waiting[0] = self._waiting[0][0], max(self._waiting[0][1], start_ns)
        while not self.done and begin and _leads(segments[begin - 1], self._waiting[0][0], start_ns):
            begin -= 1
            self._waiting.appendleft((segments[begin], start_ns))

    def next(self) -> list[SampleBlock]:
        """The next blocks, each only once.

        Raises:
            OSError: the ring cannot be read.
        """
        if self.done:
            return []
        segment, at_ns = self._waiting.popleft()
        end_ns = min(max(at_ns, segment.start_ns) + SLICE_NS, segment.end_ns)
        found = []
        for block in self._ring.segment_blocks(segment, at_ns, end_ns):
            if self.covers(block):
                continue
            found.append(block)
            self._last = block
        if end_ns < segment.end_ns:
            self._waiting.appendleft((segment, end_ns))
        self.done = not self._waiting
        return found

    def covers(self, block: SampleBlock) -> bool:
        """Whether a block was returned already."""
        last = self._last
        return last is not None and last.start_id == block.start_id and block.end_sample <= last.end_sample

    def gaps_between(self, before: SampleBlock, block: SampleBlock) -> list[Gap]:
        """The recorded losses between two blocks of one start of the Box.

        Raises:
            OSError: the ring cannot be read.
        """
        start_ns, end_ns = sorted((before.end_ns, block.t_ns))
        return [
            Gap(one.first_sample, one.samples, one.reason)
            for one in self._ring.read_lost(start_ns, end_ns + 1)
            if one.start_id == before.start_id == block.start_id
            and before.end_sample <= one.first_sample
            and one.end_sample <= block.first_sample
        ]

    def holds(self, start_ns: int, end_ns: int) -> bool:
        """Whether a Measurement lies in one of `spans`."""
        return any(start - BESIDE_NS <= start_ns and end_ns <= end + BESIDE_NS for start, end in self.spans)


def _leads(before: Segment, first: Segment, start_ns: int) -> bool:
    """Whether a file belongs to the samples before the first cycle that counts."""
    meets = abs(first.start_ns - before.end_ns) <= BESIDE_NS and before.start_id == first.start_id
    return meets and before.end_ns > start_ns


def _holding(segments: Sequence[Segment], since_ns: int) -> int:
    """Index of the last segment that contains a time, or else of the first segment that ends after it."""
    holding = [
        at
        for at, one in enumerate(segments)
        if one.start_ns - BESIDE_NS <= since_ns <= one.end_ns + BESIDE_NS
    ]
    behind = [at for at, one in enumerate(segments) if one.end_ns > since_ns]
    return holding[-1] if holding else behind[0] if behind else len(segments)


def backlog_of(
    ring: Blocks, segments: Sequence[Segment], last_end_ns: Callable[[], int | None]
) -> RingBacklog | None:
    """The backlog of a ring; None where the ring is empty, was never measured, or was measured completely."""
    since_ns = last_end_ns()
    if since_ns is None or not segments:
        return None
    backlog = RingBacklog(ring, since_ns, segments)
    return None if backlog.done else backlog
