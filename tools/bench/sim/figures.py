"""Every figure of `bench sim`: cost of a simulated Box at each depth, compared with the first depth.

(a) Boxes on ptys and a gateway; (b) samples into the gateway's code, no serial line; (c) Measurements in
closed form; a history under a virtual clock. Cost is CPU of our processes: brokers are a plain listener,
which is not counted. One process with a sixth of ten thousand Boxes is measured, and the whole is six times
that: six at once would measure the machine. On busy cores the same work takes up to twice the CPU time, and a
process that gets no core has made less of what was due when the time is over. Baseline: depth (a).

Each part is bounded. What cannot be measured in its time is named, counted in the last row and left out; the
others stand.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from bench.gateway.house import house
from bench.own_processes import cpu_s
from bench.result import Baseline, BenchCase, BenchResult, case
from bench.sim.fleets import FleetCost, fleet
from bench.sim.stages import stage_costs_ms
from opq_proto.errors import OpqError

PROCESSES = 6
BOXES, QUICK_BOXES = 1667, 150
SAMPLED, QUICK_SAMPLED = 64, 16
TOGETHER, ROUNDS, QUICK_ROUNDS = 30, 20, 5
"""Boxes that are measured at once, a tenth of PER_CORE as in a fleet's process; seconds of signal."""
PTY_BOXES, QUICK_PTY_BOXES = 16, 4
WATCH_S, QUICK_WATCH_S = 30.0, 3.0
WAVEFORMS_PER_S = 100.0
ANSWERED_S = 2.0
"""Requests of waveforms begin so long before they are counted, and the last are answered so long after."""
HISTORY_BOXES, HISTORY_S, QUICK_HISTORY_S = 100, 3600.0, 120.0
WHOLE_1, WHOLE_6 = 0.6, 2.5
"""CPU seconds per second of 10,000 Boxes at one and at six Measurements a second."""
BOX_KB, PER_CORE, BOX_HOURS_PER_MINUTE = 150.0, 300.0, 600.0
ENDS_S, QUICK_ENDS_S = 600.0, 55.0
"""Time after which no part begins, and no part waits for its Boxes."""
BY_LINE = "(a) Boxes on ptys and a gateway: a Box"
Part = Callable[[float], list[BenchCase]]
"""Measures within about the given seconds; raises OpqError where it cannot."""


def run(quick: bool) -> BenchResult:
    """Takes about 4 minutes, at most 10; `quick` half a minute on free cores, at most one."""
    watch_s = QUICK_WATCH_S if quick else WATCH_S
    boxes = QUICK_BOXES if quick else BOXES
    parts: dict[str, Part] = {
        "(a)": partial(_by_line, QUICK_PTY_BOXES if quick else PTY_BOXES, watch_s),
        "(b)": partial(_sampled, QUICK_SAMPLED if quick else SAMPLED, watch_s),
        "(b), no sockets": partial(_staged, QUICK_ROUNDS if quick else ROUNDS),
        "(c) at 1/s": partial(_closed, boxes, 60, watch_s, False),
        "(c) at 6/s": partial(_closed, boxes, 10, watch_s, True),
        "history": partial(_history, QUICK_HISTORY_S if quick else HISTORY_S),
    }
    rows = measured(parts, QUICK_ENDS_S if quick else ENDS_S)
    found = {row.case: row.value for row in rows}
    by_line_ms = found.get(BY_LINE, 0.0)
    ratio = found.get("(c) at 1/s: a Box", 0.0) / by_line_ms if by_line_ms else 0.0
    return BenchResult(tuple(rows), Baseline(BY_LINE, by_line_ms, "ms/s"), ratio)


def measured(parts: dict[str, Part], within_s: float) -> list[BenchCase]:
    """The rows of all parts one after another; the last row counts those that could not be measured."""
    ends_s = time.monotonic() + within_s
    rows: list[BenchCase] = []
    missing: list[str] = []
    for name, part in parts.items():
        try:
            rows += part(ends_s - time.monotonic())
        except OpqError as error:
            missing.append(f"{name}: {error}")
            click.echo(f"not measured: {missing[-1]}", err=True)
    row = case(
        "parts that were not measured", "", [float(len(missing))], limit=0.0, because="; ".join(missing)
    )
    return [*rows, row]


def _by_line(boxes: int, watch_s: float, left_s: float) -> list[BenchCase]:
    """Cost per Box and second: the gateway's process and that of cheap Boxes on ptys."""
    click.echo(f"{boxes} Boxes on ptys ...", err=True)
    with house(boxes, config={"ring": {"compress": False}, "measuring": {"flicker": False}}) as up:
        up.rest(5.0)
        before_s, began_s = cpu_s(up.pid("boxes")), time.monotonic()
        gateway = up.cost(watch_s)
        own = (cpu_s(up.pid("boxes")) - before_s) / (time.monotonic() - began_s)
    return [case(BY_LINE, "ms/s", [(gateway.cpu_ms_per_s + own * 1e3) / boxes])]


def _history(seconds: float, left_s: float) -> list[BenchCase]:
    click.echo(f"{seconds / 60:g} minutes of {HISTORY_BOXES} Boxes as a history ...", err=True)
    pace = history_pace(HISTORY_BOXES, seconds, left_s)
    return [
        case("history: CPU of a Box-hour", "s", [60 / pace], limit=60 / BOX_HOURS_PER_MINUTE),
        case("history: Box-hours per CPU minute", "", [pace]),
    ]


def _sampled(boxes: int, watch_s: float, left_s: float) -> list[BenchCase]:
    click.echo(f"{boxes} Boxes, samples into the gateway's code ...", err=True)
    with fleet(boxes, 60, samples=True, start_s=left_s - watch_s) as up:
        found = up.cost(watch_s)
    each_ms = found.cpu_s_per_s / boxes * 1e3
    return [
        case("(b) samples, no serial line: a Box", "ms/s", [each_ms], limit=1e3 / PER_CORE),
        case("(b) Boxes per core", "", [1e3 / each_ms]),
        case("(b) memory per Box, without the process's own", "kB", [found.boxes_kb / boxes]),
        _lost("(b)", found),
    ]


def _staged(rounds: int, left_s: float) -> list[BenchCase]:
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


def _closed(boxes: int, cycles: int, watch_s: float, waveforms: bool, left_s: float) -> list[BenchCase]:
    rate, limit = 60 // cycles, WHOLE_1 if cycles == 60 else WHOLE_6
    name = f"(c) at {rate}/s"
    click.echo(f"{boxes} Boxes in closed form at {rate}/s ...", err=True)
    answering, unanswered, why = None, 0, ""
    with fleet(boxes, cycles, start_s=left_s - watch_s * (1 + waveforms)) as up:
        found = up.cost(watch_s)
        if waveforms:
            up.traffic(WAVEFORMS_PER_S / PROCESSES)
            time.sleep(ANSWERED_S)
            answering = up.cost(watch_s, WAVEFORMS_PER_S / PROCESSES)
            time.sleep(ANSWERED_S)
            in_all = up.traffic()
            unanswered = in_all.requested - in_all.answers
            why = _not_answered(up.counts()[2]) if unanswered else ""
    whole = 10_000 / boxes
    traffic = found.traffic.measurements / (boxes * rate * found.elapsed_s)
    rows = [
        case(f"{name}: a Box", "ms/s", [found.cpu_s_per_s / boxes * 1e3]),
        case(f"{name}: a Measurement", "us", [found.cpu_s_per_s / boxes / rate * 1e6]),
        case(f"{name}: 10,000 Boxes", "CPU s/s", [found.cpu_s_per_s * whole], limit=limit),
        case(f"{name}: received of what is wanted", "", [traffic]),
        case(f"{name}: memory per Box, process apart", "kB", [found.boxes_kb / boxes], limit=BOX_KB),
        case(f"{name}: memory per Box, all", "kB", [found.memory_kb / boxes]),
        case(f"{name}: start, CPU per Box", "ms", [found.start_cpu_s / boxes * 1e3]),
        _lost(name, found),
    ]
    if answering is not None:
        answered = answering.traffic.answers / answering.elapsed_s
        each_ms = (answering.cpu_s_per_s - found.cpu_s_per_s) / max(answered, 1e-9) * 1e3
        rows += [
            case("(c) waveforms of 3 s beside, six processes", "1/s", [answered * PROCESSES]),
            case(
                "(c) of waveforms requested at 100 a second, unanswered",
                "",
                [float(unanswered)],
                limit=0.0,
                because=why,
            ),
            case("(c) a waveform of 3 s", "ms", [each_ms]),
            case(
                "(c) samples of a waveform",
                "",
                [answering.traffic.samples / max(answering.traffic.answers, 1)],
            ),
        ]
    return rows


def _not_answered(counts: dict[str, int]) -> str:
    """Counts of answers that the Boxes themselves dropped; others were late, or lost at the listener."""
    dropped, refused = counts["answers_dropped"], counts["commands_overflow"]
    return f"{dropped} dropped as their socket was full, {refused} refused as too many waited"


def _lost(name: str, found: FleetCost) -> BenchCase:
    lost = (
        found.counts["expired"]
        + found.counts["not_held"]
        + found.counts["answers_dropped"]
        + found.traffic.missing
    )
    return case(f"{name}: lost or dropped", "", [float(lost)], limit=0.0)


MIN_S = 10.0


def history_pace(boxes: int, seconds: float, within_s: float) -> float:
    """Box-hours per CPU minute of `sim history` over so many seconds of undisturbed Boxes.

    Raises:
        OpqError: it did not end within `within_s`, or ended with an error.
    """
    with tempfile.TemporaryDirectory(prefix="opq-bench-") as folder:
        command = [sys.executable, "-c", "from opq_tools.cli import main; main()", "sim", "history"]
        command += ["--days", str(seconds / 86_400), "--boxes", str(boxes)]
        command += ["--into", str(Path(folder) / "data"), "--json"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=max(MIN_S, within_s), check=False
            )
        except subprocess.TimeoutExpired:
            raise OpqError(f"the history of {seconds:g} s did not end within {within_s:.0f} s") from None
    if done.returncode:
        raise OpqError(f"the history ended with an error: {done.stderr.strip()[-200:]}")
    pace: float = json.loads(done.stdout)["box_hours_per_cpu_minute"]
    return pace
