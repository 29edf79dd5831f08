"""The boot loader's and the update's C for the PC, and the loader's binary, with Monocypher; or a skip that
says why not.
"""

import ctypes
import random
import shutil
import struct
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from host_library import CMODULES, DEVICE, library, plain_object

from opq_hil.backends.boards import BOARDS
from opq_hil.backends.debian_source import SourceError
from opq_hil.backends.monocypher_source import monocypher
from opq_proto.firmware.image import HEADER_BYTES, Slot, Verdict, make_image

HERE = Path(__file__).resolve().parent
BOOT = DEVICE / "boot"
UPDATE = (
    CMODULES / "settings" / "nor.c",
    *(CMODULES / "update" / name for name in ("image.c", "slot.c", "update.c", "sha256.c")),
)
"""Images, slots and updates over any flash."""
LINK = tuple(CMODULES / "link" / name for name in ("cobs.c", "crc32.c", "frame.c", "messages.c", "readers.c"))
BOOT_C = (BOOT / "boot.c", BOOT / "recovery.c")
FLASH = HERE / "nor_flash.c"


def ed25519() -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Sources and flags of the boot loader's signature check."""
    try:
        folder = monocypher().path
    except SourceError as problem:
        pytest.skip(str(problem))
    # Monocypher's warnings are its own: our -Wconversion is not its style.
    flags = (f"-I{BOOT}", f"-isystem{folder}")
    source = f'-DOPQ_MONOCYPHER_C="{folder / "monocypher.c"}"'
    monocypher_o = plain_object("monocypher", HERE / "monocypher_on_pc.c", f"-isystem{folder}", source)
    return (BOOT / "ed25519.c", BOOT / "sha512.c", monocypher_o), flags


PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = PRIVATE.public_key().public_bytes_raw()


def make_boot(
    build: Path, board: str, key: str = KEY.hex(), room: Path = BOOT
) -> "subprocess.CompletedProcess[str]":
    """Makes the boot loader's binary in `build`, for the chip, trusting `key` (hex)."""
    if shutil.which("arm-none-eabi-gcc") is None or shutil.which("make") is None:
        pytest.skip("no arm-none-eabi-gcc or make here: apt install gcc-arm-none-eabi make")
    try:
        folder = monocypher().path
    except SourceError as problem:
        pytest.skip(str(problem))
    build.mkdir(parents=True, exist_ok=True)
    (build / "board.h").write_text(BOARDS[board].header())
    variables = (f"BOARD_DIR={build}", f"MONOCYPHER={folder}", f"PUBLIC_KEY={key}", f"BUILD={build}")
    command = ("make", "-s", "-C", str(room), *variables)
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


NONE = 2
"""OPQ_SLOT_NONE."""
START, RECOVERY = 0, 1


@cache
def probe() -> ctypes.CDLL:
    """boot_probe.c and image_probe.c, built once for all tests."""
    sources, flags = ed25519()
    probes = (HERE / "boot_probe.c", HERE / "image_probe.c")
    c = library("boot_probe", (*UPDATE, *LINK, *BOOT_C, FLASH, *sources, *probes), *flags, optimise="-O1")
    c.probe_bytes.restype = ctypes.POINTER(ctypes.c_uint8)
    for name in ("probe_of_plan", "probe_of_update", "probe_operations", "probe_outside"):
        getattr(c, name).restype = ctypes.c_uint32
    c.probe_sent.restype = ctypes.c_size_t
    return c


def image(version: int = 1, slot: Slot = Slot.A, body_bytes: int = 2000, **changes: Any) -> bytes:
    """A good image of version 1.0.`version`, unless `changes` say otherwise."""
    vectors = struct.pack("<II", 0x2002_0000, slot.address + HEADER_BYTES + 9)
    body = vectors + random.Random(version * 2 + slot).randbytes(body_bytes - len(vectors))
    facts = {"hardware": "opqbox", "version": 0x0100_0000 + version, "slot": slot, "sign": PRIVATE.sign}
    return make_image(body, **{**facts, **changes})


class BoxOnPc:
    """A flash, and the boot loader that starts from it."""

    def __init__(self, seed: int = 1) -> None:
        self.c = probe()
        self.c.probe_new(ctypes.c_uint64(seed), KEY)

    def programmer(self, slot: Slot, content: bytes) -> None:
        """What a probe or the ROM boot loader does: bytes into the slot, marks left as they are."""
        at = slot.address - 0x0800_0000
        bytes_ = self.c.probe_bytes()
        for offset, byte in enumerate(content):
            bytes_[at + offset] = byte

    def flip(self, address: int) -> None:
        self.c.probe_bytes()[address - 0x0800_0000] ^= 0x10

    def start(self, *, pin: bool = False, request: bool = False, watchdog_resets: int = 0) -> "Plan":
        """A reset; the trial is counted where one begins."""
        action = self.c.probe_plan(int(pin), int(request), watchdog_resets)
        values = [self.c.probe_of_plan(what) for what in range(9)]
        if action == START:
            self.c.probe_begin()
            values[1], values[4] = self.c.probe_of_plan(1), self.c.probe_of_plan(4)
        return Plan(action, *values)

    def confirm(self, slot: Slot) -> int:
        return int(self.c.probe_confirm(int(slot)))

    def init(self, running: int, slot: int, floor: int = 0) -> None:
        self.c.probe_update_init(running, slot, floor)

    def begin(self, length: int) -> int:
        return int(self.c.probe_update(0, length, None, ctypes.c_size_t(0)))

    def data(self, offset: int, piece: bytes) -> int:
        return int(self.c.probe_update(1, offset, piece, ctypes.c_size_t(len(piece))))

    def step(self) -> int:
        return int(self.c.probe_update(2, 0, None, ctypes.c_size_t(0)))

    def end(self) -> int:
        return int(self.c.probe_update(3, 0, None, ctypes.c_size_t(0)))

    @property
    def next(self) -> int:
        return int(self.c.probe_of_update(0))

    @property
    def verdict(self) -> Verdict:
        return Verdict(self.c.probe_of_update(1))

    def send(self, content: bytes, piece_bytes: int = 1024) -> int:
        """All of an image as a good sender does it; the last status."""
        status = self.begin(len(content))
        while status in (OK, BUSY) and self.next < len(content):
            status = self.data(self.next, content[self.next : self.next + piece_bytes])
            if status == BUSY:
                status = self.step()
        return status


OK, BUSY, WRONG_OFFSET, BAD_IMAGE, FLASH_FAILED, NOT_BEGUN, ON_TRIAL, BAD_LENGTH = range(8)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the boot loader decided."""

    action: int
    because: int
    slot: int
    target: int
    wait_ms: int
    trials: int
    floor_version: int
    rolled_back: int
    verdict_a: int
    verdict_b: int
