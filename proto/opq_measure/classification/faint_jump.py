"""A phase jump hidden in the noise of single samples, found from where cycles begin before and after it.

A jump of six degrees moves all the cycles after it by twenty times as much as noise of 20 dB moves the mean
of six. So two straight lines are fitted to the beginnings of the cycles on both sides; their distance where
they meet is the jump. This also holds with a dip of few cycles between them.

Source: change point of a line in white noise; the limit is that of `phase_jump`.
"""

from dataclasses import dataclass

import numpy as np

from opq_measure.least_squares import solved
from opq_measure.signal import BoolArray, FloatArray, IndexArray

SIDE_CYCLES = 6
"""Cycles that are fitted on each side."""
MIN_CYCLES = 4
"""Least number of usable cycles on each side of a jump."""
SMEARED_CYCLES = 1
"""Cycles left out on either side of a jump, because the tracker's window covers both sides."""
ACROSS_CYCLES = 12
"""Cycles fitted on each side of a dip; sides that are further apart need more cycles for the slope."""
JUMP_SIGMAS = 6.0
"""A jump stands out of the scatter of its cycles by this many sigma."""


@dataclass(frozen=True, slots=True)
class FaintJump:
    """`position` in samples, accurate to a cycle; `amplitude_ratio`: rms after over rms before."""

    position: float
    degrees: float
    uncertainty_degrees: float
    amplitude_ratio: float


def faint_jump(starts: FloatArray, rms_v: FloatArray, usable: BoolArray) -> FaintJump | None:
    """The largest step in the phase of a signal, if it stands out of the noise.

    Args:
        starts: (c,) fractional samples at which cycles begin.
        rms_v: (c - 1,) or more; the rms of these cycles.
        usable: (c,) whether no dip or step touches the cycle.
    """
    span = SMEARED_CYCLES + SIDE_CYCLES
    bad = np.concatenate(([0], np.cumsum(~usable)))
    every = np.arange(MIN_CYCLES + SMEARED_CYCLES, len(starts) - MIN_CYCLES - SMEARED_CYCLES)
    first, stop = np.maximum(every - span, 0), np.minimum(every + span + 1, len(starts))
    every = every[bad[stop] == bad[first]]
    inner = every[(every >= span) & (every + span < len(starts))]
    degrees, sigma = np.full((2, len(starts)), np.nan)
    if len(inner):
        degrees[inner], sigma[inner] = _steps(starts, inner)
    for at in every[~np.isin(every, inner)].tolist():  # one side is short
        found = _steps(starts[max(0, at - span) : at + span + 1], np.array([min(at, span)]))
        degrees[at], sigma[at] = float(found[0][0]), float(found[1][0])
    if not len(every):
        return None
    at = int(every[np.argmax(np.abs(degrees[every]))])
    if not abs(degrees[at]) > JUMP_SIGMAS * sigma[at]:
        return None
    before, after = rms_v[max(0, at - span) : at - SMEARED_CYCLES], rms_v[at + SMEARED_CYCLES + 1 :]
    ratio = float(np.median(after[:SIDE_CYCLES]) / np.median(before))
    return FaintJump(float(starts[at]), float(degrees[at]), float(sigma[at]), ratio)


def jump_across(
    starts: FloatArray, rms_v: FloatArray, usable: BoolArray, position: float
) -> FaintJump | None:
    """The step in the phase that remains after a dip at `position`, if it stands out of the noise.

    The dip is too short to show its own phase. Arguments as in `faint_jump`.
    """
    at = int(np.searchsorted(starts, position))
    begin = int(np.flatnonzero(usable[:at])[-1]) + 1 if usable[:at].any() else 0
    stop = at + int(np.argmax(usable[at:])) if usable[at:].any() else len(starts)
    before, after = (
        np.arange(max(0, begin - ACROSS_CYCLES), begin),
        np.arange(stop, min(len(starts), stop + ACROSS_CYCLES)),
    )
    cycles = np.concatenate((before, after))
    if min(len(before), len(after)) < MIN_CYCLES or not usable[cycles].all():
        return None
    basis = np.column_stack((np.ones(len(cycles)), cycles - begin, cycles >= stop)).astype(np.float64)
    inverse = solved(basis.T @ basis, np.eye(3))
    values = starts[cycles] - starts[before[0]]
    factors = inverse @ basis.T @ values
    _, period, late = factors
    rest = values - basis @ factors
    sigma = 360.0 / period * float(np.sqrt(rest @ rest / (len(cycles) - 3) * inverse[2, 2]))
    degrees = float(np.remainder(-360.0 * late / period + 180.0, 360.0)) - 180.0
    if not abs(degrees) > JUMP_SIGMAS * sigma:
        return None
    ratio = float(np.median(rms_v[after[:-1]]) / np.median(rms_v[before]))
    return FaintJump(position, degrees, sigma, ratio)


def _steps(starts: FloatArray, places: IndexArray) -> tuple[FloatArray, FloatArray]:
    """(p,) degrees by which the fundamental's phase advances at these cycles, and their uncertainty.

    Both sides have one slope. As many cycles are fitted as the first place has on each side within `starts`.
    """
    span = SMEARED_CYCLES + SIDE_CYCLES
    turns = np.arange(-min(span, int(places[0])), min(span, len(starts) - 1 - int(places[0])) + 1)
    turns = turns[np.abs(turns) > SMEARED_CYCLES]
    basis = np.column_stack((np.ones(len(turns)), turns, turns > 0)).astype(np.float64)
    inverse = solved(basis.T @ basis, np.eye(3))
    values = starts[places[:, None] + turns] - starts[places, None]
    factors = values @ (basis @ inverse)
    rest = values - factors @ basis.T
    sigma = np.sqrt(np.sum(rest * rest, axis=1) / (len(turns) - 3) * inverse[2, 2])
    period = factors[:, 1]
    return -360.0 * factors[:, 2] / period, 360.0 * sigma / period
