"""Analyses that are installed at Makai's host run in Mauka from then on, replaced while events flow."""

import itertools
import threading
import time

import numpy as np
import pytest
from plugin_zips import manifest, stored, zipped
from waiting import wait_for

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.core.settings.mauka import InstalledAnalysesSection, MaukaSection
from opq_cloud.core.settings.plugin_entry import PluginEntry
from opq_cloud.mauka.bus_plugins.plugin_heartbeats import StatusPlugin
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.mauka_service import services
from opq_cloud.mauka.running.events.waiting_events import WaitingEvents
from opq_cloud.mauka.running.installed import installed_stage
from opq_cloud.mauka.running.installed.installed_analyses import InstalledAnalyses
from opq_cloud.mauka.running.known.built_in_analyses import built_in, load_analyses
from opq_cloud.store import open_store
from opq_cloud.store.box_record import BoxRecord
from opq_plugins.host.plugins import Plugins
from opq_plugins.policy import Policy, ProcessLimits
from opq_proto.errors import ConfigError, PluginError
from opq_proto.messages import TimeSource, Trigger, Waveform

START_NS = 1_700_000_000_000_000_000
MINUTE_NS = 60 * 10**9
CODE = '''
"""Marks each Box of an event with its own version."""
import os
import time
from dataclasses import dataclass

from opq_proto.messages import Event, Finding

name = "marks"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config:
    nominal_v: float = 120.0
    kind: str = "VERSION"


def analyse(event, config):
    found = []
    for wave in event.waveforms:
        LINE
        because = f"{config.nominal_v:g} V"
        found.append(Finding(config.kind, wave.box_id, wave.start_ns, wave.end_ns, 0, because=because))
    return found
'''


def code(kind, line="pass", name="marks"):
    return CODE.replace("VERSION", kind).replace("LINE", line).replace("marks", name)


def quick():
    """The runner looks every 0.05 s for changes without a message."""
    return 40 * time.monotonic()


class House:
    """Makai's host and the store; `events` puts some, a minute apart."""

    def __init__(self, folder):
        self.folder = folder / "rules"
        self.host = Plugins(self.folder, Policy(trusted=frozenset({"marks", "rms_voltage"})))
        self.store = open_store(None, folder)
        self.minutes = itertools.count()

    def install(self, version, text, name="marks"):
        """It asks to run in the server's process, where this host trusts it: that is quick."""
        told = manifest(name, version, kind="analysis", mode="inproc")
        files = {"plugin.json": told, f"analyses/{name}.py": text}
        self.host.create("analysis", name, stored(self.host.uploads, zipped(files)))

    def event(self, boxes=("1",)):
        start_ns = START_NS + next(self.minutes) * MINUTE_NS
        event_id = self.store.open_event(
            Trigger(f"token{start_ns}", start_ns, start_ns + 10**9, boxes, boxes[0], "test"), "test"
        )
        for box_id in boxes:
            counts = np.zeros(1_200, np.int16)
            wave = Waveform(box_id, start_ns, 1_000_000, TimeSource.NTP, 12_000_000, 0.0068, 0, counts)
            self.store.put_waveform(event_id, wave)
        self.store.finish_event(event_id)
        return event_id

    def marks(self):
        """(event, Box, class, because) of each finding, in the order of events."""
        return sorted(
            (incident.event_ids[0], one.finding.box_id, one.finding.kind, one.finding.because)
            for incident in self.store.incidents(limit=1000)
            for one in incident.findings
        )

    def kinds(self):
        return [kind for _, _, kind, _ in self.marks()]

    def done(self):
        return not self.store.unanalysed_events()


@pytest.fixture
def until():
    """As everywhere, and with time for a worker to start on a busy machine."""
    return wait_for


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    made.host.close()
    made.store.close()


@pytest.fixture
def mauka(house, bus, running):
    """Starts follower and runner with this policy and these settings."""

    def start(settings=None, look_s=0.02, analyses=(), **policy):
        follower = InstalledAnalyses(house.folder, Policy(**policy), settings or {}, built_in(), look_s)
        running.start(follower)
        runner = AnalysisRunner(bus.settings, lambda: house.store, analyses, clock=quick, installed=follower)
        running.start(runner)
        return follower, runner

    return start


INSIDE = {"trusted": frozenset({"marks"})}


@pytest.mark.parametrize("policy, where", [({}, "worker"), (INSIDE, "in process")])
def test_an_analysis_is_installed_replaced_and_deleted(house, mauka, until, policy, where):
    """It runs once it is installed."""
    follower, runner = mauka(**policy)
    house.event()
    assert until(house.done)
    assert house.marks() == []
    house.install("1.0.0", code("one"))
    assert until(follower.status)
    house.event()
    assert until(house.done)
    assert house.marks() == [(2, "1", "one", "120 V")]
    (row,) = runner.status()["analyses"]
    assert {key: row[key] for key in ("name", "version", "runs", "calls", "failures", "trouble")} == {
        "name": "marks",
        "version": "1.0.0",
        "runs": where,
        "calls": 1,
        "failures": 0,
        "trouble": None,
    }
    assert row["handled_ms_longest"] > 0
    assert (row["memory_mb"] is not None and row["memory_mb"] > 1) is (where == "worker")
    house.install("1.0.1", code("two"))
    assert until(lambda: follower.status()[0]["version"] == "1.0.1")
    house.event()
    assert until(house.done)
    house.host.rollback("marks")
    assert until(lambda: follower.status()[0]["version"] == "1.0.0")
    house.event()
    assert until(house.done)
    house.host.delete("analysis", "marks")
    assert until(lambda: not follower.status())
    house.event()
    assert until(house.done)
    assert house.kinds() == ["one", "two", "one"]
    assert [part.ok for part in follower.health()] == [True]
    assert runner.counters.total("failures") == 0


def test_one_version_analyses_each_whole_event(house, mauka, until):
    """Boxes of two nominal voltages are two calls; versions change as fast as they can meanwhile."""
    house.store.put_box(BoxRecord("2", "in Europe", nominal_v=230.0, nominal_hz=50.0))
    house.install("1.0.0", code("one"))
    house.install("1.0.1", code("two"))
    follower, runner = mauka(**INSIDE)
    ended = threading.Event()

    def swap():
        for number in range(2, 1000):
            house.install(f"1.0.{number}", code("one" if number % 2 == 0 else "two"))
            until(lambda at=f"1.0.{number}": follower.status()[0]["version"] == at)
            if ended.is_set():
                return

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(150):
            house.event(("1", "2"))
            time.sleep(0.01)
        assert until(house.done)
    finally:
        ended.set()
        swapping.join()
    marks = house.marks()
    assert [(event, box, because) for event, box, _, because in marks] == [
        (event, box, volts) for event in range(1, 151) for box, volts in (("1", "120 V"), ("2", "230 V"))
    ]
    for event in range(1, 151):
        assert len({kind for its, _, kind, _ in marks if its == event}) == 1, "one version, the whole event"
    assert {kind for _, _, kind, _ in marks} == {"one", "two"}
    assert runner.counters.total("failures") == 0


def gate(path):
    """A line that waits for a file."""
    return f"while not os.path.exists({str(path)!r}): time.sleep(0.01)"


def test_a_slow_analysis_delays_only_itself(house, mauka, until, tmp_path, monkeypatch):
    """No built-in finding is delayed, and no event is lost."""
    monkeypatch.setattr(installed_stage, "MAX_EVENTS", 2)
    house.install("1.0.0", code("late", gate(tmp_path / "open")))
    follower, runner = mauka(analyses=load_analyses([("rms_voltage", {})]), **INSIDE)
    assert until(lambda: follower.of_events)
    for _ in range(4):
        house.event()
    assert until(lambda: house.kinds() == ["interruption"] * 4), "the built-in one has seen all"
    assert until(lambda: runner.counters.of("not_asked", "marks") >= 2), "two events have no room"
    assert len(house.store.unanalysed_events()) == 4
    (tmp_path / "open").touch()
    assert until(house.done)
    assert sorted(house.kinds()) == ["interruption"] * 4 + ["late"] * 4


@pytest.mark.slow  # test_a_slow_analysis_delays_only_itself always runs
def test_several_see_an_event_at_the_same_time(house, mauka, until, tmp_path):
    for name, other in (("marks", "signs"), ("signs", "marks")):
        wait = f"open({str(tmp_path / name)!r}, 'w').close(); " + gate(tmp_path / other).replace(
            "while", "time.sleep(0)\n        while"
        )
        house.install("1.0.0", code(name, wait, name), name)
    follower, _ = mauka(trusted=frozenset({"marks", "signs"}))
    assert until(lambda: len(follower.of_events) == 2)
    house.event()
    assert until(house.done), "each waits for the other"
    assert house.kinds() == ["marks", "signs"]


def test_a_late_analysis_sees_the_unmarked_event(house, mauka, until, monkeypatch):
    """It starts before the event is marked as analysed."""
    house.install("1.0.0", code("old", name="signs"), "signs")
    follower, runner = mauka(trusted=frozenset({"marks", "signs"}))
    assert until(lambda: follower.of_events)
    analysed, finish = runner.flow.analysed, runner.flow.analysed.finish_seen
    monkeypatch.setattr(
        analysed, "finish_seen", lambda left: finish(left) if len(follower.of_events) == 2 else None
    )
    event_id = house.event()
    assert until(lambda: runner.flow.is_in_hand(event_id))
    house.install("1.0.0", code("new"))
    assert until(house.done)
    assert house.kinds() == ["new", "old"]


def test_a_failed_start_keeps_the_old_version(house, mauka, until):
    """The failure is reported."""
    follower, _ = mauka(settings={"marks": {"kind": "mine"}})
    house.install("1.0.0", code("one"))
    assert until(follower.status)
    with pytest.raises(Exception, match="boom"):
        house.install("1.0.1", "raise RuntimeError('boom')")
    house.install("1.0.2", code("two").replace("kind: str", "class_: str").replace("config.kind", "'x'"))
    assert until(lambda: "marks" in follower.troubles())
    assert "marks 1.0.2 does not run: " in follower.troubles()["marks"]
    assert "kind  unknown key" in follower.troubles()["marks"]
    assert [part.ok for part in follower.health()] == [False, False]
    house.event()
    assert until(house.done)
    assert house.kinds() == ["mine"]
    house.install("1.0.3", code("three"))
    assert until(lambda: follower.status()[0]["version"] == "1.0.3")
    assert all(part.ok for part in follower.health())


SECOND = f"if wave.start_ns == {START_NS + MINUTE_NS}:"


@pytest.mark.parametrize(
    "line, why, policy",
    [
        (f"{SECOND} os._exit(3)", "exit code 3", {}),
        pytest.param(f"{SECOND} time.sleep(3600)", "took longer than 15 s", {}, marks=pytest.mark.slow),
        pytest.param(
            f"{SECOND} all(True for _ in iter(int, 1))",
            "took longer than 15 s",
            INSIDE,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["crashes", "hangs", "hangs in process"],
)
def test_a_crashing_analysis_holds_up_no_event(house, mauka, until, monkeypatch, line, why, policy):
    """A plug-in that crashes or hangs is ended, counted and shown; other events go on."""
    monkeypatch.setattr("opq_cloud.mauka.running.calls.analysis_rests.REST_FACTOR", 0.0)
    follower, runner = mauka(limits=ProcessLimits(call_s=15.0 if "longer" in why else 60.0), **policy)
    house.install("1.0.0", code("one", line))
    assert until(follower.status)
    house.event()
    house.event()
    assert until(lambda: why in str(runner.status()["analyses"][0]["trouble"]))
    assert until(lambda: why in str(runner.last_error))
    assert [part.ok for part in follower.health()] == [True, False]
    house.event()
    assert until(lambda: [record.event_id for record in house.store.unanalysed_events()] == [2])
    assert house.kinds() == ["one", "one"]
    (row,) = runner.status()["analyses"]
    assert row["failures"] >= 1
    assert row["crashes"] >= 1
    house.install("1.0.1", code("two"))
    assert until(house.done), "another version takes the event that the old one could not look at"
    assert house.kinds() == ["one", "two", "one"]


@pytest.mark.parametrize(
    "line, call_s",
    [("os._exit(3)", 60.0), pytest.param("time.sleep(3600)", 20.0, marks=pytest.mark.slow)],
)
def test_an_event_that_ends_it_rests_its_box(house, mauka, until, monkeypatch, line, call_s):
    """Rests have no end here, so other Boxes are analysed only if the analysis does not rest as a whole."""
    for name in ("opq_plugins.host.failure_guard.PAUSES_S", "opq_plugins.host.worker.supervisor.PAUSES_S"):
        monkeypatch.setattr(name, (1e9,))
    monkeypatch.setattr("opq_cloud.mauka.running.calls.analysis_rests.FIRST_REST_S", (1e9,))
    monkeypatch.setattr("opq_cloud.mauka.running.installed.installed_analyses.NEXT_PROCESS_S", 240.0)
    follower, runner = mauka(limits=ProcessLimits(call_s=call_s))
    house.install("1.0.0", code("one", f"if wave.box_id == '1': {line}"))
    assert until(follower.status)
    house.event(("1", "2", "3"))
    assert until(lambda: [box for _, box, _, _ in house.marks()] == ["2", "3"]), "each Box was tried alone"
    assert runner.counters.of("failures", "analysis marks") == 1
    assert [part.ok for part in follower.health()] == [True, False]
    house.event(("2",))
    assert until(lambda: [record.event_id for record in house.store.unanalysed_events()] == [1])
    house.event(("1", "4"))
    assert until(lambda: (3, "4", "one", "120 V") in house.marks()), "without the Box that rests"
    house.event(("1",))
    assert until(lambda: runner.counters.of("not_asked", "marks") >= 3)
    crashes = follower.status()[0]["crashes"]
    assert crashes == 2, "with the others, and alone"
    assert {record.event_id for record in house.store.unanalysed_events()} == {1, 3, 4}
    assert [box for event, box, _, _ in house.marks()] == ["2", "3", "2", "4"]


def test_a_raising_analysis_is_named_and_rests(house, mauka, until, monkeypatch):
    """An analysis that fails late rests as one whose process ended."""
    monkeypatch.setattr("opq_cloud.mauka.running.installed.installed_analyses.SLOW_S", 0.0)
    monkeypatch.setattr("opq_cloud.mauka.running.calls.analysis_rests.REST_FACTOR", 1e9)
    follower, runner = mauka(**INSIDE)
    house.install("1.0.0", code("one", f"{SECOND} raise KeyError('x')"))
    assert until(follower.status)
    house.event(("1", "2"))
    assert until(house.done)
    assert [part.ok for part in follower.health()] == [True, True]
    house.event(("1", "2"))
    assert until(lambda: runner.counters.of("failures", "analysis marks"))
    assert [(part.ok, "KeyError: 'x'" in part.info) for part in follower.health()][1] == (False, True)
    house.event(("1", "2"))
    assert until(lambda: runner.counters.of("not_asked", "marks"))
    assert runner.counters.of("failures", "analysis marks") == 1, "its Boxes rest"
    assert "KeyError" in runner.last_error
    house.host.delete("analysis", "marks")
    assert until(house.done) and until(lambda: runner.last_error is None), "with it its error is gone"


def test_a_change_retries_an_event_just_seen(house, mauka, until, monkeypatch):
    """It was shown before the change and comes back after it: it would wait for an analysis that is gone."""
    monkeypatch.setattr("opq_cloud.mauka.running.installed.installed_analyses.SLOW_S", 0.0)
    monkeypatch.setattr("opq_cloud.mauka.running.calls.analysis_rests.REST_FACTOR", 1e9)
    late, shown, noted = (threading.Event() for _ in range(3))
    seen, show = installed_stage.InstalledStage.seen, installed_stage.InstalledStage.show
    retry_all = WaitingEvents.retry_all

    def seen_later(stage, wait_s):
        if not late.is_set():
            return seen(stage, wait_s)
        time.sleep(0.01)
        return []

    def show_and_tell(stage, event):
        show(stage, event)
        shown.set()

    def retry_and_tell(waiting):
        retry_all(waiting)
        noted.set()

    monkeypatch.setattr(installed_stage.InstalledStage, "seen", seen_later)
    monkeypatch.setattr(installed_stage.InstalledStage, "show", show_and_tell)
    monkeypatch.setattr(WaitingEvents, "retry_all", retry_and_tell)
    follower, runner = mauka(**INSIDE)
    house.install("1.0.0", code("one", "raise KeyError('x')"))
    assert until(follower.status)
    house.event()
    assert until(lambda: runner.counters.of("failures", "analysis marks"))
    late.set()
    shown.clear()
    noted.clear()
    house.event()
    assert shown.wait(240)
    house.host.delete("analysis", "marks")
    assert noted.wait(240)
    late.clear()
    assert until(house.done)


def test_a_failing_version_is_rolled_back(house, mauka, until):
    """Its events go to the old version."""
    follower, runner = mauka(**INSIDE)
    house.install("1.0.0", code("one"))
    house.event()
    assert until(lambda: house.kinds() == ["one"])
    house.install("1.0.1", code("two", "raise KeyError('x')"))
    assert until(lambda: follower.status()[0]["version"] == "1.0.1")
    house.event()
    house.event()
    assert until(lambda: "taken back to 1.0.0" in str(follower.status()[0]["trouble"]))
    assert until(house.done)
    assert house.kinds() == ["one", "one", "one"]
    assert runner.counters.of("failures", "analysis marks") >= 2


def test_the_host_names_the_running_version(house, mauka, until):
    """It also says why that is not the installed one."""
    house.install("1.0.0", code("one"))

    def told():
        one = house.host.describe("analysis", "marks")
        return one["version"], one["running"], one["status"]

    assert told() == ("1.0.0", None, "installed")
    assert "no Mauka follows" in house.host.status("marks")["errMsg"]
    mauka(**INSIDE)
    assert until(lambda: told() == ("1.0.0", "1.0.0", "running"))
    house.install("1.0.1", code("two", "raise KeyError('x')"))
    assert until(lambda: told() == ("1.0.1", "1.0.1", "running"))
    house.event()
    house.event()
    assert until(lambda: told() == ("1.0.1", "1.0.0", "error"))
    why = "1.0.1 was taken back to 1.0.0: 2 of 2 calls failed"  # a moment after what the last call raised
    assert until(lambda: why in house.host.status("marks")["errMsg"])
    house.install("1.0.2", code("three"))
    assert until(lambda: told() == ("1.0.2", "1.0.2", "running"))


MEMORY = (
    code("VERSION")
    .replace("def analyse(event, config):", "def analyse(event, config, state):")
    .replace("return found", 'return [replace(one, because=f"{state}") for one in found], state + 1')
    .replace("import dataclass", "import dataclass, replace")
    + """

def begin(config):
    return 0


def export_state(state):
    return state


def import_state(version, data, config):
    return data
"""
)


@pytest.mark.parametrize("policy", [{}, INSIDE], ids=["worker", "inside"])
def test_what_it_remembers_goes_to_the_next_version(house, mauka, until, policy):
    follower, _ = mauka(**policy)
    for version in ("1.0.0", "1.0.1"):
        house.install(version, MEMORY.replace("VERSION", version))
        assert until(lambda at=version: follower.status() and follower.status()[0]["version"] == at)
        for _ in range(2):
            house.event(("1", "2"))
            assert until(house.done)
    kinds = ["1.0.0", "1.0.0", "1.0.1", "1.0.1"]
    assert [(kind, because) for _, box, kind, because in house.marks() if box == "1"] == [
        *zip(kinds, "0123", strict=True)
    ]


def test_a_broken_box_hides_no_other(house, mauka, until, monkeypatch):
    """A large event is analysed in parts."""
    monkeypatch.setattr(
        "opq_cloud.mauka.running.installed.installed_analyses.LARGEST_BYTES", 5_000
    )  # two Boxes
    follower, runner = mauka()
    house.install("1.0.0", code("one", "assert wave.box_id != '3' and len(event.waveforms) <= 2"))
    assert until(follower.status)
    house.event(("1", "2", "4", "5"))
    assert until(house.done)
    assert [box for _, box, _, _ in house.marks()] == ["1", "2", "4", "5"]
    assert runner.counters.total("failures") == 0
    house.event(("1", "2", "3"))
    assert until(lambda: [box for event, box, _, _ in house.marks() if event == 2] == ["1", "2"])
    assert not house.done()


def test_a_missing_analysis_keeps_events_unfinished(house, mauka, until):
    """An event waits for an analysis that should see it and cannot."""
    follower, runner = mauka(settings={"marks": {"shout": 1}})
    house.install("1.0.0", code("one"))
    assert until(lambda: follower.lacking == {"marks"})
    assert "shout  unknown key" in follower.troubles()["marks"]
    house.event()
    assert until(lambda: runner.counters.of("not_asked", "marks"))
    assert not house.done()
    house.install("1.0.1", code("two").replace("kind: str", "shout: int = 0\n    kind: str"))
    assert until(house.done)
    assert house.kinds() == ["two"]
    assert follower.lacking == frozenset()


def test_an_event_before_discovery_is_analysed_again(house, mauka, until):
    """It came between the installation and its discovery."""
    mauka(look_s=0.5, **INSIDE)
    house.event()
    assert until(house.done)
    house.install("1.0.0", code("one"))
    house.event()
    assert until(lambda: house.kinds() == ["one"])
    assert house.marks()[0][0] == 2, "not the one of before"
    assert until(house.done)


WRONG = {
    "a string": "return 'abc'",
    "a mapping": "return [{'kind': 'sag'}]",
    "another Box": "return [Finding('x', '77', wave.start_ns, wave.end_ns, 0)]",
    "no number": "return [Finding('x', wave.box_id, wave.start_ns, wave.end_ns, 0, residual_v=float('nan'))]",
}


@pytest.mark.parametrize("policy", [pytest.param({}, marks=pytest.mark.slow), INSIDE])
def test_an_invalid_finding_fails_its_analysis(house, mauka, until, policy):
    """The result does not belong to the event."""
    follower, runner = mauka(**policy)
    for number, line in enumerate(WRONG.values()):
        if policy and "nan" in line:
            continue
        house.install(f"1.0.{number}", code("one", line))
        assert until(lambda at=f"1.0.{number}": follower.status() and follower.status()[0]["version"] == at)
        failures = runner.counters.total("failures")
        house.event()
        assert until(lambda before=failures: runner.counters.total("failures") > before)
    assert house.marks() == []
    assert not house.done()
    house.host.delete("analysis", "marks")
    assert until(house.done)


def test_a_built_in_name_is_refused(house, mauka, until):
    follower, _ = mauka()
    house.install("1.0.0", code("one", name="rms_voltage"), name="rms_voltage")
    assert until(lambda: "is built in" in follower.troubles().get("rms_voltage", ""))
    assert follower.status() == []


def test_an_analysis_is_in_heartbeat_and_status(house, mauka, running, bus, until):
    status = StatusPlugin(bus.settings)
    running.start(status)
    follower, _ = mauka()
    house.install("1.0.0", code("one"))
    assert until(follower.status)

    def rows():
        of_runner = [row for row in status.plugin_status() if row["plugin_name"] == "AnalysisRunner"]
        return of_runner and of_runner[0]["analyses"]

    (row,) = until(rows)
    assert (row["name"], row["version"], row["runs"]) == ("marks", "1.0.0", "worker")


def config_of(folder, free_endpoint, entries=(), **plugins):
    names = ("event_endpoint", "incident_id_endpoint", "bus_sub_endpoint", "bus_pub_endpoint")
    names += ("plugin_manager_endpoint",)
    ends = {name: free_endpoint() for name in names}
    analyses = tuple(PluginEntry(name=name, settings=told) for name, told in entries)
    mauka = MaukaSection(
        **ends, heartbeat_s=0.1, analyses=analyses, plugins=InstalledAnalysesSection(**plugins)
    )
    return CloudConfig(data_dir=folder, mauka=mauka)


def test_settings_come_from_the_configuration(house, running, until, free_endpoint):
    """Built-in analyses run as well."""
    house.install("1.0.0", code("one"))
    entries = [("marks", {"kind": "mine", "nominal_v": 230.0}), ("rms_voltag", {})]
    made = services(config_of(house.folder.parent, free_endpoint, entries), CloudContext(lambda: house.store))
    for service in made:
        running.start(service)
    house.event()
    assert until(house.done)
    assert ("mine", "230 V") in [(kind, because) for _, _, kind, because in house.marks()]
    assert "interruption" in house.kinds()
    (follower,) = [service for service in made if service.name == "mauka.plugins"]
    assert 'did you mean "rms_voltage"?' in follower.troubles()["rms_voltag"]


def test_an_unknown_name_is_an_error(tmp_path, free_endpoint):
    """Also if nothing was ever installed."""
    context = CloudContext(lambda: open_store(None, tmp_path))
    with pytest.raises(PluginError, match="marks"):
        services(config_of(tmp_path, free_endpoint, [("marks", {})]), context)
    made = services(config_of(tmp_path, free_endpoint, enabled=False), context)
    assert "mauka.plugins" not in [service.name for service in made]


def test_signed_ones_only_means_those_of_our_keys(house, mauka, until):
    house.install("1.0.0", code("one"))
    follower, _ = mauka(require_signature=True)
    assert until(lambda: "has no signature" in follower.troubles().get("marks", ""))
    assert follower.status() == []
    house.event()
    assert until(house.done), "it is not to be run: nothing waits for it"


def test_keys_without_cryptography_are_reported_at_the_start(tmp_path, free_endpoint, monkeypatch):
    monkeypatch.setattr("opq_cloud.mauka.mauka_service.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs cryptography"):
        services(config_of(tmp_path, free_endpoint, keys=(tmp_path / "k.pem",)), CloudContext(lambda: None))
