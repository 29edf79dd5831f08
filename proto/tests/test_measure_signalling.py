"""The signalling voltage is the carrier's rms, whatever harmonics are beside it."""

import numpy as np
import pytest

from opq_measure.harmonics.signalling import signal_voltage
from opq_measure.harmonics.spectrum import spectrum

RATE_HZ = 12_000
VOLTS = 230.0


def wave(carrier_hz: float, signal_v: float, nominal_hz: float = 50.0, fifth_v: float = 0.0) -> np.ndarray:
    at = np.arange(RATE_HZ) / RATE_HZ
    turn = 2 * np.pi * nominal_hz * at
    parts = VOLTS * np.sin(turn) + fifth_v * np.sin(5 * turn + 1.0)
    return np.sqrt(2) * (parts + signal_v * np.sin(2 * np.pi * carrier_hz * at + 0.3))


@pytest.mark.parametrize(
    ("carrier_hz", "nominal_hz", "share"),
    [
        (175.0, 50.0, 0.0),
        (485.0, 50.0, 0.0),
        (183.333, 50.0, -0.039),
        (217.5, 50.0, -0.051),
        (235.0, 60.0, 0.0),
    ],
)
def test_a_carrier_has_its_rms(carrier_hz: float, nominal_hz: float, share: float) -> None:
    """The four bins hold all of a carrier on a bin, and less of one between two."""
    found = signal_voltage(spectrum(wave(carrier_hz, 4.6, nominal_hz), RATE_HZ, nominal_hz), carrier_hz)
    assert len(found) >= 4
    assert found / 4.6 - 1 == pytest.approx(share, abs=0.006)


def test_a_harmonic_beside_it_does_not_count() -> None:
    """260 Hz is two bins from the fifth harmonic of 50 Hz."""
    windows = spectrum(wave(260.0, 2.3, fifth_v=13.8), RATE_HZ, 50.0)
    assert signal_voltage(windows, 260.0) == pytest.approx(2.3, rel=0.005)
    assert np.all(signal_voltage(spectrum(wave(260.0, 0.0, fifth_v=13.8), RATE_HZ, 50.0), 260.0) < 0.01)


def test_a_carrier_above_the_band_is_unknown() -> None:
    windows = spectrum(wave(175.0, 2.3), RATE_HZ, 50.0)
    assert np.isnan(signal_voltage(windows, 5_900.0)).all()
    with pytest.raises(ValueError, match="carrier of -1"):
        signal_voltage(windows, -1.0)
