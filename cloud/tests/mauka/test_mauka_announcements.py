"""Topic `incident` also reports changes by people and re-analyses, in processes without a bus."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opq_cloud.mauka.bus.incident_notice import INCIDENT, IncidentNotice, read_notice
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.mauka.plugin import MaukaPlugin
from opq_cloud.mauka.reanalysis.changes import Reanalysis, ReanalysisReport, events_to_replace
from opq_cloud.mauka.running.calls.event_analysis import EventResult
from opq_cloud.operations.incident_edits import IncidentEditor
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.records.accounts import announcements as announcing
from opq_cloud.store.records.accounts.announcements import BY_HAND, IncidentAnnouncements
from opq_proto.messages import Finding, Trigger
from opq_proto.wire.mauka_pb2 import MaukaMessage

MS = 10**6
START_NS = 1_795_000_000 * 10**9


class Hears(MaukaPlugin):
    """Keeps what is published on topic `incident`."""

    NAME = "Hears"

    def __init__(self, config: Any) -> None:
        super().__init__(config, [INCIDENT], Hears.NAME)
        self.notices: list[IncidentNotice] = []

    def on_message(self, topic: str, mauka_message: MaukaMessage) -> None:
        self.notices.append(read_notice(mauka_message))

    def told(self) -> list[tuple[str, int, str]]:
        return [(one.kind, one.incident["id"], one.by) for one in self.notices]


def sag(box_id: str, start_ms: int, percent: float = 60.0) -> Finding:
    start_ns = START_NS + start_ms * MS
    return Finding("sag", box_id, start_ns, start_ns + 100 * MS, 1000, residual_percent=percent)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path)
    yield opened
    opened.close()


def put_event(store: CloudStore, *findings: Finding) -> int:
    first = findings[0]
    boxes = tuple({one.box_id: None for one in findings})
    trigger = Trigger(f"t{first.start_ns}", first.start_ns, first.end_ns, boxes, boxes[0], "test")
    event_id = store.open_event(trigger, "test")
    store.finish_event(event_id)
    put_findings(store, event_id, findings)
    store.mark_analysed(event_id)
    return event_id


def test_changes_of_other_processes_are_published(
    bus: Any, running: Any, store: CloudStore, tmp_path: Path, until: Any
) -> None:
    """Changes by people and re-analyses in other processes are published."""
    event_id = put_event(store, sag("1", 0), sag("2", 1))
    put_event(store, sag("1", 600_000))
    hears, runner = Hears(bus.settings), AnalysisRunner(bus.settings, lambda: store, [])
    running.start(hears)
    running.start(runner)
    assert until(lambda: runner._out is not None and runner._out.has_subscriber())
    other = open_store(None, tmp_path)  # as View, or a command beside it
    editor = IncidentEditor(other)
    (_, second) = next(one for one in other.incidents() if len(one.box_ids) == 2).findings
    fresh = editor.split_incident(second.incident_id, [second.finding_id])
    assert until(lambda: len(hears.notices) == 2)
    assert hears.told() == [("incident_changed", 1, "hand"), ("incident", fresh, "hand")]
    assert hears.notices[0].incident["box_ids"] == ["1"] and hears.notices[1].incident["box_ids"] == ["2"]
    editor.merge_incidents([1, fresh])
    editor.label_incident(2, "interruption", ["interruption"])
    assert until(lambda: len(hears.notices) == 5)
    merged, gone, labelled = hears.told()[2:]
    assert (merged, gone) == (("incident_changed", 1, "hand"), ("incident_gone", fresh, "hand"))
    assert labelled == ("incident_changed", 2, "hand")
    assert hears.notices[4].incident["class"] == "interruption"
    report, everything = ReanalysisReport(), frozenset({"rms_voltage"})
    groups = events_to_replace(other, START_NS - MS, START_NS + 60_000 * MS, 10, report)
    result = EventResult(event_id, findings=(sag("1", 0, 40.0), sag("2", 1)), box_ids=("1", "2"))
    Reanalysis(other, everything, True, report, dry_run=True).replace_groups(groups, [result])
    Reanalysis(other, everything, True, report, dry_run=False).replace_groups(groups, [result])
    assert until(lambda: len(hears.notices) == 6)
    assert hears.told()[5] == ("incident_changed", 1, "reanalysis"), "a dry run reports nothing"
    assert hears.notices[5].incident["residual_percent"] == 40.0
    other.close()
    assert until(lambda: IncidentAnnouncements(store.people.documents).oldest() is None)
    assert runner.counters.of("incident_notices", "hand") == 5


def test_announcements_keep_their_order_and_limit(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit they are counted."""
    monkeypatch.setattr(announcing, "MAX_WAITING", 2)
    waiting = IncidentAnnouncements(store.people.documents)
    assert [waiting.add_changed(BY_HAND, number) for number in (7, 8, 9)] == [0, 0, 1]
    for number in (7, 8):
        oldest = waiting.oldest()
        assert oldest is not None and oldest.changed == (number,)
        assert oldest == replace(oldest, by=BY_HAND, new=(), gone=())
        waiting.remove(oldest)
    assert waiting.oldest() is None
