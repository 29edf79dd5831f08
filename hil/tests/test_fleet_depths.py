"""Closed forms beside the gateway's measuring code on the same Box's samples: what a fleet says is true."""

import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from opq_gateway.blocks import SampleBlock
from opq_gateway.counters import BoxCounters
from opq_gateway.measuring.box_meter import MeasuringPlan
from opq_gateway.measuring.feed import MeasuredFeed
from opq_gateway.measuring.measuring import Measuring
from opq_gateway.status import BoxStatus
from opq_gateway.uplink.connection import Endpoints
from opq_hil.box.source import RunClock, SampleSource
from opq_hil.fleet.outlets import FleetGrid, FleetOutlet, WaveVoltage, plain_grid
from opq_hil.fleet.worker import FleetPlan, FleetWorker
from opq_hil.mains.events import disturbance
from opq_hil.mains.generator import Generator, MainsSignal
from opq_hil.mains.grid import Grid
from opq_hil.mains.wave import Harmonic
from opq_hil.power_system.box_voltage import SteadyVoltage
from opq_proto.keys import generate
from opq_proto.link_messages import Hello
from opq_proto.messages import Measurement, TimeSource
from opq_proto.wire import measurement_from_wire

START_NS = 1_795_305_594_300_000_000
"""5.7 s before a UTC tick of ten minutes."""
NOWHERE = Endpoints(*(["tcp://127.0.0.1:9"] * 3))
RMS_SHARE, FREQUENCY_HZ, THD_RATIO = 1e-4, 0.5e-3, 0.05e-2
"""The depths agree: 0.01 %, 0.5 mHz, 0.05 points."""


def run_clock() -> RunClock:
    """Sample 0 is a moment away, so that a worker begins with it."""
    return RunClock(time.monotonic_ns() + 10**9, START_NS, 5_000_000, TimeSource.NTP)


def by_gateway(sources: dict[str, SampleSource], seconds: int, cycles: int) -> dict[str, list[Measurement]]:
    """What the gateway's measuring thread makes of the samples, handed to it as a Box's blocks are."""
    found: dict[str, list[Measurement]] = {box_id: [] for box_id in sources}
    measuring = Measuring(
        lambda box_id, measurement: found[box_id].append(measurement), lambda *_: None, MeasuredFeed()
    )
    clock = run_clock()
    for box_id, source in sources.items():
        plan = MeasuringPlan(box_id, source.nominal_v, source.nominal_hz, cycles, flicker=False)
        measuring.add(plan, BoxCounters(), BoxStatus(box_id, cycles), None)
        numbers = source.rate_millihz, source.v_per_lsb, source.nominal_v, source.nominal_hz
        measuring.restart(box_id, Hello(1, int(box_id), 1, *numbers, 14.0, 200, 38_400, "", ""))
    for second in range(seconds):
        for box_id, source in sources.items():
            for first in range(12_000 * second, 12_000 * (second + 1), 2_400):
                t_ns = clock.t_ns(first, source.rate_millihz)
                counts = source.counts(first, 2_400)
                block = SampleBlock(
                    1, source.v_per_lsb, first, t_ns, 5_000_000, clock.source, source.rate_millihz, counts
                )
                measuring.accept_block(box_id, block)
        measuring.round(everything=True)
    return found


def by_fleet(grid: FleetGrid, seconds: float, cycles: int, folder: Path) -> dict[str, list[Measurement]]:
    """What a worker holds after so long, with no broker anywhere and the time made to pass."""
    clock = run_clock()
    pairs = [generate() for _ in grid.outlets]
    plan = FleetPlan(NOWHERE, generate().public, folder, cycles, spread=False)
    worker = FleetWorker(grid, pairs, plan, clock)
    try:
        for turn in range(round(seconds / 0.1)):
            worker.turn(clock.monotonic_ns / 1e9 + 0.1 * turn)
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
    sampled = by_gateway({outlet.box_id: outlet.samples() for outlet in grid.outlets}, 10, cycles)
    closed = by_fleet(grid, 9.5, cycles, tmp_path)
    for box_id in ids:
        agree(closed[box_id], sampled[box_id], 8)
    lengths = {round((each.end_ns - each.start_ns) * nominal_hz / 1e9) for each in closed["3"]}
    assert min(lengths) < cycles == max(lengths)  # the UTC tick ended one early


@dataclass(frozen=True, slots=True)
class DippingVoltage(WaveVoltage):
    """A plain socket with one dip."""

    dip_s: tuple[float, float] = (0.0, 0.0)

    def steady(self, start_s: float, end_s: float) -> SteadyVoltage | None:
        touched = start_s < self.dip_s[1] and end_s > self.dip_s[0]
        return None if touched else WaveVoltage.steady(self, start_s, end_s)

    def changes(self, start_s: float, end_s: float) -> tuple[float, ...]:
        return tuple(at for at in self.dip_s if start_s <= at < end_s)


def test_a_dip_is_measured_from_its_samples_and_then_it_is_calm_again(tmp_path):
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
    sampled = by_gateway({"8": source()}, 15, 60)["8"]
    closed = by_fleet(fleet, 14.5, 60, tmp_path)["8"]
    agree(closed, sampled, 13)
    least = [each.metrics["rms"].min for each in closed]
    assert min(least) == pytest.approx(0.6 * signal.rms_v, rel=2e-3)
    assert sum(value < 100 for value in least) == 1
    for before, after in pairwise(closed):
        assert after.start_ns == pytest.approx(before.end_ns, abs=60_000)
