"""The line of a long dip or swell: Urms(1/2) of the samples at its ends, between them of the ledger.

Pure. Where both are there the samples are shown: of a point of several half cycles the ledger has the least
and the most alone.
"""

from collections.abc import Sequence

import numpy as np

from opq_cloud.view.charts import MAX_ENVELOPE_POINTS, ChartLine, FloatArray, reduce_min_max
from opq_proto.half_cycles import HalfCycleRms

GAP_MS = 30.0
"""A half cycle at 17 Hz: what is further apart in the ledger does not follow on each other."""
JOINT_MS = 50.0
"""Lines so near to each other are one: the first and last cycle of samples has no value."""


def whole_line(envelopes: Sequence[ChartLine], half: HalfCycleRms | None, origin_ns: int) -> ChartLine:
    """All of them in time order, with a NaN where nothing is known.

    Args:
        envelopes: of samples; NaN is a gap.
        half: from the ledger; None: there is none.
        origin_ns: where the milliseconds count from.
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


def _runs(t_ms: FloatArray, values: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """The pieces between NaN."""
    (ends,) = np.nonzero(np.isnan(values))
    pieces = zip(np.split(t_ms, ends), np.split(values, ends), strict=True)
    known = [(at[~np.isnan(each)], each[~np.isnan(each)]) for at, each in pieces]
    return [(at, each) for at, each in known if len(at)]


def _ledger_runs(
    half: HalfCycleRms, origin_ns: int, sampled: Sequence[tuple[float, float]]
) -> list[tuple[FloatArray, FloatArray]]:
    """Its contiguous pieces outside of the spans of samples, each with least and most of a point in turn."""
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
