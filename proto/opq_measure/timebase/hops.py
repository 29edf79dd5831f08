"""From the raw phasors of neighbouring hops to one phase that never runs back.

Source: the phase of a Hann window under a frequency ramp, by its second moment (Taylor, first order).
"""

from functools import lru_cache

import numpy as np

from opq_measure.signal import BoolArray, FloatArray, IndexArray
from opq_measure.timebase.phasors import WINDOW_CYCLES, unmirrored

HOPS_PER_CYCLE = 4
"""The nominal number; hops are a whole number of samples apart, the same for the whole of a run."""
STEP_SHARE = 0.05
"""Change of amplitude over one cycle, of the larger one, from which a window straddles a step."""
TAIL_SHARE = 0.3
"""A window this much fainter than one a cycle away straddles the tail of a step."""
SIDE_HOPS = HOPS_PER_CYCLE
"""Hops on either side that are needed to see a step."""
WIDEST_MISTUNING = 0.1
"""Mistuning up to which the mirror image is removed; beyond it the phase itself is turning."""
MAX_CURVATURE = 0.06
"""Curvature, rad per square of a cycle: 35 Hz/s; a larger one is a jump, and a slope over it is invalid."""
FEWEST_HOPS = 2 * SIDE_HOPS + 1
"""Fewest hops that show a bend of the phase."""
TURN = 2 * np.pi
SECOND_MOMENT = WINDOW_CYCLES**2 * (1 / 12 - 2 / TURN**2)
"""Variance of the Hann window, in squares of its cycles."""


def is_steady(size: FloatArray, seen: BoolArray) -> BoolArray:
    """Where the phase is valid: not while the amplitude steps, because DC and image leak in there.

    Args:
        size: (..., m + 2 AROUND) of the m hops and those around them.
        seen: (..., m) of the hops.
    """
    pair = np.maximum(size[..., 1:], size[..., :-1])
    four = np.maximum(pair[..., 2:], pair[..., :-2])
    loudest = np.maximum(np.maximum(four[..., 4:], four[..., :-4])[..., :-1], size[..., 2 * SIDE_HOPS :])
    last = size.shape[-1] - SIDE_HOPS
    change = np.abs(size[..., SIDE_HOPS + 2 : last + 2] - size[..., SIDE_HOPS - 2 : last - 2])
    steady: BoolArray = (
        seen & (change < STEP_SHARE * loudest) & (size[..., SIDE_HOPS:last] > TAIL_SHARE * loudest)
    )
    return steady


def unwrapped(
    positions: FloatArray, angles_rad: FloatArray, per_sample: float, anchor: tuple[float, float] | None
) -> FloatArray:
    """Angles as one phase that continues from `anchor` (position, phase) by about `per_sample` rad."""
    if anchor is None:
        anchor = (float(positions[0]), float(angles_rad[0]))
    carrier = anchor[1] + per_sample * (positions - anchor[0])
    off = (angles_rad - carrier) / TURN
    turns = off.copy()
    turns[1:] -= off[:-1]
    phase_rad: FloatArray = angles_rad - TURN * np.rint(turns).cumsum()
    return phase_rad


def corrected(
    positions: FloatArray, phase_rad: FloatArray, tuned: FloatArray, hop: int, per_sample: float
) -> tuple[FloatArray, FloatArray]:
    """Phases without the mirror image and without the bend of a ramp; and the factors for their sizes.

    Args:
        positions, phase_rad: (m,) of the valid phasors, the phase unwrapped.
        tuned: (m,) rad per sample, what each phasor's kernel was tuned to.
        hop: samples between neighbours; where some are missing, or the phase jumps, the slope is interpolated
            between the others; it is `per_sample` where there are none.
    """
    count = len(positions)
    if count < 2:
        return phase_rad, np.ones(count)
    low, high, apart, off, between = neighbour_hops(count)
    contiguous = positions[-1] - positions[0] == (count - 1) * hop
    run = apart * hop if contiguous else positions[high] - positions[low]
    slope = (phase_rad[high] - phase_rad[low]) / run
    bend = np.zeros(count) if count < FEWEST_HOPS else (slope[high] - slope[low]) / (between * hop)
    most = MAX_CURVATURE * (per_sample / TURN) ** 2
    if not contiguous or bend @ bend > most * most:  # this is rare, so single hops are not checked otherwise
        broken = (np.abs(bend) > most) | (run != apart * hop)
        broken |= broken[low] | broken[high]
        sound = np.flatnonzero(~broken)
        bend[broken] = 0.0
        slope[broken] = np.interp(np.flatnonzero(broken), sound, slope[sound]) if len(sound) else per_sample
    return straightened(phase_rad, slope + bend * (off * hop), bend, tuned)


def straightened(
    phase_rad: FloatArray, slope: FloatArray, bend: FloatArray, tuned: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The result of `corrected` for phases whose slope and bend are known, all (..., m)."""
    mistuned = np.minimum(np.maximum(slope / tuned - 1, -WIDEST_MISTUNING), WIDEST_MISTUNING)
    turn, gain = unmirrored(phase_rad, mistuned)
    return phase_rad + turn - bend * (SECOND_MOMENT / 2 * TURN**2) / (tuned * tuned), gain


@lru_cache(maxsize=512)
def neighbour_hops(count: int) -> tuple[IndexArray, IndexArray, FloatArray, FloatArray, FloatArray]:
    """The hops a cycle before and after each of `count` hops, clipped to the ends; three distances in hops.

    The distances are: between these two; from their middle to the hop; between the middles of these two.
    """
    index = np.arange(count)
    low, high = np.maximum(index - SIDE_HOPS, 0), np.minimum(index + SIDE_HOPS, count - 1)
    middle = (low + high) / 2
    return low, high, (high - low).astype(np.float64), index - middle, middle[high] - middle[low]


def carried(
    positions: FloatArray,
    accepted: FloatArray,
    phase_rad: FloatArray,
    per_sample: float,
    anchor: tuple[float, float] | None,
) -> FloatArray:
    """(m,) phases of all hops: interpolated between the `accepted` ones, by `per_sample` beyond them."""
    first, last = positions[0], positions[-1]
    if anchor is None:
        anchor = (first, phase_rad[0] - per_sample * (accepted[0] - first))
    after = phase_rad[-1] + per_sample * (last - accepted[-1])
    found: FloatArray = np.interp(
        positions,
        np.concatenate(((anchor[0],), accepted, (last,))),
        np.concatenate(((anchor[1],), phase_rad, (after,))),
    )
    return found


def usual_slope(positions: FloatArray, phase_rad: FloatArray, hop: int) -> float | None:
    """The median rise of a phase per sample, over steps of a cycle; None where there is no such step."""
    run = positions[HOPS_PER_CYCLE:] - positions[:-HOPS_PER_CYCLE]
    rise = (phase_rad[HOPS_PER_CYCLE:] - phase_rad[:-HOPS_PER_CYCLE])[run == HOPS_PER_CYCLE * hop]
    if len(rise) == 0:
        return None
    rise.sort()
    return float(rise[len(rise) // 2]) / (HOPS_PER_CYCLE * hop)
