"""Closed forms beside the gateway's measuring code on the same Box's samples: what a fleet says is true."""

import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from measured_by_gateway import by_gateway

from opq_gateway.uplink.connection import Endpoints
from opq_proto.keys.key_files import generate
from opq_proto.measurement.wire import measurement_from_wire
from opq_proto.messages import Measurement, TimeSource
from opq_sim.box.source import RunClock
from opq_sim.fleet.fleet_plan import FleetPlan
from opq_sim.fleet.outlets import FleetGrid, FleetOutlet, WaveVoltage, network_grid, plain_grid
from opq_sim.fleet.worker import FleetWorker
from opq_sim.mains.generator import Generator, MainsSignal
from opq_sim.mains.grid import Grid
from opq_sim.mains.grid_events import disturbance
from opq_sim.mains.wave import Harmonic
from opq_sim.power_system.box_voltage import SteadyVoltage
from opq_sim.power_system.power_scenario import load_power_scenario

START_NS = 1_795_305_594_300_000_000
"""5.7 s before a UTC tick of ten minutes."""
NOWHERE = Endpoints(*(["tcp://127.0.0.1:9"] * 3))
RMS_SHARE, FREQUENCY_HZ, THD_RATIO = 1e-4, 0.5e-3, 0.05e-2
"""The depths agree: 0.01 %, 0.5 mHz, 0.05 points."""


def run_clock() -> RunClock:
    """Sample 0 is a moment away, so that a worker begins with it."""
    return RunClock(time.monotonic_ns() + 10**9, START_NS, 5_000_000, TimeSource.NTP)


def by_fleet(grid: FleetGrid, seconds: float, cycles: int, folder: Path) -> dict[str, list[Measurement]]:
    """What a worker holds after so long, with no broker anywhere and the time made to pass."""
    clock = run_clock()
    pairs = [generate() for _ in grid.outlets]
    plan = FleetPlan(NOWHERE, generate().public, folder, cycles, spread=False)
    worker = FleetWorker(grid, pairs, plan, clock)
    try:
        for turn in range(round(seconds / 0.1)):
            worker.run_once(clock.monotonic_ns / 1e9 + 0.1 * turn)
        held = worker.held
        rows = [
            row for part in held.rows(held.floor, held.next - 1, np.ones(len(pairs), bool)) for row in part
        ]
        assert worker.counts()["made"] == len(rows)
    finally:
        worker.held.close()
        worker.lines.close()
    found: dict[str, list[Measurement]] = {outlet.box_id: [] for outlet in grid.outlets}
    for row in rows:
        found[grid.outlets[row.box].box_id].append(measurement_from_wire(row.body))
    return found


def agree(closed: list[Measurement], sampled: list[Measurement], least: int) -> None:
    assert len(closed) >= least
    for ours, theirs in zip(closed, sampled, strict=False):
        assert ours.box_id == theirs.box_id
        assert ours.start_ns == pytest.approx(theirs.start_ns, abs=60_000)  # noise moves an edge by 20 us
        assert ours.end_ns == pytest.approx(theirs.end_ns, abs=60_000)
        assert ours.metrics.keys() == theirs.metrics.keys()
        assert (ours.nominal_v, ours.nominal_hz, ours.source) == (
            theirs.nominal_v,
            theirs.nominal_hz,
            theirs.source,
        )
        for name, share, least_off in (
            ("rms", RMS_SHARE, 0.0),
            ("f", 0.0, FREQUENCY_HZ),
            ("thd", 0.0, THD_RATIO),
            ("trans", 0.05, 0.0),
        ):
            mine, other = ours.metrics[name], theirs.metrics[name]
            assert mine.average == pytest.approx(other.average, rel=share, abs=least_off), name
            assert mine.min == pytest.approx(other.min, rel=share, abs=least_off), name
            assert mine.max == pytest.approx(other.max, rel=share, abs=least_off), name


@pytest.mark.parametrize(("nominal_v", "nominal_hz", "cycles"), [(120.0, 60.0, 60), (230.0, 50.0, 7)])
def test_a_calm_fleet_says_what_the_gateway_measures(tmp_path, nominal_v, nominal_hz, cycles):
    ids = ["3", "40", "500"]
    grid = plain_grid(ids, nominal_v, nominal_hz, seed=2)
    sampled = by_gateway({outlet.box_id: outlet.samples() for outlet in grid.outlets}, 9, cycles, run_clock())
    closed = by_fleet(grid, 8.5, cycles, tmp_path)
    for box_id in ids:
        agree(closed[box_id], sampled[box_id], 7)
    lengths = {round((each.end_ns - each.start_ns) * nominal_hz / 1e9) for each in closed["3"]}
    assert min(lengths) < cycles == max(lengths)  # the UTC tick ended one early


def test_a_late_fleet_reports_its_progress(tmp_path):
    clock, grid = run_clock(), plain_grid(["3", "40"], 120.0, 60.0, seed=2)
    plan = FleetPlan(NOWHERE, generate().public, tmp_path, 60, spread=False)
    worker = FleetWorker(grid, [generate() for _ in grid.outlets], plan, clock)
    begin_s = clock.monotonic_ns / 1e9
    try:
        worker.run_once(begin_s + 2.5)
        assert worker.reached_s == begin_s + 2.5
        worker.run_once(begin_s + 25.0)  # more than a turn measures at once
        assert worker.reached_s == begin_s + 2.5
        for late_s in (25.1, 25.2):
            worker.run_once(begin_s + late_s)
        assert worker.reached_s == begin_s + 25.2
    finally:
        worker.held.close()
        worker.lines.close()


@dataclass(frozen=True, slots=True)
class DippingVoltage(WaveVoltage):
    """A plain socket with one dip."""

    dip_s: tuple[float, float] = (0.0, 0.0)

    def steady(self, start_s: float, end_s: float) -> SteadyVoltage | None:
        touched = start_s < self.dip_s[1] and end_s > self.dip_s[0]
        return None if touched else WaveVoltage.steady(self, start_s, end_s)

    def changes(self, start_s: float, end_s: float) -> tuple[float, ...]:
        return tuple(at for at in self.dip_s if start_s <= at < end_s)


def test_a_dip_is_measured_from_samples(tmp_path):
    """Afterwards all is calm again."""
    signal = MainsSignal(harmonics=(Harmonic(3, 2.0, 30.0), Harmonic(5, 1.0)), noise_v=0.014)
    grid = Grid(60.0, wander_hz=0.02, wander_s=9.0, phase_cycles=0.3)

    dip = replace(disturbance("sag", 0.4, 10.0), start_cycles=440.25)

    def source() -> Generator:
        made = Generator(signal, grid, seed=5)
        made.add(dip)
        return made

    dip_s = tuple(float(each) for each in grid.time_s(np.array([440.25, 450.25])))
    voltage = DippingVoltage(signal.wave, grid, 120.0, 60.0, dip_s)
    noise_v = float(np.hypot(signal.noise_v, signal.v_per_lsb / np.sqrt(12)))
    fleet = FleetGrid((FleetOutlet("8", voltage, source, noise_v),), grid)
    sampled = by_gateway({"8": source()}, 12, 60, run_clock())["8"]
    made = by_fleet(fleet, 11.5, 60, tmp_path)["8"]
    closed = [each for each in made if not each.crossing]
    agree(closed, sampled, 10)
    entered, left = (each for each in made if each.crossing)
    cycle_ns, block_ns = round(1e9 / 60), round(200e9 / 12_000)
    for crossing, at_s in ((entered, dip_s[0]), (left, dip_s[1])):
        ends_after_ns = crossing.start_ns + cycle_ns - START_NS - at_s * 1e9
        assert 0 < ends_after_ns < cycle_ns + block_ns  # the first blocks that can show it
    assert made.index(entered) < made.index(next(each for each in closed if each.metrics["rms"].min < 100))
    least = [each.metrics["rms"].min for each in closed]
    assert min(least) == pytest.approx(0.6 * signal.rms_v, rel=2e-3)
    assert sum(value < 100 for value in least) == 1
    for before, after in pairwise(closed):
        assert after.start_ns == pytest.approx(before.end_ns, abs=60_000)


NETWORK = """
nominal_v = 230.0
nominal_hz = 50.0
grid = { frequency_hz = 50.02, wander_hz = 0.01, wander_s = 31.0 }
[network]
supply = { bus = "mv", short_circuit_mva = 100.0 }
bus = [{ id = "mv", nominal_kv = 20.0 }, { id = "street", nominal_kv = 0.4 }]
feeder = [{ id = "line", from_bus = "mv", km = 4.0 }]
transformer = [{ id = "t1", from_bus = "line/4km", to_bus = "street", rating_kva = 250.0 }]
load = [{ bus = "street", kw = 80.0, kvar = 20.0 }]
[[box]]
id = "1"
at = "street"
[[box]]
id = "2"
at = "street"
phase = "b"
gain_error = 0.01
offset_v = 0.5
clock_ppm = 80.0
[[box]]
id = "3"
at = "line/1km"
phase = "c"
nominal_v = 11547.0
jitter_ns = 500.0
[[cause]]
kind = "fault"
at = "line/2km"
at_s = 4.3
values = { type = "LL", clear_ms = 120.0 }
"""


def test_networked_boxes_report_their_samples(tmp_path):
    path = tmp_path / "network.toml"
    path.write_text(NETWORK)
    grid = network_grid(load_power_scenario(path), ["1", "2", "3", "5"])
    assert [outlet.closed_form for outlet in grid.outlets] == [True, True, False, False]
    assert grid.outlets[3].voltage.nominal_v == 11547.0  # 5 modulo 3: the third place
    ids = [outlet.box_id for outlet in grid.outlets[:3]]
    grid = FleetGrid(grid.outlets[:3], grid.phase)
    sampled = by_gateway({outlet.box_id: outlet.samples() for outlet in grid.outlets}, 9, 50, run_clock())
    made = by_fleet(grid, 8.5, 50, tmp_path / "fleet")
    for box_id in ids:
        agree([each for each in made[box_id] if not each.crossing], sampled[box_id], 7)
    own = [each for each in made["3"] if "rms" in each.metrics]  # without what its detectors find
    assert min(each.metrics["rms"].min for each in own) < 0.9 * 11547
    assert sum(each.crossing for each in own) == 2


SWINGS = """
nominal_v = 230.0
nominal_hz = 50.0
frequency = { preset = "island" }
[network]
supply = { bus = "mv", short_circuit_mva = 100.0 }
bus = [{ id = "mv", nominal_kv = 20.0 }, { id = "street", nominal_kv = 0.4 }]
feeder = [{ id = "line", from_bus = "mv", km = 4.0 }]
transformer = [{ id = "t1", from_bus = "line/4km", to_bus = "street", rating_kva = 250.0 }]
load = [{ bus = "street", kw = 60.0, kvar = 10.0 }]
generation = [{ id = "hydro", bus = "street", rating_kva = 120.0, kw = 75.0 }]
[[box]]
id = "1"
at = "street"
[[box]]
id = "2"
at = "line/1km"
nominal_v = 11547.0
[[cause]]
kind = "unit_trip"
at = "system"
at_s = 2.3
values = { mw = 200.0 }
[[cause]]
kind = "islanding"
at = "line/3km"
at_s = 13.2
values = { seconds = 6.0 }
"""


def test_a_fleet_measures_a_deviating_frequency(tmp_path):
    path = tmp_path / "network.toml"
    path.write_text(SWINGS)
    grid = network_grid(load_power_scenario(path), ["1", "2"])
    sampled = by_gateway({outlet.box_id: outlet.samples() for outlet in grid.outlets}, 21, 50, run_clock())
    made = by_fleet(grid, 20.5, 50, tmp_path / "fleet")
    for box_id in ("1", "2"):
        ours, theirs = (
            {round(each.end_ns / 1e9): each.metrics["f"] for each in rows if "f" in each.metrics}
            for rows in (made[box_id], sampled[box_id])
        )
        assert len(ours) >= 17
        for second in ours.keys() & theirs.keys():
            assert ours[second].average == pytest.approx(theirs[second].average, abs=5e-3), second
    assert min(each.metrics["f"].min for each in made["2"] if "f" in each.metrics) < 49.6
