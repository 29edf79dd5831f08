"""Findings, the incidents that they join, and what is listed of those, held by both stores."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from store_cases import NOW_MS, NOW_NS, SAG, SECOND_NS, TRIGGER

from opq_cloud.mauka.joining.finding_writer import MANY_BOXES, FindingWriter, put_findings
from opq_cloud.mauka.joining.planning import plan_join
from opq_cloud.mauka.joining.withdrawal import plan_withdrawal
from opq_cloud.mauka.reanalysis.replacing import ReplacedEvent, Replacement, plan_replacement
from opq_cloud.store import BoxRecord, CloudStore, LocationRecord, open_store
from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.documents.findings import incident_document, known_from_document
from opq_cloud.store.event_record import NO_EVENT
from opq_cloud.store.incidents.as_json import found_by, incident_json
from opq_cloud.store.incidents.cause_words import cause_sentence
from opq_cloud.store.incidents.index import IncidentFilter, IncidentNote
from opq_cloud.store.incidents.join_plan import CLASSES, KnownFinding
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_cloud.store.records.accounts.seen_incidents import incident_at
from opq_cloud.view.web import words
from opq_proto.messages import Finding


def test_one_disturbance_at_two_boxes_is_one_incident(store: CloudStore) -> None:
    milder = replace(
        SAG,
        box_id="4",
        start_ns=SAG.start_ns + 150_000_000,
        end_ns=SAG.end_ns + 180_000_000,
        residual_v=110.0,
        residual_percent=91.0,
    )
    event_id = store.open_event(TRIGGER, "x")
    first, second = put_findings(store, event_id, [SAG, milder])
    assert (first.finding_id, second.finding_id) == (1, 2)
    assert first.incident_id == second.incident_id == 1
    assert first.event_id == second.event_id == event_id
    assert (first.finding, second.finding) == (SAG, milder)
    (incident,) = store.incidents()
    assert incident == store.incident(1)
    assert (incident.kind, incident.box_ids, incident.event_ids) == ("sag", ("1", "4"), (event_id,))
    assert (incident.start_ns, incident.end_ns) == (SAG.start_ns, milder.end_ns)
    assert incident.residual_percent == SAG.residual_percent
    assert incident.closed
    assert [f.finding for f in incident.findings] == [SAG, milder]
    assert store.incident(2) is None


def test_an_installed_class_names_only_unclassified_incidents(store: CloudStore) -> None:
    """A class of an installed analysis names an incident only without another."""
    own = replace(SAG, kind="low_v", analysis="low_v", residual_percent=40.0, end_ns=SAG.end_ns + SECOND_NS)
    event_id = store.open_event(TRIGGER, "x")
    for findings, kind in (([own], "low_v"), ([SAG], "sag"), ([replace(own, box_id="4")], "sag")):
        put_findings(store, event_id, findings)
        (incident,) = store.incidents()
        (listed,) = store.find_incidents(IncidentFilter(), 10)
        (part,) = store.incident_parts(["1"], IncidentFilter())
        assert [each.kind for each in (incident, listed, part.seen())] == [kind] * 3
    worst = words.worst(incident)
    assert worst is not None and worst.finding == SAG
    assert incident.residual_percent == listed.residual_percent == SAG.residual_percent
    seen = incident_at(incident, lambda box_id: box_id == "4")
    assert seen is not None and seen.kind == "low_v"
    assert words.CLASS_PHRASES.keys() == CLASSES


def test_the_same_findings_again_change_nothing(
    store: CloudStore, open_again: Callable[[], CloudStore]
) -> None:
    event_id = store.open_event(TRIGGER, "x")
    findings = [SAG, replace(SAG, box_id="4"), replace(SAG, kind="harmonics")]
    first = put_findings(store, event_id, findings)
    before = store.incidents()
    assert put_findings(store, event_id, findings) == first
    assert put_findings(open_again(), event_id, findings[::-1]) == first[::-1]
    assert store.incidents() == before
    assert sorted(one.kind for one in before) == ["harmonics", "sag"]  # a steady state is one of its own


@pytest.mark.parametrize("turned", [False, True])
def test_a_ripple_telegram_at_boxes_is_one_incident(store: CloudStore, turned: bool) -> None:
    """Box 2's waveform ends within the first pulse; it is stored with what it shows and what it is."""
    figures = (
        ("onset_within_ms", 0.1),
        ("interharmonic_hz", 175.0),
        ("interharmonic_percent", 1.4),
        ("interharmonic_percent_max", 1.5),
    )
    line = Finding("interharmonics", "2", SAG.start_ns, SAG.end_ns, 10, closed=False, figures=figures)
    keyed = replace(
        line,
        kind="mains_signalling",
        box_id="1",
        end_ns=SAG.end_ns + 6 * SECOND_NS,
        figures=(("signal_hz", 175.01), ("signal_percent", 1.4)),
    )
    parts = [(1, line), (2, keyed)]
    for event_id, one in reversed(parts) if turned else parts:
        put_findings(store, event_id, [one])
    (incident,) = store.incidents()
    assert (incident.kind, incident.box_ids) == ("mains_signalling", ("1", "2"))
    assert incident_json(incident)["classes"] == {"1": "mains_signalling", "2": "mains_signalling"}
    (known,) = store.findings_of_box("2", SAG.start_ns, SAG.end_ns)
    assert known.pieces == (line,)
    assert known.finding.figures == (("onset_within_ms", 0.1), ("signal_hz", 175.0), ("signal_percent", 1.5))
    ends_ns = {each.finding.box_id: each.finding.end_ns for each in incident.findings}
    assert ends_ns == {"1": keyed.end_ns, "2": line.end_ns}
    revision = store.join_revision()
    assert put_findings(store, 1, [line])[0].finding == known.finding
    assert (store.join_revision(), store.incidents()) == (revision, [incident])


def test_a_second_event_widens_its_finding(store: CloudStore) -> None:
    open_end = replace(SAG, closed=False)
    whole = replace(
        SAG,
        start_ns=SAG.start_ns + 50_000_000,
        end_ns=SAG.end_ns + 3 * SECOND_NS,
        residual_percent=60.0,
        residual_v=72.0,
    )
    put_findings(store, 1, [open_end])
    (known,) = put_findings(store, 2, [whole])
    assert (known.finding_id, known.incident_id) == (1, 1)
    assert (known.finding.start_ns, known.finding.end_ns) == (SAG.start_ns, whole.end_ns)
    assert known.finding.closed and known.finding.residual_percent == 60.0
    (incident,) = store.incidents()
    assert incident.event_ids == (1, 2)
    assert store.counts()["incidents"] == 1


def test_a_widened_finding_keeps_its_doubles_exact(store: CloudStore) -> None:
    exact = replace(SAG, residual_v=119.99999237060547, residual_percent=100 / 3, confidence=0.1 + 0.2)
    put_findings(store, 1, [replace(exact, end_ns=SAG.end_ns - 1)])
    put_findings(store, 2, [exact])
    incident = store.incident(1)
    assert incident is not None and incident.findings[0].finding == exact


def test_a_findings_source_is_kept_with_its_pieces(store: CloudStore) -> None:
    first = replace(SAG, closed=False, analysis="rms_voltage", analysis_version="1.2", settings_hash="5f3a")
    later = replace(SAG, start_ns=SAG.end_ns - 1, end_ns=SAG.end_ns + 3 * SECOND_NS, analysis="mine")
    put_findings(store, 1, [first])
    put_findings(store, 2, [later])
    (known,) = store.findings_of_incident(1)
    assert {(one.analysis, one.analysis_version, one.settings_hash) for one in known.pieces} == {
        ("rms_voltage", "1.2", "5f3a"),
        ("mine", None, None),
    }
    incident = store.incident(1)
    assert incident is not None
    (source,) = found_by(incident)
    assert source["findings"] == 1 and source["analysis"] in ("rms_voltage", "mine")


def test_a_new_analysis_replaces_the_old(store: CloudStore) -> None:
    events = []
    for n, box_id in enumerate(("1", "4", "6")):
        trigger = replace(TRIGGER, token=f"t{n}", box_ids=(box_id,))
        events.append(store.open_event(trigger, "x"))
        put_findings(store, events[-1], [replace(SAG, box_id=box_id, analysis="rms_voltage")])
    store.put_note(IncidentNote(0, 1, NOW_MS, "", "note", "the crane"))
    deeper = replace(SAG, analysis="rms_voltage", residual_percent=50.0, analysis_version="2")
    late = replace(deeper, box_id="8")
    replaced = Replacement(
        tuple(
            ReplacedEvent(event_id, TRIGGER.start_ns, TRIGGER.end_ns, boxes, findings)
            for event_id, boxes, findings in (
                (events[0], ("1", "8"), (deeper, late)),
                (events[1], ("4",), ()),
            )
        ),
        frozenset({"rms_voltage"}),
    )
    for _ in range(2):
        plan, kept = plan_replacement(store, replaced, lambda box_id, _t_ns: BoxPlace())
        assert kept == []
        assert store.carry_out(plan) is not None
        (incident,) = store.incidents()
        assert incident.incident_id == 1, "its number and its notes stay"
        assert [(one.finding_id, one.finding.box_id) for one in incident.findings] == [
            (1, "1"),
            (3, "6"),
            (4, "8"),
        ]
        assert incident.findings[0].finding == deeper
        assert incident.residual_percent == 50.0
    assert not plan.changes, "the second time"
    assert [note.text for note in store.notes(1)] == ["the crane"]
    gone = Replacement(
        tuple(
            ReplacedEvent(n, TRIGGER.start_ns, TRIGGER.end_ns, boxes, ())
            for n, boxes in zip(events, (("1", "8"), ("4",), ("6",)), strict=True)
        ),
        frozenset({"rms_voltage"}),
    )
    plan, _ = plan_replacement(store, gone, lambda box_id, _t_ns: BoxPlace())
    assert store.carry_out(plan) is not None
    assert store.incidents() == [] and store.counts()["incidents"] == 0


def test_a_late_earlier_onset_moves_findings(store: CloudStore) -> None:
    def at(start_ms: int, box_id: str) -> Finding:
        start_ns = NOW_NS + start_ms * 1_000_000
        return replace(SAG, box_id=box_id, start_ns=start_ns, end_ns=start_ns + 50_000_000, uncertainty_ns=0)

    put_findings(store, 1, [at(0, "1"), at(190, "2")])
    (last,) = put_findings(store, 2, [at(380, "4")])
    second = last.incident_id
    assert second == (3 if isinstance(store, MongoStore) else 2), "there it has its first finding's number"
    (first,) = put_findings(store, 3, [at(-100, "3")])
    assert (first.finding_id, first.incident_id) == (4, 1)
    found = {one.incident_id: [f.finding_id for f in one.findings] for one in store.incidents()}
    assert found == {1: [4, 1], second: [2, 3]}
    assert store.incident(1) == store.incidents()[1]
    assert [each.incident_id for each in store.incidents_of([second, 9, 1])] == [second, 1]
    assert store.incidents_of([second, 1]) == store.incidents() and store.incidents_of([]) == []
    (next_one,) = put_findings(store, 4, [at(10_000, "1")])
    assert next_one.incident_id > second, "numbers only rise"
    known = store.incident(next_one.incident_id)
    assert known is not None and known.follows == 1


def test_a_bridge_joins_the_later_incident(store: CloudStore) -> None:
    def at(start_ms: int, end_ms: int) -> Finding:
        start_ns = NOW_NS + start_ms * 1_000_000
        return replace(SAG, start_ns=start_ns, end_ns=NOW_NS + end_ms * 1_000_000, uncertainty_ns=0)

    put_findings(store, 1, [at(0, 100)])
    put_findings(store, 2, [at(2000, 2100)])
    assert [one.incident_id for one in store.incidents()] == [2, 1]
    put_findings(store, 3, [at(90, 2010)])
    (incident,) = store.incidents()
    assert (incident.incident_id, incident.event_ids) == (1, (1, 2, 3))
    assert store.incident(2) is None and store.incident_facts(2) is None


def test_a_plan_for_another_revision_is_refused(store: CloudStore) -> None:
    plan = plan_join(store, [SAG], 1, lambda box_id, _t_ns: BoxPlace())
    put_findings(store, 2, [replace(SAG, box_id="4")])
    assert store.carry_out(plan) is None
    assert len(store.incidents()) == 1
    again = plan_join(store, [SAG], 1, lambda box_id, _t_ns: BoxPlace())
    assert store.carry_out(again) is not None
    (incident,) = store.incidents()
    assert incident.box_ids == ("1", "4")


def test_a_finding_is_stored_with_its_severity(store: CloudStore) -> None:
    deep = replace(SAG, residual_percent=0.0, itic="no_damage", end_ns=SAG.start_ns + 10**9)
    put_findings(store, 1, [deep])
    (stored,) = store.incident(1).findings  # type: ignore[union-attr]
    assert stored.finding == deep, "what follows from the rest makes no other finding of it"
    assert stored.finding.severity == pytest.approx(4 + 4 * (0.6 + 0.4 * 0.5))
    assert incident_document(KnownFinding(1, 1, (1,), deep), 0)["severity"] == stored.finding.severity
    document = incident_document(KnownFinding(1, 1, (1,), deep), 0)
    del document["severity"]
    assert known_from_document(document).finding.severity == stored.finding.severity, (
        "as the original stores it"
    )


def test_human_statements_on_an_incident_return(store: CloudStore) -> None:
    for box_id, feeder in (("1", "north"), ("4", "south")):
        store.put_box(BoxRecord(box_id, f"Box {box_id}", location=f"place{box_id}", feeder=feeder))
    store.put_location(LocationRecord("place1", 46.5, 7.25))
    late = replace(SAG, box_id="4", start_ns=SAG.start_ns + 5_000_000)
    put_findings(store, 1, [late, SAG])
    (incident,) = store.incidents()
    assert (incident.scope, incident.follows, incident.centre) == ("region", None, (46.5, 7.25))
    assert [(one.box_id, one.start_ns) for one in incident.arrivals] == [
        ("1", SAG.start_ns),
        ("4", late.start_ns),
    ]
    assert incident.severity is not None and 0 < incident.severity <= 10
    facts = store.incident_facts(1)
    assert facts is not None and facts.boxes == 2
    assert {one.box_id: (one.leads, one.incident_id) for one in store.onsets(0, 2**62)} == {
        "1": (True, 1),
        "4": (False, 1),
    }
    assert [one.box_id for one in store.onsets(0, 2**62, leading=True)] == ["1"]
    assert {one.samples_began_ns for one in store.onsets(0, 2**62)} == {SAG.samples_began_ns}
    assert [one.finding for one in store.findings_of_box("4", late.end_ns, 2**62)] == [late]
    assert store.findings_of_box("4", late.end_ns + 1, 2**62) == []
    both = store.findings_of_boxes(["1", "4", "9"], SAG.start_ns, 2**62)
    assert sorted((one.finding for one in both), key=lambda one: one.box_id) == [SAG, late]
    assert store.findings_of_boxes(["1", "4"], late.end_ns + 1, 2**62) == []


def test_many_findings_are_stored_like_few(tmp_path: Path) -> None:
    boxes = [str(number) for number in range(1, MANY_BOXES + 2)]
    sags = [replace(SAG, box_id=box_id) for box_id in boxes]
    with closing(open_store(None, tmp_path)) as store:
        for box_id in (boxes[0], boxes[-1]):
            store.put_box(BoxRecord(box_id, box_id, location=f"place{box_id}", feeder=f"feeder{box_id}"))
        writer = FindingWriter(lambda: store)
        stored = writer.put_findings(1, sags).stored
        assert sorted(one.finding_id for one in stored) == list(range(1, len(boxes) + 1))
        assert {one.incident_id for one in stored} == {1}
        assert [writer.place_of(box_id).feeder for box_id in (boxes[0], boxes[1], boxes[-1])] == [
            "feeder1",
            None,
            f"feeder{boxes[-1]}",
        ]
        later = replace(SAG, box_id="new", start_ns=SAG.start_ns + 1, end_ns=SAG.end_ns + 1)
        (one,) = put_findings(store, 2, [later])
        assert (one.finding_id, one.incident_id) == (len(boxes) + 1, 1)
        (incident,) = store.incidents()
        assert len(incident.box_ids) == len(boxes) + 1
        assert [each.incident_id for each in store.find_incidents(IncidentFilter(box_id=boxes[-1]), 5)] == [1]
        (part,) = store.incident_parts({boxes[5]}, IncidentFilter())
        assert (part.boxes, [each.worst_id for each in part.parts]) == (
            len(boxes) + 1,
            [stored[5].finding_id],
        )


def test_why_it_happened_is_stored_with_an_incident(store: CloudStore) -> None:
    figures = {"onset_change_percent": -30.0, "onset_lasting_s": 0.1, "onset_recovery_cycles": 0.7}
    put_findings(store, 1, [replace(SAG, figures=tuple(figures.items()))])
    (incident,) = store.incidents()
    first = incident.hypotheses[0]
    assert (first.cause, dict(first.details)) == ("fault", {"clearing_ms": 100.0})
    assert {each.name for each in first.evidence} >= {"dip", "sharp_end"}
    facts = store.incident_facts(incident.incident_id)
    assert facts is not None and facts.hypotheses == incident.hypotheses
    assert [each.box_id for each in facts.witnesses] == [SAG.box_id]
    assert dict(facts.witnesses[0].figures) == figures
    told = incident_json(incident)
    assert told["cause"] == {
        "name": "fault",
        "probability": first.probability,
        "sentence": cause_sentence(first),
        "clearing_ms": 100.0,
    }


def test_each_boxs_side_is_stored(store: CloudStore) -> None:
    found = []
    for box_id, feeder, change in (("1", "north", -12.0), ("4", "south", -80.0), ("5", "south", -99.0)):
        store.put_box(BoxRecord(box_id, f"Box {box_id}", location=f"p{box_id}", feeder=feeder, phase="L1"))
        found.append(replace(SAG, box_id=box_id, figures=(("onset_change_percent", change),)))
    put_findings(store, 1, found)
    (incident,) = store.incidents()
    assert {each.box_id: each.side for each in incident.sides} == {
        "1": "upstream",
        "4": "upstream",
        "5": "downstream",
    }
    facts = store.incident_facts(incident.incident_id)
    assert facts is not None and facts.sides == incident.sides
    part = incident_at(incident, lambda box_id: box_id != "1")
    assert part is not None and (part.hypotheses, part.sides) == ((), ())
    sides = incident_json(incident)["sides"]
    assert isinstance(sides, dict) and sides["5"] == {"side": "downstream", "probability": 0.85}


def test_incidents_are_numbered_without_gaps(store: CloudStore) -> None:
    """An event that sees the tail of a long dip, and another dip behind it."""
    long = replace(SAG, end_ns=SAG.start_ns + 5 * SECOND_NS, uncertainty_ns=0)
    tail = replace(long, start_ns=SAG.start_ns + 4 * SECOND_NS)
    behind = replace(long, start_ns=SAG.start_ns + 7 * SECOND_NS, end_ns=SAG.start_ns + 8 * SECOND_NS)
    put_findings(store, 1, [long])
    first, second = put_findings(store, 2, [tail, behind])
    assert (first.finding_id, first.incident_id) == (1, 1)
    assert (second.finding_id, second.incident_id) == (2, 2)


def test_incidents_are_listed_newest_first(store: CloudStore) -> None:
    """Incidents are listed newest first above an id and by time."""
    for n in range(4):
        start_ns = NOW_NS + n * 10 * SECOND_NS
        put_findings(store, n + 1, [replace(SAG, start_ns=start_ns, end_ns=start_ns + SECOND_NS)])
    assert [i.incident_id for i in store.incidents()] == [4, 3, 2, 1]
    assert [i.incident_id for i in store.incidents(limit=1)] == [4]
    assert [i.incident_id for i in store.incidents(after_id=2)] == [4, 3]
    assert [
        i.incident_id for i in store.incidents(start_ns=NOW_NS + SECOND_NS, end_ns=NOW_NS + 20 * SECOND_NS)
    ] == [2]
    assert put_findings(store, 9, []) == []


def test_an_outage_without_event_can_be_withdrawn(store: CloudStore) -> None:
    outage = replace(SAG, kind="outage", residual_v=None, residual_percent=None, measurement_type="HEALTH")
    longer = replace(outage, box_id="4", end_ns=outage.end_ns + 10**9)
    put_findings(store, NO_EVENT, [outage, longer])
    (incident,) = store.incidents()
    assert (incident.kind, incident.box_ids, incident.event_ids) == ("outage", ("1", "4"), (NO_EVENT,))
    assert (store.event_record(NO_EVENT), store.event(NO_EVENT)) == (None, None)
    for one, left in ((outage, ("4",)), (outage, ("4",)), (longer, ())):
        plan = plan_withdrawal(store, one, NO_EVENT, lambda box_id, _t_ns: BoxPlace())
        assert store.carry_out(plan) is not None
        assert tuple(box_id for each in store.incidents() for box_id in each.box_ids) == left
