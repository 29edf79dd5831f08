"""Checks of a linked firmware: its size, its stack, and that code in RAM uses nothing in flash.

Budgets are in the board's `board.toml`, the targets of calls through pointers in `device/port/stack.toml`.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from opq_tools.firmware.elf import ElfBinary, ElfFunction, loaded_bytes, named, read_elf
from opq_tools.firmware.toolchain import FirmwareBuildError

BOOT = "boot:"
"""Prefix in stack.toml of a function of the boot loader that the app calls."""
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
"""Prefixes of Python's functions: Python checks its own depth, so our chains end there."""


FLASH = range(0x08000000, 0x08100000)
ROOTS = (
    "TIM5_IRQHandler",
    "DMA1_Stream3_IRQHandler",
    "DMA2_Stream0_IRQHandler",
    "USART1_IRQHandler",
    "USART2_IRQHandler",
    "ADC_IRQHandler",
    "work",  # flash.c: starts an erase or program operation and waits for its end
)


def reachable(
    binary: ElfBinary, root: str, pointers: Mapping[str, Sequence[str]], ends: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    """Yields (function, caller) for all that `root` may call; stops at names that begin with one of `ends`.

    `pointers`: targets of indirect calls, by caller.
    """
    seen, waiting = set(), [(root, "the vector table")]
    while waiting:
        name, caller = waiting.pop()
        if name in seen or name not in binary.functions or (ends and name.startswith(ends)):
            continue
        seen.add(name)
        yield name, caller
        called = {*binary.functions[name].calls}
        called.update(
            target for target_name in pointers.get(name, ()) for target in named(binary, target_name)
        )
        waiting += [(callee, name) for callee in sorted(called)]


def unnamed(
    binary: ElfBinary, roots: Iterable[str], pointers: Mapping[str, Sequence[str]], ends: tuple[str, ...] = ()
) -> list[str]:
    """One line for each function below `roots` that calls through a pointer without listed targets."""
    found = {}
    for root in roots:
        for name, _ in reachable(binary, root, pointers, ends):
            if binary.functions[name].indirect and name.partition("@")[0] not in pointers:
                found[name] = f"{name} ({root}) calls through a pointer; name its targets in stack.toml"
    return list(found.values())


def leaks(binary: ElfBinary, pointers: Mapping[str, Sequence[str]]) -> list[str]:
    """One line for each use of flash by code in RAM; empty: what runs during an erase needs no flash.

    An erase stalls every fetch from flash for up to two seconds (RM0090 3.6.3). The interrupts of priority 0
    to 2 and the erase's own wait would stop with it if one instruction or constant lay there.
    """
    found = {}
    for root in ROOTS:
        if root not in binary.functions:
            continue
        for name, caller in reachable(binary, root, pointers):
            function = binary.functions[name]
            if function.address in FLASH:
                found[name] = f"{name} lies in flash and is called by {caller} ({root})"
                continue
            for address in sorted(function.data):
                if address in FLASH:
                    found[f"{name}+{address}"] = (
                        f"{name} ({root}) reads a constant in flash at 0x{address:08x}"
                    )
    return [*found.values(), *unnamed(binary, ROOTS, pointers)]


EXCEPTION_FRAME_BYTES = 108
"""Frame with the FPU's registers (26 words) and the alignment word (PM0214 2.3.7, figure 12)."""

UNBOUNDED = 1 << 20
"""Stands for a frame whose size is known only at run time: over any budget if a chain contains it."""

PRIORITIES: Mapping[int, tuple[str, ...]] = {
    0: ("TIM5_IRQHandler",),
    1: ("USART1_IRQHandler", "USART2_IRQHandler"),
    2: ("DMA2_Stream0_IRQHandler", "DMA1_Stream3_IRQHandler", "ADC_IRQHandler"),
    3: ("SysTick_Handler", "PVD_IRQHandler"),
    15: ("PendSV_Handler",),
}


@dataclass(frozen=True, slots=True)
class Depth:
    """The deepest chain below one function."""

    bytes: int
    chain: tuple[str, ...]


class Depths:
    """Deepest stack below a function; each is computed once.

    Interrupts: all priorities nest; each adds its deepest chain and the frame that the processor pushes.
    Main thread: MicroPython limits its own depth, and main.c leaves STACK_RESERVE below that limit. It must
    hold all interrupts and the deepest chain of our own C that Python calls. Where `frames` (from
    -fstack-usage) and the code differ, the larger frame counts.
    """

    def __init__(
        self,
        binary: ElfBinary,
        frames: Mapping[str, int],
        pointers: Mapping[str, Sequence[str]],
        ends: Iterable[str] = (),
    ) -> None:
        self._binary, self._frames, self._pointers = binary, frames, pointers
        self._ends = tuple(ends)
        self._known: dict[str, Depth] = {}

    def below(self, name: str, above: tuple[str, ...] = ()) -> Depth:
        """Deepest chain; raises FirmwareBuildError for recursion, which has no bound."""
        if name in above:
            raise FirmwareBuildError(f"stack: {' > '.join((*above[above.index(name) :], name))} is recursive")
        if name in self._known or name not in self._binary.functions:
            return self._known.get(name, Depth(0, ()))
        function = self._binary.functions[name]
        own = max(self._frames.get(name, 0), function.frame_bytes)
        targets = self._pointers.get(name.partition("@")[0], ())
        callees = {*function.calls, *(callee for target in targets for callee in named(self._binary, target))}
        deepest = Depth(0, ())
        for callee in sorted(callees):
            if not callee.startswith(self._ends) or not self._ends:
                deepest = max(deepest, self.below(callee, (*above, name)), key=lambda depth: depth.bytes)
        self._known[name] = Depth(own + deepest.bytes, (name, *deepest.chain))
        return self._known[name]


def frames_of(text: Iterable[str]) -> dict[str, int]:
    """Frame bytes per function from .su files; the larger of two static functions with one name."""
    found: dict[str, int] = {}
    for line in text:
        place, count, kind = line.rstrip("\n").split("\t")
        name = place.rsplit(":", 1)[1]
        bounded = "dynamic" not in kind or "bounded" in kind
        found[name] = max(found.get(name, 0), int(count) if bounded else UNBOUNDED)
    return found


def interrupts(depths: Depths) -> dict[int, Depth]:
    """Deepest chain of each priority's handlers, with the processor's frame."""
    found = {}
    for priority, handlers in PRIORITIES.items():
        deepest = max((depths.below(handler) for handler in handlers), key=lambda depth: depth.bytes)
        found[priority] = Depth(deepest.bytes + EXCEPTION_FRAME_BYTES, deepest.chain)
    return found


@dataclass(frozen=True, slots=True)
class BuildFigures:
    """Figures and their budgets; `excesses` has a line for each fault."""

    flash_bytes: int
    sram_bytes: int
    heap_bytes: int
    ram_code_bytes: int
    boot_bytes: int
    interrupt_stack_bytes: int
    task_stack_bytes: int
    budgets: Mapping[str, int]
    deepest: Mapping[str, str]
    """Deepest chain of calls per priority, and of `task`."""
    excesses: tuple[str, ...]


def check_build(folder: Path, objects: Path, port: Path, budgets: Mapping[str, int]) -> BuildFigures:
    """Figures of slot A's image (B differs only in addresses); cached until an input changes."""
    pointer_file = port / "stack.toml"
    inputs = [
        folder / "firmware_a.elf",
        folder / "boot.bin",
        pointer_file,
        *Path(__file__).parent.glob("*.py"),
    ]
    held = json.dumps(budgets).encode()
    digest = hashlib.sha256(held + b"".join(path.read_bytes() for path in sorted(inputs))).hexdigest()
    record = folder / "checked.json"
    if record.exists():
        known = json.loads(record.read_text())
        if known.pop("digest") == digest:
            return BuildFigures(**{**known, "excesses": tuple(known["excesses"])})
    figures = _check(folder, objects, budgets, tomllib.loads(pointer_file.read_text()))
    record.write_text(json.dumps({"digest": digest, **asdict(figures)}, indent=1))
    return figures


def _check(
    folder: Path, objects: Path, budgets: Mapping[str, int], pointers: Mapping[str, list[str]]
) -> BuildFigures:
    binary = read_elf(folder / "firmware_a.elf")
    boot = Depths(read_elf(folder / "boot.elf"), _frames(objects / "boot"), {})
    for target in {name for names in pointers.values() for name in names if name.startswith(BOOT)}:
        depth = boot.below(
            target.removeprefix(BOOT)
        )  # the app cannot see inside: one frame with its full depth
        binary.functions[target] = ElfFunction(target, 0, 0, frame_bytes=depth.bytes)
    frames = _frames(objects)
    levels = interrupts(Depths(binary, frames, pointers))
    tasks = Depths(binary, frames, pointers, TASK_ENDS)
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
        f"{name}: {used[name]} of {budget}" + (f" ({deepest['task']})" if name == "task_stack_bytes" else "")
        for name, budget in budgets.items()
        if used[name] > budget
    ]
    handlers = [handler for level in PRIORITIES.values() for handler in level]
    unseen = {
        *unnamed(binary, handlers, pointers),
        *unnamed(binary, _ours(objects, binary), pointers, TASK_ENDS),
    }
    symbols = binary.symbols
    return BuildFigures(
        **used,
        heap_bytes=symbols["opq_heap_end"] - symbols["opq_heap_start"],
        ram_code_bytes=symbols["opq_ram_code_end"] - symbols["opq_ram_code_start"],
        budgets=budgets,
        deepest=deepest,
        excesses=(*excesses, *leaks(binary, pointers), *sorted(unseen)),
    )


def _frames(objects: Path) -> dict[str, int]:
    return frames_of(line for path in objects.rglob("*.su") for line in path.read_text().splitlines())


def _ours(objects: Path, binary: ElfBinary) -> list[str]:
    """Functions that Python calls: those of every module.c, and those of mphalport.c."""
    names = set()
    for path in (*objects.rglob("module.su"), objects / "mphalport.su"):
        names |= {line.split("\t")[0].rsplit(":", 1)[1] for line in path.read_text().splitlines()}
    return sorted(names & binary.functions.keys())
