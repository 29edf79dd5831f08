"""Mauka by itself: runners over a store with events, timed one by one, in a burst, and idle."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.harness.mauka_waveforms import NOMINAL, put_waveforms
from bench.harness.own_processes import cpu_s
from opq_cloud.mauka.bus.incident_notice import INCIDENT
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.measuring import results as measuring
from opq_cloud.mauka.plugin import PUB_KEY, SUB_KEY
from opq_cloud.mauka.running.calls.analysis_tasks import AnalysisSetup
from opq_cloud.mauka.running.calls.executor import WorkerProcesses
from opq_cloud.mauka.running.events.event_jobs import EventJobs
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.store import CloudStore, open_store
from opq_proto.wire.mauka_pb2 import MaukaMessage

WARM_EVENTS = 6
"""Events before the measured ones."""
IDLE_S = 5.0
"""Time in which the idle process is measured."""
MEMORY_BYTES = 1 << 30
"""Memory of a process."""
CALL_S = 60.0
"""Longest call."""
UNUSED_ENDPOINT = "tcp://127.0.0.1:9"
END_S = 300.0


class _TimedRunner(AnalysisRunner):
    """Notes when it first publishes an incident, which is when pages get it."""

    announced: tuple[float, float] | None = None

    def produce(self, topic: str, message: MaukaMessage | bytes) -> None:
        if topic == INCIDENT and self.announced is None:
            self.announced = time.monotonic(), time.thread_time()
        super().produce(topic, message)


def spent_of_events(boxes: int, count: int) -> Iterator[dict[tuple[str, str], float]]:
    """Yields (until which step, "" or ", CPU") -> ms for each event, after some warm-up events."""
    with _store() as store:
        runner = _runner(store)
        for number in range(WARM_EVENTS + count):
            event_id = _put_event(store, number, boxes)
            runner.announced = None
            began_s, cpu_s = time.monotonic(), time.thread_time()
            runner.analyse_now(event_id)
            end_s, end_cpu_s = time.monotonic(), time.thread_time()
            assert runner.announced is not None
            if number >= WARM_EVENTS:
                yield {
                    ("its incident announced", ""): 1000 * (runner.announced[0] - began_s),
                    ("its incident announced", ", CPU"): 1000 * (runner.announced[1] - cpu_s),
                    ("all findings stored", ""): 1000 * (end_s - began_s),
                    ("all findings stored", ", CPU"): 1000 * (end_cpu_s - cpu_s),
                }
            record = store.event_record(event_id)
            assert record is not None and record.analysed


def burst(count: int, processes: int) -> tuple[float, float]:
    """Seconds and CPU seconds for waiting events; warm-up events cover the start of the processes."""
    with _store() as store:
        runner = _runner(store, processes)
        for number in range(WARM_EVENTS + count):
            _put_event(store, number)
        stop = threading.Event()
        thread = threading.Thread(target=runner.run, args=(stop,))
        thread.start()
        try:
            while len(store.unanalysed_events()) > count:
                time.sleep(0.2)
            cpu_s, began_s = _runner_cpu_s(runner), time.monotonic()
            while store.unanalysed_events():
                assert time.monotonic() < began_s + END_S
                time.sleep(0.2)
            return time.monotonic() - began_s, _runner_cpu_s(runner) - cpu_s
        finally:
            stop.set()
            thread.join()


def idle_ms() -> float:
    with _store() as store:
        runner, stop = _runner(store), threading.Event()
        thread = threading.Thread(target=runner.run, args=(stop,))
        thread.start()
        began_s = time.process_time()
        time.sleep(IDLE_S)
        spent_s = time.process_time() - began_s
        stop.set()
        thread.join()
    return 1000 * spent_s / IDLE_S


def _runner_cpu_s(runner: AnalysisRunner) -> float:
    """CPU seconds of this process and those of the pool."""
    return time.process_time() + sum(cpu_s(row["pid"]) for row in runner.jobs.rows())


def _runner(store: CloudStore, processes: int = 0) -> _TimedRunner:
    """A runner without results of waveforms that were measured before; 0 processes: in this one."""
    measuring.RESULTS = measuring.MeasuredResults()
    jobs = None
    if processes:
        jobs = EventJobs(WorkerProcesses(processes, MEMORY_BYTES), AnalysisSetup(), CALL_S)
    bus = {PUB_KEY: UNUSED_ENDPOINT, SUB_KEY: UNUSED_ENDPOINT}
    return _TimedRunner(bus, lambda: store, load_analyses([]), NOMINAL, jobs=jobs)


@contextmanager
def _store() -> Iterator[CloudStore]:
    with TemporaryDirectory() as folder:
        store = open_store(None, Path(folder))
        try:
            yield store
        finally:
            store.close()


def _put_event(store: CloudStore, number: int, boxes: int = 2) -> int:
    event_id = put_waveforms(store, number, boxes)
    store.finish_event(event_id)
    return event_id
