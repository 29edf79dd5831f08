"""Integrals of a voltage over time, between all moments at which it is not smooth.

Gauss-Legendre with 96 nodes, which are good for 24 turns of the integrand to 1e-12 (test_hil_truth.py).
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from opq_hil.courses import FloatArray

NODES = 96
TURNS = 24.0
"""Of an integrand's highest frequency under the nodes: k turns want pi k nodes, and some 20 more."""
NODES_AT_ONCE = 1 << 16


def integrals(
    integrand: Callable[[FloatArray], NDArray[np.inexact]],
    bounds_s: FloatArray,
    breaks_s: FloatArray,
    step_s: float,
) -> NDArray[np.inexact]:
    """The integral over each span between neighbouring bounds.

    Args:
        integrand: (n,) rising seconds -> (n,) or (n, k) values.
        bounds_s: (b,) rising seconds.
        breaks_s: moments at which the integrand steps or bends, in any order.
        step_s: longest part that the nodes are good for.
    Returns:
        (b - 1,) or (b - 1, k).
    """
    steps = np.arange(bounds_s[0], bounds_s[-1], step_s)
    points = np.unique(np.concatenate((bounds_s, breaks_s, steps)))
    points = points[(points >= bounds_s[0]) & (points <= bounds_s[-1])]
    nodes, weights = _nodes()
    parts = []
    at_once = NODES_AT_ONCE // NODES
    for first in range(0, len(points) - 1, at_once):
        ends = points[first : first + at_once + 1]
        half, middle = np.diff(ends) / 2, (ends[1:] + ends[:-1]) / 2
        values = integrand((middle[:, None] + half[:, None] * nodes).ravel())
        shaped = values.reshape(len(half), NODES, -1)
        parts.append(half[:, None] * np.einsum("pnk,n->pk", shaped, weights))
    found = np.concatenate(parts)
    whole = np.concatenate((np.zeros((1, found.shape[1])), np.cumsum(found, axis=0)))
    spans = np.diff(whole[np.searchsorted(points, bounds_s)], axis=0)
    return spans[:, 0] if values.ndim == 1 else spans


@lru_cache(maxsize=1)
def _nodes() -> tuple[FloatArray, FloatArray]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return nodes, weights
