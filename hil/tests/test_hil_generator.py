"""The generator against closed forms: its truth is known, so every number here is."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_measure.events.disturbances import find_disturbances
from opq_measure.frequency.per_window import window_frequency_hz
from opq_sim.mains.generator import Generator, Harmonic, MainsSignal
from opq_sim.mains.grid import Grid, GridExcursion
from opq_sim.mains.grid_events import KINDS, GridEvent, Recurring, disturbance, first_below, steps


def volts_of(generator: Generator, first: int, count: int) -> np.ndarray:
    return generator.counts(first, count) * generator.v_per_lsb


def test_a_pure_sine_has_its_rms():
    generator = Generator(MainsSignal(fundamental_v=230.0, noise_v=0.0, v_per_lsb=0.02), Grid(50.0))
    volts = volts_of(generator, 0, 12_000)
    assert math.sqrt(np.mean(volts**2)) == pytest.approx(230.0, rel=1e-5)
    assert np.mean(window_frequency_hz(volts, 12_000.0, 50.0)) == pytest.approx(50.0, abs=1e-4)


def test_harmonics_noise_and_dc_are_added():
    signal = MainsSignal(120.0, (Harmonic(3, 5.0, 20.0), Harmonic(7, 2.0, 90.0)), dc_v=0.5, noise_v=0.2)
    generator = Generator(signal, Grid(60.0), seed=4)
    volts = volts_of(generator, 0, 12_000)
    lines = np.abs(np.fft.rfft(volts)) / 6000 / math.sqrt(2)  # volts rms, 1 Hz apart
    assert lines[60] == pytest.approx(120.0, rel=1e-3)
    assert lines[180] / lines[60] == pytest.approx(0.05, abs=2e-4)
    assert lines[420] / lines[60] == pytest.approx(0.02, abs=2e-4)
    assert volts.mean() == pytest.approx(0.5, abs=0.01)
    rest = volts - generator.truth(0, 12_000).volts
    quantisation_v = signal.v_per_lsb / math.sqrt(12)
    assert rest.std() == pytest.approx(math.hypot(0.2, quantisation_v), rel=0.03)
    assert signal.thd == pytest.approx(math.hypot(0.05, 0.02))


@given(st.lists(st.integers(1, 700), min_size=2, max_size=12), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_block_size_changes_no_block(sizes: list[int], seed: int):
    def make() -> Generator:
        sag = Recurring(disturbance("sag", cycles=3), first_s=0.05, every_s=0.2)
        return Generator(grid=Grid(59.7, wander_hz=0.05, wander_s=3.0), seed=seed, recurring=(sag,))

    whole = make().counts(0, sum(sizes))
    pieces, at, piecewise = [], 0, make()
    for size in sizes:
        pieces.append(piecewise.counts(at, size))
        at += size
    assert np.array_equal(whole, np.concatenate(pieces))


def test_another_seed_is_another_noise():
    assert not np.array_equal(Generator(seed=1).counts(0, 200), Generator(seed=2).counts(0, 200))


def test_the_phase_is_the_integral_of_the_frequency():
    grid = Grid(
        60.0,
        wander_hz=0.1,
        wander_s=5.0,
        excursions=(GridExcursion(1.0, 4.0, ((0, 0.0), (0.5, 0.3), (2, 0.0))),),
    )
    t_s = np.arange(0, 12, 1e-4)
    numeric = np.concatenate(([0.0], np.cumsum((grid.hz(t_s)[1:] + grid.hz(t_s)[:-1]) / 2 * 1e-4)))
    assert np.max(np.abs(grid.cycles(t_s) - numeric)) < 1e-4
    one_by_one = np.array([grid.cycles_at(float(t)) for t in t_s[::5000]])
    assert np.allclose(one_by_one, grid.cycles(t_s)[::5000], atol=1e-9)


@pytest.mark.parametrize(("depth", "cycles"), [(0.3, 10), (0.6, 2), (0.15, 30)])
def test_a_sag_has_its_residual_and_length(depth: float, cycles: int):
    generator = Generator(MainsSignal(noise_v=0.0), Grid(60.0))
    generator.counts(0, 6000)
    placed = generator.add(disturbance("sag", depth=depth, cycles=cycles))
    volts = volts_of(generator, 0, 24_000)
    (found,) = find_disturbances(volts, 12_000.0)
    assert found.kind == "sag"
    assert found.residual_v == pytest.approx(120 * (1 - depth), rel=1e-3)
    assert found.duration_cycles == pytest.approx(cycles, abs=0.5)
    assert found.start_sample == pytest.approx(placed.start_cycles * 200, abs=100)
    (mark,) = generator.marks(0, 24_000)
    assert mark == round(placed.start_cycles * 200)


def test_each_disturbance_is_its_class():
    generator = Generator(MainsSignal(noise_v=0.0), Grid(60.0))
    for kind, start, depth in (("interruption", 40, 1.0), ("swell", 80, 0.2), ("sag", 120, 0.05)):
        event = disturbance(kind, depth=depth, cycles=5)
        generator.add(GridEvent(kind, float(start), event.shape, mark_cycles=event.mark_cycles))
    found = find_disturbances(volts_of(generator, 0, 36_000), 12_000.0)
    assert [one.kind for one in found] == ["interruption", "swell"]
    assert generator.marks(0, 36_000) == (8000, 16_000)  # the shallow sag never counts


def test_a_sag_begins_at_its_point_on_wave():
    generator = Generator(MainsSignal(noise_v=0.0), Grid(60.0))
    generator.add(disturbance("sag", depth=0.5, cycles=4, angle_deg=90))
    share = generator.truth(0, 2000).share
    first = int(np.flatnonzero(share < 1)[0])
    assert first % 200 == 50


def test_an_oscillating_transient_is_added_once_and_decays():
    event = GridEvent("transient", 10.25, impulse=0.3, impulse_hz=900.0)
    generator = Generator(MainsSignal(noise_v=0.0), Grid(60.0))
    generator.add(event)
    clean = Generator(MainsSignal(noise_v=0.0), Grid(60.0))
    added = volts_of(generator, 0, 4000) - volts_of(clean, 0, 4000)
    assert int(np.argmax(np.abs(added))) == 2050
    assert np.abs(added).max() == pytest.approx(36.0, abs=0.02)
    assert np.abs(added[2100:]).max() < 0.02


def test_the_first_low_half_cycle_is_found():
    shape = steps([1.0, 1.0, 0.95, 0.85, 0.8, 0.8])
    assert first_below(shape, 0.9) == 1.5  # 0.85 and 0.8: 0.825; before it 0.95 and 0.85: 0.901
    assert first_below(shape, 0.7) is None
    assert first_below((), 0.9) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "dip"},
        {"kind": "sag", "depth": 1.2},
        {"kind": "sag", "depth": math.nan},
        {"kind": "sag", "cycles": 0},
        {"kind": "swell", "angle_deg": math.inf},
    ],
)
def test_an_impossible_disturbance_is_refused(wrong: dict):
    with pytest.raises(ValueError, match="want"):
        disturbance(**wrong)


def test_every_kind_can_be_asked_for():
    assert [disturbance(kind).kind for kind in KINDS] == list(KINDS)


def test_a_long_span_equals_its_chunks():
    signal = MainsSignal(harmonics=(Harmonic(3, 5.0, 20.0), Harmonic(11, 2.0, 90.0)), dc_v=0.5, noise_v=0.2)
    grid = Grid(60.0, wander_hz=0.02, wander_s=7.0)
    whole = Generator(signal, grid, seed=4).counts(1_234, 9_999)
    by_chunks = Generator(signal, grid, seed=4)
    parts = [by_chunks.counts(1_234 + first, min(150, 9_999 - first)) for first in range(0, 9_999, 150)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_an_event_waits_for_read_samples():
    generator = Generator(MainsSignal(noise_v=0.0), Grid(60.0))
    before = generator.counts(0, 24_000)
    placed = generator.add(disturbance("interruption", 1.0, 6.0))
    assert placed.start_cycles >= 120.0  # 2 s of 60 Hz were read
    assert np.array_equal(generator.counts(0, 24_000), before)
    assert np.abs(generator.counts(24_000, 3_000)).min() == 0
