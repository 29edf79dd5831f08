"""An emulator's cost of flash: CPU while three sectors are erased, and without an erase.

The firmware is that of this tree. With OPQ_BASELINE_FIRMWARE_DIR (a folder from `opq-tools firmware build
--out`, e.g. of an earlier commit) each turn runs that firmware too, and its figures are the peer's. The two
alternate, so that other load affects both; the least of all turns is the result. OPQ_QEMU chooses another
emulator. Without a second firmware the baseline is the same span without an erase.
"""

import os
import resource
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.result import Baseline, BenchResult, case
from opq_hil.backends.firmware import Firmware, read_firmware
from opq_hil.backends.qemu import Qemu
from opq_hil.suites.scenario import Bench
from opq_hil.suites.updates import BOARD, BOOT_NS, confirmed, update_script
from opq_hil.world.world import NS, World
from opq_proto.errors import OpqError
from opq_proto.firmware.image import PIECE_BYTES, Slot, read_bundle
from opq_proto.link.messages import Resend
from opq_tools.hil.built_firmware import firmware_for

VARIABLE = "OPQ_BASELINE_FIRMWARE_DIR"
END_NS = BOOT_NS + 7 * NS
"""End of the run; three erasures take 3 s of it by the model's clock (typical, DS8626)."""
ERASES = 3
TURNS, QUICK_TURNS = 7, 2


@dataclass(frozen=True, slots=True)
class EraseCpu:
    """CPU seconds of the emulator, one entry per turn."""

    with_erases: list[float] = field(default_factory=list)
    without: list[float] = field(default_factory=list)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _turn(bench: Bench, found: EraseCpu) -> None:
    flash = confirmed(bench)
    image = read_bundle(bench.firmware(BOARD).update.read_bytes())[Slot.B]
    script = update_script(image, BOOT_NS, 10, send_bytes=PIECE_BYTES).messages
    begun = tuple((at, message) for at, message in script if not isinstance(message, Resend))
    for messages, figures in ((begun, found.with_erases), ((), found.without)):
        before = _cpu_s()
        run = bench.run(World(END_NS, gps=None, messages=messages), BOARD, flash=flash)
        figures.append(_cpu_s() - before)
        erased = run.report["flash"]["erases"]
        if erased != (ERASES if messages else 0):
            raise OpqError(f"{erased} sectors were erased; see {run.folder}")
        bench.delete_runs(run)


def run(quick: bool) -> BenchResult:
    """Measures both firmwares, interleaved."""
    built: dict[str, Mapping[str, Firmware]] = {"ours": firmware_for(boards=(BOARD,))}
    named = os.environ.get(VARIABLE)
    if named:
        built["baseline"] = read_firmware(Path(named))
    found = {name: EraseCpu() for name in built}
    emulator = Qemu(quiet=True)
    with tempfile.TemporaryDirectory(prefix="opq-bench-") as folder:
        benches = {
            name: Bench(emulator, firmware, Path(folder) / name / "bench", 600.0)
            for name, firmware in built.items()
        }
        for _ in range(QUICK_TURNS if quick else TURNS):
            for name, bench in benches.items():
                _turn(bench, found[name])
    ours, peer = found["ours"], found.get("baseline")
    span = f"{END_NS / NS:g} s of the Box"
    rows = (
        case(f"{span}, {ERASES} erases of 128 KB in it", "CPU s", ours.with_erases, min(ours.with_erases),
             peer=min(peer.with_erases) if peer else None),
        case(f"{span}, no erase", "CPU s", ours.without, min(ours.without),
             peer=min(peer.without) if peer else None),
    )  # fmt: skip
    base = Baseline(f"with erases, {VARIABLE}", min(peer.with_erases), "CPU s") if peer else None
    base = base or Baseline(rows[1].case, rows[1].value, "CPU s")
    return BenchResult(rows, base, rows[0].value / base.value)
