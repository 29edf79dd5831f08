"""Under- and overdeviation: how far, on average, the voltage lay below and above the declared voltage.

Per 10/12-cycle window the rms is cut at the declared voltage; the cut values are aggregated as every
magnitude (quadratic mean, `aggregation`), and the difference of the result to the declared voltage is the
parameter. A window above the declared voltage therefore adds nothing to the underdeviation.

Source: IEC 61000-4-30:2015, 5.12, equations from memory (U_rms-under, U_rms-over).
"""

import math

import numpy as np

from opq_measure.signal import FloatArray


def under_v(rms_v: FloatArray, declared_v: float) -> FloatArray:
    """(w,) 10/12-cycle rms, at most the declared voltage; to be aggregated quadratically. NaN stays NaN."""
    found: FloatArray = np.minimum(rms_v, _checked(declared_v))
    return found


def over_v(rms_v: FloatArray, declared_v: float) -> FloatArray:
    """(w,) 10/12-cycle rms, at least the declared voltage; to be aggregated quadratically. NaN stays NaN."""
    found: FloatArray = np.maximum(rms_v, _checked(declared_v))
    return found


def underdeviation_percent(mean_v: float, declared_v: float) -> float:
    """Of the declared voltage, from 0; `mean_v` is the aggregate of `under_v`."""
    return 100 * (_checked(declared_v) - mean_v) / declared_v


def overdeviation_percent(mean_v: float, declared_v: float) -> float:
    """Of the declared voltage, from 0; `mean_v` is the aggregate of `over_v`."""
    return 100 * (mean_v - _checked(declared_v)) / declared_v


def _checked(declared_v: float) -> float:
    if not (math.isfinite(declared_v) and declared_v > 0):
        raise ValueError(f"declared_v is {declared_v}, want a positive number")
    return declared_v
