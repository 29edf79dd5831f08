"""What re-analysis in bulk gains from a second worker: stored events on a Dask scheduler's processes.

Times are of the wall, and mean something only where the cores are free: beside them stands how much of them
the workers got, and the CPU that an event took, which says what two workers cost more than one.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from bench.result import Baseline, BenchCase, BenchResult, case
from opq_cloud.mauka.bulk import BulkWork, analyse_in_bulk, bulk_client
from opq_cloud.store import open_store
from opq_proto.decision import Nominal
from opq_proto.messages import TimeSource, Trigger, Waveform

EVENTS, QUICK_EVENTS = 120, 40
SECONDS = 3
RATE_HZ = 12_000
START_NS = 1_765_792_486_000_000_000
V_PER_LSB = 0.0068
LEAST_GAIN = 1.8
SEED = 1


def run(quick: bool) -> BenchResult:
    """Under a minute on free cores; `quick` has 40 events."""
    count = QUICK_EVENTS if quick else EVENTS
    rows: list[BenchCase] = []
    rates: dict[int, float] = {}
    with TemporaryDirectory() as folder:
        _store_events(Path(folder), count)
        for workers in (1, 2):
            click.echo(f"{count} events on {workers} worker{'s' * (workers > 1)} ...", err=True)
            wall_s, cpu_s = _analysed(Path(folder), count, workers)
            rates[workers] = count / wall_s
            name = f"{workers} worker{'s' * (workers > 1)}"
            rows.append(case(f"events a second, {name}", "1/s", [rates[workers]]))
            rows.append(case(f"CPU of the workers for an event, {name}", "ms", [1000 * cpu_s / count]))
            rows.append(case(f"cores that the workers got, {name}", "", [cpu_s / wall_s]))
    gain = rates[2] / rates[1]
    load = os.getloadavg()[0]
    rows.append(
        case("gain of the second worker", "", [gain], because=f"load {load:.1f}, {LEAST_GAIN} wanted")
    )
    return BenchResult(tuple(rows), Baseline("events a second, 1 worker", rates[1], "1/s"), gain)


def _analysed(folder: Path, count: int, workers: int) -> tuple[float, float]:
    """(seconds, CPU seconds of the worker processes) for all events, without the start of the workers."""
    work = BulkWork.of(None, folder, (), Nominal(120.0, 60.0))
    with bulk_client(f"local:{workers}") as client:
        list(analyse_in_bulk(client, work, [1] * (8 * workers)))  # imports, store opened
        cpu_before = _cpu_s(client.run)
        began_s = time.monotonic()
        found = list(analyse_in_bulk(client, work, list(range(1, count + 1))))
        wall_s = time.monotonic() - began_s
        assert len(found) == count and not any(one.failed for one in found)
        return wall_s, _cpu_s(client.run) - cpu_before


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
