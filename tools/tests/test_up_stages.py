"""The stages of a disturbance, put together from log lines."""

import io
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import open_store
from opq_cloud.view.pages.machine_notice import read_notice
from opq_cloud.view.web.words import boxes
from opq_proto.messages import Finding
from opq_sim.box.run_boxes import plan_fleet
from opq_tools.up.children import ChildLine
from opq_tools.up.incident_lines import IncidentLines
from opq_tools.up.live_lines import SilenceWatch
from opq_tools.up.machine_speed import SlowWindows, SpeedWatch, counts_in, notice_between
from opq_tools.up.plan import UpPlan
from opq_tools.up.plan_store import earlier_incidents
from opq_tools.up.run import STAGES, UpRun
from opq_tools.up.session import PAGE
from opq_tools.up.stages import KEPT_RECORDS, LATENCIES, BoxStarts, IncidentTrace, Newest, stage_line

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


def test_a_later_analysis_request_is_not_a_stage() -> None:
    trace = a_way()
    trace.read_line(line("event.waveform_stored", 2900, event_id=9, box_id="1"))
    seen = trace.seen({"id": 3}, 1820 * MS)
    assert seen is not None and seen.latency_ms()["waveform_to_incident"] == 50.0


def test_an_incident_without_trigger_has_no_way() -> None:
    assert a_way().seen({"id": 2}, 5000 * MS) is None


def test_an_earlier_runs_incident_is_not_awaited(tmp_path: Path) -> None:
    plan = UpPlan(tmp_path, 0, None, (), {}, trace=False)
    plan.prepare()
    assert earlier_incidents(plan) == []
    with closing(open_store(None, tmp_path)) as store:
        put_findings(store, 1, [Finding("sag", "1", 10**18, 10**18 + 10**8, 1000)])
    assert [each["id"] for each in earlier_incidents(plan)] == [1]
    for known, awaited in ((3, None), (2, 3)):
        run = UpRun(plan, "http://127.0.0.1:1", 60.0, io.StringIO(), earlier=[{"id": known}])
        run._session.trace = a_way()
        page = {"incident": {"id": 3, "end_ms": 1.0}, "monotonic_ns": 1820 * MS}
        run._session.lines.put(ChildLine(PAGE, page))
        run._session.next_line(1.0)
        seen = run._first_seen()
        assert (seen.incident["id"] if seen else None) == awaited


def test_an_unseen_stage_is_null() -> None:
    trace = IncidentTrace()
    trace.read_line(line("trigger.decided", 10, box_id="7", sequence=2, event_id=1))
    trace.read_line(line("incident.stored", 30, incident_id=1, event_ids=[1]))
    seen = trace.seen({"id": 1}, 40 * MS)
    assert seen is not None and not seen.complete
    assert seen.latency_ms()["total"] is None
    assert seen.latency_ms()["incident_to_page"] == 10.0


def test_a_later_play_is_not_an_earlier_sample() -> None:
    """The Box plays its recording again; the second play belongs to no earlier incident."""
    trace = a_way()
    trace.read_line(line("box.event_sent", 60_000, box_id="1"))
    seen = trace.seen({"id": 3}, 1820 * MS)
    assert seen is not None and seen.latency_ms()["sample_to_measurement"] == 500.0


def test_lines_without_moment_are_skipped() -> None:
    trace = IncidentTrace()
    trace.read_line(ChildLine("cloud", {"text": "a traceback"}))
    trace.read_line(line("something.else", 1))
    assert trace.seen({"id": 1}, 1) is None


def test_only_stages_are_reported_in_words() -> None:
    facts = {"box_id": "1", "because": "Box 1, threshold: rms 102.2 V below 108", "boxes": ["1", "4"]}
    sentence = "trigger: Box 1, threshold: rms 102.2 V below 108; asking Boxes 1, 4"
    assert stage_line(line("trigger.decided", 1, **facts)) == ("makai", sentence)
    assert stage_line(line("measurement.received", 1)) is None
    assert stage_line(line("box.started", 1, box_id="2", port="/dev/pts/3")) == ("Box 2", "on /dev/pts/3")
    assert stage_line(line("box.started", 1, box_id="2", boot_id=7)) == ("Box 2", "has started again")
    found: dict[str, Any] = {"incident_id": 3, "box_ids": ["1"], "class": "oscillatory_transient+sag"}
    stored = line("incident.stored", 1, **found)
    assert stage_line(stored) == ("mauka", "incident 3: oscillatory transient and sag at Box 1")


@pytest.mark.parametrize("timeout_s", [None, 60.0])
def test_an_unawaited_incident_is_one_line(tmp_path: Path, timeout_s: float | None) -> None:
    fleet = plan_fleet(replays=(), sim=1, scenario=None, replay_every_s=60.0, truth=None)
    plan = UpPlan(tmp_path, 300, fleet, (), {}, trace=False)
    (box,) = plan.boxes
    told, url = io.StringIO(), "http://127.0.0.1:9188"
    run = UpRun(plan, url, timeout_s, told)
    incident = sag(85.24, "1", "2", "4", "5")
    run._announce()
    run._handle_line(line("box.sampling", 1, box_id=box.box_id))
    for name in STAGES:
        run._handle_line(line(name, 2, box_id="1", incident_id=3, event_id=1, boxes=["1"]))
    for _ in range(2):  # it grows
        run._handle_line(ChildLine(PAGE, {"incident": incident}))
    run._print_incidents(all_of_it=True)
    lines = told.getvalue().splitlines()
    at = next(
        number for number, each in enumerate(lines) if each.endswith(f"everything runs; the page: {url}")
    )
    after = [each.partition(" s  ")[2] for each in lines[at + 1 :]]
    assert after[-1] == f"view     on the page: sag to 85.2 % at Boxes 1, 2, 4 and 5, {url}/incidents/3"
    assert len(after) == (1 if timeout_s is None else 1 + len(STAGES))


def test_only_the_newest_entries_are_remembered() -> None:
    newest: Newest[int, str] = Newest()
    for number in range(KEPT_RECORDS + 3):
        newest.put(number, "x")
    assert len(newest) == KEPT_RECORDS
    assert 2 not in newest and KEPT_RECORDS + 2 in newest


def test_a_box_of_earlier_runs_is_ignored() -> None:
    watch = SilenceWatch((), since_ns=100 * 10**9)
    watch.accept_measurement({"box_id": "4", "age_ms": 5000, "silent_after_ms": 10_000}, 104 * 10**9)
    watch.accept_measurement({"box_id": "5", "age_ms": 500, "silent_after_ms": 10_000}, 104 * 10**9)
    assert watch.changes(120 * 10**9) == []
    assert watch.changes(123 * 10**9) == ["Box 5 has fallen silent"]


def test_a_silent_box_is_reported_once() -> None:
    """Its return is reported as well."""
    watch = SilenceWatch()
    for box_id in ("1", "2"):
        watch.accept_measurement({"box_id": box_id, "age_ms": 0, "silent_after_ms": 10_000}, 10**9)
    watch.accept_measurement({"box_id": "3"}, 10**9)
    watch.accept_measurement({"box_id": "1", "age_ms": 500, "silent_after_ms": 10_000}, 9 * 10**9)
    assert watch.changes(11 * 10**9) == []
    assert watch.changes(12 * 10**9) == []
    assert watch.changes(14 * 10**9) == ["Box 2 has fallen silent"]
    assert watch.changes(15 * 10**9) == []
    watch.accept_measurement({"box_id": "2", "age_ms": 0, "silent_after_ms": 10_000}, 16 * 10**9)
    assert watch.changes(16 * 10**9) == []
    assert watch.changes(18 * 10**9) == ["Box 2 reports again"]


def test_boxes_silent_together_are_one_line() -> None:
    watch = SilenceWatch()
    young = {"age_ms": 0, "silent_after_ms": 10_000}
    for number in range(1, 13):
        watch.accept_measurement({"box_id": str(number), **young}, 10**9 + number * 10**8)
    assert watch.changes(12 * 10**9) == []
    for box_id in ("10", "11"):  # they were late by a second
        watch.accept_measurement({"box_id": box_id, **young}, 13 * 10**9)
    assert watch.changes(14 * 10**9) == ["Boxes 1, 2, 3 and 7 more have fallen silent"]
    for number in range(1, 10):
        watch.accept_measurement({"box_id": str(number), **young}, 15 * 10**9)
    assert watch.changes(15 * 10**9) == []
    assert watch.changes(17 * 10**9) == ["Boxes 1, 2, 3 and 6 more report again"]


def test_an_increasingly_late_box_is_not_silent() -> None:
    """A slow emulator: the newest data are 1 s old at first, then later by 0.8 s in each second."""
    watch, said = SilenceWatch(), []
    for second in range(1, 300):
        late_ms = max(0, 800 * second - 1000)
        facts = {"age_ms": 0, "silent_after_ms": 11_000, "late_ms": late_ms if late_ms >= 10_000 else 0}
        watch.accept_measurement({"box_id": "1", **facts}, second * 10**9)
        said += watch.changes(second * 10**9)
    assert [line.partition(":")[0] for line in said] == [
        "Box 1 is late by 10 s",
        "Box 1 is late by 58 s",
        "Box 1 is late by 117 s",
        "Box 1 is late by 233 s",
    ]
    watch.accept_measurement({"box_id": "1", "age_ms": 0, "silent_after_ms": 10, "late_ms": 0}, 400 * 10**9)
    assert watch.changes(400 * 10**9) == ["no Box is late any more"]
    assert watch.changes(401 * 10**9) == []
    assert watch.changes(403 * 10**9) == ["Box 1 has fallen silent"], "nothing arrives any more"


def said_by(watch: SilenceWatch, *news: tuple[int, dict[str, object]]) -> list[tuple[int, str]]:
    """What is said in each second from the first to 60 s after the last of `news` (second, message)."""
    said, waiting = [], sorted(news, key=lambda each: each[0])
    for second in range(waiting[0][0], waiting[-1][0] + 60):
        for _, facts in (each for each in waiting if each[0] == second):
            watch.accept_measurement(facts, second * 10**9)
        said += [(second, text) for text in watch.changes(second * 10**9)]
    return said


def late(seconds: int, known: bool = True, box_id: str = "1") -> dict[str, object]:
    facts = {"box_id": box_id, "age_ms": 0, "silent_after_ms": 1_000_000, "late_ms": 1000 * seconds}
    return facts | {"uncertainty_ns": 206 if known else None}


def test_a_slow_clock_is_not_late_data() -> None:
    behind, on_time = late(10_803, known=False), late(75)
    said = said_by(SilenceWatch(), (1, behind), (30, on_time), (200, late(12)), (300, late(0)))
    assert [(second, text.partition(":")[0]) for second, text in said] == [
        (1, "Box 1 is late by 3 h, by its clock"),
        (61, "Box 1 is late by 75 s"),
        (200, "Box 1 is late by 12 s"),
        (300, "no Box is late any more"),
    ]


def test_a_silent_box_stays_late() -> None:
    facts = late(40) | {"silent_after_ms": 10_000}
    assert said_by(SilenceWatch(), (1, facts), (100, late(0, box_id="2"))) == [
        (1, "Box 1 is late by 40 s: the data arrive so long after their time"),
        (14, "Box 1 has fallen silent"),
    ]


def test_a_box_is_silent_only_after_contact() -> None:
    watch = SilenceWatch(awaited=["1"])
    old = {"box_id": "2", "age_ms": 60_000, "silent_after_ms": 10_000}  # the newest that the store has
    young = {"box_id": "1", "age_ms": 4000, "silent_after_ms": 10_000}  # of the run before
    assert said_by(watch, (1, old), (1, young)) == []
    watch.watch("1")
    said = said_by(watch, *((70, {**each, "age_ms": 0}) for each in (young, old)))
    assert said == [(83, "Boxes 1, 2 have fallen silent")]


def test_boxes_delayed_together_are_one_line() -> None:
    watch, said = SilenceWatch(), []
    for second in range(1, 300):
        for box_id in range(1, 13):
            late_ms = 100 * second * box_id if box_id > 3 else 0
            facts = {"age_ms": 0, "silent_after_ms": 11_000, "late_ms": late_ms if late_ms >= 10_000 else 0}
            watch.accept_measurement({"box_id": str(box_id), **facts}, second * 10**9)
        said += watch.changes(second * 10**9)
    assert [line.partition(":")[0] for line in said] == [
        "Box 12 is late by 11 s",
        "9 of 12 Boxes are late by up to 83 s",
        "9 of 12 Boxes are late by up to 167 s",
        "9 of 12 Boxes are late by up to 335 s",
    ]


URL = "http://127.0.0.1:8888"


def sag(percent: float, *box_ids: str, start_ms: float = 2e12) -> dict[str, object]:
    return {
        "id": 3,
        "class": "sag",
        "box_ids": list(box_ids),
        "residual_percent": percent,
        "start_ms": start_ms,
        "summary": f"Sag to {percent:.1f}\u202f% at {boxes(box_ids)}",
    }


def test_a_growing_incident_is_printed_when_settled() -> None:
    """When it grows after that, a correction is printed."""
    lines = IncidentLines(URL, began_ms=1e12)
    lines.accept(sag(34.6, "2"), 10.0)
    assert lines.lines(14.9) == []
    lines.accept(sag(12.2, *map(str, range(1, 13))), 14.5)
    assert lines.lines(19.0) == []
    assert lines.lines(19.5) == [f"on the page: sag to 12.2 % at 12 Boxes, {URL}/incidents/3"]
    lines.accept(sag(12.2, *map(str, range(1, 13))), 30.0)
    assert lines.lines(100.0) == []
    lines.accept(sag(11.0, "1", "2"), 100.0)
    assert lines.lines(105.0) == [f"incident 3 is now: sag to 11.0 % at Boxes 1 and 2, {URL}/incidents/3"]


def test_an_earlier_runs_incident_prints_on_change() -> None:
    lines = IncidentLines(URL, 1e12, earlier=[sag(85.0, "1", start_ms=1e12 - 60_000)])
    lines.accept(sag(85.0, "1", start_ms=1e12 - 60_000), 10.0)
    assert lines.lines(60.0) == []
    lines.accept(sag(84.0, "1", "4", start_ms=1e12 - 60_000), 60.0)
    (text,) = lines.lines(65.0)
    assert text.startswith("incident 3 is now: sag to 84.0 % at Boxes 1 and 4, which began at 2001-09-09")


def test_an_incident_waits_for_its_event_briefly() -> None:
    lines = IncidentLines(URL, began_ms=1e12)
    lines.note_event("trigger.decided", 7, 0.0)
    lines.accept(sag(34.6, "2"), 10.0)
    assert lines.lines(20.0) == []
    lines.accept(sag(12.2, "1", "2"), 20.0)
    lines.note_event("event.analysed", 7, 21.0)
    lines.note_event("event.analysed", 6, 25.0)  # of an earlier run
    assert lines.lines(25.0) == []
    assert lines.lines(26.0) == [f"on the page: sag to 12.2 % at Boxes 1 and 2, {URL}/incidents/3"]
    lines.note_event("event.grows", 7, 30.0)  # whose analysis never ends
    lines.accept(sag(11.0, "1", "2"), 40.0)
    assert lines.lines(69.0) == [] and len(lines.lines(70.0)) == 1


def test_a_removed_incident_is_corrected_if_printed() -> None:
    lines = IncidentLines(URL, began_ms=1e12)
    lines.accept(sag(85.0, "1"), 0.0)
    lines.accept_gone(3)
    assert lines.lines(60.0) == []
    lines.accept(sag(85.0, "1"), 60.0)
    assert len(lines.lines(65.0)) == 1
    lines.accept_gone(3)
    (gone,) = lines.lines(65.0)
    assert gone.startswith("no longer on the page: incident 3 (sag to 85.0 % at Box 1); ")
    assert lines.lines(90.0) == []


def test_an_earlier_incident_prints_its_time() -> None:
    lines = IncidentLines(URL, began_ms=1e12)
    lines.accept(sag(85.0, "1", start_ms=1e12 - 60_000), 0.0)
    (text,) = lines.lines(5.0)
    assert "at Box 1, which began at 2001-09-09 01:45:40 UTC, before this start, http" in text


def test_admission_is_printed_once_per_box(tmp_path: Path) -> None:
    chatter = io.StringIO()
    run = UpRun(UpPlan(tmp_path, 0, None, (), {}, trace=False), "http://127.0.0.1:1", None, chatter)
    for name in ("peer.revoked", "peer.revoked", "peer.admitted", "peer.admitted", "peer.revoked"):
        run._handle_line(line(name, 1, box_id="1"))
    words = [
        text.rpartition("Box 1 is ")[2].partition(" ")[0].strip(";:")
        for text in chatter.getvalue().splitlines()
    ]
    assert words == ["revoked", "admitted", "revoked"]


def test_a_paused_gateway_is_reported_as_pause(tmp_path: Path) -> None:
    chatter = io.StringIO()
    run = UpRun(UpPlan(tmp_path, 0, None, (), {}, trace=False), "http://127.0.0.1:1", None, chatter)
    for seconds in (1.2, 8.0):
        run._session.lines.put(line("gateway.stalled", 1, seconds=seconds))
        news = run._session.next_line(1.0)
        assert news is not None
        run._handle_line(news)
    words = "The gateway, or this whole machine, paused for 8 s; samples of that time may be missing"
    assert [text.partition("gateway  ")[2] for text in chatter.getvalue().splitlines()] == [words]
    run._session._from_speed(None)  # the next windows are well
    notice = read_notice(tmp_path)
    assert notice is not None and notice.text == f"{words}."


def test_one_lossy_window_is_not_a_slow_machine() -> None:
    slow = SlowWindows()
    measured = missing = 0
    found = []
    for lost in (0, 0, 96_000, 0, 0, 96_000, 96_000, 96_000, 96_000, 0):
        measured, missing = measured + 240_000 - lost, missing + lost
        found.append(slow.notice(counts_in(metrics(measured, missing))))
    assert [notice is not None for notice in found] == [False] * 7 + [True, True, False]
    assert found[7] is not None and found[7].share == pytest.approx(0.6)
    slow.notice(counts_in(metrics(1000, 0)))  # another gateway counts from 0
    assert slow.notice(counts_in(metrics(1000, 239_000))) is None


def test_only_a_start_after_another_is_one_again() -> None:
    """The firmware reports each start; its hello may come before it or after it."""
    starts = BoxStarts()
    first = {"box_id": "1", "boot_id": 1_000_000, "reset_cause": "power", "uptime_ms": 120}
    assert not starts.is_again(first)
    starts.accept_hello({"box_id": "1", "boot_id": 1_000_001})
    assert not starts.is_again(first), "its sampling began once"
    later = {**first, "boot_id": 0x7FFF_FFFF}
    assert starts.is_again(later)
    starts.accept_hello({"box_id": "1", "boot_id": 0})
    assert starts.is_again(later), "its own hello came first"
    assert not starts.is_again({**first, "box_id": "2"})


def test_up_prints_no_restart_at_a_first_start(tmp_path: Path) -> None:
    chatter = io.StringIO()
    run = UpRun(UpPlan(tmp_path, 0, None, (), {}, trace=False), "http://127.0.0.1:1", None, chatter)
    for name, facts in (
        ("box.started", {"box_id": "1", "port": "/dev/pts/3"}),
        ("box.started", {"box_id": "1", "boot_id": 7, "reset_cause": "power"}),
        ("box.hello", {"box_id": "1", "boot_id": 8}),
        ("box.sampling", {"box_id": "1"}),
        ("box.started", {"box_id": "1", "boot_id": 5000, "reset_cause": "watchdog"}),
        ("box.started", {"box_id": "1", "port": "/dev/pts/4"}),  # its process was killed, and runs again
        ("box.started", {"box_id": "1", "boot_id": 90_000, "reset_cause": "software"}),
        ("box.hello", {"box_id": "1", "boot_id": 90_001}),
    ):
        run._handle_line(line(name, 1, **facts))
    printed = chatter.getvalue().splitlines()
    assert [text.split("  ")[-1].strip() for text in printed] == [
        "on /dev/pts/3",
        "Box 1 is sampling",
        "has started again",
        "on /dev/pts/4",
    ]


def metrics(measured: int, missing: int, boxes: int = 53) -> str:
    rows = ["# HELP opq_gateway_samples_total samples measured, in order"]
    for box in range(1, boxes + 1):
        rows.append(f'opq_gateway_samples_total{{box_id="{box}"}} {measured}')
        rows.append(f'opq_gateway_missing_samples_total{{box_id="{box}"}} {missing}')
        rows.append(f'opq_gateway_unmeasured_samples_total{{box_id="{box}"}} 0')
    return "\n".join([*rows, 'opq_gateway_samples_refused_total{box_id="1"} 7', "process_open_fds 9", ""])


def test_a_lossy_window_says_how_many_boxes_fit() -> None:
    before, now = counts_in(metrics(0, 0)), counts_in(metrics(38_400, 201_600))
    assert (now.boxes, now.measured, now.missing) == (53, 53 * 38_400, 53 * 201_600)
    notice = notice_between(before, now)
    assert notice is not None and (notice.boxes, notice.fit) == (53, 7)
    assert notice.text.startswith("This machine is too slow for 53 Boxes: it measured 16 % of their samples.")
    assert "it is fast enough for 7 Boxes" in notice.text
    assert notice_between(before, counts_in(metrics(239_000, 1000))) is None
    assert notice_between(now, before) is None, "the gateway started again"
    assert notice_between(before, before) is None


def test_a_slow_machine_is_reported_once(
    tmp_path: Path,
) -> None:
    answers = [metrics(0, 0), *(metrics(1200 * k, 10_800 * k) for k in range(1, 100))]
    served = iter(answers)

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(next(served).encode())

        def log_message(self, *_: object) -> None: ...

    chatter = io.StringIO()
    run = UpRun(UpPlan(tmp_path, 0, None, (), {}, trace=False), "http://127.0.0.1:1", None, chatter)
    session = run._session
    with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        with SpeedWatch(url, session._from_speed, window_s=0.01):
            line_of = session.next_line(60.0)
            assert line_of is not None
            run._handle_line(line_of)
            while session._slow and (notice := read_notice(tmp_path)) is None:
                time.sleep(0.01)
        server.shutdown()
    assert notice is not None and (notice.boxes, round(notice.share, 3), notice.fit) == (53, 0.1, 4)
    assert session.next_line(0.0) is None, "once"
    assert chatter.getvalue().count("too slow for 53 Boxes") == 1
    session._from_speed(None)
    assert read_notice(tmp_path) is None
