"""A detector that leaves quiet windows out reports what one reports that looks at all of them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_measure.events.detector import Detector, Notice
from opq_measure.events.limits import Limits
from opq_measure.events.quiet import Extent, extents_of, quiet
from opq_measure.rms import half_cycle_rms_v
from opq_measure.signal import FloatArray
from opq_measure.timebase.windows import Window, windows_of

RATE_HZ = 12_000.0


def extent_of(window: Window) -> Extent:
    edges = window.half_edges
    if np.isfinite(window.half_before):
        edges = np.concatenate(([window.half_before], edges))
    peaks_v = np.array([np.abs(window.volts).max()])
    return extents_of(half_cycle_rms_v(window.volts, edges)[np.newaxis], peaks_v, edges[np.newaxis])[0]


def notices_of(windows: list[Window], ahead: bool) -> list[Notice]:
    detector = Detector(RATE_HZ, 120.0, 60.0)
    found = []
    for window in windows:
        found += detector.push_window(window, extent_of(window) if ahead else None)
    return found + detector.end()


def mains(seed: int) -> FloatArray:
    """Four seconds near the thresholds, with dips, swells, and jumps of the phase."""
    random = np.random.default_rng(seed)
    t = np.arange(48_000) / RATE_HZ
    turns = 59.8 * t + np.where(t > random.uniform(0, 4), random.uniform(-0.3, 0.3), 0.0)
    level = random.choice([1.0, 0.915, 1.085, 0.9])
    volts = level * 120 * np.sqrt(2) * np.sin(2 * np.pi * turns) + random.normal(0, 1, len(t))
    for _ in range(random.integers(4)):
        begin = random.uniform(0, 4)
        volts[(t > begin) & (t < begin + random.exponential(0.1))] *= random.choice([0.0, 0.85, 0.97, 1.15])
    return np.asarray(volts)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_calm_windows_change_no_event(seed: int) -> None:
    windows = list(windows_of(mains(seed), RATE_HZ, 60.0))
    assert notices_of(windows, True) == notices_of(windows, False)


def test_a_value_beyond_a_threshold_is_not_calm() -> None:
    t = np.arange(12_000) / RATE_HZ
    window = next(windows_of(120 * np.sqrt(2) * np.sin(2 * np.pi * 60 * t), RATE_HZ, 60.0))
    extent = extent_of(window)
    found = quiet(extent, Limits(), 120.0)
    assert found is not None and 10 < found.room < 20
    assert quiet(extent._replace(least_v=107.9), Limits(), 120.0) is None
    assert quiet(extent._replace(most_v=132.1), Limits(), 120.0) is None
