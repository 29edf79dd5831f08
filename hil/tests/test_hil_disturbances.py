"""Each kind of disturbance: what it adds is what its closed form says, where it was requested."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_sim.mains import mains
from opq_sim.mains.disturbance import MainsDisturbance
from opq_sim.mains.grid import Grid
from opq_sim.mains.phase_events import FrequencyDeviation, PhaseJumpEvent
from opq_sim.mains.pollution import (
    DcOffset,
    FlickerEvent,
    HarmonicDistortion,
    Interharmonics,
    MainsSignalling,
    NoiseBurst,
    flicker_of,
)
from opq_sim.mains.rms_events import (
    Interruption,
    Overvoltage,
    Profile,
    RapidVoltageChange,
    Sag,
    Swell,
    Undervoltage,
)
from opq_sim.mains.transients import ImpulsiveTransient, OscillatoryTransient, PeriodicNotching
from opq_sim.mains.wave import MainsTone, Wave

PEAK_V = 120.0 * math.sqrt(2)
CONTRACT = (
    "sag swell interruption undervoltage overvoltage impulsive_transient oscillatory_transient "
    "periodic_notching harmonics interharmonics flicker frequency_deviation phase_jump dc_offset noise "
    "rapid_voltage_change"
)
KINDS: tuple[type[MainsDisturbance], ...] = (
    Sag,
    Swell,
    Interruption,
    Undervoltage,
    Overvoltage,
    RapidVoltageChange,
    ImpulsiveTransient,
    OscillatoryTransient,
    PeriodicNotching,
    HarmonicDistortion,
    Interharmonics,
    FlickerEvent,
    FrequencyDeviation,
    PhaseJumpEvent,
    DcOffset,
    NoiseBurst,
)


def added_v(event: MainsDisturbance, seconds: float = 0.5, rate_hz: float = 12_000.0) -> np.ndarray:
    """What a disturbance puts on top of 120 V."""
    return mains(seconds, rate_hz, disturbances=[event])[0] - mains(seconds, rate_hz)[0]


def test_every_class_of_the_contract_can_be_made() -> None:
    assert sorted(kind.kind for kind in KINDS) == sorted(CONTRACT.split())
    for kind in KINDS:
        assert np.abs(added_v(kind(start_s=0.1))).max() > 0.5


def test_disturbances_together_have_their_names_joined() -> None:
    together = [Swell(start_s=0.1), HarmonicDistortion(start_s=0.1), Swell(start_s=0.4)]
    assert mains(0.1, disturbances=together)[1].kind == "harmonics+swell"
    assert mains(0.1)[1].kind == ""


@given(
    st.sampled_from([kind for kind in KINDS if kind not in (FrequencyDeviation, PhaseJumpEvent)]),
    st.floats(0.05, 0.2),
    st.floats(0.0, 359.0),
    st.floats(1.0, 6.0),
    st.floats(45.0, 65.0),
)
@settings(max_examples=40, deadline=None)
def test_nothing_happens_outside_the_span(kind, start_s, angle_deg, cycles, hz) -> None:
    event = kind(start_s=start_s, angle_deg=angle_deg, cycles=cycles)
    volts, truth = mains(0.7, frequency_hz=hz, disturbances=[event])
    plain, _ = mains(0.7, frequency_hz=hz)
    (placed,) = truth.disturbances
    assert placed.start_s >= start_s - 1e-9
    assert placed.start_s < start_s + 1 / hz
    off_deg = (placed.start_s * hz * 360 - angle_deg + 180) % 360 - 180  # 359.999 is as good as 0
    assert off_deg == pytest.approx(0, abs=1e-4)
    assert placed.angle_deg == pytest.approx(angle_deg, abs=1e-6)
    assert placed.stop_s - placed.start_s == pytest.approx(cycles / hz, rel=1e-9)
    start, stop = truth.span_samples()
    stop += event.tail_s() * 12_000
    assert np.array_equal(volts[: math.ceil(start - 1e-3)], plain[: math.ceil(start - 1e-3)])
    assert np.array_equal(volts[math.ceil(stop + 1e-3) :], plain[math.ceil(stop + 1e-3) :])


def test_an_impulse_has_closed_form_energy() -> None:
    for rise_s in (0.0, 2e-5):
        event = ImpulsiveTransient(peak_pu=0.8, rise_s=rise_s, decay_s=4e-4, start_s=0.1, angle_deg=90)
        added = added_v(event, 0.2, 4_000_000.0)
        assert added.max() == pytest.approx(0.8 * PEAK_V, rel=1e-3)
        energy = float(np.sum(added**2)) / 4e6
        assert energy == pytest.approx(event.energy_v2s(Wave(120.0)), rel=1e-3)


def test_an_oscillation_has_frequency_and_energy() -> None:
    for phase_deg in (0.0, 90.0, 200.0):
        event = OscillatoryTransient(ring_hz=1234.5, decay_s=0.003, phase_deg=phase_deg, start_s=0.1)
        added = added_v(event, 0.2, 1_000_000.0)
        assert float(np.sum(added**2)) / 1e6 == pytest.approx(event.energy_v2s(Wave(120.0)), rel=2e-3)
        first = int(np.flatnonzero(np.abs(added) > 1e-9)[0])
        rising = np.flatnonzero((added[first:-1] <= 0) & (added[first + 1 :] > 0))[:4]
        assert np.diff(rising) == pytest.approx(1e6 / 1234.5, abs=1.01)
        at_s = np.array([0.1 + 0.25 / 1234.5])
        wanted = 0.5 * PEAK_V * math.exp(-0.25 / 1234.5 / 0.003) * math.cos(math.radians(phase_deg))
        assert added[round(at_s[0] * 1e6)] == pytest.approx(wanted, rel=0.02, abs=0.5)


def test_notches_have_their_shape_every_cycle() -> None:
    event = PeriodicNotching(depth=0.4, width_s=0.0006, per_cycle=6, first_deg=20.0, start_s=0.1, cycles=10)
    rate_hz = 3_000_000.0
    volts, truth = mains(0.3, rate_hz, disturbances=[event])
    plain, _ = mains(0.3, rate_hz)
    missing = np.abs(plain) - np.abs(volts)
    notched = missing > 1e-9
    assert np.sum(notched) / rate_hz == pytest.approx(10 * 6 * 0.0006, rel=1e-3)
    assert missing[notched] / np.abs(plain[notched]) == pytest.approx(0.4, rel=1e-6)
    starts = np.flatnonzero(np.diff(notched.astype(int)) == 1) + 1
    assert len(starts) == 60
    angles = starts / rate_hz * 60 % 1 * 360
    assert np.sort(angles)[:60:10] == pytest.approx(20 + 60 * np.arange(6), abs=0.1)
    areas = [missing[start : start + 1900].sum() / rate_hz for start in starts[:6]]
    assert areas == pytest.approx(np.asarray(event.areas_vs(Wave(120.0))), rel=2e-3)
    squares = np.sqrt(np.mean(volts[300_000:800_000].astype(float) ** 2))
    assert truth.rms_v_between(np.array([300_000.0]), np.array([800_000.0])) == pytest.approx(
        squares, rel=1e-5
    )


@pytest.mark.parametrize("grid_hz", [16.7, 50.0, 60.0])
def test_notches_keep_their_width_on_any_grid(grid_hz: float) -> None:
    event = PeriodicNotching(depth=0.4, width_s=0.001, per_cycle=3, start_s=0.1, cycles=5)
    rate_hz = 1_000_000.0
    volts, truth = mains(0.5, rate_hz, frequency_hz=grid_hz, disturbances=[event])
    plain, _ = mains(0.5, rate_hz, frequency_hz=grid_hz)
    assert np.sum(np.abs(plain - volts) > 1e-9) / rate_hz == pytest.approx(5 * 3 * 0.001, rel=3e-3)
    placed = truth.disturbances[0].disturbance
    assert isinstance(placed, PeriodicNotching) and placed.width_cycles == pytest.approx(0.001 * grid_hz)


def test_a_telegram_is_on_during_its_ones() -> None:
    event = MainsSignalling(signal_hz=1060.0, percent=3.0, bits="1011", bit_s=0.05, start_s=0.1, seconds=0.3)
    volts, truth = mains(0.5, disturbances=[event])
    added = added_v(event)
    on = [float(np.std(added[first : first + 600])) for first in range(1200, 4800, 600)]
    assert on == pytest.approx([120 * 0.03, 0, 120 * 0.03, 120 * 0.03, 0, 0], rel=2e-3, abs=1e-9)
    measured = np.sqrt(np.mean(volts[1200:2400] ** 2))
    assert truth.rms_v_between(np.array([1200.0]), np.array([2400.0])) == pytest.approx(measured, rel=1e-4)


def test_interharmonics_dc_and_noise_are_exact() -> None:
    tone = added_v(Interharmonics(tones=(MainsTone(190.0, 4.0),), start_s=0.1, seconds=0.2))[1200:3600]
    assert np.std(tone) == pytest.approx(4.8, rel=1e-6)
    lines = np.abs(np.fft.rfft(tone))
    assert np.argmax(lines) * 5 == 190
    assert np.ptp(added_v(DcOffset(dc_v=3.5, start_s=0.1, seconds=0.2))[1200:3600]) < 1e-12
    assert added_v(DcOffset(dc_v=3.5, start_s=0.1, seconds=0.2))[2000] == pytest.approx(3.5)
    noise = added_v(NoiseBurst(noise_db=30.0, start_s=1.0, seconds=5.0), 7.0)
    assert np.std(noise[12_000:72_000]) == pytest.approx(120 / 10**1.5, rel=0.02)
    assert not noise[:12_000].any() and not noise[72_000:].any()


def test_rectangular_flicker_keeps_its_duty() -> None:
    event = FlickerEvent(
        form="rectangular", modulation_hz=2.0, change_percent=4.0, duty=0.2, start_s=0.0, seconds=9
    )
    volts, truth = mains(2.0, disturbances=[event])
    share = truth.mains.share(np.arange(24_000) / 12_000)
    assert sorted(set(share)) == pytest.approx([0.98, 1.02])
    assert np.mean(share > 1) == pytest.approx(0.2, abs=1e-4)
    assert volts == pytest.approx(mains(2.0)[0] * share, abs=1e-9)


def test_a_phase_jump_sag_turns_back() -> None:
    event = Sag(depth=0.5, phase_jump_deg=-30.0, start_s=0.1, cycles=6)
    _, truth = mains(0.4, disturbances=[event])
    (placed,) = truth.disturbances
    t_s = np.array([0.09, 0.15, placed.stop_s - 1e-6, placed.stop_s + 1e-3])
    turned = truth.grid.cycles(t_s) - 60 * t_s
    assert turned * 360 == pytest.approx([0.0, -30.0, -30.0, 0.0], abs=1e-6)
    later = PhaseJumpEvent(degrees=10.0, start_s=0.15, angle_deg=45.0)
    _, both = mains(0.4, disturbances=[event, later])
    start_s = both.disturbances[1].start_s
    assert both.grid.cycles(np.array([start_s - 1e-7]))[0] % 1 * 360 == pytest.approx(45.0, abs=0.01)


def test_a_profile_follows_its_points() -> None:
    points = ((0.0, 0.8), (0.1, 0.8), (0.1, 0.6), (0.2, 1.0))
    _, truth = mains(0.5, disturbances=[Profile(points=points, start_s=0.1, seconds=0.3)])
    share = truth.mains.share(np.array([0.05, 0.1, 0.199, 0.2, 0.25, 0.35, 0.45]))
    assert share == pytest.approx([1.0, 0.8, 0.8, 0.6, 0.8, 1.0, 1.0])


def test_a_moment_is_found_hours_later() -> None:
    grid = Grid(59.98, wander_hz=0.02, wander_s=47.0)
    placed = Sag(start_s=36_000.0, angle_deg=123.0, cycles=30_000).placed(grid)
    assert grid.cycles_at(placed.start_s) % 1 * 360 == pytest.approx(123.0, abs=1e-4)
    assert grid.cycles_at(placed.stop_s) - grid.cycles_at(placed.start_s) == pytest.approx(30_000, abs=1e-6)


def test_pst_follows_the_standards_rows() -> None:
    flicker = flicker_of(2.5, 39, "230V 50Hz", 60.0)
    assert (flicker.change_percent, flicker.modulation_hz) == pytest.approx((2.5 * 0.894, 39 / 120))
    with pytest.raises(ValueError, match="table 5"):
        flicker_of(1.0, 38, "230V 50Hz", 60.0)
    share = mains(120.0, 1200.0, disturbances=[flicker_of(1.0, 7, "120V 60Hz", 120.0)])[1].mains.share(
        np.arange(144_000) / 1200
    )
    assert np.count_nonzero(np.diff(share)) == 13  # 7 a minute, the first at the start
