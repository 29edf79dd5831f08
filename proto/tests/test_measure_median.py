"""The median is that of NumPy, bit for bit, and needs no numpy.ma."""

import math

import numpy as np
import pytest

from opq_measure.median import median


@pytest.mark.parametrize("shape", [(1,), (2,), (9,), (2400,), (3, 1), (3, 8), (2, 3, 9)])
def test_it_is_numpys_along_the_last_axis(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(7).normal(size=shape)
    assert np.array_equal(median(values), np.median(values, axis=-1))


def test_nan_spreads_to_the_result() -> None:
    found = median(np.array([[3.0, 1.0, 2.0], [3.0, math.nan, 2.0]]))
    assert found[0] == 2.0 and math.isnan(found[1])
    assert math.isnan(median(np.empty(0)))
    assert median(np.empty((2, 0))).shape == (2,)
