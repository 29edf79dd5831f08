"""Clipped tops: the converter (or a saturated transformer) holds the crests at one value.

A crest counts as clipped when it stays within a small share of the signal's extreme value for three times as
long as a sine of that amplitude can: a flat top due to the third harmonic is rounder than that.
"""

import math
from dataclasses import dataclass

import numpy as np

from opq_measure.signal import BoolArray, FloatArray, SignalArray

TOP_SHARE = 1e-3
"""Share of the extreme value that counts as the top: above the noise of 60 dB, below any curvature."""
FLAT_TOP_RATIO = 3.0
"""A sine is within 0.1 % of its peak for 1.4 % of a cycle; the flat top of harmonics for up to twice that."""


@dataclass(frozen=True, slots=True)
class Clipping:
    """Clipped tops of a stretch; `share` is the share of all samples that lie on a clipped top.

    `high` and `low` are the values at which the crests are cut off, NaN where that side is not clipped, in
    the signal's unit. `tops` is the number of clipped crests, `longest_samples` the length of the longest.
    """

    share: float
    high: float
    low: float
    tops: int
    longest_samples: int


def clipping_in(volts: SignalArray, rate_hz: float, hz: float) -> Clipping:
    """Finds the crests that are cut off.

    Args:
        volts: (n,) counts or volts.
        hz: of the fundamental.
    Returns:
        `tops` 0 where nothing is clipped.
    """
    part = np.asarray(volts, dtype=np.float64)
    nothing = Clipping(0.0, math.nan, math.nan, 0, 0)
    if len(part) == 0 or not (peak := float(np.abs(part - part.mean()).max())) > 0:
        return nothing
    width = max(TOP_SHARE, 1.01 * _grain(part) / peak)
    usual = math.acos(1 - min(1.0, width)) / math.pi * rate_hz / hz
    least = max(4, math.ceil(FLAT_TOP_RATIO * usual))
    high = _runs(part >= part.max() - width * peak, least)
    low = _runs(part <= part.min() + width * peak, least)
    lengths = np.concatenate((high, low))
    if len(lengths) == 0:
        return nothing
    return Clipping(
        share=float(lengths.sum()) / len(part),
        high=float(part.max()) if len(high) else math.nan,
        low=float(part.min()) if len(low) else math.nan,
        tops=len(lengths),
        longest_samples=int(lengths.max()),
    )


def _grain(part: FloatArray) -> float:
    """The converter's step, from the data: with few bits, a crest stays on one code without clipping."""
    steps = np.abs(np.diff(part))
    return float(steps[steps > 0].min(initial=math.inf)) if np.any(steps > 0) else 0.0


def _runs(inside: BoolArray, least: int) -> FloatArray:
    """Lengths of the runs of True of at least `least` samples."""
    bounds = np.flatnonzero(np.diff(np.concatenate(([False], inside, [False])).astype(np.int8)))
    lengths = (bounds[1::2] - bounds[::2]).astype(np.float64)
    return lengths[lengths >= least]
