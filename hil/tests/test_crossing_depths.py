"""A crossing at each depth: a Box on its wire (a), samples in pieces (b), a fleet's Box (c). Pure."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from opq_proto.link import frames as link
from opq_proto.link.messages import Crossing, CrossingKind
from opq_proto.messages import TimeSource
from opq_sim.box.box import Box
from opq_sim.box.box_stamps import BoxStamps
from opq_sim.box.commands import BoxCrossings, parse_limits
from opq_sim.box.source import RunClock
from opq_sim.fleet.outlets import FleetGrid, FleetOutlet, WaveVoltage, network_grid
from opq_sim.fleet.sample_crossings import LIMITS, SampleCrossings
from opq_sim.fleet.virtual_boxes import VirtualBoxes
from opq_sim.mains.generator import Generator, MainsSignal
from opq_sim.mains.grid import Grid
from opq_sim.mains.grid_events import disturbance
from opq_sim.mains.wave import Harmonic
from opq_sim.power_system.box_voltage import SteadyVoltage
from opq_sim.power_system.power_scenario import load_power_scenario

START_NS = 1_795_305_600_300_000_000
CLOCK = RunClock(0, START_NS, 100, TimeSource.GPS)
SECONDS = 3.0
Seen = tuple[int, float]
"""UTC of the cycle that crossed, and its rms."""


class WireEnd:
    """The gateway's end of a Box's wire: every crossing that came."""

    waiting_bytes = lost_bytes = 0

    def __init__(self) -> None:
        self._decoder = link.Decoder()
        self.crossings: list[Crossing] = []

    def send(self, frame: bytes) -> None:
        messages = [message for _, message in self._decoder.feed(frame)]
        self.crossings += [each for each in messages if isinstance(each, Crossing)]

    def flush(self, now_ns: int) -> None:
        """Nothing waits."""


def on_the_wire(outlet: FleetOutlet) -> list[Crossing]:
    """(a), block by block."""
    box, port = Box(outlet.box_id, outlet.samples(), measurements=False), WireEnd()
    box.crossings = BoxCrossings(parse_limits(LIMITS))
    box.start(port, CLOCK)  # type: ignore[arg-type]
    for now_ns in range(0, round(SECONDS * 1e9), 50_000_000):
        box.tick(now_ns)
    return port.crossings


def from_pieces(outlet: FleetOutlet, piece: int) -> list[Crossing]:
    """(b), so many samples at a time."""
    source = outlet.samples()
    clock, crossings = BoxStamps(CLOCK, source), SampleCrossings(source.nominal_v, source.nominal_hz)
    found: list[Crossing] = []
    for first in range(0, int(SECONDS * 12_000), piece):
        found += crossings.crossings_of(clock.block(source, first, piece))
    return found


def of_the_fleet(grid: FleetGrid) -> dict[str, list[Seen]]:
    """(c), in turns of a tenth of a second."""
    boxes = VirtualBoxes(grid, START_NS)
    found: dict[str, list[Seen]] = {outlet.box_id: [] for outlet in grid.outlets}
    for turn in range(round(SECONDS * 10) + 4):
        for each in boxes.measured(0.1 * turn)[1]:
            if each.crossing and each.start_ns is not None:
                found[each.box_id].append((each.start_ns, each.metrics["rms"].average))
    return found


def agree(grid: FleetGrid, least: int) -> None:
    """The same crossings at all three, each within half a cycle of that of the wire."""
    fleet = of_the_fleet(grid)
    for outlet in grid.outlets:
        half_ns = 0.5e9 / outlet.voltage.nominal_hz
        wire = on_the_wire(outlet)
        assert len(wire) >= least
        for piece in (12_000, 777):
            pieces = from_pieces(outlet, piece)
            assert [(each.kind, each.entering) for each in pieces] == [
                (each.kind, each.entering) for each in wire
            ]
            for ours, theirs in zip(pieces, wire, strict=True):
                assert ours.t_ns == pytest.approx(theirs.t_ns, abs=half_ns)
                assert ours.rms_v == pytest.approx(theirs.rms_v, rel=1e-6)
        assert len(fleet[outlet.box_id]) == len(wire)
        for (start_ns, rms_v), crossing in zip(fleet[outlet.box_id], wire, strict=True):
            assert start_ns == pytest.approx(crossing.t_ns, abs=half_ns)
            assert rms_v == pytest.approx(crossing.rms_v, rel=1e-6)


@dataclass(frozen=True, slots=True)
class DisturbedSocket(WaveVoltage):
    """A plain socket with one disturbance."""

    span_s: tuple[float, float] = (0.0, 0.0)

    def steady(self, start_s: float, end_s: float) -> SteadyVoltage | None:
        touched = start_s < self.span_s[1] and end_s > self.span_s[0]
        return None if touched else WaveVoltage.steady(self, start_s, end_s)

    def changes(self, start_s: float, end_s: float) -> tuple[float, ...]:
        return tuple(at for at in self.span_s if start_s <= at < end_s)


def socket(number: int, hz: float, kind: str, depth: float, begin: float, cycles: float) -> FleetOutlet:
    """With a disturbance that begins at a phase in cycles."""
    signal = MainsSignal(
        harmonics=(Harmonic(3, 2.0, 30.0), Harmonic(5, 1.0)), noise_v=0.014, nominal_hz=hz, v_per_lsb=0.012
    )
    grid = Grid(hz, wander_hz=0.02, wander_s=9.0, phase_cycles=0.3)
    placed = replace(disturbance(kind, depth, cycles), start_cycles=begin)

    def samples() -> Generator:
        made = Generator(signal, grid, seed=number)
        made.add(placed)
        return made

    start_s, end_s = (float(each) for each in grid.time_s(np.array([begin, begin + cycles])))
    voltage = DisturbedSocket(signal.wave, grid, 120.0, hz, (start_s, end_s))
    return FleetOutlet(str(number), voltage, samples, signal.noise_v)


@pytest.mark.parametrize(
    ("hz", "cases"),
    [
        (60.0, [("sag", 0.4, 0.25, 10.0), ("interruption", 1.0, 0.4, 30.0)]),
        (50.0, [("sag", 0.12, 0.0, 30.0), ("swell", 0.25, 0.6, 12.0)]),
    ],
)
def test_a_crossing_is_the_same_at_every_depth(hz, cases):
    outlets = tuple(
        socket(number, hz, kind, depth, 1.4 * hz + phase, cycles)
        for number, (kind, depth, phase, cycles) in enumerate(cases, 1)
    )
    agree(FleetGrid(outlets, outlets[0].voltage.grid), 2)
    kinds = {each.kind for outlet in outlets for each in from_pieces(outlet, 12_000)}
    other = CrossingKind.INTERRUPTION if hz == 60.0 else CrossingKind.SWELL
    assert kinds == {CrossingKind.DIP, other}


NETWORK = """
nominal_v = 230.0
nominal_hz = 50.0
grid = { frequency_hz = 50.02 }
[network]
supply = { bus = "mv", short_circuit_mva = 100.0 }
bus = [{ id = "mv", nominal_kv = 20.0 }, { id = "street", nominal_kv = 0.4 }]
feeder = [{ id = "line", from_bus = "mv", km = 4.0 }]
transformer = [{ id = "t1", from_bus = "line/4km", to_bus = "street", rating_kva = 250.0 }]
[[box]]
id = "1"
at = "street"
phase = "b"
gain_error = 0.01
clock_ppm = 80.0
[[box]]
id = "2"
at = "street"
phase = "b"
jitter_ns = 500.0
[[cause]]
kind = "fault"
at = "line/2km"
at_s = 1.6
values = { type = "LL", clear_ms = 120.0 }
"""


def test_a_networks_crossing_is_the_same_everywhere(tmp_path: Path):
    path = tmp_path / "network.toml"
    path.write_text(NETWORK)
    agree(network_grid(load_power_scenario(path), ["1", "2"]), 2)
