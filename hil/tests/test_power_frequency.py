"""The frequency of a power system: the swing equation's closed forms, load noise by its statistics."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_sim.mains.grid import Grid
from opq_sim.power_system.swing_model import PRESETS, SwingModel, swing_model
from opq_sim.power_system.system_frequency import CHUNKS_HELD, LoadNoise, PowerStep, system_frequency

FloatArray = NDArray[np.float64]
QUIET = {name: replace(model, noise_hz=0.0) for name, model in PRESETS.items()}
NAMES = list(PRESETS)
ALONE = SwingModel("alone", 50.0, 0.12, 1.5, 0.33, 0.04, 0.5, 0.0, 0.0, 1.0, 1.0)
"""A small part on its own, without secondary control."""


def at(moment_s: float) -> FloatArray:
    return np.array([moment_s])


@pytest.mark.parametrize("name", NAMES)
def test_initial_rocof_is_the_swing_equations(name: str) -> None:
    """Rocof at the loss of a unit is that of the swing equation."""
    model = QUIET[name]
    lost_mw = 0.02 * model.rating_mva
    grid = system_frequency(model, steps=[PowerStep(10.123, lost_mw)])
    wanted = -lost_mw * model.nominal_hz / (2 * model.inertia_s * model.rating_mva)
    assert grid.rocof_hz_per_s(at(10.123))[0] == pytest.approx(wanted, rel=1e-9)
    slope = (grid.hz(at(10.133))[0] - grid.hz(at(10.123))[0]) / 0.01  # as it would be measured
    assert slope == pytest.approx(wanted, rel=0.01)
    assert grid.hz(at(10.122))[0] == model.nominal_hz


@pytest.mark.parametrize("name", [*NAMES, "alone"])
def test_a_steps_answer_is_the_swing_equations(name: str) -> None:
    model = QUIET.get(name, ALONE)
    lost = 0.03
    grid = system_frequency(model, steps=[PowerStep(1.0, lost * model.rating_mva)])

    def slope(state: FloatArray) -> FloatArray:
        x, governor, secondary = state
        power = governor + secondary - lost - model.damping_pu * x
        lag = (-x / model.droop_pu - governor) / model.governor_s
        return np.array([power / (2 * model.inertia_s), lag, -model.secondary_per_s * x])

    state, step_s = np.zeros(3), 0.002
    for k in range(20_000):  # Runge and Kutta, to 40 s
        if k % 1000 == 0:
            reference = model.nominal_hz * (1 + state[0])
            assert grid.hz(at(1.0 + k * step_s))[0] == pytest.approx(reference, abs=1e-8)
        k1 = slope(state)
        k2 = slope(state + step_s / 2 * k1)
        k3 = slope(state + step_s / 2 * k2)
        state = state + step_s / 6 * (k1 + 2 * k2 + 2 * k3 + slope(state + step_s * k3))


def test_secondary_control_restores_the_frequency() -> None:
    slow = replace(QUIET["island"], secondary_per_s=1e-4)
    lost_mw = 0.1 * slow.rating_mva
    grid = system_frequency(slow, steps=[PowerStep(0.0, lost_mw)])
    held = -0.1 * 60 / (1.0 + 1 / 0.05)
    assert slow.settled_hz(lost_mw) == pytest.approx(held)
    assert grid.hz(at(30.0))[0] - 60 == pytest.approx(held, rel=1e-3)
    island = system_frequency(QUIET["island"], steps=[PowerStep(0.0, 100.0)])
    assert abs(island.hz(at(1200.0))[0] - 60) < 1e-5
    gone = island.cycles(at(86_400.0))[0] - 60 * 86_400
    # in the end secondary control gives what was lost: its integral of the relative deviation is that
    assert gone == pytest.approx(-0.1 * 60 / QUIET["island"].secondary_per_s, rel=1e-6)


def test_without_secondary_control_droop_remains() -> None:
    grid = system_frequency(ALONE, steps=[PowerStep(1.0, -0.015)])
    held = 50 + ALONE.settled_hz(-0.015)
    assert held == pytest.approx(50 + 0.125 * 50 / (0.33 + 1 / 0.04))
    t = np.concatenate((np.arange(0.0, 90.0, 0.0123), np.arange(3500.0, 7300.0, 13.7)))
    cycles, hz = grid.cycles(t), grid.hz(t)
    late = t > 60.0
    assert hz[late] == pytest.approx(held, abs=1e-9) and not grid.rocof_hz_per_s(t[late]).any()
    assert np.diff(cycles[late]) == pytest.approx(held * np.diff(t[late]), abs=1e-7)
    for size in (1, 7, 400):  # any blocks, the same bits
        parts = range(0, len(t), size)
        assert np.array_equal(np.concatenate([grid.cycles(t[k : k + size]) for k in parts]), cycles)
        assert np.array_equal(np.concatenate([grid.hz(t[k : k + size]) for k in parts]), hz)


def test_steps_add_up() -> None:
    model = QUIET["continental_50"]
    t = np.linspace(0, 300, 5000)
    one, two = PowerStep(20.0, 1500.0), PowerStep(90.5, -4000.0)
    both = system_frequency(model, steps=[one, two]).hz(t) - 50
    apart = [system_frequency(model, steps=[step]).hz(t) - 50 for step in (one, two)]
    assert np.allclose(both, apart[0] + apart[1], atol=1e-12)
    assert apart[1].max() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_phase_frequency_and_rocof_are_one_function(name: str) -> None:
    model = swing_model(name)
    grid = system_frequency(model, seed=3, steps=[PowerStep(2047.3, 0.02 * model.rating_mva)])
    t = np.arange(2040.0, 2056.0, 1e-3)  # with the end of a chunk at 2048 s and a trip in it
    gained = np.diff(grid.cycles(t))
    simpson = (grid.hz(t[:-1]) + 4 * grid.hz((t[1:] + t[:-1]) / 2) + grid.hz(t[1:])) / 6e3
    assert np.abs(gained - simpson).max() < 1e-7  # one of the steps has the kink of the trip within
    assert np.median(np.abs(gained - simpson)) < 1e-10
    rocof = np.diff(grid.hz(t)) * 1e3
    smooth = np.abs(t[:-1] - 2047.3) > 0.01
    assert np.abs(rocof - grid.rocof_hz_per_s((t[1:] + t[:-1]) / 2))[smooth].max() < 1e-4


def test_any_block_order_is_identical() -> None:
    model = swing_model("island")
    steps = [PowerStep(5000.25, 30.0)]
    t = np.arange(0.0, 12_000.0, 0.7)
    whole = system_frequency(model, 7, steps)
    wanted = {"cycles": whole.cycles(t), "hz": whole.hz(t), "rocof_hz_per_s": whole.rocof_hz_per_s(t)}
    other = system_frequency(model, 7, steps)
    for size in (9000, 1234, 17):
        for start in reversed(range(0, len(t), size)):  # the last block first
            block = t[start : start + size]
            for name, values in wanted.items():
                assert np.array_equal(getattr(other, name)(block), values[start : start + size])
    for name, values in wanted.items():
        for k in (0, 4095, 7143, 7144, 17_000):  # one sample alone; the step lies after 7143
            assert getattr(other, name)(t[k : k + 1])[0] == values[k]
    assert not np.array_equal(system_frequency(model, 8, steps).hz(t), wanted["hz"])
    assert other.hz(np.empty(0)).shape == (0,)


def test_it_replaces_a_steady_grid() -> None:
    grid = system_frequency(swing_model("interconnection_60"), seed=2, steps=[PowerStep(3.0, 5000.0)])
    assert isinstance(grid, Grid)
    cycles = np.arange(61.0, 600.0)
    reached_s = grid.time_s(cycles)
    assert np.allclose(grid.cycles(reached_s), cycles, atol=1e-8)
    assert grid.cycles(at(0.0))[0] == 0.0


def test_days_are_integrated_fast_and_in_bounded_memory() -> None:
    noise = LoadNoise(swing_model("continental_50"), seed=1)
    last = noise.hz(at(10 * 86_400.0))[0]  # asked for first
    assert len(noise._held) <= CHUNKS_HELD
    assert noise.hz(at(0.0))[0] != last
    assert noise.hz(at(10 * 86_400.0))[0] == last
    assert abs(noise.cycles(at(10 * 86_400.0))[0]) < 100  # time error stays bounded: seconds, not minutes


def statistics(model: SwingModel, days: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Hz from nominal each second of all days, autocorrelation by lag in s, density and where, by Welch."""
    grid = system_frequency(model, seed=11)
    hz = np.concatenate([grid.hz(np.arange(day * 86_400.0, (day + 1) * 86_400.0)) for day in range(days)])
    hz -= model.nominal_hz
    spectrum = np.abs(np.fft.rfft(hz, 2 * len(hz))) ** 2
    correlation = np.fft.irfft(spectrum)[:1000]
    window = np.hanning(4096)
    parts = hz[: len(hz) // 4096 * 4096].reshape(-1, 4096) * window
    density = (np.abs(np.fft.rfft(parts, axis=1)) ** 2).mean(0) * 2 / (window**2).sum()
    return hz, correlation / correlation[0], density, np.fft.rfftfreq(4096)


def noise_autocorrelation(model: SwingModel, lag_s: FloatArray) -> FloatArray:
    """(n,) of the frequency under load noise, closed form: the velocity of a damped oscillator.

    Source: S. Chandrasekhar, Reviews of Modern Physics 15 (1943), eqs. 185 to 201.
    """
    half = model.noise_primary_per_s / 2
    turn = np.sqrt(complex(model.noise_secondary_per_s2 - half**2))
    turn = turn if abs(turn) > 1e-9 else complex(1e-9)
    lag = np.abs(lag_s)
    ring = np.cos(turn * lag) - half / turn * np.sin(turn * lag)
    return np.asarray(np.exp(-half * lag) * ring.real)


def noise_density_hz2_per_hz(model: SwingModel, at_hz: FloatArray) -> FloatArray:
    """(n,) one-sided power spectral density of the frequency under load noise, closed form.

    It has its top at sqrt(c2) / (2 pi) and falls with the square of the frequency from c1 / (2 pi) on.
    """
    speed = 2 * math.pi * at_hz
    c1, c2 = model.noise_primary_per_s, model.noise_secondary_per_s2
    white = 2 * c1 * model.noise_hz**2
    return np.asarray(2 * white * speed**2 / ((speed**2 - c2) ** 2 + (c1 * speed) ** 2))


BANDS_HZ = ((0.001, 0.003), (0.003, 0.01), (0.01, 0.03), (0.03, 0.1))


def check_statistics(model: SwingModel, days: int) -> None:
    hz, correlation, density, at_hz = statistics(model, days)
    assert hz.std() == pytest.approx(model.noise_hz, rel=0.1)
    lags = np.array([5, 10, 20, 30, 60])
    assert np.allclose(correlation[lags], noise_autocorrelation(model, lags.astype(float)), rtol=0.1)
    for low, high in BANDS_HZ:
        band = (at_hz >= low) & (at_hz < high)
        wanted = noise_density_hz2_per_hz(model, at_hz[band])
        assert density[band].mean() == pytest.approx(wanted.mean(), rel=0.1), (low, high)


@pytest.mark.parametrize("name", NAMES)
def test_deviation_autocorrelation_and_spectrum_are_those_named(name: str) -> None:
    check_statistics(swing_model(name), days=6)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_deviation_autocorrelation_and_spectrum_over_two_months(name: str) -> None:
    check_statistics(swing_model(name), days=60)


def test_the_continental_preset_is_the_published_model() -> None:
    """Rydin Gorjao et al., IEEE Access 8 (2020): c1 = 0.008311 /s, c2 = 0.000030 /s2; 20 mHz."""
    model = swing_model("continental_50")
    assert (model.noise_primary_per_s, model.noise_secondary_per_s2) == (0.008311, 0.000030)
    assert model.noise_hz == 0.020
    half, turn = 0.008311 / 2, math.sqrt(0.000030 - (0.008311 / 2) ** 2)
    wanted = math.exp(-half * 60) * (math.cos(turn * 60) - half / turn * math.sin(turn * 60))
    assert noise_autocorrelation(model, at(60.0))[0] == pytest.approx(wanted)
    density = noise_density_hz2_per_hz(model, np.geomspace(1e-6, 10, 200_000))
    area = np.trapezoid(density, np.geomspace(1e-6, 10, 200_000))
    assert area == pytest.approx(0.020**2, rel=1e-3)  # Parseval


def test_wrong_figures_say_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="want one of continental_50"):
        swing_model("continental")
    with pytest.raises(ValueError, match="inertia_s of island is 0"):
        replace(PRESETS["island"], inertia_s=0.0)
    with pytest.raises(ValueError, match="noise_hz of island is -1"):
        replace(PRESETS["island"], noise_hz=-1.0)
