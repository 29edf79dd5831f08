"""Reads a linked firmware: sections, symbols, functions and their calls.

Calls come from the disassembly, also calls through a register that holds a literal (the compiler's
`long_call`). Calls through any other register are counted as `ElfFunction.indirect`: their targets are not
visible and must be listed by hand. Literals come from the relocations that the linker keeps on request.
"""

import bisect
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from opq_tools.firmware.toolchain import PREFIX

R_ARM_ABS32 = 2
ENTRY = re.compile(r"^([0-9a-f]+) <(.+)>:$")
LITERAL = re.compile(r"^(r\d+|ip|lr|sl|fp|sb), \[pc, #-?\d+\]\s*@ \(?([0-9a-f]+) ")
REGISTER = re.compile(r"^(r\d+|ip|lr|sl|fp|sb)\b")
LINE = re.compile(r"^\s*([0-9a-f]+):\t(\S+)(?:\t(.*))?$")
TARGET = re.compile(r"([0-9a-f]+) <([^>+]+)(\+0x[0-9a-f]+)?>")
BRANCHES = re.compile(r"^(bl|b|b(eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)|cbz|cbnz)(\.[nw])?$")


@dataclass(slots=True)
class ElfFunction:
    """One function of the binary."""

    name: str
    address: int
    size: int
    calls: set[str] = field(default_factory=set)
    data: set[int] = field(default_factory=set)  # addresses in its literal pool, except functions
    frame_bytes: int = 0
    indirect: int = 0
    through: set[int] = field(default_factory=set)  # addresses of the literals that it calls


@dataclass(frozen=True, slots=True)
class ElfBinary:
    """A linked firmware."""

    sections: Mapping[str, tuple[int, int]]  # name -> address, size
    symbols: Mapping[str, int]
    functions: dict[str, ElfFunction]


def read_elf(path: Path) -> ElfBinary:
    """Reads the whole file; takes about two seconds for 200 kB of code."""
    with path.open("rb") as handle:
        elf = ELFFile(handle)
        sections = {
            s.name: (int(s["sh_addr"]), int(s["sh_size"])) for s in elf.iter_sections() if s["sh_addr"]
        }
        table = next(s for s in elf.iter_sections() if isinstance(s, SymbolTableSection))
        rows = [
            (s.name, int(s["st_value"]), int(s["st_size"]), s["st_info"]["type"])
            for s in table.iter_symbols()
        ]
        literals = [
            (int(r["r_offset"]), table.get_symbol(r["r_info_sym"]))
            for s in elf.iter_sections()
            if isinstance(s, RelocationSection) and s.name in (".rel.text", ".rel.ram")
            for r in s.iter_relocations()
            if r["r_info_type"] == R_ARM_ABS32
        ]
        places = [(offset, int(s["st_value"]), s["st_info"]["type"]) for offset, s in literals]
        content = {s.name: s.data() for s in elf.iter_sections() if s.name in (".text", ".ram")}
    functions = _disassemble(path)
    by_address = {function.address: function for function in functions.values()}
    sizes = {value & ~1: size for _, value, size, kind in rows if kind == "STT_FUNC"}
    starts = sorted(by_address)
    for start, after in zip(starts, [*starts[1:], 1 << 32], strict=True):
        size = sizes.get(start, 0)
        by_address[start].size = (
            size if size and start + size <= after else max(0, min(after - start, 1 << 16))
        )
    spans = [(f.address, f.address + f.size, f) for f in sorted(by_address.values(), key=lambda f: f.address)]
    _add_literals(spans, by_address, places, sections, content)
    return ElfBinary(sections, {name: value for name, value, _, _ in rows if name}, functions)


def named(binary: ElfBinary, target: str) -> list[str]:
    """Functions with this name; static ones may share it."""
    return [name for name in binary.functions if name == target or name.startswith(f"{target}@")]


def loaded_bytes(path: Path) -> int:
    """Bytes of flash that a linked program uses: all loaded segments."""
    with path.open("rb") as handle:
        segments = ELFFile(handle).iter_segments()
        return sum(int(each["p_filesz"]) for each in segments if each["p_type"] == "PT_LOAD")


def _add_literals(
    spans: list[tuple[int, int, ElfFunction]],
    by_address: Mapping[int, ElfFunction],
    places: list[tuple[int, int, str]],
    sections: Mapping[str, tuple[int, int]],
    content: Mapping[str, bytes],
) -> None:
    starts = [start for start, _, _ in spans]
    for offset, value, kind in places:
        at = bisect.bisect_right(starts, offset) - 1
        if at < 0 or offset >= spans[at][1]:
            continue
        if kind != "STT_FUNC":  # REL: the addend, here the whole word, is stored in place
            for name, (address, size) in sections.items():
                if name in content and address <= offset < address + size:
                    value = int.from_bytes(content[name][offset - address : offset - address + 4], "little")
        target = by_address.get(value & ~1)
        owner = spans[at][2]
        if target is None:
            owner.data.add(value)
        elif offset in owner.through:
            owner.calls.add(target.name)


def _disassemble(path: Path) -> dict[str, ElfFunction]:
    command = (f"{PREFIX}objdump", "-d", "--no-show-raw-insn", "-j", ".text", "-j", ".ram", str(path))
    text = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    functions: dict[str, ElfFunction] = {}
    current: ElfFunction | None = None
    loaded: dict[str, int] = {}  # register -> address of the literal in it
    for line in text.splitlines():
        entry = ENTRY.match(line)
        if entry:
            name = entry[2] if entry[2] not in functions else f"{entry[2]}@{entry[1]}"
            current = functions[name] = ElfFunction(name, int(entry[1], 16), 0)
            loaded = {}
            continue
        found = LINE.match(line)
        if found and current is not None:
            _instruction(current, loaded, found[2], found[3] or "")
    _settle_names(functions)
    return functions


def _instruction(function: ElfFunction, loaded: dict[str, int], mnemonic: str, operands: str) -> None:
    function.frame_bytes += _pushed(mnemonic, operands)
    if BRANCHES.match(mnemonic):
        target = TARGET.search(operands)
        if target is None or target[3] is not None:
            return  # inside a function, most likely this one
        if mnemonic.startswith("bl") or int(target[1], 16) != function.address:
            function.calls.add(target[1])
    elif mnemonic == "blx" or (mnemonic == "bx" and operands.strip() != "lr"):
        literal = loaded.get(operands.strip())
        function.indirect += literal is None
        function.through |= {literal} if literal is not None else set()
    elif mnemonic.startswith("ldr") and (found := LITERAL.match(operands)):
        loaded[found[1]] = int(found[2], 16)
    elif not mnemonic.startswith(("str", "cmp", "tst", "push", "it")) and (
        written := REGISTER.match(operands)
    ):
        loaded.pop(written[1], None)  # it now holds something else


def _pushed(mnemonic: str, operands: str) -> int:
    """Bytes of stack that an instruction takes; their sum over a function is an upper bound of its frame."""
    if mnemonic in ("push", "vpush", "stmdb", "push.w", "stmdb.w") and (
        "push" in mnemonic or operands.startswith("sp!")
    ):
        registers = operands[operands.index("{") + 1 : operands.index("}")]
        count = 0
        for part in registers.split(","):
            first, dash, last = part.strip().partition("-")
            count += int(last[1:]) - int(first[1:]) + 1 if dash else 1
        return count * (8 if mnemonic == "vpush" and "d" in registers else 4)
    moved = re.match(r"sp, (?:sp, )?#(\d+)$", operands.split("@")[0].split(";")[0].strip())
    if mnemonic.startswith("sub") and moved:
        return int(moved[1])
    saved = re.match(r"\w+, (?:\w+, )?\[sp, #-(\d+)\]!", operands)
    return int(saved[1]) if mnemonic.startswith("str") and saved else 0


def _settle_names(functions: dict[str, ElfFunction]) -> None:
    """Replaces called addresses by names; a linker's veneer calls the function that it is named after."""
    by_address = {function.address: name for name, function in functions.items()}
    for name, function in functions.items():
        function.calls = {by_address[at] for call in function.calls if (at := int(call, 16)) in by_address}
        veneer = re.match(r"^__(.+)_veneer$", name)
        if veneer:
            function.calls, function.indirect = {veneer[1]} & functions.keys(), 0
