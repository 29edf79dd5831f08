"""Notches at equal distances in a median cycle: those of a converter of 2, 4 or 6 commutations a cycle.

Six notches of a few samples each fill half of a cycle of 60 samples, and no fit of the wave beside them finds
which half it is. But all commutations of a converter are equally far apart, last equally long, and have the
other sign half a cycle later. So few unknowns are left: a comb of pulses is fitted to the orders above those
of the wave, at every angle. Two harmonics are such a comb as well, but not in the orders below them.

Source: Mohan, Undeland and Robbins 2003, 5.3 to 5.5 and 6.4 (commutation of line converters); matched filter,
Kay 1998, 4.4 and 7.8 (unknown delay and sizes).
"""

import math
from dataclasses import dataclass

import numpy as np

from opq_measure.classification.mean_cycle import ORDERS
from opq_measure.signal import FloatArray

PULSES = (2, 4, 6)
"""Commutations a cycle: a bridge of one phase, a controller of one phase, a bridge of three phases."""
THREE_PHASES = 6
"""With fewer commutations the line itself is short-circuited, and its voltage goes toward zero."""
WIDTHS = np.geomspace(0.008, 0.06, 8)
"""Widths that are tried, in cycles; neighbouring ones explain the same energy to a few percent."""
STEPS = 4
"""Angles that are tried in half a period of the highest order."""
ORDERS_SHARE = 0.25
"""The wave has at most this share of the points as orders; the orders above it show the notches."""
TOP_ORDER = 50
"""Highest order, as of 61000-4-7; above it, the widths that are tried are too far apart."""
FIRST_SHOWN = 8
"""Order from which on notches are most of a wave; those below are also of its other loads."""
MOST_LEFT = 0.5
"""A comb leaves at most this share of the energy in the orders of the wave from 8 on; notches leave a tenth.
A comb that explains a 17th and a 19th harmonic has others there, which the wave does not have."""
LEAST_POINTS = 40
"""Points of a cycle from which on it has ten orders of either kind."""
LEAST_SHARE = 0.3
"""Least share of the energy above the noise that a comb explains; slopes of a notch and a ringing beside it
have the rest."""
LEAST_SCATTERS = 6.0
"""The energy of these orders, without the strongest one, exceeds that of the noise by this many of its
scatters: a ringing of some cycles leaves one order in a median."""
MORE_PULSES_SIGMAS = 3.0
"""Each pulse exceeds the noise by this many sigma, because a comb of more pulses fits better to anything."""


@dataclass(frozen=True, slots=True)
class CycleNotch:
    """`turn` of its middle and `width`, in cycles from the first point on; `depth` as a share of the peak."""

    turn: float
    width: float
    depth: float


def regular_notches(cycle: FloatArray, sigma: float, least: float) -> tuple[CycleNotch, ...]:
    """The notches of the comb that explains most of a cycle (p,) of peak 1; none where no comb does.

    Args:
        sigma: noise of a point.
        least: least depth.
    """
    points = len(cycle)
    if points < LEAST_POINTS:
        return ()
    order = np.arange(min(ORDERS, int(ORDERS_SHARE * points)) + 1, min(TOP_ORDER + 1, (points + 1) // 2))
    whole = np.fft.rfft(cycle) / points
    spectrum = whole[order]
    power = 2 * np.abs(spectrum) ** 2
    line = sigma**2 / points  # power of noise in one unknown
    unknowns = 2 * len(order)
    over = float(power.sum()) - unknowns * line
    beside = over - float(power.max())
    if beside < LEAST_SCATTERS * math.sqrt(2 * unknowns) * line:
        return ()
    best, most = list[tuple[float, float, float]](), LEAST_SHARE * over
    grid = 12 * -(-STEPS * 2 * int(order[-1]) // 12)  # whole steps between pulses
    for number in PULSES:
        lags = np.arange(number) / number
        for width in WIDTHS.tolist():
            pulse = width * np.sinc(order * width) * np.sinc(order / points)
            alike = np.zeros(grid // 2 + 1, dtype=np.complex128)
            alike[order] = spectrum * pulse
            seen = np.fft.irfft(alike, grid).reshape(number, -1) * grid
            own = 2 * np.cos(2 * np.pi * np.outer(lags, order)) @ pulse**2
            between = (np.arange(number)[:, None] - np.arange(number)) % number
            depths = np.linalg.solve(own[between] + 1e-6 * own[0] * np.eye(number), seen)
            explained = np.sum(depths * seen, axis=0) - number * line * MORE_PULSES_SIGMAS**2
            opposite = np.roll(depths, number // 2, axis=0)
            is_converter = (np.abs(depths) >= least).all(axis=0) & (depths * opposite < 0).all(axis=0)
            if number < THREE_PHASES:
                turned = np.arange(grid // number) / grid + lags[:, None]
                is_converter &= (depths * np.sin(2 * np.pi * turned) < 0).all(axis=0)
            explained[~is_converter] = 0.0
            at = int(np.argmax(explained))
            if explained[at] > most:
                most = float(explained[at])
                turns, sizes = (at / grid + lags).tolist(), depths[:, at].tolist()
                best = [(turn, width, depth) for turn, depth in zip(turns, sizes, strict=True)]
    below = np.arange(FIRST_SHOWN, order[0])
    left = whole[below]
    for turn, width, depth in best:
        left = left - depth * width * np.sinc(below * width) * np.exp(-2j * np.pi * below * turn)
    if float(np.sum(np.abs(left) ** 2)) > MOST_LEFT * float(np.sum(np.abs(whole[below]) ** 2)):
        return ()
    return tuple(CycleNotch(turn, width, abs(depth)) for turn, width, depth in best)
