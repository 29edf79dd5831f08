"""Where simulated Boxes are plugged in: a made-up place at real coordinates, the feeder and the phase.

A scenario may name its places. Boxes without a named place stand on a spiral around the middle of an island,
each bus at its own point. The real place of a recording that `--replay` plays is unknown: it gets none.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from opq_sim.box.run_boxes import Fleet
from opq_sim.mains.scenario import MainsScenario
from opq_sim.power_system.places import KM_PER_DEGREE
from opq_sim.power_system.power_scenario import PowerScenario, power_system_of

BORNHOLM = (55.130, 14.915)
"""(latitude, longitude), degrees: the middle of an island with 50 Hz."""
OAHU = (21.500, -158.020)
"""The same of an island with 60 Hz."""
SPIRAL_KM = 1.1
"""The n-th point is this many km times the root of n + 1 from the middle; 200 points lie within 16 km."""
GOLDEN_DEGREES = 137.50776
"""Angle from one point to the next: however many there are, no two come close (Vogel, Mathematical
Biosciences 44, 1979).
"""
PLAIN_FEEDERS = 4
PLAIN_REGION = "simulated"
PLACE_MADE_UP = "simulated: place, feeder and voltage are made up"
"""Description of such a Box in the registry."""


@dataclass(frozen=True, slots=True)
class SimulatedPlace:
    """The entry of one simulated Box in the registry of Boxes."""

    box_id: str
    slug: str
    """The slug of its place; Boxes at one bus share it."""
    name: str
    latitude: float
    """Degrees, WGS 84; so is `longitude`."""
    longitude: float
    region: str
    feeder: str | None
    phase: str | None
    """a, b or c."""


def simulated_places(fleet: Fleet) -> tuple[SimulatedPlace, ...]:
    """Returns a place for every Box of the fleet, except those that replay a file."""
    scenario = fleet.scenario_config
    stem = Path(fleet.scenario).stem if fleet.scenario else PLAIN_REGION
    middle = BORNHOLM if scenario is not None and scenario.nominal_hz < 55 else OAHU
    free = _spiral(middle)
    found: list[SimulatedPlace] = []
    if scenario is not None and not isinstance(scenario, MainsScenario):
        found += places_of_network(scenario, stem, free)
    elif scenario is not None:
        for box in scenario.box:
            if box.latitude is None or box.longitude is None:
                latitude, longitude = next(free)
            else:
                latitude, longitude = box.latitude, box.longitude
            name = box.place or f"box {box.id}"
            found.append(
                SimulatedPlace(
                    box.id,
                    _slug(f"{stem} {name}"),
                    name,
                    latitude,
                    longitude,
                    scenario.region or stem,
                    box.feeder or None,
                    box.phase or None,
                )
            )
    region = (scenario.region if scenario is not None else "") or stem
    for number, box_id in enumerate(fleet.plain_box_ids):
        latitude, longitude = next(free)
        feeder, phase = f"plain{1 + number % PLAIN_FEEDERS}", "abc"[number % 3]
        name = f"box {box_id}"
        found.append(
            SimulatedPlace(box_id, _slug(f"{stem} {name}"), name, latitude, longitude, region, feeder, phase)
        )
    return tuple(found)


def three_phase_places(fleet: Fleet) -> dict[str, tuple[str, str, str]]:
    """Places of a fleet as `sites_of`."""
    scenario = fleet.scenario_config
    if scenario is None or isinstance(scenario, MainsScenario):
        return {}
    return sites_of(scenario, simulated_places(fleet))


def sites_of(scenario: "PowerScenario", places: Iterable[SimulatedPlace]) -> dict[str, tuple[str, str, str]]:
    """Places with a GPS-timed Box on each phase (GPS for the angles): slug to the Boxes on a, b and c."""
    found: dict[str, dict[str, str]] = {}
    clocks = {box.id: box.clock for box in scenario.box}
    for each in places:
        clock = clocks.get(each.box_id)
        if each.phase and clock is not None and clock.source == "gps":
            found.setdefault(each.slug, {}).setdefault(each.phase, each.box_id)
    return {slug: (on["a"], on["b"], on["c"]) for slug, on in found.items() if len(on) == 3}


def places_of_network(
    scenario: "PowerScenario", stem: str, free: Iterator[tuple[float, float]] | None = None
) -> tuple[SimulatedPlace, ...]:
    """Places for the Boxes of a scenario with a network; `free` gives points for unnamed places."""
    free = free or _spiral(BORNHOLM if scenario.nominal_hz < 55 else OAHU)
    named = {each.at: each for each in scenario.place}
    points = {each.at: (each.latitude, each.longitude) for each in scenario.place}
    system = power_system_of(scenario)
    found = []
    for box in scenario.box:
        if box.at not in points:
            points[box.at] = next(free)
        config = named.get(box.at)
        found.append(
            SimulatedPlace(
                box.id,
                _slug(f"{stem} {box.at}"),
                config.name if config is not None and config.name else box.at,
                *points[box.at],
                scenario.region or stem,
                system.feeder_of(box.at),
                box.phase,
            )
        )
    return tuple(found)


def _slug(name: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in name.lower()).split())


def _spiral(middle: tuple[float, float]) -> Iterator[tuple[float, float]]:
    """Yields points around `middle`, evenly spaced, without end."""
    number = 0
    while True:
        off = SPIRAL_KM * math.sqrt(number + 1) / KM_PER_DEGREE
        turn = math.radians(number * GOLDEN_DEGREES)
        longitude = middle[1] + off * math.sin(turn) / math.cos(math.radians(middle[0]))
        yield round(middle[0] + off * math.cos(turn), 5), round(longitude, 5)
        number += 1
