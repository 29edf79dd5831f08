"""Projects a signal on the lines of one frequency, and back, in two stages of about sqrt(n) terms each.

The complex exponential at sample i w + j is the product of those at i w and at j. So a stretch laid out in
rows of w samples needs only the exponentials of one row and one column; a matrix product does the rest. For
1,440 samples and 51 lines this takes a tenth of the work of a table of all exponentials.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from opq_measure.least_squares import told_apart
from opq_measure.signal import FloatArray

ComplexArray = NDArray[np.complex128]
IndexArray = NDArray[np.intp]
SINGLE_THREAD_PRODUCTS = 1 << 18
"""Number of multiplications up to which OpenBLAS computes a matrix product in the calling thread."""


def line_sums(part: FloatArray, step: float, orders: int) -> tuple[ComplexArray, ComplexArray]:
    """Sums of x exp(-j k step u) and of u x exp(-j k step u), with u from the middle of the stretch.

    Args:
        part: (n,) the stretch.
        step: radians per sample of order 1.
    Returns:
        two arrays (orders + 1,), for k = 0 .. orders.
    """
    rows, width = _layout(len(part))
    grid = np.zeros((rows, width))
    grid.reshape(-1)[: len(part)] = part
    inner = np.arange(width, dtype=np.float64)
    outer = np.arange(rows, dtype=np.float64) * width - (len(part) - 1) / 2
    kernel = np.empty((width, 2, orders + 1), dtype=np.complex128)
    kernel[:, 0] = line_powers(inner, -step, orders)
    np.multiply(inner[:, None], kernel[:, 0], out=kernel[:, 1])
    product = product_in_one_thread(grid, kernel.view(np.float64).reshape(width, -1))
    found = product.view(np.complex128).reshape(rows, 2, orders + 1)
    turn = line_powers(outer, -step, orders)
    sums = np.einsum("ij,ij->j", turn, found[:, 0])
    moments = np.einsum("ij,ij->j", turn, found[:, 1] + outer[:, None] * found[:, 0])
    return sums, moments


def line_wave(lines: ComplexArray, step: float, first: float, count: int) -> FloatArray:
    """(count,) the real part of the sum over k of lines[k] exp(j k step (first + i)), i from 0."""
    rows, width = _layout(count)
    turn = lines * line_powers(first + width * np.arange(rows, dtype=np.float64), step, len(lines) - 1)
    inner = line_powers(np.arange(width, dtype=np.float64), step, len(lines) - 1).conj()
    found = product_in_one_thread(turn.view(np.float64), inner.view(np.float64).T)
    return found.reshape(-1)[:count]


def line_powers(at: FloatArray, step: float, orders: int) -> ComplexArray:
    """(n, orders + 1) exp(j k step at)."""
    powers = np.ones((len(at), orders + 1), dtype=np.complex128)
    powers[:, 1:] = np.exp(1j * step * at)[:, None]
    return np.cumprod(powers, axis=1, out=powers)


def product_in_one_thread(grid: FloatArray, kernel: FloatArray) -> FloatArray:
    """`grid @ kernel` in parts so small that BLAS uses no threads, whose waiting costs 20 times the work."""
    rows = max(1, SINGLE_THREAD_PRODUCTS // kernel.size)
    if rows >= len(grid):
        return grid @ kernel
    return np.concatenate([grid[first : first + rows] @ kernel for first in range(0, len(grid), rows)])


def _layout(count: int) -> tuple[int, int]:
    """(rows, samples per row) of a grid that holds `count` samples."""
    width = max(8, int(np.sqrt(count)))
    return -(-count // width), width


@dataclass(frozen=True, slots=True)
class LineSlope:
    """`change` of the step; (2, orders + 1) `drift` of the sizes per unit of it.

    `gain` is the sum of squares that the change explains, over the square of the change.
    """

    change: float
    drift: FloatArray
    gain: float


class LineProducts:
    """Sums over all u of products of cos(k s u), sin(k s u) and the wave's derivative by s, in closed form.

    With G(t) the sum of cos(t u), a Dirichlet kernel, the sum of u sin(t u) is -G'(t), that of u^2 cos(t u)
    is -G''(t). Cosines and sines are orthogonal over symmetric u: two systems of half the size.
    """

    def __init__(self, size: int, step: float, orders: int) -> None:
        """Requires `orders * step` below pi; where the lines are too much alike, the answers are NaN."""
        half = step * np.arange(1, 2 * orders + 1) / 2
        low, low_rise = np.sin(half), np.cos(half) / 2
        ratio = np.sin(size * half) / low
        rise = (size / 2 * np.cos(size * half) - ratio * low_rise) / low
        bend = ratio * (1 - size**2) / 4 - 2 * rise * low_rise / low
        cosines = np.concatenate(((float(size),), ratio))
        self._rises = np.concatenate((-rise[orders - 1 :: -1], (0.0,), rise))  # odd, from -orders on
        self._bends = np.concatenate(((size * (1 - float(size) ** 2) / 12,), bend))
        apart, beyond = order_pairs(orders)
        near, far = cosines[apart], cosines[beyond]
        self._grams = np.empty((2, orders + 1, orders + 1))
        np.add(near, far, out=self._grams[0])
        np.subtract(near, far, out=self._grams[1])
        self._grams /= 2
        self._grams[1, 0, 0] = size  # there is no sine of order 0
        self._order = np.arange(orders + 1, dtype=np.float64)
        self._told_apart = bool(told_apart(self._grams).all())

    def fitted(self, sums: ComplexArray) -> FloatArray:
        """(2, orders + 1) cosines and sines that fit the signal with these `line_sums`, by least squares."""
        return self._solved(np.stack((sums.real, -sums.imag)))

    def slope(self, fitted: FloatArray, moments: ComplexArray) -> "LineSlope":
        """The best change of the step: the residual against the derivative of the wave by the step."""
        cosines, sines = self._order * fitted[0], self._order * fitted[1]
        orders = len(self._order) - 1
        beyond, apart = self._rises[orders:], self._rises[: 2 * orders + 1]
        seen = np.stack(
            (  # the derivative holds u (-cosine sin(j s u) + sine cos(j s u)) of order j
                (np.correlate(beyond, cosines) - np.convolve(apart, cosines, "valid")) / 2,
                -(np.correlate(beyond, sines) + np.convolve(apart, sines, "valid")) / 2,
            )
        )
        equal = np.correlate(cosines, cosines, "full") + np.correlate(sines, sines, "full")
        mirrored = np.convolve(sines, sines) - np.convolve(cosines, cosines)
        power = -float(2 * equal[orders + 1 :] @ self._bends[1 : orders + 1] + equal[orders] * self._bends[0])
        power -= float(mirrored @ self._bends)
        drift = -self._solved(seen)
        own = power / 2 + float(np.sum(seen * drift))
        left = float(cosines @ moments.imag + sines @ moments.real) - float(np.sum(seen * fitted))
        return LineSlope(left / own, drift, own) if own > 0 else LineSlope(0.0, drift, 0.0)

    def _solved(self, sides: FloatArray) -> FloatArray:
        if not self._told_apart:
            return np.full_like(sides, np.nan)
        return np.asarray(np.linalg.solve(self._grams, sides[:, :, None])[:, :, 0], dtype=np.float64)


@lru_cache(maxsize=128)
def order_pairs(orders: int) -> tuple[IndexArray, IndexArray]:
    """|k - j| and k + j of row k and column j."""
    order = np.arange(orders + 1)
    return np.abs(order[:, None] - order), order[:, None] + order
