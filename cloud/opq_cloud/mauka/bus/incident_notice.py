"""The messages of topic `incident`: each incident that is new or has changed, as JSON.

    {"kind": "incident" or "incident_changed", "incident": {...}, "boxes": 3, "by": "analysis"} {"kind":
    "incident_gone", "incident": {"id": 7}, "boxes": 0, "by": "hand"}    its findings are in other incidents
    now

The incident has the contract's keys (`incident_json`). For one with more Boxes than `MAX_BOXES`,
`box_ids`, `classes` and `event_ids` contain only those that came with this change, and `boxes` is the number
of all its Boxes. `by` names what changed it: an analysis, a person (`hand`), a re-analysis.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from opq_cloud.mauka.bus.bus_messages import LARGEST_ID, new_message
from opq_cloud.store.box_record import box_order
from opq_cloud.store.incidents.as_json import incident_json
from opq_cloud.store.incidents.join_plan import CarriedOut, IncidentFacts
from opq_cloud.store.records.accounts.announcements import BY_ANALYSIS, IncidentAnnouncement
from opq_cloud.store.store import CloudStore
from opq_proto.errors import FrameError
from opq_proto.messages import Incident, StoredFinding
from opq_proto.wire.mauka_pb2 import MaukaMessage

INCIDENT = "incident"
"""The topic."""
MAX_BOXES = 100
NEW = "incident"
"""Kind of notice: an incident that was not there before."""
CHANGED = "incident_changed"
"""Kind of notice: further findings, or another classification."""
GONE = "incident_gone"
"""Kind of notice: joined into another incident, or deleted."""


@dataclass(frozen=True, slots=True)
class IncidentNotice:
    """One message of the topic."""

    kind: str
    incident: Mapping[str, Any]
    boxes: int
    by: str = BY_ANALYSIS

    def message(self, source: str) -> MaukaMessage:
        message = new_message(source)
        message.incident_json = json.dumps(
            {"kind": self.kind, "incident": dict(self.incident), "boxes": self.boxes, "by": self.by}
        )
        return message


def read_notice(message: MaukaMessage) -> IncidentNotice:
    """Returns the notice in a message of the topic.

    Raises:
        FrameError: the message has no notice, or its incident has no number.
    """
    try:
        facts = msgspec.json.decode(message.incident_json, type=dict)
        incident, by = dict(facts["incident"]), str(facts.get("by", BY_ANALYSIS))
        number = incident["id"]
        if type(number) is not int or not 0 < number <= LARGEST_ID:
            raise ValueError(f"{str(number)[:40]} is not the number of an incident")
        return IncidentNotice(str(facts["kind"]), incident, int(facts["boxes"]), by)
    except (msgspec.MsgspecError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FrameError(f"a message of {message.source[:80]!r} without a notice of an incident") from error


def notices(store: CloudStore, done: CarriedOut) -> Iterator[IncidentNotice]:
    """Yields the notices of what a plan has changed, sorted by number."""
    for facts in sorted(done.facts, key=lambda each: each.incident_id):
        kind = NEW if facts.incident_id in done.new_incidents else CHANGED
        came = [one for one in done.stored if one.incident_id == facts.incident_id]
        yield from _notice(store, facts, kind, came, BY_ANALYSIS)
    for number in done.gone:
        yield IncidentNotice(GONE, {"id": number}, 0)


def announced_notices(store: CloudStore, announced: IncidentAnnouncement) -> Iterator[IncidentNotice]:
    """Yields the notices of what others wrote, as it stands now; deleted incidents have their own notice."""
    for number in sorted({*announced.new, *announced.changed}):
        facts = store.incident_facts(number)
        if facts is not None:
            yield from _notice(store, facts, NEW if number in announced.new else CHANGED, [], announced.by)
    for number in announced.gone:
        yield IncidentNotice(GONE, {"id": number}, 0, announced.by)


def _notice(
    store: CloudStore, facts: IncidentFacts, kind: str, came: list[StoredFinding], by: str
) -> Iterator[IncidentNotice]:
    small = facts.boxes <= MAX_BOXES
    incident = store.incident(facts.incident_id) if small else _changed_part(facts, came)
    if incident is not None:
        yield IncidentNotice(kind, incident_json(incident), facts.boxes, by)


def _changed_part(facts: IncidentFacts, findings: list[StoredFinding]) -> Incident:
    """Returns the incident with only those findings that are new."""
    boxes = {one.finding.box_id for one in findings}
    return Incident(
        facts.incident_id,
        facts.kind,
        tuple(sorted(boxes, key=box_order)),
        tuple(sorted({one.event_id for one in findings})),
        facts.start_ns,
        facts.end_ns,
        facts.closed,
        facts.residual_percent,
        tuple(findings),
        facts.scope,
        facts.severity,
        facts.follows,
        facts.arrivals,
        facts.centre,
        facts.hypotheses,
        facts.sides,
    )
