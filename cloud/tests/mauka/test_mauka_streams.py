"""Analyses of Measurements, Trends, findings, incidents and Histories: each edge runs, none in a circle."""

import json

import pytest
from plugin_zips import stored, zipped
from waiting import wait_for

from opq_cloud.mauka.flow.stream_runner import StreamRunner
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.mauka.running.installed.installed_analyses import InstalledAnalyses
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.mauka.running.streams.item_feeds import BACK_MS
from opq_cloud.store import open_store
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.event_record import NO_EVENT
from opq_cloud.store.records.incidents.phenomenon_words import words_of
from opq_plugins.host.plugins import Plugins
from opq_plugins.policy import Policy, ProcessLimits
from opq_plugins.sdk.nouns import ItemBatch
from opq_proto.decision import Nominal
from opq_proto.errors import PluginError
from opq_proto.measurement.wire import measurement_to_wire
from opq_proto.messages import TREND_MS, Finding, Measurement, Metric, TimeSource, Trend
from opq_proto.wire.frames import topic
from opq_proto.wire.mauka_pb2 import MaukaMessage

START_MS = 1_700_000_040_000
NOMINAL = Nominal(120.0, 60.0)
S = 10**9
CODE = '''
"""An analysis."""
import time
from dataclasses import dataclass

from opq_proto.messages import (
    Event, Finding, History, HistoryRequest, Incident, Measurement, Message, Phenomenon, Trend, Waveform
)

name = "NAME"
takes, gives = TAKES, GIVES


@dataclass(frozen=True, slots=True)
class Config:
    nominal_v: float = 120.0


def analyse(item, config):
    LINE
'''
FOUND = 'return [Finding("{kind}", {box}, {start}, {end}, 1_000_000, because=f"{{config.nominal_v:g}} V")]'
OF_ROW = FOUND.format(kind="low", box="item.box_id", start="item.start_ns", end="item.end_ns")
OF_MINUTE = FOUND.format(
    kind="minute", box="item.box_id", start="item.start_ms * 10**6", end="(item.start_ms + 60_000) * 10**6"
)
OF_FINDING = FOUND.format(kind="echo", box="item.box_id", start="item.start_ns + 1", end="item.end_ns")
OF_INCIDENT = FOUND.format(kind="storm", box="item.box_ids[0]", start="item.start_ns", end="item.end_ns")
OF_HISTORY = (
    "box = item.boxes[0]\n    because = f'Box {box.box_id} at {box.nominal_v:g} V'\n"
    "    return [Phenomenon('hot', item.subjects, item.start_ns, item.end_ns, because, lasting=True)]"
)
READS = """

def reads(config):
    return HistoryRequest(days=1, trends=("rms",))
"""
ALL = {
    "low": ("Measurement", "Finding", f'if item.metrics["rms"].average > 100: return []\n    {OF_ROW}'),
    "minute": ("Trend", "Finding", f'if item.metrics["rms"][0] > 100: return []\n    {OF_MINUTE}'),
    "echo": ("Finding", "Finding", OF_FINDING),
    "storm": ("Incident", "Finding", OF_INCIDENT),
    "news": (
        "Incident",
        "Message",
        'return [Message({"id": item.incident_id, "kind": item.kind}, item.box_ids[0])]',
    ),
}
"""Analysis -> what it takes and gives, and the body of `analyse`."""


def code(name, takes, gives, line):
    text = CODE.replace("NAME", name).replace("TAKES", takes)
    return text.replace("GIVES", gives).replace("LINE", line)


class House:
    """Makai's host, the store, and a triggering broker."""

    def __init__(self, folder, wire, endpoint):
        self.folder, self.endpoint = folder / "rules", endpoint
        self.host = Plugins(self.folder, Policy(trusted=frozenset({"streams"})))
        self.store = open_store(None, folder)
        self.broker = wire.bound_publisher(endpoint)

    def install(self, analyses, version="1.0.0", **more):
        self.install_files({name: code(name, *what) for name, what in analyses.items()}, version, **more)

    def install_files(self, codes, version="1.0.0", **more):
        plugin = {"name": "streams", "version": version, "symbols": {"analyses": list(codes)}, **more}
        files = {f"analyses/{name}.py": text for name, text in codes.items()}
        raw = zipped({"plugin.json": json.dumps(plugin), **files})
        self.host.create("package", "streams", stored(self.host.uploads, raw))

    def publish(self, number, rms_v, box_id="1"):
        end_ms = START_MS + 1000 * number
        span = {"start_ns": (end_ms - 1000) * 10**6, "end_ns": end_ms * 10**6}
        metrics = {"rms": Metric(rms_v, rms_v, rms_v)}
        row = Measurement(box_id, end_ms, metrics, **span, sequence=number, source=TimeSource.GPS)
        self.broker.send_multipart([topic(box_id), measurement_to_wire(row)])
        return row

    def found(self):
        """(class, Box) of all stored findings, sorted."""
        return sorted(
            (one.finding.kind, one.finding.box_id)
            for incident in self.store.incidents(limit=1000)
            for one in incident.findings
        )


def sag(box_id="1", at_s=0, kind="sag"):
    start_ns = START_MS * 10**6 + at_s * S
    return Finding(kind, box_id, start_ns, start_ns + S // 10, 1000, residual_percent=50.0)


@pytest.fixture
def house(tmp_path, wire, free_endpoint):
    made = House(tmp_path, wire, free_endpoint())
    yield made
    made.host.close()
    made.store.close()


@pytest.fixture
def until():
    """As everywhere, and with time for a process to start on a busy machine."""
    return wait_for


@pytest.fixture
def mauka(house, bus, running):
    def start(**policy):
        follower = InstalledAnalyses(house.folder, Policy(**policy), {}, frozenset(), 0.02)
        running.start(follower)
        runner = StreamRunner(bus.settings, lambda: house.store, follower, house.endpoint, NOMINAL)
        running.start(runner)
        return runner

    return start


INSIDE = {"trusted": frozenset({"streams"})}


@pytest.mark.parametrize("policy", [{}, INSIDE], ids=["in a process", "inside"])
def test_every_edge_runs_and_findings_join_incidents(house, mauka, bus, wire, until, policy, monkeypatch):
    monkeypatch.setattr("opq_cloud.mauka.running.streams.item_feeds.TRENDS_S", 0.1)
    reader = wire.subscriber(bus, "analysis.")
    house.install(ALL, mode="inproc" if policy else "process")
    runner = mauka(**policy)
    wire.joined(house.broker)  # it reads Measurements now that an analysis takes them
    house.publish(1, 120.0)
    row = house.publish(2, 60.0)
    house.publish(5, 120.0, "1")
    until(lambda: ("low", "1") in house.found())
    house.store.append_measurements([row, Measurement("1", START_MS + 180_000, {}, sequence=9)])
    low_v, well_v = {"rms": (50.0, 121.0, 119.0)}, {"rms": (119.0, 119.0, 119.0)}
    house.store.put_trends([Trend("1", START_MS, low_v), Trend("1", START_MS + TREND_MS, well_v)])
    put_findings(house.store, 7, [sag("2", 20)])
    until(lambda: {("minute", "1"), ("echo", "2"), ("storm", "2")} <= set(house.found()))
    topic_name, body = reader.recv_multipart()
    assert topic_name == b"analysis.news"
    content = json.loads(MaukaMessage.FromString(body).analysis_json)
    assert (content["analysis"], content["version"], content["box_id"]) == ("news", "1.0.0", "1")
    assert content["values"]["kind"] == "low"
    found = {
        (one.finding.kind, one.finding.box_id): (incident, one)
        for incident in house.store.incidents()
        for one in incident.findings
    }
    low = found["low", "1"][1]
    assert (low.event_id, low.finding.analysis, low.finding.analysis_version) == (NO_EVENT, "low", "1.0.0")
    assert (low.finding.start_ns, low.finding.because) == (row.start_ns, "120 V")
    assert found["echo", "2"][0].incident_id == found["sag", "2"][0].incident_id, "joined by their onsets"
    until(lambda: runner.counters.of("measurements_unseen", "") == 2)
    rows = {row["name"]: row for row in runner.analysis_rows()}
    assert (rows["low"]["takes"], rows["low"]["gives"]) == (["Measurement"], ["Finding"])
    assert rows["news"]["gives"] == ["analysis.news"] and rows["low"]["handled_ms_mean"] > 0
    assert runner.counters.total("failures") == 0


@pytest.mark.parametrize(
    "policy", [pytest.param({}, marks=pytest.mark.slow), INSIDE], ids=["in a process", "inside"]
)
def test_a_strangers_phenomena_are_stored_and_published(house, mauka, bus, wire, until, policy, monkeypatch):
    """What it gives is in the store and, once, on the bus; its next version begins with a pass."""
    monkeypatch.setattr("opq_cloud.mauka.flow.stream_runner.FIRST_S", 0.0)
    house.store.put_box(BoxRecord("1", "Box 1", nominal_v=100.0))
    reader = wire.subscriber(bus, "analysis.")
    mode = "inproc" if policy else "process"
    weeks = code("weeks", "History", "Phenomenon", OF_HISTORY) + READS
    house.install_files({"weeks": weeks}, mode=mode)
    runner = mauka(**policy)
    until(lambda: house.store.phenomena(0, 2**50))
    (stored,) = house.store.phenomena(0, 2**50)
    assert (stored.kind, stored.box_ids, stored.details["analysis"]) == ("hot", ("1",), "weeks")
    assert words_of(stored) == "Box 1 at 100 V" and stored.details["version"] == "1.0.0"
    topic_name, body = reader.recv_multipart()
    assert topic_name == b"analysis.weeks"
    content = json.loads(MaukaMessage.FromString(body).analysis_json)
    assert (content["analysis"], content["version"], content["box_id"]) == ("weeks", "1.0.0", "1")
    assert content["values"]["summary"] == "Box 1 at 100 V"
    house.install_files({"weeks": weeks.replace("at {box", "beside {box")}, "1.1.0", mode=mode)
    until(lambda: "beside" in words_of(house.store.phenomena(0, 2**50)[0]))
    assert len(house.store.phenomena(0, 2**50)) == 1 and runner.counters.total("phenomena") == 1
    (row,) = runner.analysis_rows()
    assert (row["takes"], row["gives"]) == (["History"], ["analysis.weeks"])


def test_nothing_goes_round_in_a_circle(house, mauka, until):
    grown = OF_INCIDENT.replace("item.end_ns", "item.end_ns + 5 * 10**9")
    before = OF_FINDING.replace("+ 1", "- 5 * 10**9")
    analyses = {"echo": ("Finding", "Finding", before), "storm": ("Incident", "Finding", grown)}
    house.install(analyses, mode="inproc")
    runner = mauka(**INSIDE)
    put_findings(house.store, 1, [sag("1", 100)])
    until(lambda: {"echo", "storm"} <= {kind for kind, _ in house.found()})

    def items(name):
        return runner.counters.of("items", name)

    for sags in range(2, 6):
        put_findings(house.store, NO_EVENT, [sag("9", 10_000 * sags)])
        until(lambda want=sags: items("echo") >= want and items("storm") >= want)
        assert items("echo") <= sags and items("storm") <= 3 * sags, "each is given as often as it changes"


def test_unhandled_items_are_given_again(house, mauka, running, until):
    """Items that an ended process did not handle are given again."""
    put_findings(house.store, 1, [sag("1", 0)])
    put_findings(house.store, 2, [sag("2", 10)])
    far = START_MS * 10**6 - 2 * BACK_MS * 10**6
    put_findings(house.store, 3, [Finding("sag", "3", far, far + S, 0)])
    house.install({"echo": ALL["echo"]}, mode="inproc")
    mauka(**INSIDE)
    until(lambda: {("echo", "1"), ("echo", "2")} <= set(house.found()))
    running.end()
    running.threads.clear()
    runner = mauka(**INSIDE)
    until(lambda: runner.counters.of("items", "echo") >= 2)
    assert [kind for kind, _ in house.found()].count("echo") in (2, 3), "given twice, stored once"


@pytest.mark.slow  # test_mauka_workers.py always ends one that hangs
def test_a_hanging_analysis_is_ended(house, mauka, until, monkeypatch):
    """A hanging process is ended and its item skipped; others go on."""
    monkeypatch.setattr("opq_cloud.mauka.running.streams.stream_analysis.ITEM_TRIES", 2)
    monkeypatch.setattr("opq_cloud.mauka.running.calls.analysis_rests.REST_FACTOR", 0.0)
    hangs = 'if item.box_id == "4": time.sleep(3600)\n    ' + OF_FINDING
    house.install({"echo": ("Finding", "Finding", hangs)})
    fast = {"name": "quick", "version": "1.0.0", "symbols": {"analyses": ["other"]}}
    other = code("other", "Finding", "Finding", OF_FINDING.replace("echo", "other"))
    raw = zipped({"plugin.json": json.dumps(fast), "analyses/other.py": other})
    house.host.create("package", "quick", stored(house.host.uploads, raw, "quick.zip"))
    runner = mauka(limits=ProcessLimits(call_s=15.0))
    put_findings(house.store, 1, [sag("4", 0), sag("5", 60), sag("6", 120)])
    until(lambda: ("other", "6") in house.found())
    until(lambda: {("echo", "5"), ("echo", "6")} <= set(house.found()))
    assert ("echo", "4") not in house.found() and runner.counters.of("given_up", "echo") == 1


def test_items_of_a_resting_box_are_left_out(house, mauka, until, monkeypatch):
    """Rests have no end here: items of others go on, in a process that starts at once."""
    monkeypatch.setattr("opq_plugins.host.worker.supervisor.PAUSES_S", (1e9,))
    monkeypatch.setattr("opq_cloud.mauka.running.calls.analysis_rests.FIRST_REST_S", (1e9,))
    monkeypatch.setattr("opq_cloud.mauka.running.installed.installed_analyses.NEXT_PROCESS_S", 240.0)
    first = f"item.box_id == '4' and item.start_ns == {START_MS * 10**6}"
    ends = f"import os\n    if {first}: os._exit(3)\n    " + OF_FINDING
    house.install({"echo": ("Finding", "Finding", ends)})
    runner = mauka(limits=ProcessLimits(call_s=60.0))
    put_findings(house.store, 1, [sag("4", 0), sag("5", 60)])
    until(lambda: ("echo", "5") in house.found())
    assert runner.counters.of("given_up", "echo") == 1
    put_findings(house.store, 2, [sag("4", 120), sag("6", 180)])
    until(lambda: ("echo", "6") in house.found())
    until(lambda: runner.counters.of("given_up", "echo") == 2)
    assert ("echo", "4") not in house.found()


def test_a_raising_analysis_is_counted(house, mauka, until):
    """One that raises is counted and the next items are analysed."""
    raises = 'assert item.box_id != "4"\n    ' + OF_FINDING
    house.install({"echo": ("Finding", "Finding", raises)}, mode="inproc")
    runner = mauka(**INSIDE)
    put_findings(house.store, 1, [sag("4", 0)])
    until(lambda: "AssertionError" in str(runner.last_error))
    put_findings(house.store, 2, [sag("5", 60)])
    until(lambda: ("echo", "5") in house.found())
    assert runner.counters.of("failures", "analysis echo") == 1


@pytest.mark.parametrize(
    ("takes", "gives", "why"),
    [
        (
            "Waveform",
            "Finding",
            "Waveform; an analysis takes Measurement, Trend, Event, Finding, Incident or History",
        ),
        ("int", "str", "takes <class 'int'>"),
        ("Measurement", "Event", r"an analysis of Measurement gives Finding or Message \(Makai makes Events"),
        ("Trend", "Measurement", "gateways make Measurements"),
        ("Finding", "Incident", "Incidents are made by joining Findings"),
        ("Event", "Message", r"an analysis of Event gives Finding \(let another analysis publish"),
    ],
)
def test_nonsense_is_refused_with_what_is_allowed(tmp_path, takes, gives, why):
    (tmp_path / "odd.py").write_text(code("odd", takes, gives, "return ()"))
    with pytest.raises(PluginError, match=why):
        load_analyses([("odd", {})], [tmp_path])
    asking = "\n\ndef wants(event, findings, config):\n    return ()\n"
    (tmp_path / "odd.py").write_text(code("odd", "Trend", "Finding", "return ()") + asking)
    with pytest.raises(PluginError, match="`wants`, which is for an analysis of Events"):
        load_analyses([("odd", {})], [tmp_path])


@pytest.mark.parametrize(
    ("takes", "gives", "line", "why"),
    [
        ("Finding", "Finding", 'return [Finding("sag", item.box_id, 0, 1, 0)]', "want its own name, 'odd'"),
        ("Measurement", "Finding", 'return [Finding("x", "2", 0, 1, 0)]', "but received nothing of it"),
        ("Measurement", "Finding", "return [Message({})]", "want Finding"),
        ("Measurement", "Message", 'return [Message({"a": float("nan")})]', "not JSON"),
        ("Measurement", "Message", 'return [Message({"a": "x" * 70_000})]', "at most 65536"),
        ("Measurement", "Message", 'return [Message({}, "other")]', "but received nothing of it"),
    ],
)
def test_results_are_checked(tmp_path, takes, gives, line, why):
    (tmp_path / "odd.py").write_text(code("odd", takes, gives, line))
    (analysis,) = load_analyses([("odd", {})], [tmp_path])
    item = sag() if takes == "Finding" else Measurement("1", 1000, {})
    result = analysis.results_of(ItemBatch.of(takes, [item]), Nominal(120.0, 60.0), {})
    assert (result.failed, result.findings, result.messages) == (1, [], []) and why in result.error


def test_memory_is_kept_per_nominal_voltage(tmp_path):
    """Memory is kept from item to item per nominal voltage."""
    body = code("odd", "Measurement", "Message", "return [Message({'n': state + 1})], state + 1")
    body = body.replace("analyse(item, config)", "analyse(item, config, state)")
    (tmp_path / "odd.py").write_text(body + "\n\ndef begin(config):\n    return 0\n")
    (analysis,) = load_analyses([("odd", {})], [tmp_path])
    states = {}
    rows = ItemBatch.of("Measurement", [Measurement("1", 1000, {})] * 2)
    values = [
        [message.values["n"] for message in analysis.results_of(rows, Nominal(volts, 60.0), states).messages]
        for volts in (120.0, 120.0, 230.0)
    ]
    assert values == [[1, 2], [3, 4], [1, 2]]


def test_a_new_version_may_take_another_noun(house, mauka, wire, until):
    house.install({"echo": ALL["echo"]}, mode="inproc")
    runner = mauka(**INSIDE)
    put_findings(house.store, 1, [sag("1", 0)])
    until(lambda: ("echo", "1") in house.found())
    house.install({"echo": ("Measurement", "Finding", OF_ROW)}, "1.0.1", mode="inproc")
    wire.joined(house.broker)
    put_findings(house.store, 2, [sag("2", 60)])
    until(lambda: house.publish(1, 60.0, "3") and ("low", "3") in house.found())
    assert ("echo", "2") not in house.found()
    (row,) = runner.analysis_rows()
    assert (row["version"], row["takes"], row["failures"]) == ("1.0.1", ["Measurement"], 0)
