"""What a visitor sees of the store and of what is live: Boxes, and of an incident the part at those Boxes.

The pages and the API read through these, so that a new page shows no more than an old one. An incident is
made again from the findings that the visitor may see: class, residual and times of another Box do not show.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from opq_cloud.store.incident_index import (
    IncidentFilter,
    IndexedIncident,
    IndexPlace,
    cell_of,
    entry_of_incident,
)
from opq_cloud.store.seen_incident import incident_at
from opq_cloud.store.store import QUERY_ROWS, BoxRecord, CloudStore, EventRecord, Trend
from opq_cloud.view.accounts.visitors import Visitor
from opq_cloud.view.live import LiveHub, LiveMessage, incident_message
from opq_cloud.view.recent import NewestMeasurement
from opq_proto.messages import Event, Incident, Measurement

INCIDENTS_LOOKED_AT = 500
"""So many of the newest, where most are at Boxes that the visitor does not see."""
READ_AT_ONCE = 50


class ShownStore(Protocol):
    """What View reads of the store."""

    def boxes(self) -> list[BoxRecord]: ...
    def box(self, box_id: str) -> BoxRecord | None: ...
    def measurements(
        self, box_id: str, start_ms: int, end_ms: int, limit: int = QUERY_ROWS
    ) -> list[Measurement]: ...
    def trend_rows(self, box_id: str, start_ms: int, end_ms: int, length_ms: int) -> list[Trend]: ...
    def event(self, event_id: int) -> Event | None: ...
    def event_record(self, event_id: int) -> EventRecord | None: ...
    def incident(self, incident_id: int) -> Incident | None: ...
    def incidents(
        self, after_id: int = 0, start_ns: int | None = None, end_ns: int | None = None, limit: int = 100
    ) -> list[Incident]: ...

    def find_incidents(
        self, wanted: IncidentFilter, limit: int, beyond: IndexPlace | None = None, back: bool = False
    ) -> list[IndexedIncident]: ...


class SeenStore:
    """`ShownStore` for one visitor, who does not see everything."""

    def __init__(self, store: CloudStore, visitor: Visitor) -> None:
        self._store = store
        self._visitor = visitor

    def boxes(self) -> list[BoxRecord]:
        return [box for box in self._store.boxes() if self._visitor.sees(box.box_id)]

    def box(self, box_id: str) -> BoxRecord | None:
        return self._store.box(box_id) if self._visitor.sees(box_id) else None

    def measurements(
        self, box_id: str, start_ms: int, end_ms: int, limit: int = QUERY_ROWS
    ) -> list[Measurement]:
        sees = self._visitor.sees(box_id)
        return self._store.measurements(box_id, start_ms, end_ms, limit) if sees else []

    def trend_rows(self, box_id: str, start_ms: int, end_ms: int, length_ms: int) -> list[Trend]:
        if not self._visitor.sees(box_id):
            return []
        return self._store.trend_rows(box_id, start_ms, end_ms, length_ms)

    def event(self, event_id: int) -> Event | None:
        """With the waveforms that the visitor may see; None where there are none."""
        found = self._store.event(event_id)
        if found is None:
            return None
        may = self._visitor.sees_waveform
        waves = tuple(wave for wave in found.waveforms if may(wave.box_id))
        missing = {box_id: why for box_id, why in found.missing.items() if may(box_id)}
        return replace(found, waveforms=waves, missing=missing) if waves or missing else None

    def event_record(self, event_id: int) -> EventRecord | None:
        """What is said of it as a whole (why, who saw it first, when) goes where a Box of it is not seen.

        How many others were not asked goes always: it counts Boxes that the visitor does not see.
        """
        found = self._store.event_record(event_id)
        if found is None:
            return None
        sees = self._visitor.sees
        asked = tuple(box_id for box_id in found.boxes_triggered if sees(box_id))
        if not asked:
            return None
        named = {*found.boxes_triggered, *(box_id for each in found.asked_as.values() for box_id in each)}
        whole = all(sees(box_id) for box_id in named | {found.opened_by} - {""})
        seen_as = {why: tuple(each for each in boxes if sees(each)) for why, boxes in found.asked_as.items()}
        return replace(
            found,
            boxes_triggered=asked,
            boxes_received=tuple(box_id for box_id in found.boxes_received if sees(box_id)),
            missing={box_id: why for box_id, why in found.missing.items() if sees(box_id)},
            short={box_id: why for box_id, why in found.short.items() if sees(box_id)},
            because=found.because if whole else "",
            opened_by=found.opened_by if whole else "",
            asked_as={why: boxes for why, boxes in seen_as.items() if boxes},
            not_asked={},
            onset_ns=found.onset_ns if whole else None,
            decided_ns=found.decided_ns if whole else None,
            token="",
        )

    def incident(self, incident_id: int) -> Incident | None:
        found = self._store.incident(incident_id)
        return None if found is None else seen_incident(found, self._visitor)

    def incidents(
        self, after_id: int = 0, start_ns: int | None = None, end_ns: int | None = None, limit: int = 100
    ) -> list[Incident]:
        """Among the newest INCIDENTS_LOOKED_AT; older ones are found by their page."""
        found = self._store.incidents(after_id, start_ns, end_ns, max(limit, INCIDENTS_LOOKED_AT))
        seen = (seen_incident(each, self._visitor) for each in found)
        return [each for each in seen if each is not None][:limit]

    def find_incidents(
        self, wanted: IncidentFilter, limit: int, beyond: IndexPlace | None = None, back: bool = False
    ) -> list[IndexedIncident]:
        """Those whose part at Boxes that the visitor sees fits, the newest first whatever the order.

        The index says which incidents these Boxes have; what is said of one is made again from its part, so
        that neither a class nor an order tells of another Box. Looks at INCIDENTS_LOOKED_AT at most.
        """
        sees = self._visitor.sees
        every = self._visitor.full | self._visitor.public if wanted.box_ids is None else wanted.box_ids
        boxes = tuple(box_id for box_id in every if sees(box_id))
        hidden = bool(wanted.box_id) and not sees(wanted.box_id)
        if hidden or not boxes or (wanted.words and self._visitor.account is None):
            return []
        broad = IncidentFilter(
            box_id=wanted.box_id, box_ids=boxes, start_ns=wanted.start_ns, end_ns=wanted.end_ns,
            words=wanted.words,
        )  # fmt: skip
        found: list[IndexedIncident] = []
        for _ in range(INCIDENTS_LOOKED_AT // READ_AT_ONCE):
            entries = self._store.find_incidents(broad, READ_AT_ONCE, beyond, back)
            for entry in entries:
                whole = self._store.incident(entry.incident_id)
                part = None if whole is None else seen_incident(whole, self._visitor)
                if whole is None or part is None or not fits(part, wanted):
                    continue
                if not wanted.words or part.box_ids == whole.box_ids:  # notes may name any of its Boxes
                    found.append(entry_of_part(part))
            if len(found) >= limit or len(entries) < READ_AT_ONCE:
                break
            beyond = entries[-1].place("newest")
        return found[:limit]


def fits(part: Incident, wanted: IncidentFilter) -> bool:
    """Whether what is seen of an incident is what is asked for; words aside."""
    kinds = part.kind.split("+")
    return (
        (not wanted.kind or wanted.kind in kinds)
        and (not wanted.box_id or wanted.box_id in part.box_ids)
        and (wanted.box_ids is None or any(box_id in wanted.box_ids for box_id in part.box_ids))
        and (not wanted.scope or wanted.scope == part.scope)
        and (wanted.least_severity is None or (part.severity or -1.0) >= wanted.least_severity)
        and (wanted.start_ns is None or part.end_ns > wanted.start_ns)
        and (wanted.end_ns is None or part.start_ns < wanted.end_ns)
        and wanted.cell in (None, cell_of(part.residual_percent, part.start_ns, part.end_ns))
    )


def entry_of_part(part: Incident) -> IndexedIncident:
    """As a visitor sees it; its place is its number alone."""
    return replace(entry_of_incident(part), kind=part.kind)


def seen_incident(incident: Incident, visitor: Visitor) -> Incident | None:
    """The part of it at Boxes that the visitor sees; None where there is none."""
    return incident_at(incident, visitor.sees, visitor.sees_place)


class SeenHub:
    """What was heard lately of the Boxes that a visitor sees."""

    def __init__(self, hub: LiveHub, visitor: Visitor) -> None:
        self._hub = hub
        self._visitor = visitor

    def latest(self) -> Mapping[str, Measurement]:
        return {box_id: each for box_id, each in self._hub.latest().items() if self._visitor.sees(box_id)}

    def newest(self, box_id: str) -> NewestMeasurement | None:
        return self._hub.newest(box_id) if self._visitor.sees(box_id) else None

    def recent(self, box_id: str) -> list[Measurement]:
        return self._hub.recent(box_id) if self._visitor.sees(box_id) else []


class SeenFeed:
    """The live feed of one visitor; whoever asks with an ended session is another one a moment later."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor

    def shown(self, message: LiveMessage) -> LiveMessage | None:
        """What of it may go to the page."""
        visitor = self.visitor
        if visitor.everything:
            return message
        if message.event == "measurement":
            return message if visitor.sees(message.box_id) else None
        if message.incident is None:  # one that is gone: its number says nothing
            return message
        part = seen_incident(message.incident, visitor)
        if part is None:
            return None
        if part is message.incident:
            return message
        names = {box_id: name for box_id, name in message.names.items() if visitor.sees(box_id)}
        return incident_message(part, names)
