"""Gain of bulk re-analysis from a second worker: stored events on a Dask scheduler's processes.

The same run measures the ceiling: one and two independent plain processes, each with its share of the same
events. Times are wall-clock times, meaningful only on free cores; so each row has the share of the cores that
the workers got, and the CPU per event, which shows the cost of Dask and of a second worker.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from bench.result import Baseline, BenchCase, BenchResult, case
from opq_cloud.mauka.bulk.dask_workers import DaskWorkers, dask_client
from opq_cloud.mauka.bulk.stored_events import BulkWork, analyse_events, analyse_in_bulk
from opq_cloud.store import open_store
from opq_proto.decision import Nominal
from opq_proto.messages import TimeSource, Trigger, Waveform

EVENTS, QUICK_EVENTS = 120, 12
SECONDS = 3
RATE_HZ = 12_000
START_NS = 1_765_792_486_000_000_000
V_PER_LSB = 0.0068
MIN_GAIN = 1.8
SEED = 1
PLAIN, DASK = ("plain process", "plain processes"), ("Dask worker", "Dask workers")


def run(quick: bool) -> BenchResult:
    """Takes under a minute on free cores; `quick` has 12 events."""
    count = QUICK_EVENTS if quick else EVENTS
    rows: list[BenchCase] = []
    rates: dict[tuple[str, int], float] = {}
    with TemporaryDirectory() as folder:
        _store_events(Path(folder), count)
        for kind, measured in ((PLAIN, _in_processes), (DASK, _analysed)):
            for workers in (1, 2):
                name = f"{workers} {kind[0] if workers == 1 else kind[1]}"
                click.echo(f"{count} events on {name} ...", err=True)
                wall_s, cpu_s, own_s = measured(Path(folder), count, workers)
                rates[kind[0], workers] = count / wall_s
                rows.append(case(f"events a second, {name}", "1/s", [count / wall_s]))
                rows.append(case(f"CPU of an event, {name}", "ms", [1000 * cpu_s / count]))
                rows.append(case(f"cores had, {name}", "", [cpu_s / wall_s]))
                rows.append(case(f"CPU of who asks, an event, {name}", "ms", [1000 * own_s / count]))
    ceiling, gain = (rates[kind[0], 2] / rates[kind[0], 1] for kind in (PLAIN, DASK))
    load = f"load {os.getloadavg()[0]:.1f}"
    rows.append(case("gain of the second plain process, the ceiling", "", [ceiling], because=load))
    rows.append(
        case("gain of the second worker", "", [gain], because=f"{load}, {MIN_GAIN} wanted of free cores")
    )
    rows.append(case("share of the ceiling that the second worker gains", "", [gain / ceiling]))
    base = rates[DASK[0], 1]
    return BenchResult(tuple(rows), Baseline("events a second, 1 Dask worker", base, "1/s"), gain)


def _in_processes(folder: Path, count: int, processes: int) -> tuple[float, float, float]:
    """(seconds, CPU seconds of the processes, of this one); each process gets its share at the start."""
    work = BulkWork.of(None, folder, (), Nominal(120.0, 60.0))
    shares = [list(range(1 + first, count + 1, processes)) for first in range(processes)]
    made = get_context("spawn")
    barrier = made.Barrier(processes + 1)
    with ProcessPoolExecutor(processes, made, _keep_barrier, (barrier,)) as pool:
        under_way = [pool.submit(_share_cpu_s, work, share) for share in shares]
        barrier.wait()
        began_s, own_s = time.monotonic(), time.process_time()
        spent_s = sum(each.result() for each in under_way)
        return time.monotonic() - began_s, spent_s, time.process_time() - own_s


BARRIER: list[Barrier] = []


def _keep_barrier(barrier: Barrier) -> None:
    BARRIER[:] = [barrier]


def _share_cpu_s(work: BulkWork, event_ids: list[int]) -> float:
    """CPU seconds of a share, without imports and opening the store."""
    analyse_events(work, [1] * 8)
    BARRIER[0].wait()
    before_s = time.process_time()
    found = analyse_events(work, event_ids)
    assert len(found) == len(event_ids) and not any(one.failed for one in found)
    return time.process_time() - before_s


def _analysed(folder: Path, count: int, workers: int) -> tuple[float, float, float]:
    """The same for Dask workers, without their start; their scheduler is in this process, too."""
    work = BulkWork.of(None, folder, (), Nominal(120.0, 60.0))
    with dask_client(f"local:{workers}") as client:
        executor = DaskWorkers(client)
        list(analyse_in_bulk(executor, work, [1] * (8 * workers)))  # warm-up: imports, opens the store
        cpu_before = _cpu_s(client.run)
        began_s, own_s = time.monotonic(), time.process_time()
        found = list(analyse_in_bulk(executor, work, list(range(1, count + 1))))
        wall_s, own_s = time.monotonic() - began_s, time.process_time() - own_s
        assert len(found) == count and not any(one.failed for one in found)
        return wall_s, _cpu_s(client.run) - cpu_before, own_s


def _cpu_s(run_everywhere: Callable[..., dict[str, float]]) -> float:
    return sum(run_everywhere(time.process_time).values())


def _store_events(folder: Path, count: int) -> None:
    """Stores events of one Box each, a dip with noise of 40 dB; no two are the same."""
    chance = np.random.default_rng(SEED)
    t_s = np.arange(SECONDS * RATE_HZ) / RATE_HZ
    store = open_store(None, folder)
    for number in range(count):
        start_ns = START_NS + number * 100 * 10**9
        volts = 120 * np.sqrt(2) * np.sin(2 * np.pi * 60 * t_s)
        volts[RATE_HZ : 2 * RATE_HZ] *= chance.uniform(0.3, 0.85)
        volts += chance.normal(0, 1.2, len(volts))
        counts = np.round(volts / V_PER_LSB).astype(np.int16)
        span = (start_ns, start_ns + SECONDS * 10**9)
        event_id = store.open_event(Trigger(f"t{number}", *span, ("1",), "1", "bench"), "bench")
        wave = Waveform("1", start_ns, 1000, TimeSource.GPS, RATE_HZ * 1000, V_PER_LSB, 0, counts)
        store.put_waveform(event_id, wave)
        store.finish_event(event_id)
    store.close()
