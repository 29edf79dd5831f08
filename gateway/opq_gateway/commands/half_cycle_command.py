"""Half cycles: Urms(1/2) of a Box's dips and swells, from its ledger, as one answer of bounded size.

Where the Box's clock was set, rows of two axes may have the same time. Rows of the better source and bound
count; among equal ones the later written rows count.
"""

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from opq_gateway.measuring.feed import Values
from opq_gateway.measuring.ledger import Ledger
from opq_proto.errors import FrameError
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource
from opq_proto.wire.half_cycles import (
    MAX_POINTS,
    HalfCycleRms,
    HalfCycleSeries,
    half_cycles_to_wire,
    read_question,
)
from opq_proto.wire.opqbox3_pb2 import SendCommandToPluginResponse

LedgerReader = Callable[[], Ledger]
LONGEST_NS = 4 * 3600 * 10**9
"""Longest span of one answer: 72,000 rows."""
MIN_STEP_NS = 4_000_000
"""Windows overlap at a tick of ten minutes (61000-4-30, 4.5): a value that is less than this later is a
repetition."""
MAX_RUNS = 1000
"""Most runs of rising times in one answer. If the clock jumps more often, the answer has the newest rows."""


def answer_half_cycles(
    ledger: LedgerReader, box_id: str, question: str, answer: SendCommandToPluginResponse
) -> None:
    """Fills the answer to a question for half cycles; `ok` is false where it or the ledger cannot be read."""
    try:
        found = read_half_cycles(ledger, box_id, read_question(question))
        answer.half_cycles.CopyFrom(half_cycles_to_wire(found))
        answer.ok, answer.detail = True, f"{len(found.t_ns)} points"
    except (FrameError, OSError) as error:
        answer.ok, answer.detail = False, str(error)


def read_half_cycles(ledger: LedgerReader, box_id: str, span_ns: tuple[int, int]) -> HalfCycleRms:
    """The ledger's half cycles in [start, end), at most MAX_POINTS points and LONGEST_NS of it.

    Raises:
        OSError: the ledger cannot be read.
    """
    start_ns, end_ns = span_ns[0], min(span_ns[1], span_ns[0] + LONGEST_NS)
    series = HalfCycleSeries(start_ns, MAX_POINTS)
    uncertainty_ns, source = 0, TimeSource.GPS
    runs = _runs(ledger().read("half", start_ns, end_ns))
    better: list[tuple[int, int]] = []
    kept: list[tuple[int, float]] = []
    for _, run in sorted(enumerate(runs), key=lambda one: (-one[1].source, one[1].uncertainty_ns, -one[0])):
        points = [
            (t_ns, rms_v)
            for t_ns, rms_v in zip(run.t_ns, run.rms_v, strict=True)
            if start_ns <= t_ns < end_ns and not _lies_in(better, t_ns)
        ]
        better = _joined([*better, (run.start_ns, run.end_ns)])
        if points:
            kept += points
            uncertainty_ns, source = max(uncertainty_ns, run.uncertainty_ns), min(source, run.source)
    for t_ns, rms_v in sorted(kept) if len(runs) > 1 else kept:
        if t_ns >= series.newest_ns + MIN_STEP_NS:
            series.add(t_ns, rms_v)
    clock = (uncertainty_ns, source) if kept else (UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE)
    return series.ended(box_id, end_ns, *clock)


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans in time order, with touching ones joined."""
    found: list[tuple[int, int]] = []
    for start_ns, end_ns in sorted(spans):
        if found and start_ns <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end_ns)
        else:
            found.append((start_ns, end_ns))
    return found


def _lies_in(spans: Sequence[tuple[int, int]], t_ns: int) -> bool:
    """Whether one of the spans, which are in time order, contains a time."""
    at = bisect_right(spans, t_ns, key=lambda span: span[0]) - 1
    return at >= 0 and t_ns < spans[at][1]


@dataclass(slots=True)
class _Run:
    """Rows whose times rise, with the source and bound of its newest."""

    source: TimeSource
    start_ns: int
    last_ns: int
    """Start of the newest row."""
    end_ns: int
    uncertainty_ns: int = 0
    t_ns: "array[int]" = field(default_factory=lambda: array("q"))
    rms_v: "array[float]" = field(default_factory=lambda: array("f"))

    def add(self, row: Values) -> None:
        self.last_ns, self.end_ns = row.start_ns, row.end_ns
        self.source, self.uncertainty_ns = row.source, row.uncertainty_ns
        for t_ns, rms_v in _points(row):
            self.t_ns.append(t_ns)
            self.rms_v.append(rms_v)


def _runs(rows: Iterable[Values]) -> Sequence[_Run]:
    """The rows in the order of writing, as runs: a new run begins where time falls back."""
    runs: deque[_Run] = deque(maxlen=MAX_RUNS)
    for row in rows:
        if not runs or row.start_ns < runs[-1].last_ns:
            runs.append(_Run(row.source, row.start_ns, row.start_ns, row.end_ns))
        runs[-1].add(row)
    return runs


def _points(row: Values) -> Iterator[tuple[int, float]]:
    at_s, urms_v = row.values["at_s"], row.values["urms_v"]
    assert isinstance(at_s, tuple) and isinstance(urms_v, tuple)
    return zip((row.start_ns + round(at * 1e9) for at in at_s), urms_v, strict=True)
