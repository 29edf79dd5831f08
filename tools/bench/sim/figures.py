"""Every figure of `bench sim`: what a simulated Box costs at each depth, beside the first in the same run.

(a) Boxes on ptys and a gateway; (b) samples into the gateway's code, no serial line; (c) Measurements in
closed form. Cost is CPU of our processes: brokers are a plain listener, which is not counted. One process
with a sixth of ten thousand Boxes is measured, and the whole is six times that: six at once would measure the
machine. On busy cores the same work takes up to twice the CPU time. Baseline: depth (a).
"""

import time

import click
import psutil

from bench.gateway.house import house
from bench.result import Baseline, BenchCase, BenchResult, case
from bench.sim.fleets import FleetCost, fleet
from bench.sim.stages import stage_costs_ms

PROCESSES = 6
BOXES, QUICK_BOXES = 1667, 400
SAMPLED, QUICK_SAMPLED = 64, 32
TOGETHER, ROUNDS, QUICK_ROUNDS = 30, 20, 8
"""Boxes that are measured at once, a tenth of PER_CORE as in a fleet's process; seconds of signal."""
PTY_BOXES, QUICK_PTY_BOXES = 16, 8
WATCH_S, QUICK_WATCH_S = 30.0, 8.0
WAVEFORMS_PER_S = 100.0
WHOLE_1, WHOLE_6 = 0.6, 2.5
"""CPU seconds a second of 10,000 Boxes at one and at six Measurements a second."""
BOX_KB, PER_CORE = 150.0, 300.0


def run(quick: bool) -> BenchResult:
    """Takes some 4 minutes; `quick` some 1.5."""
    watch_s = QUICK_WATCH_S if quick else WATCH_S
    by_line_ms = _by_line_ms(QUICK_PTY_BOXES if quick else PTY_BOXES, watch_s)
    rows = [case("(a) Boxes on ptys and a gateway: a Box", "ms/s", [by_line_ms])]
    rows += _sampled(QUICK_SAMPLED if quick else SAMPLED, watch_s)
    rows += _staged(QUICK_ROUNDS if quick else ROUNDS)
    boxes = QUICK_BOXES if quick else BOXES
    found = _closed(boxes, 60, watch_s, waveforms=False)
    each_ms = found[0].value
    rows += found
    rows += _closed(boxes, 10, watch_s, waveforms=True)
    base = Baseline("(a) Boxes on ptys and a gateway: a Box", by_line_ms, "ms/s")
    return BenchResult(tuple(rows), base, each_ms / by_line_ms)


def _by_line_ms(boxes: int, watch_s: float) -> float:
    """Of a Box and second: the gateway's process and that of cheap Boxes on ptys."""
    click.echo(f"{boxes} Boxes on ptys ...", err=True)
    with house(boxes, config={"ring": {"compress": False}, "measuring": {"flicker": False}}) as up:
        up.rest(5.0)
        process = psutil.Process(up.pid("boxes"))
        before, began_s = process.cpu_times(), time.monotonic()
        gateway = up.cost(watch_s)
        after, elapsed_s = process.cpu_times(), time.monotonic() - began_s
    own_s = after.user + after.system - before.user - before.system
    return (gateway.cpu_ms_per_s + own_s / elapsed_s * 1e3) / boxes


def _sampled(boxes: int, watch_s: float) -> list[BenchCase]:
    click.echo(f"{boxes} Boxes, samples into the gateway's code ...", err=True)
    with fleet(boxes, 60, samples=True) as up:
        found = up.cost(watch_s)
    each_ms = found.cpu_s_per_s / boxes * 1e3
    return [
        case("(b) samples, no serial line: a Box", "ms/s", [each_ms], limit=1e3 / PER_CORE),
        case("(b) Boxes per core", "", [1e3 / each_ms]),
        case(
            "(b) memory per Box, without the process's own", "kB", [(found.memory_kb - found.base_kb) / boxes]
        ),
        _lost("(b)", found),
    ]


def _staged(rounds: int) -> list[BenchCase]:
    click.echo(f"{TOGETHER} Boxes from samples to Measurements under a virtual clock ...", err=True)
    fleet_ms, gateway_ms = (stage_costs_ms(TOGETHER, rounds, local) for local in (False, True))
    whole_ms = sum(fleet_ms.values())
    measured_ms = sum(cost for stage, cost in gateway_ms.items() if stage not in ("samples", "crossings"))
    return [
        *(case(f"(b) {stage}, no sockets: a Box", "ms/s", [cost]) for stage, cost in fleet_ms.items()),
        case("(b) all stages, no sockets: a Box", "ms/s", [whole_ms], limit=1e3 / PER_CORE),
        case("(b) Boxes per core, no sockets", "", [1e3 / whole_ms]),
        case("a real Box in the gateway's measuring: Boxes per core", "", [1e3 / measured_ms]),
    ]


def _closed(boxes: int, cycles: int, watch_s: float, waveforms: bool) -> list[BenchCase]:
    rate, limit = 60 // cycles, WHOLE_1 if cycles == 60 else WHOLE_6
    name = f"(c) at {rate}/s"
    click.echo(f"{boxes} Boxes in closed form at {rate}/s ...", err=True)
    with fleet(boxes, cycles) as up:
        found = up.cost(watch_s)
        asked = up.cost(watch_s, WAVEFORMS_PER_S / PROCESSES) if waveforms else None
    whole = 10_000 / boxes
    heard = found.heard.measurements / (boxes * rate * found.elapsed_s)
    own_kb = found.memory_kb - found.base_kb
    rows = [
        case(f"{name}: a Box", "ms/s", [found.cpu_s_per_s / boxes * 1e3]),
        case(f"{name}: a Measurement", "us", [found.cpu_s_per_s / boxes / rate * 1e6]),
        case(f"{name}: 10,000 Boxes", "CPU s/s", [found.cpu_s_per_s * whole], limit=limit),
        case(f"{name}: heard of what is wanted", "", [heard]),
        case(f"{name}: memory per Box, process apart", "kB", [own_kb / boxes], limit=BOX_KB),
        case(f"{name}: memory per Box, all", "kB", [found.memory_kb / boxes]),
        case(f"{name}: start, CPU per Box", "ms", [found.start_cpu_s / boxes * 1e3]),
        _lost(name, found),
    ]
    if asked is not None:
        answered = asked.heard.answers / asked.elapsed_s
        each_ms = (asked.cpu_s_per_s - found.cpu_s_per_s) / max(answered, 1e-9) * 1e3
        rows += [
            case("(c) waveforms of 3 s beside, six processes", "1/s", [answered * PROCESSES]),
            case("(c) a waveform of 3 s", "ms", [each_ms]),
            case("(c) samples of a waveform", "", [asked.heard.samples / max(asked.heard.answers, 1)]),
        ]
    return rows


def _lost(name: str, found: FleetCost) -> BenchCase:
    lost = (
        found.counts["expired"]
        + found.counts["not_held"]
        + found.counts["answers_dropped"]
        + found.heard.missing
    )
    return case(f"{name}: lost or dropped", "", [float(lost)], limit=0.0)
