"""Scenarios: a TOML file that describes the voltage at each Box of one simulated grid.

    lead_s steady | event | steady | event | ...     every_s from event to event

Events of all Boxes share the grid's phase, so that they are at the same instant everywhere.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np

from opq_proto.config.reading import Field, load, read_document, section
from opq_proto.errors import ConfigError
from opq_sim.mains.disturbance import MainsDisturbance
from opq_sim.mains.generator import Generator, Harmonic, MainsSignal
from opq_sim.mains.grid import Grid, GridExcursion
from opq_sim.mains.grid_events import GridEvent, Recurring, first_below, steps
from opq_sim.mains.on_demand import EventNumbers, numbers_for, on_demand

DEFAULT = "lightning_dip"
LEAD_S = 10.0
EVERY_S = 60.0
DIP_SHARE = 0.9
"""Share of nominal; below it a dip begins (docs/reference/contracts.md, default)."""


@section
class EventConfig:
    """One disturbance of a Box, at every play."""

    kind: Literal[
        "profile",
        "sag",
        "swell",
        "interruption",
        "transient",
        "undervoltage",
        "overvoltage",
        "rapid_voltage_change",
        "impulsive_transient",
        "oscillatory_transient",
        "periodic_notching",
        "harmonics",
        "interharmonics",
        "mains_signalling",
        "flicker",
        "frequency_deviation",
        "phase_jump",
        "dc_offset",
        "noise",
    ] = Field(
        description="profile: half_cycle_rms_v as given; the others as `opq-tools sim event` makes them"
    )
    after_s: float = Field(default=0.0, ge=0.0, le=3600.0, description="seconds after the start of the play")
    depth: float | None = Field(
        default=None,
        gt=0.0,
        le=10.0,
        description="share of the voltage that is lost, added or changed; else the default",
    )
    cycles: float | None = Field(default=None, gt=0.0, le=36_000.0, description="length; else the default")
    angle_deg: float = Field(default=0.0, ge=0.0, lt=360.0, description="point on wave of the start")
    hz: float | None = Field(
        default=None,
        ge=-5000.0,
        le=5000.0,
        description="frequency of a tone, ringing or flicker, or a deviation",
    )
    degrees: float | None = Field(default=None, ge=-180.0, le=180.0, description="angle of a phase jump")
    half_cycle_rms_v: tuple[float, ...] = Field(default=(), description="profile: volts of each half cycle")
    recovery: tuple[tuple[float, float], ...] = Field(
        default=(), description="profile: (cycles after the list, volts), straight lines between"
    )


@section
class BoxConfig:
    """One Box: its steady voltage and its events."""

    id: str = Field(pattern=r"^[1-9][0-9]{0,8}$", examples=["1"], description="Box id, a whole number")
    v_per_lsb: float = Field(default=0.0068, gt=0.0, le=1.0, description="volts of one converter count")
    fundamental_v: float = Field(default=120.0, ge=0.0, le=1000.0, description="rms of the fundamental")
    dc_v: float = Field(default=0.0, ge=-100.0, le=100.0, description="DC offset")
    noise_v: float = Field(default=0.014, ge=0.0, le=100.0, description="rms of white noise")
    effective_bits: float = Field(default=14.0, gt=0.0, le=16.0, description="text in Hello")
    harmonics: tuple[tuple[int, float, float], ...] = Field(
        default=(), description="(order, percent of the fundamental, phase in degrees)"
    )
    event: tuple[EventConfig, ...] = Field(default=(), description="disturbances of every play")
    place: str = Field(default="", max_length=60, description="position for maps; else one is chosen")
    latitude: float | None = Field(
        default=None, ge=-85.0, le=85.0, description="latitude of the place, degrees"
    )
    longitude: float | None = Field(default=None, ge=-180.0, le=180.0, description="longitude, degrees")
    feeder: str = Field(default="", max_length=60, description="feeder that supplies it; else unknown")
    phase: str = Field(default="", pattern=r"^[abc]?$", description="phase a, b or c; else unknown")


@section
class GridConfig:
    """The fundamental that all Boxes share."""

    frequency_hz: float = Field(default=60.0, ge=30.0, le=80.0, description="steady frequency")
    wander_hz: float = Field(default=0.0, ge=0.0, le=1.0, description="amplitude of a slow sine around it")
    wander_s: float = Field(default=60.0, ge=1.0, le=86_400.0, description="period of that sine")
    excursion: tuple[tuple[float, float], ...] = Field(
        default=(), description="(seconds after a play's start, Hz above steady)"
    )


@section
class MainsScenario:
    """A whole scenario file."""

    title: str = Field(default="", description="one line")
    nominal_v: float = Field(default=120.0, gt=0.0, le=1000.0, description="declared voltage")
    nominal_hz: float = Field(default=60.0, ge=50.0, le=60.0, description="50 or 60")
    lead_s: float = Field(
        default=LEAD_S, ge=0.5, le=86_400.0, description="steady time before the first play"
    )
    every_s: float = Field(default=EVERY_S, ge=1.0, le=86_400.0, description="time from play to play")
    region: str = Field(default="", max_length=60, description="region of its Boxes; else the file's name")
    grid: GridConfig = Field(default=GridConfig(), description="the common fundamental")
    box: tuple[BoxConfig, ...] = Field(default=(), description="the Boxes")


def has_network(path: Path) -> bool:
    """True if a scenario file has a network (opq_sim/power_system/power_scenario.py)."""
    return "network" in read_document(path)


def scenario_path(name: str | Path) -> Path:
    """The file of a scenario, or of a shipped one by its bare name.

    Raises:
        ConfigError: there is none.
    """
    path = Path(name)
    if not path.suffix and not path.is_file():  # ignores a folder of that name
        folder = Path(str(resources.files("opq_sim") / "scenarios"))
        path = folder / f"{path.name}.toml"
        if not path.exists():
            shipped = ", ".join(sorted(each.stem for each in folder.glob("*.toml")))
            raise ConfigError(f"scenario {name}: there is no such file; shipped ones are {shipped}")
    return path


def load_scenario(name: str | Path = DEFAULT, overrides: Mapping[str, Any] | None = None) -> MainsScenario:
    """A scenario from a file, or a shipped one by its bare name.

    Raises:
        ConfigError: no such file, or every problem in it at once.
    """
    path = scenario_path(name)
    scenario = load(MainsScenario, path, overrides)
    problem = _problem(scenario)
    if problem:
        raise ConfigError(f"{path.name}: {problem}, nothing was started")
    return scenario


def grid_of(scenario: MainsScenario) -> Grid:
    """The grid that all Boxes of a scenario share."""
    config = scenario.grid
    excursions = (
        (GridExcursion(scenario.lead_s, scenario.every_s, config.excursion),) if config.excursion else ()
    )
    return Grid(config.frequency_hz, config.wander_hz, config.wander_s, excursions=excursions)


def generators(scenario: MainsScenario, seed: int = 1) -> dict[str, Generator]:
    """One generator per Box of the scenario, by Box id."""
    grid = grid_of(scenario)
    return {box.id: _generator(scenario, box, grid, seed) for box in scenario.box}


def plain_generator(box_id: str, grid: Grid, nominal_v: float, nominal_hz: float, seed: int = 1) -> Generator:
    """A Box on an undisturbed socket: its voltage and harmonics depend on seed and id."""
    chance = np.random.default_rng((seed, int(box_id)))
    harmonics = tuple(
        Harmonic(order, float(percent * chance.uniform(0.5, 1.5)), float(chance.uniform(0, 360)))
        for order, percent in ((3, 1.5), (5, 1.5), (7, 0.6), (9, 0.4))
    )
    signal = MainsSignal(
        fundamental_v=float(nominal_v * chance.uniform(0.99, 1.02)),
        harmonics=harmonics,
        noise_v=0.014,
        v_per_lsb=nominal_v * 2 / 32768,  # 2 times nominal, peak: swells up to 1.4 are not clipped
        nominal_v=nominal_v,
        nominal_hz=nominal_hz,
        effective_bits=14.0,
    )
    return Generator(signal, grid, seed=seed * 1_000_003 + int(box_id))


def _generator(scenario: MainsScenario, box: BoxConfig, grid: Grid, seed: int) -> Generator:
    signal = MainsSignal(
        fundamental_v=box.fundamental_v,
        harmonics=tuple(Harmonic(*harmonic) for harmonic in box.harmonics),
        dc_v=box.dc_v,
        noise_v=box.noise_v,
        v_per_lsb=box.v_per_lsb,
        nominal_v=scenario.nominal_v,
        nominal_hz=scenario.nominal_hz,
        effective_bits=box.effective_bits,
    )
    recurring = tuple(
        Recurring(_event(event, signal), scenario.lead_s + event.after_s, scenario.every_s)
        for event in box.event
    )
    return Generator(signal, grid, seed=seed * 1_000_003 + int(box.id), recurring=recurring)


def _numbers(config: EventConfig) -> EventNumbers:
    given = {name: getattr(config, name) for name in ("depth", "cycles", "angle_deg", "hz", "degrees")}
    return numbers_for(config.kind, {name: value for name, value in given.items() if value is not None})


def _event(config: EventConfig, signal: MainsSignal) -> GridEvent | MainsDisturbance:
    dip_share = DIP_SHARE * signal.nominal_v / signal.rms_v
    if config.kind != "profile":
        event = on_demand(config.kind, _numbers(config), signal.rms_v, signal.nominal_hz)
        if isinstance(event, GridEvent) and event.shape and config.kind != "swell":
            return replace(event, mark_cycles=first_below(event.shape, dip_share))
        return event
    shape = steps(
        [level_v / signal.rms_v for level_v in config.half_cycle_rms_v],
        recovery=[(at, level_v / signal.rms_v) for at, level_v in config.recovery],
    )
    event = GridEvent("profile", config.angle_deg / 360, shape)
    return replace(event, mark_cycles=first_below(shape, dip_share))


def _problem(scenario: MainsScenario) -> str:
    """A problem between fields, which their types cannot express; empty if there is none."""
    ids = [box.id for box in scenario.box]
    if len(set(ids)) != len(ids):
        return f"box ids {', '.join(ids)}: two are the same"
    times = [point[0] for point in scenario.grid.excursion]
    if times and (times != sorted(set(times)) or len(times) < 2 or times[-1] >= scenario.every_s):
        return "grid.excursion: want two points or more, rising in time, all before every_s"
    for box in scenario.box:
        if (box.latitude is None) != (box.longitude is None):
            return f"box {box.id}: latitude and longitude belong together; want both or none"
        peak_v = box.fundamental_v * math.sqrt(2)
        if peak_v > 32767 * box.v_per_lsb:
            want = peak_v * 2 / 32767
            return (
                f"box {box.id}: its steady {peak_v:.0f} V peak are clipped; want v_per_lsb {want:.2g} or so"
            )
        for event in box.event:
            at = [point[0] for point in event.recovery]
            if event.kind == "profile" and not event.half_cycle_rms_v:
                return f"box {box.id}: a profile wants half_cycle_rms_v"
            if at != sorted(at) or any(point < 0 for point in at):
                return f"box {box.id}: recovery wants rising cycles from 0"
            try:
                if event.kind != "profile":
                    _event(
                        event, MainsSignal(fundamental_v=box.fundamental_v, nominal_hz=scenario.nominal_hz)
                    )
            except ValueError as error:
                return f"box {box.id}: {event.kind}: {error}"
    return ""
