"""Scenarios with a network: a TOML file that describes the network, its Boxes, and the disturbances.

    [network]  buses, transformers, feeders, loads      [[box]]  where a Box is plugged in
    [[cause]]  at a time, once or again and again        [[process]]  at random, so many an hour

A file with a table `network` is of this kind; others are those of `mains.scenario`.
"""

import heapq
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from opq_proto.config.reading import Field, build, read_document, section
from opq_proto.errors import ConfigError, OpqError
from opq_sim.mains.grid import Grid
from opq_sim.mains.scenario import GridConfig
from opq_sim.power_system.causes.catalogue import CauseValue, cause_of
from opq_sim.power_system.causes.cause import Cause
from opq_sim.power_system.map_places import MapPlaces
from opq_sim.power_system.network.network import PowerNetwork
from opq_sim.power_system.network.network_config import NetworkConfig
from opq_sim.power_system.outlet_config import OutletConfig, harmonics_of, outlet_problems
from opq_sim.power_system.outlet_voltage import Outlet
from opq_sim.power_system.power_system import PowerSystem
from opq_sim.power_system.scenario_problems import HOURLY, NOMINAL_HZ, scenario_problems
from opq_sim.power_system.swing_model import SwingModel, swing_model
from opq_sim.power_system.system_frequency import system_frequency

PROCESS_STREAM = 0x9C0C


@section
class ScenarioPlaceConfig:
    """Coordinates of a bus of the network: made up, for maps alone, without any electrical effect."""

    at: str = Field(description="a place of the network", examples=["lv1"])
    latitude: float = Field(ge=-85.0, le=85.0, description="degrees north", examples=[55.15])
    longitude: float = Field(ge=-180.0, le=180.0, description="degrees east", examples=[15.02])
    name: str = Field(default="", max_length=60, description="else that of the bus")


@section
class ScheduledCauseConfig:
    """A cause at a known time."""

    kind: str = Field(description="name of the cause", examples=["fault"])
    at: str = Field(description="a place; for taps the transformer", examples=["feeder2/3.1km"])
    at_s: float = Field(ge=0.0, le=1e9, description="seconds after the start", examples=[30.0])
    every_s: float = Field(default=0.0, ge=0.0, le=1e9, description="interval of repetition; 0: once")
    values: dict[str, float | str | bool] = Field(default_factory=dict, description="settings of the cause")


@section
class HourlyLoadConfig:
    """Rectifiers or chargers that are on all day, with a power that depends on the hour."""

    at: str = Field(description="a place", examples=["street"])
    kw: float = Field(gt=0.0, le=1e5, description="of the hour with a share of 1", examples=[60.0])
    spectrum: str = Field(default="charger", description="six_pulse, twelve_pulse, switch_mode, charger")
    shares: tuple[float, ...] = Field(
        min_length=24, max_length=24, description="of kw, from midnight, an hour each"
    )


@section
class RandomCauseConfig:
    """A cause at random: a Poisson process, during some hours of the day."""

    kind: str = Field(description="name of the cause", examples=["fault"])
    at: tuple[str, ...] = Field(min_length=1, description="places, of which one is drawn")
    per_hour: float = Field(ge=1e-6, le=3600.0, description="rate while it may happen", examples=[2.0])
    hours: tuple[float, float] = Field(
        default=(0.0, 24.0), description="hours from, to; 22 to 6 is the night"
    )
    seed: int = Field(default=0, ge=0, le=2**31, description="seed of the random numbers")
    values: dict[str, float | str | bool] = Field(default_factory=dict, description="settings of the cause")
    between: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="settings that are drawn between two numbers"
    )


@section
class SystemFrequencyConfig:
    """The frequency of a whole power system by its swing equation."""

    preset: str = Field(description="preset of the power system", examples=["continental_50"])


@section
class PowerScenario:
    """A whole scenario file with a network."""

    title: str = Field(default="", description="one line")
    nominal_v: float = Field(default=230.0, gt=0.0, le=100_000.0, description="declared voltage of the Boxes")
    nominal_hz: float = Field(default=50.0, ge=50.0, le=60.0, description="50 or 60")
    start_hour: float = Field(default=8.0, ge=0.0, lt=24.0, description="hour of the day at the start")
    grid: GridConfig = Field(default=GridConfig(frequency_hz=50.0), description="the frequency")
    frequency: SystemFrequencyConfig | None = Field(
        default=None, description="a whole system instead of the table grid"
    )
    network: NetworkConfig = Field(description="loads and sources by place")
    region: str = Field(default="", max_length=60, description="region of its Boxes; else the file's name")
    place: tuple[ScenarioPlaceConfig, ...] = Field(
        default=(), description="places of its buses on a map; else points are chosen"
    )
    box: tuple[OutletConfig, ...] = Field(default=(), description="the Boxes")
    cause: tuple[ScheduledCauseConfig, ...] = Field(default=(), description="causes with their times")
    hourly: tuple[HourlyLoadConfig, ...] = Field(default=(), description="loads by the hour of the day")
    process: tuple[RandomCauseConfig, ...] = Field(default=(), description="causes at random times")


def load_power_scenario(path: Path) -> PowerScenario:
    """Reads a scenario with a network.

    Raises:
        ConfigError: every problem in the file at once, with its key; or the parts that do not fit the
            network.
    """
    document = _at_nominal_hz(read_document(path))
    scenario = build(PowerScenario, document, path.name, cross_check=scenario_problems)
    beside = [
        box if box.recording is None else replace(box, recording=str((path.parent / box.recording).resolve()))
        for box in scenario.box
    ]
    scenario = replace(scenario, box=tuple(beside))
    problems = list(_misplaced(scenario))
    if problems:
        count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
        raise ConfigError("\n  ".join([f"{path.name}: {count}, nothing was started", *problems]))
    return scenario


def _at_nominal_hz(document: dict[str, Any]) -> dict[str, Any]:
    """Gives the network and the steady frequency the scenario's `nominal_hz`, unless they have their own."""
    hz = document.get("nominal_hz", NOMINAL_HZ[0])
    if hz not in NOMINAL_HZ:
        return document
    whole = {**document, "grid": document.get("grid", {})}
    for name, key in (("network", "nominal_hz"), ("grid", "frequency_hz")):
        if isinstance(whole.get(name), Mapping):
            whole[name] = {key: hz, **whole[name]}
    return whole


def _misplaced(scenario: PowerScenario) -> Iterator[str]:
    """Faults against the network: Boxes at places that it does not have, causes that cannot happen."""
    for index, box in enumerate(scenario.box):
        yield from (f"box[{index}].{text}" for text in outlet_problems(box, scenario.nominal_hz))
    if not scenario.box:
        yield 'box  missing; want at least one [[box]], such as id = "1", at = a place'
        return
    if all(box.recording is not None for box in scenario.box):
        yield "box  each plays a recording; want at least one that does not"
        return
    network = PowerNetwork(scenario.network)
    for index, box in enumerate(scenario.box):
        try:
            network.node(box.at)
        except OpqError as error:
            yield f"box[{index}].at  {error}"
            return
    for index, shown in enumerate(scenario.place):
        try:
            network.node(shown.at)
        except OpqError as error:
            yield f"place[{index}].at  {error}"
    model = model_of(scenario)
    system = PowerSystem(network, scenario_grid(scenario), outlets_of(scenario), model=model)
    wanted = [
        (f"cause[{index}]", each.kind, each.at, each.values) for index, each in enumerate(scenario.cause)
    ]
    wanted += [
        (f"hourly[{index}]", HOURLY, each.at, {"kw": each.kw, "spectrum": each.spectrum})
        for index, each in enumerate(scenario.hourly)
    ]
    for index, config in enumerate(scenario.process):
        for end in (0, 1):
            values = {**config.values, **{key: span[end] for key, span in config.between.items()}}
            wanted += [(f"process[{index}]", config.kind, place, values) for place in config.at]
    found: dict[str, None] = {}
    for where, kind, place, values in wanted:
        try:
            system.check(cause_of(kind, place, values))
        except (OpqError, ValueError) as error:
            found[f"{where}  {error}"] = None  # both ends of a span may give the same text
    yield from found


def power_network(scenario: PowerScenario) -> PowerNetwork:
    """The network of a scenario, with its Boxes' places."""
    return PowerNetwork(scenario.network, [box.at for box in scenario.box])


def outlets_of(scenario: PowerScenario, seed: int = 1) -> tuple[Outlet, ...]:
    """The outlets of its Boxes with their undisturbed voltage; without played recordings."""
    return tuple(
        Outlet(
            box.id,
            box.at,
            "abc".index(box.phase),
            box.nominal_v or scenario.nominal_v,
            scenario.nominal_hz,
            harmonics_of(box, seed),
            box.dc_v,
        )
        for box in scenario.box
        if box.recording is None
    )


def power_system_of(scenario: PowerScenario, seed: int = 1) -> PowerSystem:
    """The whole system of a scenario, with all its causes."""
    model = model_of(scenario)
    schedule = schedule_of(scenario, seed)
    named = {each.at: (each.latitude, each.longitude) for each in scenario.place}
    places = MapPlaces(scenario.network, named) if named else None
    return PowerSystem(
        power_network(scenario),
        scenario_grid(scenario, seed),
        outlets_of(scenario, seed),
        seed,
        schedule,
        model=model,
        places=places,
    )


def model_of(scenario: PowerScenario) -> SwingModel | None:
    """The whole system's swing equation, at the scenario's nominal frequency; None: it has none."""
    if scenario.frequency is None:
        return None
    return replace(swing_model(scenario.frequency.preset), nominal_hz=scenario.nominal_hz)


def scenario_grid(scenario: PowerScenario, seed: int = 1) -> Grid:
    """The undisturbed phase and frequency of a scenario's system."""
    model = model_of(scenario)
    if model is not None:
        return system_frequency(model, seed)
    grid = scenario.grid
    return Grid(grid.frequency_hz, grid.wander_hz, grid.wander_s)


def schedule_of(scenario: PowerScenario, seed: int = 1) -> Iterator[tuple[float, Cause]]:
    """All causes as (seconds after the start, cause), rising; endless if one recurs."""
    runs = [_scheduled(each) for each in scenario.cause]
    runs += [_hourly(each, scenario.start_hour) for each in scenario.hourly]
    runs += [
        _random(
            each,
            np.random.Generator(np.random.PCG64((seed, PROCESS_STREAM, each.seed, number))),
            scenario.start_hour,
        )
        for number, each in enumerate(scenario.process)
    ]
    return heapq.merge(*runs, key=lambda item: item[0])


def _scheduled(config: ScheduledCauseConfig) -> Iterator[tuple[float, Cause]]:
    cause, number = cause_of(config.kind, config.at, config.values), 0
    while True:
        yield config.at_s + number * config.every_s, cause
        number += 1
        if not config.every_s:
            return


def _hourly(config: HourlyLoadConfig, start_hour: float) -> Iterator[tuple[float, Cause]]:
    """A load per hour, on for that hour; the first one until the next full hour."""
    for hour in count(math.floor(start_hour)):
        begin_s = max(0.0, (hour - start_hour) * 3600)
        seconds = (hour + 1 - start_hour) * 3600 - begin_s
        kw = config.kw * config.shares[hour % 24]
        if kw:
            values: dict[str, CauseValue] = {"kw": kw, "spectrum": config.spectrum, "seconds": seconds}
            yield begin_s, cause_of(HOURLY, config.at, values)


def _random(
    config: RandomCauseConfig, chance: np.random.Generator, start_hour: float
) -> Iterator[tuple[float, Cause]]:
    """A Poisson process of the full rate, without the causes outside the hours."""
    at_s = 0.0
    low, high = config.hours
    while True:
        at_s = round(at_s + float(chance.exponential(3600 / config.per_hour)), 6)
        place = config.at[int(chance.integers(len(config.at)))]
        values: dict[str, CauseValue] = dict(config.values)
        values |= {key: round(float(chance.uniform(*span)), 6) for key, span in config.between.items()}
        hour = (start_hour + at_s / 3600) % 24
        inside = low <= hour < high if low <= high else hour >= low or hour < high
        if inside:
            yield at_s, cause_of(config.kind, place, values)
