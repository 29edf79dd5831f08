"""The one way to solve a fit: no more orders than the rate carries, and columns that can be told apart.

At 24 samples a cycle order 19 is order 5 again. A fit of both has no answer, or a useless one: which of the
two depends on the last bit of a product, and with it on the kernel that the processor's BLAS chooses.

    sine[k] = L[k, k] / |column k|     L: Cholesky factor of the normal equations

is the sine of the angle between a column and the space of those before it. Where one is below `LEAST_SINE`,
nothing is fitted, and the answer says so: NaN.

Source: Golub and Van Loan, Matrix Computations, 2013, 4.2 and 5.3 (Cholesky factor as that of QR).
"""

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import FloatArray

FITTED_RATE_SHARE = 0.45
"""Orders are fitted up to this share of the rate; closer to half the rate, cosine and sine become alike, and
a sampler's filter has its edge there."""
LEAST_SINE = 1e-3
"""Noise is a thousand times as large in the factor of such a column; rounding hides a sine below 1e-7."""
ALIKE_SHARE = 0.5
"""Root of the squares beside the diagonal, over its least entry, up to which no column is like the others."""


def orders_within(rate_hz: float, hz: float, most: int) -> int:
    """The highest order that a fit may have, `most` at most; the fundamental is always fitted."""
    return max(1, min(most, int(FITTED_RATE_SHARE * rate_hz / hz)))


def told_apart(gram: FloatArray) -> NDArray[np.bool_]:
    """(...) whether the columns with these normal equations (..., k, k) differ enough for a fit."""
    flat = gram.reshape(-1, *gram.shape[-2:])
    if _is_nearly_diagonal(flat):
        return np.ones(gram.shape[:-2], dtype=np.bool_)
    try:
        factor = np.linalg.cholesky(flat)
    except np.linalg.LinAlgError:  # one of them at least is singular
        if len(flat) == 1:
            return np.zeros(gram.shape[:-2], dtype=np.bool_)
        return np.array([bool(told_apart(each)) for each in flat]).reshape(gram.shape[:-2])
    size = np.sqrt(np.diagonal(flat, axis1=-2, axis2=-1))
    enough = np.diagonal(factor, axis1=-2, axis2=-1) >= LEAST_SINE * size
    return np.asarray(enough.all(axis=-1).reshape(gram.shape[:-2]))


def _is_nearly_diagonal(grams: FloatArray) -> bool:
    """Whether so little is beside the diagonals that each least eigenvalue is half of the least entry there.

    No sine is below 0.02 then. It takes a third of the time of a Cholesky factor.
    """
    diagonal = grams.diagonal(axis1=1, axis2=2)
    least, most = float(diagonal.min()), float(diagonal.max())
    beside = float(np.vdot(grams, grams) - np.vdot(diagonal, diagonal))
    return least > LEAST_SINE * most and beside <= (ALIKE_SHARE * least) ** 2


def solved(gram: FloatArray, sides: FloatArray) -> FloatArray:
    """(..., k, s) factors of the columns, for sides (..., k, s); NaN: not fitted, they are too much alike."""
    apart = told_apart(gram)
    if apart.all():
        return np.asarray(np.linalg.solve(gram, sides), dtype=np.float64)
    known = apart[..., None, None]
    safe = np.where(known, gram, np.eye(gram.shape[-1]))
    return np.where(known, np.linalg.solve(safe, sides), np.nan)


def fitted(basis: FloatArray, values: FloatArray) -> FloatArray:
    """(k,) factors of the columns of `basis` (n, k) that fit (n,) values best; NaN: not fitted."""
    return solved(basis.T @ basis, (basis.T @ values)[:, None])[:, 0]
