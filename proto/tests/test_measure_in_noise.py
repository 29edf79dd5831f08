"""What noise of 20 dB hides from single windows and samples, and what a whole signal still shows."""

import math

import numpy as np
import pytest

from opq_measure.classification.candidates.faint_transients import RingingTest
from opq_measure.classification.classifier import classify
from opq_measure.classification.faint_tones import faint_tone
from opq_measure.signal import FloatArray

RATE_HZ, PEAK_V = 12_000.0, 120 * math.sqrt(2)


def at_s(seconds: float) -> FloatArray:
    return np.arange(round(seconds * RATE_HZ)) / RATE_HZ


def noise(seconds: float, seed: int, noise_db: float = 20.0) -> FloatArray:
    return np.random.default_rng(seed).normal(0, 120 * 10 ** (-noise_db / 20), round(seconds * RATE_HZ))


def mains(seconds: float, hz: float = 60.0) -> FloatArray:
    return PEAK_V * np.sin(2 * np.pi * hz * at_s(seconds) + 0.7)


def kinds(volts: FloatArray, hz: float = 60.0) -> set[str]:
    return set(classify(volts, RATE_HZ, 120.0, hz).kind.split("+")) - {"noise"}


@pytest.mark.parametrize(("swing_hz", "change"), [(2.3, 0.03), (8.8, 0.015), (18.0, 0.03)])
def test_faint_flicker_is_an_envelope_line(swing_hz: float, change: float) -> None:
    """Flicker that the meter takes for noise is a line of the envelope."""
    inside = (at_s(12.0) >= 2.0) & (at_s(12.0) < 10.0)
    swing = 1 + change / 2 * inside * np.sin(2 * np.pi * swing_hz * at_s(12.0))
    found = classify(mains(12.0) * swing + noise(12.0, 3), RATE_HZ)
    (part,) = [each for each in found.parts if each.kind == "flicker"]
    assert found.kind == "flicker+noise"
    assert part.found.start_s == pytest.approx(2.0, abs=0.5)
    assert part.found.start_s + part.found.duration_s == pytest.approx(10.0, abs=0.5)
    assert part.found.figures["modulation_hz"] == pytest.approx(swing_hz, abs=0.2)


def test_noise_of_some_seconds_does_not_flicker() -> None:
    assert not any(kinds(mains(6.0) + noise(6.0, seed)) for seed in range(3))


@pytest.mark.parametrize("seed", [2, 3])
def test_a_slow_noisy_swing_is_not_rapid(seed: int) -> None:
    swing = 1 + 0.031 * np.sin(2 * np.pi * 2.5 * at_s(9.0)) * (at_s(9.0) > 1.5)
    assert kinds(mains(9.0) * swing + noise(9.0, seed)) == {"flicker"}


@pytest.mark.parametrize("seed", [0, 1, 4])
def test_a_steady_line_is_not_a_telegram(seed: int) -> None:
    inside = (at_s(9.5) >= 1.7) & (at_s(9.5) < 7.8)
    line = 0.015 * PEAK_V * inside * np.sin(2 * np.pi * 641.0 * at_s(9.5))
    whole = np.ones(len(line), np.bool_)
    found = faint_tone(line + noise(9.5, seed), whole, RATE_HZ, 120.0, 50.0)
    assert found is not None and not found.keyed
    bits = np.array([1, 1, 0, 1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0])[(at_s(9.5) / 0.38).astype(int) % 16]
    sent = faint_tone(2 * bits * line + noise(9.5, seed), whole, RATE_HZ, 120.0, 50.0)
    assert sent is not None and sent.keyed


def test_a_ringings_energy_is_its_best_fits() -> None:
    """The energy of a ringing is that of the best decaying sine at any frequency."""
    shape = np.exp(-np.arange(126) / 30)
    frame = np.random.default_rng(5).normal(0, 1, 126)
    energy = RingingTest.of(shape).energy(np.fft.rfft(frame * shape), slice(1, 60))
    for line in (1, 2, 3, 10, 40):
        turn = 2 * np.pi * line / 126 * np.arange(126)
        both = np.column_stack((shape * np.cos(turn), shape * np.sin(turn)))
        left = frame - both @ np.linalg.lstsq(both, frame, rcond=None)[0]
        assert 2 * energy[line - 1] == pytest.approx(float(frame @ frame - left @ left), rel=1e-9)


def test_a_faint_ringing_is_not_an_impulse() -> None:
    since = np.maximum(at_s(1.5) - 0.8, 0.0)
    ringing = 0.6 * PEAK_V * np.exp(-since / 0.0018) * np.sin(2 * np.pi * 450 * since) * (since > 0)
    impulse = 0.45 * PEAK_V * np.exp(-since / 0.00027) * (since > 0)
    for seed in (28, 1, 2):
        assert kinds(mains(1.5) + ringing + noise(1.5, seed)) == {"oscillatory_transient"}
    for seed in (11, 1, 2):
        assert kinds(mains(1.5) + impulse + noise(1.5, seed)) == {"impulsive_transient"}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_ringing_at_an_early_dip_is_seen(seed: int) -> None:
    since = np.maximum(at_s(0.9) - 0.18, 0.0)
    ringing = 0.3 * PEAK_V * np.exp(-since / 0.003) * np.sin(2 * np.pi * 1000 * since) * (since > 0)
    dip = np.where((since > 0) & (since < 0.22), 0.6, 1.0)
    assert kinds(mains(0.9) * dip + ringing + noise(0.9, seed)) == {"oscillatory_transient", "sag"}


def test_noise_at_a_jump_is_not_an_impulse() -> None:
    seconds, orders = at_s(1.0), ((3, 0.1, 0.3), (5, 0.1, 1.5), (11, 0.06, 4.0), (13, 0.07, 2.2))
    turn = 2 * np.pi * 50 * seconds + np.where(seconds >= 0.257, math.radians(48), 0.0)
    wave = np.sin(turn) + sum(size * np.sin(order * turn + phase) for order, size, phase in orders)
    for seed in range(2):
        assert kinds(PEAK_V * wave + noise(1.0, seed), 50.0) == {"harmonics", "phase_jump"}


def test_harmonics_at_a_jump_are_not_an_impulse() -> None:
    seconds, orders = at_s(1.0), ((3, 0.12, 0.3), (5, 0.14, 1.5), (7, 0.1, 4.0), (11, 0.09, 2.2))
    turn = 2 * np.pi * 60 * seconds + np.where(seconds >= 0.4 + 21 / 2400, math.radians(42), 0.0)
    wave = np.sin(turn) + sum(size * np.sin(order * turn + phase) for order, size, phase in orders)
    assert kinds(PEAK_V * wave + noise(1.0, 1)) == {"harmonics", "phase_jump"}


@pytest.mark.parametrize("seed", range(3))
def test_a_jump_after_a_short_dip_is_found(seed: int) -> None:
    since = at_s(1.2) - 0.52
    dip = np.where((since >= 0) & (since < 0.03), 0.15, 1.0)
    for degrees, found in ((0, {"sag"}), (12, {"phase_jump", "sag"})):
        turn = 2 * np.pi * 60 * since + np.where(since >= 0, math.radians(degrees), 0.0)
        assert kinds(PEAK_V * dip * np.sin(turn) + noise(1.2, seed)) == found


@pytest.mark.parametrize("line_hz", [35.0, 64.3])
def test_a_near_line_is_not_a_jump(line_hz: float) -> None:
    seconds = at_s(1.3)
    dip = np.where((seconds >= 0.5) & (seconds < 0.924), 0.26, 1.0)
    line = 0.072 * np.sin(2 * np.pi * line_hz * seconds)
    volts = PEAK_V * (dip * np.sin(2 * np.pi * 50 * seconds + 0.7) + line) + noise(1.3, 1, 30.0)
    assert kinds(volts, 50.0) == {"interharmonics", "sag"}


@pytest.mark.parametrize(("seed", "hz", "width"), [(0, 49.951, 3.7), (9, 50.03, 3.7), (13, 49.97, 5.0)])
def test_mean_cycle_notches_do_not_flicker(seed: int, hz: float, width: float) -> None:
    angle = (360 * hz * at_s(2.7) + 10 * seed) % 60
    wave = PEAK_V * np.sin(2 * np.pi * hz * at_s(2.7) + math.radians(10 * seed))
    notched = wave * np.where((angle > 27) & (angle < 27 + width), 0.62, 1.0)
    assert kinds(notched + noise(2.7, seed), 50.0) == {"periodic_notching"}


def test_a_dip_to_an_eighth_is_not_interruption() -> None:
    dip = np.where((at_s(1.2) > 0.35) & (at_s(1.2) < 0.85), 0.125, 1.0)
    gone = np.where((at_s(1.2) > 0.35) & (at_s(1.2) < 0.85), 0.05, 1.0)
    for seed in (0, 3):
        assert kinds(mains(1.2) * dip + noise(1.2, seed)) == {"sag"}
        assert kinds(mains(1.2) * gone + noise(1.2, seed)) == {"interruption"}
        brief = np.where((at_s(1.2) > 0.35) & (at_s(1.2) < 0.35 + 2 / 60), 0.06, 1.0)
        assert kinds(mains(1.2) * brief + noise(1.2, seed)) == {"interruption"}


def test_a_very_short_dip_is_not_an_interruption() -> None:
    dip = np.where((at_s(0.15) > 0.05) & (at_s(0.15) < 0.1), 0.5, 1.0)
    assert kinds(mains(0.15) * dip + noise(0.15, 1, 60.0)) == {"sag"}


@pytest.mark.parametrize("seed", [0, 2])
def test_shallow_notches_show_in_the_mean_cycle(seed: int) -> None:
    angle = (360 * 50.03 * at_s(1.0) + 40.0) % 60
    wave = PEAK_V * np.sin(2 * np.pi * 50.03 * at_s(1.0) + math.radians(40))
    notched = wave * np.where((angle > 26) & (angle < 32.5), 0.89, 1.0)
    assert kinds(notched + noise(1.0, seed), 50.0) == {"periodic_notching"}
    assert kinds(wave + noise(1.0, seed), 50.0) == set()


@pytest.mark.parametrize("seed", [3, 22])
def test_large_high_harmonics_in_noise_are_no_notches(seed: int) -> None:
    turn = 2 * np.pi * 50.0 * at_s(1.1) + 0.7
    sizes, phases = (0.07, 0.09, 0.08, 0.11, 0.12), np.random.default_rng(seed).uniform(0, 6.28, 5)
    parts = zip((3, 5, 7, 11, 13), sizes, phases, strict=True)
    wave = np.sin(turn) + sum(size * np.sin(order * turn + phase) for order, size, phase in parts)
    assert kinds(PEAK_V * wave + noise(1.1, seed), 50.0) == {"harmonics"}


def test_ringing_makes_no_sag_of_an_interruption() -> None:
    since = np.maximum(at_s(1.0) - 0.4, 0.0)
    ringing = 0.46 * PEAK_V * np.exp(-since / 0.0049) * np.cos(2 * np.pi * 3532 * since) * (since > 0)
    gone = np.where((since > 0) & (since < 2 / 60), 0.077, 1.0)
    for seed in range(3):
        found = kinds(mains(1.0) * gone + ringing + noise(1.0, seed))
        assert found == {"interruption", "oscillatory_transient"}
