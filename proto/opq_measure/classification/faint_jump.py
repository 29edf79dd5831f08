"""A phase jump that drowns in the noise of single samples: by when the cycles begin, before and after.

A jump of six degrees moves all the cycles after it, by twenty times what noise of 20 dB moves the mean of
six. So two straight lines through the beginnings of the cycles on both sides, apart where they meet, show it.

Source: change point of a line in white noise; the limit is that of `phase_jump`.
"""

from dataclasses import dataclass

import numpy as np

from opq_measure.signal import BoolArray, FloatArray

SIDE_CYCLES = 6
"""Fitted on each side."""
LEAST_CYCLES = 4
SMEARED_CYCLES = 1
"""On either side of a jump; the tracker's window sees both."""
SIGMAS = 6.0


@dataclass(frozen=True, slots=True)
class FaintJump:
    """`position` in samples, good to a cycle; `amplitude_ratio` of the rms after over before."""

    position: float
    degrees: float
    uncertainty_degrees: float
    amplitude_ratio: float


def faint_jump(starts: FloatArray, rms_v: FloatArray, usable: BoolArray) -> FaintJump | None:
    """The largest step in the phase of a signal, where it stands out.

    Args:
        starts: (c,) fractional samples at which cycles begin.
        rms_v: (c - 1,) or more; of these cycles.
        usable: (c,) those that no dip or step touches.
    """
    best: FaintJump | None = None
    for at in range(LEAST_CYCLES + SMEARED_CYCLES, len(starts) - LEAST_CYCLES - SMEARED_CYCLES):
        left = slice(max(0, at - SMEARED_CYCLES - SIDE_CYCLES), at - SMEARED_CYCLES)
        right = slice(at + SMEARED_CYCLES + 1, at + SMEARED_CYCLES + 1 + SIDE_CYCLES)
        if not usable[left.start : right.stop].all():
            continue
        found = _step(starts, left, right, at)
        if found is not None and (best is None or abs(found[0]) > abs(best.degrees)):
            ratio = float(np.median(rms_v[right]) / np.median(rms_v[left]))
            best = FaintJump(float(starts[at]), found[0], found[1], ratio)
    if best is None or not abs(best.degrees) > SIGMAS * best.uncertainty_degrees:
        return None
    return best


def _step(starts: FloatArray, left: slice, right: slice, at: int) -> tuple[float, float] | None:
    """Degrees that the fundamental has gained at cycle `at`, and their uncertainty; one slope for both."""
    parts = [
        np.arange(side.start, min(side.stop, len(starts)), dtype=np.float64) - at for side in (left, right)
    ]
    if min(map(len, parts)) < LEAST_CYCLES:
        return None
    turns = np.concatenate(parts)
    after = (turns > 0).astype(np.float64)
    basis = np.column_stack((np.ones_like(turns), turns, after))
    values = np.concatenate([starts[side] for side in (left, right)])
    inverse = np.linalg.inv(basis.T @ basis)
    offset, period, step = inverse @ basis.T @ values
    rest = values - basis @ np.array([offset, period, step])
    sigma = float(np.sqrt(np.sum(rest * rest) / (len(values) - 3) * inverse[2, 2]))
    return -360.0 * float(step) / float(period), 360.0 * sigma / float(period)
