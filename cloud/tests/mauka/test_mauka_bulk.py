"""Bulk: stored events on a real Dask scheduler's workers; the store is what the live path makes of it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from opq_cloud.mauka.bulk.bulk_run import analyse_waiting, in_order
from opq_cloud.mauka.bulk.dask_workers import LOCAL, DaskWorkers, dask_client
from opq_cloud.mauka.bulk.stored_events import BulkError, BulkWork, analyse_in_bulk
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.reanalysis.reanalysis_progress import ReanalysisProgress
from opq_cloud.mauka.running.calls.event_analysis import EventResult, analyse_stored
from opq_cloud.mauka.running.calls.executor import WorkerProcesses
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.mauka.running.known.provenance import Provenance
from opq_cloud.store import CloudStore, open_store
from opq_proto.decision import Nominal
from opq_proto.messages import TimeSource, Trigger, Waveform

S = 10**9
ZERO_NS = 1_795_000_000 * S
NOMINAL = Nominal(120.0, 60.0)


def put_events(folder: Path, count: int, seconds: float = 0.5) -> CloudStore:
    """Each of two Boxes; every second event has a dip at both, every fifth at one alone."""
    store = open_store(None, folder)
    t_s = np.arange(round(seconds * 12_000)) / 12_000
    for number in range(count):
        start_ns = ZERO_NS + number * 70 * S
        span = (start_ns, start_ns + round(seconds * S))
        event_id = store.open_event(Trigger(f"t{number}", *span, ("1", "2"), "1", "test"), "test")
        for box_id in ("1", "2"):
            volts = 120 * np.sqrt(2) * np.sin(2 * np.pi * 60 * t_s + number)
            if number % 2 == 0 or (number % 5 == 0 and box_id == "1"):
                volts[len(volts) // 3 : len(volts) // 2] *= 0.5 + 0.01 * (number % 30)
            counts = np.round(volts / 0.0068).astype(np.int16)
            wave = Waveform(box_id, start_ns, 1000, TimeSource.GPS, 12_000_000, 0.0068, 0, counts)
            store.put_waveform(event_id, wave)
        store.finish_event(event_id)
    return store


@pytest.fixture
def cluster() -> Iterator[str]:
    """A real scheduler with two workers over TCP; the workers are threads, for processes take seconds."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None
    ) as running:
        yield running.scheduler_address


def rms_alone(folder: Path) -> BulkWork:
    return BulkWork.of(None, folder, [("rms_voltage", {})], NOMINAL)


def test_the_bulk_path_stores_the_same(tmp_path, cluster, bus, running, until, monkeypatch) -> None:
    """The store is what the live path makes of it."""
    monkeypatch.setattr("opq_cloud.mauka.bulk.stored_events.EVENTS_PER_CALL", 1)
    monkeypatch.setattr("opq_cloud.mauka.bulk.stored_events.CALLS_PER_WORKER", 1)
    live = put_events(tmp_path / "live", 6)
    runner = AnalysisRunner(bus.settings, lambda: live, load_analyses([("rms_voltage", {})]), NOMINAL)
    running.start(runner)
    assert until(lambda: not live.unanalysed_events())
    bulk = put_events(tmp_path / "bulk", 6)
    seen: list[tuple[int, int]] = []
    with dask_client(cluster) as client:
        done = analyse_waiting(
            bulk,
            lambda ids: analyse_in_bulk(DaskWorkers(client), rms_alone(tmp_path / "bulk"), ids),
            lambda count, of: seen.append((count, of)),
        )
    assert done == (6, 0) and seen == [(n, 6) for n in range(1, 7)]
    assert len(bulk.incidents()) == 4
    assert bulk.incidents(limit=99) == live.incidents(limit=99), "numbers too"
    assert bulk.unanalysed_events() == []
    assert analyse_waiting(bulk, lambda ids: iter(())) == (0, 0)
    live.close()
    bulk.close()


def test_a_failed_event_does_not_stop_others(tmp_path: Path) -> None:
    """It waits; the others are done."""
    store = put_events(tmp_path, 3)
    analyses = load_analyses([("rms_voltage", {})])

    def partly(event_ids: list[int]) -> Iterator[EventResult]:
        for one in analyse_stored(store, event_ids, analyses, NOMINAL):
            lost = one.event_id == 2
            yield EventResult(one.event_id, (), (), {"worker": "was lost"}) if lost else one

    assert analyse_waiting(store, partly) == (2, 1)
    assert [one.event_id for one in store.unanalysed_events()] == [2]
    store.close()


def test_results_keep_the_order_of_events() -> None:
    """Whichever worker ends first."""

    def result(number: int) -> EventResult:
        return EventResult(number, (), ())

    early = iter([result(3), result(1), result(2), result(5), result(4)])
    ordered = in_order([1, 2, 3, 4, 5], early)
    assert next(ordered).event_id == 1
    assert [one.event_id for one in ordered] == [2, 3, 4, 5]


def test_progress_survives_a_kill(tmp_path: Path) -> None:
    """The process is killed while it writes."""
    sources = [Provenance("rms_voltage", "1", "5f")]
    first = ReanalysisProgress(tmp_path, sources)
    first.note_done([1, 2], {"events": 2})
    with first.path.open("a") as file:
        file.write('{"events": [3')
    again = ReanalysisProgress(tmp_path, sources)
    assert again.is_done([2, 1]) and not again.is_done([1, 3])
    assert [again.results_of({1, 2, 3}), again.results_of({1, 3})] == [[{"events": 2}], []]
    again.note_done([3], {})
    assert ReanalysisProgress(tmp_path, sources).is_done([3])
    assert not ReanalysisProgress(tmp_path, [Provenance("rms_voltage", "2", "5f")]).is_done([1])
    again.finish()
    assert not ReanalysisProgress(tmp_path, sources).is_done([1])


def test_an_absent_scheduler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(BulkError, match="want tcp://HOST:PORT, local or local:2"), dask_client("local:many"):
        pass
    monkeypatch.setattr("opq_cloud.mauka.bulk.dask_workers.CONNECT_S", 0.2)
    with pytest.raises(BulkError, match="no Dask scheduler answers at tcp"), dask_client("tcp://127.0.0.1:9"):
        pass


@contextmanager
def dask_process(module: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", f"distributed.cli.{module}", "--host", "127.0.0.1", *options]
    process = subprocess.Popen([*command, "--no-dashboard"], stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_killed_scheduler_ends_the_run(tmp_path, until, monkeypatch, capfd) -> None:
    """With one line."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("opq_cloud.mauka.bulk.stored_events.EVENTS_PER_CALL", 1)
    put_events(tmp_path, 9).close()
    file = tmp_path / "scheduler.json"
    with (
        dask_process("dask_scheduler", "--port", "0", "--scheduler-file", str(file)) as scheduler,
        dask_process("dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny"),
    ):
        assert until(lambda: file.exists() and file.read_text().endswith("}"))
        address = json.loads(file.read_text())["address"]
        with distributed.Client(address) as client:
            client.wait_for_workers(1, timeout=240)
        lost = pytest.raises(BulkError, match=f"the Dask scheduler at {address} was lost; start the same")
        with lost, dask_client(address) as client:
            results = analyse_in_bulk(DaskWorkers(client), rms_alone(tmp_path), list(range(1, 10)))
            next(results)
            scheduler.kill()
            list(results)
    assert capfd.readouterr().err == ""


def test_a_scheduler_without_workers_ends_the_run(tmp_path, cluster, monkeypatch) -> None:
    monkeypatch.setattr("opq_cloud.mauka.bulk.dask_workers.CHECK_S", 0.1)
    monkeypatch.setattr("opq_cloud.mauka.bulk.dask_workers.NO_WORKER_S", 0.3)
    with dask_client(cluster) as client:
        client.retire_workers(list(client.nthreads()))
        results = analyse_in_bulk(DaskWorkers(client), rms_alone(tmp_path), [1])
        with pytest.raises(BulkError, match="no worker for"):
            next(results)


def test_our_own_scheduler_runs_nothing_of_others() -> None:
    """Each user of this machine reaches its port; a call is code."""
    distributed = pytest.importorskip("distributed")
    with dask_client(f"{LOCAL}:1") as client:
        port = client.scheduler.address.rpartition(":")[2]
        with (
            pytest.raises(OSError),
            distributed.Client(f"tcp://127.0.0.1:{port}", timeout=2.0) as stranger,
        ):
            stranger.submit(os.getpid).result()
        assert client.submit(sum, [1, 2]).result() == 3


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    """Two processes give what one gives."""
    pytest.importorskip("distributed")
    store = put_events(tmp_path, 60, 1.0)
    expected = list(analyse_stored(store, range(1, 61), load_analyses([("rms_voltage", {})]), NOMINAL))
    with dask_client(f"{LOCAL}:2") as client:
        pids = client.run(os.getpid)
        results = analyse_in_bulk(DaskWorkers(client), rms_alone(tmp_path), list(range(1, 61)))
        found = [next(results)]
        os.kill(next(iter(pids.values())), signal.SIGKILL)
        found += list(results)
    assert sorted(found, key=lambda one: one.event_id) == expected
    store.close()


def test_local_processes_give_the_same(tmp_path: Path) -> None:
    """They report what was lost."""
    store = put_events(tmp_path, 12, 1.0)
    analyses = load_analyses([("rms_voltage", {})])
    expected = list(analyse_stored(store, range(1, 13), analyses, NOMINAL))
    with closing(WorkerProcesses(2, 1 << 30)) as processes:
        found = list(analyse_in_bulk(processes, rms_alone(tmp_path), list(range(1, 13))))
        assert sorted(found, key=lambda one: one.event_id) == expected
        results = analyse_in_bulk(processes, rms_alone(tmp_path), list(range(1, 13)))
        found = [next(results)]
        os.kill(processes.rows()[0]["pid"], signal.SIGKILL)
        found += list(results)
    ids = sorted(one.event_id for one in found)
    assert ids == list(range(1, 13)), "each once"
    assert {text for one in found for text in one.failed} <= {"worker"}
    store.close()


@pytest.mark.slow
def test_the_commands_run_on_worker_processes_and_end(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    put_events(tmp_path, 12).close()
    command = [
        sys.executable,
        "-m",
        "opq_cloud",
        "mauka",
        "--data-dir",
        str(tmp_path),
        "--scheduler",
        "local:2",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "12 events analysed, 0 failed" in done.stderr
    again = [
        sys.executable,
        "-c",
        "from opq_tools.cli import main; main()",
        "reanalyse",
        "--from",
        "2026-11-01",
    ]
    again += ["--scheduler", "local:2", "--json", "--data-dir", str(tmp_path)]
    told = subprocess.run(again, capture_output=True, text=True, timeout=300, check=True)
    report = json.loads(told.stdout)
    assert (report["events"], report["finding_changes"], report["failed"]) == (12, [], {})
