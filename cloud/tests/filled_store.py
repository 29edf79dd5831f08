"""A store with something of each kind, and what is in it, as JSON."""

import json
from dataclasses import replace
from typing import Any

import numpy as np

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import BoxRecord, CloudStore, LocationRecord
from opq_cloud.store.documents.makai_documents import BrokerTraffic, MakaiConfig, TriggeringLimits
from opq_cloud.store.documents.retention import Ttls
from opq_cloud.store.incidents.index import IncidentFilter, IncidentNote
from opq_cloud.store.incidents.join_plan import FindingMove, JoinPlan
from opq_cloud.store.records.accounts.account_records import AccountSession, AccountTicket
from opq_cloud.store.sample_requests import StoredSampleRequest
from opq_proto.messages import Finding, Measurement, Metric, TimeSource, Trend, Trigger, Waveform
from opq_proto.wire.half_cycles import HalfCycleRms

MS = 1_790_000_000_000
NS = MS * 1_000_000
S = 10**9
BOXES = ("1", "4", "9")
FILES = ("opq.db", "accounts.db")


def fill(store: CloudStore) -> None:
    """Puts something of each kind into an empty store."""
    store.put_ttls(Ttls(measurements=10**9, events=10**9, incidents=10**9))
    store.put_location(LocationRecord("hale", 21.3, -157.8, "a house"))
    store.put_location(LocationRecord("lab", 21.4, -157.9))
    store.put_region("oahu", "hale")
    for box_id in BOXES:
        store.put_box(BoxRecord(box_id, f"Box {box_id}", "hale", calibration_constant=150.5, phase="a"))
    store.put_box(BoxRecord("9", "", "lab", gateway_id=7))
    store.put_makai_config(MakaiConfig(TriggeringLimits(ref_v=230.0), {"4": TriggeringLimits(ref_v=240.0)}))
    store.put_traffic(BrokerTraffic("tb", MS, 10_000, {"bytes": 5}))
    metrics = {"rms": Metric(118.5, 121.25, 120.125), "f": Metric(59.5, 60.5, 60.0)}
    for box_id in BOXES[:2]:
        rows = [Measurement(box_id, MS + 1000 * k, metrics, sequence=k) for k in range(1, 20)]
        store.append_measurements([*rows, Measurement(box_id, MS + 50_000, metrics)])
    minutes = [
        Trend("1", MS // 3_600_000 * 3_600_000 + k * 60_000, {"rms": (1.0, 3.0, 2.0)}, covered_ms=60_000)
        for k in range(120)
    ]
    store.put_trends(minutes)
    while store.roll_up(MS + 30 * 86_400_000):
        pass
    _put_events(store)
    _put_people(store)
    store.identity()


def _put_events(store: CloudStore) -> None:
    trigger = Trigger(
        "token1", NS, NS + S, BOXES[:2], "1", "rms 80 V below 114 V", half_cycles_ns=(NS, NS + S)
    )
    event_id = store.open_event(trigger, "first")
    counts = (np.arange(240) * 5 - 600).astype(np.int16)
    for box_id in BOXES[:2]:
        wave = Waveform(box_id, NS + 5, 900, TimeSource.GPS, 12_000_125, 0.0203, 77_000, counts)
        store.put_waveform(event_id, wave)
    t_ns = NS + np.arange(4, dtype=np.int64) * 8_333_333
    least = np.array([80, 81, 82, 83], np.float32)
    store.put_half_cycles(event_id, HalfCycleRms("1", NS, NS + S, t_ns, least, least + 1))
    store.finish_event(event_id)
    first = Finding("sag", "1", NS, NS + S // 10, 1000, True, 84.1, 70.0, 6.0, confidence=0.9, because="70 %")
    put_findings(store, event_id, [first, replace(first, box_id="4", start_ns=NS + 10**6)])
    store.mark_analysed(event_id)
    second = store.open_event(
        replace(trigger, token="token2", start_ns=NS + 60 * S, end_ns=NS + 61 * S), "second"
    )
    store.mark_missing(second, "4", "no answer")
    store.widen_event(second, {"nearby": ["9"]}, {"saw": 3})
    wanted = StoredSampleRequest("sag", "more before", spans={"1": (NS + 58 * S, NS + 61 * S)})
    store.request_samples(second, [wanted], 2)
    for number in (1, 2, 3):
        later = replace(first, kind="swell", residual_percent=115.0, start_ns=NS + number * 3600 * S)
        put_findings(store, second, [replace(later, end_ns=later.start_ns + S)])
    gone, heir = (each.incident_id for each in store.incidents(limit=2))
    (moved,) = store.findings_of_incident(gone)
    facts = store.incident_facts(heir)
    assert facts is not None
    store.put_note(IncidentNote(0, gone, MS, "ada", "note", "Ümläut on the second floor"))
    store.put_note(IncidentNote(0, 1, MS, "ada", "label", "interruption"))
    plan = JoinPlan(
        store.join_revision(),
        second,
        (FindingMove(moved.finding_id, heir, False),),
        facts=(replace(facts, end_ns=moved.finding.end_ns),),
        gone=(gone,),
    )
    assert store.carry_out(plan) is not None


def _put_people(store: CloudStore) -> None:
    people = store.people
    ada = people.add_account("ada@example.org", "Ada", "owner", "hash")
    assert ada is not None
    people.add_session(AccountSession("s" * 8, ada.account_id, MS, MS, 2**31, "192.0.2.7", "browser"))
    people.add_ticket(AccountTicket("t" * 8, "token", MS, 2**31, ada.account_id, scopes=("read",)))
    people.claim_box("1", ada.account_id)
    people.changes.add(ada.account_id, "192.0.2.7", "Box named", "box 1", {"name": "a"}, {"name": "b"})


def described(store: CloudStore) -> dict[str, Any]:
    """What is in the store, as JSON, by what a reader of it sees."""
    people = store.people
    (ada,) = people.accounts()
    found = {
        "boxes": [
            (each.box_id, each.name, each.location, each.calibration_constant, each.gateway_id, each.phase)
            for each in store.boxes()
        ],
        "moved": [len(each.location_archive) for each in store.boxes()],
        "locations": sorted((each.slug, each.latitude) for each in store.locations().values()),
        "regions": sorted((place, list(names)) for place, names in store.regions().items()),
        "limits": _limits(store),
        "traffic": [(each.name, dict(each.counts)) for each in store.traffic(MS, MS + 1)],
        "ttls": [store.ttls().measurements, store.ttls().trends],
        "measurements": [
            (row.box_id, row.timestamp_ms, row.sequence, row.metrics["rms"].average)
            for box_id in BOXES
            for row in store.measurements(box_id, MS, MS + 60_000)
        ],
        "minutes": len(store.trends("1", MS - 3_600_000, MS + 7_200_000)),
        "hours": len(store.trend_rows("1", MS - 3_600_000, MS + 7_200_000, 3_600_000)),
        "events": [_event(store, each.event_id) for each in store.events()],
        "unfinished": [each.event_id for each in store.unfinished_events()],
        "requests": [each.event_id for each in store.events_with_requests()],
        "incidents": [
            (one.incident_id, one.kind, one.machine_kind, one.box_ids, one.start_ns, one.end_ns, one.scope)
            for one in store.incidents()
        ],
        "findings": [
            (one.finding_id, one.incident_id, one.finding.kind, one.finding.box_id, one.leads)
            for one in sorted(store.findings_of_boxes(BOXES, 0, 2**62), key=lambda one: one.finding_id)
        ],
        "onsets": sorted((one.finding_id, one.start_ns, one.leads) for one in store.onsets(0, 2**62)),
        "successors": [store.successor(number) for number in range(1, 6)],
        "notes": [
            (note.incident_id, note.kind, note.text) for number in range(1, 6) for note in store.notes(number)
        ],
        "listed": {
            name: [each.incident_id for each in store.find_incidents(IncidentFilter(**wanted), 9)]
            for name, wanted in LISTS.items()
        },
        "cells": sorted(store.incident_cells(IncidentFilter()).items()),
        "at Box 4": [each.entry.incident_id for each in store.incident_parts(["4"], IncidentFilter())],
        "people": (ada.email, ada.role, len(people.sessions(ada.account_id)), len(people.tickets())),
        "owner": people.access("1").owner_id == ada.account_id,
        "log": [(each.what, each.subject, dict(each.after)) for each in people.changes.entries()],
        "identity": store.identity(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


LISTS: dict[str, dict[str, Any]] = {
    "all": {},
    "class": {"kind": "swell"},
    "label": {"kind": "interruption"},
    "Box": {"box_id": "4"},
    "words": {"words": "second floor"},
    "severe": {"order": "severe"},
    "long": {"order": "long"},
    "since": {"start_ns": NS + 1000 * S},
}


def _limits(store: CloudStore) -> list[object]:
    config = store.makai_config()
    assert config is not None
    return [config.default.ref_v, {box: limits.ref_v for box, limits in config.overrides.items()}]


def _event(store: CloudStore, event_id: int) -> list[object]:
    record, event = store.event_record(event_id), store.event(event_id)
    assert record is not None and event is not None
    waves = [(each.box_id, each.start_ns, int(each.counts.sum()), each.v_per_lsb) for each in event.waveforms]
    halves = {box_id: each.least_v.tolist() for box_id, each in store.half_cycles(event_id).items()}
    return [
        event_id,
        record.token,
        record.boxes_triggered,
        record.boxes_received,
        record.missing,
        record.finished,
        record.analysed,
        record.revision,
        record.asked_as,
        record.not_asked,
        len(record.more),
        waves,
        halves,
    ]
