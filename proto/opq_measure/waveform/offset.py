"""DC offset: the mean over whole cycles.

Source: IEEE 1159-2019, 4.5.1 (DC offset); in IEC 61000-4-30:2015, 5.2 it is part of the rms value.
"""

import numpy as np

from opq_measure.signal import BLOCK_SAMPLES, FloatArray, SignalArray
from opq_measure.timebase.cycles import Track


def cycle_offset_v(volts: SignalArray, edges: FloatArray) -> FloatArray:
    """The mean of each cycle.

    Args:
        volts: (n,) counts or volts.
        edges: (m,) rising, fractional positions in 0 .. n - 1, from `Track.edges`.
    Returns:
        (max(0, m - 1),) in the signal's unit; entry k spans edges[k] .. edges[k + 1].
    Raises:
        ValueError: edges do not rise, or leave `volts`.

    Error: 1e-5 of the fundamental (test_measure_residual.py); straight lines between samples.
    """
    if len(edges) < 2:
        return np.empty(0)
    total = _integral(volts, edges)
    found: FloatArray = np.diff(total) / np.diff(edges)
    return found


def offset_v(volts: SignalArray, tracked: Track) -> float:
    """The median over all cycles, so that a dip's edge is no offset; NaN for less than a cycle."""
    edges = tracked.edges(1)
    means = cycle_offset_v(volts, edges[edges <= len(volts) - 1])
    return float(np.median(means)) if len(means) else float("nan")


def _integral(volts: SignalArray, positions: FloatArray) -> FloatArray:
    """(m,) the integral of the signal from 0 to each position."""
    if np.any(np.diff(positions) <= 0):
        raise ValueError("edges do not rise")
    if positions[0] < 0 or positions[-1] > len(volts) - 1:
        raise ValueError(f"edges {positions[0]:g} .. {positions[-1]:g} leave 0 .. {len(volts) - 1}")
    found = np.empty(len(positions))
    before = 0.0
    for first in range(0, len(volts) - 1, BLOCK_SAMPLES):
        part = np.asarray(volts[first : first + BLOCK_SAMPLES + 1], dtype=np.float64)
        whole = np.concatenate(([0.0], np.cumsum((part[1:] + part[:-1]) / 2)))
        begin, end = np.searchsorted(positions, (first, first + len(part) - 1), side="left")
        end = len(positions) if first + len(part) >= len(volts) else end
        at = positions[begin:end] - first
        index = np.minimum(at.astype(np.int64), len(part) - 2)
        rest = at - index
        slope = part[index + 1] - part[index]
        found[begin:end] = before + whole[index] + rest * (part[index] + rest / 2 * slope)
        before += float(whole[-1])
    return found
