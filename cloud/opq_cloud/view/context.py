"""What every page and every answer of the API reads from: the store, the live hub, pages of incidents."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fastapi import HTTPException

from opq_cloud.service import ServiceCounters
from opq_cloud.store.incident_index import IncidentFilter, IndexPlace
from opq_cloud.store.store import BoxRecord, CloudStore
from opq_cloud.view.accounts.gate import asking_now
from opq_cloud.view.accounts.mail import Mailer
from opq_cloud.view.accounts.seen import SeenHub, SeenStore, ShownStore
from opq_cloud.view.accounts.visitors import OPEN, Visitor, Visitors
from opq_cloud.view.bucket_cache import BucketCache
from opq_cloud.view.charts import Bucket
from opq_cloud.view.live import LiveHub
from opq_cloud.view.words import BOXES_LISTED
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.decision import Nominal
from opq_proto.keys import KeyFolder
from opq_proto.messages import Incident

LARGEST_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class ShownBox:
    """A Box as the pages show it: its record, with the grid's nominal values where it has none."""

    box_id: str
    name: str
    location: str | None
    nominal_v: float
    nominal_hz: float
    unplugged: bool


@dataclass(frozen=True, slots=True)
class ViewContext:
    """The store, the live hub and the grid's nominal values for a Box whose own are not known.

    `store`, `hub` and `buckets` show what the visitor of the present request may see.
    """

    whole_store: CloudStore
    whole_hub: LiveHub
    counters: ServiceCounters
    nominal: Nominal = DEFAULT_NOMINAL
    now_ns: Callable[[], int] = field(default=time.time_ns)
    visitors: Visitors | None = None
    """None: everything is shown to everybody (a scene for tests)."""
    mailer: Mailer | None = None
    keys: KeyFolder | None = None
    charts: BucketCache = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "charts", BucketCache(self.whole_store))

    @property
    def visitor(self) -> Visitor:
        return OPEN if self.visitors is None else asking_now()

    @property
    def store(self) -> ShownStore:
        visitor = self.visitor
        return self.whole_store if visitor.unlimited else SeenStore(self.whole_store, visitor)

    @property
    def hub(self) -> LiveHub | SeenHub:
        visitor = self.visitor
        return self.whole_hub if visitor.everything else SeenHub(self.whole_hub, visitor)

    def buckets(self, box_id: str, width_ms: int, start_ms: int, end_ms: int) -> tuple[Bucket, ...]:
        """As `BucketCache.read`; nothing of a Box that the visitor does not see."""
        if not self.visitor.sees(box_id):
            return ()
        return self.charts.read(box_id, width_ms, start_ms, end_ms)

    def box(self, box_id: str) -> ShownBox:
        """As stored, or without a name where it is not."""
        return self._shown(self.store.box(box_id) or BoxRecord(box_id, ""))

    def names(self, incidents: Iterable[Incident]) -> dict[str, str]:
        """Names that people gave to the Boxes of these incidents."""
        return given_names(self.store, incidents)

    def boxes(self) -> list[ShownBox]:
        """All that are stored or were heard, in the order of their numbers."""
        records = {record.box_id: record for record in self.store.boxes()}
        for box_id in self.hub.latest():
            records.setdefault(box_id, BoxRecord(box_id, ""))
        return [self._shown(records[box_id]) for box_id in sorted(records, key=natural_order)]

    def _shown(self, record: BoxRecord) -> ShownBox:
        return ShownBox(
            box_id=record.box_id,
            name=record.name,
            location=record.location,
            nominal_v=record.nominal_v or self.nominal.volts,
            nominal_hz=record.nominal_hz or self.nominal.hz,
            unplugged=bool(record.unplugged),
        )


def whole_id(text: str, noun: str) -> int:
    """A number from 1, of at most ten digits; HTTPException 404 otherwise."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= LARGEST_ID):
        raise HTTPException(
            404, f"{noun.capitalize()}s are numbered 1, 2, 3 and so on; this is no such number."
        )
    return int(text)


def natural_order(box_id: str) -> tuple[int, str]:
    """Sorts `2` before `10`, and names after numbers."""
    return (int(box_id), "") if box_id.isascii() and box_id.isdigit() else (2**63, box_id)


def label(box: ShownBox) -> str:
    """`Box 1`, or with its name: `Box 1, kitchen`."""
    plain = f"Box {box.box_id}"
    return f"{plain}, {box.name}" if _is_given(box.box_id, box.name) else plain


def given_names(store: ShownStore, incidents: Iterable[Incident]) -> dict[str, str]:
    """Box id -> name, where people gave one, of the Boxes that a list of these incidents names."""
    ids = {box for each in incidents if len(each.box_ids) <= BOXES_LISTED for box in each.box_ids}
    records = (store.box(box_id) for box_id in ids)
    return {box.box_id: box.name for box in records if box is not None and _is_given(box.box_id, box.name)}


def _is_given(box_id: str, name: str) -> bool:
    return name not in ("", box_id, f"Box {box_id}")


@dataclass(frozen=True, slots=True)
class IncidentPage:
    """Some incidents, and where the next page begins: ids below `older`; None at the end."""

    incidents: tuple[Incident, ...]
    older: int | None


def read_incidents(
    store: ShownStore, before: int | None, limit: int, box_id: str | None = None, kind: str | None = None
) -> IncidentPage:
    """Up to `limit` incidents below the id `before` that a Box saw and that have a class, from the index."""
    beyond = None if before is None else IndexPlace(0.0, before)
    entries = store.find_incidents(IncidentFilter(kind or "", box_id or ""), limit + 1, beyond)
    found = [store.incident(each.incident_id) for each in entries[:limit]]
    older = entries[limit - 1].incident_id if len(entries) > limit else None
    return IncidentPage(tuple(each for each in found if each is not None), older)
