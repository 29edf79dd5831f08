"""The truth of generated mains against closed forms worked out by hand, and against Parseval."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_sim.mains import MIX_3_PERCENT, mains
from opq_sim.mains.disturbance import MainsDisturbance
from opq_sim.mains.on_demand import ON_DEMAND, numbers_for, on_demand
from opq_sim.mains.phase_events import FrequencyDeviation, PhaseJumpEvent
from opq_sim.mains.pollution import FlickerEvent, HarmonicDistortion
from opq_sim.mains.profiles import FrequencyStep, Modulation, PhaseStep, Ramp, Wander
from opq_sim.mains.rms_events import Interruption, Profile, RapidVoltageChange, Sag, Swell
from opq_sim.mains.sampling import SampleClock
from opq_sim.mains.transients import ImpulsiveTransient, OscillatoryTransient, PeriodicNotching
from opq_sim.mains.wave import Harmonic, MainsTone

PEAK_V = 120.0 * math.sqrt(2)


def sine_energy(turn: float) -> float:
    """Integral of sin^2 from 0 to an angle."""
    return turn / 2 - math.sin(2 * turn) / 4


@given(
    st.floats(42.5, 69.0),
    st.floats(0.01, 359.99),
    st.dictionaries(st.integers(2, 50), st.floats(0.1, 10.0), max_size=5),
    st.floats(-5.0, 5.0),
)
@settings(max_examples=30, deadline=None)
def test_every_steady_cycle_follows_parseval(hz, phase_deg, harmonics, dc_v) -> None:
    _, truth = mains(0.2, frequency_hz=hz, phase_deg=phase_deg, harmonics=harmonics, dc_v=dc_v)
    squares = 120.0**2 * (1 + sum((percent / 100) ** 2 for percent in harmonics.values())) + dc_v**2
    assert truth.rms_v == pytest.approx(math.sqrt(squares), rel=1e-14)
    assert truth.cycle_rms_v() == pytest.approx(math.sqrt(squares), rel=1e-12)
    assert truth.half_cycle_rms_v() == pytest.approx(math.sqrt(squares), rel=1e-12)
    edges = truth.edges(2)
    assert np.diff(edges) == pytest.approx(6000 / hz, rel=1e-9)
    assert edges[0] == pytest.approx((-2 * phase_deg / 360 % 1) * 6000 / hz, abs=1e-6)


@given(st.floats(0.0, 1.0), st.integers(2, 9), st.floats(0.01, 0.99), st.floats(45.0, 65.0))
@settings(max_examples=30, deadline=None)
def test_a_divided_half_cycle_has_combined_rms(depth, half, part, hz) -> None:
    """A half cycle that a sag begins in has the rms of its two parts."""
    sag = Sag(depth=depth, start_s=(half + part) / (2 * hz), cycles=6)
    _, truth = mains(0.3, frequency_hz=hz, disturbances=[sag])
    square = sine_energy(math.pi) + sine_energy(math.pi * part)  # one half cycle before it, part of the next
    square += (1 - depth) ** 2 * (math.pi - sine_energy(math.pi) - sine_energy(math.pi * part))
    assert truth.half_cycle_rms_v()[half - 1] == pytest.approx(
        PEAK_V * math.sqrt(square / (2 * math.pi)), 1e-9
    )
    assert truth.residual_v() == pytest.approx(120 * (1 - depth), abs=1e-5)
    start, stop = truth.span_samples()
    assert (start, stop - start) == pytest.approx(((half + part) * 6000 / hz, 6 * 12_000 / hz), rel=1e-9)


def test_a_tones_rms_is_known_anywhere() -> None:
    """The rms of a voltage with a tone is known over any span."""
    _, truth = mains(0.5, tones=[MainsTone(187.3, 10.0, 33.0)])
    start, stop = np.array([612.4]), np.array([1755.9])
    ends = (start[0] / 12_000, stop[0] / 12_000)

    def between(hz: float, angle: float) -> float:
        """Integral of cos(2 pi hz t + angle) over the span."""
        return sum(
            sign * math.sin(2 * math.pi * hz * t + angle) for sign, t in zip((-1, 1), ends, strict=True)
        ) / (2 * math.pi * hz)

    length, start_rad = ends[1] - ends[0], math.radians(33.0)
    square = (length - between(120.0, 0.0)) / 2 + 0.01 * (length - between(374.6, 2 * start_rad)) / 2
    square += 0.1 * (between(127.3, start_rad) - between(247.3, start_rad))
    found = truth.rms_v_between(start, stop)
    assert found == pytest.approx(PEAK_V * math.sqrt(square / length), rel=1e-12)


def test_volts_lines_are_the_truths_ratios() -> None:
    harmonics = {2: (1.0, 10.0), 3: (5.0, -70.0), 17: (0.7, 200.0), 50: (0.3, 45.0)}
    volts, truth = mains(1.0, harmonics=harmonics, phase_deg=37.0)
    cycles = truth.phase_cycles(np.arange(12_000.0))
    for order in range(1, 51):
        line = 2j / 12_000 * np.sum(volts * np.exp(-2j * math.pi * order * cycles))  # 1j: of sines
        assert line / PEAK_V == pytest.approx(complex(truth.ratios[order - 1]), abs=1e-12)
    percents = np.array([percent for percent, _ in harmonics.values()])
    assert truth.thd_percent == pytest.approx(math.sqrt(np.sum(percents**2)), rel=1e-12)


def test_edges_of_a_ramp_solve_its_quadratic() -> None:
    _, truth = mains(5.0, frequency_hz=58.0, profiles=[Ramp(0.8)])
    numbers = np.arange(len(truth.edges()))
    t_s = (-58 + np.sqrt(58**2 + 2 * 0.8 * numbers)) / 0.8
    assert truth.edges() == pytest.approx(12_000 * t_s, abs=1e-7)
    assert truth.rocof_hz_per_s(truth.edges()) == pytest.approx(0.8)


def test_a_phase_jump_moves_later_edges() -> None:
    _, truth = mains(0.5, disturbances=[PhaseJumpEvent(degrees=-45.0, start_s=0.2, angle_deg=60.0)])
    jump = 12_000 * (12 + 60 / 360) / 60
    assert truth.span_samples() == pytest.approx((jump, jump))
    edges = truth.edges()
    assert edges[edges < jump] == pytest.approx(200 * np.arange(13), abs=1e-6)
    assert edges[edges > jump] == pytest.approx(
        200 * (13 + 45 / 360 + np.arange(np.sum(edges > jump))), abs=1e-6
    )
    assert np.all(truth.frequency_hz(edges) == 60.0)


def test_overtaken_edges_lie_at_the_jump() -> None:
    _, truth = mains(0.2, profiles=[PhaseStep(180.0, 0.0995)])  # from 5.97 to 6.47 cycles
    assert truth.edges(4)[20:28] * 60 / 12_000 == pytest.approx(
        [5, 5.25, 5.5, 5.75, 5.97, 5.97, 6.0, 6.25], abs=1e-6
    )


@given(st.floats(-2.0, 2.0), st.floats(0.0, 1.0), st.floats(0.2, 3.0))
@settings(max_examples=20, deadline=None)
def test_a_frequency_deviation_gains_its_area(offset_hz, ramp_s, seconds) -> None:
    event = FrequencyDeviation(offset_hz=offset_hz, ramp_s=ramp_s, seconds=seconds, start_s=0.5)
    _, truth = mains(6.0, disturbances=[event])
    last = np.array([72_000.0])
    assert truth.phase_cycles(last) == pytest.approx(360 + offset_hz * seconds, abs=1e-9)
    middle = np.array([12_000 * (0.5 + max(ramp_s, min(ramp_s, seconds)))])
    assert truth.frequency_hz(last) == pytest.approx(60.0, abs=1e-9)
    if ramp_s < seconds:
        assert truth.frequency_hz(middle) == pytest.approx(60 + offset_hz, abs=1e-9)


@pytest.mark.parametrize(
    "profile",
    [Ramp(0.7, 0.5, 2.5), FrequencyStep(-0.4, 1.1), Modulation(3.0, 0.2, 30.0), Wander(0.05, 0.1, 2.0)],
)
def test_phase_integrates_frequency(profile) -> None:
    _, truth = mains(4.0, profiles=[profile])
    position = np.arange(48_001.0)
    hz, cycles = truth.frequency_hz(position), truth.phase_cycles(position)
    summed = np.concatenate(([0.0], np.cumsum((hz[1:] + hz[:-1]) / 2))) / 12_000
    assert np.abs(cycles - cycles[0] - summed).max() < 2e-5
    slope = np.diff(hz) * 12_000
    at = (truth.rocof_hz_per_s(position)[:-1] + truth.rocof_hz_per_s(position)[1:]) / 2
    assert np.sort(np.abs(slope - at))[-3] < 2e-2  # but where it steps


def test_wander_has_its_deviation_and_exponent() -> None:
    hz = np.concatenate(
        [Wander(0.02, 0.05, 2.0, seed=seed).hz(np.arange(0, 2000, 0.1)) for seed in range(10)]
    )
    assert hz.std() == pytest.approx(0.02, rel=0.02)
    low, high = (
        Wander(1.0, 0.05, 2.0, exponent=2.0, tones=200),
        Wander(1.0, 0.05, 2.0, exponent=0.0, tones=200),
    )
    t_s = np.arange(0, 2000, 0.1)
    lines = np.fft.rfftfreq(len(t_s), 0.1)
    for profile, exponent in ((low, 2.0), (high, 0.0)):
        power = np.abs(np.fft.rfft(profile.hz(t_s))) ** 2
        slow = power[(lines > 0.1) & (lines < 0.2)].sum() / 0.1
        fast = power[(lines > 0.8) & (lines < 1.6)].sum() / 0.8
        assert math.log2(slow / fast) / 3 == pytest.approx(exponent, abs=0.15)


@pytest.mark.parametrize(
    ("event", "share"),
    [
        (Sag(depth=0.6, start_s=0.2, cycles=5), 0.4),
        (Swell(rise=0.3, start_s=0.2, cycles=5), 1.3),
        (Interruption(residual=0.05, start_s=0.2, cycles=5), 0.05),
        (RapidVoltageChange(change=0.07, start_s=0.2, seconds=0.1), 1.07),
        (Sag(depth=0.5, start_s=0.2, cycles=8, edge_s=0.02), 0.5),
        (Profile(points=((0.0, 0.9), (0.05, 0.9), (0.05, 0.5), (0.1, 0.5)), start_s=0.2, seconds=0.1), 0.5),
    ],
)
def test_the_residual_is_the_held_level(event, share) -> None:
    _, truth = mains(0.6, frequency_hz=60.0, harmonics=MIX_3_PERCENT, disturbances=[event])
    assert truth.residual_v() == pytest.approx(share * truth.rms_v, rel=1e-9)
    assert truth.kind == event.kind


def test_an_amplitude_slope_has_integral_rms() -> None:
    sag = Sag(depth=0.5, start_s=0.1, seconds=0.3, edge_s=1 / 60)  # one cycle, from 1 to 0.5
    _, truth = mains(0.6, disturbances=[sag])
    found = truth.rms_v_between(np.array([1200.0]), np.array([1400.0]))
    # mean over x of 2 (1 - x/2)^2 sin^2(2 pi x) = 7/12 - (1/4) * int x^2 cos(4 pi x) = 7/12 - 1/(32 pi^2)
    assert found**2 == pytest.approx(120.0**2 * (7 / 12 - 1 / (32 * math.pi**2)), rel=1e-10)


def test_flicker_swings_the_voltage_by_its_change() -> None:
    for form in ("sine", "rectangular"):
        flicker = FlickerEvent(modulation_hz=0.5, change_percent=4.0, form=form, start_s=0.0, seconds=2.0)
        volts, truth = mains(2.0, disturbances=[flicker])
        rms_v = truth.half_cycle_rms_v()
        assert np.ptp(rms_v) == pytest.approx(120 * 0.04, rel=1e-3)
        assert np.sqrt(np.mean(volts**2)) == pytest.approx(
            truth.rms_v_between(np.zeros(1), np.full(1, 24_000.0))[0], rel=1e-6
        )


def test_a_harmonic_burst_adds_its_power() -> None:
    burst = HarmonicDistortion(harmonics=(Harmonic(5, 8.0, 30.0),), start_s=0.1, cycles=6)
    _, truth = mains(0.4, disturbances=[burst])
    rms_v = truth.cycle_rms_v()
    assert rms_v[:6] == pytest.approx(120.0, rel=1e-12)
    assert rms_v[6:12] == pytest.approx(120.0 * math.hypot(1.0, 0.08), rel=1e-12)
    assert rms_v[12:] == pytest.approx(120.0, rel=1e-12)


def test_phasors_are_those_of_the_standards_test_signals() -> None:
    profiles = [Modulation(2.0, 0.1, 180.0)]  # 120 sqrt(2) (1 + 0.1 sin) cos(w0 t + 0.1 cos(wm t - pi) - 0.4)
    amplitude = FlickerEvent(modulation_hz=2.0, change_percent=20.0, start_s=0.0, seconds=100.0)
    _, truth = mains(
        1.0, frequency_hz=60.0, phase_deg=90 - math.degrees(0.4), profiles=profiles, disturbances=[amplitude]
    )
    t_s = np.linspace(0.0, 0.99, 34)
    size = 120 * (1 + 0.1 * np.sin(2 * math.pi * 2 * t_s))
    angle = 0.1 * np.cos(2 * math.pi * 2 * t_s - math.pi) - 0.4
    assert truth.phasor_v(12_000 * t_s, 60.0) == pytest.approx(size * np.exp(1j * angle), abs=1e-9)
    volts = truth.mains.clean_v(t_s)
    assert volts == pytest.approx(math.sqrt(2) * size * np.cos(2 * math.pi * 60 * t_s + angle), abs=1e-9)


def test_a_clock_error_moves_edges_only() -> None:
    _, plain = mains(1.0, harmonics=MIX_3_PERCENT)
    _, fast = mains(1.0, harmonics=MIX_3_PERCENT, clock=SampleClock(offset_ppm=200.0))
    count = len(fast.edges())
    assert fast.edges() == pytest.approx(plain.edges()[:count] * 1.0002, rel=1e-12)
    assert fast.cycle_rms_v() == pytest.approx(plain.rms_v, rel=1e-12)
    told_hz = 12_000 / np.diff(fast.edges())
    assert told_hz == pytest.approx(60 / 1.0002, rel=1e-9)


@pytest.mark.parametrize(("seconds", "start_s"), [(1.0, 1.5), (1.0, 1.0), (0.01, 0.0), (0.0, 0.0)])
def test_a_disturbance_without_whole_cycle_has_no_residual(seconds: float, start_s: float) -> None:
    _, truth = mains(seconds, disturbances=[Sag(depth=0.3, start_s=start_s)])
    with pytest.raises(ValueError, match=r"disturbance 0 lies at samples .*; want a whole cycle"):
        truth.residual_v()


def test_a_late_disturbance_has_its_cycles_residual() -> None:
    """A disturbance in the last half cycle has the residual of the cycle it touches."""
    _, truth = mains(1.0, disturbances=[Sag(depth=0.3, start_s=0.995)])
    part = 0.3  # of the last of 60 cycles, from 70 % of it on: sin^2 between, in closed form
    inside = part / 2 - (math.sin(4 * math.pi) - math.sin(4 * math.pi * 0.7)) / (8 * math.pi)
    wanted = 120 * math.sqrt(1 - 2 * inside * (1 - 0.7**2))
    assert truth.residual_v() == pytest.approx(wanted, rel=1e-9)


def test_a_shorted_half_has_its_series() -> None:
    """A square wave from a shorted half has the lines of its series."""
    # a voltage that is shorted during its whole negative half: the half-wave rectified sine
    notch = PeriodicNotching(
        depth=1.0, width_s=0.5 / 60 - 1e-9, per_cycle=1, first_deg=180.0, start_s=0, seconds=1
    )
    _, truth = mains(0.5, disturbances=[notch])
    found = truth.harmonics_v(0.0, 2400.0) * math.sqrt(2) / PEAK_V
    wanted = np.zeros(50, dtype=complex)
    wanted[0] = 0.5
    even = np.arange(2, 51, 2)
    wanted[even - 1] = -2 / math.pi / (even**2 - 1) * 1j  # of cos
    assert found == pytest.approx(wanted, abs=1e-6)


def test_a_harmonic_burst_raises_thd() -> None:
    burst = HarmonicDistortion(harmonics=(Harmonic(5, 8.0, 30.0),), start_s=0.2, cycles=12)
    _, truth = mains(0.6, harmonics={3: (6.0, 10.0)}, disturbances=[burst])
    for start, thd_percent in ((0.0, 6.0), (2400.0, 10.0)):
        sizes_v = np.abs(truth.harmonics_v(start, start + 2400.0))
        assert 100 * np.hypot.reduce(sizes_v[1:]) / sizes_v[0] == pytest.approx(thd_percent, rel=1e-10)
    line = truth.harmonics_v(2400.0, 4800.0)[4]
    assert line == pytest.approx(9.6 * np.exp(1j * math.radians(30.0)), rel=1e-10)


@given(
    st.lists(st.sampled_from(sorted(ON_DEMAND)), min_size=1, max_size=3),
    st.floats(0.02, 0.2),
    st.floats(0.0, 359.0),
    st.floats(0.05, 0.2),
)
@settings(max_examples=25, deadline=None)
def test_disturbed_rms_equals_dense_samples(kinds, start_s, angle_deg, depth) -> None:
    made = [
        on_demand(
            kind, numbers_for(kind, {"cycles": 5.5, "depth": depth, "angle_deg": angle_deg}), 120.0, 60.0
        )
        for kind in kinds
        if kind != "noise"
    ]
    wanted = [replace(one, start_s=start_s) for one in made if isinstance(one, MainsDisturbance)]
    rate_hz = 600_000.0
    volts, truth = mains(0.4, rate_hz, disturbances=wanted)
    edges = truth.edges(2)
    energy = np.concatenate(([0.0], np.cumsum(volts**2)))
    found = np.interp(edges[2:], np.arange(len(energy)), energy) - np.interp(
        edges[:-2], np.arange(len(energy)), energy
    )
    length = edges[2:] - edges[:-2]
    whole = length > 1000  # not the sliver that a jump leaves
    rms_v = np.sqrt(found[whole] / length[whole])
    assert truth.half_cycle_rms_v()[whole] == pytest.approx(rms_v, rel=3e-4)


@pytest.mark.parametrize("hz", [59.5, 2950.0, 5900.0])
def test_a_tones_rms_is_exact(hz: float) -> None:
    _, truth = mains(1.0, voltage_v=1e-10, tones=[MainsTone(hz, 1e12)])  # nothing but the tone, 1 V rms
    starts = np.array([0.0, 317.3, 5000.1])
    stops = np.array([12_000.0, 411.9, 5003.7])
    turns = 4 * math.pi * hz / 12_000
    wanted = 1 - (np.sin(turns * stops) - np.sin(turns * starts)) / (turns * (stops - starts))
    assert truth.rms_v_between(starts, stops) == pytest.approx(np.sqrt(wanted), rel=1e-8)


@pytest.mark.parametrize(
    "event",
    [
        ImpulsiveTransient(peak_pu=2.0, rise_s=5e-6, decay_s=5e-5, start_s=0.1),
        OscillatoryTransient(peak_pu=2.0, ring_hz=5800.0, decay_s=0.004, start_s=0.1),
    ],
)
def test_a_transients_rms_is_its_energy(event) -> None:
    _, truth = mains(0.3, voltage_v=1e-6, disturbances=[replace(event, peak_pu=1e8)])
    wanted = replace(event, peak_pu=1e8).energy_v2s(truth.mains.wave)
    found = truth.rms_v_between(np.array([600.0]), np.array([3000.0]))[0]
    assert found**2 * 0.2 == pytest.approx(wanted, rel=1e-6)
