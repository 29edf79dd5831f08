"""Every figure of `bench firmware`: load by stage, longest interrupt, memory by module, times of a Box.

NOT MEASURED ON SILICON. The real binary runs on our QEMU machine, which counts 8 ns for every instruction.
The firmware's own stage counters (DWT CYCCNT, read at its prompt after TO_S of sampling) are turned into
instructions by that. CYCLES a instruction at 168 MHz is a stated upper estimate for code in RAM and flash
with the accelerator; interrupts during a stage are counted in it too. Flash and RAM are the linker's, by
module from its map; stacks are the bounds of the build (-fstack-usage). The update is live, by the gateway's
code, in the Box's time: the machine erases and programs at the typical speed of DS8626, table 46.

The baseline is the firmware's limit: 30 % of the processor.
"""

import ast
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench.harness.result import Baseline, BenchCase, BenchResult, case
from opq_hil.backends.firmware import REPORT_FILE, Firmware
from opq_hil.backends.qemu import Qemu
from opq_hil.suites.box_update import update_box
from opq_hil.suites.scenario import Bench
from opq_hil.suites.updates import Versions, confirmed
from opq_hil.world.line import BenchLine, printed, typed
from opq_hil.world.world import NS_PER_S, World
from opq_proto.errors import OpqError
from opq_proto.firmware.image import Slot
from opq_proto.link.messages import LINK_BAUD, Samples
from opq_proto.messages import TimeSource
from opq_tools.hil.built_firmware import firmware_for

STAGES = ("decimate", "stamp", "frame", "features", "receive", "resend", "total")
"""Names as in `pipeline.stage`; `total` is one run of PendSV, all stages but decimate."""
NS_PER_INSTRUCTION = 8
CLOCK_HZ = 168_000_000
CYCLES = 1.5
HALVES_PER_BLOCK = 5
BLOCKS_PER_S = 60
LINE_BYTES_PER_S = LINK_BAUD / 10
LIMIT_PERCENT = 30.0
FROM_S, TO_S = 3, 8
LOCK_S = 40
"""Length of the run in which the time to lock is found."""
WALL_LIMIT_S = 600.0
MEMORY = {
    "flash": (0x0800_0000, 0x0810_0000),
    "SRAM": (0x2000_0000, 0x2002_0000),
    "CCM": (0x1000_0000, 0x1001_0000),
}
"""DS8626, 4: memory map."""
LAID = re.compile(r"^ \S+\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S+)$", re.M)
"""An entry of the linker's map: address, size, object; after a long name they are on the next line."""
MICROPYTHON = ("py", "extmod", "shared")


@dataclass(frozen=True, slots=True)
class StageInstructions:
    """Instructions of one call of a stage."""

    calls: int
    least: float
    mean: float
    most: float


def instructions(cycles: float) -> float:
    """Instructions for a CYCCNT count: 168 MHz of virtual time, of which an instruction takes 8 ns."""
    return cycles / (CLOCK_HZ * NS_PER_INSTRUCTION / 1e9)


def stages(bench: Bench, board: str) -> tuple[dict[str, StageInstructions], float]:
    """Figures of every stage after TO_S of sampling, and the bytes per second on the line."""
    lines = [
        "from opq import pipeline",
        *(f"print('stage', ('{name}', pipeline.stage('{name}')))" for name in STAGES),
    ]
    world = World((TO_S + 2) * NS_PER_S, messages=typed(TO_S * NS_PER_S, lines))
    run = bench.run(world, board, name=board)
    found = {}
    for text in printed(run.capture, "stage "):
        name, (calls, least, mean, most) = ast.literal_eval(text)
        found[name] = StageInstructions(calls, *(instructions(cycles) for cycles in (least, mean, most)))
    if set(found) != set(STAGES):
        raise OpqError(f"{board}: the prompt named {', '.join(found) or 'no stage'}; see {run.folder}")
    sent = sum(len(data) for t_ns, data in run.capture.entries() if FROM_S <= t_ns / NS_PER_S < TO_S)
    return found, sent / (TO_S - FROM_S)


def load_rows(board: str, found: Mapping[str, StageInstructions], line: float) -> Iterator[BenchCase]:
    """What the stages take, and what the line carries."""
    per_block = {name: stage.mean for name, stage in found.items()}
    per_block["decimate"] *= HALVES_PER_BLOCK
    runs_per_block = found["total"].calls * HALVES_PER_BLOCK / found["decimate"].calls
    per_block["total"] *= runs_per_block
    for name, stage in found.items():
        if stage.calls:
            calls = per_block[name] / stage.mean
            title = f"{board}: {'PendSV, all of it' if name == 'total' else name}, per block"
            spread = (stage.mean * calls, stage.least * calls, stage.most * calls)
            yield BenchCase(title, per_block[name], "instructions", *spread, stage.calls)
    percent = (per_block["decimate"] + per_block["total"]) * CYCLES * BLOCKS_PER_S / CLOCK_HZ * 100
    yield case(f"{board}: processor, upper estimate", "%", [percent], limit=LIMIT_PERCENT)
    for name, what in (("decimate", "of samples"), ("total", "of the pipeline")):
        longest_us = found[name].most * CYCLES / CLOCK_HZ * 1e6
        yield case(f"{board}: longest interrupt {what}, upper estimate", "us", [longest_us])
    yield case(f"{board}: link busy, fresh data", "%", [line / LINE_BYTES_PER_S * 100])


def memory_rows(board: str, firmware: Firmware) -> Iterator[BenchCase]:
    """Bytes by the build's report, against its budgets, and by module."""
    if firmware.update is None:
        raise OpqError(f"{board}: the firmware has no folder of a build")
    folder = firmware.update.parent
    figures = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))["figures"]
    for name, value in figures.items():
        if name.endswith("_bytes"):
            limit = figures["budgets"].get(name)
            text = f"{board}: {name.removesuffix('_bytes').replace('_', ' ')}"
            yield case(text, "bytes", [float(value)], limit=limit)
    linker_map = (folder / "obj" / "firmware_a.map").read_text(encoding="utf-8")
    for memory, modules in bytes_by_module(linker_map).items():
        for module, size in modules.most_common():
            yield case(f"{board}: {memory} of {module}", "bytes", [float(size)])


def bytes_by_module(linker_map: str) -> dict[str, Counter[str]]:
    """Memory -> module -> bytes, of GNU ld's map: a module is a folder of `device/cmodules`."""
    found: dict[str, Counter[str]] = {memory: Counter() for memory in MEMORY}
    laid = linker_map[linker_map.index("Linker script and memory map") :]
    for address, size, place in LAID.findall(laid):
        for memory, (first, end) in MEMORY.items():
            if first <= int(address, 16) < end:
                found[memory][_module(place)] += int(size, 16)
    return found


def _module(place: str) -> str:
    if ".a(" in place:
        return "C library"
    _, _, inside = place.rpartition("/obj/")
    folder = inside.partition("/")[0] if "/" in inside else "port and start"
    return "MicroPython" if folder in MICROPYTHON else folder


def first_times(bench: Bench, board: str) -> Iterator[BenchCase]:
    """From power-on to the first sample and to a time by GPS; the receiver has a fix at once."""
    run = bench.run(World(LOCK_S * NS_PER_S), board, name=f"{board}-times")
    blocks = run.capture.timed(Samples)
    if not blocks:
        raise OpqError(f"{board}: no sample in {LOCK_S} s; see {run.folder}")
    t_ns, block = blocks[0]
    first_s = t_ns / NS_PER_S - 1 / BLOCKS_PER_S - 2 * len(block.counts) / LINE_BYTES_PER_S
    yield case(f"{board}: power-on to the first sample", "s", [first_s])
    locked = [t_ns / NS_PER_S for t_ns, block in blocks if block.source is TimeSource.GPS]
    if locked:
        yield case(f"{board}: power-on to time by GPS", "s", locked[:1])


def update_times(bench: Bench) -> Iterator[BenchCase]:
    """An update by the gateway's code, in the Box's time, and the longest pause of its samples: the erase."""
    versions = Versions(bench.firmware("opqbox"))
    world = World(round(WALL_LIMIT_S) * NS_PER_S, gps=None)
    with bench.live(world, flash=confirmed(bench)) as live, BenchLine(live.port, live.now_s) as line:
        begin_s = live.now_s()
        update_box(line, {slot: versions.image(slot, step=1) for slot in Slot})
        taken_s = live.now_s() - begin_s
        times = [t_ns for t_ns, _ in line.log]
    yield case("opqbox: update over the link, until confirmed", "s", [taken_s])
    pause_s = max(after - before for before, after in pairwise(times)) / NS_PER_S
    yield case("opqbox: longest silence of the line in it (erase, restart)", "s", [pause_s])


def run(quick: bool) -> BenchResult:
    """Measures every figure of both boards; `quick` leaves out the live update."""
    rows: list[BenchCase] = []
    with tempfile.TemporaryDirectory(prefix="opq-bench-") as folder:
        firmware = firmware_for()
        bench = Bench(Qemu(quiet=True), firmware, Path(folder) / "bench", WALL_LIMIT_S)
        for board in firmware:
            rows += load_rows(board, *stages(bench, board))
            rows += memory_rows(board, firmware[board])
        rows += first_times(bench, "opqbox")
        if not quick:
            rows += update_times(bench)
    worst = max(row.value for row in rows if row.case.endswith("processor, upper estimate"))
    limit = Baseline("limit of the processor (not silicon)", LIMIT_PERCENT, "%")
    return BenchResult(tuple(rows), limit, worst / LIMIT_PERCENT)
