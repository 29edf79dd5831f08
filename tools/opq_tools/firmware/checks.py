"""What a linked firmware is held to: its size, its stack, and that RAM code is sealed against flash.

Budgets stand in `device/port/boards/<board>/budget.toml`, one per board; where calls through pointers lead to
stands in `device/port/stack.toml`.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from opq_tools.firmware import sealed, stack
from opq_tools.firmware.elf import ElfBinary, ElfFunction, loaded_bytes, read_elf
from opq_tools.firmware.toolchain import FirmwareBuildError

BUDGETS = ("flash_bytes", "sram_bytes", "boot_bytes", "interrupt_stack_bytes", "task_stack_bytes")
BOOT = "boot:"
"""In stack.toml: a function of the boot loader that the app calls."""
TASK_ENDS = (
    "mp_",
    "gc_",
    "m_",
    "nlr_",
    "pyexec_",
    "qstr_",
    "vstr_",
    "fun_",
    "dict_",
    "str_",
    "list_",
    "closure_",
)
"""Where Python begins: it checks its own depth, so our chains end there."""


@dataclass(frozen=True, slots=True)
class BuildFigures:
    """Figures beside their budgets; `excesses` has a line for each that is too large."""

    flash_bytes: int
    sram_bytes: int
    heap_bytes: int
    ram_code_bytes: int
    boot_bytes: int
    interrupt_stack_bytes: int
    task_stack_bytes: int
    budgets: Mapping[str, int]
    deepest: Mapping[str, str]
    """Per priority (and `task`) the deepest chain of calls."""
    excesses: tuple[str, ...]


def check_build(folder: Path, objects: Path, port: Path, board: str) -> BuildFigures:
    """Figures of slot A's image (B differs in addresses only); kept with the binary while nothing changes."""
    budget_file, pointer_file = port / "boards" / board / "budget.toml", port / "stack.toml"
    inputs = [
        folder / "firmware_a.elf",
        folder / "boot.bin",
        budget_file,
        pointer_file,
        *Path(__file__).parent.glob("*.py"),
    ]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(inputs))).hexdigest()
    kept = folder / "checked.json"
    if kept.exists():
        known = json.loads(kept.read_text())
        if known.pop("digest") == digest:
            return BuildFigures(**{**known, "excesses": tuple(known["excesses"])})
    figures = _check(folder, objects, _budgets(budget_file), tomllib.loads(pointer_file.read_text()))
    kept.write_text(json.dumps({"digest": digest, **asdict(figures)}, indent=1))
    return figures


def _budgets(path: Path) -> dict[str, int]:
    told = tomllib.loads(path.read_text())
    if set(told) != set(BUDGETS):
        raise FirmwareBuildError(f"{path}: want exactly {', '.join(BUDGETS)}; found {', '.join(told)}")
    return {name: int(told[name]) for name in BUDGETS}


def _check(
    folder: Path, objects: Path, budgets: Mapping[str, int], pointers: Mapping[str, list[str]]
) -> BuildFigures:
    binary = read_elf(folder / "firmware_a.elf")
    boot = stack.Depths(read_elf(folder / "boot.elf"), _frames(objects / "boot"), {})
    for target in {name for names in pointers.values() for name in names if name.startswith(BOOT)}:
        depth = boot.below(
            target.removeprefix(BOOT)
        )  # beyond the link between the two, one frame as deep as it gets
        binary.functions[target] = ElfFunction(target, 0, 0, frame_bytes=depth.bytes)
    frames = _frames(objects)
    levels = stack.interrupts(stack.Depths(binary, frames, pointers))
    tasks = stack.Depths(binary, frames, pointers, TASK_ENDS)
    task = max((tasks.below(name) for name in _ours(objects, binary)), key=lambda depth: depth.bytes)
    used = {
        "flash_bytes": (folder / "firmware_a.bin").stat().st_size,
        "sram_bytes": binary.sections[".ram"][1] + binary.sections[".bss"][1],
        "boot_bytes": loaded_bytes(folder / "boot.elf"),
        "interrupt_stack_bytes": sum(level.bytes for level in levels.values()),
        "task_stack_bytes": task.bytes,
    }
    deepest = {str(priority): " > ".join(level.chain) for priority, level in levels.items()}
    deepest["task"] = " > ".join(task.chain)
    excesses = [
        f"{name}: {used[name]} of {budgets[name]}"
        + (f" ({deepest['task']})" if name == "task_stack_bytes" else "")
        for name in BUDGETS
        if used[name] > budgets[name]
    ]
    handlers = [handler for level in stack.PRIORITIES.values() for handler in level]
    unseen = {
        *sealed.unnamed(binary, handlers, pointers),
        *sealed.unnamed(binary, _ours(objects, binary), pointers, TASK_ENDS),
    }
    symbols = binary.symbols
    return BuildFigures(
        **used,
        heap_bytes=symbols["opq_heap_end"] - symbols["opq_heap_start"],
        ram_code_bytes=symbols["opq_ram_code_end"] - symbols["opq_ram_code_start"],
        budgets=budgets,
        deepest=deepest,
        excesses=(*excesses, *sealed.leaks(binary, pointers), *sorted(unseen)),
    )


def _frames(objects: Path) -> dict[str, int]:
    return stack.frames_of(line for path in objects.rglob("*.su") for line in path.read_text().splitlines())


def _ours(objects: Path, binary: ElfBinary) -> list[str]:
    """Functions that Python calls: those of every module.c, and what the port gives MicroPython."""
    names = set()
    for path in (*objects.rglob("module.su"), objects / "mphalport.su"):
        names |= {line.split("\t")[0].rsplit(":", 1)[1] for line in path.read_text().splitlines()}
    return sorted(names & binary.functions.keys())
