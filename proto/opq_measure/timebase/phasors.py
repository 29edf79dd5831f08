"""The fundamental under a Hann window of two of its cycles, at many places at once.

The window's length follows the tuned frequency, so that DC and all harmonics fall into its zeros. Mistuned
by a share d it lets the mirror image pass with -d / 30 of the fundamental, which `unmirrored` takes out; of
the second harmonic 2 d / 3 and of the third d / 10 of their own amplitude are left: for 2 and 3 % and a
quarter of a percent 3e-5 and 1e-5 of the fundamental.

Source: F. J. Harris, Proc. IEEE 66 (1978) 51, for the window and its transform.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from opq_measure.signal import FloatArray

WINDOW_CYCLES = 2
MIRROR = -1.0 / 30.0
"""Transform of the Hann window at bin 4 + 2 d is -2 d / 60: its slope at the fourth zero is 1 / (4 - 64)."""
DROOP = math.pi**2 / 6 - 1
"""The same at bin x = 2 d is 1 - DROOP x^2."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Window for one tuned frequency: `weights` (2 half + 1, 2), cosine and minus sine."""

    half: int
    weights: FloatArray


@lru_cache(maxsize=256)
def kernel(period: float) -> Kernel:
    """The kernel for a fundamental of `period` samples."""
    half = int(WINDOW_CYCLES * period / 2)
    offsets = np.arange(-half, half + 1)
    hann = 1 + np.cos(2 * np.pi * offsets / (WINDOW_CYCLES * period))
    hann /= hann.sum()
    angle = 2 * np.pi * offsets / period
    return Kernel(half, np.column_stack((hann * np.cos(angle), -hann * np.sin(angle))))


def phasors(volts: FloatArray, first: int, hop: int, count: int, tuned: Kernel) -> FloatArray:
    """The fundamental at samples first, first + hop, ..., `count` of them, all inside by half a window.

    Returns:
        (3, count) its phase at the centre, half its peak, and its share of the alternating power
        under the window, for white noise about 0.01.
    """
    length = 2 * tuned.half + 1
    block = volts[first - tuned.half : first + tuned.half + 1 + (count - 1) * hop]
    size = block.itemsize
    frames = np.ndarray((count, length), block.dtype, block, 0, (hop * size, size))
    cosine, sine = (np.ascontiguousarray(frames) @ tuned.weights).T  # BLAS takes no overlapping rows
    hops = len(block) // hop  # the power is wanted roughly: of the whole hops that the window begins with
    square = block[: hops * hop].reshape(hops, hop)
    sums = np.empty((2, hops))
    np.einsum("ij,ij->i", square, square, out=sums[0])
    np.einsum("ij->i", square, out=sums[1])
    sums.cumsum(axis=1, out=sums)
    whole = hops - count + 1
    moments = sums[:, whole - 1 :].copy()
    moments[:, 1:] -= sums[:, : count - 1]
    moments /= whole * hop
    power, level = moments  # of the same samples: noise beside DC is no difference between two means
    alternating = np.maximum(power - level * level, 1e-12 * power + 1e-300)  # beside DC only rounding
    found = np.empty((3, count))
    np.arctan2(sine, cosine, out=found[0])
    square = cosine * cosine + sine * sine
    np.sqrt(square, out=found[1])
    np.divide(2 * square, alternating, out=found[2])
    return found


def unmirrored(phase_rad: FloatArray, mistuned: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What to add to a phasor's phase and to multiply its size with, for a mistuning `f / tuned - 1`.

    First order in the mistuning for the phase: 1.5e-5 rad are left at 1.7 %.
    """
    image = MIRROR * mistuned
    double = 2 * phase_rad
    return image * np.sin(double), (1 - image * np.cos(double)) * (1 + 4 * DROOP * mistuned * mistuned)
