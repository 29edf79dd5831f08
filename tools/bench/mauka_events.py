"""Mauka's cost of events: CPU of all analyses on 10 s, time from storing to incident notice, bursts, idle.

Wall-clock times are meaningful only on free cores; bursts have a row with the cores that they got.
"""

import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from numpy.typing import NDArray

from bench.own_processes import cpu_s
from bench.result import BenchCase, case
from opq_cloud.mauka.incident_notice import INCIDENT
from opq_cloud.mauka.measuring import results as measuring
from opq_cloud.mauka.plugin import PUB_KEY, SUB_KEY
from opq_cloud.mauka.runner import AnalysisRunner
from opq_cloud.mauka.running.analysis_tasks import AnalysisSetup
from opq_cloud.mauka.running.built_in_analyses import load_analyses
from opq_cloud.mauka.running.event_analysis import analyse_event
from opq_cloud.mauka.running.event_jobs import EventJobs
from opq_cloud.mauka.running.executor import WorkerProcesses
from opq_cloud.store import CloudStore, open_store
from opq_proto.decision import Nominal
from opq_proto.messages import Event, TimeSource, Trigger, Waveform
from opq_proto.wire.mauka_pb2 import MaukaMessage
from opq_sim.mains.grid import Grid
from opq_sim.mains.phase_events import PhaseJumpEvent
from opq_sim.mains.rms_events import Sag
from opq_sim.mains.transients import OscillatoryTransient
from opq_sim.mains.voltage import Mains
from opq_sim.mains.wave import Harmonic, Wave

RATE_HZ = 12_000
V_PER_LSB = 0.0068
NOMINAL = Nominal(120.0, 60.0)
START_NS = 1_765_792_486_000_000_000
LIMIT_MS = 150.0
LATENCY_MS = 250.0
REPEATS = 4
EVENTS, QUICK_EVENTS = 60, 20
ONE_BY_ONE = 1000
WARM_EVENTS = 6
IDLE_S = 5.0
MEMORY_BYTES, CALL_S = 1 << 30, 60.0
NOBODY = "tcp://127.0.0.1:9"
END_S = 300.0


def rows(quick: bool) -> Iterator[BenchCase]:
    """Yields all rows; the CPU of a plain waveform is for comparison with an eventful one."""
    click.echo("all analyses on 10 s ...", err=True)
    yield case("all analyses on a plain 10 s, CPU", "ms", [_waveform_ms(eventful=False)])
    yield case("all analyses on an eventful 10 s, CPU", "ms", [_waveform_ms(eventful=True)], limit=LIMIT_MS)
    for boxes, many in ((2, QUICK_EVENTS if quick else ONE_BY_ONE), (12, 2 if quick else ONE_BY_ONE // 10)):
        yield from _latencies(boxes, many)
    count = QUICK_EVENTS if quick else EVENTS
    for processes in (0, 1, 2):
        click.echo(f"{count} events at once, {processes} processes ...", err=True)
        wall_s, cpu_s = _burst(count, processes)
        name = f"{processes} processes" if processes else "Mauka's own process"
        yield case(f"events a second, a burst, {name}", "1/s", [count / wall_s])
        yield case(f"CPU of an event of a burst, {name}", "ms", [1000 * cpu_s / count])
        yield case(f"cores that a burst got, {name}", "", [cpu_s / wall_s])
    yield case("an idle runner, CPU of each second", "ms", [_idle_ms()])


def _waveform_ms(eventful: bool) -> float:
    """Least CPU of several runs, each without cached results."""
    parts = (
        Sag(depth=0.4, cycles=8, start_s=2, angle_deg=30),
        PhaseJumpEvent(degrees=20, start_s=2, angle_deg=30),
        OscillatoryTransient(peak_pu=0.4, ring_hz=900, decay_s=0.003, start_s=4.5, angle_deg=70),
        Sag(depth=0.6, cycles=20, start_s=6, angle_deg=80),
        PhaseJumpEvent(degrees=-25, start_s=6, angle_deg=80),
        OscillatoryTransient(peak_pu=0.3, ring_hz=600, decay_s=0.003, start_s=8.2, angle_deg=70),
    )
    wave = Wave(NOMINAL.volts, (Harmonic(3, 0.8, 20), Harmonic(5, 1.5, 70)))
    mains = Mains(rate_hz=RATE_HZ, grid=Grid(60.013), wave=wave, disturbances=parts if eventful else ())
    volts = mains.clean_v(np.arange(10 * RATE_HZ) / RATE_HZ)
    volts += np.random.default_rng(1).normal(0, NOMINAL.volts * 10 ** (-30 / 20), len(volts))
    one = _waveform(np.round(volts / V_PER_LSB).astype(np.int16), START_NS)
    event = Event(1, START_NS, one.end_ns, (one,))
    analyses, spent_s = load_analyses([]), []
    for _ in range(REPEATS):
        measuring.RESULTS = measuring.MeasuredResults()
        began_s = time.process_time()
        found = analyse_event(event, analyses, lambda _: NOMINAL, {})
        spent_s.append(time.process_time() - began_s)
        assert not found.failed and bool(found.findings) == eventful
    return 1000 * min(spent_s)


def _latencies(boxes: int, count: int) -> Iterator[BenchCase]:
    """Percentiles of wall time, and of the thread's own CPU, which depends less on other load."""
    click.echo(f"{count} events of {boxes} Boxes, one at a time ...", err=True)
    spent = list(_spent_ms(boxes, count))
    for until in ("its incident announced", "all findings stored"):
        for what in ("", ", CPU"):
            spent_ms = sorted(each[until, what] for each in spent)
            name = f"waveforms of {boxes} Boxes stored to {until}{what}"
            why = f"{count} events, load {os.getloadavg()[0]:.1f}"
            for percent in (50, 90, 99):
                value = spent_ms[math.ceil(percent / 100 * count) - 1]
                is_limited = percent == 99 and not what and until == "its incident announced"
                limit = LATENCY_MS if is_limited else None
                yield case(f"{name}, p{percent}", "ms", [value], limit=limit, because=why)
            yield case(f"{name}, longest", "ms", [spent_ms[-1]], because=why)


class _TimedRunner(AnalysisRunner):
    """Notes when it first publishes an incident, which is when pages get it."""

    announced: tuple[float, float] | None = None

    def produce(self, topic: str, message: MaukaMessage | bytes) -> None:
        if topic == INCIDENT and self.announced is None:
            self.announced = time.monotonic(), time.thread_time()
        super().produce(topic, message)


def _spent_ms(boxes: int, count: int) -> Iterator[dict[tuple[str, str], float]]:
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


def _burst(count: int, processes: int) -> tuple[float, float]:
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
            cpu_s, began_s = _cpu_s(runner), time.monotonic()
            while store.unanalysed_events():
                assert time.monotonic() < began_s + END_S
                time.sleep(0.2)
            return time.monotonic() - began_s, _cpu_s(runner) - cpu_s
        finally:
            stop.set()
            thread.join()


def _idle_ms() -> float:
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


def _cpu_s(runner: AnalysisRunner) -> float:
    """CPU seconds of this process and those of the pool."""
    return time.process_time() + sum(cpu_s(row["pid"]) for row in runner.jobs.rows())


def _runner(store: CloudStore, processes: int = 0) -> _TimedRunner:
    """A runner without results of waveforms that were measured before; 0 processes: in this one."""
    measuring.RESULTS = measuring.MeasuredResults()
    jobs = None
    if processes:
        jobs = EventJobs(WorkerProcesses(processes, MEMORY_BYTES), AnalysisSetup(), CALL_S)
    bus = {PUB_KEY: NOBODY, SUB_KEY: NOBODY}
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


def put_waveforms(store: CloudStore, number: int, boxes: int) -> int:
    """Stores an event of 3 s with a dip and noise of 40 dB; no two waveforms are the same."""
    box_ids = tuple(str(place + 1) for place in range(boxes))
    chance = np.random.default_rng(number)
    start_ns = START_NS + number * 100 * 10**9
    span = (start_ns, start_ns + 3 * 10**9)
    event_id = store.open_event(Trigger(f"t{number}", *span, box_ids, "1", "bench"), "bench")
    t_s = np.arange(3 * RATE_HZ) / RATE_HZ
    volts = 120 * math.sqrt(2) * np.sin(2 * math.pi * 60 * t_s)
    volts[RATE_HZ : 2 * RATE_HZ] *= chance.uniform(0.3, 0.85)
    for box_id in box_ids:
        counts = np.round((volts + chance.normal(0, 1.2, len(volts))) / V_PER_LSB).astype(np.int16)
        store.put_waveform(event_id, _waveform(counts, start_ns, box_id))
    return event_id


def _waveform(counts: NDArray[np.int16], start_ns: int, box_id: str = "1") -> Waveform:
    return Waveform(box_id, start_ns, 1000, TimeSource.GPS, RATE_HZ * 1000, V_PER_LSB, 0, counts)
