"""The stages of a disturbance, put together from log lines."""

import io
from contextlib import closing
from pathlib import Path
from typing import Any

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import open_store
from opq_proto.messages import Finding
from opq_tools.up.children import ChildLine
from opq_tools.up.live import SilenceWatch
from opq_tools.up.plan import UpPlan
from opq_tools.up.plan_store import newest_incident
from opq_tools.up.run import UpRun
from opq_tools.up.session import PAGE
from opq_tools.up.stages import KEPT, LATENCIES, IncidentTrace, Newest, stage_line

MS = 1_000_000


def line(event: str, moment_ms: float, **facts: Any) -> ChildLine:
    return ChildLine("cloud", {"event": event, "monotonic_ns": int(moment_ms * MS), **facts})


def a_way() -> IncidentTrace:
    trace = IncidentTrace()
    trace.read_line(line("box.event_sent", 100, box_id="1", first_sample=7))
    for sequence, moment in ((1, 90), (2, 600)):
        trace.read_line(line("measurement.received", moment, box_id="1", sequence=sequence))
    trace.read_line(line("trigger.decided", 601.5, box_id="1", sequence=2, event_id=9))
    trace.read_line(line("event.waveform_stored", 1700, event_id=9, box_id="4"))
    trace.read_line(line("event.waveform_stored", 1750, event_id=9, box_id="1"))
    trace.read_line(line("incident.stored", 1800, incident_id=3, event_ids=[9]))
    return trace


def test_the_five_latencies_add_up_to_the_total() -> None:
    seen = a_way().seen({"id": 3}, 1820 * MS)
    assert seen is not None and seen.complete
    found = seen.latency_ms()
    assert found == {
        "sample_to_measurement": 500.0,
        "measurement_to_trigger": 1.5,
        "trigger_to_waveform": 1148.5,
        "waveform_to_incident": 50.0,
        "incident_to_page": 20.0,
        "total": 1720.0,
    }
    assert sum(found[name] or 0 for name in LATENCIES) == found["total"]


def test_a_waveform_that_an_analysis_asked_for_afterwards_is_no_stage_of_the_incident() -> None:
    trace = a_way()
    trace.read_line(line("event.waveform_stored", 2900, event_id=9, box_id="1"))
    seen = trace.seen({"id": 3}, 1820 * MS)
    assert seen is not None and seen.latency_ms()["waveform_to_incident"] == 50.0


def test_an_incident_without_a_trigger_of_this_run_has_no_way() -> None:
    assert a_way().seen({"id": 2}, 5000 * MS) is None


def test_an_incident_of_an_earlier_run_that_grows_is_not_the_one_that_is_awaited(tmp_path: Path) -> None:
    plan = UpPlan(tmp_path, 0, None, (), {}, trace=False)
    plan.prepare()
    assert newest_incident(plan) == 0
    with closing(open_store(None, tmp_path)) as store:
        put_findings(store, 1, [Finding("sag", "1", 10**18, 10**18 + 10**8, 1000)])
    assert newest_incident(plan) == 1
    for known, awaited in ((3, None), (2, 3)):
        run = UpRun(plan, "http://127.0.0.1:1", 60.0, io.StringIO(), after_incident=known)
        run._session.trace = a_way()
        page = {"incident": {"id": 3, "end_ms": 1.0}, "monotonic_ns": 1820 * MS}
        run._session.lines.put(ChildLine(PAGE, page))
        run._session.next_line(1.0)
        seen = run._first_seen()
        assert (seen.incident["id"] if seen else None) == awaited


def test_what_was_not_seen_is_null_and_never_a_guess() -> None:
    trace = IncidentTrace()
    trace.read_line(line("trigger.decided", 10, box_id="7", sequence=2, event_id=1))
    trace.read_line(line("incident.stored", 30, incident_id=1, event_ids=[1]))
    seen = trace.seen({"id": 1}, 40 * MS)
    assert seen is not None and not seen.complete
    assert seen.latency_ms()["total"] is None
    assert seen.latency_ms()["incident_to_page"] == 10.0


def test_a_later_play_of_the_box_is_not_taken_for_the_sample_of_an_earlier_incident() -> None:
    trace = a_way()
    trace.read_line(line("box.event_sent", 60_000, box_id="1"))
    seen = trace.seen({"id": 3}, 1820 * MS)
    assert seen is not None and seen.latency_ms()["sample_to_measurement"] == 500.0


def test_lines_without_a_moment_or_a_known_name_are_passed_over() -> None:
    trace = IncidentTrace()
    trace.read_line(ChildLine("cloud", {"text": "a traceback"}))
    trace.read_line(line("something.else", 1))
    assert trace.seen({"id": 1}, 1) is None


def test_a_stage_is_reported_in_words_and_other_lines_are_not() -> None:
    facts = {"box_id": "1", "because": "Box 1, threshold: rms 102.2 V below 108", "boxes": ["1", "4"]}
    sentence = "trigger: Box 1, threshold: rms 102.2 V below 108; asking Boxes 1, 4"
    assert stage_line(line("trigger.decided", 1, **facts)) == ("makai", sentence)
    assert stage_line(line("measurement.received", 1)) is None
    assert stage_line(line("box.started", 1, box_id="2", port="/dev/pts/3")) == ("Box 2", "on /dev/pts/3")
    assert stage_line(line("box.started", 1, box_id="2", boot_id=7)) == ("Box 2", "has started again")
    found: dict[str, Any] = {"incident_id": 3, "box_ids": ["1"], "class": "oscillatory_transient+sag"}
    stored = line("incident.stored", 1, **found)
    assert stage_line(stored) == ("mauka", "incident 3: oscillatory transient and sag at Box 1")


def test_only_the_newest_entries_are_remembered() -> None:
    newest: Newest[int, str] = Newest()
    for number in range(KEPT + 3):
        newest.put(number, "x")
    assert len(newest) == KEPT
    assert 2 not in newest and KEPT + 2 in newest


def test_a_box_that_falls_silent_is_reported_once_and_again_when_it_is_back() -> None:
    watch = SilenceWatch()
    for box_id in ("1", "2"):
        watch.accept_measurement({"box_id": box_id, "age_ms": 0, "silent_after_ms": 10_000}, 10**9)
    watch.accept_measurement({"box_id": "3"}, 10**9)
    watch.accept_measurement({"box_id": "1", "age_ms": 500, "silent_after_ms": 10_000}, 9 * 10**9)
    assert watch.changes(11 * 10**9) == []
    assert watch.changes(12 * 10**9) == [("2", True)]
    assert watch.changes(13 * 10**9) == []
    watch.accept_measurement({"box_id": "2", "age_ms": 0, "silent_after_ms": 10_000}, 14 * 10**9)
    assert watch.changes(14 * 10**9) == [("2", False)]


def test_a_machine_that_is_too_busy_is_said_once_a_minute(tmp_path: Path) -> None:
    chatter = io.StringIO()
    run = UpRun(UpPlan(tmp_path, 0, None, (), {}, trace=False), "http://127.0.0.1:1", None, chatter)
    for box_id in ("1", "2"):
        run._handle_line(line("box.overrun", 1, box_id=box_id, samples=127_200))
    assert chatter.getvalue().endswith("boxes    this machine is too busy: Box 1 lost 127200 samples\n")
    assert chatter.getvalue().count("\n") == 1
