"""Edges, rms and frequency against signals of closed form: sines whose cycles and rms are known."""

import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.analysis.analyser import analyze
from opq_measure.frequency.per_window import cycle_frequency_hz, cycles_per_window, window_frequency_hz
from opq_measure.harmonics.spectrum import window_thd
from opq_measure.rms import cycle_rms_v, energies, half_cycle_rms_v
from opq_measure.timebase.cycles import cycle_edges, half_cycle_edges

RATE_HZ = 12_000.0
Floats = NDArray[np.float64]

nominals = st.sampled_from([50.0, 60.0])
deviations = st.floats(0.9, 1.1)
phases = st.floats(0.0, 2 * math.pi)


def seconds(length_s: float, rate_hz: float = RATE_HZ) -> Floats:
    return np.arange(round(length_s * rate_hz)) / rate_hz


def mains(
    t: Floats, hz: float, rms_v: float = 120.0, phase: float = 0.0, harmonics: dict[int, float] | None = None
) -> Floats:
    """A sine and harmonics as shares of it, each with its own phase."""
    turn = 2 * np.pi * hz * t + phase
    wave = np.sin(turn)
    for order, share in (harmonics or {}).items():
        wave = wave + share * np.sin(order * turn + 0.7 * order)
    return rms_v * math.sqrt(2) * wave


def noise(samples: int, rms_v: float, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(scale=rms_v, size=samples)


def cycles_off(edges: Floats, hz: float, phase: float, rate_hz: float = RATE_HZ) -> Floats:
    """How far, in samples, each edge is from a rising zero crossing of the sine."""
    turns = edges * hz / rate_hz + phase / (2 * np.pi)
    return np.abs(turns - np.round(turns)) * rate_hz / hz


@settings(max_examples=60)
@given(nominal=nominals, deviation=deviations, phase=phases, amplitude=st.floats(1.0, 400.0))
def test_edges_lie_on_the_fundamentals_zero_crossings(
    nominal: float, deviation: float, phase: float, amplitude: float
) -> None:
    hz = nominal * deviation
    volts = mains(seconds(1.0), hz, amplitude, phase, {2: 0.02, 3: 0.03, 5: 0.04, 7: 0.02}) + 0.01 * amplitude
    edges = cycle_edges(volts, RATE_HZ, nominal)
    assert abs(len(edges) - hz) <= 1.001
    assert cycles_off(edges, hz, phase).max() < 0.002


@pytest.mark.parametrize("nominal", [50.0, 60.0])
@pytest.mark.parametrize("hz", [42.5, 44.3, 49.99, 51.7, 57.5, 60.013, 63.3, 66.6, 69.0])
def test_the_whole_range_is_tracked(nominal: float, hz: float) -> None:
    volts = mains(seconds(2.0), hz, phase=1.0, harmonics={3: 0.04, 5: 0.03})
    edges = cycle_edges(volts, RATE_HZ, nominal)
    assert cycles_off(edges, hz, 1.0).max() < 0.002
    assert np.abs(window_frequency_hz(volts, RATE_HZ, nominal) - hz).max() < 1e-5


def test_half_cycle_edges_alternate_between_rising_and_falling() -> None:
    volts = mains(seconds(1.0), 60.0, phase=4.0)
    half = half_cycle_edges(volts, RATE_HZ)
    assert np.allclose(np.diff(half), 100.0, atol=1e-6)
    assert np.allclose(cycle_edges(volts, RATE_HZ), half[::2], atol=1e-6)  # from 4 rad on 2 pi comes first


@settings(max_examples=40)
@given(nominal=nominals, deviation=deviations, phase=phases, amplitude=st.floats(0.5, 500.0))
def test_rms_is_right_to_a_ten_thousandth(
    nominal: float, deviation: float, phase: float, amplitude: float
) -> None:
    volts = mains(seconds(1.0), nominal * deviation, amplitude, phase, {3: 0.03, 5: 0.04})
    true = amplitude * math.sqrt(1 + 0.03**2 + 0.04**2)
    for found in (
        cycle_rms_v(volts, cycle_edges(volts, RATE_HZ, nominal)),
        half_cycle_rms_v(volts, half_cycle_edges(volts, RATE_HZ, nominal)),
    ):
        assert np.abs(found / true - 1).max() < 1e-5  # the naive 200 samples ripple by 2.3e-3


def test_dc_is_part_of_the_rms() -> None:
    volts = mains(seconds(0.5), 60.0) + 50.0
    assert cycle_rms_v(volts, cycle_edges(volts, RATE_HZ)) == pytest.approx(math.hypot(120.0, 50.0), rel=1e-4)


def test_a_straight_line_is_integrated_between_samples() -> None:
    volts = np.array([2.0, 2.0, 2.0, 2.0])
    assert energies(volts, np.array([0.0, 0.25, 3.0, 4.0])) == pytest.approx([1.0, 11.0, 4.0], rel=1e-12)
    assert cycle_rms_v(volts, np.array([0.5, 1.75])).tolist() == [2.0]


def test_edges_outside_or_falling_are_refused() -> None:
    volts = np.ones(10)
    for edges, words in (([1.0, 10.5], "leave"), ([-0.5, 2.0], "leave"), ([3.0, 3.0], "rise")):
        with pytest.raises(ValueError, match=words):
            cycle_rms_v(volts, np.array(edges))
    assert len(cycle_rms_v(volts, np.array([1.0]))) == 0
    assert len(half_cycle_rms_v(volts, np.array([1.0, 2.0]))) == 0


def test_many_blocks_have_one_blocks_rms() -> None:
    volts = mains(seconds(100.0), 60.01, phase=0.4)  # 1.2 million samples, three blocks
    rms = half_cycle_rms_v(volts, half_cycle_edges(volts, RATE_HZ))
    assert len(rms) == pytest.approx(2 * 6001, abs=3)
    assert np.abs(rms / 120.0 - 1).max() < 1e-6


@settings(max_examples=40)
@given(
    nominal=nominals,
    deviation=deviations,
    phase=phases,
    decibels=st.floats(50.0, 90.0),
    seed=st.integers(0, 2**31),
)
def test_a_seconds_frequency_is_right_to_a_millihertz(
    nominal: float, deviation: float, phase: float, decibels: float, seed: int
) -> None:
    hz = nominal * deviation
    t = seconds(1.0)
    volts = mains(t, hz, phase=phase, harmonics={3: 0.03, 5: 0.04})
    volts += noise(len(t), 120.0 * 10 ** (-decibels / 20), seed)
    found = window_frequency_hz(volts, RATE_HZ, nominal)
    assert len(found) == int((len(cycle_edges(volts, RATE_HZ, nominal)) - 1) // cycles_per_window(nominal))
    assert abs(found.mean() - hz) < 1e-3


def test_one_second_at_60_hz_has_five_windows() -> None:
    assert len(window_frequency_hz(mains(seconds(1.0), 60.0), RATE_HZ, 60.0)) == 5
    assert len(window_frequency_hz(mains(seconds(1.0), 50.0), RATE_HZ, 50.0)) == 5


def test_a_cycles_frequency_is_its_inverse_length() -> None:
    assert cycle_frequency_hz(np.array([0.0, 200.0, 440.0]), RATE_HZ).tolist() == [60.0, 50.0]


def test_a_sweep_is_followed() -> None:
    t = seconds(4.0)
    volts = 170.0 * np.sin(2 * np.pi * (55.0 * t + (65.0 - 55.0) / 4.0 * t**2 / 2))
    edges_s = cycle_edges(volts, RATE_HZ) / RATE_HZ
    at = 55.0 * edges_s + (65.0 - 55.0) / 4.0 * edges_s**2 / 2
    assert np.abs(at - np.round(at)).max() < 1e-3  # cycles


@settings(max_examples=60)
@given(
    length=st.floats(0.3, 60.0),
    onset=st.floats(0.0, 1.0),
    jump=st.floats(-math.pi, math.pi),
    deviation=deviations,
)
def test_edges_recover_two_cycles_after_an_interruption(
    length: float, onset: float, jump: float, deviation: float
) -> None:
    hz = 60.0 * deviation
    t = seconds(3.0)
    begin, end = 1.0 + onset / hz, 1.0 + (onset + length) / hz
    volts = mains(t, hz)
    volts[t >= begin] = 0.0
    volts[t >= end] = mains(t, hz, phase=jump)[t >= end]
    edges = cycle_edges(volts, RATE_HZ)
    period = RATE_HZ / hz
    assert np.diff(edges).min() > 0.5 * period and np.diff(edges).max() < 1.6 * period
    before = edges[edges < begin * RATE_HZ - 2 * period]
    after = edges[edges > end * RATE_HZ + 2 * period]
    assert cycles_off(before, hz, 0.0).max() < 0.05
    assert cycles_off(after, hz, jump).max() < 0.05  # samples: 0.1 degrees
    rms = cycle_rms_v(volts, after)
    assert np.abs(rms / 120.0 - 1).max() < 2e-4


def test_notches_and_harmonics_do_not_move_edges() -> None:
    t = seconds(2.0)
    volts = mains(t, 60.3, harmonics={2: 0.2, 3: 0.3}) + 25.0
    volts[np.arange(len(t)) % 1000 < 6] = 0.0
    volts[(t > 1.0) & (t < 1.2)] *= 0.5
    steady = cycles_off(cycle_edges(volts, RATE_HZ), 60.3, 0.0)
    assert steady.max() < 2.0  # samples: 3.6 degrees at worst, where notches fall upon the window


def test_silence_gives_even_nominal_edges() -> None:
    for volts in (np.zeros(6000), noise(6000, 1.0), np.full(6000, 50.0)):
        steps = np.diff(cycle_edges(volts, RATE_HZ, 60.0))
        assert len(steps) >= 28
        assert np.median(steps) == pytest.approx(200.0, abs=0.5)


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_fewer_than_two_cycles_have_no_edges(samples: int) -> None:
    volts = mains(seconds(1.0), 60.0)[:samples]
    assert len(cycle_edges(volts, RATE_HZ)) == 0
    assert len(half_cycle_edges(volts, RATE_HZ)) == 0
    assert len(window_frequency_hz(volts, RATE_HZ)) == 0


def test_an_unusable_signal_is_refused_with_reason() -> None:
    broken = mains(seconds(0.1), 60.0)
    broken[77] = np.nan
    with pytest.raises(ValueError, match="sample 77 is not a finite number"):
        cycle_edges(broken, RATE_HZ)
    with pytest.raises(ValueError, match="dimensions"):
        cycle_edges(np.ones((2, 600)), RATE_HZ)
    with pytest.raises(ValueError, match="type"):
        cycle_edges(np.array(["a"] * 600), RATE_HZ)
    with pytest.raises(ValueError, match="rate_hz"):
        cycle_edges(np.ones(600), 400.0)
    with pytest.raises(ValueError, match="is a list, want a NumPy array"):
        cycle_edges([0.0] * 600, RATE_HZ)  # type: ignore[arg-type]


@pytest.mark.parametrize("nominal_hz", [np.nan, np.inf, 0.0, -60.0])
def test_a_wrong_nominal_frequency_is_refused_everywhere(nominal_hz: float) -> None:
    for ask in (cycle_edges, window_frequency_hz, window_thd):
        with pytest.raises(ValueError, match=r"nominal_hz is .*, want a number from 10"):
            ask(np.ones(6000), RATE_HZ, nominal_hz)
    with pytest.raises(ValueError, match="nominal_hz"):
        cycles_per_window(nominal_hz)


def test_two_cycles_of_context_give_the_same_edges() -> None:
    t = seconds(4.0)
    turns = 60.0 * t + 0.05 / (2 * np.pi * 0.2) * (1 - np.cos(2 * np.pi * 0.2 * t))
    volts = 170.0 * (np.sin(2 * np.pi * turns) + 0.04 * np.sin(10 * np.pi * turns)) + noise(len(t), 0.2)
    whole = cycle_edges(volts, RATE_HZ)
    for first in (0, 7_777, 20_000):
        last = first + 14_000
        part = cycle_edges(volts[first:last], RATE_HZ) + first
        inside = part[(part > first + 400) & (part < last - 400)]
        expected = whole[(whole > first + 400) & (whole < last - 400)]
        assert len(inside) == len(expected)
        assert np.abs(inside - expected).max() < 0.01


def test_counts_are_taken_as_they_are() -> None:
    volts = mains(seconds(0.5), 60.0)
    counts = np.rint(volts / 0.0068).astype(np.int16)
    edges = cycle_edges(counts, RATE_HZ)
    assert np.abs(edges - cycle_edges(volts, RATE_HZ)).max() < 0.01
    assert cycle_rms_v(counts, edges) * 0.0068 == pytest.approx(120.0, rel=1e-4)


def test_a_second_of_signal_costs_a_few_milliseconds() -> None:
    volts = mains(seconds(1.0), 60.02) + noise(12_000, 0.1)
    costs = []
    for _ in range(20):
        begin = time.process_time()
        half_cycle_rms_v(volts, half_cycle_edges(volts, RATE_HZ))
        costs.append(time.process_time() - begin)
    assert min(costs) < 0.010  # about 1 ms on the machine of the README


@settings(max_examples=60)
@given(
    samples=st.integers(0, 5000),
    rate_hz=st.sampled_from([1200.0, 2000.0, 12_000.0, 50_000.0]),
    kind=st.sampled_from(["noise", "counts", "impulse", "square", "tone", "switched"]),
    seed=st.integers(0, 2**31),
)
def test_arbitrary_input_gives_rising_edges(samples: int, rate_hz: float, kind: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    t = np.arange(samples)
    volts = {
        "noise": random.normal(size=samples) * 10 ** random.uniform(-300, 11),
        "counts": random.integers(-32768, 32768, samples).astype(np.int16),
        "impulse": np.where(t == samples // 2, 1e6, 0.0),
        "square": 170.0 * np.sign(np.sin(t * 0.0314)),
        "tone": 170.0 * np.sin(t * random.uniform(0, 3.2)),
        "switched": 170.0 * np.sin(t * 0.0314) * (random.uniform(size=samples) < 0.5),
    }[kind]
    found = analyze(volts, rate_hz, 120.0, 60.0)
    assert (np.diff(found.cycle_starts) > 0).all() and (np.diff(found.half_starts) > 0).all()
    assert all(event.duration_s > 0 for event in found.disturbances)
    json.dumps(found.contract("x"), allow_nan=False)
