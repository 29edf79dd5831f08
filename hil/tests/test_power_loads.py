"""Causes that are loads, signals and whole systems, each held to a closed form or a meter."""

import math
from dataclasses import replace

import numpy as np
import pytest
from power_system_under_test import DOCUMENT, NOMINAL_V, OUTLETS, moments, rms_v, small_network, system_with

from opq_measure.aggregation.unbalance import fundamental, unbalance
from opq_proto.config.reading import build
from opq_sim.mains.grid import Grid
from opq_sim.power_system.causes.arc_furnace import ArcFurnace
from opq_sim.power_system.causes.catalogue import CAUSES, cause_of
from opq_sim.power_system.causes.converter_loads import ConverterLoad
from opq_sim.power_system.causes.islanding import Islanding
from opq_sim.power_system.causes.ripple_control import RippleControl
from opq_sim.power_system.causes.uneven_load import UnevenLoad
from opq_sim.power_system.causes.unit_trip import UnitTrip
from opq_sim.power_system.disturbance_terms import ModulationProfile
from opq_sim.power_system.disturbance_truth import outlet_truths
from opq_sim.power_system.network.network import PowerNetwork
from opq_sim.power_system.network.network_config import NetworkConfig
from opq_sim.power_system.outlet_truth import outlet_truth
from opq_sim.power_system.outlet_voltage import Outlet
from opq_sim.power_system.power_system import PowerSystem
from opq_sim.power_system.swing_model import swing_model

PLACES = {"tap_change": "t0", "lost_neutral": "lv2", "islanding": "feeder2", "ripple_control": "mv"}
"""Where they happen; others at feeder2/3km."""


def solved(system: PowerSystem):
    seen = []
    system.listen(seen.append)
    system.before(1.0)
    return seen[0]


def test_a_rectifier_distorts_by_impedance():
    system = system_with(ConverterLoad(at="lv2", kw=60.0, firing_deg=0.0, seconds=5.0))
    steady = system.voltages["3"].steady(1.0, 1.2)
    assert steady is not None
    current_a = 60e3 / 3 / small_network().nominal_v("lv2")
    for order in (5, 7, 11):
        impedance = abs(small_network().thevenin("lv2", order, with_loads=True).z1)
        wanted = impedance * current_a / order
        assert abs(steady.ratios[order - 1]) * steady.fundamental_v == pytest.approx(wanted, rel=0.02)
    volts = system.voltages["3"].volts(1.0 + np.arange(240) / 12_000)
    lines = np.abs(np.fft.rfft(volts)) / 120 / math.sqrt(2)
    assert lines[5] / lines[1] == pytest.approx(abs(steady.ratios[4]), rel=1e-6)
    assert system.voltages["3"].steady(6.0, 6.2).thd == 0.0


def test_harmonics_keep_their_angle():
    load, model = ConverterLoad(at="lv2", kw=60.0, firing_deg=0.0, seconds=5.0), swing_model("island")
    t_s, fifths_v = 3.0 + np.arange(2400) / 12_000, []
    for causes in ((load,), (UnitTrip(at="hv", mw=100.0), load)):
        scheduled = [(0.5, cause) for cause in causes]
        system = PowerSystem(small_network(), Grid(50.0), OUTLETS, scheduled=scheduled, model=model)
        system.before(4.0)
        turn = np.exp(-10j * math.pi * system.voltages["3"].cycles(t_s)) * np.hanning(len(t_s))
        fifths_v.append(complex(4 * np.mean(system.voltages["3"].volts(t_s) * turn)))
    assert fifths_v[1] == pytest.approx(fifths_v[0], rel=0.01)


def test_a_larger_furnace_flickers_more():
    kinds = {}
    for mva in (0.02, 4.0):
        system = system_with(ArcFurnace(at="feeder2/4km", mva=mva), outlets=OUTLETS[:3])
        found = solved(system)
        before_v = abs(complex(found.before_v[1]))
        kinds[mva] = outlet_truth(found.solved.terms, 1, before_v, NOMINAL_V, 50.0, True)
    assert kinds[0.02] is None
    assert kinds[4.0] is not None and kinds[4.0].kind == "flicker"
    cycles_v = [rms_v(system, "2", at_s) for at_s in np.arange(1.0, 9.0, 0.02)]
    shorted = 1 + found.solved.terms.fundamental[0].changes[1]
    assert np.mean(cycles_v) / before_v == pytest.approx((1 + abs(shorted)) / 2, rel=0.02)
    assert np.std(cycles_v) / before_v == pytest.approx(0.15 * (1 - abs(shorted)), rel=0.3)


def test_a_furnaces_power_is_its_sines():
    hz, peaks, starts_rad = (
        np.array([0.5, 7.3, 25.7]),
        np.array([0.04, 0.03, 0.05]),
        np.array([0.1, 2.0, 5.0]),
    )
    course = ModulationProfile(0.5, hz, peaks, starts_rad)
    since_s = np.concatenate((np.linspace(0.0, 1.3, 997), [0.4999, 0.5, 0.5001, 86_399.9]))
    sines = peaks * np.sin(2 * math.pi * np.multiply.outer(since_s, hz) + starts_rad)
    assert course.at(since_s) == pytest.approx(0.5 + sines.sum(axis=1), abs=1e-8)
    assert np.array_equal(course.at(since_s[100:300]), course.at(since_s)[100:300])


def test_a_telegram_reaches_every_place():
    system = system_with(RippleControl(at="mv", hz=216.67, percent=2.0, bits="101", bit_s=0.5), at_s=0.0)
    clean = system_with()
    for box_id, nominal_v in (("4", 11_547.0), ("2", NOMINAL_V)):
        outlet, other = system.voltages[box_id], clean.voltages[box_id]
        levels = []
        for bit in range(3):
            t_s = moments(0.5 * bit + 0.01, 0.5 * bit + 0.49)
            tone = outlet.volts(t_s) - other.volts(t_s)
            levels.append(math.sqrt(np.mean(tone**2)) / nominal_v)
        assert levels[1] == 0.0
        assert levels[0] == pytest.approx(levels[2], rel=0.02)
        assert levels[0] == pytest.approx(0.02, rel=0.02 if box_id == "4" else 0.2)


def with_diesel() -> PowerNetwork:
    generation = {"id": "diesel", "bus": "lv2", "rating_kva": 250.0, "kw": 60.0, "earthed": True}
    return PowerNetwork(build(NetworkConfig, {**DOCUMENT, "generation": [generation]}, "with a diesel"))


def test_an_island_recloses_out_of_phase():
    """It has had its own frequency."""
    cause = Islanding(at="feeder2", seconds=12.0, inertia_s=1.5, droop=0.04, governor_s=0.5, damping=1.0)
    system = PowerSystem(with_diesel(), Grid(50.0), OUTLETS, scheduled=[(0.5, cause)])
    outlet = system.voltages["2"]
    surplus_pu, damping_pu = (60.0 - 120.0) / 250.0, 120.0 / 250.0
    settled_hz = surplus_pu * 50 / (damping_pu + 1 / 0.04)
    began = outlet.cycles(np.array([0.501, 0.521, 0.541]))
    assert np.diff(began, 2)[0] / 0.02**2 == pytest.approx(surplus_pu * 50 / (2 * 1.5), rel=0.03)  # ROCOF
    cycles = outlet.cycles(np.array([12.0, 12.4]))
    assert (cycles[1] - cycles[0]) / 0.4 == pytest.approx(50 + settled_hz, abs=0.001)
    gained = float(outlet.cycles(np.array([12.49]))[0] - began[0]) - 50 * 11.989 + settled_hz * 0.01
    across = outlet.cycles(np.array([12.49, 12.51])) - 50 * np.array([12.49, 12.51])
    assert (across[1] - across[0] + 0.5) % 1 - 0.5 == pytest.approx((0.5 - gained) % 1 - 0.5, abs=0.02)
    outside = (
        system.voltages["1"].cycles(np.array([4.0]))[0] - system.voltages["1"].cycles(np.array([0.1]))[0]
    )
    assert outside == pytest.approx(3.9 * 50, abs=0.01)
    dead = system_with()
    with pytest.raises(ValueError, match="nothing generates"):
        dead.check(replace(cause, at="feeder1"))


def test_a_tripped_unit_moves_all_at_once():
    model = replace(swing_model("island"), nominal_hz=50.0)
    trip = UnitTrip(at="hv", mw=100.0)
    system = PowerSystem(small_network(), Grid(50.0), OUTLETS, scheduled=[(1.0, trip)], model=model)
    system.before(2.0)
    rocof = np.diff(system.hz(np.array([1.0 + 1e-6, 1.02])))[0] / 0.02
    assert rocof == pytest.approx(-100 / 1000 * 50 / (2 * model.inertia_s), rel=0.02)
    cycles = [system.voltages[box_id].cycles(np.array([1.0, 6.0])) for box_id in "1234"]
    assert [float(np.diff(each)[0]) for each in cycles] == pytest.approx([float(np.diff(cycles[0])[0])] * 4)
    assert float(np.diff(cycles[0])[0]) < 5 * 49.9
    with pytest.raises(ValueError, match="preset"):
        system_with().check(trip)


@pytest.mark.parametrize(
    ("mw", "hz", "seen"), [(200.0, 50.0, True), (200.0, 50.2, False), (140.0, 50.0, False)]
)
def test_a_second_off_nominal_is_a_deviation(mw, hz, seen) -> None:
    """The first falls by 0.79 Hz, the third by 0.55 Hz and for 0.9 s only."""
    trip = UnitTrip(at="hv", mw=mw)
    system = PowerSystem(
        small_network(), Grid(hz), OUTLETS, scheduled=[(0.5, trip)], model=swing_model("island")
    )
    truths = outlet_truths(solved(system)).values()
    assert {each.kind for each in truths} == ({"frequency_deviation"} if seen else set())
    for each in truths:  # it begins when the limit is passed, 0.6 s after the loss
        assert float(system.hz(np.array([each.arrival_s]))[0]) == pytest.approx(49.5, abs=1e-4)


def test_a_two_phase_load_makes_u2():
    """As large as its share of the short-circuit power."""
    outlets = [Outlet(str(phase), "mv", phase, 11_547.0, 50.0) for phase in range(3)]

    def with_load(kw: float):
        return system_with(UnevenLoad(at="mv", kw=kw, phases="bc", seconds=5.0), outlets=outlets)

    def found(at_s: float):
        volts = [system.voltages[box_id].volts(at_s + np.arange(2400) / 12_000) for box_id in "012"]
        return unbalance(np.array([fundamental(each, 0.0, 2400.0, 10) for each in volts]))

    system, source = with_load(4000.0), small_network().thevenin("mv", with_loads=True).z1
    before, during = found(0.1), found(1.0)
    assert during.u2_percent - before.u2_percent == pytest.approx(100 * 4e6 * abs(source) / 20e3**2, rel=0.1)
    assert during.u0_percent == pytest.approx(before.u0_percent, abs=0.01)
    assert found(6.0).u2_percent == pytest.approx(before.u2_percent, abs=0.01)
    ((box_id, truth),) = outlet_truths(solved(with_load(4000.0))).items()
    assert (box_id, truth.kind, truth.residual_pu) == ("0", "unbalance", None)
    assert truth.arrival_s == pytest.approx(0.5)
    assert not outlet_truths(solved(with_load(1000.0)))


@pytest.mark.parametrize("name", CAUSES)
def test_every_causes_samples_ignore_blocks(name):
    model = replace(swing_model("island"), nominal_hz=50.0)
    cause = cause_of(name, PLACES.get(name, "feeder2/3km"), {})

    def voltages(box_id: str):
        system = PowerSystem(with_diesel(), Grid(50.0), OUTLETS, scheduled=[(0.5, cause)], model=model)
        return system.voltages[box_id]

    t_s = moments(0.49, 0.74)
    touched = False
    for box_id in "12":
        whole, other = voltages(box_id).volts(t_s), voltages(box_id)
        parts = [other.volts(t_s[at : at + 97]) for at in range(0, len(t_s), 97)]
        assert np.array_equal(np.concatenate(parts), whole)
        backwards = voltages(box_id)
        parts = [backwards.volts(t_s[at : at + 500]) for at in reversed(range(0, len(t_s), 500))]
        assert np.array_equal(np.concatenate(parts[::-1]), whole)
        quiet = PowerSystem(with_diesel(), Grid(50.0), OUTLETS, model=model).voltages[box_id].volts(t_s)
        assert np.array_equal(quiet[:120], whole[:120])
        touched |= bool(np.abs(whole - quiet).max() > 1e-3)
    assert touched


def test_every_cause_has_usual_values():
    model = swing_model("continental_50")
    for name in CAUSES:
        system = PowerSystem(with_diesel(), Grid(50.0), OUTLETS, model=model)
        found = system.check(cause_of(name, PLACES.get(name, "feeder2/3km"), {}), 1.0)
        assert found.words and found.end_s >= found.terms.start_s >= 1.0
    with pytest.raises(ValueError, match="capacitor_switching"):
        cause_of("capacitor", "mv", {})
    with pytest.raises(ValueError, match="want one of LG, LL, LLG, LLL"):
        cause_of("fault", "mv", {"type": "LN"})
    with pytest.raises(ValueError, match="want true or false"):
        cause_of("fault", "mv", {"permanent": 1.0})
