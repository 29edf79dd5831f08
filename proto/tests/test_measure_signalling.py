"""Mains signalling against carriers of known level."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_measure.harmonics.signalling import Bins, Telegrams, signalling_v
from opq_measure.harmonics.spectrum import Spectrum

SAMPLES = 2400
Floats = NDArray[np.float64]


def levels(
    carrier_hz: float, percent: float, hz: float, cycles: int, bins: Bins = "four", restored: bool = False
) -> Floats:
    """Level in % of the fundamental, in four windows of 2,400 samples; 3rd and 5th harmonic of 3 % beside."""
    t = np.arange(4 * SAMPLES) * cycles / hz / SAMPLES
    wave = np.sin(2 * np.pi * hz * t) + percent / 100 * np.cos(2 * np.pi * carrier_hz * t + 0.7)
    for order in (3, 5):
        wave += 0.03 * np.sin(2 * np.pi * order * hz * t + order)
    lines = np.fft.rfft(100 * wave.reshape(4, SAMPLES)) * 2 / SAMPLES  # fundamental: 100
    found = Spectrum(cycles, np.full(4, hz / cycles), lines, np.abs(lines) ** 2)
    return signalling_v(found, carrier_hz, bins, restored)


def captured(offset: float) -> float:
    """What four bins hold of a carrier `offset` bins above one of them: Dirichlet's kernel, long window."""
    places = (offset, 1 - offset, 1 + offset, 2 - offset)
    return math.sqrt(sum(float(np.sinc(place)) ** 2 for place in places))


@pytest.mark.parametrize("percent", [1.0, 3.0, 9.0, 15.0])
@pytest.mark.parametrize(
    ("carrier_hz", "hz", "cycles"), [(175.0, 50.0, 10), (1060.0, 50.0, 10), (265.0, 60.0, 12)]
)
def test_a_carrier_on_a_bin_has_its_level(percent: float, carrier_hz: float, hz: float, cycles: int) -> None:
    assert levels(carrier_hz, percent, hz, cycles, "single") == pytest.approx(percent, rel=1e-9)
    assert levels(carrier_hz, percent, hz, cycles, "four") == pytest.approx(percent, rel=1e-9)


@pytest.mark.parametrize("carrier_hz", [182.5, 216.67, 316.67, 483.3, 1331.0])
def test_between_bins_four_hold_what_the_formula_says_and_restored_they_hold_all(carrier_hz: float) -> None:
    place = carrier_hz / 5
    found = levels(carrier_hz, 4.0, 50.0, 10)
    assert found == pytest.approx(4.0 * captured(place - math.floor(place)), rel=0.003)
    assert np.abs(levels(carrier_hz, 4.0, 50.0, 10, restored=True) / 4.0 - 1).max() < 0.003
    assert found.min() > 4.0 * 0.94


def test_off_nominal_the_bins_follow_the_fundamental() -> None:
    for hz in (48.7, 51.3):
        assert levels(316.67, 5.0, hz, 10, restored=True) == pytest.approx(5.0, rel=0.003)


def test_a_harmonic_beside_the_carrier_is_not_counted() -> None:
    assert levels(257.0, 2.0, 50.0, 10)[0] < 2.1  # the 5th, 3 %, is 7 Hz below
    assert levels(257.0, 0.0, 50.0, 10)[0] < 0.02


def flat(bins: int) -> Spectrum:
    return Spectrum(10, np.array([5.0, 5.01]), np.ones((2, bins), complex), np.ones((2, bins)))


def test_bins_beyond_the_last_are_unknown() -> None:
    assert signalling_v(flat(100), 316.67).tolist() == [2.0, 2.0]
    assert np.isnan(signalling_v(flat(100), 600.0)).all()


def test_what_is_no_carrier_is_refused() -> None:
    with pytest.raises(ValueError, match="want a positive number"):
        signalling_v(flat(9), 0.0)
    with pytest.raises(ValueError, match="want a positive number"):
        Telegrams(0.0)
    with pytest.raises(ValueError, match="120"):
        Telegrams(1.0, 121.0)


def test_a_telegram_is_recorded_from_its_first_pulse_for_the_time_asked_for() -> None:
    telegrams, found = Telegrams(1.0, record_s=2.0), []
    pulses = [0.1, math.nan, 3.0, 3.0, 0.1, 0.1, 3.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 2.0]
    for k, level in enumerate(pulses):
        found += telegrams.push_level(k * 200_000_000, (k + 1) * 200_000_000, level)
    assert [(each.start_ns, each.end_ns, each.complete) for each in found] == [
        (400_000_000, 2_400_000_000, True)
    ]
    assert found[0].levels.tolist() == pulses[2:12] and found[0].max == 3.0
    (rest,) = telegrams.end()
    assert rest.levels.tolist() == [2.0] and not rest.complete
    assert telegrams.end() == []


def test_a_clock_that_is_set_back_ends_a_telegram() -> None:
    telegrams = Telegrams(1.0)
    assert telegrams.push_level(1000, 1200, 3.0) == []
    (found,) = telegrams.push_level(200, 400, 4.0)
    assert (found.start_ns, found.end_ns, found.levels.tolist(), found.complete) == (1000, 1200, [3.0], False)
    (rest,) = telegrams.end()
    assert (rest.start_ns, rest.end_ns, rest.levels.tolist()) == (200, 400, [4.0])
