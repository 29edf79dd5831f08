"""Faults between the keys of a scenario with a network, found before their types are checked."""

from collections.abc import Iterator, Mapping
from typing import TypeGuard

from opq_proto.config.problems import Path, Problem
from opq_sim.mains.wave import ORDERS
from opq_sim.power_system.causes.catalogue import cause_of
from opq_sim.power_system.causes.converter_loads import ConverterLoad
from opq_sim.power_system.network.network_config import network_problems
from opq_sim.power_system.swing_model import PRESETS

HOURLY = ConverterLoad.name
"""The cause that a table `hourly` makes."""
NOMINAL_HZ = (50.0, 60.0)
MIN_EVERY_S = 0.1
"""A cause that recurs more often would not be over when it comes again."""
MIN_HOURS = 0.01
"""A shorter part of the day would almost never be met."""
FREQUENCY_SHARE = 0.15
"""Deviation from nominal in which a frequency is measured. Source: IEC 61000-4-30:2015, 5.1, class A: 42.5 to
57.5 Hz.
"""


def scenario_problems(document: Mapping[str, object]) -> list[Problem]:
    """Checks names of the network, causes and their numbers, frequencies, hours, and repeated ids.

    Args:
        document: keys and values from the file; a value of the wrong type is reported by its field.
    """
    network = document.get("network")
    found = network_problems(network, ("network",)) if isinstance(network, Mapping) else []
    for index, row in enumerate(_rows(document, "cause")):
        found += _cause_problems(("cause", index), row, row.get("at"), {})
        found += _spacing_problems(("cause", index, "every_s"), row.get("every_s"))
    for index, row in enumerate(_rows(document, "hourly")):
        found += _hourly_problems(("hourly", index), row)
    for index, row in enumerate(_rows(document, "process")):
        found += _process_problems(("process", index), row)
    found += _frequency_problems(document)
    ids = [row.get("id") for row in _rows(document, "box")]
    for index, row in enumerate(_rows(document, "box")):
        if row.get("id") in ids[:index]:
            found.append(Problem(("box", index, "id"), f"is {row.get('id')!r} twice; give each its own"))
        lines = row.get("harmonics")
        for line in lines if isinstance(lines, list) else ():
            order = line[0] if isinstance(line, list) and line else None
            if not isinstance(order, int) or not 2 <= order <= ORDERS:
                found.append(Problem(("box", index, "harmonics"), f"order {order!r}; want 2 to {ORDERS}"))
    return found


def _process_problems(path: Path, row: Mapping[str, object]) -> Iterator[Problem]:
    """Checks its cause at both ends of the random span, and its hours."""
    places, between, hours = row.get("at"), row.get("between"), row.get("hours")
    spans = between if isinstance(between, Mapping) else {}
    ends = {key: span for key, span in spans.items() if _is_span(span)}
    for place in places[:1] if isinstance(places, list) else ():
        for end in (0, 1):
            yield from _cause_problems(path, row, place, {key: span[end] for key, span in ends.items()})
    for key, (low, high) in ends.items():
        if low > high:
            yield Problem((*path, "between", key), f"is [{low:g}, {high:g}]; want the smaller number first")
    if _is_span(hours) and not _part_of_a_day(*hours):
        text = f"is [{hours[0]:g}, {hours[1]:g}]; want two different hours of the day, 0 to 24"
        yield Problem((*path, "hours"), text)


def _frequency_problems(document: Mapping[str, object]) -> Iterator[Problem]:
    """Checks that the preset exists, there is one nominal frequency, and a steady one is near it."""
    frequency = document.get("frequency")
    preset = frequency.get("preset") if isinstance(frequency, Mapping) else None
    if isinstance(preset, str) and preset not in PRESETS:
        yield Problem(("frequency", "preset"), f"is {preset!r}; want one of {', '.join(PRESETS)}")
    hz = document.get("nominal_hz", NOMINAL_HZ[0])
    if not isinstance(hz, int | float):
        return  # its field reports the fault
    if hz not in NOMINAL_HZ:
        yield Problem(("nominal_hz",), f"is {hz:g}; want 50 or 60")
        return
    network, grid = document.get("network"), document.get("grid")
    own_hz = network.get("nominal_hz") if isinstance(network, Mapping) else hz
    if isinstance(own_hz, int | float) and own_hz != hz:
        text = f"is {own_hz:g}; the scenario's nominal_hz is {hz:g}: leave this one out, or make them equal"
        yield Problem(("network", "nominal_hz"), text)
    steady_hz = grid.get("frequency_hz") if isinstance(grid, Mapping) else hz
    if isinstance(steady_hz, int | float) and not abs(steady_hz - hz) <= FREQUENCY_SHARE * hz:
        least, most = (1 - FREQUENCY_SHARE) * hz, (1 + FREQUENCY_SHARE) * hz
        yield Problem(("grid", "frequency_hz"), f"is {steady_hz:g}; want {least:g} to {most:g}")


def _spacing_problems(path: Path, every_s: object) -> Iterator[Problem]:
    if isinstance(every_s, int | float) and 0 < every_s < MIN_EVERY_S:
        yield Problem(path, f"is {every_s:g}; want 0 for once, or at least {MIN_EVERY_S:g}")


def _hourly_problems(path: Path, row: Mapping[str, object]) -> Iterator[Problem]:
    kw, shares = row.get("kw"), row.get("shares")
    for number, share in enumerate(shares) if isinstance(shares, list) else ():
        if not isinstance(share, int | float) or not isinstance(kw, int | float) or not share:
            continue
        try:
            cause_of(HOURLY, "", {"kw": kw * share})
        except ValueError as error:
            yield Problem((*path, "shares", number), f"is {share:g}; {error}")


def _is_span(value: object) -> TypeGuard[list[float]]:
    return (
        isinstance(value, list) and len(value) == 2 and all(isinstance(each, int | float) for each in value)
    )


def _part_of_a_day(low: float, high: float) -> bool:
    inside = 0 <= low <= 24 and 0 <= high <= 24
    return (inside and (high - low) % 24 >= MIN_HOURS) or (low, high) == (0, 24)


def _cause_problems(
    path: Path, row: Mapping[str, object], at: object, drawn: Mapping[str, object]
) -> list[Problem]:
    kind, values = row.get("kind"), row.get("values")
    if not isinstance(kind, str) or not isinstance(at, str):
        return []  # its field reports the fault
    given = {**(values if isinstance(values, Mapping) else {}), **drawn}
    try:
        cause_of(kind, at, given)
    except ValueError as error:
        return [Problem((*path, "kind" if "is not a cause" in str(error) else "values"), str(error))]
    return []


def _rows(document: Mapping[str, object], kind: str) -> list[Mapping[str, object]]:
    rows = document.get(kind)
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
