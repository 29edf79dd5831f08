"""Lines in noise of 20 dB: found over the whole signal, steady and keyed told apart, none in noise alone."""

import numpy as np
import pytest

from opq_measure.classification.classifier import classify
from opq_measure.classification.faint_tones import FaintTone, faint_tone
from opq_measure.signal import FloatArray

RATE_HZ, SECONDS = 12_000.0, 2.5
T_S = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
NOISE = 0.1
"""Rms of the noise by that of the fundamental: 20 dB."""
BITS = "110100101100"


def noise(seed: int) -> FloatArray:
    return np.random.default_rng(seed).normal(0.0, NOISE, len(T_S))


def line(hz: float, percent: float) -> FloatArray:
    """Rms `percent` of a fundamental of 1 V."""
    return percent / 100 * np.sqrt(2) * np.sin(2 * np.pi * hz * T_S + 0.7)


def keyed(bit_s: float) -> FloatArray:
    on = np.array([int(bit) for bit in BITS])
    return on[(T_S / bit_s).astype(int) % len(on)].astype(np.float64)


def found_in(residual: FloatArray, mains_hz: float = 50.0) -> FaintTone | None:
    return faint_tone(residual, np.ones(len(residual), np.bool_), RATE_HZ, 1.0, mains_hz)


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_has_no_line(seed: int) -> None:
    assert found_in(noise(seed)) is None


@pytest.mark.parametrize(("hz", "percent"), [(116.7, 1.5), (283.0, 2.0), (761.0, 5.0)])
def test_a_steady_line_has_its_frequency_and_size(hz: float, percent: float) -> None:
    found = found_in(noise(7) + line(hz, percent))
    assert found is not None and not found.keyed and not found.mirrored
    assert found.hz == pytest.approx(hz, abs=0.2)
    assert found.percent == pytest.approx(percent, rel=0.12)


@pytest.mark.parametrize("bit_s", [0.1, 0.2, 0.35])
@pytest.mark.parametrize(("hz", "percent"), [(183.33, 2.0), (316.67, 3.0)])
def test_a_keyed_line_is_a_telegram(bit_s: float, hz: float, percent: float) -> None:
    """Of the size that it has while it is on."""
    found = found_in(noise(9) + line(hz, percent) * keyed(bit_s))
    assert found is not None and found.keyed
    assert found.hz == pytest.approx(hz, abs=1.0)
    assert found.percent == pytest.approx(percent, rel=0.2)
    assert 0.3 < found.on_share < 0.75


def test_two_sides_of_the_fundamental_are_a_modulation() -> None:
    found = found_in(noise(3) + line(62.0, 2.0) + line(38.0, 2.0))
    assert found is not None and found.mirrored


def test_an_unbelieved_line_changes_nothing() -> None:
    bad = (T_S > 1.0) & (T_S < 1.3)
    residual = noise(4) + 3.0 * bad
    assert faint_tone(residual, ~bad, RATE_HZ, 1.0, 50.0) is None
    found = faint_tone(residual + line(183.0, 2.5), ~bad, RATE_HZ, 1.0, 50.0)
    assert found is not None and not found.keyed


def test_a_too_short_signal_gives_nothing() -> None:
    part = line(183.0, 5.0)
    assert found_in(part[:3000]) is None
    assert faint_tone(part, T_S < 0.45, RATE_HZ, 1.0, 50.0) is None


def test_a_line_beside_a_long_dip_is_found() -> None:
    dip = (T_S > 0.3) & (T_S < 2.0)
    assert faint_tone(noise(5), ~dip, RATE_HZ, 1.0, 50.0) is None
    found = faint_tone(noise(5) + line(389.0, 1.7), ~dip, RATE_HZ, 1.0, 50.0)
    assert found is not None and not found.keyed
    assert found.hz == pytest.approx(389.0, abs=0.5) and found.percent == pytest.approx(1.7, rel=0.15)


@pytest.mark.parametrize(("bits", "kind"), [(True, "mains_signalling"), (False, "interharmonics")])
def test_the_classifier_names_it_at_20_db(bits: bool, kind: str) -> None:
    tone = line(216.67, 2.0) * (keyed(0.2) if bits else 1.0)
    volts = 120.0 * (np.sqrt(2) * np.sin(2 * np.pi * 50.0 * T_S) + noise(11) + tone)
    found = classify(volts, RATE_HZ, 120.0, 50.0)
    assert kind in found.kind.split("+"), found.because
    (part,) = [each for each in found.parts if each.kind == kind]
    assert "over the whole signal" in part.because


def test_an_interrupted_line_is_not_a_telegram() -> None:
    t_s = np.arange(round(8.0 * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(3).normal(0, 0.1, len(t_s))
    there = (t_s > 2.0) & (t_s < 6.5)
    tone = 0.02 * np.sqrt(2) * np.sin(2 * np.pi * 333.0 * t_s)
    steady = faint_tone(noise + tone * there, np.ones(len(t_s), np.bool_), RATE_HZ, 1.0, 50.0)
    bits = np.floor(t_s / 0.2).astype(int) % 7
    keyed = faint_tone(
        noise + tone * there * np.isin(bits, (0, 1, 3, 6)), np.ones(len(t_s), np.bool_), RATE_HZ, 1.0, 50.0
    )
    assert steady is not None and keyed is not None
    assert (steady.keyed, keyed.keyed) == (False, True)
    assert steady.percent == pytest.approx(2.0, rel=0.1)
