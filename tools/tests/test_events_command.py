"""`opq-tools events`: what was asked for, of whom, and one event's way with its times."""

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import open_store
from opq_cloud.store.sample_requests import SamplesAnswer, StoredSampleRequest
from opq_proto.messages import Finding, TimeSource, Trigger, Waveform
from opq_tools.cli import tools

S = 10**9
ZERO_NS = 1_795_000_000 * S


def stored(folder: Path) -> None:
    """Event 1 with an incident, asked of three Boxes of which one is missing; event 2 completes it."""
    store = open_store(None, folder)
    onset = Trigger(
        "a" * 30,
        ZERO_NS,
        ZERO_NS + 3 * S,
        ("1", "2", "10"),
        "1",
        "Box 1, threshold: rms 80 V below 108",
        asked_as=(("saw", ("1",)), ("feeder", ("2", "10"))),
        not_asked=(("bound", 4),),
        onset_ns=(ZERO_NS + S, ZERO_NS + 2 * S),
        decided_ns=ZERO_NS + 2 * S + 5_000_000,
    )
    event_id = store.open_event(onset, "Makai id x")
    for box_id in ("1", "2"):
        counts = np.zeros(1200, np.int16)
        wave = Waveform(box_id, ZERO_NS, 1000, TimeSource.GPS, 12_000_000, 0.02, 0, counts)
        store.put_waveform(event_id, wave)
    store.mark_missing(event_id, "10", "no answer within 20 s")
    store.finish_event(event_id)
    source = {"analysis": "rms_voltage", "analysis_version": "0.1", "settings_hash": "5f3a"}
    sag = Finding("sag", "1", ZERO_NS + S, ZERO_NS + 2 * S, 1000, True, 80.0, 66.7, 60.0, **source)
    put_findings(store, event_id, [sag])
    store.mark_analysed(event_id)
    end = Trigger("b" * 30, ZERO_NS + 9 * S, ZERO_NS + 12 * S, ("1",), "1", "its end", completes=event_id)
    store.open_event(end, "Makai id x")
    store.close()


def asked(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(tools, ["events", *words, "--data-dir", str(folder)])


def test_events_are_listed_newest_first_and_by_box(tmp_path: Path) -> None:
    stored(tmp_path)
    rows = json.loads(asked(tmp_path, "show", "--json").stdout)
    assert [(row["event_id"], row["finished"], row["completes"]) for row in rows] == [
        (2, False, 1),
        (1, True, None),
    ]
    only = json.loads(asked(tmp_path, "show", "--box", "10", "--json").stdout)
    assert [row["event_id"] for row in only] == [1]
    assert json.loads(asked(tmp_path, "show", "--to", "2020-01-01", "--json").stdout) == []
    text = asked(tmp_path, "show").stdout
    assert "analysed  2 of 3 Boxes (1, 2, 10)  Box 1, threshold" in text


def test_one_event_says_whom_it_asked_and_why(tmp_path: Path) -> None:
    stored(tmp_path)
    row = json.loads(asked(tmp_path, "show", "1", "--json").stdout)
    assert row["asked_as"] == {"saw": ["1"], "feeder": ["2", "10"]}
    assert (row["not_asked"], row["missing"]) == ({"bound": 4}, {"10": "no answer within 20 s"})
    assert row["incident_ids"] == [1]
    source = {"analysis": "rms_voltage", "version": "0.1", "settings_hash": "5f3a", "findings": 1}
    assert row["found_by"] == {"1": [source]}
    text = asked(tmp_path, "show", "1").stdout
    assert "found by 1           rms_voltage 0.1 (settings 5f3a, 1 finding)" in text
    for line in (
        "asked                3 Boxes: 1, 2, 10",
        "asked because        saw: 1; feeder: 2, 10",
        "not asked            bound: 4",
        "answered             2 of 3",
        "missing              Box 10: no answer within 20 s",
        "incidents            1",
    ):
        assert line in text
    assert "[" not in text and "{" not in text


def test_a_trace_spans_crossing_to_incident(tmp_path: Path) -> None:
    stored(tmp_path)
    steps = json.loads(asked(tmp_path, "show", "1", "--trace", "--json").stdout)["steps"]
    assert [(step["step"], step["box_id"]) for step in steps] == [
        ("measured", "1"),
        ("decided", None),
        ("asked", None),
        ("sampled", None),
        ("stored", "1"),
        ("stored", "2"),
        ("missing", "10"),
        ("finished", None),
        ("analysed", None),
        ("incident", None),
        ("completed", None),
    ]
    assert [step["after_ms"] for step in steps[:4]] == [0.0, 5.0, 5.0, 1000.0]
    times = [step["t_ns"] for step in steps[4:-1]]
    assert times == sorted(times) and None not in times, "the store's own clock, in the order of the work"
    assert "3 Boxes asked (saw 1, feeder 2), 4 not" in steps[2]["what"]
    text = asked(tmp_path, "show", "1", "--trace").stdout
    assert text.split()[:7] == ["event", "start", "(UTC)", "length", "state", "answered", "why"]
    assert "+5.0 ms  decided    Box 1, threshold" in text and "incident 1: sag at Box 1" in text


def test_an_analysis_request_and_its_answer_are_shown(tmp_path: Path) -> None:
    stored(tmp_path)
    store = open_store(None, tmp_path)
    span = (ZERO_NS + 2 * S, ZERO_NS + 6 * S)
    wanted = StoredSampleRequest(
        "rms_voltage", "the sag lasts", {"1": span, "2": span}, requested_ns=ZERO_NS + 4 * S
    )
    store.request_samples(1, [wanted], 2)
    store.answer_request(1, 1, SamplesAnswer({"1": span}, {"budget_of_box": 1}, ZERO_NS + 5 * S))
    store.close()
    (row,) = json.loads(asked(tmp_path, "show", "1", "--json").stdout)["requests"]
    assert (row["analysis"], row["box_ids"], row["state"], row["asked"]) == (
        "rms_voltage",
        ["1", "2"],
        "asked",
        ["1"],
    )
    assert (row["start_ms"], row["end_ms"], row["refused"]) == (
        span[0] / 1e6,
        span[1] / 1e6,
        {"budget_of_box": 1},
    )
    steps = json.loads(asked(tmp_path, "show", "1", "--trace", "--json").stdout)["steps"]
    told = {step["step"]: step["what"] for step in steps if step["step"] in ("wanted", "answered")}
    assert told == {
        "wanted": "rms_voltage: the sag lasts",
        "answered": "asked Box 1, refused: budget_of_box 1",
    }
    times = [step["t_ns"] for step in steps if step["t_ns"] is not None]
    assert times == sorted(times), "samples that were asked for later are stored before the event is finished"


def test_an_absent_event_is_named_with_the_newest(tmp_path: Path) -> None:
    stored(tmp_path)
    failed = asked(tmp_path, "show", "7")
    assert failed.exit_code == 1
    assert str(failed.exception) == "event 7 is not in the store; the newest is 2"
