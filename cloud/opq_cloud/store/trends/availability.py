"""The share of samples that were measured in a span of time. Pure.

The expected time begins when the Box was first heard, because a Box that is not installed leaves no hole. Nor
is time that a Box's axis jumped over when its clock was set (`clock_set_s`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from opq_proto.decision import window_ns
from opq_proto.measurement.continuity import CLOCK_SET, clock_set_s
from opq_proto.messages import Measurement, Trend
from opq_proto.time_units import NS_PER_MS

LOW_SHARE = 0.99
"""A lower share is shown in amber."""
BAD_SHARE = 0.90
"""A lower share is shown in red."""
LEAST_MS = 3000.0
"""A shorter expected time has no share: the first Measurement covers one second."""


@dataclass(frozen=True, slots=True)
class CoveredSpan:
    """A span of one Box, how much of it was measured, and how much time did not exist."""

    start_ms: float
    end_ms: float
    covered_ms: float
    """Above its length where a Measurement that ends in it began before; the neighbour has less then."""
    skipped_ms: float = 0.0
    """Time before its end that the Box's axis jumped over."""


def covered_by_trend(row: Trend) -> CoveredSpan:
    """The span of a minute or a longer row."""
    jumped_s = row.metrics.get(CLOCK_SET, (0.0, 0.0, 0.0))[1]
    end_ms = row.start_ms + row.length_ms
    return CoveredSpan(row.start_ms, end_ms, row.time_ms, max(0.0, jumped_s) * 1000)


def covered_by_measurement(row: Measurement) -> CoveredSpan:
    """The span of a Measurement, which was all measured."""
    start_ns, end_ns = window_ns(row)
    start_ms, end_ms = start_ns / NS_PER_MS, end_ns / NS_PER_MS
    jumped_s = clock_set_s(row.metrics) or 0.0
    return CoveredSpan(start_ms, end_ms, end_ms - start_ms, max(0.0, jumped_s) * 1000)


def measured_share(
    spans: Iterable[CoveredSpan], start_ms: float, end_ms: float, since_ms: float
) -> float | None:
    """The measured share of [start, end), 0 to 1; None where too little of it is expected.

    Args:
        spans: of one Box, without overlap; one that is partly inside counts with that part.
        since_ms: when the Box was first heard.
    """
    begin_ms = max(start_ms, since_ms)
    covered_ms = skipped_ms = 0.0
    for each in spans:
        if each.end_ms <= begin_ms:
            continue
        if begin_ms <= each.start_ms < each.end_ms <= end_ms and not each.skipped_ms:  # nearly every span
            covered_ms += each.covered_ms
            continue
        first_ms = max(each.start_ms, since_ms)  # the whole span is after that
        inside_ms = min(end_ms, each.end_ms) - max(begin_ms, first_ms)
        if inside_ms <= 0.0:
            continue
        length_ms = max(each.end_ms - first_ms, 1e-3)
        covered_ms += each.covered_ms * min(1.0, inside_ms / length_ms)
        skipped_ms += min(each.skipped_ms, max(0.0, each.end_ms - begin_ms - each.covered_ms))
    expected_ms = end_ms - begin_ms - skipped_ms
    return min(1.0, covered_ms / expected_ms) if expected_ms >= LEAST_MS else None
