"""Every figure of `bench makai`: CPU per Measurement, latency, memory, handshakes; compared with a forwarder.

For each number of Boxes Makai is started again, in three processes, with the Boxes in one more. CPU is user
and system time of Makai's processes over a span, so that other load matters less; their cost without any
Measurement is its own row and is not subtracted. Latencies are wall-clock times, which are longer on a
busy machine.
"""

import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from bench.harness.makai_processes import (
    SERVICES,
    MakaiProcesses,
    OrderedProcess,
    ProcessFigures,
    stage_quantile_s,
)
from bench.harness.result import Baseline, BenchCase, BenchResult, case, percentile
from opq_cloud.core.backend.allow_list import YOUNG_NS
from opq_gateway.uplink.connection import Endpoints
from opq_proto.kit.ports import PORTS
from opq_sim.faults.parts.free_ports import free_offset

RATES_HZ = (1.0, 6.0)
BOXES = (100, 1000, 2000)
"""Numbers of Boxes that are measured."""
QUICK_BOXES = (100,)
"""The same in a quick run."""
LOAD_S = 12.0
"""Length of a load."""
QUICK_LOAD_S = 2.0
"""The same in a quick run."""
CONNECT_S = 120.0
SETTLE_S = 1.5
"""Wait for Measurements on their way into the store."""
CROSSINGS = 1000
"""Crossings, at most; one of each Box."""
QUICK_CROSSINGS = 10
"""The same in a quick run."""
CROSSED_RATE_HZ = 6.0
"""Measurements of each Box while crossings come."""
CROSSINGS_PER_S = 5.0
"""Crossings per second."""
BARE_BOXES = 100
"""Boxes of the bare process."""
BARE_RATE_HZ = 6.0
"""Measurements of each of them per second."""
US_EACH = "us/Measurement"


def run(quick: bool) -> BenchResult:
    """Takes about five minutes; `quick` under one on an idle machine."""
    rows: list[BenchCase] = []
    load_s = QUICK_LOAD_S if quick else LOAD_S
    bare_us = 0.0
    for boxes in QUICK_BOXES if quick else BOXES:
        with tempfile.TemporaryDirectory() as folder:
            makai = MakaiProcesses(Path(folder), boxes, free_offset(0, 1)[0])
            try:
                rows += _of_boxes(makai, load_s, QUICK_CROSSINGS if quick else CROSSINGS)
                if boxes == BARE_BOXES:
                    bare_us = _bare(makai, load_s)
            finally:
                makai.close()
    name = f"{BARE_BOXES} Boxes at {BARE_RATE_HZ:g}/s: triggering-broker"
    mine = next(row for row in rows if row.case == name)
    bare = Baseline(f"{name.rpartition(':')[0]}: CURVE, decode, forward, nothing else", bare_us, "us")
    return BenchResult(tuple(rows), bare, mine.value / bare_us)


def _of_boxes(makai: MakaiProcesses, load_s: float, crossings: int) -> Iterator[BenchCase]:
    boxes = makai.boxes
    click.echo(f"{boxes} Boxes ...", err=True)
    time.sleep(YOUNG_NS / 1e9)  # key files that were just written are looked at more often
    idle = _all_figures(makai)
    time.sleep(load_s)
    begun = _all_figures(makai)
    for name in SERVICES:
        ms = (begun[name].cpu_s - idle[name].cpu_s) / load_s * 1e3
        yield case(f"{boxes} Boxes, none connected: {name}", "ms/s", [ms])
    load = makai.box_load()
    load.answer(order="connect")
    there = _all_figures(makai)
    until_s = time.monotonic() + CONNECT_S
    while there["acquisition-broker"].counters.get("opq_boxes_listening_total", 0.0) < boxes:
        if time.monotonic() > until_s:
            raise RuntimeError(f"not all of {boxes} Boxes listen to commands after {CONNECT_S:g} s")
        load.answer(order="run", rate_hz=0.01, seconds=0.2)
        there = _all_figures(makai)
    for name, sockets in (("triggering-broker", 1), ("acquisition-broker", 2)):
        count = boxes * sockets
        kb = (there[name].rss_bytes - begun[name].rss_bytes) / count / 1000
        yield case(f"{boxes} Boxes: memory a connection, {name}", "kB", [kb], limit=40.0)
        per_s = count / max(1e-6, there[name].cpu_s - begun[name].cpu_s)
        yield case(f"{boxes} Boxes: handshakes a core second, {name}", "", [per_s])
    for rate_hz in RATES_HZ:
        yield from _under_load(makai, load, rate_hz, load_s)
    yield from _crossings(
        f"{boxes} Boxes: crossing to its command beside {CROSSED_RATE_HZ:g}/s of each",
        load.answer(order="run", rate_hz=CROSSED_RATE_HZ, seconds=load_s, crossings_per_s=CROSSINGS_PER_S),
    )
    for name, each in _all_figures(makai).items():
        yield case(f"{boxes} Boxes: memory, {name}", "MB", [each.rss_bytes / 1e6])
    made = load.answer(order="cross", count=min(crossings, boxes))
    yield from _crossings(
        f"{boxes} Boxes: crossing to its command", made | {"crossings": min(crossings, boxes)}
    )
    first_s = load.answer(order="acknowledged", rate_hz=1.0)["latencies_s"]
    yield case(
        f"{boxes} Boxes at 1/s: sent and acknowledged, the last Box", "s", first_s, max(first_s, default=0.0)
    )
    makai.restart("triggering-broker", "acquisition-broker")
    again_s = load.answer(order="acknowledged", rate_hz=1.0)["latencies_s"]
    why = f"{boxes - len(again_s)} of {boxes} not acknowledged" if len(again_s) < boxes else ""
    name = f"{boxes} Boxes at 1/s: acknowledged again after both brokers were killed and are back, the last"
    yield case(name, "s", again_s, max(again_s, default=0.0), limit=10.0, because=why)


def _crossings(name: str, made: dict[str, Any]) -> Iterator[BenchCase]:
    missed = made["crossings"] - len(made["latencies_s"])
    found = [1e3 * each for each in made["latencies_s"]] or [math.inf]
    why = f"{missed} of {made['crossings']} without a command in time" if missed else ""
    for share, limit_ms in ((0.5, None), (0.99, 15.0), (0.999, 30.0)):
        yield case(
            f"{name}, p{100 * share:g}", "ms", found, percentile(found, share), limit=limit_ms, because=why
        )


def _under_load(
    makai: MakaiProcesses, load: OrderedProcess, rate_hz: float, load_s: float
) -> Iterator[BenchCase]:
    before = _all_figures(makai)
    made = load.answer(order="run", rate_hz=rate_hz, seconds=load_s)
    time.sleep(SETTLE_S)
    after = _all_figures(makai)
    service = "triggering-service"
    stored = after[service].counters.get("opq_measurements_stored_total", 0.0)
    stored -= before[service].counters.get("opq_measurements_stored_total", 0.0)
    name = f"{makai.boxes} Boxes at {rate_hz:g}/s"
    whole = stored == made["sent"] and not made["refused"]
    lost = "" if whole else f"{made['sent']} sent, {made['refused']} refused, {stored:.0f} stored"
    total_us = 0.0
    for each in SERVICES:
        us = (after[each].cpu_s - before[each].cpu_s) / made["sent"] * 1e6
        total_us += us
        why = lost if each == service else ""
        yield case(f"{name}: {each}", US_EACH, [us], because=why)
    writer = "opq_writer_cpu_seconds_total"
    writing_s = after[service].counters.get(writer, 0.0) - before[service].counters.get(writer, 0.0)
    yield case(f"{name}: its thread into the store", US_EACH, [writing_s / made["sent"] * 1e6])
    yield case(f"{name}: Makai in all", US_EACH, [total_us], limit=16.7)
    for stage in ("measurement_judged", "measurement_stored"):
        ms = 1e3 * stage_quantile_s(before[service], after[service], stage, 0.99)
        yield case(f"{name}: {stage}, p99 at most", "ms", [ms])


def _bare(makai: MakaiProcesses, load_s: float) -> float:
    """CPU of the baseline per Measurement in µs, under the same load."""
    (spare,) = free_offset(0, 1)
    source, sink, *_ = (f"tcp://127.0.0.1:{port + spare}" for port in sorted(PORTS.values()))
    bare = makai.ordered("bench.harness.bare_forwarder", str(makai.curve), source, sink)
    bare.answer()
    nobody = f"tcp://127.0.0.1:{PORTS['command_box'] + spare + 1}"
    load = makai.load_at(Endpoints(source, nobody, nobody), BARE_BOXES)
    load.answer(order="connect")
    bare.answer(order="figures")
    load.answer(order="run", rate_hz=BARE_RATE_HZ, seconds=load_s)
    time.sleep(SETTLE_S)
    figures = bare.answer(order="figures")
    return float(figures["cpu_s"] / figures["messages"] * 1e6)


def _all_figures(makai: MakaiProcesses) -> dict[str, ProcessFigures]:
    return {name: makai.figures(name) for name in SERVICES}
