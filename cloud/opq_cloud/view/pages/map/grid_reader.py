"""Reads what a visitor may know about all Boxes now: records and places, and values of the live hub.

The result for one audience is made once and cached for SEEN_S, so that 500 open maps cost as much as one.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.view.live.feed_messages import LiveMessage
from opq_cloud.view.pages.map.grid_now import BoxesNow, BoxNow, FixedBoxes, Floats, Whole, countable
from opq_cloud.view.pages.visible.counted import owner_of
from opq_cloud.view.pages.visible.fuzz import SALT_NAME, Place, fuzzed_place
from opq_cloud.view.pages.visible.public_mark import public_mark
from opq_cloud.view.pages.visible.registry import BoxRegistry, natural_order
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.answer_cache import AnswerCache
from opq_cloud.view.web.visitors import VISITOR, Visitor
from opq_proto.time_units import NS_PER_MS

SEEN_S = 0.2
"""Short enough that a map with a request each second is at most about one second late."""
SHARES_S = 10.0
"""Measured shares of an hour change slowly."""
AUDIENCES_KEPT = 64
MARKS_MS = 600_000
"""A mark that is due to move is seen to move within this time."""


Audience = tuple[Hashable, frozenset[str]]


@dataclass(frozen=True, eq=False)
class _NewestValues:
    """The newest values of all Boxes that have sent data, in the order of their first message."""

    ids: tuple[str, ...]
    volts: Floats
    hertz: Floats
    live: np.ndarray[tuple[int], np.dtype[np.bool_]]
    late_s: Floats
    measured_ms: Floats


@dataclass(frozen=True, eq=False)
class _CachedBoxes:
    """The unchanged Boxes of an audience, and the index of each in `_NewestValues`, or -1."""

    registry: BoxRegistry
    accesses: Mapping[str, BoxAccess]
    tens: int
    """The number of the MARKS_MS since 1970 in which it was made."""
    values: int
    fixed: FixedBoxes
    place: Whole
    since_ms: Floats
    """When what the audience may know of each Box begins: it changed hands then, or always (0)."""


class GridReader:
    """`boxes` and `incidents` may be called from any thread and are those of the request's visitor."""

    def __init__(
        self,
        context: VisitorContext,
        services: ViewServices,
        radius_km: float,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._services = services
        self.radius_km = radius_km
        self._fuzzed: dict[str, tuple[Place, Place | None]] = {}
        self._seen: AnswerCache[BoxesNow] = AnswerCache(SEEN_S, AUDIENCES_KEPT, monotonic_s)
        self._shares: AnswerCache[Floats] = AnswerCache(SHARES_S, AUDIENCES_KEPT, monotonic_s)
        self._values: AnswerCache[_NewestValues] = AnswerCache(SEEN_S, 1, monotonic_s)
        self._cached: OrderedDict[Audience, _CachedBoxes] = OrderedDict()
        self._salt: bytes | None = None

    @property
    def audience(self) -> Audience:
        """Everything that decides what the request's visitor sees here: equal audiences see the same."""
        return self.audience_of(self._context.visitor)

    def audience_of(self, visitor: Visitor) -> Audience:
        """The audience of another visitor."""
        return visitor.sight, visitor.regional

    @contextmanager
    def seen_by(self, visitor: Visitor) -> Iterator[None]:
        """Sets the visitor for all reads in this thread: a stream outlives its request."""
        token = VISITOR.set(visitor)
        try:
            yield
        finally:
            VISITOR.reset(token)

    def boxes(self) -> BoxesNow:
        """The Boxes that count for the visitor, shown and regional ones, sorted by number.

        Raises:
            StoreError: the store cannot be read.
        """
        visitor, audience = self._context.visitor, self.audience
        return self._seen.of(audience, lambda: self._read(visitor, audience))

    def newest_incidents(self, limit: int) -> Sequence[LiveMessage]:
        """The newest incidents of which the visitor sees a part, by start, as in the live feed.

        The hub keeps the newest of all Boxes, so that hidden ones could leave no room for visible ones there:
        a visitor who does not see everything gets those of the store.
        """
        if self._context.visitor.everything:
            return self._services.hub.newest_incidents(limit)
        return self._context.kept_messages(limit)

    @property
    def reads_incidents(self) -> bool:
        """Whether the newest incidents are not read yet, at the start of View."""
        return self._context.visitor.everything and self._services.hub.seeding

    def _read(self, visitor: Visitor, audience: Audience) -> BoxesNow:
        """Reads the Boxes again only after a change; measured values come by columns."""
        registry, values = self._services.registry.now(), self._values.of(None, self._read_values)
        accesses, tens = self._services.visitors.accesses(), self._context.now_ns() // 1_000_000 // MARKS_MS
        kept = self._cached.get(audience)
        if (
            kept is None
            or kept.registry is not registry
            or kept.accesses is not accesses
            or kept.tens != tens
            or kept.values != len(values.ids)
        ):
            fixed = FixedBoxes(countable(self._read_boxes(visitor, registry, accesses)))
            places = {box_id: place for place, box_id in enumerate(values.ids)}
            place = np.array([places.get(each.box_id, -1) for each in fixed.boxes], np.int64)
            since_ms = self._since_ms(visitor, accesses, fixed)
            kept = self._cached[audience] = _CachedBoxes(
                registry, accesses, tens, len(values.ids), fixed, place, since_ms
            )
            while len(self._cached) > AUDIENCES_KEPT:
                self._cached.pop(next(iter(self._cached)), None)
        live = (kept.place >= 0) & values.live[kept.place]
        live &= values.measured_ms[kept.place] >= kept.since_ms
        volts = np.where(live, values.volts[kept.place], np.nan)
        hertz = np.where(live, values.hertz[kept.place], np.nan)
        late_s = np.where(live, values.late_s[kept.place], 0.0)
        shares = self._shares.of(audience, lambda: self._read_shares(kept.fixed))
        known = shares if len(shares) == len(kept.fixed.boxes) else None
        return BoxesNow(kept.fixed, volts / kept.fixed.nominal_v * 100.0, hertz, ~live, late_s, known)

    def _read_shares(self, fixed: FixedBoxes) -> Floats:
        """The measured shares of the last hour, of Boxes that are shown themselves."""
        found = self._context.measured_shares([each.box_id for each in fixed.boxes if not each.regional])
        hours = [found[each.box_id].hour if each.box_id in found else None for each in fixed.boxes]
        return np.array(hours, np.float64)  # None becomes NaN

    def _read_values(self) -> _NewestValues:
        """Reads the hub once for all audiences; the last row stands for Boxes without data."""
        rows = self._services.hub.values_now()
        ids = tuple(self._services.hub.box_ids())[: len(rows)]
        table = np.array([*rows, (np.nan, np.nan, 0, 0, 0, 0)], np.float64)
        volts, hertz, received_ms, silent_after_ms, late_ms, measured_ms = table.T
        live = self._context.now_ns() // 1_000_000 - received_ms < silent_after_ms
        live[-1] = False
        table[~np.isfinite(table)] = np.nan
        return _NewestValues(ids, volts, hertz, live, late_ms / 1000, measured_ms)

    @staticmethod
    def _since_ms(visitor: Visitor, accesses: Mapping[str, BoxAccess], fixed: FixedBoxes) -> Floats:
        if visitor.everything:
            return np.zeros(len(fixed.boxes))
        return np.array([_since_ms_of(visitor, accesses, each) for each in fixed.boxes], np.float64)

    def _read_boxes(
        self, visitor: Visitor, registry: BoxRegistry, accesses: Mapping[str, BoxAccess]
    ) -> list[BoxNow]:
        """The Boxes without values, as silent ones."""
        found = []
        for box_id in self._ids(visitor, registry):
            shown = visitor.sees(box_id)
            record = registry.records.get(box_id) or BoxRecord(box_id, "")
            if record.unplugged or not (shown or box_id in visitor.regional):
                continue
            place, access = registry.place(box_id), accesses.get(box_id)
            box = self._fixed_box(visitor, record, place, access, regional=not shown)
            found.append(box if shown else replace(box, owner=owner_of(accesses, box_id)))
        return found

    def _ids(self, visitor: Visitor, registry: BoxRegistry) -> Iterable[str]:
        if visitor.everything:
            return self._context.box_ids()
        return sorted(visitor.full | visitor.public | visitor.regional, key=natural_order)

    def _fixed_box(
        self,
        visitor: Visitor,
        record: BoxRecord,
        place: BoxPlace,
        access: BoxAccess | None,
        regional: bool,
    ) -> BoxNow:
        box_id, nominal = record.box_id, self._services.nominal
        nominal_v = record.nominal_v or nominal.volts
        nominal_hz = record.nominal_hz or nominal.hz
        exact = not regional and visitor.sees_place(box_id)
        now_ms = self._context.now_ns() // 1_000_000
        near = None if exact else public_mark(access, self._fuzzed_place(box_id, place), now_ms)
        shown = ShownBox(box_id, record.name, None, nominal_v, nominal_hz, False)
        return BoxNow(
            box_id=box_id,
            label="" if regional else shown.label,
            grid=place.grid,
            region=place.region or None,
            at=_exact(place) if exact else near,
            exact=exact,
            regional=regional,
            nominal_v=nominal_v,
            nominal_hz=nominal_hz,
            u_percent=None,
            f_hz=None,
            silent=True,
            site=record.site if exact else None,
        )

    def _fuzzed_place(self, box_id: str, place: BoxPlace) -> Place | None:
        at = _exact(place)
        if at is None:
            return None
        known = self._fuzzed.get(box_id)
        if known is None or known[0] != at:
            if self._salt is None:
                self._salt = self._services.store.people.installation_secret(SALT_NAME)
            known = self._fuzzed[box_id] = at, fuzzed_place(at, self._salt, self.radius_km)
        return known[1]


def _since_ms_of(visitor: Visitor, accesses: Mapping[str, BoxAccess], box: BoxNow) -> int:
    """From when on the visitor may read the Box; of one whose region alone is seen, since its last claim."""
    if box.regional:
        access = accesses.get(box.box_id)
        return 0 if access is None else access.since_ms
    return visitor.spans(box.box_id)[-1][0] // NS_PER_MS


def _exact(place: BoxPlace) -> Place | None:
    """The stored place; None where unknown or impossible, because other programs may write to the store."""
    latitude, longitude = place.latitude, place.longitude
    if latitude is None or longitude is None or not (abs(latitude) <= 90 and abs(longitude) <= 180):
        return None
    return latitude, longitude
