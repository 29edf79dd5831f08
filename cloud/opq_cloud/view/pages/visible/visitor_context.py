"""The data that pages and answers of the API read, as their visitor may see it."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from fastapi import HTTPException

from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.incidents.index import (
    IncidentFilter,
    IncidentWork,
    IndexedIncident,
    IndexPlace,
    IndexProgress,
    SeenMarks,
)
from opq_cloud.store.store import ShownStore
from opq_cloud.view.live.feed_messages import LARGEST_ID, LiveMessage, incident_message
from opq_cloud.view.pages.drawing.charts import Bucket, BucketCache
from opq_cloud.view.pages.visible.availability import BoxAvailability
from opq_cloud.view.pages.visible.registry import BOX_ID, natural_order
from opq_cloud.view.pages.visible.seen_hub import SeenHub, ShownHub
from opq_cloud.view.pages.visible.seen_store import SeenStore, kept_newest, seen_counts, seen_lists
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.web.visitors import Visitor
from opq_cloud.view.web.words import listed_boxes, names_of
from opq_proto.messages import Incident

NOUNS = {"incident": "Incidents", "event": "Events"}
NO_BOX = "No Box with this id is known."
UNSEEN_BOX = "No Box with this id is shown to you: it does not exist, or it is not shared with you now."


class VisitorContext:
    """The store, the live data and the Boxes as the visitor of the present request may see them."""

    def __init__(self, services: ViewServices) -> None:
        self._services = services
        self._charts, self._seen = BucketCache(services.store), seen_lists()
        self._counts, self._cells = seen_counts()
        self._newest = kept_newest(self.incident_messages)

    @property
    def visitor(self) -> Visitor:
        return self._services.visitor

    @property
    def nominal_v(self) -> float:
        """The grid's nominal voltage, for a Box without its own."""
        return self._services.nominal.volts

    def now_ns(self) -> int:
        return self._services.now_ns()

    @property
    def store(self) -> ShownStore:
        visitor = self.visitor
        whole = self._services.store
        return whole if visitor.unlimited else SeenStore(whole, visitor, self._seen)

    @property
    def hub(self) -> ShownHub:
        visitor = self.visitor
        whole = self._services.hub
        return whole if visitor.everything else SeenHub(whole, visitor)

    def buckets(self, box_id: str, width_ms: int, start_ms: int, end_ms: int) -> tuple[Bucket, ...]:
        """Like `BucketCache.read`; without those of which the visitor sees nothing, or only a part."""
        visitor = self.visitor
        if not visitor.reads(box_id):
            return ()
        found = self._charts.read(box_id, width_ms, start_ms, end_ms)
        sees = visitor.sees_whole_ms
        return tuple(each for each in found if sees(box_id, each.start_ms, each.start_ms + width_ms))

    def box(self, box_id: str) -> ShownBox:
        """The Box as stored, or without a name where it is not stored."""
        return self._shown(self._record(box_id))

    def box_then(self, box_id: str, t_ns: int) -> ShownBox:
        """The same with the nominal values of a moment."""
        record = self._record(box_id)
        then = record.at(t_ns)
        return self._shown(replace(record, nominal_v=then.nominal_v, nominal_hz=then.nominal_hz))

    def _record(self, box_id: str) -> BoxRecord:
        return self.records((box_id,)).get(box_id) or BoxRecord(box_id, "")

    def incident_of_address(self, text: str, address: str = "/incidents/{}") -> Incident:
        """The incident with this number.

        Raises HTTPException 404 if there is no such incident, and 301 if it is now part of another that the
        visitor sees whole, whose number fills `{}` in `address`. The Boxes of an incident that is gone are
        not kept, so for a visitor who sees only a part of the other one, it may have been at a hidden Box.
        """
        number = whole_id(text, "incident")
        found = self.store.incident(number)
        if found is not None:
            return found
        visitor, whole = self.visitor, self._services.store
        successor = whole.successor(number)
        known = successor is not None and (visitor.everything or whole.seen_whole([successor], visitor.sees))
        if successor is None or not known or self.store.incident(successor) is None:
            raise HTTPException(404, f"There is no incident {number}.")
        where = {"Location": address.format(successor)}
        raise HTTPException(
            301,
            f"Incident {number} is part of incident {successor} now.",
            where,
        )

    def find_incidents(
        self, wanted: IncidentFilter, limit: int, beyond: IndexPlace | None = None, back: bool = False
    ) -> tuple[list[Incident], bool]:
        """Up to `limit` incidents as the visitor sees them, and whether there are more.

        With Boxes in the filter, each is what it was at them.
        """
        store = self.store
        entries = store.find_incidents(wanted, limit + 1, beyond, back)
        return self.incidents_at(entries[:limit], wanted), len(entries) > limit

    def incidents_at(self, entries: Sequence[IndexedIncident], wanted: IncidentFilter) -> list[Incident]:
        """The incidents of these entries of a list, as they were at its Boxes."""
        return list(map(wanted.shown, self.store.incidents_of([each.incident_id for each in entries])))

    def index_progress(self) -> IndexProgress | None:
        """How much of what the original stored before our first start is in lists; None: all."""
        return self._services.store.index_progress()

    def incident_messages(self, limit: int) -> list[LiveMessage]:
        """The newest incidents as the visitor sees them, by start, as the live feed sends them."""
        newest, _ = self.find_incidents(IncidentFilter(), limit)
        return [incident_message(each, self.names([each])) for each in newest]

    def kept_messages(self, limit: int) -> Sequence[LiveMessage]:
        """The same, kept for a minute while no incident changes."""
        return self._newest(limit, self.kept_under(IncidentFilter()))

    def count_incidents(self, wanted: IncidentFilter, most: int) -> int:
        """The number of incidents, kept for a minute while none changes; `most` means that or more."""
        key = most, self.kept_under(wanted)
        return self._counts.of(key, lambda: self.store.count_incidents(wanted, most))

    def incident_cells(self, wanted: IncidentFilter) -> Mapping[int, int]:
        """Field of the plane -> number of incidents, kept likewise."""
        return self._cells.of(self.kept_under(wanted), lambda: self.store.incident_cells(wanted))

    def kept_under(self, wanted: IncidentFilter) -> Hashable:
        """A key for what is made of these incidents: the visitor's Boxes, and the index's revision."""
        visitor = self.visitor
        return visitor.sight, visitor.account is None, wanted, self._services.store.index_revision()

    def incident_work(self, numbers: Sequence[int]) -> dict[int, IncidentWork]:
        """What people do about these incidents, of those that the signed-in visitor sees whole."""
        visitor, store = self.visitor, self._services.store
        if visitor.account is None and visitor.accounts_in_use:
            return {}
        return store.incident_work(numbers if visitor.everything else store.seen_whole(numbers, visitor.sees))

    def seen_marks(self) -> SeenMarks | None:
        """Which incidents the signed-in visitor has seen; None for a visitor without an account."""
        account = self.visitor.account
        marks = self._services.store.people.seen_marks
        return None if account is None else marks.of(account.account_id, account.created_ms)

    def person_name(self, account_id: str) -> str:
        """The name of an account in words."""
        account = self._services.visitors.people.account(account_id)
        return "somebody whose account is gone" if account is None else account.name

    def place_named(self, location: str) -> str:
        """The words that people gave to a place; empty where they gave none."""
        found = self._services.registry.now().locations.get(location)
        return "" if found is None else found.description

    def names(self, incidents: Iterable[Incident]) -> dict[str, str]:
        """Names that people gave to the Boxes of these incidents."""
        ids = listed_boxes(incidents)
        return names_of(self.records(ids).values())

    def boxes(self, box_ids: Iterable[str] | None = None) -> list[ShownBox]:
        """All Boxes that are stored or have sent data, by number; or `box_ids`, in their order."""
        ids = self.box_ids() if box_ids is None else list(box_ids)
        records = self.records(ids)
        return [self._shown(records.get(box_id) or BoxRecord(box_id, "")) for box_id in ids]

    def box_ids(self) -> list[str]:
        """The ids of all visible Boxes that are stored or have sent data, sorted by number."""
        if self.visitor.everything:
            return self._services.registry.every_id(
                self._services.hub.box_count(), self._services.hub.box_ids
            )
        known = self.places()
        unlisted = [box_id for box_id in self.hub.box_ids() if box_id not in known]
        return sorted((*known, *unlisted), key=natural_order) if unlisted else list(known)

    def measured_shares(self, box_ids: Iterable[str] | None = None) -> Mapping[str, BoxAvailability]:
        """How much of the last hour and day all visible Boxes measured, or these, while the visitor may read
        them; without unplugged ones."""
        chosen = self.box_ids() if box_ids is None else box_ids
        unplugged = self._services.registry.now().unplugged
        visitor = self.visitor
        wanted = [each for each in chosen if each not in unplugged]
        if not visitor.everything:
            wanted = list(filter(visitor.sees, wanted))
        limited = wanted if visitor.has_spans else ()
        since_ms = {each: visitor.spans(each)[-1][0] / 1_000_000 for each in limited}
        return self._services.availability.of(wanted, since_ms)

    def first_heard_ms(self, box_id: str) -> float | None:
        """When the Box was first heard, or what of it is visible begins; None where that is not known, or
        hidden from the visitor."""
        spans = self.visitor.spans(box_id)
        heard_ms = self._services.availability.first_heard_ms(box_id) if spans else None
        return None if heard_ms is None else max(heard_ms, spans[0][0] / 1_000_000)

    def region(self, box_id: str) -> str | None:
        """The Box's region; None where it has none, or the visitor does not see the Box."""
        return self._services.registry.now().place(box_id).region if self.visitor.sees(box_id) else None

    def knows(self, box_id: str) -> bool:
        """Whether the visitor reads something of the Box, and it is stored or known by its data."""
        return self.visitor.reads(box_id) and self._services.knows(box_id)

    def knows_incidents_of(self, box_id: str) -> bool:
        """Whether the visitor knows the Box, or sees an incident of it: a deleted one has no record.

        While incidents are missing from lists no Box is unknown.
        """
        if self.knows(box_id) or self.store.find_incidents(IncidentFilter(box_id=box_id), 1):
            return True
        return self.index_progress() is not None

    @property
    def no_box(self) -> str:
        """Why there is no page about a Box: the same words for an unknown and a hidden one."""
        return NO_BOX if self.visitor.everything else UNSEEN_BOX

    def known_box(self, box_id: str) -> ShownBox:
        """The Box of an address. Raises HTTPException 404 where the visitor sees no such Box."""
        if not BOX_ID.fullmatch(box_id) or not self.knows(box_id):
            raise HTTPException(404, self.no_box)
        return self.box(box_id)

    def places(self) -> Mapping[str, BoxPlace]:
        """The places of all stored Boxes that the visitor sees."""
        places, visitor = self._services.registry.now().places, self.visitor
        if visitor.everything:
            return places
        return {box_id: place for box_id, place in places.items() if visitor.sees(box_id)}

    def regions(self) -> Mapping[str, tuple[str, ...]]:
        """Region -> its Boxes that the visitor sees; regions without one are left out."""
        regions, sees = self._services.registry.now().region_boxes, self.visitor.sees
        if self.visitor.everything:
            return regions
        seen = {name: tuple(filter(sees, boxes)) for name, boxes in regions.items()}
        return {name: boxes for name, boxes in seen.items() if boxes}

    def stays(
        self, site: str = "", region: str = "", feeder: str = "", grid: str = ""
    ) -> tuple[tuple[str, int, int], ...]:
        """When Boxes that the visitor sees were at a site or feeder, in a region or grid: (Box, from, to) in
        ns. An empty name does not restrict."""
        registry = self._services.registry.now()
        named = {"site": site, "region": region, "feeder": feeder, "grid": grid}
        wanted = [(kind, name) for kind, name in named.items() if name]
        found = []
        for box_id, record in self.records_of_then(registry.members(wanted)).items():
            for span in record.place_spans():
                if all(registry.is_in(kind, name, span.box) for kind, name in wanted):
                    found.append((box_id, span.start_ns, span.end_ns))
        return tuple(found)

    def belongs(self, kind: str, name: str) -> Callable[[BoxRecord], bool]:
        """Whether a Box with given facts is in a group, as `BoxRegistry.is_in`."""
        return partial(self._services.registry.now().is_in, kind, name)

    def records_of_then(self, box_ids: Iterable[str]) -> dict[str, BoxRecord]:
        """The stored records that the visitor may see, with what was stated before.

        Site, feeder and former places of a Box are for those who may know its place.
        """
        placed = self.visitor.knows_place
        return {
            box_id: box if placed(box_id) else box.without_former_places().without("site", "feeder", "phase")
            for box_id, box in self.records(box_ids).items()
        }

    def sites(self) -> Mapping[str, tuple[BoxRecord, ...]]:
        """Site -> all its Boxes by their phases, also those that the visitor does not see."""
        return self._services.registry.now().sites

    def placed_records(self, box_ids: Iterable[str] | None = None) -> Mapping[str, BoxRecord]:
        """The records of all Boxes whose place the visitor sees, or of these, with what was stated before."""
        records, visitor = self._services.registry.now().records, self.visitor
        if visitor.everything:
            return records
        return {
            box_id: visitor.record_seen(records[box_id])
            for box_id in (records if box_ids is None else box_ids)
            if box_id in records and visitor.knows_place(box_id)
        }

    def place_names(self, kind: str) -> list[str]:
        """The names of sites or feeders of all times that the visitor may know, sorted."""
        if self.visitor.everything:
            return list(self._services.registry.now().groups[kind])
        return sorted({each for box in self.placed_records().values() for each in box.values_of(kind)})

    def records(self, box_ids: Iterable[str]) -> dict[str, BoxRecord]:
        """The stored records that the visitor may see, with the facts of the time that they read."""
        known, visitor = self._services.registry.now().records, self.visitor
        if visitor.everything:
            return {box_id: known[box_id] for box_id in box_ids if box_id in known}
        return {
            box_id: visitor.record_seen(known[box_id])
            for box_id in box_ids
            if box_id in known and visitor.reads(box_id)
        }

    def place_words(self, box_id: str) -> str:
        """The Box's place, feeder and phase in words; empty where unknown or hidden from the visitor."""
        registry = self._services.registry.now()
        record = registry.records.get(box_id)
        if record is None or not self.visitor.sees_place(box_id):
            return ""
        place = registry.locations.get(record.location or "")
        name = (place.description if place is not None else "") or record.location or ""
        feeder = f"feeder {record.feeder.removeprefix('feeder ')}" if record.feeder else ""
        phase = f"phase {record.phase}" if record.phase else ""
        return ", ".join(part for part in (name, feeder, phase) if part)

    def _shown(self, record: BoxRecord) -> ShownBox:
        return ShownBox(
            box_id=record.box_id,
            name=record.name,
            location=record.location if self.visitor.sees_place(record.box_id) else None,
            nominal_v=record.nominal_v or self.nominal_v,
            nominal_hz=record.nominal_hz or self._services.nominal.hz,
            unplugged=bool(record.unplugged),
        )


def highest_number(context: VisitorContext, incidents: Iterable[Incident]) -> int:
    """The highest number among these incidents and those that are known live; 1 where there is none."""
    return max(1, context.hub.highest_incident(), *(each.incident_id for each in incidents))


def feed_after(context: VisitorContext, incidents: Iterable[Incident]) -> str:
    """The feed starts before the highest number: that incident may have changed while the page was made."""
    return feed_number(context, highest_number(context, incidents) - 1)


def feed_number(context: VisitorContext, number: int) -> str:
    """A number after which a page's feed starts.

    Empty while the newest incidents are being read, at the start of View: the page then gets only new ones.
    """
    return "" if context.hub.seeding else str(number)


def whole_id(text: str, noun: str) -> int:
    """A number from 1, of at most ten digits. Raises HTTPException 404 otherwise."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= LARGEST_ID):
        raise HTTPException(
            404,
            f"{NOUNS[noun]} are numbered 1, 2, 3 and so on; this is not such a number.",
        )
    return int(text)
