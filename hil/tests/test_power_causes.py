"""Causes, each held to a closed form that does not come from it."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from power_system_under_test import DOCUMENT, NOMINAL_V, OUTLETS, moments, rms_v, small_network, system_with

from opq_proto.config.reading import build
from opq_sim.mains.grid import Grid
from opq_sim.power_system.causes.capacitor_switching import CapacitorSwitching
from opq_sim.power_system.causes.fault import ClearedFault
from opq_sim.power_system.causes.lightning import Lightning
from opq_sim.power_system.causes.lost_neutral import LostNeutral
from opq_sim.power_system.causes.motor_start import MotorStart
from opq_sim.power_system.causes.site import WAVE_KM_PER_S
from opq_sim.power_system.causes.tap_changer import TapChange
from opq_sim.power_system.causes.transformer_energising import TransformerEnergising, pulse_series
from opq_sim.power_system.network.network import PowerNetwork
from opq_sim.power_system.network.network_config import NetworkConfig
from opq_sim.power_system.power_system import PowerSystem

OMEGA = 2 * math.pi * 50


def test_a_bank_rings_at_its_frequency():
    """A capacitor bank rings at one over two pi root lc from an empty bank."""
    bank = CapacitorSwitching(at="mv", kvar=1200.0)
    system = system_with(bank)
    source = small_network().thevenin("mv").z1
    capacitance = 1200e3 / (OMEGA * 20_000.0**2)
    wanted_hz = 1 / (2 * math.pi * math.sqrt(source.imag / OMEGA * capacitance))
    outlet = system.voltages["4"]
    (start_s,) = outlet.changes(0.4, 0.55)[:1]
    steady = outlet.steady(2.0, 2.02)
    assert steady is not None
    t_s = start_s + np.arange(2000) / 200_000
    turn = 2 * math.pi * outlet.cycles(t_s)
    free = outlet.volts(t_s) - math.sqrt(2) * steady.fundamental_v * np.sin(turn)
    assert outlet.volts(np.array([start_s]))[0] == pytest.approx(0.0, abs=0.002 * 11_547)
    rising = np.flatnonzero((free[:-1] < 0) & (free[1:] >= 0))
    crossings = rising - free[rising] / (free[rising + 1] - free[rising])
    found_hz = 200_000 * (len(crossings) - 1) / (crossings[-1] - crossings[0])
    assert found_hz == pytest.approx(wanted_hz, rel=0.005)
    tops = np.array([np.abs(free[a:b]).max() for a, b in pairwise(rising)])
    falls = np.log(tops[:-1] / tops[1:]) * found_hz
    damping = source.real / (2 * source.imag / OMEGA)
    assert falls.std() < 0.03 * falls.mean()  # one exponential
    assert falls.mean() > damping  # the loads damp too


def test_an_unloaded_bank_rings_down():
    unloaded = PowerNetwork(build(NetworkConfig, {**DOCUMENT, "load": []}, "no loads"))
    bank = CapacitorSwitching(at="mv", kvar=1200.0)
    system = PowerSystem(unloaded, Grid(50.0), OUTLETS[3:], scheduled=[(0.5, bank)])
    outlet = system.voltages["4"]
    start_s = outlet.changes(0.4, 0.55)[0]
    source = unloaded.thevenin("mv").z1
    damping, inductance = source.real / (2 * source.imag / OMEGA), source.imag / OMEGA
    capacitance = 1200e3 / (OMEGA * 20_000.0**2)
    speed = math.sqrt(1 / (inductance * capacitance) - damping**2)
    steady = outlet.steady(20.0, 20.02)  # the ringing is over
    assert steady is not None
    t_s = np.arange(0, 0.03, 1e-5)
    turn = 2 * math.pi * outlet.cycles(start_s + t_s)
    free = outlet.volts(start_s + t_s) - math.sqrt(2) * steady.fundamental_v * np.sin(turn)
    # one exponential with one frequency: v'' + 2 d v' + (w^2 + d^2) v = 0, whatever A and B are
    profiles = np.exp(-damping * t_s)[:, None] * np.column_stack([np.cos(speed * t_s), np.sin(speed * t_s)])
    parts, *_ = np.linalg.lstsq(profiles, free, rcond=None)
    assert np.abs(free - profiles @ parts).max() < 0.005 * np.abs(free).max()
    assert np.exp(-damping * t_s[-1]) < 0.8  # so that a wrong decay would show


def test_a_starting_motor_takes_its_share():
    """By its impedance; it stops when the motor runs."""
    system = system_with(MotorStart(at="lv2", kw=75.0, starting_pf=0.3))
    source = small_network().thevenin("lv2", with_loads=True).z1
    kva = 6.0 * 75.0 / 0.8
    admittance = kva * 1e3 / 400.0**2 * complex(0.3, -math.sqrt(1 - 0.09))
    before_v = rms_v(system, "3", 0.4)
    wanted = 1 / abs(1 + source * admittance)
    assert rms_v(system, "3", 0.5) / before_v == pytest.approx(wanted, rel=0.002)
    running = rms_v(system, "3", 10.0) / before_v
    assert 0.99 < running < 1.0
    assert rms_v(system, "3", 25.0) == pytest.approx(before_v, rel=1e-9)
    profile = [rms_v(system, "3", at_s) for at_s in np.arange(0.5, 6.0, 0.1)]
    assert np.all(np.diff(profile) > -1e-3 * before_v)


def test_a_motor_runs_up_by_torque():
    """2H ds/dt = -V^2 r2 / s / ((r1 + r2 / s)^2 + x^2): without load the time to a slip is a closed form."""
    motor = MotorStart(at="lv2", kw=75.0, load=0.0, inertia_s=0.8)
    system = system_with(motor)
    base_ohm = 400.0**2 / (motor.rating_kva * 1e3)
    source = small_network().thevenin("lv2", with_loads=True).z1 / base_ohm
    before_v = rms_v(system, "3", 0.4)
    volts_pu = abs(small_network().voltages()["lv2"][0]) / small_network().nominal_v("lv2")
    r2 = motor.starting_pf / motor.starting_ratio / 2
    x = math.sqrt(1 - motor.starting_pf**2) / motor.starting_ratio
    r1, whole_x = r2 + source.real, x + source.imag
    for slip in (0.9, 0.6, 0.3, 0.1):
        integral = (
            (r1**2 + whole_x**2) * (1 - slip**2) / 2 + 2 * r1 * r2 * (1 - slip) + r2**2 * math.log(1 / slip)
        )
        at_s = 0.5 + 2 * motor.inertia_s / (volts_pu**2 * r2) * integral
        taken = 1 / (r2 + r2 / slip + 1j * x)
        assert rms_v(system, "3", at_s - 0.01) / before_v == pytest.approx(
            1 / abs(1 + source * taken), abs=1e-3
        )


def test_a_heavier_motor_runs_up_for_longer():
    ends = []
    for inertia_s in (0.3, 0.6):
        seen = []
        system = system_with()
        system.listen(seen.append)
        system.add(MotorStart(at="lv2", inertia_s=inertia_s), 0.5)
        system.before(1.0)
        ends.append(seen[0].solved.end_s - 0.5)
    assert ends[1] == pytest.approx(2 * ends[0], rel=0.15)


def test_an_inrushs_series_is_its_pulses():
    half = 1.1
    x = 2 * math.pi * np.arange(1 << 16) / (1 << 16)
    wrapped = np.minimum(x, 2 * math.pi - x)
    pulse = np.where(wrapped < half, np.cos(wrapped) - math.cos(half), 0.0)
    lines = np.fft.rfft(pulse).real / len(x) * np.array([1, *[2] * (len(x) // 2)])
    assert pulse_series(half, (0, 1, 2, 3, 7)) == pytest.approx(lines[[0, 1, 2, 3, 7]], abs=1e-8)


def test_inrush_has_a_decaying_second_harmonic():
    system = system_with(TransformerEnergising(at="feeder1/2km", rating_kva=2000.0))
    outlet = system.voltages["1"]
    sizes = []
    for start_s in np.arange(0.54, 1.4, 0.2):
        volts = outlet.volts(start_s + np.arange(240) / 12_000)
        sizes.append(abs(np.fft.rfft(volts)[2]) / 120)
    assert sizes[0] > 0.005 * NOMINAL_V * math.sqrt(2)
    assert np.all(np.diff(sizes) < 0)
    assert sizes[-1] < sizes[0] / 5
    assert rms_v(system, "1", 0.54) < 0.995 * rms_v(system, "1", 0.4)


def test_inrush_follows_the_flux_equation():
    """d flux / d angle = sin(angle) - r i, i = (flux - knee) / x beyond it: two phases alike, one still."""
    cause = TransformerEnergising(at="feeder1/2km", rating_kva=2000.0, angle_deg=90.0, remanence_pu=0.0)
    system = system_with(cause)
    outlet = system.voltages["4"]
    start_s = outlet.changes(0.4, 0.6)[0]
    source = small_network().thevenin("feeder1/2km").z1 * 2000e3 / 20_000.0**2
    at_place = system_with(outlets=[replace(OUTLETS[3], box_id="p", bus="feeder1/2km")])
    steady = at_place.voltages["p"].steady(0.1, 0.2)
    assert steady is not None
    size = steady.fundamental_v / 11_547.0
    r, x = 0.01 + source.real, 0.3 + source.imag
    steps, cycles = 2000, 12
    flux, angle, step = 0.0, -math.pi / 6, 2 * math.pi / steps  # phase b: at 90 - 120 degrees
    current = np.zeros((cycles, steps))
    for k in range(cycles * steps):
        taken = max(0.0, flux - 1.2) / x
        current[k // steps, k % steps] = taken
        half = flux + step / 2 * (size * math.sin(angle) - r * taken)
        flux += step * (size * math.sin(angle + step / 2) - r * max(0.0, half - 1.2) / x)
        angle += step
    wanted = np.abs(np.fft.rfft(current, axis=1)[:, 2])
    found = np.array(
        [
            abs(np.fft.rfft(outlet.volts(start_s + (k - 0.5 + np.arange(240) / 240) / 50))[2])
            for k in range(1, cycles)
        ]
    )
    assert found / found[0] == pytest.approx(wanted[1:] / wanted[1], rel=0.03)
    assert wanted[-1] < 0.6 * wanted[1]  # it really decays meanwhile


def test_a_strokes_induction_follows_rusck():
    stroke = Lightning(at="feeder2/3km", current_ka=20.0, distance_m=100.0, height_m=10.0)
    assert stroke.surge_kv == pytest.approx(30 * 20 * 10 / 100 * (1 + 0.4 / math.sqrt(2 - 0.16)))
    system = system_with(stroke)
    at_s = {box: system.voltages[box].changes(0.4, 0.6)[0] for box in "1234"}
    assert at_s["2"] - at_s["4"] == pytest.approx((5.0 - 3.0) / WAVE_KM_PER_S)
    assert at_s["1"] - at_s["4"] == pytest.approx(5.0 / WAVE_KM_PER_S)
    clean = system_with()
    t_s = at_s["2"] + np.arange(200) * 1e-6
    surge = system.voltages["2"].volts(t_s) - clean.voltages["2"].volts(t_s)
    arriving_kv = stroke.surge_kv / (1 + 0.0002 * stroke.surge_kv * 5.0)
    assert surge.max() == pytest.approx(10 * arriving_kv, rel=1e-3)


def test_a_direct_stroke_is_cleared():
    system = system_with(Lightning(at="feeder2/3km", distance_m=0.0, breaker="feeder2", recloses=1.0))
    start_s = system.voltages["2"].changes(0.4, 0.6)[0]
    assert rms_v(system, "2", start_s + 0.2) < 1.0
    assert rms_v(system, "2", start_s + 0.52) == pytest.approx(rms_v(system, "2", 0.4), rel=1e-6)
    assert rms_v(system, "1", start_s + 0.2) == pytest.approx(rms_v(system, "1", 0.4), rel=0.01)


def test_a_lasting_fault_leaves_the_feeder_dead():
    """The breaker opens again."""
    fault = ClearedFault(
        at="feeder2/3.1km",
        type="LLL",
        clear_ms=80.0,
        breaker="feeder2",
        recloses=2.0,
        permanent=True,
        open_s=5.0,
    )
    system = system_with(fault)
    outlet = system.voltages["2"]
    at_s = outlet.changes(0.4, 20.0)
    assert np.diff(at_s) == pytest.approx([0.08, 0.4, 0.08, 2.0, 0.08, 5.0])
    dead = [outlet.steady(a + 1e-3, b - 1e-3) for a, b in zip(at_s[1::2], at_s[2::2], strict=False)]
    assert [state is not None and state.fundamental_v < 1.0 for state in dead] == [True] * 3
    other = system.voltages["4"].steady(at_s[0] + 0.01, at_s[0] + 0.05)
    assert other is not None
    network = small_network()
    near, whole = network.thevenin("mv").z1, network.thevenin("feeder2/3.1km").z1
    divider = abs(whole - near) / abs(whole)
    assert other.fundamental_v / 11_547 == pytest.approx(divider, rel=0.01)


def test_a_fault_begins_at_its_point_on_wave():
    system = system_with(ClearedFault(at="feeder2/3.1km", type="LG", angle_deg=90.0), hz=50.3)
    first_s = system.voltages["4"].changes(0.4, 0.6)[0] - 3.1 / WAVE_KM_PER_S
    clean = system_with(hz=50.3)
    assert clean.voltages["4"].cycles(np.array([first_s]))[0] % 1.0 == pytest.approx(0.25, abs=1e-3)


def test_taps_multiply_what_is_behind_and_stay():
    system = system_with(TapChange(at="t0", steps=3.0, step_percent=1.5, every_s=0.5))
    before_v = rms_v(system, "3", 0.4)
    found = [rms_v(system, "3", at_s) / before_v for at_s in (0.6, 1.1, 1.6, 500.0)]
    assert found == pytest.approx([1.015, 1.03, 1.045, 1.045], rel=1e-3)
    refused, reasons = system_with(TapChange(at="t9")), []
    refused.on_refusal = reasons.append
    refused.before(1.0)
    assert "t9" in reasons[0].reason and list(refused.refused) == reasons


def test_a_tap_beyond_its_band_reverses():
    system = system_with(TapChange(at="t0", steps=2.0, step_percent=1.5, within_percent=2.0))
    before_v = rms_v(system, "3", 0.4)
    assert rms_v(system, "3", 500.0) / before_v == pytest.approx(0.97, rel=1e-3)


def test_a_lost_neutral_shifts_the_phases():
    system = system_with(LostNeutral(at="lv2", seconds=2.0))
    heavy, light = rms_v(system, "2", 1.0), rms_v(system, "3", 1.0)
    assert heavy < 0.8 * NOMINAL_V < 1.1 * NOMINAL_V < light
    assert rms_v(system, "1", 1.0) == pytest.approx(rms_v(system, "1", 0.4), rel=1e-4)
    assert rms_v(system, "2", 3.0) == pytest.approx(rms_v(system, "2", 0.4), rel=1e-9)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: ClearedFault(at="mv", clear_ms=0.0), "clear_ms is 0; want 1 to 600000"),
        (lambda: MotorStart(at="mv", kw=float("nan")), "kw is nan"),
        (lambda: Lightning(at="mv", current_ka=1000.0), "current_ka is 1000; want 1 to 300"),
    ],
)
def test_a_number_out_of_range_is_named(made, words):
    with pytest.raises(ValueError, match=words):
        made()


def test_an_impossible_cause_is_refused_early():
    system = system_with()
    for cause in (
        ClearedFault(at="feeder9/1km"),
        ClearedFault(at="feeder2/80km"),
        ClearedFault(at="mv", breaker="nothing"),
    ):
        with pytest.raises(Exception, match=r"feeder9|80|nothing"):
            system.add(cause)
    assert not system.refused
    assert len(moments(0.0, 0.1)) == 1200
