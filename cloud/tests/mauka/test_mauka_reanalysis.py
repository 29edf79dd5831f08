"""Re-analysis: what other settings change is shown, then carried out once; what people said stays."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.mauka.reanalysis.changes import FindingChange, Reanalysis, ReanalysisReport, events_to_replace
from opq_cloud.mauka.reanalysis.report_json import report_json, report_lines
from opq_cloud.mauka.running.calls.event_analysis import EventResult, analyse_stored
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.mauka.running.known.provenance import GROWN_BY_MEASUREMENTS
from opq_cloud.operations.incident_edits import IncidentEditor
from opq_cloud.store import CloudStore, open_store
from opq_proto.decision import Nominal
from opq_proto.messages import Finding, TimeSource, Trigger, Waveform

S = 10**9
MS = 10**6
ZERO_NS = 1_795_000_000 * S
NOMINAL = Nominal(120.0, 60.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path)
    yield opened
    opened.close()


def sine(box_id: str, start_s: float, *sags: tuple[float, float, float]) -> Waveform:
    """3 s of 120 V, 60 Hz; each sag is (start_s, end_s, per unit)."""
    t_s = np.arange(36_000) / 12_000
    volts = 120 * np.sqrt(2) * np.sin(2 * np.pi * 60 * t_s)
    for begin, end, depth in sags:
        volts[(t_s >= begin) & (t_s < end)] *= depth
    counts = np.round(volts / 0.0068).astype(np.int16)
    start_ns = ZERO_NS + round(start_s * S)
    return Waveform(box_id, start_ns, 1_000_000, TimeSource.NTP, 12_000_000, 0.0068, 0, counts)


def put_event(store: CloudStore, *waves: Waveform) -> int:
    boxes = tuple(wave.box_id for wave in waves)
    token = f"{waves[0].start_ns}{boxes}"
    event_id = store.open_event(Trigger(token, waves[0].start_ns, waves[0].end_ns, boxes, boxes[0], "t"), "t")
    for wave in waves:
        store.put_waveform(event_id, wave)
    store.finish_event(event_id)
    return event_id


def analyse(store: CloudStore, sag_percent: float = 90.0) -> None:
    """As the live path does it: found, put, marked."""
    analyses = load_analyses([("rms_voltage", {"sag_percent": sag_percent})])
    due = [record.event_id for record in store.unanalysed_events()]
    for result in analyse_stored(store, due, analyses, NOMINAL):
        put_findings(store, result.event_id, result.findings)
        store.mark_analysed(result.event_id)


def again(store: CloudStore, sag_percent: float, dry_run: bool = False) -> ReanalysisReport:
    report = ReanalysisReport()
    analyses = load_analyses([("rms_voltage", {"sag_percent": sag_percent})])
    groups = events_to_replace(store, ZERO_NS - S, None, 1000, report)
    results = analyse_stored(store, [one.event_id for group in groups for one in group], analyses, NOMINAL)
    Reanalysis(store, frozenset({"rms_voltage"}), True, report, dry_run).replace_groups(groups, results)
    return report


def all_findings(store: CloudStore) -> list[tuple[int, Finding]]:
    return sorted(
        (one.finding_id, one.finding) for incident in store.incidents(limit=1000) for one in incident.findings
    )


def said_of_incidents(store: CloudStore) -> list[object]:
    """What is said of each, but for its numbers."""
    known = sorted(store.incidents(limit=1000), key=lambda each: (each.start_ns, each.box_ids))
    return [
        replace(
            each,
            incident_id=0,
            follows=each.follows and 1,
            findings=tuple(replace(one, finding_id=0, incident_id=0) for one in each.findings),
        )
        for each in known
    ]


def seven_events(store: CloudStore) -> None:
    """A deep dip, a shallow one, both at another Box too; two in one waveform; one that two events saw."""
    put_event(store, sine("1", 0, (1.0, 1.1, 0.6)), sine("2", 0, (1.0, 1.1, 0.87)))
    put_event(store, sine("1", 100, (1.0, 1.2, 0.87)))
    put_event(store, sine("1", 200, (0.5, 0.6, 0.7), (2.0, 2.1, 0.5)), sine("3", 200))
    put_event(store, sine("2", 300, (2.5, 4.0, 0.5)))
    put_event(store, sine("2", 302, (0.0, 1.0, 0.5)))


def test_the_same_settings_change_nothing(store: CloudStore) -> None:
    seven_events(store)
    analyse(store)
    before, revision = all_findings(store), store.join_revision()
    report = again(store, 90.0)
    assert report.findings == [] and report.incidents == [] and report.unchanged == len(before)
    assert (report.events, report.failed, report.skipped) == (5, {}, {})
    assert all_findings(store) == before
    assert store.join_revision() == revision, "nothing was written"


def test_a_dry_run_predicts_the_run(store: CloudStore, tmp_path: Path) -> None:
    """After the run the store is as if this version had always been there."""
    seven_events(store)
    analyse(store)
    before = all_findings(store)
    dry = report_json(again(store, 80.0, dry_run=True), True)
    assert all_findings(store) == before, "a dry run writes nothing"
    real = again(store, 80.0)
    done = report_json(real, False)
    assert {**done, "dry_run": True} == dry
    assert real.counts() == {"added": 0, "gone": 2, "class": 0, "figures": 0, "origin": 0} | {
        "figures": real.counts()["figures"],
        "origin": real.counts()["origin"],
    }
    numbers = {number for number, _ in before}
    assert {number for number, _ in all_findings(store)} < numbers, "what is still found keeps its number"
    assert report_json(again(store, 80.0), False)["finding_changes"] == [], "once"
    fresh = open_store(None, tmp_path / "fresh")
    seven_events(fresh)
    analyse(fresh, 80.0)
    assert said_of_incidents(store) == said_of_incidents(fresh)
    fresh.close()


def test_a_line_shows_the_difference(store: CloudStore) -> None:
    """It names what differs where the shown values are equal."""
    seven_events(store)
    analyse(store)
    report = again(store, 90.0, dry_run=True)
    known = store.findings_of_incident(store.incidents()[0].incident_id)[0]
    other = replace(known, finding=replace(known.finding, because="another reason", confidence=0.5))
    report.findings.append(FindingChange("figures", "1", known.finding_id, known, other))
    (line,) = (each for each in report_lines(report, True, 100) if each.startswith("~"))
    assert line.endswith("ms; other because") and " -> " not in line


def test_a_new_finding_gets_a_new_number(store: CloudStore) -> None:
    """A finding that becomes visible is added with a new number."""
    seven_events(store)
    analyse(store, 80.0)
    numbers = {number for number, _ in all_findings(store)}
    dry = report_json(again(store, 90.0, dry_run=True), True)
    added = [one for one in dry["finding_changes"] if one["change"] == "added"]  # type: ignore[attr-defined]
    assert [(one["box_id"], one["finding_id"]) for one in added] == [("2", None), ("1", None)]
    again(store, 90.0)
    assert len({number for number, _ in all_findings(store)} - numbers) == 2
    text = "\n".join(report_lines(again(store, 85.0, dry_run=True), True, 100))
    assert "- Box 1, incident" in text and "nothing was written" in text


def test_a_persons_findings_stay(store: CloudStore) -> None:
    """A person labelled or placed them, and they are not found any more."""
    seven_events(store)
    analyse(store)
    (shallow,) = [each for each in store.incidents() if each.residual_percent and each.residual_percent > 80]
    (both,) = [each for each in store.incidents() if len(each.box_ids) == 2]
    editor = IncidentEditor(store)
    editor.label_incident(shallow.incident_id, "sag", ["sag"])
    box_2 = next(one.finding_id for one in both.findings if one.finding.box_id == "2")
    split = editor.split_incident(both.incident_id, [box_2])
    report = again(store, 80.0)
    assert report.counts()["gone"] == 0
    assert {one.incident_id for one in report.kept} == {shallow.incident_id, split}
    labelled = store.incident(shallow.incident_id)
    assert labelled is not None and labelled.machine_kind == "sag"
    assert store.incident(split) is not None


def test_what_other_analyses_and_measurements_found_stays(store: CloudStore) -> None:
    event_id = put_event(store, sine("1", 0, (2.0, 4.0, 0.5)))
    analyse(store)
    ((number, dip),) = all_findings(store)
    grown = replace(
        dip, start_ns=dip.end_ns - 1, end_ns=dip.end_ns + 60 * S, closed=True, analysis=GROWN_BY_MEASUREMENTS
    )
    own = Finding("noise", "1", dip.start_ns, dip.end_ns, 0, analysis="mine")
    put_findings(store, event_id, [grown, own])
    before = store.incidents()
    assert again(store, 90.0).findings == []
    assert store.incidents() == before
    report = again(store, 40.0)
    assert [(one.change, one.finding_id) for one in report.findings] == [("gone", number)]
    assert [one.findings[0].finding.kind for one in store.incidents()] == ["noise"]


def test_a_grown_event_stays_as_it_is(store: CloudStore) -> None:
    """It has grown since it was read."""
    put_event(store, sine("1", 0, (1.0, 1.1, 0.6)))
    analyse(store)
    report, analyses = ReanalysisReport(), load_analyses([("rms_voltage", {})])
    groups = events_to_replace(store, None, None, 1000, report)
    (old,) = analyse_stored(store, [1], analyses, NOMINAL)

    def late() -> Iterator[EventResult]:
        """As from a worker that was slow: the Box's samples came whole meanwhile."""
        store.put_waveform(1, replace(sine("1", 3, (0.0, 0.5, 0.4)), first_sample=36_000))
        analyse(store)
        yield old

    Reanalysis(store, frozenset({"rms_voltage"}), True, report, False).replace_groups(groups, late())
    now = all_findings(store)
    assert report.skipped == {1: "has changed since it was read"} and not report.events
    assert len(now) == 2, "also the second dip"


def test_a_failed_event_stays_as_it_was(store: CloudStore) -> None:
    """Its analysis fails, or its samples are gone."""
    seven_events(store)
    analyse(store)
    before = all_findings(store)

    def broken(event_ids: Sequence[int]) -> Iterator[EventResult]:
        return (EventResult(event_id, (), (), {"rms_voltage": "no"}) for event_id in event_ids)

    report = ReanalysisReport()
    groups = events_to_replace(store, None, None, 1000, report)
    ids = [one.event_id for group in groups for one in group]
    Reanalysis(store, frozenset({"rms_voltage"}), True, report, False).replace_groups(groups, broken(ids))
    assert report.failed == dict.fromkeys(ids, "rms_voltage: no")
    assert all_findings(store) == before
    assert [len(group) for group in groups] == [1, 1, 1, 2], "those that share a finding go together"
