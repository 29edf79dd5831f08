"""The noise of a signal: what is neither DC, fundamental nor harmonic, nor a single disturbance.

From every stretch of a few cycles the steady wave is fitted and taken off; what the median stretch leaves is
the noise. A dip, a transient or a jump spoils its own stretch and not the median. Interharmonics and
flicker count as noise here.
"""

import math

import numpy as np

from opq_measure.signal import SignalArray
from opq_measure.timebase.cycles import Track
from opq_measure.waveform.residual import wave_behind

CYCLES = 4.0
"""Stretch: long enough for 50 harmonics, short enough for the mains to be steady."""
MOST_STRETCHES = 25
"""Looked at; more of them, evenly over the signal, would not change the median."""


def noise_rms_v(volts: SignalArray, tracked: Track) -> float:
    """The rms of the noise from DC to half the rate, in the signal's unit; NaN below 1.5 cycles of signal.

    Error: 2 % for white noise from a second of signal (test_measure_residual.py). A frequency that moves by
    0.1 Hz/s leaves 79 dB under the fundamental, one of 1 Hz/s 59 dB: less noise can't be told then.
    """
    size = CYCLES * tracked.rate_hz / tracked.nominal_hz
    count = min(MOST_STRETCHES, max(1, int(len(volts) / size)))
    places = np.linspace(0.0, max(0.0, len(volts) - size - 1), count)
    waves = [wave_behind(volts, tracked, float(at), CYCLES) for at in places]
    rests = [wave.rest for wave in waves if wave is not None]
    return float(np.median(rests)) if rests else math.nan


def noise_db(volts: SignalArray, tracked: Track) -> float:
    """The noise against the fundamental, rms to rms; -60.0 is a thousandth. NaN where either is unknown."""
    known = tracked.amplitude[tracked.known]
    noise = noise_rms_v(volts, tracked)
    if len(known) == 0 or not noise > 0:
        return math.nan
    return 20 * math.log10(noise / (float(np.median(known)) / math.sqrt(2)))
