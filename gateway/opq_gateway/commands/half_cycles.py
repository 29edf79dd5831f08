"""Half cycles: Urms(1/2) of a Box's dips and swells, from its ledger, as one answer of bounded size."""

from collections.abc import Callable, Iterator

from opq_gateway.measuring.feed import Values
from opq_gateway.measuring.ledger import Ledger
from opq_proto.half_cycles import MAX_POINTS, HalfCycleRms, HalfCycleSeries
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

LedgerReader = Callable[[], Ledger]
LONGEST_NS = 4 * 3600 * 10**9
"""Longest span of one answer: 72,000 rows."""
MIN_STEP_NS = 4_000_000
"""Windows overlap at a tick of ten minutes (61000-4-30, 4.5): a value that is not at least this much later is
a repetition."""


def read_half_cycles(ledger: LedgerReader, box_id: str, span_ns: tuple[int, int]) -> HalfCycleRms:
    """The ledger's half cycles in [start, end), at most MAX_POINTS points and LONGEST_NS of it.

    Raises:
        OSError: the ledger cannot be read.
    """
    start_ns, end_ns = span_ns[0], min(span_ns[1], span_ns[0] + LONGEST_NS)
    series = HalfCycleSeries(start_ns, MAX_POINTS)
    uncertainty_ns, source = 0, TimeSource.GPS
    found = False
    for row in ledger().read("half", start_ns, end_ns):
        for t_ns, rms_v in _points(row):
            if start_ns <= t_ns < end_ns and t_ns >= series.newest_ns + MIN_STEP_NS:
                series.add(t_ns, rms_v)
        uncertainty_ns, source = max(uncertainty_ns, row.uncertainty_ns), min(source, row.source)
        found = True
    clock = (uncertainty_ns, source) if found else (UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE)
    return series.ended(box_id, end_ns, *clock)


def _points(row: Values) -> Iterator[tuple[int, float]]:
    at_s, urms_v = row.values["at_s"], row.values["urms_v"]
    assert isinstance(at_s, tuple) and isinstance(urms_v, tuple)
    return zip((row.start_ns + round(at * 1e9) for at in at_s), urms_v, strict=True)
