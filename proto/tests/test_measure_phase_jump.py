"""Changes, phase jumps and points on wave against signals whose instant and angle are put in."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.timebase.cycles import track
from opq_measure.waveform.change import changes_in
from opq_measure.waveform.phase_jump import PhaseJump, phase_jumps_in

RATE_HZ = 12_000.0
PEAK_V = 120.0 * math.sqrt(2)
Floats = NDArray[np.float64]


def disturbed(
    hz: float,
    phase: float,
    at: float,
    jump: float = 0.0,
    share: float = 1.0,
    step_hz: float = 0.0,
    lasts: float = math.inf,
    samples: int = 9000,
    decibels: float = 60.0,
    seed: int = 1,
) -> Floats:
    """A sine with harmonics and noise that from sample `at` on jumps in phase, size and frequency."""
    t = np.arange(samples)
    on = (t >= at) & (t < at + lasts)
    turn = (
        2 * np.pi * (hz * t + step_hz * np.maximum(t - at, 0.0)) / RATE_HZ + phase + np.where(on, jump, 0.0)
    )
    wave = np.sin(turn)
    for order, part in {3: 0.02, 5: 0.02, 7: 0.0088, 9: 0.005}.items():
        wave = wave + part * np.sin(order * turn + 0.7 * order)
    noise = np.random.default_rng(seed).normal(scale=120.0 * 10 ** (-decibels / 20), size=samples)
    return PEAK_V * np.where(on, share, 1.0) * wave + noise


def jumps(volts: Floats, nominal_hz: float = 60.0) -> tuple[PhaseJump, ...]:
    return phase_jumps_in(volts, track(volts, RATE_HZ, nominal_hz))


alignments = {
    "hz": st.floats(57.0, 63.0),
    "phase": st.floats(0, 2 * math.pi),
    "at": st.floats(4000.0, 4200.0),
    "seed": st.integers(0, 10_000),
}


@settings(max_examples=15)
@given(**alignments, degrees=st.floats(5.0, 120.0), sign=st.sampled_from([-1, 1]))
def test_a_jump_is_right_to_0_05_degrees(
    hz: float, phase: float, at: float, seed: int, degrees: float, sign: int
) -> None:
    (jump,) = jumps(disturbed(hz, phase, at, sign * math.radians(degrees), seed=seed))
    assert jump.degrees == pytest.approx(sign * degrees, abs=0.05)
    assert abs(jump.position - at) < 3.0 + 4 * jump.uncertainty_samples
    assert jump.time_s == jump.position / RATE_HZ
    assert jump.hz_before == pytest.approx(hz, abs=2e-3)
    assert jump.uncertainty_degrees < 0.05


@settings(max_examples=12)
@given(**alignments, share=st.floats(0.05, 0.9))
def test_a_dip_alone_is_no_jump(hz: float, phase: float, at: float, seed: int, share: float) -> None:
    assert jumps(disturbed(hz, phase, at, share=share, seed=seed)) == ()


@settings(max_examples=12)
@given(**alignments, step_hz=st.floats(-2.0, 2.0))
def test_a_step_of_the_frequency_is_no_jump(
    hz: float, phase: float, at: float, seed: int, step_hz: float
) -> None:
    assert jumps(disturbed(hz, phase, at, step_hz=step_hz, seed=seed)) == ()


@settings(max_examples=12)
@given(**alignments, degrees=st.floats(8.0, 60.0), share=st.floats(0.1, 0.9), cycles=st.floats(2.0, 12.0))
def test_a_dip_with_a_jump_jumps_twice(
    hz: float, phase: float, at: float, seed: int, degrees: float, share: float, cycles: float
) -> None:
    lasts = cycles * RATE_HZ / hz
    there, back = jumps(disturbed(hz, phase, at, math.radians(degrees), share, lasts=lasts, seed=seed))
    assert there.degrees == pytest.approx(degrees, abs=0.5)
    assert back.degrees == pytest.approx(-degrees, abs=0.5)
    assert there.amplitude_ratio == pytest.approx(share, abs=0.003)
    assert abs(there.position - at) < 4.0 + 4 * there.uncertainty_samples
    assert abs(back.position - at - lasts) < 4.0 + 4 * back.uncertainty_samples


@settings(max_examples=10)
@given(**alignments, degrees=st.floats(10.0, 60.0), step_hz=st.floats(-1.0, 1.0))
def test_a_frequency_step_keeps_the_jumps_angle(
    hz: float, phase: float, at: float, seed: int, degrees: float, step_hz: float
) -> None:
    (jump,) = jumps(disturbed(hz, phase, at, math.radians(degrees), step_hz=step_hz, seed=seed))
    assert jump.degrees == pytest.approx(degrees, abs=0.2)
    assert jump.hz_after - jump.hz_before == pytest.approx(step_hz, abs=5e-3)


@settings(max_examples=60)
@given(
    phase=st.floats(0, 2 * math.pi),
    hz_per_s=st.floats(-1.5, 1.5),
    degrees=st.floats(120.0, 240.0),
    hz=st.floats(49.2, 50.8),
    seed=st.integers(0, 10_000),
)
def test_an_island_reclosed_jumps_once(
    phase: float, hz_per_s: float, degrees: float, hz: float, seed: int
) -> None:
    """Its frequency wanders by more than the noise of a fit, and the jump spoils the track of some cycles."""
    at, t = 1823, np.arange(3800)
    before = hz * t / RATE_HZ + hz_per_s * ((t - at) / RATE_HZ) ** 2 / 2
    after = hz * at / RATE_HZ + 50.04 * (t - at) / RATE_HZ + degrees / 360
    turn = 2 * np.pi * np.where(t < at, before, after) + phase
    noise = np.random.default_rng(seed).normal(scale=230.0 * 10 ** (-85 / 20), size=len(t))
    volts = 230 * math.sqrt(2) * (np.sin(turn) + 0.02 * np.sin(5 * turn)) + noise
    (jump,) = phase_jumps_in(volts, track(volts, RATE_HZ, 50.0), 6.0)
    assert jump.position == pytest.approx(at, abs=2)
    assert jump.degrees % 360 == pytest.approx(degrees, abs=2)


def test_at_fifty_hertz_too() -> None:
    (jump,) = jumps(disturbed(49.8, 1.0, 4100.0, math.radians(-30.0)), 50.0)
    assert jump.degrees == pytest.approx(-30.0, abs=0.05)


def test_ramps_wander_and_noise_are_no_jumps() -> None:
    t = np.arange(36_000) / RATE_HZ
    for turns in (60.0 * t + 0.5 * 3.0 * t**2, 60.0 * t + 0.1 * np.sin(2 * np.pi * 0.7 * t)):
        volts = PEAK_V * np.sin(2 * np.pi * turns)
        assert jumps(volts) == ()
    swaying = PEAK_V * (1 + 0.02 * np.sin(2 * np.pi * 1.3 * t)) * np.sin(2 * np.pi * 60.0 * t)
    assert jumps(swaying) == ()
    assert jumps(np.random.default_rng(1).normal(size=9000)) == ()


def test_the_least_jump_must_make_sense() -> None:
    volts = disturbed(60.0, 0.0, 4000.0)
    with pytest.raises(ValueError, match=r"want 1 \.\. 180"):
        phase_jumps_in(volts, track(volts, RATE_HZ), 0.0)


@settings(max_examples=12)
@given(**alignments, share=st.floats(0.0, 0.85), cycles=st.floats(0.75, 3.0))
def test_short_dips_have_two_changes(
    hz: float, phase: float, at: float, seed: int, share: float, cycles: float
) -> None:
    lasts = cycles * RATE_HZ / hz
    volts = disturbed(hz, phase, at, share=share, lasts=lasts, seed=seed)
    begin, end = changes_in(volts, track(volts, RATE_HZ))
    assert abs(begin.position - at) < 12.0  # 1 ms
    assert abs(end.position - at - lasts) < 12.0


def test_too_little_signal_has_no_change() -> None:
    volts = disturbed(60.0, 0.0, 4000.0)[:150]
    assert changes_in(volts, track(volts, RATE_HZ)) == ()
