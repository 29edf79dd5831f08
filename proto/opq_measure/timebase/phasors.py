"""The fundamental under a Hann window of two of its cycles, at many places at once.

The window's length follows the tuned frequency, so that DC and all harmonics fall into its zeros. Mistuned
by a share d it lets the mirror image pass with -d / 30 of the fundamental, which `unmirrored` removes. The
second harmonic passes with 2 d / 3 and the third with d / 10 of their own amplitude: with harmonics of 2 and
3 % and d of a quarter of a percent these are 3e-5 and 1e-5 of the fundamental.

Source: F. J. Harris, Proc. IEEE 66 (1978) 51, for the window and its transform.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from opq_measure.signal import FloatArray

WINDOW_CYCLES = 2
MIRROR_GAIN = -1.0 / 30.0
"""Transform of the Hann window at bin 4 + 2 d is -2 d / 60: its slope at the fourth zero is 1 / (4 - 64)."""
DROOP_FACTOR = math.pi**2 / 6 - 1
"""The transform of the Hann window at bin x = 2 d is 1 - DROOP_FACTOR x^2."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Window for one tuned frequency, samples -half .. half around a hop.

    `folded` (2 pieces, hop): rows of the windowed cosine and minus sine, for the first hop of samples, for
    the second and so on; zeros after the window's end.
    """

    half: int
    folded: FloatArray

    @property
    def pieces(self) -> int:
        return len(self.folded) // 2


@lru_cache(maxsize=256)
def kernel(period: float, hop: int) -> Kernel:
    """The kernel for a fundamental of `period` samples, used every `hop` samples."""
    half = int(WINDOW_CYCLES * period / 2)
    offsets = np.arange(-half, half + 1)
    hann = 1 + np.cos(2 * np.pi * offsets / (WINDOW_CYCLES * period))
    hann /= hann.sum()
    angle = 2 * np.pi * offsets / period
    pieces = -(-len(offsets) // hop)
    weights = np.zeros((2, pieces * hop))
    weights[:, : len(offsets)] = hann * np.cos(angle), -hann * np.sin(angle)
    pieced = weights.reshape(2, pieces, hop).transpose(1, 0, 2)
    return Kernel(half, np.ascontiguousarray(pieced).reshape(-1, hop))


def hops_of(volts: FloatArray, first: int, hop: int, count: int, tuned: Kernel) -> FloatArray:
    """(count + pieces - 1, hop) the samples under the windows of the hops at `first`, `first` + hop, ...

    All `count` windows lie inside `volts`; the last piece may be filled with zeros, to which the window gives
    no weight.
    """
    begin = first - tuned.half
    samples = (count + tuned.pieces - 1) * hop
    part = volts[begin : begin + samples]
    if len(part) < samples:
        part = np.concatenate((part, np.zeros(samples - len(part))))
    return part.reshape(-1, hop)


def hop_phasors(blocks: FloatArray, count: int, tuned: Kernel) -> FloatArray:
    """The fundamental at `count` hops of one signal, or of many, in one call.

    Args:
        blocks: (b, count + pieces - 1, hop), from `hops_of` for each of b signals.
    Returns:
        (3, b, count) its phase at the centre, half its peak, and its share of the alternating power
        under the window; white noise has a share of about 0.01.
    """
    many, hops, hop = blocks.shape
    products = tuned.folded @ blocks.transpose(0, 2, 1)  # (b, 2 pieces, hops): each sample is weighed once
    turned = products[:, :2, :count].copy()
    for piece in range(1, tuned.pieces):
        turned += products[:, 2 * piece : 2 * piece + 2, piece : piece + count]
    whole = (2 * tuned.half + 1) // hop  # a rough power is enough: that of the whole hops under the window
    sums = np.empty((2, many, hops))
    np.einsum("bij,bij->bi", blocks, blocks, out=sums[0])
    np.einsum("bij->bi", blocks, out=sums[1])
    sums.cumsum(axis=2, out=sums)
    moments = sums[:, :, whole - 1 : whole - 1 + count].copy()
    moments[:, :, 1:] -= sums[:, :, : count - 1]
    moments /= whole * hop
    power, level = moments  # over the same samples, so that DC adds no error to noise
    alternating = np.maximum(power - level * level, 1e-12 * power + 1e-300)  # with DC alone, only rounding
    cosine, sine = turned[:, 0], turned[:, 1]
    found = np.empty((3, many, count))
    np.arctan2(sine, cosine, out=found[0])
    square = cosine * cosine + sine * sine
    np.sqrt(square, out=found[1])
    np.divide(2 * square, alternating, out=found[2])
    return found


def unmirrored(phase_rad: FloatArray, mistuned: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Corrections for a mistuning `f / tuned - 1`: rad to add to a phasor's phase, and a factor for its size.

    First order in the mistuning for the phase: 1.5e-5 rad are left at 1.7 %.
    """
    image = MIRROR_GAIN * mistuned
    double = 2 * phase_rad
    return image * np.sin(double), (1 - image * np.cos(double)) * (1 + 4 * DROOP_FACTOR * mistuned * mistuned)
