"""Where the cycles of the mains begin and end: the fundamental, tracked by its phase.

A Hann window of two cycles moves over the signal in steps of a quarter cycle; the phase of the
fundamental under it, unwrapped, gives the fractional sample at which each cycle begins. The window's
length follows the signal's own frequency, so that DC, the mirror image and all harmonics fall into its
zeros; dips, notches and harmonics therefore do not move the boundaries. Where there is no
fundamental (an interruption) the boundaries are evenly spaced from the last one seen to the next one.

Source: IEC 61000-4-30:2015, 5.1 (frequency by cycles of the fundamental) and 5.4.1 (zero crossings of
the fundamental as window boundaries).
"""

import numpy as np

from opq_measure.signal import (
    BLOCK_SAMPLES,
    LEAST_SAMPLES,
    FloatArray,
    SignalArray,
    check_nominal,
    check_signal,
)
from opq_measure.timebase.phase import Track as Track
from opq_measure.timebase.tracker import WINDOW_S as WINDOW_S
from opq_measure.timebase.tracker import Tracker as Tracker


def cycles_per_window(nominal_hz: float) -> int:
    """10 at 50 Hz, 12 at 60 Hz; IEC 61000-4-30:2015, 4.4.

    Raises:
        ValueError: see `signal.check_nominal`.
    """
    check_nominal(nominal_hz)
    return max(1, round(WINDOW_S * nominal_hz))


def track(volts: SignalArray, rate_hz: float, nominal_hz: float = 60.0) -> Track:
    """Follow the fundamental of a signal, 0.65 to 1.45 of the nominal frequency.

    Args:
        volts: (n,) counts or volts; DC and harmonics may stay in it.
        nominal_hz: 50 or 60, or better the frequency found in the signal just before.
    Raises:
        ValueError: see `signal.check_signal`.

    Error of an edge, in samples at 12 kS/s (0.0026 are 1 mHz of a cycle):
        0.0015 for 42.5 to 69 Hz with harmonics of 5 % (test_measure_cycles.py)
        0.002 (1 sigma) for noise 60 dB under the fundamental, the two-cycle window's own share
        0.014, at the run's ends 0.028, for a ramp of 10 Hz/s
        0.5 within a dip, swell or interruption, right again two cycles after one and after a
        phase jump (test_measure_tracker.py)
    """
    check_signal(volts, rate_hz, nominal_hz, LEAST_SAMPLES)
    tracker = Tracker(rate_hz, nominal_hz)
    hops = [tracker.feed(volts[k : k + BLOCK_SAMPLES]) for k in range(0, len(volts), BLOCK_SAMPLES)]
    positions, phase_rad, amplitude, known = np.concatenate((*hops, tracker.finish()), axis=1)
    return Track(len(volts), rate_hz, nominal_hz, positions, phase_rad, amplitude, known > 0)


def cycle_edges(volts: SignalArray, rate_hz: float, nominal_hz: float = 60.0) -> FloatArray:
    """Rising zero crossings of the fundamental.

    Args:
        volts: (n,) counts or volts; DC and harmonics may stay in it. For a stream use `Tracker`.
    Returns:
        (m,) float64, rising, fractional sample positions 0 .. n; sample k is at position k. Cycle i
        is `edges[i] .. edges[i + 1]`. Empty for fewer than two nominal cycles of signal.
    Raises:
        ValueError: see `signal.check_signal`.
    Source: IEC 61000-4-30:2015, 5.1 and 5.4.1.
    """
    return track(volts, rate_hz, nominal_hz).edges(1)


def half_cycle_edges(volts: SignalArray, rate_hz: float, nominal_hz: float = 60.0) -> FloatArray:
    """Rising and falling zero crossings of the fundamental; otherwise like `cycle_edges`."""
    return track(volts, rate_hz, nominal_hz).edges(2)
