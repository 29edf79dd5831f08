"""Chooses the Boxes that a decision asks for samples, by their places. Pure.

The Box that saw it; its neighbours (same feeder, within `near_km`, same region, in this order and by
distance); Boxes with an unknown place, because they may be neighbours; and a bounded set of
witnesses elsewhere, which show how far a disturbance reached. All other Boxes alive are left out.

Source: docs/reference/contracts.md, "Whom a decision asks".
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from opq_cloud.core.settings.makai_settings import AskingSection
from opq_cloud.store.box_place import DEFAULT_GRID, BoxPlace
from opq_cloud.store.box_record import box_order
from opq_cloud.store.event_record import SAW as SAW

EARTH_KM = 6371.0
"""Mean radius, IUGG."""
FEEDER = "feeder"
"""A Box at the same feeder."""
NEAR = "near"
"""A Box within `near_km`."""
REGION = "region"
"""A Box of the same region."""
NO_PLACE = "no_place"
"""A Box without a place: it is not known whether it is a neighbour."""
WITNESS = "witness"
"""A Box elsewhere in the same grid, which shows whether the whole grid was affected."""
REASONS = (SAW, FEEDER, NEAR, REGION, NO_PLACE, WITNESS)
"""Why a Box is asked, the most important first."""
UNKNOWN = -1

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RequestedBoxes:
    """The asked Boxes by reason, the most important first; and how many live Boxes are not asked."""

    by_reason: tuple[tuple[str, tuple[str, ...]], ...]
    left_out: int = 0

    @property
    def box_ids(self) -> tuple[str, ...]:
        """All asked Boxes, the one that saw it first."""
        return tuple(box_id for _, box_ids in self.by_reason for box_id in box_ids)

    def only(self, box_ids: Iterable[str]) -> "RequestedBoxes":
        """Returns the asked Boxes that are among `box_ids`."""
        chosen = frozenset(box_ids)
        rows = ((reason, tuple(box for box in boxes if box in chosen)) for reason, boxes in self.by_reason)
        return RequestedBoxes(tuple((reason, boxes) for reason, boxes in rows if boxes), self.left_out)


@dataclass(slots=True)
class _Facts:
    """Facts about some Boxes, in one order; a code is -1 where it is unknown."""

    ids: list[str]
    grid: IntArray
    feeder: IntArray
    regions: IntArray
    """(n, most regions of one Box); a Box is in each of them."""
    points: FloatArray
    """(n, 3) on the unit sphere; NaN where unknown."""


@dataclass(slots=True)
class _Codes:
    """Maps names to whole numbers."""

    known: dict[tuple[str, ...], int] = field(default_factory=dict)

    def code(self, *name: str | None) -> int:
        if None in name:
            return UNKNOWN
        return self.known.setdefault(tuple(part or "" for part in name), len(self.known))


class BoxPlaces:
    """The places of all Boxes in the store; made again when they change."""

    def __init__(self, places: Mapping[str, BoxPlace] | None = None) -> None:
        """`places` by the Boxes' ids."""
        codes = _Codes()
        self._places = dict(places or {})
        most = max([1, *(len(place.regions) for place in self._places.values())])
        no_region = (UNKNOWN,) * most
        self._codes = {
            box_id: (
                codes.code("grid", place.grid),
                codes.code("feeder", place.grid, place.feeder or None),
                *_point(place),
                *(*(codes.code("region", name or None) for name in place.regions), *no_region)[:most],
            )
            for box_id, place in self._places.items()
        }
        self._nowhere = codes.code("grid", DEFAULT_GRID), UNKNOWN, *(np.nan,) * 3, *no_region
        self._reporting: tuple[str, ...] = ()
        self._facts = self._facts_of([])
        """Facts of the Boxes in `_reporting`; kept because the next decision mostly has the same Boxes."""

    def place(self, box_id: str) -> BoxPlace:
        """A Box's place; for a Box that the store does not know, the default grid and nothing else."""
        return self._places.get(box_id) or BoxPlace()

    def requested_boxes(self, box_id: str, reporting: Sequence[str], limits: AskingSection) -> RequestedBoxes:
        """Returns the Boxes to ask about what `box_id` saw, among `reporting`."""
        if tuple(reporting) != self._reporting:
            self._reporting, self._facts = tuple(reporting), self._facts_of(sorted(reporting, key=box_order))
        facts = self._facts
        ids, own = facts.ids, bisect_left(facts.ids, box_order(box_id), key=box_order)
        is_alive = own < len(ids) and ids[own] == box_id
        others, room = len(ids) - is_alive, limits.most_boxes - 1
        if not others or not room:
            return RequestedBoxes(((SAW, (box_id,)),), others)
        tier, distance_km = self._tiers(box_id, facts, limits.near_km)
        # where nothing else distinguishes Boxes, those whose numbers follow this one's come first
        ring = (np.arange(len(ids)) - own - is_alive) % len(ids)
        order = np.lexsort((ring, distance_km, tier))
        if is_alive:
            order = order[order != own]
        nearest = order[tier[order] < REASONS.index(NO_PLACE)]
        elsewhere = order[tier[order] == REASONS.index(WITNESS)]
        witnesses = _spread(facts, elsewhere, int(self._codes.get(box_id, self._nowhere)[0]))
        witnesses = witnesses[: min(limits.most_witnesses, room)]
        neighbours = nearest[: room - len(witnesses)]
        maybe = order[tier[order] == REASONS.index(NO_PLACE)][: room - len(witnesses) - len(neighbours)]
        chosen: dict[str, list[str]] = {SAW: [box_id]}
        for k in (*neighbours.tolist(), *maybe.tolist(), *witnesses):
            chosen.setdefault(REASONS[int(tier[k])], []).append(facts.ids[k])
        by_reason = tuple((reason, tuple(boxes)) for reason, boxes in chosen.items())
        return RequestedBoxes(by_reason, others + 1 - sum(len(boxes) for _, boxes in by_reason))

    def _facts_of(self, ids: list[str]) -> _Facts:
        rows = np.array([self._codes.get(box_id, self._nowhere) for box_id in ids], dtype=np.float64)
        rows = rows.reshape(-1, len(self._nowhere))
        whole = rows[:, [0, 1, *range(5, len(self._nowhere))]].astype(np.int64)
        return _Facts(ids, whole[:, 0], whole[:, 1], whole[:, 2:], rows[:, 2:5])

    def _tiers(self, box_id: str, facts: _Facts, near_km: float) -> tuple[IntArray, FloatArray]:
        """Returns each Box's index in `REASONS`, and its distance in km; infinity where unknown."""
        grid, feeder, *more = self._codes.get(box_id, self._nowhere)
        point, regions = more[:3], [code for code in more[3:] if code != UNKNOWN]
        chord = np.linalg.norm(facts.points - np.array(point, dtype=np.float64), axis=1)
        distance_km = np.nan_to_num(2 * EARTH_KM * np.arcsin(np.minimum(chord / 2, 1.0)), nan=np.inf)
        one_grid = facts.grid == grid
        comparable = (
            ((facts.feeder != UNKNOWN) & (feeder != UNKNOWN))
            | ((facts.regions != UNKNOWN).any(axis=1) & bool(regions))
            | np.isfinite(distance_km)
        )
        tier = np.select(
            [
                ~one_grid,
                (facts.feeder == feeder) & (feeder != UNKNOWN),
                distance_km <= near_km,
                np.isin(facts.regions, regions).any(axis=1),
                ~comparable,
            ],
            [REASONS.index(reason) for reason in (WITNESS, FEEDER, NEAR, REGION, NO_PLACE)],
            REASONS.index(WITNESS),
        )
        return tier.astype(np.int64), distance_km


def _spread(facts: _Facts, elsewhere: IntArray, grid: int) -> list[int]:
    """Witnesses, the best first: the nearest of each other region, of each feeder, then evenly the rest.

    Boxes of other grids come last: they do not see this one's voltage.
    """
    chosen: dict[int, None] = {}
    for same_grid in (True, False):
        part = elsewhere[(facts.grid[elsewhere] == grid) == same_grid]
        for codes in (facts.regions[part], facts.feeder[part, np.newaxis]):
            known, first = np.unique(codes, return_index=True)  # rows one after the other: the nearest first
            firsts = np.unique(first[known != UNKNOWN] // codes.shape[1])
            chosen.update(dict.fromkeys(part[firsts].tolist()))
        rest = [k for k in part.tolist() if k not in chosen]
        step = max(1, len(rest) // 50)
        chosen.update(dict.fromkeys(rest[::step]))
        chosen.update(dict.fromkeys(rest))
    return list(chosen)


def _point(place: BoxPlace) -> tuple[float, float, float]:
    if place.latitude is None or place.longitude is None:
        return (np.nan,) * 3
    phi, theta = np.radians(place.latitude), np.radians(place.longitude)
    return float(np.cos(phi) * np.cos(theta)), float(np.cos(phi) * np.sin(theta)), float(np.sin(phi))
