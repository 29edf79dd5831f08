"""Builds one board's firmware: compiles once, links both slots, checks them and writes the files.

    <out>/<board>/firmware_a.{elf,bin}  firmware_b.{elf,bin}  boot.{elf,bin}   linked
    <out>/<board>/firmware.opqfw  flash.{bin,hex,dfu}  report.json             for the link, a programmer, CI
    <out>/<board>/device  obj                 a copy of the sources and its objects: the next build is quick
    <out>/<board>/board.toml  obj/board.h     the board's facts, and what C reads of them

The same sources, compiler and MicroPython give the same bytes, in any folder (-ffile-prefix-map, no date),
and the same signatures (Ed25519 has no randomness). Make compares paths and times, so it compiles a copy of
the sources in a fixed place: another checkout with the same content has nothing to compile.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from opq_hil.backends.boards import FILE, read_board
from opq_hil.backends.build_lock import locked
from opq_hil.backends.build_step import run_step
from opq_proto.firmware.image import (
    FLAG_DEVELOPMENT_KEY,
    SLOT_BYTES,
    Slot,
    make_image,
    pack_bundle,
    version_number,
)
from opq_proto.keys.signing import development_key, firmware_key, public_of
from opq_proto.kit.system_place import default_data_dir
from opq_proto.kit.whole_file import write_whole_file
from opq_tools.firmware.checks import BuildFigures, check_build
from opq_tools.firmware.formats import dfuse, intel_hex
from opq_tools.firmware.sources import COPY, DEVICE, copy_sources
from opq_tools.firmware.toolchain import BudgetError, FirmwareBuildError, Toolchain

EPOCH = "1744675200"
"""SOURCE_DATE_EPOCH: the day of MicroPython 1.25, the only date that a build sees."""
CONFIGURATION = "configuration"
"""File with what the objects were made with. It is not there while make runs, so that objects of a make that
was ended by force are deleted. So are those of another configuration: MicroPython's lists of names only grow.
"""
MAKE_LIMIT_S = 900.0
"""For a machine with two cores, which needs 25 s; it grows on a slower one."""
HEADER = "board.h"
FLASH_BYTES = 1 << 20
FLASH_ORIGIN = 0x0800_0000
ERASING_BYTES = 16
ERASED = (Slot.A.address + SLOT_BYTES - ERASING_BYTES, Slot.B.address)
"""Slot A's marks, which might reject this image; slot B's header, whose image might start instead."""


@dataclass(frozen=True, slots=True)
class Images:
    """The files written, and the key that signed them."""

    update: str
    flash: str
    key_fingerprint: str
    development_key: bool


@dataclass(frozen=True, slots=True)
class Built:
    """Result of a build, as in `report.json`."""

    board: str
    version: str
    folder: Path
    figures: BuildFigures
    images: Images
    sources: Mapping[str, str]
    sha256: Mapping[str, str]
    seconds: float

    def as_json(self) -> dict[str, object]:
        """The result as plain values."""
        found = asdict(self)
        found["folder"] = str(self.folder)
        return found


def build(
    board_dir: Path,
    tools: Toolchain,
    *,
    out: Path,
    version: str,
    key: Path | None = None,
    device: Path = DEVICE,
) -> Built:
    """Builds, checks and writes the firmware of the board of a folder; a second process on the same folder
    waits.

    Raises:
        ConfigError: the folder's board.toml is not there, or wrong.
        FirmwareBuildError: it does not compile.
        BuildError: make took too long, and was ended.
        BudgetError: it compiles, but exceeds a budget.
    """
    facts = read_board(board_dir)
    board = facts.name
    version_number(version)  # checked, like the key, before minutes of work
    private = key or development_key(default_data_dir())
    public_key = public_of(firmware_key(private)).raw.hex()
    folder = (out / board).resolve()
    for path in (folder, device, tools.micropython.path, tools.monocypher.path):
        if re.search(r"[\s:#$]", str(path)):
            raise FirmwareBuildError(
                f"{str(path)!r}: a path for make cannot contain a blank or one of : # $ in a path; "
                "use another place"
            )
    objects = folder / "obj"
    try:
        objects.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise FirmwareBuildError(f"{folder} cannot be made: {problem.strerror}") from None
    began = time.monotonic()
    with locked(folder / ".lock"):
        sources = folder / COPY
        copy_sources(device, sources)
        mark, known = objects / CONFIGURATION, _configuration(sources, tools)
        if not mark.exists() or mark.read_text() != known:
            shutil.rmtree(objects)
            objects.mkdir()
        mark.unlink(missing_ok=True)
        header = objects / HEADER
        if not header.is_file() or header.read_text() != facts.header():
            write_whole_file(header, [facts.header().encode()])
        write_whole_file(folder / FILE, [(board_dir / FILE).read_bytes()])
        micropython, monocypher = str(tools.micropython.path), str(tools.monocypher.path)
        try:
            _make(
                tools,
                board,
                sources / "port",
                objects,
                BOARD_DIR=str(objects),
                MICROPYTHON=micropython,
                VERSION=version,
            )
            _make(
                tools,
                board,
                sources / "boot",
                objects / "boot",
                BOARD_DIR=str(objects),
                MONOCYPHER=monocypher,
                PUBLIC_KEY=public_key,
            )
        except FirmwareBuildError as problem:
            mark.write_text(known)
            raise FirmwareBuildError(str(problem).replace(str(sources), str(device))) from None
        mark.write_text(known)
        for made in (
            *objects.glob("firmware_?.elf"),
            *objects.glob("firmware_?.bin"),
            *objects.glob("boot/boot.*"),
        ):
            if made.suffix in (".elf", ".bin"):
                write_whole_file(folder / made.name, [made.read_bytes()])
        images = lay_out(folder, board, version, private, development=key is None)
        figures = check_build(folder, objects, device / "port", asdict(facts.budget))
        hashed = [
            *folder.glob("firmware_?.bin"),
            *(folder / name for name in ("boot.bin", "flash.bin", images.update)),
        ]
        built = Built(
            board,
            version,
            folder,
            figures,
            images,
            {
                "micropython": tools.micropython.version,
                "micropython_sha256": tools.micropython.sha256,
                "micropython_note": tools.micropython.note,
                "monocypher": tools.monocypher.version,
                "monocypher_sha256": tools.monocypher.sha256,
                "compiler": tools.compiler,
            },
            {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(hashed)},
            round(time.monotonic() - began, 1),
        )
        write_whole_file(folder / "report.json", [json.dumps(built.as_json(), indent=1).encode(), b"\n"])
    if figures.excesses:
        raise BudgetError(f"{board} is over its budget:\n  " + "\n  ".join(figures.excesses))
    return built


def _configuration(device: Path, tools: Toolchain) -> str:
    """What the objects depend on besides the files that make compares."""
    port = device / "port"
    rooms = sorted(path.parent.name for path in device.glob("cmodules/*/micropython.mk"))
    micropython = f"{tools.micropython.path} {tools.micropython.sha256}"
    facts = [str(device), micropython, tools.compiler, *rooms]
    known = hashlib.sha256("\n".join(facts).encode())
    known.update(tools.mpy_cross.read_bytes())  # every checkout has its own
    for name in ("Makefile", "mpconfigport.h", "manifest.py"):
        known.update((port / name).read_bytes())
    return known.hexdigest()


def _make(tools: Toolchain, board: str, room: Path, objects: Path, **variables: str) -> None:
    settings = [f"{name}={value}" for name, value in {**variables, "BUILD": str(objects)}.items()]
    command = (tools.make, "-C", str(room), f"-j{os.cpu_count() or 1}", *settings)
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if name not in ("CFLAGS", "LDFLAGS", "MAKEFLAGS")
        },
        "MICROPY_MPYCROSS": str(tools.mpy_cross),
        "SOURCE_DATE_EPOCH": EPOCH,
        "LC_ALL": "C",
    }
    what = f"{room.name} of {board}"
    code, output = run_step(command, room, f"make of {what}", limit_s=MAKE_LIMIT_S, environment=environment)
    if code:
        lines = [line for line in output if line.strip()]
        first = next((n for n, line in enumerate(lines) if re.search(r"error:|\*\*\*|/ld: ", line)), 0)
        raise FirmwareBuildError(f"{what} does not build:\n" + "\n".join(lines[first : first + 12]))


def lay_out(folder: Path, board: str, version: str, key: Path, *, development: bool) -> Images:
    """Writes `firmware.opqfw` (both slots) and `flash.{bin,hex,dfu}` (boot loader, slot A) for a new Box."""
    private = firmware_key(key)
    images = {
        slot: make_image(
            (folder / f"firmware_{slot.name.lower()}.bin").read_bytes(),
            hardware=board,
            version=version_number(version),
            slot=slot,
            label=version,
            flags=FLAG_DEVELOPMENT_KEY if development else 0,
            sign=private.sign,
        )
        for slot in Slot
    }
    write_whole_file(folder / "firmware.opqfw", [pack_bundle(images)])  # an emulator may be reading it
    flash = bytearray(b"\xff" * FLASH_BYTES)
    parts = ((FLASH_ORIGIN, (folder / "boot.bin").read_bytes()), (Slot.A.address, images[Slot.A]))
    for address, data in parts:
        flash[address - FLASH_ORIGIN : address - FLASH_ORIGIN + len(data)] = data
    write_whole_file(folder / "flash.bin", [bytes(flash)])
    written = (*parts, *((address, b"\xff" * ERASING_BYTES) for address in ERASED))
    write_whole_file(folder / "flash.hex", [intel_hex(written)])
    write_whole_file(folder / "flash.dfu", [dfuse(written, board)])
    return Images("firmware.opqfw", "flash.bin", public_of(private).fingerprint, development)
