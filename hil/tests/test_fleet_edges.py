"""What the detectors of a gateway find in a Box's samples its fleet says too, and nothing else. Pure."""

from dataclasses import replace
from pathlib import Path

import pytest
from measured_by_gateway import by_gateway

from opq_proto.messages import Measurement, TimeSource
from opq_sim.box.source import RunClock
from opq_sim.fleet.outlets import FleetGrid, network_grid
from opq_sim.fleet.virtual_boxes import VirtualBoxes
from opq_sim.power_system.power_scenario import load_power_scenario

START_NS = 1_795_305_600_300_000_000
SECONDS = 16
NETWORK = """
nominal_v = 230.0
nominal_hz = 50.0
grid = { frequency_hz = 50.02 }
[network]
supply = { bus = "mv", short_circuit_mva = 100.0 }
bus = [{ id = "mv", nominal_kv = 20.0 }, { id = "street", nominal_kv = 0.4 }]
feeder = [{ id = "line", from_bus = "mv", km = 4.0 }]
transformer = [{ id = "t1", from_bus = "line/4km", to_bus = "street", rating_kva = 250.0 }]
load = [{ bus = "street", kw = 80.0, kvar = 20.0 }]
[[box]]
id = "1"
at = "street"
[[cause]]
kind = "ripple_control"
at = "mv"
at_s = 3.3
values = { hz = 216.67, percent = 2.0, bits = "1101", bit_s = 0.5 }
[[cause]]
kind = "capacitor_switching"
at = "mv"
at_s = 10.9
values = { kvar = 1200.0 }
"""


def edges_of(found: list[Measurement]) -> list[tuple[str, float]]:
    """Class and UTC of each."""
    named = [(next(iter(each.metrics)), each.start_ns or 0) for each in found if each.crossing]
    return [(name, (start_ns - START_NS) / 1e9) for name, start_ns in named if name.startswith("edge_")]


def of_the_fleet(grid: FleetGrid) -> list[Measurement]:
    boxes = VirtualBoxes(grid, START_NS)
    return [each for second in range(SECONDS) for each in boxes.measured(float(second))[1]]


def test_a_fleet_reports_its_detectors_findings(tmp_path: Path) -> None:
    path = tmp_path / "network.toml"
    path.write_text(NETWORK)
    grid = network_grid(load_power_scenario(path), ["1"])
    fleet = edges_of(of_the_fleet(grid))
    clock = RunClock(0, START_NS, 100, TimeSource.GPS)
    sources = {outlet.box_id: outlet.samples() for outlet in grid.outlets}
    gateway = edges_of(by_gateway(sources, SECONDS, 50, clock, detectors=True)["1"])
    assert [name for name, _ in gateway] == [
        "edge_mains_signalling",
        "edge_oscillatory_transient",
        "edge_phase_jump",
    ]
    assert [name for name, _ in fleet] == [name for name, _ in gateway]
    for (_, ours_s), (_, theirs_s) in zip(fleet, gateway, strict=True):
        assert ours_s == pytest.approx(theirs_s, abs=0.21)  # windows of 0.2 s begin elsewhere


def test_a_repeated_finding_is_reported_every_ten_seconds(
    tmp_path: Path,
) -> None:
    path = tmp_path / "network.toml"
    path.write_text(NETWORK)
    scenario = load_power_scenario(path)
    bank = replace(scenario.cause[1], at_s=3.3, every_s=6.0)
    grid = network_grid(replace(scenario, cause=(bank,)), ["1"])
    found = [(name[5:], round(at_s, 1)) for name, at_s in edges_of(of_the_fleet(grid))]
    assert found == [("oscillatory_transient", 3.3), ("phase_jump", 3.3)]
