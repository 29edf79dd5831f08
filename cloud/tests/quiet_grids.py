"""Quiet simulated grids in closed form, and the events that Makai opens on them.

100 Boxes of the village without its causes, on each preset of the frequency (`opq_sim.fleet`), with noise at
60 dB, through judge, openings and a store.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from judged_triggers import CountedJudge

from opq_sim.box.source import SampleSource
from opq_sim.fleet.outlets import FleetGrid, FleetOutlet, network_grid, plain_grid
from opq_sim.fleet.virtual_boxes import VirtualBoxes
from opq_sim.mains.generator import Generator
from opq_sim.mains.scenario import scenario_path
from opq_sim.power_system.power_scenario import SystemFrequencyConfig, load_power_scenario

SNR_DB = 60.0
QUIET_BOXES = 100
START_NS = 1_735_689_600 * 10**9
STEP_S = 1.0
PRESETS = ("plain", "continental_50", "island")


def trigger_of(because: str) -> str:
    """The trigger that opened an event: `Box 5, threshold: rms ...`, or `baseline: scheduled ...`."""
    return because.partition(":")[0].rpartition(", ")[2]


def quiet_grid(preset: str) -> FleetGrid:
    ids = [str(number + 1) for number in range(QUIET_BOXES)]
    if preset == "plain":
        grid = plain_grid(ids)
        noise_v = 120.0 * 10 ** (-SNR_DB / 20)
        return replace(grid, outlets=tuple(_noisy(outlet, noise_v) for outlet in grid.outlets))
    village = load_power_scenario(scenario_path("village"))
    noise_v = village.nominal_v * 10 ** (-SNR_DB / 20)
    boxes = tuple(replace(box, noise_v=noise_v) for box in village.box)
    system = SystemFrequencyConfig(preset=preset)
    return network_grid(replace(village, cause=(), process=(), hourly=(), frequency=system, box=boxes), ids)


def _noisy(outlet: FleetOutlet, noise_v: float) -> FleetOutlet:
    """The outlet of a plain socket with this much noise, in its samples too."""

    def samples(plain: Callable[[], SampleSource]) -> SampleSource:
        source = plain()
        assert isinstance(source, Generator)
        source.signal = replace(source.signal, noise_v=noise_v)
        return source

    return replace(outlet, noise_v=noise_v, samples=partial(samples, outlet.samples))


def events_of(grid: FleetGrid, hours: float, folder: Path) -> list[str]:
    """`because` of each event; the store is in `folder`."""
    boxes = VirtualBoxes(grid, START_NS)
    judge = CountedJudge(folder)
    at_s = 0.0
    while at_s < hours * 3600:
        at_s += STEP_S
        judge.judge(*boxes.measured(at_s), at_s)
    judge.advance(at_s + 3600)
    found = judge.events()
    judge.close()
    return found
