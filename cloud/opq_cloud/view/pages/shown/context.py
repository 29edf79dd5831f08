"""What every page and every answer of the API reads from: the store, the live hub, pages of incidents."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from fastapi import HTTPException

from opq_cloud.core.service import ServiceCounters
from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.incidents.index import IncidentFilter, IndexPlace
from opq_cloud.store.judged_nominal import JudgedNominals
from opq_cloud.store.store import CloudStore, ShownStore
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.live.messages import LARGEST_ID
from opq_cloud.view.live.seen import SeenHub
from opq_cloud.view.pages.services.addresses import ServiceAddresses
from opq_cloud.view.pages.services.firmware_jobs import FirmwareJobs
from opq_cloud.view.pages.shown.availability import AvailabilityReader, BoxAvailability
from opq_cloud.view.pages.shown.bucket_cache import BucketCache
from opq_cloud.view.pages.shown.charts import Bucket
from opq_cloud.view.pages.shown.registry import BOX_ID, RegistryReader, natural_order
from opq_cloud.view.pages.shown.seen_store import SeenIncidents, SeenStore
from opq_cloud.view.web.answer_cache import AnswerCache
from opq_cloud.view.web.gate import current_visitor
from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.visitors import OPEN, Visitor, Visitors
from opq_cloud.view.web.words import CLASS_PHRASES, is_given, listed_boxes, names_of
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.decision import Nominal
from opq_proto.keys.key_files import KeyFolder
from opq_proto.messages import Incident
from opq_proto.wire.half_cycles import HalfCycleRms

NOUNS = {"incident": "Incidents", "event": "Events"}
NO_BOX = "No Box with this id is known."
UNSEEN_BOX = "No Box with this id is shown to you: there is none, or it is not shared with you, or no longer."
SEEN_S, SEEN_LISTS = 60.0, 4
"""How long, and how many, lists of all incidents are kept for visitors who do not see every Box."""


@dataclass(frozen=True, slots=True)
class ShownBox:
    """A Box as the pages show it: its record, with the grid's nominal values where it has none."""

    box_id: str
    name: str
    location: str | None
    """None also where the visitor may not know its place: a name may be an address."""
    nominal_v: float
    nominal_hz: float
    unplugged: bool


@dataclass(frozen=True, slots=True)
class ViewContext:
    """The store, the live hub, and the grid's nominal values for a Box without its own.

    `store`, `hub` and `buckets` show what the visitor of the present request may see.
    """

    whole_store: CloudStore
    whole_hub: LiveHub
    counters: ServiceCounters
    nominal: Nominal = DEFAULT_NOMINAL
    now_ns: Callable[[], int] = field(default=time.time_ns)
    visitors: Visitors | None = None
    """None where everybody sees everything (a scene for tests)."""
    mailer: Mailer | None = None
    keys: KeyFolder | None = None
    addresses: ServiceAddresses = field(default_factory=ServiceAddresses)
    charts: BucketCache = field(init=False)
    whole_registry: RegistryReader = field(init=False)
    seen: AnswerCache[SeenIncidents] = field(init=False)
    firmware: FirmwareJobs = field(init=False)
    availability: AvailabilityReader = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "charts", BucketCache(self.whole_store))
        object.__setattr__(self, "whole_registry", RegistryReader(self.whole_store))
        object.__setattr__(self, "seen", AnswerCache(SEEN_S, SEEN_LISTS))
        shares = AvailabilityReader(self.whole_store, self.now_ns, recent=self.whole_hub.recent)
        object.__setattr__(self, "availability", shares)
        object.__setattr__(self, "firmware", FirmwareJobs(self.addresses, self.whole_store))

    @property
    def visitor(self) -> Visitor:
        return OPEN if self.visitors is None else current_visitor()

    def half_cycles(self, event_id: int) -> list[tuple[str, HalfCycleRms]]:
        """Box and Urms(1/2) of a long dip or swell; empty for most events."""
        record = self.store.event_record(event_id)
        if record is None or "" not in record.half_cycles.values():
            return []
        return list(self.store.half_cycles(event_id).items())

    @property
    def store(self) -> ShownStore:
        visitor = self.visitor
        return self.whole_store if visitor.unlimited else SeenStore(self.whole_store, visitor, self.seen)

    @property
    def hub(self) -> LiveHub | SeenHub:
        visitor = self.visitor
        return self.whole_hub if visitor.everything else SeenHub(self.whole_hub, visitor)

    def buckets(self, box_id: str, width_ms: int, start_ms: int, end_ms: int) -> tuple[Bucket, ...]:
        """Like `BucketCache.read`; empty for a Box that the visitor does not see."""
        if not self.visitor.sees(box_id):
            return ()
        return self.charts.read(box_id, width_ms, start_ms, end_ms)

    def box(self, box_id: str) -> ShownBox:
        """The Box as stored, or without a name where it is not stored."""
        return self._shown(self._records((box_id,)).get(box_id) or BoxRecord(box_id, ""))

    def judged(self, incident: Incident) -> JudgedNominals:
        """The nominal voltages by which the Boxes of an incident were judged."""
        findings = (item.finding for item in incident.findings)
        return JudgedNominals(findings, lambda box_id: self.box(box_id).nominal_v)

    def judged_box(self, box_id: str, judged: JudgedNominals) -> ShownBox:
        """Like `box`, with the nominal voltage that it was judged by, where that is known."""
        found = self.box(box_id)
        return replace(found, nominal_v=judged.volts(box_id) or found.nominal_v)

    def incident(self, text: str, address: str = "/incidents/{}") -> Incident:
        """The incident with this number.

        Raises HTTPException 404 if there is no such incident, and 301 if it is now part of another, whose
        number fills `{}` in `address`.
        """
        number = whole_id(text, "incident")
        found = self.store.incident(number)
        if found is not None:
            return found
        successor = self.whole_store.successor(number)
        if successor is None or self.store.incident(successor) is None:
            raise HTTPException(404, f"There is no incident {number}.")
        where = {"Location": address.format(successor)}
        raise HTTPException(
            301,
            f"Incident {number} is part of incident {successor} now.",
            where,
        )

    def names(self, incidents: Iterable[Incident]) -> dict[str, str]:
        """Names that people gave to the Boxes of these incidents."""
        ids = listed_boxes(incidents)
        return names_of(self._records(ids).values())

    def boxes(self, box_ids: Iterable[str] | None = None) -> list[ShownBox]:
        """All Boxes that are stored or have sent data, by number; or `box_ids`, in their order."""
        ids = self.box_ids() if box_ids is None else list(box_ids)
        records = self._records(ids)
        return [self._shown(records.get(box_id) or BoxRecord(box_id, "")) for box_id in ids]

    def box_ids(self) -> list[str]:
        """The ids of all visible Boxes that are stored or have sent data, sorted by number."""
        if self.visitor.everything:
            return self.whole_registry.every_id(self.whole_hub.box_count(), self.whole_hub.box_ids)
        known = self.places()
        unlisted = [box_id for box_id in self.hub.box_ids() if box_id not in known]
        return sorted((*known, *unlisted), key=natural_order) if unlisted else list(known)

    def measured_shares(self, boxes: Iterable[ShownBox] | None = None) -> Mapping[str, BoxAvailability]:
        """How much of the last hour and day all Boxes measured, or these; without unplugged ones."""
        shown = self.boxes() if boxes is None else boxes
        return self.availability.of([box.box_id for box in shown if not box.unplugged])

    def knows(self, box_id: str) -> bool:
        """Whether the Box is visible to the visitor, and stored or known by its data."""
        return self.visitor.sees(box_id) and (
            box_id in self.whole_registry.now().records or self.whole_hub.newest(box_id) is not None
        )

    def known_box(self, box_id: str) -> ShownBox:
        """The Box of an address. Raises HTTPException 404 where the visitor sees no such Box."""
        if not BOX_ID.fullmatch(box_id) or not self.knows(box_id):
            raise HTTPException(404, NO_BOX if self.visitor.everything else UNSEEN_BOX)
        return self.box(box_id)

    def places(self) -> Mapping[str, BoxPlace]:
        """The places of all stored Boxes that the visitor sees."""
        places, visitor = self.whole_registry.now().places, self.visitor
        if visitor.everything:
            return places
        return {box_id: place for box_id, place in places.items() if visitor.sees(box_id)}

    def regions(self) -> Mapping[str, tuple[str, ...]]:
        """Region -> its Boxes that the visitor sees; regions without one are left out."""
        regions, sees = self.whole_registry.now().region_boxes, self.visitor.sees
        if self.visitor.everything:
            return regions
        seen = {name: tuple(filter(sees, boxes)) for name, boxes in regions.items()}
        return {name: boxes for name, boxes in seen.items() if boxes}

    def _records(self, box_ids: Iterable[str]) -> dict[str, BoxRecord]:
        """The stored records that the visitor may see."""
        known, sees = self.whole_registry.now().records, self.visitor.sees
        return {box_id: known[box_id] for box_id in box_ids if box_id in known and sees(box_id)}

    def place_words(self, box_id: str) -> str:
        """The Box's place, feeder and phase in words; empty where unknown or hidden from the visitor."""
        registry = self.whole_registry.now()
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
            nominal_v=record.nominal_v or self.nominal.volts,
            nominal_hz=record.nominal_hz or self.nominal.hz,
            unplugged=bool(record.unplugged),
        )


def whole_id(text: str, noun: str) -> int:
    """A number from 1, of at most ten digits. Raises HTTPException 404 otherwise."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= LARGEST_ID):
        raise HTTPException(
            404,
            f"{NOUNS[noun]} are numbered 1, 2, 3 and so on; this is no such number.",
        )
    return int(text)


BOXES_A_PAGE = 100


def pages_of_boxes(count: int, page: int) -> int:
    """How many pages it takes to list `count` Boxes. Raises HTTPException 404 if `page` is beyond them."""
    pages = max(1, -(-count // BOXES_A_PAGE))
    if page > pages:
        text = f"There is no page {page} of the Boxes; the last one is {pages}."
        raise HTTPException(404, text)
    return pages


def label(box: ShownBox) -> str:
    """`Box 1`, or with its name: `Box 1, kitchen`."""
    plain = f"Box {box.box_id}"
    return f"{plain}, {box.name}" if is_given(box.box_id, box.name) else plain


@dataclass(frozen=True, slots=True)
class IncidentPage:
    """Some incidents, and where the next page begins: after `last`; None at the end."""

    incidents: tuple[Incident, ...]
    last: IndexPlace | None


def check_class(store: ShownStore, kind: str | None) -> None:
    """Raises HTTPException 400 for a class that is neither ours nor that of any incident."""
    if kind and kind not in CLASS_PHRASES and not store.find_incidents(IncidentFilter(kind), 1):
        raise HTTPException(
            400,
            f"There is no class {kind!r}; there are {', '.join(CLASS_PHRASES)}.",
        )


def read_incidents(
    store: ShownStore,
    beyond: IndexPlace | None,
    limit: int,
    box_id: str | None = None,
    kind: str | None = None,
) -> IncidentPage:
    """Up to `limit` incidents of a Box and a class from the index, the newest first.

    Raises HTTPException 400 where there is no such class.
    """
    check_class(store, kind)
    entries = store.find_incidents(IncidentFilter(kind or "", box_id or ""), limit + 1, beyond)
    last = entries[limit - 1].place("newest") if len(entries) > limit else None
    return IncidentPage(tuple(store.incidents_of([each.incident_id for each in entries[:limit]])), last)
