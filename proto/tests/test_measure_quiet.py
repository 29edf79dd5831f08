"""Clean mains that wander, with harmonics and noise: no transient, notch, jump, change or clipped top in it.

And a stream that looks at one window after another, each with its context, finds what the whole has.
"""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_measure.timebase.cycles import track
from opq_measure.timebase.windows import windows_of
from opq_measure.waveform.change import changes_in
from opq_measure.waveform.clipping import clipping_in
from opq_measure.waveform.notches import notching_in
from opq_measure.waveform.phase_jump import phase_jumps_in
from opq_measure.waveform.transients import transients_in

RATE_HZ = 12_000.0
PEAK_V = 120.0 * math.sqrt(2)
Floats = NDArray[np.float64]


def wandering(seconds: float, nominal_hz: float, seed: int, decibels: float = 40.0) -> Floats:
    """Frequency and amplitude wander; THD 5 % with orders of a rectifier; white noise."""
    random = np.random.default_rng(seed)
    n = int(seconds * RATE_HZ)
    t = np.arange(n) / RATE_HZ
    hz = nominal_hz + 0.05 * np.sin(0.3 * t + seed) + 0.02 * np.sin(2 * t)
    hz += 0.005 * np.cumsum(random.normal(size=n)) / math.sqrt(RATE_HZ)
    turn = 2 * np.pi * np.cumsum(hz) / RATE_HZ
    wave = np.sin(turn)
    for order, share in {3: 0.03, 5: 0.03, 7: 0.02, 11: 0.015, 13: 0.01, 23: 0.005, 25: 0.005}.items():
        wave = wave + share * np.sin(order * turn + random.uniform(0, 6))
    swell = 1 + 0.01 * np.sin(0.6 * t) + 0.003 * np.sin(5.6 * t)
    return PEAK_V * swell * wave + random.normal(scale=120.0 * 10 ** (-decibels / 20), size=n)


def nothing_in(volts: Floats, nominal_hz: float) -> None:
    tracked = track(volts, RATE_HZ, nominal_hz)
    assert transients_in(volts, tracked) == ()
    assert notching_in(volts, tracked) == ()
    assert phase_jumps_in(volts, tracked) == ()
    assert changes_in(volts, tracked) == ()
    assert clipping_in(volts, RATE_HZ, nominal_hz).tops == 0


@pytest.mark.parametrize("nominal_hz", [50.0, 60.0])
def test_twenty_seconds_of_clean_mains_hold_no_disturbance(nominal_hz: float) -> None:
    nothing_in(wandering(20.0, nominal_hz, 1), nominal_hz)


@pytest.mark.soak
@pytest.mark.parametrize("minute", range(60))
def test_an_hour_of_clean_mains_holds_no_disturbance(minute: int) -> None:
    nominal_hz = 50.0 if minute % 2 else 60.0
    nothing_in(wandering(60.0, nominal_hz, 100 + minute), nominal_hz)


def test_windowed_transients_and_jumps_are_the_same() -> None:
    volts = wandering(4.0, 60.0, 5, 60.0)
    for at, size in ((5_000, 60.0), (14_430, -90.0), (30_000, 40.0)):
        volts[at : at + 3] += size
    turn = np.exp(1j * math.radians(25.0))  # a jump by 25 degrees: of the analytic signal, at sample 22 000
    spectrum = np.fft.fft(volts)
    spectrum[1 : len(volts) // 2] *= 2
    spectrum[len(volts) // 2 + 1 :] = 0
    volts[22_000:] = (np.fft.ifft(spectrum) * turn).real[22_000:]
    whole = track(volts, RATE_HZ)
    transients, jumps = [], []
    for window in windows_of(volts, RATE_HZ, 60.0):
        low, high = window.edges[0], window.edges[-1]
        transients += [
            window.first_sample + each.peak_position
            for each in transients_in(window.volts, window.track)
            if low <= each.peak_position < high
        ]
        jumps += [
            (window.first_sample + each.position, each.degrees)
            for each in phase_jumps_in(window.volts, window.track)
            if low <= each.position < high
        ]
    assert transients == [each.peak_position for each in transients_in(volts, whole)]
    assert len(transients) == 3
    ((position, degrees),) = jumps
    assert position == pytest.approx(22_000, abs=1.5)
    assert degrees == pytest.approx(25.0, abs=0.3)
    (batch,) = phase_jumps_in(volts, whole)
    assert batch.degrees == pytest.approx(degrees, abs=0.1)
