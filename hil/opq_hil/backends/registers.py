"""Which registers the firmware touches, and whether the Renode files and the QEMU machine have them.

Read from the C headers and sources (device/port/stm32f405.h names every register, offsets by its structs),
from f405.repl and the register enums of its models, and from hil/qemu/bus.c and its switch statements.
`python -m opq_hil.backends.registers` writes hil/REGISTERS.md.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TABLE = ROOT / "hil" / "REGISTERS.md"
HEADERS = (ROOT / "device/port/stm32f405.h", ROOT / "device/port/cortex_m4.h")
NOT_FIRMWARE = ("tests", "unix", "typings")
CORE = range(0xE000_E000, 0xE000_F000)
"""NVIC, SysTick, SCB and CoreDebug are Renode's and QEMU's own models and are not checked."""
STREAMS = 8
SIZES = {"uint8_t": 1, "uint16_t": 2, "uint32_t": 4}


@dataclass(frozen=True, slots=True)
class ChipRegister:
    """One register of one block."""

    block: str
    name: str
    address: int
    base: int


@dataclass(frozen=True, slots=True)
class RegisterBlock:
    """An instance of a register struct."""

    name: str
    kind: str
    base: int


def _without_comments(text: str) -> str:
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


@cache
def structs() -> Mapping[str, Mapping[str, tuple[int, int, str]]]:
    """Struct name -> member -> (offset, array length or 1, its type), by the rules of C."""
    found: dict[str, dict[str, tuple[int, int, str]]] = {}
    for header in HEADERS:
        text = _without_comments(header.read_text())
        for body, name in re.findall(r"typedef struct \{(.*?)\} (\w+);", text, re.DOTALL):
            members: dict[str, tuple[int, int, str]] = {}
            offset = 0
            for kind, member, length in re.findall(r"(?:volatile )?(\w+) (\w+)(?:\[(\d+)\])?;", body):
                size = SIZES[kind] if kind in SIZES else _size(found[kind])
                members[member] = (offset, int(length or 1), kind)
                offset += size * int(length or 1)
            found[name] = members
    return found


def _size(members: Mapping[str, tuple[int, int, str]]) -> int:
    return max(offset + SIZES[kind] * length for offset, length, kind in members.values())


@cache
def blocks() -> Mapping[str, RegisterBlock]:
    """Instances by name: RCC, TIM5, DMA2 …"""
    found = {}
    for header in HEADERS:
        for name, kind, base in re.findall(
            r"#define (\w+) OPQ_AT\((opq_\w+_t), (0x[0-9A-Fa-f]+)\)", header.read_text()
        ):
            found[name] = RegisterBlock(name, kind, int(base, 16))
    return found


@cache
def lone_registers() -> Mapping[str, int]:
    """Registers without a struct: DBGMCU_IDCODE, UID …"""
    pattern = r"#define (\w+) \(\*?OPQ_AT\(uint\d+_t, (0x[0-9A-Fa-f]+)\)\)"
    return {
        name: int(address, 16)
        for header in HEADERS
        for name, address in re.findall(pattern, header.read_text())
    }


def sources() -> Iterator[Path]:
    """C files of the firmware, which run on the chip."""
    for path in sorted((ROOT / "device").rglob("*.[ch]")):
        if path not in HEADERS and not set(path.relative_to(ROOT).parts) & set(NOT_FIRMWARE):
            yield path


def used() -> Mapping[ChipRegister, tuple[str, ...]]:
    """Registers that the firmware touches, by address, each with the files that do."""
    found: dict[ChipRegister, set[str]] = {}
    for path in (HEADERS[1], *sources()):
        text = _without_comments(path.read_text(encoding="utf-8"))
        for register in _used_in(text):
            found.setdefault(register, set()).add(path.relative_to(ROOT / "device").as_posix())
    return {register: tuple(sorted(found[register])) for register in sorted(found, key=lambda r: r.address)}


def _used_in(text: str) -> Iterator[ChipRegister]:
    for name, block in blocks().items():
        for member, index, inner in re.findall(rf"\b{name}\s*->\s*(\w+)(?:\[([^\]]*)\])?(?:\.(\w+))?", text):
            yield from _registers(block, member, index, inner, text)
    for kind, pointer in re.findall(r"\b(opq_\w+_t) \*(\w+)\b", text):
        if kind not in {block.kind for block in blocks().values()}:
            continue
        here = [
            block
            for block in blocks().values()
            if block.kind == kind and re.search(rf"\b{block.name}\b", text)
        ]
        all_of_them = here or [block for block in blocks().values() if block.kind == kind]
        for member, index, inner in re.findall(
            rf"\b{pointer}(?:\([^)]*\))?\s*->\s*(\w+)(?:\[([^\]]*)\])?(?:\.(\w+))?", text
        ):
            for block in all_of_them:
                yield from _registers(block, member, index, inner, text)
    for name, address in lone_registers().items():
        if re.search(rf"\b{name}\b", text):
            yield ChipRegister("", name, address, address)


def _registers(
    block: RegisterBlock, member: str, index: str, inner: str, text: str
) -> Iterator[ChipRegister]:
    """One register, or all that an index known only at run time may mean."""
    members = structs()[block.kind]
    if member not in members:
        return
    offset, length, kind = members[member]
    if kind not in SIZES:  # DMA streams: S[3].CR
        inner_offset = structs()[kind][inner][0]
        numbers = [index] if index.isdecimal() else re.findall(rf"\b{block.name}->{member}\[(\d+)\]", text)
        for number in sorted({int(each) for each in numbers}):
            at = offset + number * _size(structs()[kind]) + inner_offset
            yield ChipRegister(block.name, f"S{number}{inner}", block.base + at, block.base)
    elif index.isdecimal() and SIZES[kind] == 4:
        at = offset + 4 * int(index)
        yield ChipRegister(block.name, f"{member}[{index}]", block.base + at, block.base)
    elif length > 1 and not index.isdecimal():
        name = f"{member}[0..{length - 1}]"
        yield ChipRegister(block.name, name, block.base + offset, block.base)
    else:
        at = offset + SIZES[kind] * int(index or 0)
        yield ChipRegister(block.name, member + (f"[{index}]" if index else ""), block.base + at, block.base)


@dataclass(frozen=True, slots=True)
class Models:
    """The registers that an emulator models."""

    addresses: frozenset[int]
    ranges: tuple[range, ...]

    def has(self, register: ChipRegister) -> str:
        """ "yes", "memory or stock part", or empty."""
        if register.address & ~3 in self.addresses:
            return "yes"
        if any(register.address in span for span in self.ranges):
            return "core" if register.address in CORE else "memory"
        return ""


def _dma_offsets() -> Iterator[int]:
    yield from (0x00, 0x04, 0x08, 0x0C)
    yield from (0x10 + 0x18 * stream + at for stream in range(STREAMS) for at in range(0, 0x18, 4))


@cache
def renode() -> Models:
    """Reads f405.repl and the enums `Registers` of its models."""
    folder = ROOT / "hil" / "renode"
    addresses: set[int] = set()
    ranges = [CORE]
    entry = re.compile(r"^\w+: ([\w.]+) @ (.*)$((?:\n    .*)*)", re.MULTILINE)
    for kind, places, body in entry.findall((folder / "f405.repl").read_text()):
        bases = [int(base, 16) for base in re.findall(r"sysbus (0x[0-9A-Fa-f]+)", places)]
        size = re.search(r"size: (0x[0-9A-Fa-f]+)", body)
        if kind == "Memory.MappedMemory" and size:
            ranges += [range(base, base + int(size[1], 16)) for base in bases]
        elif kind == "Miscellaneous.DWT":
            ranges += [range(base, base + 8) for base in bases]
        elif kind.startswith("Opq.") and bases:
            text = (folder / "models" / f"{kind[4:]}.cs").read_text()
            enum = re.search(r"enum Registers : long\s*\{(.*?)\}", text, re.DOTALL)
            offsets = [int(at, 16) for at in re.findall(r"= (0x[0-9A-Fa-f]+)", enum[1] if enum else "")]
            if kind == "Opq.Dma":
                offsets = list(_dma_offsets())
            addresses |= {base + at for base in bases for at in offsets}
    return Models(frozenset(addresses), tuple(ranges))


@cache
def qemu() -> Models:
    """Reads the blocks in hil/qemu/bus.c and the switches of their read functions."""
    folder = ROOT / "hil" / "qemu"
    bus = (folder / "bus.c").read_text()
    code = "\n".join(path.read_text() for path in sorted(folder.glob("*.c")))
    table = re.search(r"static OpqBlock blocks\[\] = \{(.*?)\n\};", bus, re.DOTALL)
    inside = table[1] if table else ""
    places = [
        (int(base, 16), read)
        for base, read in re.findall(r"\.base = (0x[0-9A-Fa-f]+)[^}]*?\.read = (\w+)", inside, re.DOTALL)
    ]
    places += [
        (0x4002_0000 + 0x400 * int(n), "opq_gpio_read") for n in re.findall(r'GPIO\("\w", (\d)\)', inside)
    ]
    places += [
        (0x4000_0000 + 0x400 * (int(n) - 2), "opq_timer_read") for n in re.findall(r"TIM\((\d)\)", inside)
    ]
    addresses: set[int] = set()
    for base, read in places:
        addresses |= {base + at for at in _switch(code, read)}
    ranges = [CORE]
    if re.search(r"0x1FFF0000", code):
        ranges.append(range(0x1FFF_0000, 0x1FFF_8000))
    return Models(frozenset(addresses), tuple(ranges))


def _switch(code: str, function: str) -> set[int]:
    head = rf"^uint32_t {function}\([^;{{]*\)\s*\{{"
    body = re.search(head + r"([^\n]*\}$|.*?^\})", code, re.DOTALL | re.MULTILINE)
    text = body[1] if body else ""
    if "% 0x18" in text:
        return set(_dma_offsets())
    found = {int(at, 16) for at in re.findall(r"case (0x[0-9A-Fa-f]+)", text)}
    return found | {int(at, 16) for at in re.findall(r"offset == (0x[0-9A-Fa-f]+)", text)}


def missing() -> list[str]:
    """One line for each register that the firmware uses and an emulator lacks."""
    return [
        f"{register.block} {register.name} at 0x{register.address:08X}, used by {', '.join(files)}, "
        f"is not in {where}"
        for register, files in used().items()
        for where, models in (("hil/renode", renode()), ("hil/qemu", qemu()))
        if not models.has(register)
    ]


def table() -> str:
    """The text of hil/REGISTERS.md."""
    lines = [
        "# Registers that the firmware touches",
        "",
        "Made by `python -m opq_hil.backends.registers` from the C of device/, f405.repl with its models,",
        "and hil/qemu; a test fails if an emulator lacks a register. *yes*: a model; *memory*: plain",
        "memory, or Renode's DWT; *core*: NVIC, SysTick, SCB, CoreDebug are those of each emulator, and",
        "were not checked. Names and sections: RM0090, PM0214, as in device/port/stm32f405.h.",
        "",
        "| block | register | offset | address | used by | Renode | QEMU |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for register, files in used().items():
        offset = f"0x{register.address - register.base:02X}" if register.block else ""
        where = " | ".join(models.has(register) or "**no**" for models in (renode(), qemu()))
        place = f"{offset} | 0x{register.address:08X}"
        lines.append(f"| {register.block} | {register.name} | {place} | {', '.join(files)} | {where} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes the table; exits with 1 if something is missing."""
    argparse.ArgumentParser(
        prog="python -m opq_hil.backends.registers",
        description="Write hil/REGISTERS.md from this tree; exit code 1 when a register has no model.",
        epilog="Example: python -m opq_hil.backends.registers && git diff hil/REGISTERS.md",
    ).parse_args()
    TABLE.write_text(table(), encoding="utf-8")
    lacking = missing()
    print(f"{TABLE.relative_to(ROOT)}: {len(used())} registers, {len(lacking)} missing")
    for line in lacking:
        print(line, file=sys.stderr)
    sys.exit(1 if lacking else 0)


if __name__ == "__main__":
    main()
