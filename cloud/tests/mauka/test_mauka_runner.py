"""The runner on a real store: every event is analysed once, whatever is lost, doubled or broken."""

import json
import math
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka.bus.broker import EventBridge, event_message, inject
from opq_cloud.mauka.bus.incident_notice import INCIDENT, read_notice
from opq_cloud.mauka.bus_plugins.payloads import MakaiEventPlugin
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.mauka_service import services
from opq_cloud.mauka.plugin import MaukaPlugin
from opq_cloud.mauka.running.events import waiting_events
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.mauka.running.known.provenance import VERSION
from opq_cloud.store import open_store
from opq_cloud.store.box_record import BoxRecord
from opq_measure.events.disturbances import Limits, find_disturbances
from opq_measure.original.cycles import window_rms_v
from opq_plugins.sdk.modules import Analysis
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Finding, Measurement, TimeSource, Trigger, Waveform
from opq_proto.wire.mauka_pb2 import (
    ADC_SAMPLES,
    FREQUENCY_WINDOWED,
    INCIDENTS,
    VOLTAGE_RAW,
    VOLTAGE_RMS_WINDOWED,
    MaukaMessage,
)

START_NS = 1_700_000_000_000_000_000
RECORDINGS = Path(__file__).parents[4] / "shared" / "data" / "recordings"


def sine(box_id, sag=(), start_ns=START_NS, v_per_lsb=0.0068):
    """3 s of 120 V, 60 Hz; `sag` is (start_s, end_s, per unit)."""
    t_s = np.arange(36_000) / 12_000
    volts = 120 * np.sqrt(2) * np.sin(2 * np.pi * 60 * t_s)
    if sag:
        volts[(t_s >= sag[0]) & (t_s < sag[1])] *= sag[2]
    counts = np.round(volts / v_per_lsb).astype(np.int16)
    return Waveform(box_id, start_ns, 1_000_000, TimeSource.NTP, 12_000_000, v_per_lsb, 0, counts)


def put_event(store, *waves, finished=True, token=None):
    """A stored event; returns its id."""
    token = token or f"token{time.monotonic_ns()}"
    boxes = tuple(wave.box_id for wave in waves)
    start_ns, end_ns = waves[0].start_ns, waves[0].end_ns
    event_id = store.open_event(Trigger(token, start_ns, end_ns, boxes, boxes[0], "test"), "test")
    for wave in waves:
        store.put_waveform(event_id, wave)
    if finished:
        store.finish_event(event_id)
    return event_id


def found_in(store):
    """(box, class) of every finding, and the number of incidents."""
    incidents = store.incidents()
    return sorted(
        (one.finding.box_id, one.finding.kind) for incident in incidents for one in incident.findings
    ), len(incidents)


@pytest.fixture
def store(tmp_path):
    opened = open_store(None, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def runner(bus, store):
    return AnalysisRunner(bus.settings, lambda: store, load_analyses([]))


def test_a_crash_leaves_its_event_for_start(runner, running, store, until):
    event_id = put_event(store, sine("1", (1.0, 1.1, 0.6)), sine("2", (1.05, 1.2, 0.8)), sine("3"))
    running.start(runner)
    assert until(lambda: store.event_record(event_id).analysed)
    (incident,) = store.incidents()
    assert (incident.kind, incident.box_ids, incident.event_ids) == ("sag", ("1", "2"), (event_id,))
    assert incident.residual_percent == pytest.approx(60.0, abs=0.05)
    assert found_in(store)[0] == [("1", "sag"), ("2", "sag")]
    sources = {(one.finding.analysis, one.finding.analysis_version) for one in incident.findings}
    assert sources == {("rms_voltage", VERSION)}


def test_a_notification_leads_to_an_incident(
    bus, runner, running, store, wire, free_endpoint, until, monkeypatch
):
    """With a log line, and a message for the garbage collection."""
    monkeypatch.setattr(waiting_events, "POLL_S", math.inf)  # after the start, the notification alone
    endpoint = free_endpoint()
    events = wire.bound_publisher(endpoint)
    running.start(runner)
    running.start(EventBridge(MaukaSection(event_endpoint=endpoint, bus_sub_endpoint=bus.sub)))
    updates = wire.subscriber(bus, "laha_gc")
    wire.joined(events)
    assert until(lambda: not runner.flow.waiting._first_poll)
    event_id = put_event(store, sine("1", (1.0, 1.1, 0.6)), sine("2", (1.0, 1.1, 0.6)))
    with capture_logs() as lines:
        before_ns = time.monotonic_ns()
        events.send_multipart([b"instance", str(event_id).encode()])
        got = [MaukaMessage.FromString(updates.recv_multipart()[1]) for _ in range(2)]
        assert until(lambda: [line for line in lines if line["event"] == "event.analysed"])
    (stored,) = [line for line in lines if line["event"] == "incident.stored"]
    (incident,) = store.incidents()
    assert stored["incident_id"] == incident.incident_id
    assert stored["class"] == "sag"
    assert stored["event_ids"] == [event_id]
    assert stored["box_ids"] == ["1", "2"]
    assert before_ns < stored["monotonic_ns"] < time.monotonic_ns()
    assert {one.laha.gc_update.id for one in got} == {one.finding_id for one in incident.findings}
    assert {one.laha.gc_update.from_domain for one in got} == {INCIDENTS}
    assert store.event_record(event_id).analysed


def test_injecting_again_doubles_nothing(bus, runner, running, store, until):
    """The event is analysed again."""
    event_id = put_event(store, sine("1", (1.0, 1.1, 0.6)))
    running.start(runner)
    assert until(lambda: runner.counters.total("events") == 1)
    before = store.incidents()
    with capture_logs() as lines:
        for times in (2, 3, 4):
            inject([event_message(event_id)], bus.sub)
            assert until(lambda want=times: runner.counters.total("events") == want)
    assert store.incidents() == before
    assert not [line for line in lines if line["event"] == "incident.stored"]
    assert store.unanalysed_events() == []


def test_a_lost_notification_is_healed_within_seconds(runner, running, store, until):
    before = put_event(store, sine("1", (1.0, 1.1, 0.6)))
    running.start(runner)
    assert until(lambda: store.event_record(before).analysed), "found at the start"
    event_id = put_event(store, sine("1", (1.0, 1.1, 0.6), START_NS + 60 * 10**9))
    assert until(lambda: store.event_record(event_id).analysed)


def test_an_empty_event_is_analysed_too(runner, running, store, until):
    """An event without a disturbance or a waveform is analysed too."""
    clean = put_event(store, sine("1"))
    token = Trigger("empty", START_NS, START_NS + 1, ("1",), "1", "test")
    empty = store.open_event(token, "test")
    store.mark_missing(empty, "1", "no answer within 20 s")
    store.finish_event(empty)
    running.start(runner)
    assert until(lambda: not store.unanalysed_events())
    assert runner.counters.total("failures") == 0
    assert found_in(store) == ([], 0)
    assert store.event_record(clean).analysed


def test_a_failing_analysis_is_tried_again(bus, running, store, until, monkeypatch):
    """Findings of the other analyses are kept."""
    broken = threading.Event()
    broken.set()

    def sometimes(event, config):
        if broken.is_set():
            raise RuntimeError("broken")
        return ()

    now_s = [0.0]
    analyses = [Analysis("sometimes", sometimes, load_analyses([])[0].config), *load_analyses([])]
    runner = AnalysisRunner(bus.settings, lambda: store, analyses, clock=lambda: now_s[0])
    first = put_event(store, sine("1", (1.0, 1.1, 0.6)))
    second = put_event(store, sine("2", (1.0, 1.1, 0.6), START_NS + 60 * 10**9))
    with capture_logs() as lines:
        running.start(runner)
        assert until(lambda: found_in(store) == ([("1", "sag"), ("2", "sag")], 2))
        assert until(lambda: [line for line in lines if line.get("failed") == ["sometimes"]])
    assert [record.event_id for record in store.unanalysed_events()] == [first, second]
    assert until(lambda: runner.last_error) == "analysis sometimes: RuntimeError: broken"
    assert until(lambda: runner.counters.total("failures") == 2)
    searched, search = [], store.unanalysed_events
    monkeypatch.setattr(store, "unanalysed_events", lambda: searched.append(now_s[0]) or search())
    for now_s[0] in (0.6, 1.2, 1.8):  # a search begins once what the last one found is over
        assert until(lambda: now_s[0] in searched)
    assert runner.counters.total("failures") == 2, "not before its time"
    broken.clear()
    now_s[0] = 10.0
    assert until(lambda: not store.unanalysed_events())
    assert found_in(store) == ([("1", "sag"), ("2", "sag")], 2)
    assert until(lambda: runner.last_error is None)


def test_a_breaking_box_hides_no_other(runner, running, store, until):
    bad = sine("2", (1.0, 1.1, 0.6), v_per_lsb=0.0068)
    bad = Waveform(
        "2", bad.start_ns, 0, TimeSource.FREE, 12_000_000, 1e300, 0, bad.counts
    )  # no figure of it fits
    event_id = put_event(store, sine("1", (1.0, 1.1, 0.6)), bad, sine("3"))
    running.start(runner)
    assert until(lambda: found_in(store) == ([("1", "sag")], 1))
    assert until(lambda: runner.counters.total("events") >= 1)  # it is tried again after 2 s
    assert not store.event_record(event_id).analysed
    assert until(lambda: (runner.last_error or "").startswith("analysis "))
    assert until(lambda: runner.counters.of("failures", "analysis rms_voltage"))


@pytest.mark.parametrize("wrong", ["no finding", "another box", "backwards"])
def test_a_forbidden_result_fails_its_analysis(bus, store, running, until, wrong):
    """Its type is not permitted."""
    good = Finding("noise", "1", START_NS, START_NS + 1, 0)
    given = {
        "no finding": {"class": "sag"},
        "another box": replace(good, box_id="77"),
        "backwards": replace(good, end_ns=0),
    }[wrong]
    analyses = [Analysis("wrong", lambda *_: [good, given], load_analyses([])[0].config), *load_analyses([])]
    runner = AnalysisRunner(bus.settings, lambda: store, analyses)
    put_event(store, sine("1", (1.0, 1.1, 0.6)))
    running.start(runner)
    assert until(lambda: found_in(store) == ([("1", "sag")], 1))
    assert until(lambda: (runner.last_error or "").startswith("analysis wrong: "))


def test_an_incomplete_event_is_awaited(bus, runner, running, store, until):
    """It was announced before it was complete."""
    running.start(runner)
    event_id = put_event(store, sine("1", (1.0, 1.1, 0.6)), finished=False)
    inject([event_message(event_id), event_message(4_000_000_000)], bus.sub)
    assert until(lambda: runner.counters.total("handled") == 2)
    assert found_in(store) == ([], 0)
    store.put_waveform(event_id, sine("2", (1.0, 1.1, 0.6)))
    store.finish_event(event_id)
    assert until(lambda: store.event_record(event_id).analysed)
    assert found_in(store) == ([("1", "sag"), ("2", "sag")], 1)


def test_a_never_complete_event_stays_unmarked(bus, store, running, until):
    """It is analysed as it is."""
    now_s = [0.0]
    runner = AnalysisRunner(bus.settings, lambda: store, load_analyses([]), clock=lambda: now_s[0])
    running.start(runner)
    event_id = put_event(store, sine("1", (1.0, 1.1, 0.6)), finished=False)
    inject([event_message(event_id), event_message(4_000_000_000)], bus.sub)
    assert until(lambda: runner.counters.total("handled") == 2)
    now_s[0] = 11.0
    assert until(lambda: found_in(store) == ([("1", "sag")], 1))
    assert until(lambda: runner.counters.total("unknown_events") == 1)
    assert not store.event_record(event_id).analysed


def test_boxes_are_measured_by_their_own_nominal_voltage(runner, running, store, until):
    store.put_box(BoxRecord("1", "of unknown nominal values"))  # the configured ones hold
    store.put_box(BoxRecord("2", "in Europe", nominal_v=240.0, nominal_hz=60.0))
    put_event(store, sine("1"), sine("2"))
    running.start(runner)
    assert until(store.incidents)
    (incident,) = store.incidents()
    assert incident.box_ids == ("2",)
    assert incident.residual_percent == pytest.approx(50.0, abs=0.03)


def test_an_analysis_with_memory_gets_its_state_again(bus, store, running, until):
    seen = []

    def analyse(event, config, state):
        seen.append(state)
        return (), state + 1

    config = load_analyses([])[0].config
    runner = AnalysisRunner(
        bus.settings, lambda: store, [Analysis("counts", analyse, config, begin=lambda _: 10)]
    )
    for number in range(3):
        put_event(store, sine("1", start_ns=START_NS + number * 10**10))
    running.start(runner)
    assert until(lambda: not store.unanalysed_events())
    assert seen == [10, 11, 12]


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"no recordings in {RECORDINGS}: they carry no licence")
def test_the_real_dip_has_its_residual(runner, running, store, until):
    """The real dip has the residual that analyze says."""
    waves, want = [], {}
    for box_id, offset_samples in (("1", 0), ("4", 822.5)):
        facts = json.loads((RECORDINGS / f"event_9354_box{box_id}.json").read_text())
        counts = np.fromfile(RECORDINGS / f"event_9354_box{box_id}.i16", "<i2")
        start_ns = START_NS + round(offset_samples * 1e9 / 12_000)
        waves.append(
            Waveform(
                box_id, start_ns, 8_000_000, TimeSource.NTP, 12_000_000, facts["volts_per_lsb"], 0, counts
            )
        )
        want[box_id] = find_disturbances(counts * facts["volts_per_lsb"], 12_000.0, 120.0, 60.0, Limits())
    put_event(store, *waves)
    running.start(runner)
    assert until(lambda: not store.unanalysed_events())
    (incident,) = store.incidents()
    (finding,) = incident.findings
    assert want["4"] == ()  # README there: never under 111.5 V
    assert finding.finding.residual_v == pytest.approx(want["1"][0].residual_v, rel=0.01)
    assert finding.finding.residual_v == pytest.approx(102.183, rel=0.01)  # README: 1-cycle Vrms every 100
    assert finding.finding.duration_cycles == pytest.approx(0.150 * 60, abs=1)  # README: 150.0 ms


PAYLOAD_TOPICS = ("AdcSamples", "RawVoltage", "RmsWindowedVoltage", "windowed_frequency")


def test_old_plugins_get_counts_volts_and_windowed_rms(bus, running, store, wire):
    event_id = put_event(store, sine("7", (1.0, 1.1, 0.6)))
    running.start(MakaiEventPlugin(bus.settings, lambda: store))
    readers = [wire.subscriber(bus, topic) for topic in PAYLOAD_TOPICS]
    end_s = time.monotonic() + 240
    while not readers[-1].poll(300):  # a plug-in that is ready may still be subscribing
        assert time.monotonic() < end_s, "nothing was published"
        inject([event_message(event_id)], bus.sub)
    parts = [MaukaMessage.FromString(reader.recv_multipart()[1]).payload for reader in readers]
    counts, volts, rms_v, hertz = parts
    (wave,) = store.event(event_id).waveforms
    kinds = [part.payload_type for part in parts]
    assert kinds == [ADC_SAMPLES, VOLTAGE_RAW, VOLTAGE_RMS_WINDOWED, FREQUENCY_WINDOWED]
    for part in parts:
        assert (part.event_id, part.box_id) == (event_id, "7")
        assert part.start_timestamp_ms == START_NS // 1_000_000
        assert part.end_timestamp_ms == START_NS // 1_000_000 + 3000
    np.testing.assert_array_equal(counts.data, wave.counts)
    np.testing.assert_array_equal(volts.data, wave.volts)
    assert len(rms_v.data) == 180
    np.testing.assert_allclose(rms_v.data[:60], 120.0, rtol=1e-3)
    np.testing.assert_allclose(rms_v.data[60:66], 72.0, rtol=1e-3)
    assert len(hertz.data) == 180
    np.testing.assert_allclose(hertz.data, 60.0, atol=0.02)


def test_a_shorter_last_window_counts_as_a_value():
    np.testing.assert_allclose(window_rms_v(np.concatenate([np.full(200, 3.0), np.full(7, 4.0)])), [3.0, 4.0])
    assert len(window_rms_v(np.zeros(0))) == 0


def test_the_services_of_a_configuration_work_together(
    tmp_path, store, running, free_endpoint, wire, until, monkeypatch
):
    monkeypatch.setattr(
        waiting_events, "ANNOUNCED_NS", 600 * 10**9
    )  # the notification alone: it is seen once
    mauka = MaukaSection(
        event_endpoint=free_endpoint(),
        bus_sub_endpoint=free_endpoint(),
        bus_pub_endpoint=free_endpoint(),
        incident_id_endpoint=free_endpoint(),
        plugin_manager_endpoint=free_endpoint(),
        heartbeat_s=0.1,
    )
    events = wire.bound_publisher(mauka.event_endpoint)
    made = services(CloudConfig(mauka=mauka, data_dir=tmp_path), CloudContext(lambda: store))
    for service in made:
        running.start(service)
    (status,) = [service for service in made if hasattr(service, "plugin_status")]
    names = [
        "AnalysisRunner",
        "BoxOptimizationPlugin",
        "LahaGcPlugin",
        "MakaiEventPlugin",
        "OutagePlugin",
        "StatusPlugin",
        "StreamRunner",
        "SystemStatsPlugin",
        "ThresholdOptimizationPlugin",
        "TriggerPlugin",
    ]
    assert until(lambda: [row["plugin_name"] for row in status.plugin_status()] == names)
    wire.joined(events)
    (analysis_runner,) = [service for service in made if service.name == "AnalysisRunner"]
    assert until(lambda: not analysis_runner.flow.waiting._first_poll)
    event_id = put_event(store, sine("1", (1.0, 1.1, 0.6)))
    events.send_multipart([b"instance", str(event_id).encode()])
    assert until(lambda: store.event_record(event_id).analysed)
    assert until(lambda: [part.ok for part in status.health()] == [True] * len(names))
    runner, _, _, _, payloads, *_ = status.plugin_status()
    assert set(payloads) == {"plugin_name", "messages_recv", "bytes_recv", "last_recv", "plugin_state"}
    assert set(runner) == {*payloads, "analyses", "processes", "workers"}
    (analysis,) = [row for row in runner["analyses"] if row["name"] == "rms_voltage"]
    assert (analysis["name"], analysis["runs"], analysis["failures"]) == ("rms_voltage", "built in", 0)

    def has_subscriber():
        rows = {row["name"]: row for row in status.plugin_status()[0]["analyses"]}
        return rows["rms_voltage"] if rows["rms_voltage"]["handled_ms_mean"] else None

    cost = until(has_subscriber)
    assert 0 < cost["handled_ms_mean"] <= cost["handled_ms_longest"]
    assert cost["memory_mb"] is None, "all built-in ones share a process"
    stored = sum(len(incident.findings) for incident in store.incidents())
    assert analysis_runner.flow_of("rms_voltage") == (1, stored) and stored > 0
    assert analysis_runner.flow_of("flicker") == (1, 0), "it was called and found nothing"


class Hears(MaukaPlugin):
    """Keeps what is published on topic `incident`."""

    NAME = "Hears"

    def __init__(self, config):
        super().__init__(config, [INCIDENT], Hears.NAME)
        self.notices = []

    def on_message(self, topic, mauka_message):
        self.notices.append(read_notice(mauka_message))


def test_only_changed_incidents_are_published(bus, runner, running, store, until):
    """Each new or changed incident is published and nothing else."""
    hears = Hears(bus.settings)
    running.start(hears)
    running.start(runner)
    assert until(lambda: runner._out is not None and runner._out.has_subscriber())
    store.put_box(BoxRecord("1", "Box 1", feeder="north", location="mill"))
    event_id = put_event(store, sine("1", (1.0, 1.1, 0.6)))
    inject([event_message(event_id)], bus.sub)
    assert until(lambda: len(hears.notices) == 1)
    late = replace(sine("2", (1.0, 1.1, 0.8)), start_ns=START_NS + 1000)
    other = put_event(store, late)
    inject([event_message(other)], bus.sub)
    assert until(lambda: len(hears.notices) == 2)
    inject([event_message(event_id)], bus.sub)  # again: nothing has changed
    later = sine("1", (1.0, 1.1, 0.6), START_NS + 3 * 3600 * 10**9)
    third = put_event(store, replace(later, first_sample=3 * 3600 * 12_000))
    inject([event_message(third)], bus.sub)
    assert until(lambda: len(hears.notices) == 3)
    first, second, last = hears.notices
    assert [one.kind for one in hears.notices] == ["incident", "incident_changed", "incident"]
    assert first.incident["id"] == second.incident["id"] == 1 and last.incident["id"] == 2
    assert (first.incident["scope"], first.incident["classes"]) == ("local", {"1": "sag"})
    assert (second.boxes, second.incident["box_ids"]) == (2, ["1", "2"])
    assert second.incident["cause"]["name"] in ("fault", "unknown") and second.incident["follows"] is None
    assert [each["box_id"] for each in second.incident["arrivals"]] == ["1", "2"]


def test_boxes_of_one_unknown_clock_join(runner, running, store, until):
    for box_id in ("1", "2"):
        row = Measurement(box_id, START_NS // 10**6 + 1000, {}, clock_id=77)
        if store.append_measurements([row]) and store.measurements(box_id, 0, 2**52)[0].clock_id is None:
            pytest.skip("the store does not keep the clock of a Measurement yet")
    unknown = [
        replace(sine(box_id, (1.0, 1.1, 0.6)), uncertainty_ns=UNKNOWN_UNCERTAINTY_NS) for box_id in ("1", "2")
    ]
    event_id = put_event(store, *unknown)
    running.start(runner)
    assert until(lambda: store.event_record(event_id).analysed)
    assert found_in(store) == ([("1", "sag"), ("2", "sag")], 1)
