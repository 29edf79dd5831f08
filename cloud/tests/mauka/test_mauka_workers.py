"""Built-in analyses in processes: what hangs or eats memory is ended, what was killed is analysed, once."""

import os
import random
import signal
import time
from concurrent.futures import CancelledError
from contextlib import closing
from pathlib import Path

import pytest
from sag_events import put_events

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.core.settings.mauka import AnalysisWorkersSection, MaukaSection
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.mauka_service import services
from opq_cloud.mauka.operating.graph import graph_text, read_nodes
from opq_cloud.mauka.running.calls.analysis_tasks import AnalysisSetup
from opq_cloud.mauka.running.calls.event_analysis import AnalysisResult, by_nominal
from opq_cloud.mauka.running.calls.executor import IDLE_S, WorkerProcesses
from opq_cloud.mauka.running.calls.worker_notes import STARTING
from opq_cloud.mauka.running.events.event_jobs import AnalysisJob, EventJobs
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.store import open_store
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.messages import Trigger

START_NS = 1_700_000_000_000_000_000
END_S = 120.0
HEAD = """
import time
from dataclasses import dataclass
from pathlib import Path
from opq_proto.messages import Event, Finding
takes, gives = Event, Finding
@dataclass(frozen=True)
class Config:
    pass
def answer(event):
    wave = event.waveforms[0]
    return (Finding("sag", wave.box_id, wave.start_ns, wave.end_ns, 1000, residual_percent=50.0),)
"""
BODIES = {
    "answer": "def analyse(event, config):\n    return answer(event)",
    "hang": """
import os
def analyse(event, config):
    if event.event_id == 1:
        Path(__file__).with_suffix(f".{os.getpid()}").touch()
        time.sleep(3600)
    return ()
""",
    "hungry": "def analyse(event, config):\n    return [0] * (1 << 34) if event.event_id == 2 else ()",
    "loops": "def analyse(event, config):\n    return all(time.sleep(0.001) is None for _ in iter(int, 1))",
    "marks": "Path(__file__).with_suffix('.loaded').touch()\ndef analyse(event, config):\n    return ()",
    "raises": "def analyse(event, config):\n    raise ValueError('not today')",
}


class StillClock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def store(tmp_path):
    opened = open_store(None, tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def jobs_of(tmp_path):
    """(names of analyses) -> jobs in one process, their clock, and what was told of lost processes."""
    made = []

    def make(*names, count=1, call_s=60.0):
        folder = tmp_path / "analyses"
        folder.mkdir()
        for name in names:
            (folder / f"{name}.py").write_text(f"name = {name!r}\n{HEAD}\n{BODIES[name]}\n")
        clock, lost = StillClock(), []
        processes = WorkerProcesses(count, 512 << 20, clock)
        setup = AnalysisSetup(folders=(folder,))
        made.append(EventJobs(processes, setup, call_s, lambda *what: lost.append(what)))
        return made[-1], clock, lost

    yield make
    for jobs in made:
        jobs.close()


def job_of(store, event_id):
    event = store.event(event_id)
    parts = tuple(by_nominal(event, lambda _: DEFAULT_NOMINAL).items())
    return AnalysisJob(event_id, event, parts, store.event_record(event_id))


def wait_job(jobs):
    """The next event that is over."""
    end_s = time.monotonic() + END_S
    while time.monotonic() < end_s:
        done = jobs.finished(0.05)
        if done:
            (job,) = done
            return job
    raise AssertionError(f"nothing is over: {jobs.rows()}")


def wait_under_way(jobs, analysis, event_id=1):
    """Its process, once an analysis has begun there."""
    end_s = time.monotonic() + END_S
    while time.monotonic() < end_s:
        assert not [job for job in jobs.finished(0.05) if job.event_id == event_id]
        for row in jobs.rows():
            if (row["analysis"], row["event_id"]) == (analysis, event_id):
                return row["pid"]
    raise AssertionError(f"{analysis} does not begin: {jobs.rows()}")


def wait_until_alive(jobs):
    end_s = time.monotonic() + END_S
    while not jobs.rows() and time.monotonic() < end_s:
        time.sleep(0.01)


def gone(pid):
    return not Path(f"/proc/{pid}").exists()


def test_a_hanging_analysis_is_skipped_after_two_tries(store, jobs_of, tmp_path):
    """A plug-in that hangs is ended twice, and the event done without it."""
    put_events(store, 2)
    jobs, _, lost = jobs_of("answer", "hang", call_s=15.0)
    began_s = time.monotonic()
    jobs.add(job_of(store, 1))
    jobs.add(job_of(store, 2))
    assert not jobs.has_room
    other = wait_job(jobs)  # it waits for one try of the first, not for both
    assert (other.event_id, other.given_up, len(other.result.findings)) == (2, set(), 1)
    job = wait_job(jobs)
    assert time.monotonic() - began_s > 34.0, (
        "twice: two Boxes' waveforms of a second are allowed beside the 15"
    )
    pids = [path.suffix[1:] for path in (tmp_path / "analyses").glob("hang.*") if path.suffix != ".py"]
    assert len(pids) == 2 and all(map(gone, pids))
    assert (job.event_id, job.given_up) == (1, {"hang"})
    assert [(one.kind, one.analysis) for one in job.result.findings] == [("sag", "answer")]
    assert [(analysis, event_id) for analysis, event_id, _ in lost] == [("hang", 1)] * 2
    assert "timeout" in str(lost[0][2])
    assert not jobs.busy


def test_a_killed_process_costs_one_more_try(store, jobs_of):
    """A killed process costs another event a second try at most."""
    put_events(store, 2)
    jobs, _, lost = jobs_of("answer", "hang", count=2)
    for event_id in (1, 2):
        jobs.add(job_of(store, event_id))
    over = []

    def wait_until(ask):
        end_s = time.monotonic() + END_S
        while not (found := ask()):
            assert time.monotonic() < end_s, jobs.rows()
            over.extend(jobs.finished(0.05))
        return found

    def hanging():
        return [row["pid"] for row in jobs.rows() if (row["event_id"], row["analysis"]) == (1, "hang")]

    for times in (1, 2):
        os.kill(wait_until(hanging)[0], signal.SIGKILL)
        wait_until(lambda want=times: len(lost) == want)
    wait_until(lambda: len(over) == 2)
    assert lost == [("hang", 1, "its process ended (SIGKILL)")] * 2
    assert {job.event_id: job.given_up for job in over} == {1: {"hang"}, 2: set()}
    assert all(len(job.result.findings) == 1 for job in over)


def test_a_prepared_process_has_loaded_its_analyses(jobs_of, tmp_path):
    jobs, _, _ = jobs_of("marks")
    jobs.prepare()
    end_s = time.monotonic() + END_S
    while not (tmp_path / "analyses" / "marks.loaded").exists():
        assert time.monotonic() < end_s, jobs.rows()
        time.sleep(0.01)
    assert [row["event_id"] for row in jobs.rows()] == [None]


def test_dead_idle_processes_are_replaced(store, jobs_of):
    """One was killed, one hangs in a loop of Python."""
    put_events(store, 2)
    jobs, _, lost = jobs_of("answer", "loops", call_s=15.0)
    jobs.prepare()
    wait_until_alive(jobs)
    os.kill(jobs.rows()[0]["pid"], signal.SIGKILL)
    jobs.add(job_of(store, 1))
    job = wait_job(jobs)
    assert (job.given_up, len(job.result.findings)) == ({"loops"}, 1)
    assert {analysis for analysis, _, _ in lost} <= {"loops", "start"}


def test_an_error_is_reported_from_the_process(store, jobs_of):
    """A killed process costs nothing."""
    put_events(store, 1)
    jobs, _, lost = jobs_of("hang", "raises")
    jobs.add(job_of(store, 1))
    first = wait_under_way(jobs, "hang")
    os.kill(first, signal.SIGKILL)
    while not lost:
        jobs.finished(0.05)
    second = wait_under_way(jobs, "hang")
    assert second != first
    os.kill(second, signal.SIGKILL)
    job = wait_job(jobs)
    assert job.result.failed == {"raises": "ValueError: not today"}
    assert job.given_up == {"hang"}  # whatever ends it twice
    pid = jobs.rows()[0]["pid"]
    jobs.close()
    assert gone(pid)


def test_an_idle_process_ends(store, jobs_of, bus):
    """Another one is ready before its event comes."""
    put_events(store, 1)
    jobs, clock, lost = jobs_of("answer")
    jobs.add(job_of(store, 1))
    assert len(wait_job(jobs).result.findings) == 1
    (row,) = jobs.rows()
    clock.now_s += IDLE_S
    jobs.finished(0.0)
    assert [each["pid"] for each in jobs.rows()] == [row["pid"]], "not yet"
    clock.now_s += 1
    jobs.finished(0.0)
    assert (jobs.rows(), lost) == ([], []) and gone(row["pid"])
    assert store.mark_analysed(1)
    runner = AnalysisRunner(bus.settings, lambda: store, [], jobs=jobs)
    runner.flow.waiting.begin()
    runner.on_idle()
    assert jobs.rows() == []
    store.open_event(Trigger("open", START_NS, START_NS + 10**9, ("1",), "1", "test"), "test")
    runner.flow.waiting.begin()
    runner.on_idle()
    wait_until_alive(jobs)
    assert len(jobs.rows()) == 1


def test_a_call_that_is_being_sent_is_lost():
    """At an end its megabytes are not read any more, for which pebble raises TypeError: it is tried again."""
    with closing(WorkerProcesses(1, 1 << 30)) as processes:
        calls = [processes.submit(60.0, time.sleep, 60.0), processes.submit(60.0, len, bytes(16 << 20))]
        time.sleep(0.3)  # pebble writes into a full pipe
    assert [type(each.exception(60.0)) for each in calls] == [CancelledError, CancelledError]


def test_an_analysed_event_ends_a_starts_error(store, bus):
    """It shows that processes start; the error would stay in health for good."""
    runner = AnalysisRunner(bus.settings, lambda: store, load_analyses([]))
    record = runner.flow.analysed.record
    record.note_result(AnalysisResult(failed={STARTING: "no analysing process runs"}), 1)
    assert runner.last_error == "analysis start: no analysing process runs"
    record.note_result(AnalysisResult(spent_s={"of a plug-in": 0.1}), 1)
    assert runner.last_error is not None
    record.note_result(AnalysisResult(spent_s={record.analyses[0].name: 0.1}), 2)
    assert runner.last_error is None


@pytest.mark.slow
def test_a_memory_eater_is_ended(store, jobs_of):
    """A plug-in that takes too much memory is ended, and the event done without it."""
    put_events(store, 2)
    jobs, _, lost = jobs_of("answer", "hungry")
    jobs.add(job_of(store, 2))
    job = wait_job(jobs)
    assert job.given_up == {"hungry"}
    assert len(job.result.findings) == 1
    assert len(lost) == 2


def runner_of(bus, store, count):
    jobs = EventJobs(WorkerProcesses(count, 1 << 30), AnalysisSetup(), 60.0)
    return AnalysisRunner(bus.settings, lambda: store, load_analyses([]), jobs=jobs)


def facts_of(store):
    return sorted(
        (one.finding.box_id, one.finding.start_ns, one.finding.kind, one.finding.because)
        for incident in store.incidents()
        for one in incident.findings
    )


def test_process_results_equal_those_of_mauka(bus, running, store, tmp_path, until):
    """Events in a process come out as in Mauka itself."""
    put_events(store, 3)
    alone = open_store(None, tmp_path / "alone")
    put_events(alone, 3)
    runner = runner_of(bus, store, 1)
    running.start(runner)
    assert until(lambda: not store.unanalysed_events())
    running.end()
    running.threads.clear()
    other = AnalysisRunner(bus.settings, lambda: alone, load_analyses([]))
    for event_id in (3, 1, 2):
        other.analyse_now(event_id)
    assert facts_of(store) == facts_of(alone)
    assert len(facts_of(store)) == 6
    assert not runner.jobs.rows()
    assert runner.status()["processes"] == 1
    alone.close()


def test_health_names_a_skipped_analysis(store, bus):
    """An event done without an analysis is marked and health says so."""
    put_events(store, 1)
    runner = AnalysisRunner(bus.settings, lambda: store, [])
    job = job_of(store, 1)
    job.ended["hang"] = 2
    runner.flow.analysed.finish_job(job)
    assert store.event_record(1).analysed
    assert runner.last_error == "analysis hang: event 1 is done without it"
    assert runner.counters.of("given_up", "hang") == 1
    job.result.spent_s["hang"] = 0.1  # the next event had it
    job.ended.clear()
    runner.flow.analysed.finish_job(job)
    assert runner.last_error is None


def test_the_number_of_processes_is_a_setting(store, tmp_path):
    config = CloudConfig(mauka=MaukaSection(workers=AnalysisWorkersSection(count=3)), data_dir=tmp_path)
    made = [one for one in services(config, CloudContext(lambda: store)) if isinstance(one, AnalysisRunner)]
    assert [one.jobs.count for one in made] == [3]

    def runner_with(**mauka):
        config = CloudConfig(mauka=MaukaSection(**mauka), data_dir=tmp_path)
        made = services(config, CloudContext(lambda: store))
        return next(one for one in made if isinstance(one, AnalysisRunner))

    assert runner_with().jobs.count == 1
    row = {"name": "AnalysisRunner", "origin": "bus", "running": True, "takes": [], "gives": []}
    assert "AnalysisRunner (bus), 3 processes" in graph_text(read_nodes([{**row, "processes": 3}]))


@pytest.mark.slow
def test_kills_lose_and_double_nothing(bus, running, store, until):
    events = 40
    put_events(store, events)
    runner = runner_of(bus, store, 2)
    running.start(runner)
    chance, killed = random.Random(1), 0
    while store.unanalysed_events():
        time.sleep(chance.uniform(0.5, 3.0))
        for row in runner.jobs.rows()[:1]:
            os.kill(row["pid"], signal.SIGKILL)
            killed += 1
        if killed < 3:  # a machine that is done before that gets more to do
            put_events(store, 10, events)
            events += 10
    assert killed > 2
    assert len(facts_of(store)) == 2 * events
    assert len(store.incidents()) == events
