"""The line of a long dip or swell: Urms(1/2) of the samples at its ends, and of the ledger between them.

Pure. Where both exist, the samples are shown: for a point of several half cycles the ledger has only the
least and the most.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from opq_cloud.view.pages.drawing.charts import MAX_ENVELOPE_POINTS, ChartLine, FloatArray, reduce_min_max
from opq_proto.wire.half_cycles import HalfCycleRms

GAP_MS = 30.0
"""A half cycle at 17 Hz: points of the ledger that are further apart are not consecutive."""
JOINT_MS = 50.0
"""Lines this near to each other are joined: the first and last cycle of samples has no value."""


def whole_line(envelopes: Sequence[ChartLine], half: HalfCycleRms | None, origin_ns: int) -> ChartLine:
    """All lines in time order, with a NaN where nothing is known.

    Args:
        envelopes: from samples; NaN is a gap.
        half: from the ledger; None if the ledger has no values.
        origin_ns: the zero of the milliseconds.
    """
    sampled = [run for line in envelopes for run in _runs(line.t_ms, line.values)]
    runs = list(sampled)
    if half is not None and len(half.t_ns):
        runs += _ledger_runs(half, origin_ns, [(run[0][0], run[0][-1]) for run in sampled])
    runs.sort(key=lambda run: float(run[0][0]))
    t_parts: list[FloatArray] = []
    value_parts: list[FloatArray] = []
    for t_ms, values in runs:
        if t_parts and t_ms[0] - t_parts[-1][-1] > JOINT_MS:
            t_parts.append(t_parts[-1][-1:])
            value_parts.append(np.array([np.nan]))
        later = t_ms > t_parts[-1][-1] if t_parts else np.ones(len(t_ms), dtype=bool)
        if later.any():
            t_parts.append(t_ms[later])
            value_parts.append(values[later])
    if not t_parts:
        return ChartLine(np.empty(0), np.empty(0))
    reduced = any(line.reduced for line in envelopes) or (half is not None and half.every > 1)
    return ChartLine(np.concatenate(t_parts), np.concatenate(value_parts), reduced)


def lines_with_ledger(
    sampled: Sequence[ChartLine], halves: Iterable[HalfCycleRms], span_ms: tuple[float, float], origin_ns: int
) -> list[ChartLine]:
    """Lines of samples and of the ledger's half cycles within a span, as pieces without NaN.

    Args:
        sampled: from samples, without NaN.
        halves: half cycles of one Box, from the ledgers of the incident's events.
        span_ms: the span of the chart, from `origin_ns`; the ledger is reduced to what is drawn.
    """
    lines = list(sampled)
    for half in halves:
        line = whole_line(lines, _within(half, span_ms, origin_ns), origin_ns)
        lines = [ChartLine(t_ms, values, line.reduced) for t_ms, values in _runs(line.t_ms, line.values)]
    return lines


def ledger_spans_ms(half: HalfCycleRms, origin_ns: int) -> list[tuple[float, float]]:
    """First and last moment of each contiguous piece of the ledger."""
    if not len(half.t_ns):
        return []
    t_ms = (half.t_ns - origin_ns) / 1e6
    pieces = np.split(t_ms, np.nonzero(np.diff(t_ms) > GAP_MS * half.every)[0] + 1)
    return [(float(piece[0]), float(piece[-1])) for piece in pieces]


def rms_at(half: HalfCycleRms, t_ms: float, origin_ns: int) -> float | None:
    """Volts of the cycle around a moment; None where unknown, or where a point is of several half cycles."""
    if half.every > 1 or not len(half.t_ns):
        return None
    t_ns = origin_ns + round(t_ms * 1e6)
    near = int(np.abs(half.t_ns - t_ns).argmin())
    return float(half.least_v[near]) if abs(int(half.t_ns[near]) - t_ns) <= GAP_MS * 1e6 else None


def _within(half: HalfCycleRms, span_ms: tuple[float, float], origin_ns: int) -> HalfCycleRms:
    """The points of a span, and one more on both sides."""
    ends_ns = [origin_ns + round(each * 1e6) for each in span_ms]
    first, last = (int(each) for each in np.searchsorted(half.t_ns, ends_ns))
    part = slice(max(0, first - 1), last + 1)
    return replace(half, t_ns=half.t_ns[part], least_v=half.least_v[part], most_v=half.most_v[part])


def _runs(t_ms: FloatArray, values: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """The pieces between NaN."""
    (ends,) = np.nonzero(np.isnan(values))
    pieces = zip(np.split(t_ms, ends), np.split(values, ends), strict=True)
    known = [(at[~np.isnan(each)], each[~np.isnan(each)]) for at, each in pieces]
    return [(at, each) for at, each in known if len(at)]


def _ledger_runs(
    half: HalfCycleRms, origin_ns: int, sampled: Sequence[tuple[float, float]]
) -> list[tuple[FloatArray, FloatArray]]:
    """The ledger's contiguous pieces outside of the samples; a point with several half cycles gives two."""
    t_ms = (half.t_ns - origin_ns) / 1e6
    outside = np.ones(len(t_ms), dtype=bool)
    for first_ms, last_ms in sampled:
        outside &= (t_ms < first_ms) | (t_ms > last_ms)
    at = np.nonzero(outside)[0]
    if not len(at):
        return []
    apart = (np.diff(t_ms[at]) > GAP_MS * half.every) | (np.diff(at) > 1)
    found = []
    for piece in np.split(at, np.nonzero(apart)[0] + 1):
        times, values = t_ms[piece], half.least_v[piece].astype(np.float64)
        if half.every > 1:
            step_ms = float(np.median(np.diff(times))) / 2 if len(times) > 1 else 0.0
            times = np.stack((times, times + step_ms), axis=1).ravel()
            values = np.stack((values, half.most_v[piece].astype(np.float64)), axis=1).ravel()
        line = reduce_min_max(times, values, MAX_ENVELOPE_POINTS)
        found.append((line.t_ms, line.values))
    return found
