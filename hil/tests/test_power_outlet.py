"""The voltage of an outlet: any block, steady states, events while it runs, what is forgotten."""

from dataclasses import replace

import numpy as np
import pytest
from power_system_under_test import OUTLETS, moments, rms_v, small_network, system_with

from opq_sim.mains.grid import Grid
from opq_sim.power_system.causes.capacitor_switching import CapacitorSwitching
from opq_sim.power_system.causes.fault import ClearedFault
from opq_sim.power_system.causes.lightning import Lightning
from opq_sim.power_system.causes.motor_start import MotorStart
from opq_sim.power_system.causes.tap_changer import TapChange
from opq_sim.power_system.causes.transformer_energising import TransformerEnergising
from opq_sim.power_system.causes.unit_trip import UnitTrip
from opq_sim.power_system.power_system import PowerSystem
from opq_sim.power_system.swing_model import swing_model

MANY = (
    CapacitorSwitching(at="mv", kvar=900.0),
    Lightning(at="feeder1/1.5km"),
    MotorStart(at="lv2", kw=55.0),
    TransformerEnergising(at="feeder1/2km", rating_kva=1600.0),
    ClearedFault(at="feeder2/3.1km", type="LL", breaker="feeder2", recloses=1.0),
)


@pytest.mark.parametrize("size", [1, 37, 4096])
def test_any_block_size_gives_the_same_bits(size):
    t_s = moments(0.5, 0.53 if size == 1 else 1.2)
    for box_id in "123":
        whole = system_with(*MANY).voltages[box_id]
        pieces = system_with(*MANY).voltages[box_id]
        parts = [pieces.volts(t_s[at : at + size]) for at in range(0, len(t_s), size)]
        assert np.array_equal(whole.volts(t_s), np.concatenate(parts))


def test_a_steady_state_is_what_the_samples_are():
    system = system_with(TapChange(at="t0"), ClearedFault(at="feeder2/3.1km", type="LL", clear_ms=400.0))
    outlet = system.voltages["1"]
    begun_s = outlet.changes(0.4, 0.6)[-1]
    assert outlet.steady(0.4, 0.6) is None
    steady = outlet.steady(begun_s + 0.3, begun_s + 0.38)
    assert steady is not None
    assert rms_v(system, "1", begun_s + 0.3, cycles=4) == pytest.approx(steady.rms_v, rel=1e-9)
    assert steady.thd == pytest.approx(np.hypot(0.01, 0.015))


def test_a_late_event_follows_read_samples():
    system = system_with()
    outlet = system.voltages["2"]
    t_s = moments(0.0, 1.0)
    before = outlet.volts(t_s)
    at_s = system.add(ClearedFault(at="feeder2/3.1km", type="LLL")).at_s
    assert at_s >= 1.0
    assert np.array_equal(outlet.volts(t_s), before)
    assert outlet.changes(1.0, 1.1)
    assert rms_v(system, "2", at_s + 0.05) < 0.9 * rms_v(system, "2", 0.4)


def test_an_old_event_is_forgotten():
    causes = ((float(at), ClearedFault(at="feeder2/3.1km")) for at in range(1, 200))
    system = PowerSystem(small_network(), Grid(50.0), OUTLETS, scheduled=causes, keep_s=20.0)
    assert len(system.before(150.0)) <= 22
    system = system_with(CapacitorSwitching(at="mv"))
    late = rms_v(system, "4", 90_000.0)
    assert late > 1.001 * rms_v(system, "4", 0.4)


def test_a_lasting_event_becomes_the_steady_state():
    def causes():
        for number in range(60):
            steps = 1.0 if number % 3 else -1.0
            yield 10.0 + 50.0 * number, TapChange(at="t0", steps=steps, step_percent=0.2)
            yield 30.0 + 50.0 * number, ClearedFault(at="feeder2/3.1km")
        yield 3010.0, UnitTrip(at="hv", mw=40.0)
        yield 8000.0, TapChange(at="t0")

    t_s = np.concatenate([moments(at_s, at_s + 0.05) for at_s in (7990.0, 7999.99, 8001.0)])
    found = []
    for keep_s in (20.0, 1e6):
        model = replace(swing_model("island"), nominal_hz=50.0)
        system = PowerSystem(
            small_network(), Grid(50.0), OUTLETS, scheduled=causes(), keep_s=keep_s, model=model
        )
        found.append(system.voltages["1"].volts(t_s))
        states = [system.voltages["1"].steady(8002.0, 8003.0).fundamental_v, len(system.before(8001.0))]
        assert states[0] == pytest.approx(230.0, rel=0.1)
        assert states[1] == (1 if keep_s == 20.0 else 122)
    assert np.array_equal(found[0], found[1])


def test_an_outlet_turns_with_its_phasor():
    system = system_with(hz=49.7)
    t_s = moments(0.0, 0.2)
    for box_id in "1234":
        outlet = system.voltages[box_id]
        cycles = outlet.cycles(t_s)
        assert np.diff(cycles) == pytest.approx(49.7 / 12_000)
        volts = outlet.volts(t_s)
        rising = np.flatnonzero((volts[:-1] < 0) & (volts[1:] >= 0))
        at = cycles[rising] % 1.0
        assert np.minimum(at, 1 - at).max() < 0.01
