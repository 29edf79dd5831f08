"""Mains with truth: blocks, noise, converter and clock against what was configured."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_sim.mains import MIX_3_PERCENT, mains
from opq_sim.mains.phase_events import FrequencyDeviation, PhaseJumpEvent
from opq_sim.mains.pollution import FlickerEvent, NoiseBurst
from opq_sim.mains.profiles import Modulation, Ramp, Wander
from opq_sim.mains.rms_events import Sag
from opq_sim.mains.sampling import Converter, SampleClock
from opq_sim.mains.transients import OscillatoryTransient, PeriodicNotching
from opq_sim.mains.voltage import CHUNK, Mains
from opq_sim.mains.wave import Harmonic, MainsTone, Wave


def everything(seed: int) -> Mains:
    """Mains with one of each way to disturb, on a clock that is off."""
    return Mains(
        wave=Wave(230.0, (Harmonic(3, 2.0, 40.0), Harmonic(50, 1.0)), (MainsTone(184.0, 0.5),), 0.7),
        disturbances=(
            Sag(depth=0.4, start_s=0.1, cycles=3.25, phase_jump_deg=20.0, edge_s=0.002),
            PhaseJumpEvent(degrees=-35.0, start_s=0.3, angle_deg=70.0),
            FrequencyDeviation(offset_hz=0.7, start_s=0.35, seconds=0.3, ramp_s=0.1),
            FlickerEvent(start_s=0.2, seconds=0.5, form="rectangular", duty=0.2),
            OscillatoryTransient(start_s=0.42),
            PeriodicNotching(start_s=0.5, cycles=4),
            NoiseBurst(start_s=0.6, seconds=0.1),
        ),
        noise_v=0.2,
        pink_v=0.1,
        converter=Converter(bits=14),
        clock=SampleClock(offset_ppm=40.0, drift_ppm_per_s=0.5, jitter_ns=200.0),
        seed=seed,
    )


@given(st.lists(st.integers(1, 3 * CHUNK), min_size=1, max_size=6), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_blocks_of_any_order_are_identical(sizes: list[int], seed: int) -> None:
    whole = everything(seed).volts(0, sum(sizes))
    starts = np.cumsum([0, *sizes[:-1]])
    made = everything(seed)
    for start, size in sorted(zip(starts.tolist(), sizes, strict=True), key=lambda block: block[1]):
        assert np.array_equal(made.volts(start, size), whole[start : start + size])


def test_white_noise_has_its_level() -> None:
    clean, _ = mains(20, seed=3)
    for decibels in (40.0, 60.0, 78.0):
        noisy, _ = mains(20, noise_db=decibels, seed=3)
        noise = noisy - clean
        assert 20 * math.log10(120.0 / noise.std()) == pytest.approx(decibels, abs=0.1)
        assert abs(noise.mean()) < 4 * noise.std() / math.sqrt(len(noise))
        neighbours = np.corrcoef(noise[:-1], noise[1:])[0, 1]
        assert abs(neighbours) < 4 / math.sqrt(len(noise))


def test_another_seed_is_other_noise() -> None:
    one, truth = mains(0.1, harmonics=MIX_3_PERCENT, noise_db=60, random_phases=True, seed=1)
    other, other_truth = mains(0.1, harmonics=MIX_3_PERCENT, noise_db=60, random_phases=True, seed=2)
    assert not np.array_equal(one, other)
    assert not np.allclose(np.angle(truth.ratios[[2, 4]]), np.angle(other_truth.ratios[[2, 4]]))
    again, _ = mains(0.1, harmonics=MIX_3_PERCENT, noise_db=60, random_phases=True, seed=1)
    assert np.array_equal(one, again)


def test_a_converter_rounds_and_clips() -> None:
    clean, _ = mains(1.0, frequency_hz=59.3)
    for bits in range(8, 17):
        converter = Converter(bits, full_scale_v=200.0)
        error = mains(1.0, frequency_hz=59.3, converter=converter)[0] - clean
        assert np.abs(error).max() <= converter.v_per_lsb / 2 + 1e-9
        assert error.std() == pytest.approx(converter.noise_v, rel=0.1)
    clipped, truth = mains(0.1, converter=Converter(12, full_scale_v=100.0))
    assert (clipped.min(), clipped.max()) == (-100.0, 100.0 * 2047 / 2048)
    assert truth.mains.counts(0, 1200).max() == 2047
    off, _ = mains(1.0, converter=Converter(16, 400.0, gain_error=0.01, offset_v=1.5))
    assert off.mean() == pytest.approx(1.5, abs=1e-3)
    assert off.std() == pytest.approx(120 * 1.01, rel=1e-5)


def test_a_fast_clock_sees_a_slow_grid() -> None:
    clock = SampleClock(offset_ppm=100.0)
    volts, truth = mains(10, clock=clock)
    assert len(truth.edges()) == 600  # 59.994 Hz by its own seconds: the last cycle is not whole
    assert np.diff(truth.edges()) == pytest.approx(200 * 1.0001, rel=1e-12)
    position = np.array([1.0, 60_000.5, 119_999.0])
    assert clock.position(clock.t_s(position, 12_000.0), 12_000.0) == pytest.approx(position, rel=1e-14)
    at = 119_999 / 12_000 / 1.0001
    assert volts[-1] == pytest.approx(120 * math.sqrt(2) * math.sin(2 * math.pi * 60 * at), abs=1e-7)


def test_a_drifting_clock_integrates_its_rate() -> None:
    """It takes as many samples as the integral says."""
    clock = SampleClock(offset_ppm=-20.0, drift_ppm_per_s=3.0)
    taken_s = np.linspace(0.0, 50.0, 11)
    numeric = [
        np.trapezoid(12_000 * (1 + (-20 + 3 * t) * 1e-6), t)
        for t in (np.linspace(0, end, 3) for end in taken_s)
    ]
    assert clock.position(taken_s, 12_000.0) == pytest.approx(numeric, rel=1e-13)


def test_jitter_makes_the_noise_of_the_slope() -> None:
    clean, _ = mains(5.0)
    late, _ = mains(5.0, clock=SampleClock(jitter_ns=1000.0))
    slope_v_per_s = 120.0 * 2 * math.pi * 60  # rms
    assert (late - clean).std() == pytest.approx(slope_v_per_s * 1e-6, rel=0.02)


def test_stamps_are_off_as_asked() -> None:
    clock = SampleClock(offset_ppm=50.0, stamp_error_ns=700, missing=((500, 20), (0, 3), (990, 50)))
    assert clock.runs(1000) == ((3, 500), (520, 990))
    assert SampleClock().runs(1000) == ((0, 1000),)
    true_ns = 12_000_000 / 12_000 / 1.00005 * 1e9
    assert clock.stamp_ns(1, 12_000_000, 12_000.0, 10**18) - 10**18 == pytest.approx(true_ns + 700, abs=200)
    noisy = SampleClock(stamp_noise_ns=50.0)
    errors = [noisy.stamp_ns(1, 12 * k, 12_000.0, 0) - k * 10**6 for k in range(400)]
    assert np.std(errors) == pytest.approx(50.0, rel=0.15)


@pytest.mark.parametrize(
    "make",
    [
        lambda: mains(1, rate_hz=0),
        lambda: mains(1, frequency_hz=-50.0),
        lambda: mains(-1.0),
        lambda: mains(math.inf),
        lambda: mains(1, voltage_v=math.nan),
        lambda: mains(1, voltage_v=-120.0),
        lambda: mains(1, dc_v=math.inf),
        lambda: mains(1, phase_deg=math.nan),
        lambda: mains(1, noise_db=math.nan),
        lambda: mains(1, pink_db=-math.inf),
        lambda: mains(1, harmonics={101: 1.0}),
        lambda: mains(1, harmonics={1: 1.0}),
        lambda: mains(1, tones=[MainsTone(7000.0, 1.0)]),
        lambda: mains(1, disturbances=[OscillatoryTransient(ring_hz=6500.0)]),
        lambda: Sag(depth=1.2),
        lambda: Sag(cycles=1, seconds=1),
        lambda: Sag(cycles=0),
        lambda: Sag(start_s=-1),
        lambda: PhaseJumpEvent(degrees=200),
        lambda: FlickerEvent(duty=1.0),
        lambda: PeriodicNotching(width_s=0.01),
        lambda: mains(1, disturbances=[PeriodicNotching(width_s=0.0026)], frequency_hz=65.0),
        lambda: Converter(17),
        lambda: Wander(0.1, low_hz=2.0),
        lambda: Mains().counts(0, 1),
    ],
)
def test_an_impossible_signal_is_refused(make) -> None:
    with pytest.raises(ValueError, match=r"want|give"):
        make()


def test_courses_name_their_frequency() -> None:
    _, truth = mains(4.0, frequency_hz=50.0, profiles=[Ramp(0.5, 1.0, 3.0), Modulation(2.0, 0.1)])
    position = np.array([0.0, 18_000.0, 47_999.0])
    t_s = position / 12_000
    wave = -0.1 * 2.0 * np.sin(2 * math.pi * 2 * t_s)
    assert truth.frequency_hz(position) == pytest.approx(50 + np.array([0.0, 0.25, 1.0]) + wave, abs=1e-12)
