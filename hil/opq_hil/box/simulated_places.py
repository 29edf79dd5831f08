"""Where simulated Boxes are plugged in: a made-up place at coordinates that exist, the feeder and the phase.

A scenario names places of its own; Boxes without one stand in a spiral around the middle of an island, each
bus at a point of its own. What `--replay` plays is of a real place that nobody here knows: it has none.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from opq_hil.box.fleet import Fleet
from opq_hil.power_system.map_places import KM_PER_DEGREE
from opq_hil.power_system.power_scenario import PowerScenario, power_system_of

BORNHOLM, OAHU = (55.130, 14.915), (21.500, -158.020)
"""(latitude, longitude), degrees: the middle of an island of 50 Hz and of one of 60 Hz."""
SPIRAL_KM = 1.1
"""The n-th point lies so far off times the root of n + 1; 200 points lie within 16 km."""
GOLDEN_DEGREES = 137.50776
"""From point to point: no two of any number come close (Vogel, Mathematical Biosciences 44, 1979)."""
PLAIN_FEEDERS = 4
PLAIN_REGION = "simulated"
PLACE_MADE_UP = "simulated: place, feeder and voltage are made up"
"""The registry's description of such a Box."""


@dataclass(frozen=True, slots=True)
class SimulatedPlace:
    """What the registry of Boxes is to say of one simulated Box."""

    box_id: str
    slug: str
    """The slug of its place; Boxes at one bus share it."""
    name: str
    latitude: float
    """Degrees, WGS 84, as `longitude`."""
    longitude: float
    region: str
    feeder: str | None
    phase: str | None
    """a, b or c."""


def simulated_places(fleet: Fleet) -> tuple[SimulatedPlace, ...]:
    """A place for every Box of the fleet but those that replay a file."""
    scenario = fleet.told
    stem = Path(fleet.scenario).stem if fleet.scenario else PLAIN_REGION
    middle = BORNHOLM if scenario is not None and scenario.nominal_hz < 55 else OAHU
    free = _spiral(middle)
    found: list[SimulatedPlace] = []
    if isinstance(scenario, PowerScenario):
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
                    box.id, _slug(f"{stem} {name}"), name, latitude, longitude, scenario.region or stem,
                    box.feeder or None, box.phase or None,
                )
            )  # fmt: skip
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
    """Places with a Box on each phase, slug to the Boxes on a, b and c; only with GPS, for the angles."""
    found: dict[str, dict[str, str]] = {}
    if isinstance(scenario := fleet.told, PowerScenario):
        clocks = {box.id: box.clock for box in scenario.box}
        for each in simulated_places(fleet):
            clock = clocks.get(each.box_id)
            if each.phase and clock is not None and clock.source == "gps":
                found.setdefault(each.slug, {}).setdefault(each.phase, each.box_id)
    return {slug: (on["a"], on["b"], on["c"]) for slug, on in found.items() if len(on) == 3}


def places_of_network(
    scenario: PowerScenario, stem: str, free: Iterator[tuple[float, float]] | None = None
) -> tuple[SimulatedPlace, ...]:
    """Places for the Boxes of a scenario with a network; `free`: points of places that it does not name."""
    free = free or _spiral(BORNHOLM if scenario.nominal_hz < 55 else OAHU)
    named = {each.at: each for each in scenario.place}
    points = {each.at: (each.latitude, each.longitude) for each in scenario.place}
    system = power_system_of(scenario)
    found = []
    for box in scenario.box:
        if box.at not in points:
            points[box.at] = next(free)
        told = named.get(box.at)
        found.append(
            SimulatedPlace(
                box.id,
                _slug(f"{stem} {box.at}"),
                told.name if told is not None and told.name else box.at,
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
    """Points around `middle`, evenly far from one another, however many."""
    number = 0
    while True:
        off = SPIRAL_KM * math.sqrt(number + 1) / KM_PER_DEGREE
        turn = math.radians(number * GOLDEN_DEGREES)
        longitude = middle[1] + off * math.sin(turn) / math.cos(math.radians(middle[0]))
        yield round(middle[0] + off * math.cos(turn), 5), round(longitude, 5)
        number += 1
