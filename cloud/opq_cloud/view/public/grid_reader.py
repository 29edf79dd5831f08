"""Reads what a visitor may know of all Boxes now: records and places of the registry, values of the live hub.

What one audience sees is made once and kept for SEEN_S, so that 500 open maps cost as much as one.
"""

import time
from collections.abc import Callable, Iterable

from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.store import BoxRecord
from opq_cloud.view.accounts.seen import SeenFeed
from opq_cloud.view.accounts.visitors import Visitor
from opq_cloud.view.context import ShownBox, ViewContext, label
from opq_cloud.view.live import LiveMessage
from opq_cloud.view.public.fuzz import Place, fuzzed_place
from opq_cloud.view.public.grid_now import BoxNow, countable
from opq_cloud.view.public.kept import KeptAnswers
from opq_cloud.view.recent import NewestMeasurement
from opq_cloud.view.registry import BoxRegistry, natural_order

SEEN_S = 1.0
AUDIENCES = 64
SALT_NAME = "map"


Audience = tuple[bool, frozenset[str], frozenset[str], frozenset[str]]


class GridReader:
    """`boxes` and `incidents` may be called from any thread; they are of the visitor of the request."""

    def __init__(
        self, context: ViewContext, radius_km: float, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._context = context
        self.radius_km = radius_km
        self._fuzzed: dict[str, tuple[Place, Place | None]] = {}
        self._seen: KeptAnswers[tuple[BoxNow, ...]] = KeptAnswers(SEEN_S, AUDIENCES, monotonic_s)
        self._salt: bytes | None = None

    @property
    def audience(self) -> Audience:
        """All that decides what the visitor of the request sees here: equal ones are shown the same."""
        visitor = self._context.visitor
        return visitor.everything, visitor.full, visitor.public, visitor.regional

    def boxes(self) -> tuple[BoxNow, ...]:
        """Those that count for the visitor, shown ones and regional ones, in the order of their numbers.

        Raises:
            StoreError: the store cannot be read.
        """
        visitor = self._context.visitor
        return self._seen.of(self.audience, lambda: tuple(countable(self._read_boxes(visitor))))

    def incidents(self, limit: int) -> list[LiveMessage]:
        """The newest that the visitor sees a part of, newest first, as the live feed shows them."""
        feed = SeenFeed(self._context.visitor)
        found: list[LiveMessage] = []
        for message in self._context.whole_hub.newest_incidents():
            part = feed.shown(message)
            if part is not None and part.incident is not None:
                found.append(part)
                if len(found) == limit:
                    break
        return found

    def _read_boxes(self, visitor: Visitor) -> list[BoxNow]:
        registry = self._context.whole_registry.now()
        found = []
        for box_id in self._ids(visitor, registry):
            shown = visitor.sees(box_id)
            record = registry.records.get(box_id) or BoxRecord(box_id, "")
            if record.unplugged or not (shown or box_id in visitor.regional):
                continue
            found.append(self._box_now(visitor, record, registry.place(box_id), regional=not shown))
        return found

    def _ids(self, visitor: Visitor, registry: BoxRegistry) -> Iterable[str]:
        if visitor.everything:
            return self._context.box_ids()
        return sorted(visitor.full | visitor.public | visitor.regional, key=natural_order)

    def _box_now(self, visitor: Visitor, record: BoxRecord, place: BoxPlace, regional: bool) -> BoxNow:
        box_id, context = record.box_id, self._context
        heard = context.whole_hub.newest(box_id)
        live = heard is not None and self._is_live(heard)
        metrics = heard.measurement.metrics if heard is not None and live else {}
        rms, f = metrics.get("rms"), metrics.get("f")
        nominal_v = record.nominal_v or context.nominal.volts
        nominal_hz = record.nominal_hz or context.nominal.hz
        exact = not regional and visitor.sees_place(box_id)
        shown = ShownBox(box_id, record.name, None, nominal_v, nominal_hz, False)
        return BoxNow(
            box_id=box_id,
            label="" if regional else label(shown),
            grid=place.grid,
            region=place.region or None,
            at=_exact(place) if exact else self._fuzzed_place(box_id, place),
            exact=exact,
            regional=regional,
            nominal_v=nominal_v,
            nominal_hz=nominal_hz,
            u_percent=_finite(rms.average / nominal_v * 100) if rms else None,
            f_hz=_finite(f.average) if f else None,
            silent=not live,
        )

    def _is_live(self, heard: NewestMeasurement) -> bool:
        age_ms = self._context.now_ns() // 1_000_000 - heard.heard_ms
        return age_ms < heard.silent_after_ms

    def _fuzzed_place(self, box_id: str, place: BoxPlace) -> Place | None:
        at = _exact(place)
        if at is None:
            return None
        known = self._fuzzed.get(box_id)
        if known is None or known[0] != at:
            if self._salt is None:
                self._salt = self._context.whole_store.people.installation_secret(SALT_NAME)
            known = self._fuzzed[box_id] = at, fuzzed_place(at, self._salt, self.radius_km)
        return known[1]


def _exact(place: BoxPlace) -> Place | None:
    """None where it is not known, or no place on earth: who else writes the store may put anything."""
    latitude, longitude = place.latitude, place.longitude
    if latitude is None or longitude is None or not (abs(latitude) <= 90 and abs(longitude) <= 180):
        return None
    return latitude, longitude


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None  # a NaN compares false
