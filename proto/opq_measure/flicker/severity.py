"""Pst and Plt: how annoying the flicker of ten minutes and of two hours is, by the statistics of Pinst.

Source: IEC 61000-4-15:2010, 5.7 and 5.8; IEC 61000-4-30:2015, 5.3.
"""

import numpy as np

from opq_measure.signal import FloatArray

PST_S = 600.0
"""Observation time of Pst; IEC 61000-4-15:2010, 5.7.1."""
PSTS_PER_PLT = 12
"""Two hours; IEC 61000-4-15:2010, 5.8."""
WEIGHTS = (0.0314, 0.0525, 0.0657, 0.28, 0.08)
"""Of P0.1, P1s, P3s, P10s, P50s."""
EXCEEDED = ((0.1,), (0.7, 1.0, 1.5), (2.2, 3.0, 4.0), (6.0, 8.0, 10.0, 13.0, 17.0), (30.0, 50.0, 80.0))
"""Percent of the time that each level is exceeded for; the levels of a group are averaged ("s", smoothed)."""


def severity(felt: FloatArray) -> float:
    """Pst of Pinst, (n,) evenly spaced over ten minutes; NaN for none.

    The percentiles are exact, of the values themselves: there are no classes, so no range to leave.

    Source: IEC 61000-4-15:2010, 5.7.2.
    """
    if len(felt) == 0:
        return float("nan")
    percents = [percent for group in EXCEEDED for percent in group]
    levels = iter(np.percentile(felt, [100.0 - percent for percent in percents]).tolist())
    means = (float(np.mean([next(levels) for _ in group])) for group in EXCEEDED)
    return float(np.sqrt(sum(weight * mean for weight, mean in zip(WEIGHTS, means, strict=True))))


def long_term_severity(psts: FloatArray) -> float:
    """Plt: the cube root of the mean cube of the (12,) Pst of two hours; NaN when one of them is unknown.

    Raises:
        ValueError: not 12 of them.
    Source: IEC 61000-4-15:2010, 5.8.
    """
    if len(psts) != PSTS_PER_PLT:
        raise ValueError(f"{len(psts)} values of Pst, want {PSTS_PER_PLT}: Plt is that of two hours")
    return float(np.cbrt(np.mean(np.asarray(psts, dtype=np.float64) ** 3)))
