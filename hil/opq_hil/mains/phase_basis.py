"""PhaseBasis: sines of a grid's phase for a chunk of samples, shared by all Boxes that are sampled alike.

Boxes of one grid differ by size and angle of their harmonics; the sine and the powers of exp(i phase) are the
same for all of them. They are most of what a sample costs, so they are kept for the Boxes that come next.
Pure; the bits are those of `Wave.alternating_v` (test_hil_generator.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from opq_hil.mains.courses import FloatArray
from opq_hil.mains.grid import Grid
from opq_hil.mains.wave import powers_of, turn_of

KEPT = 16
"""Chunks: what a second of samples takes at two sets of orders, 200 kB each."""


@dataclass(frozen=True, slots=True)
class PhaseBasis:
    """Sine and cosine of every order for (n,) samples."""

    sine: FloatArray
    """(n,) of the fundamental."""
    powers: tuple[tuple[FloatArray, FloatArray], ...]
    """Sine and cosine of each order, (n,)."""

    def shape(self, ratios: Sequence[complex], at: slice) -> FloatArray:
        """Samples `at` of fundamental and harmonics, in shares of the fundamental's peak.

        Args:
            ratios: of each order to the fundamental, as `Harmonic.ratio`.
        """
        total = self.sine[at].copy()
        one, other = np.empty_like(total), np.empty_like(total)
        for ratio, (sine, cosine) in zip(ratios, self.powers, strict=True):
            np.multiply(sine[at], ratio.real, out=one)
            np.multiply(cosine[at], ratio.imag, out=other)
            one += other
            total += one
        return total


@lru_cache(maxsize=KEPT)
def phase_basis(grid: Grid, rate_hz: float, first: int, count: int, orders: tuple[int, ...]) -> PhaseBasis:
    """The basis for samples `first` and on; `orders` rise."""
    turn = turn_of(grid.cycles(np.arange(first, first + count) / rate_hz))
    powers = tuple((power.imag.copy(), power.real.copy()) for power in powers_of(turn, orders))
    return PhaseBasis(np.sin(turn), powers)
