"""What everybody may know of the grid now: each Box that is shown, and figures of grids and regions.

Pure. A Box whose owner shows "its region" counts in figures of its region and grid and shows nowhere else;
it counts only where the region has so many of them (FEWEST_REGIONAL), and in a figure only while so many of
them report, so that no figure is one household's. A figure is a median: one Box more or less hardly moves it,
and a broken one not at all.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from opq_cloud.view.public.fuzz import Place

FEWEST_REGIONAL = 3
"""Boxes of a region that are shown as figures only; fewer, and they do not count at all."""
NEAR_PERCENT, LIMIT_PERCENT = 5.0, 10.0
"""Off nominal; 10 % is the limit of EN 50160:2010, 4.2.2 for the supply voltage."""
TONES = {
    "normal": "within 5 % of nominal",
    "low": "5 to 10 % below nominal",
    "high": "5 to 10 % above nominal",
    "too-low": "more than 10 % below nominal",
    "too-high": "more than 10 % above nominal",
    "silent": "silent",
}
"""From the calmest to the loudest, but that silence comes last: it is the loudest state of a Box."""
LOUDEST = {tone: rank for rank, tone in enumerate(("normal", "high", "low", "too-high", "too-low", "silent"))}


@dataclass(frozen=True, slots=True)
class BoxNow:
    """A Box as the map counts it; what is not known is None."""

    box_id: str
    label: str
    grid: str
    region: str | None
    at: Place | None
    """Where it is shown, not where it stands, unless `exact`."""
    exact: bool
    regional: bool
    """It counts in figures of its region and shows nowhere itself."""
    nominal_v: float
    nominal_hz: float
    u_percent: float | None
    """Of its nominal voltage; None also while it is silent."""
    f_hz: float | None
    silent: bool

    @property
    def tone(self) -> str:
        return "silent" if self.silent else tone_of(self.u_percent)


@dataclass(frozen=True, slots=True)
class GroupNow:
    """A grid or a region: medians of its Boxes that report."""

    name: str
    boxes: int
    reporting: int
    u_percent: float | None
    f_hz: float | None
    nominal_hz: float
    at: Place | None
    """Of a region: the middle of the places shown for its Boxes; None where those have none."""
    regional: bool
    """Some of its Boxes show nowhere else."""

    @property
    def tone(self) -> str:
        return tone_of(self.u_percent) if self.reporting else "silent"

    @property
    def state(self) -> str:
        """In words."""
        return state_of(self.tone, self.reporting, self.u_percent)


def state_of(tone: str, reporting: int, u_percent: float | None) -> str:
    """Of several Boxes, in words."""
    return "too few report for a figure" if reporting and u_percent is None else TONES[tone]


def tone_of(u_percent: float | None) -> str:
    """A key of TONES."""
    if u_percent is None:
        return "silent"
    off = u_percent - 100.0
    if abs(off) <= NEAR_PERCENT:
        return "normal"
    side = "low" if off < 0 else "high"
    return side if abs(off) <= LIMIT_PERCENT else f"too-{side}"


def countable(boxes: Iterable[BoxNow]) -> list[BoxNow]:
    """Without regional ones that have too few of their kind beside them, or no region."""
    found = list(boxes)
    of_region = Counter(each.region for each in found if each.regional)
    return [
        each
        for each in found
        if not each.regional or (each.region is not None and of_region[each.region] >= FEWEST_REGIONAL)
    ]


def grids_now(boxes: Iterable[BoxNow]) -> tuple[GroupNow, ...]:
    """Of countable Boxes, by grid, the largest first."""
    found = _groups(boxes, lambda each: each.grid)
    return tuple(sorted(found, key=lambda each: (-each.boxes, each.name)))


def regions_now(boxes: Iterable[BoxNow]) -> tuple[GroupNow, ...]:
    """Of countable Boxes that have a region, by its name."""
    return tuple(sorted(_groups(boxes, lambda each: each.region), key=lambda each: each.name))


def _groups(boxes: Iterable[BoxNow], of: Callable[[BoxNow], str | None]) -> list[GroupNow]:
    members: Mapping[str, list[BoxNow]] = defaultdict(list)
    for each in boxes:
        if (name := of(each)) is not None:
            members[name].append(each)
    return [_group(name, found) for name, found in members.items()]


def _enough(values: Iterable[tuple[bool, float | None]]) -> list[float]:
    """What is known, (regional, value); of regional ones nothing while fewer than FEWEST_REGIONAL are."""
    known = [(regional, value) for regional, value in values if value is not None]
    enough = sum(regional for regional, _ in known) >= FEWEST_REGIONAL
    return [value for regional, value in known if enough or not regional]


def _group(name: str, boxes: Sequence[BoxNow]) -> GroupNow:
    live = [each for each in boxes if not each.silent]
    levels = _enough((each.regional, each.u_percent) for each in live)
    frequencies = _enough((each.regional, each.f_hz) for each in live)
    places = [each.at for each in boxes if each.at is not None]
    return GroupNow(
        name,
        len(boxes),
        len(live),
        median(levels) if levels else None,
        median(frequencies) if frequencies else None,
        Counter(each.nominal_hz for each in boxes).most_common(1)[0][0],
        _middle(places) if places else None,
        any(each.regional for each in boxes),
    )


def _middle(places: Sequence[Place]) -> Place:
    """To a tenth of a degree: of places that are shown, never of those where Boxes stand."""
    latitude = sum(each[0] for each in places) / len(places)
    longitude = sum(each[1] for each in places) / len(places)
    return round(latitude, 1), round(longitude, 1)
