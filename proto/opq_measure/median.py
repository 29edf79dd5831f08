"""The median without `numpy.median`, which imports numpy.ma: 1.3 MB of a gateway."""

import numpy as np

from opq_measure.signal import FloatArray


def median(values: FloatArray) -> FloatArray:
    """The median along the last axis, bit for bit as `numpy.median`: NaN for none, or where one is NaN.

    Args:
        values: (..., n) float64.
    Returns:
        (...) float64; without dimensions for one row, so that `float` makes it a number.
    """
    size = values.shape[-1]
    if size == 0:
        return np.full(values.shape[:-1], np.nan)
    low, high = (size - 1) // 2, size // 2
    ranked = np.partition(values, list({low, high, size - 1}), axis=-1)  # NaN ranks last
    middle = (ranked[..., low] + ranked[..., high]) / 2
    found: FloatArray = np.where(np.isnan(ranked[..., -1]), np.nan, middle)
    return found
