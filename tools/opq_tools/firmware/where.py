"""Which function, file and line an address of the firmware is, from the ELF files that the build kept.

An odd address is a return address (Thumb): the call before it is named. Words in no code are left out.
"""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from opq_hil.backends.debian_source import cache_folder
from opq_hil.backends.our_sources import built_folder
from opq_proto.errors import OpqError
from opq_tools.firmware.toolchain import PREFIX

PROGRAMS = ("boot.elf", "firmware_a.elf", "firmware_b.elf")
"""In the order in which an address is looked up: code in SRAM is the same in both slots."""
RAM_CODE = ("opq_ram_code_start", "opq_ram_code_end")
COMPILED_IN = re.compile(r"^device/(port|boot)/(?=(device|micropython|build)/)")
"""The compiler's folder, which addr2line puts before paths that do not begin with it."""
CALL_BYTES = 2
"""A return address lies behind its call; two bytes before it is in the call, whose length is 2 or 4."""


class NoSuchBuildError(OpqError):
    """No kept ELF belongs to the firmware that was asked about."""


@dataclass(frozen=True, slots=True)
class KeptBuild:
    """One board's build whose ELF files are there."""

    folder: Path
    version: str
    sha256: Mapping[str, str]
    """File of the build -> sum."""

    @property
    def words(self) -> str:
        """The build in a line."""
        return f"{self.folder}: version {self.version}, firmware.opqfw {self.sha256['firmware.opqfw'][:12]}"


@dataclass(frozen=True, slots=True)
class CodePlace:
    """One address of the firmware's code."""

    address: int
    function: str
    line: str
    """file:line, with paths below device/, micropython/ or build/."""
    program: str
    """boot, firmware_a or firmware_b."""


def kept_builds(board: str, folders: Sequence[Path] = ()) -> list[KeptBuild]:
    """The builds of a board in `folders`, else in build/firmware and in the cache."""
    found = []
    for top in folders or (built_folder(), cache_folder() / "firmware"):
        folder = top if (top / "report.json").exists() else top / board
        if (folder / "report.json").exists() and (folder / PROGRAMS[1]).exists():
            report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
            found.append(KeptBuild(folder, report["version"], report["sha256"]))
    return found


def fitting_build(builds: Sequence[KeptBuild], flashed: str | None) -> KeptBuild:
    """The build of the firmware `flashed`: a file that was flashed, or the version that the Box reports.

    Raises:
        NoSuchBuildError: none fits; the text names those that are there.
    """
    there = "; ".join(build.words for build in builds) or "none"
    if not builds:
        raise NoSuchBuildError("no ELF files: opq-tools firmware build keeps them in build/firmware")
    if flashed is None:
        return builds[0]
    path = Path(flashed)
    if path.is_file():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        fitting = [build for build in builds if digest in build.sha256.values()]
        what = f"{path} (sha256 {digest[:12]})"
    else:
        fitting = [build for build in builds if build.version == flashed.removeprefix("opq ").split(" ")[0]]
        what = f"version {flashed}"
    if not fitting:
        raise NoSuchBuildError(f"no ELF of {what} is kept. There are: {there}")
    return fitting[0]


def code_places(build: KeptBuild, addresses: Sequence[int]) -> Iterator[CodePlace]:
    """The place of each address that lies in code.

    Raises:
        NoSuchBuildError: addr2line is not installed.
    """
    tool = shutil.which(f"{PREFIX}addr2line")
    if tool is None:
        raise NoSuchBuildError(f"no {PREFIX}addr2line here: apt install binutils-arm-none-eabi")
    code = {name: _code(build.folder / name) for name in PROGRAMS}
    for address in addresses:
        exact = (address & ~1) - CALL_BYTES if address & 1 else address
        program = next((name for name in PROGRAMS if any(exact in span for span in code[name])), None)
        if program is not None:
            function, line = _addr2line(tool, build.folder / program, exact)
            yield CodePlace(address, function, line, program.removesuffix(".elf"))


def _code(path: Path) -> list[range]:
    """Spans of memory from which instructions are fetched: .text, and .ram without its data."""
    with path.open("rb") as handle:
        elf = ELFFile(handle)
        sections = {section.name: section for section in elf.iter_sections()}
        table, text = sections[".symtab"], sections[".text"]
        assert isinstance(table, SymbolTableSection)
        ram = [int(found[0]["st_value"]) for name in RAM_CODE if (found := table.get_symbol_by_name(name))]
        spans = [range(int(text["sh_addr"]), int(text["sh_addr"]) + int(text["sh_size"]))]
    return spans + ([range(*ram)] if len(ram) == 2 else [])


def _addr2line(tool: str, path: Path, address: int) -> tuple[str, str]:
    command = [tool, "-f", "-e", str(path), f"0x{address:08x}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    function, line = done.stdout.splitlines()
    return function, COMPILED_IN.sub("", line.split(" (discriminator")[0])
