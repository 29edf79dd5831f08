"""Months of hourly voltages of three Boxes on one phase, with planted changes.

In percent of nominal. The supply that the three share has a daily and a weekly profile whose size differs
from day to day, weather that lasts for days, and noise that lasts for hours; each Box has noise of its own,
gaps, single wrong hours and a static error of its gain.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from opq_change.detection import Change, changes_of, own_changes
from opq_change.series import DAY_H, HOUR_NS, HourSeries

HOURS = 30 * DAY_H
START_NS = 1_793_491_200 * 10**9
"""Sunday, 2026-11-01 UTC."""
PLANTED = ("level_step", "own_step", "own_drift", "profile_change")

NEAR_H = {"level_step": 24, "own_step": 24, "profile_change": 60}
"""Hours from a planted change within which it counts as found."""


@dataclass(frozen=True, slots=True)
class Planted:
    """A change, at a Box (0 to 2), or at all of them (None)."""

    kind: str
    hour: int
    box: int | None


@dataclass(frozen=True, slots=True)
class BoxMonth:
    boxes: tuple[HourSeries, ...]
    planted: tuple[Planted, ...]


def _lasting(random: np.random.Generator, count: int, deviation: float, again: float) -> NDArray[np.float64]:
    """Noise of order one with this deviation."""
    steps = random.normal(0, deviation * (1 - again**2) ** 0.5, count)
    found = np.empty(count)
    value = random.normal(0, deviation)
    for at in range(count):
        value = again * value + steps[at]
        found[at] = value
    return found


def _shape(hour: NDArray[np.float64], peak: float, width: float) -> NDArray[np.float64]:
    apart = (hour - peak + 12) % 24 - 12
    return np.exp(-0.5 * (apart / width) ** 2)


def month(seed: int, kinds: tuple[str, ...] = PLANTED) -> BoxMonth:
    """A month of three Boxes, each kind planted once, apart from each other by four days at least."""
    random = np.random.default_rng(seed)
    hours = np.arange(HOURS)
    day, hour = hours // DAY_H, (hours % DAY_H).astype(np.float64)
    weekend = (day % 7 == 0) | (day % 7 == 6)
    size = np.maximum(0.3, 1 + random.normal(0, 0.15, 31))[day]
    evening = np.where(weekend, 0.8, 1.2) * _shape(hour, 19, 2.5)
    load = evening + np.where(weekend, 0.9, 0.5) * _shape(hour, 12, 3) + 0.3 * _shape(hour, 7, 1.5)
    supply = 100.5 - load * size + 0.3 * weekend
    supply += np.interp(hours, np.arange(31) * DAY_H, _lasting(random, 31, 0.2, 0.6))
    supply += _lasting(random, HOURS, 0.2, 0.7)
    planted = []
    own = np.zeros((3, HOURS))
    places = _places(random, len(kinds))
    for kind, at in zip(random.permutation(list(kinds)).tolist(), places, strict=True):
        sign = random.choice((-1.0, 1.0))
        box = int(random.integers(3)) if kind.startswith("own") else None
        later = hours >= at
        if kind == "level_step":
            supply += later * sign * random.uniform(1.0, 2.5)
        elif kind == "own_step":
            own[box] += later * sign * random.uniform(0.3, 1.5)
        elif kind == "own_drift":
            own[box] += later * sign * (hours - at) / (HOURS - at) * random.uniform(0.6, 1.5)
        else:
            at = at // DAY_H * DAY_H
            new = random.uniform(0.8, 1.5) * _shape(hour, random.choice((1.0, 4.0, 15.0)), 2.0)
            supply += (hours >= at) * sign * new
        planted.append(Planted(kind, at, box))
    boxes = []
    for at in range(3):
        values = supply + random.uniform(-1, 1) + own[at] + _lasting(random, HOURS, 0.06, 0.5)
        values += _lasting(random, HOURS, 0.03, 0.97)
        for wrong in random.integers(0, HOURS, 2):
            values[wrong] += random.choice((-6.0, 5.0))
        for gap in random.integers(0, HOURS - 12, 3):
            values[gap : gap + random.integers(1, 12)] = np.nan
        boxes.append(HourSeries(str(at + 1), START_NS, values))
    return BoxMonth(tuple(boxes), tuple(planted))


def _places(random: np.random.Generator, count: int) -> list[int]:
    """Hours that are four days and more from each other and five from the ends."""
    while True:
        found = sorted(random.integers(5 * DAY_H, HOURS - 5 * DAY_H, count).tolist())
        if all(b - a >= 4 * DAY_H for a, b in pairwise(found)):
            return found


def at_hour(at_ns: int) -> float:
    return (at_ns - START_NS) / HOUR_NS


def fits(found: Change, planted: Planted) -> bool:
    if planted.kind == "own_drift":  # when it began is not sharp
        middle = (planted.hour + HOURS) / 2
        return found.kind == "own_drift" and at_hour(found.start_ns) <= middle <= at_hour(found.end_ns)
    return abs(at_hour(found.start_ns) - planted.hour) <= NEAR_H[planted.kind]


def score(months: Sequence[BoxMonth]) -> tuple[Counter[str], Counter[str], float]:
    """Kind -> planted changes, and those that were found as their kind; false alarms a Box-month."""
    planted, found, false, boxes = Counter[str](), Counter[str](), 0, 0
    for each in months:
        own = own_changes(each.boxes)
        for at, box in enumerate(each.boxes):
            result = changes_of(box, own)
            assert result is not None
            changes = [change for change in result.changes if change.kind != "anomaly"]
            here = [one for one in each.planted if one.box in (None, at)]
            planted.update(one.kind for one in here)
            found.update(
                one.kind for one in here if any(one.kind == got.kind and fits(got, one) for got in changes)
            )
            false += sum(not any(fits(got, one) for one in here) for got in changes)
            boxes += 1
    return planted, found, false / boxes
