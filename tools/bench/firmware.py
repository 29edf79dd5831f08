"""The firmware's cost: instructions per block, flash and RAM, load of the line, time to flash.

NOT MEASURED ON SILICON. The real binary runs on our QEMU machine, which counts 8 ns for every instruction;
the firmware's own stage counters (DWT CYCCNT, read at its prompt after 8 s of sampling) are turned into
instructions by that. CYCLES cycles per instruction at 168 MHz is a stated upper estimate for code in RAM
and flash with the accelerator; interrupts during a stage are counted in it too. Flash and RAM are the
linker's. Times to flash: the update over the link is run live against the emulated Box (its model erases
and programs at DS8626's typical speed); the ROM boot loader's are computed.

The baseline is the firmware's limit: 30 % of the processor.
"""

import ast
import json
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.result import Baseline, BenchCase, BenchResult, case
from opq_hil.backends.firmware import BOARDS, Firmware
from opq_hil.backends.qemu import Qemu
from opq_hil.suites.scenario import Bench
from opq_hil.world.line import printed, typed
from opq_hil.world.world import INTERNAL, NS, Sine, World
from opq_proto.errors import OpqError
from opq_proto.link.messages import LINK_BAUD
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
ROM_BAUD, ROM_BITS = 115_200, 11
ROM_CHUNK, ROM_OVERHEAD = 256, 12
"""Write Memory, AN3155 3.6: command, address, length, checksums, three acknowledgements; 8E1."""
PROGRAM_WORD_S, ERASE_128K_S, ERASE_16K_S = 16e-6, 1.0, 0.25
"""DS8626 table 46, typical, x32."""


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
    mains = Sine()
    if BOARDS[board].converter == INTERNAL:
        mains = Sine(INTERNAL, amplitude_lsb=1500, offset_lsb=BOARDS[board].zero)
    world = World((TO_S + 2) * NS, mains=mains, messages=typed(TO_S * NS, lines))
    run = bench.run(world, board, name=board)
    found = {}
    for text in printed(run.capture, "stage "):
        name, (calls, least, mean, most) = ast.literal_eval(text)
        found[name] = StageInstructions(calls, *(instructions(cycles) for cycles in (least, mean, most)))
    if set(found) != set(STAGES):
        raise OpqError(f"{board}: the prompt named {', '.join(found) or 'no stage'}; see {run.folder}")
    sent = sum(len(data) for t_ns, data in run.capture.entries() if FROM_S * NS <= t_ns < TO_S * NS)
    return found, sent / (TO_S - FROM_S)


def cases_of(
    board: str, found: dict[str, StageInstructions], line: float, firmware: Firmware
) -> list[BenchCase]:
    """All figures of one board except times to flash."""
    per_block = {name: stage.mean for name, stage in found.items()}
    per_block["decimate"] *= HALVES_PER_BLOCK
    per_block["total"] *= found["total"].calls * HALVES_PER_BLOCK / found["decimate"].calls  # runs per block
    cases = []
    for name, stage in found.items():
        if stage.calls:
            calls = per_block[name] / stage.mean  # per block
            title = f"{board}: {'PendSV, all of it' if name == 'total' else name}, per block"
            spread = (stage.mean * calls, stage.least * calls, stage.most * calls)
            cases.append(BenchCase(title, per_block[name], "instructions", *spread, stage.calls))
    busy = per_block["decimate"] + per_block["total"]
    percent = busy * CYCLES * BLOCKS_PER_S / CLOCK_HZ * 100
    cases.append(case(f"{board}: processor, upper estimate", "%", [percent]))
    cases.append(case(f"{board}: link busy, fresh data", "%", [line / LINE_BYTES_PER_S * 100]))
    figures = json.loads((firmware.update.parent / "report.json").read_text(encoding="utf-8"))["figures"]
    for name, unit in (
        ("flash_bytes", "bytes"), ("sram_bytes", "bytes"), ("heap_bytes", "bytes"), ("boot_bytes", "bytes")
    ):  # fmt: skip
        cases.append(case(f"{board}: {name.removesuffix('_bytes')}", unit, [float(figures[name])]))
    return cases


def rom_s(size: int) -> float:
    """Computed time to write boot loader and one image through the ROM at 115,200 baud, with erasures."""
    chunks = -(-size // ROM_CHUNK)
    on_line = chunks * (ROM_CHUNK + ROM_OVERHEAD) * ROM_BITS / ROM_BAUD
    return on_line + size / 4 * PROGRAM_WORD_S + 2 * ERASE_16K_S + 2 * ERASE_128K_S


def link_s(bench: Bench, board: str) -> float:
    """Measured time of an update over the link by the command's own client, up to the new hello."""
    from opq_hil.suites.updates import BOOT_NS, CONFIRM_S, Versions
    from opq_proto.firmware.image import Slot, read_header
    from opq_tools.firmware.flash.in_place import BoxLink, update_in_place
    from opq_tools.firmware.flash.progress import FlashProgress
    from opq_tools.firmware.flash.serial_line import SerialLine

    flash = bench.prepared(board, seconds=CONFIRM_S, oversampling="1")
    images = {slot: Versions(bench.firmware(board)).image(slot) for slot in Slot}
    world = World(600 * NS + BOOT_NS, gps=None)
    with (
        bench.live(world, board, flash=flash) as live,
        closing(SerialLine(str(live.port), LINK_BAUD)) as line,
    ):
        box = BoxLink(line)
        outcome = update_in_place(
            box, images, read_header(images[Slot.A]).version, box.hello(), FlashProgress(None)
        )
    return outcome.seconds


def run(quick: bool) -> BenchResult:
    """Measures every figure of both boards; `quick` leaves out the live update."""
    cases: list[BenchCase] = []
    percents = {}
    with tempfile.TemporaryDirectory(prefix="opq-bench-") as folder:
        firmware = firmware_for()
        bench = Bench(Qemu(quiet=True), firmware, Path(folder) / "bench", 300.0)
        for board in firmware:
            found, line = stages(bench, board)
            cases += cases_of(board, found, line, firmware[board])
            percents[board] = next(
                row.value for row in cases if row.case == f"{board}: processor, upper estimate"
            )
        size = 32_768 + firmware["opqbox"].update.stat().st_size // 2
        cases.append(case("time to flash: ROM boot loader, computed", "s", [rom_s(size)]))
        if not quick:
            cases.append(
                case("time to flash: update over the link, emulated live", "s", [link_s(bench, "opqbox")])
            )
    worst = max(percents.values())
    return BenchResult(
        tuple(cases),
        Baseline("limit of the processor (not silicon)", LIMIT_PERCENT, "%"),
        worst / LIMIT_PERCENT,
    )
