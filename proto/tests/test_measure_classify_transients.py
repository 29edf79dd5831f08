"""Ringing, impulses and notches beside other disturbances and in noise, and what resembles them."""

import math

import numpy as np
import pytest
from classified_signals import PEAK_V, RATE_HZ, at_s, during, mains, noisy

from opq_measure.analysis.occurrence import transient_because
from opq_measure.classification.candidates.edge_transients import edge_transient
from opq_measure.classification.candidates.faint_transients import faint_transient
from opq_measure.classification.classifier import classify


def test_notches_in_the_mean_cycle_are_not_harmonics() -> None:
    phase = 60 * at_s(1.0) + 0.7 / (2 * np.pi)
    inside = np.zeros(len(phase), bool)
    for middle in np.arange(6) / 6 + 0.08:
        inside |= np.abs((phase - middle + 0.5) % 1 - 0.5) < 0.014
    found = classify(mains(1.0, noise_db=22.0) * np.where(inside, 0.7, 1.0), RATE_HZ)
    kinds = set(found.kind.split("+")) - {"noise"}
    assert kinds == {"periodic_notching"}


def test_hidden_ringing_is_found_by_energy() -> None:
    noise = np.random.default_rng(3).normal(0, 1.0, 24_000)
    after = np.maximum(0.0, at_s(2.0) - 1.0)
    ring = np.where(after > 0, 2.8 * np.exp(-after / 0.003) * np.sin(2 * np.pi * 900 * after), 0.0)
    everywhere = np.ones(24_000, bool)
    assert faint_transient(noise, everywhere, RATE_HZ) is None
    found = faint_transient(noise + ring, everywhere, RATE_HZ)
    assert found is not None and found.frequency_hz == pytest.approx(900, abs=60)
    assert found.start == pytest.approx(12_000, abs=40)
    calm = during(2.0, 0.0, 0.9)
    assert faint_transient(noise + ring, calm, RATE_HZ) is None


def test_ringing_at_an_interruption_shows_in_noise() -> None:
    volts = noisy(1.0, 3) - mains(1.0, noise_db=400) * 0.96 * during(1.0, 0.5, 0.62)
    ring = 0.3 * PEAK_V * np.sin(2 * np.pi * 900 * (at_s(1.0) - 0.5)) * np.exp(-(at_s(1.0) - 0.5) / 0.0025)
    start, end = 0.5 * RATE_HZ, 0.62 * RATE_HZ
    found = edge_transient(volts + np.where(at_s(1.0) >= 0.5, ring, 0.0), RATE_HZ, 60.0, start, end, True)
    assert found is not None and found.frequency_hz == pytest.approx(900, abs=100)
    assert found.start == pytest.approx(start, abs=24) and found.peak / PEAK_V == pytest.approx(0.3, rel=0.35)
    assert edge_transient(volts, RATE_HZ, 60.0, start, end, True) is None
    block = np.where(during(1.0, 0.5, 0.501), 0.5 * PEAK_V, 0.0)
    assert edge_transient(volts + block, RATE_HZ, 60.0, start, end, True) is None
    assert edge_transient(volts, RATE_HZ, 60.0, 20.0, 400.0, True) is None, "nothing before it is known"


@pytest.mark.parametrize(("size", "end_s"), [(0.9, 0.8), (-0.6, 0.8), (0.9, 0.54)])
def test_an_impulse_at_a_dip_shows_in_noise(size: float, end_s: float) -> None:
    volts = noisy(1.2, 5) - mains(1.2, noise_db=400) * 0.5 * during(1.2, 0.5, end_s)
    after = at_s(1.2) - 0.5
    impulse = np.where(after >= 0, size * PEAK_V * np.exp(-np.maximum(after, 0.0) / 2e-4), 0.0)
    found = edge_transient(volts + impulse, RATE_HZ, 60.0, 6010.0, end_s * RATE_HZ, False)
    assert found is not None and math.isnan(found.frequency_hz)
    assert found.start == pytest.approx(6000, abs=2) and found.peak / PEAK_V == pytest.approx(size, abs=0.2)


def test_a_filtered_dip_edge_is_not_a_transient() -> None:
    taps = np.sinc(0.9 * np.arange(-20, 21)) * np.hamming(41)
    for seed in range(12):
        place = 0.5 + seed * 0.0013
        dip = 1 - 0.07 * seed * during(1.2, place, 0.8)
        volts = np.convolve(mains(1.2, noise_db=400) * dip, taps / taps.sum(), "same")
        volts += noisy(1.2, seed) - mains(1.2, noise_db=400)
        assert edge_transient(volts, RATE_HZ, 60.0, place * RATE_HZ + 9, 0.8 * RATE_HZ, False) is None, seed


@pytest.mark.parametrize("size", [0.9, -0.5])
@pytest.mark.parametrize("left", [0.25, 0.5])
def test_an_impulse_at_a_dip_does_not_ring(size: float, left: float) -> None:
    """Both ways, so that the dip's step and the impulse add up or work against each other."""
    after = np.maximum(at_s(1.0) - 0.404, 0.0)
    impulse = size * PEAK_V * np.exp(-after / 2e-4) * (at_s(1.0) >= 0.404)
    found = classify(mains(1.0) * np.where(during(1.0, 0.404, 0.55), left, 1.0) + impulse, RATE_HZ)
    assert found.kind == "impulsive_transient+sag"
    (part,) = [each for each in found.parts if each.kind == "impulsive_transient"]
    reasons = {each.name: each.value for each in part.reasons}
    assert reasons["peak_v"] * size > 0


def test_an_interharmonic_does_not_ring_at_a_dip() -> None:
    line = 0.03 * PEAK_V * np.sin(2 * np.pi * 437 * at_s(1.0))
    volts = mains(1.0, noise_db=30.0) * np.where(during(1.0, 0.4, 0.6), 0.5, 1.0) + line
    assert classify(volts, RATE_HZ).kind == "interharmonics+sag"


def test_an_edge_at_the_end_makes_no_impulse() -> None:
    noise = mains(1.2, noise_db=30.0) - mains(1.2, noise_db=400)
    for turned in (at_s(1.2), at_s(1.2)[::-1]):
        level = np.where((turned >= 0.0055) & (turned < 0.7055), 0.03, 1.0)
        volts = PEAK_V * np.sin(2 * np.pi * 60 * turned + 5.34) * level
        assert classify(volts + noise, RATE_HZ).kind == "interruption"


def test_a_dip_with_harmonics_is_not_ringing() -> None:
    inside = during(1.0, 0.4, 0.4 + 1.28 / 60)
    turned = 2 * np.pi * 60 * at_s(1.0) + 4.17 + np.where(inside, math.radians(30), 0.0)
    parts = ((3, 0.11, 0.88), (5, 0.10, 4.99), (7, 0.12, 6.02), (11, 0.10, 3.27))
    wave = np.sin(turned) + sum(size * np.sin(order * turned + phase) for order, size, phase in parts)
    volts = PEAK_V * wave * np.where(inside, 0.21, 1.0) + mains(1.0) - mains(1.0, noise_db=400)
    assert "oscillatory_transient" not in {part.kind for part in classify(volts, RATE_HZ).parts}


@pytest.mark.parametrize("seconds", [0.32, 0.6, 3.0])
def test_a_short_waveforms_impulse_is_not_noise(seconds: float) -> None:
    after = at_s(seconds) - 0.15
    impulse = np.where(
        (after >= 0) & (after < 3e-4), 2.6 * PEAK_V * np.exp(-np.maximum(after, 0) / 6e-5), 0.0
    )
    assert classify(mains(seconds) + impulse, RATE_HZ).kind == "impulsive_transient"
    if seconds > 0.5:  # a window without the impulse says what noise there is
        noisy = classify(mains(seconds, noise_db=20.0) + impulse, RATE_HZ)
        assert noisy.kind == "impulsive_transient+noise"


def test_synchronous_high_harmonics_are_not_notches() -> None:
    turn = 2 * np.pi * 60.0 * at_s(1.7) + 0.7
    volts = mains(1.7) + PEAK_V * (0.11 * np.sin(11 * turn + 1.0) + 0.13 * np.sin(13 * turn + 2.0))
    assert classify(volts, RATE_HZ).kind == "harmonics"


def test_a_telegrams_end_does_not_ring() -> None:
    keyed = np.isin(np.floor(at_s(2.45) / 0.11) % 8, (0, 1, 3, 6, 7))
    volts = mains(2.45) + 0.06 * PEAK_V * keyed * np.sin(2 * np.pi * 492.0 * at_s(2.45))
    assert classify(volts, RATE_HZ).kind == "mains_signalling"


@pytest.mark.parametrize("edge_s", [0.3, 0.3017, 0.3019])
def test_a_slowly_rising_impulse_does_not_ring(edge_s: float) -> None:
    since = np.maximum(at_s(0.9) - edge_s, 0.0)
    impulse = 0.9 * PEAK_V * (np.exp(-since / 0.00018) - np.exp(-since / 0.00004))
    dip = np.where(during(0.9, edge_s, 0.7), 0.66, 1.0)
    assert (
        classify(mains(0.9, 50.0, 30.0) * dip + impulse, RATE_HZ, 120.0, 50.0).kind
        == "impulsive_transient+sag"
    )


def test_a_half_cycle_dip_is_not_an_impulse() -> None:
    for begin_s in np.arange(0.4, 0.4167, 0.0008):
        dip = np.where(during(1.0, begin_s, begin_s + 0.0085), 0.35, 1.0)
        assert classify(mains(1.0) * dip, RATE_HZ).kind in ("sag", "none")


@pytest.mark.parametrize("seed", [1104, 1164, 1587, 2172])
def test_noise_near_half_the_rate_does_not_ring(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 1, 36_000)
    assert faint_transient(noise, np.ones(36_000, dtype=np.bool_), RATE_HZ) is None


@pytest.mark.parametrize("noise_db", [40.0, 60.0])
@pytest.mark.parametrize("hz", [50.0, 60.0])
def test_switched_harmonics_do_not_ring(hz: float, noise_db: float) -> None:
    turn = 2 * np.pi * hz * at_s(6.0) + 0.7
    load = 0.12 * np.sin(5 * turn + 1.0) + 0.08 * np.sin(7 * turn + 2.0)
    for begin_s in (1.2, 1.2083):
        volts = mains(6.0, hz, noise_db) + PEAK_V * load * during(6.0, begin_s, 4.9)
        assert classify(volts, RATE_HZ, 120.0, hz).kind == "harmonics"


def test_ringing_at_switched_harmonics_is_found() -> None:
    turn, since = 2 * np.pi * 60.0 * at_s(3.0) + 0.7, np.maximum(at_s(3.0) - 1.2, 0.0)
    load = 0.12 * np.sin(5 * turn + 1.0) * (since > 0)
    ringing = 0.5 * np.exp(-since / 0.003) * np.sin(2 * np.pi * 900 * since)
    found = classify(mains(3.0) + PEAK_V * (load + ringing), RATE_HZ)
    assert found.kind == "harmonics+oscillatory_transient"
    assert {each.kind: each for each in found.parts}["oscillatory_transient"].found.start_s == pytest.approx(
        1.2, abs=0.002
    )


def test_notches_of_some_samples_do_not_flicker() -> None:
    hz = 50.03
    angle = (360 * hz * at_s(6.0) + 40.1) % 60
    wave = PEAK_V * np.sin(2 * np.pi * (hz * at_s(6.0) + 40.1 / 360))
    notched = (angle > 30) & (angle < 36.3) & during(6.0, 1.6, 5.0)
    noise = mains(6.0, 50.0) - PEAK_V * np.sin(2 * np.pi * 50.0 * at_s(6.0) + 0.7)
    volts = wave - 0.25 * PEAK_V * notched * np.sign(wave) + noise
    assert classify(volts, RATE_HZ, 120.0, 50.0).kind == "periodic_notching"


def test_noise_that_begins_does_not_ring() -> None:
    for seed in range(12):
        burst = np.random.default_rng(seed).normal(0, 0.17 * 120, round(5.0 * RATE_HZ))
        volts = mains(5.0, 50.0) + burst * during(5.0, 1.5056, 4.2)
        assert classify(volts, RATE_HZ, 120.0, 50.0).kind == "noise"


def test_ringing_in_earlier_noise_is_seen() -> None:
    since = np.maximum(at_s(2.0) - 0.8, 0.0)
    ringing = 0.28 * np.exp(-since / 0.004) * np.sin(2 * np.pi * 900 * since)
    volts = mains(2.0, noise_db=20.0) + PEAK_V * ringing
    assert classify(volts, RATE_HZ).kind == "noise+oscillatory_transient"


def test_a_per_unit_peak_is_written_out() -> None:
    assert transient_because(-0.00412, 0.0412, 912.0, 8.0).startswith("-0.00412 V of 912 Hz, 4.1 % of")
    assert transient_because(81.5, 0.48, math.nan, 8.0).startswith("+81.5 V, 48.0 % of")
