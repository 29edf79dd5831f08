"""The public state of the grid now: each public Box, and figures of grids and regions. Pure. A Box whose
owner shows "its region" counts in figures of its region and grid and appears nowhere else. It counts only
where such Boxes of its region have enough owners (`visible/counted.py`), and in a figure only while those
that report have, so that no figure is that of one household. A figure is a median: one Box more hardly
changes it, and a broken one not at all.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_cloud.view.pages.visible.counted import enough_owners, groups_with_enough, numbered_owners
from opq_cloud.view.pages.visible.fuzz import Place

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
NEAR_PERCENT = 5.0
"""Deviation from nominal that the map shows as normal."""
LIMIT_PERCENT = 10.0
"""Limit of EN 50160:2010, 4.2.2 for the supply voltage, percent off nominal."""
TONES = {
    "normal": f"within {NEAR_PERCENT:g} % of nominal",
    "low": f"{NEAR_PERCENT:g} to {LIMIT_PERCENT:g} % below nominal",
    "high": f"{NEAR_PERCENT:g} to {LIMIT_PERCENT:g} % above nominal",
    "too-low": f"more than {LIMIT_PERCENT:g} % below nominal",
    "too-high": f"more than {LIMIT_PERCENT:g} % above nominal",
    "silent": "silent",
}
"""Roughly by rising importance; silence is last, as the most important state of a Box."""
BY_LOUDNESS = ("normal", "high", "low", "too-high", "too-low", "silent")
LOUDEST = {tone: rank for rank, tone in enumerate(BY_LOUDNESS)}
PLANS_KEPT = 32


@dataclass(frozen=True, slots=True)
class BoxNow:
    """A Box as the map counts it; unknown values are None."""

    box_id: str
    label: str
    grid: str
    region: str | None
    at: Place | None
    """The public place, or the real one where `exact`."""
    exact: bool
    regional: bool
    """Whether it counts in figures of its region and is not shown itself."""
    nominal_v: float
    nominal_hz: float
    u_percent: float | None
    """Percent of its nominal voltage; also None while it is silent."""
    f_hz: float | None
    silent: bool
    late_s: float = 0.0
    """How late its newest values came; 0 where they are not late."""
    site: str | None = None
    """Its site, where the visitor sees its place."""
    owner: str = ""
    """The owner's account of a regional Box; empty for the installation's own."""

    @property
    def tone(self) -> str:
        return "silent" if self.silent else tone_of(self.u_percent)


@dataclass(frozen=True, slots=True)
class GroupNow:
    """A grid or a region: medians of its reporting Boxes."""

    name: str
    boxes: int
    reporting: int
    u_percent: float | None
    f_hz: float | None
    nominal_hz: float
    at: Place | None
    """The middle of the public places of a region's Boxes; None where they have none."""
    regional: bool
    """Whether some of its Boxes are shown nowhere else."""

    @property
    def tone(self) -> str:
        return tone_of(self.u_percent) if self.reporting else "silent"

    @property
    def state(self) -> str:
        """The state in words."""
        return state_of(self.tone, self.reporting, self.u_percent)


def state_of(tone: str, reporting: int, u_percent: float | None) -> str:
    """The state of several Boxes, in words."""
    return "too few report for a figure" if reporting and u_percent is None else TONES[tone]


def tone_ranks(u_percent: Floats) -> Whole:
    """Returns the tone of each voltage as its index in BY_LOUDNESS; that of silence where it is NaN."""
    off = np.abs(u_percent - 100.0)
    low = np.where(off <= LIMIT_PERCENT, LOUDEST["low"], LOUDEST["too-low"])
    high = np.where(off <= LIMIT_PERCENT, LOUDEST["high"], LOUDEST["too-high"])
    tones = np.where(off <= NEAR_PERCENT, LOUDEST["normal"], np.where(u_percent < 100.0, low, high))
    return np.where(np.isnan(u_percent), LOUDEST["silent"], tones).astype(np.int64)


def tone_of(u_percent: float | None) -> str:
    """The tone of a voltage, a key of TONES."""
    return BY_LOUDNESS[int(tone_ranks(np.array([u_percent], np.float64))[0])]  # None becomes NaN


def countable(boxes: Iterable[BoxNow]) -> list[BoxNow]:
    """The Boxes without those regional ones that have no region, or one with too few owners."""
    found = list(boxes)
    owners: dict[str | None, list[str]] = {}
    for each in found:
        if each.regional:
            owners.setdefault(each.region, []).append(each.owner)
    enough = {region for region, of_region in owners.items() if region and enough_owners(of_region)}
    return [each for each in found if not each.regional or each.region in enough]


@dataclass(frozen=True, eq=False)
class Groups:
    """Boxes by grid or region, and the constant facts of these groups."""

    names: tuple[str, ...]
    which: Whole
    """(boxes,) group of each Box; -1 for none."""
    boxes: tuple[int, ...]
    nominal_hz: tuple[float, ...]
    at: tuple[Place | None, ...]
    regional: tuple[bool, ...]


class FixedBoxes:
    """The facts of Boxes that stay from one second to the next: identity, place, grid and region.

    Results that depend only on these (`plan`) are stored here: a map is laid out once, not each second.
    """

    def __init__(self, boxes: Iterable[BoxNow]) -> None:
        self.boxes = tuple(boxes)
        self.regional = np.array([each.regional for each in self.boxes], bool)
        self.nominal_v = np.array([each.nominal_v for each in self.boxes], np.float64)
        self.owners = numbered_owners([each.owner for each in self.boxes])
        self._plans: dict[Hashable, Any] = {}

    @cached_property
    def grids(self) -> Groups:
        return _groups(self.boxes, lambda each: each.grid)

    @cached_property
    def regions(self) -> Groups:
        return _groups(self.boxes, lambda each: each.region)

    def plan(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The cached result of `make` for the key; only the newest PLANS_KEPT stay."""
        found = self._plans.get(key)
        if found is None:
            found = self._plans[key] = make()
            for old in list(self._plans)[:-PLANS_KEPT]:
                self._plans.pop(old, None)
        return found


@dataclass(eq=False)
class BoxesNow:
    """All Boxes of an audience now, by columns: 10,000 of them cost some milliseconds."""

    fixed: FixedBoxes
    u_percent: Floats
    """(boxes,) as in `BoxNow`; NaN where unknown or silent."""
    f_hz: Floats
    silent: NDArray[np.bool_]
    late_s: Floats
    hour_share: Floats | None = None
    """(boxes,) measured share of the last hour; NaN where unknown. None where it was not read."""

    @cached_property
    def measured(self) -> Floats:
        """`hour_share` of the Boxes that are shown themselves; NaN of regional ones."""
        if self.hour_share is None:
            return np.full(len(self), np.nan)
        return np.where(self.fixed.regional, np.nan, self.hour_share)

    def __len__(self) -> int:
        return len(self.fixed.boxes)

    def usable(self, values: Floats) -> NDArray[np.bool_]:
        """(boxes,) whose values a figure may use: those of regional Boxes only where the ones of their region
        that have a value have enough owners."""
        known = ~self.silent & ~np.isnan(values)
        return _with_enough(self, self.fixed.regions, known)

    @cached_property
    def loudness(self) -> Whole:
        """(boxes,) index of the Box's tone in BY_LOUDNESS."""
        return np.where(self.silent, LOUDEST["silent"], tone_ranks(self.u_percent))


def grids_now(now: BoxesNow) -> tuple[GroupNow, ...]:
    """Groups of countable Boxes by grid, the largest first."""
    return tuple(sorted(_groups_now(now, now.fixed.grids), key=lambda each: (-each.boxes, each.name)))


def regions_now(now: BoxesNow) -> tuple[GroupNow, ...]:
    """Groups of countable Boxes with a region, by its name."""
    return tuple(sorted(_groups_now(now, now.fixed.regions), key=lambda each: each.name))


def medians_of(which: Whole, values: Floats, groups: int) -> list[float | None]:
    """The median of each group, as `statistics.median`; None where it has no value.

    Args:
        which: (n,) group of each value, 0 to `groups` - 1.
        values: (n,) finite.
    """
    order = np.lexsort((values, which))
    which, values = which[order], values[order]
    numbers = np.arange(groups)
    first, end = np.searchsorted(which, numbers), np.searchsorted(which, numbers, side="right")
    found: list[float | None] = []
    for begin, stop in zip(first.tolist(), end.tolist(), strict=True):
        size = stop - begin
        lower, upper = begin + (size - 1) // 2, begin + size // 2
        found.append(float((values[lower] + values[upper]) / 2) if size else None)
    return found


def _groups(boxes: Sequence[BoxNow], of: Callable[[BoxNow], str | None]) -> Groups:
    members: dict[str, list[BoxNow]] = {}
    numbers: dict[str | None, int] = {None: -1}
    which = []
    for each in boxes:
        name = of(each)
        if name is not None:
            numbers.setdefault(name, len(members))
            members.setdefault(name, []).append(each)
        which.append(numbers[name])
    places = [[each.at for each in found if each.at is not None] for found in members.values()]
    return Groups(
        tuple(members),
        np.array(which, np.int64),
        tuple(map(len, members.values())),
        tuple(Counter(each.nominal_hz for each in found).most_common(1)[0][0] for found in members.values()),
        tuple(_middle(found) if found else None for found in places),
        tuple(any(each.regional for each in found) for found in members.values()),
    )


def _groups_now(now: BoxesNow, groups: Groups) -> list[GroupNow]:
    count = len(groups.names)
    live = ~now.silent & (groups.which >= 0)
    reporting = np.bincount(groups.which[live], minlength=count).tolist()
    levels = _enough(now, groups, now.u_percent, live)
    frequencies = _enough(now, groups, now.f_hz, live)
    rows = zip(
        groups.names,
        groups.boxes,
        reporting,
        levels,
        frequencies,
        groups.nominal_hz,
        groups.at,
        groups.regional,
        strict=True,
    )
    return [GroupNow(*row) for row in rows]


def _enough(now: BoxesNow, groups: Groups, values: Floats, live: NDArray[np.bool_]) -> list[float | None]:
    """Medians of known values; those of regional Boxes count only where they have enough owners, in their
    region and in this group: a grid shows no more of a region than the region does."""
    used = _with_enough(now, groups, live & now.usable(values))
    return medians_of(groups.which[used], values[used], len(groups.names))


def _with_enough(now: BoxesNow, groups: Groups, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`known` without the regional Boxes of groups where those that are known have too few owners."""
    hidden, which = np.flatnonzero(known & now.fixed.regional & (groups.which >= 0)), groups.which
    used = np.asarray(known & ~now.fixed.regional, np.bool_)
    if len(hidden):
        enough = groups_with_enough(which[hidden], now.fixed.owners[hidden], len(groups.names))
        used[hidden] = enough[which[hidden]]
    return used


def _middle(places: Sequence[Place]) -> Place:
    """The middle to a tenth of a degree, from public places only."""
    latitude = sum(each[0] for each in places) / len(places)
    longitude = sum(each[1] for each in places) / len(places)
    return round(latitude, 1), round(longitude, 1)
