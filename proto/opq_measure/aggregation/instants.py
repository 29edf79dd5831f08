"""The fundamental at instants of UTC, so that Boxes without a common gateway can be joined later.

Every ten minutes have INSTANTS_PER_INTERVAL, each in the middle of an equal part: whole seconds of UTC, away
from the tick. The angle is that of a synchrophasor (IEEE C37.118.1, 4.2): 0 where the cosine has its maximum
at the whole second. Phasors of three Boxes at one instant are one system, whatever the frequency is and
whatever else a Box missed. A mean angle over the ten minutes would not do: at 20 mHz off nominal it turns
twelve times.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from opq_measure.aggregation.aggregator import TEN_MINUTES_NS
from opq_measure.aggregation.unbalance import (
    LEAST_POSITIVE_SHARE,
    PhaseWindow,
    clock_percent,
    symmetrical_components,
)
from opq_measure.signal import FloatArray
from opq_measure.timebase.window import Window, WindowTime

INSTANTS_PER_INTERVAL = 10
"""One a minute: u2 of ten minutes is then known to a third of its spread within them."""
STEP_NS = TEN_MINUTES_NS // INSTANTS_PER_INTERVAL
MOST_CLOCK_PERCENT = 0.25
"""Standard uncertainty of u2 by the three clocks above which it is not judged, in percentage points; three
Boxes of 1 us leave 0.02."""


def is_good_clock(nominal_hz: float, uncertainty_ns: int) -> bool:
    """Whether a clock by itself leaves no more than MOST_CLOCK_PERCENT: 24 us at 50 Hz, 20 us at 60 Hz."""
    return clock_percent(nominal_hz, (uncertainty_ns,)) <= MOST_CLOCK_PERCENT


def place_of_instant(window: Window) -> tuple[int, int, int] | None:
    """Start of the ten minutes, number and UTC of the instant within a window; None: none is within it."""
    if window.start_ns is None or window.end_ns is None:
        return None
    time = WindowTime.of(window)
    number = -(-(time.start_ns - STEP_NS // 2) // STEP_NS)
    at_ns = number * STEP_NS + STEP_NS // 2
    if at_ns >= time.end_ns:
        return None
    return number // INSTANTS_PER_INTERVAL * TEN_MINUTES_NS, number % INSTANTS_PER_INTERVAL, at_ns


def phasor_at(window: Window, at_ns: int) -> complex:
    """The fundamental's rms and angle at an instant within a window; NaN where it is not known.

    Error: 0.002 degrees and 2e-5 of the value, 42.5 to 69 Hz at 12 kS/s with harmonics
    (test_measure_instants.py); the clock's error is added to it.
    """
    return PhaseWindow.of(window).phasor_at(at_ns)


class PhasesTogether(NamedTuple):
    """Three phases over ten minutes; each (n,), NaN where not known."""

    u2_ratio: FloatArray
    u0_ratio: FloatArray
    positive_v: FloatArray
    clock_ratio: FloatArray
    """Standard uncertainty of u2 and u0 by the three clocks."""
    angle_b_deg: FloatArray
    angle_c_deg: FloatArray
    coverage: FloatArray
    """Share of the instants at which all three are known."""


def together(
    angles_deg: Sequence[FloatArray],
    phasors_v: Sequence[FloatArray],
    uncertainties_ns: Sequence[FloatArray],
    frequency_hz: FloatArray,
) -> PhasesTogether:
    """Unbalance and angles of n times ten minutes, from what three Boxes had at the instants.

    Args:
        angles_deg, phasors_v: of the phases a, b, c, each (n, INSTANTS_PER_INTERVAL).
        uncertainties_ns: of their clocks, each (n,).
        frequency_hz: (n,) by which the uncertainty of a clock is one of an angle.

    Means are those of a group: of squares for magnitudes, of directions for angles. Where the clocks leave
    more than MOST_CLOCK_PERCENT, `clock_ratio` alone is known.
    """
    phasors = np.stack(
        [volts * np.exp(1j * np.radians(deg)) for deg, volts in zip(angles_deg, phasors_v, strict=True)],
        axis=-1,
    ).astype(np.complex128)
    uncertainty_ns = np.sqrt(np.sum(np.square(uncertainties_ns), axis=0))
    clock_ratio = clock_percent(1.0, (1.0,)) / 100 * frequency_hz * uncertainty_ns
    is_good = 100 * clock_ratio <= MOST_CLOCK_PERCENT
    zero, forward, backward = np.moveaxis(np.abs(symmetrical_components(phasors)), -1, 0)
    positive, negative = np.maximum(forward, backward), np.minimum(forward, backward)
    level = np.sqrt(np.mean(np.abs(phasors) ** 2, axis=-1))
    known = (positive > LEAST_POSITIVE_SHARE * level) & is_good[:, np.newaxis]
    count = known.sum(axis=-1)

    def mean(values: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.sqrt(np.where(known, values**2, 0.0).sum(axis=-1) / count))

    def angle(number: int) -> FloatArray:
        turned = np.where(known, phasors[..., number] * np.conj(phasors[..., 0]), 0.0)
        size = np.abs(turned)
        unit = np.divide(turned, size, out=np.zeros_like(turned), where=size > 0)
        return np.asarray(np.where(count > 0, np.degrees(np.angle(unit.sum(axis=-1))), math.nan))

    with np.errstate(invalid="ignore", divide="ignore"):
        u2, u0 = mean(negative / positive), mean(zero / positive)
    return PhasesTogether(u2, u0, mean(positive), clock_ratio, angle(1), angle(2), count / phasors.shape[-2])
