"""Power frequency per cycle and per 10/12-cycle window.

Source: IEC 61000-4-30:2015, 5.1 (whole cycles of the fundamental over their duration) and 4.4
(windows of 10 cycles at 50 Hz, 12 at 60 Hz).
"""

import numpy as np

from opq_measure.signal import FloatArray, SignalArray
from opq_measure.timebase.cycles import WINDOW_S as WINDOW_S
from opq_measure.timebase.cycles import Track, track
from opq_measure.timebase.cycles import cycles_per_window as cycles_per_window


def cycle_frequency_hz(edges: FloatArray, rate_hz: float) -> FloatArray:
    """(m - 1,) Hz, the frequency of each cycle between neighbouring `cycle_edges`."""
    found: FloatArray = rate_hz / np.diff(edges)
    return found


def window_frequency_hz(volts: SignalArray, rate_hz: float, nominal_hz: float = 60.0) -> FloatArray:
    """Frequency of each whole 10/12-cycle window from the first cycle on.

    Returns:
        (w,) float64 Hz; NaN for a window with no fundamental in more than half of it.
    Raises:
        ValueError: see `signal.check_signal`.

    Error: mean over 1 s below 1 mHz without noise, 42.5 to 69 Hz, with harmonics of 5 %
    (test_measure_cycles.py).
    """
    return tracked_window_frequency_hz(track(volts, rate_hz, nominal_hz))


def tracked_window_frequency_hz(tracked: Track) -> FloatArray:
    """`window_frequency_hz` of a signal already tracked."""
    bounds = tracked.edges(1)[:: cycles_per_window(tracked.nominal_hz)]
    known = tracked.known_between(bounds[:-1], bounds[1:])
    return np.array(
        [
            tracked.frequency_hz(start, stop) if seen else np.nan
            for start, stop, seen in zip(bounds[:-1], bounds[1:], known, strict=True)
        ]
    )
