"""Firmware and patience for flash tests: a loader that names its key, signed images, a build's layout."""

import hashlib
import random
import struct
from dataclasses import dataclass
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opq_proto.firmware.image import HEADER_BYTES, Slot, make_image, pack_bundle, version_number

FLASH = 0x0800_0000


@cache
def key(name: str = "release") -> Ed25519PrivateKey:
    """The same key for the same name."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def boot_loader(hardware: str = "opqbox", trusts: str = "release") -> bytes:
    """32 KB with sane vectors; info block as in device/cmodules/update/handover.h."""
    body = struct.pack("<II", 0x2002_0000, FLASH + 0x201).ljust(0x3000, b"\x5a")
    info = struct.pack(
        "<4sI16s32s",
        b"OPQI",
        0x0100_0000,
        hardware.encode(),
        key(trusts).public_key().public_bytes_raw(),
    )
    return body.ljust(0x8000 - 128, b"\xff") + info.ljust(128, b"\xff")


def image(
    slot: Slot,
    version: str = "1.2.3",
    *,
    hardware: str = "opqbox",
    signed_by: str | None = "release",
    size: int = 5000,
) -> bytes:
    """A signed image with sane vectors and a body of noise."""
    begin = slot.address + HEADER_BYTES
    body = struct.pack("<II", 0x2002_0000, begin + 0x101) + random.Random(slot + size).randbytes(size - 8)
    return make_image(
        body,
        hardware=hardware,
        version=version_number(version),
        slot=slot,
        label=version,
        sign=None if signed_by is None else key(signed_by).sign,
    )


def bundle(version: str = "1.2.3", **facts: object) -> bytes:
    """A `.opqfw` of both slots."""
    return pack_bundle({slot: image(slot, version, **facts) for slot in Slot})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Layout:
    """Contents of a whole flash."""

    boot: bytes = b""
    a: bytes = b""
    b: bytes = b""
    settings: bytes = b""

    def flash(self) -> bytearray:
        found = bytearray(b"\xff" * (1 << 20))
        for offset, data in ((0, self.boot), (0x8000, self.settings), (0x20000, self.a), (0x80000, self.b)):
            found[offset : offset + len(data)] = data
        return found


def be_patient(patch: pytest.MonkeyPatch) -> None:
    """The ROM's loader looks for its place in the dialogue as long as a busy machine needs."""
    patch.setattr("opq_tools.firmware.flash.rom.GIVE_UP_S", 240.0)
    patch.setattr("opq_tools.firmware.flash.rom.MAX_FILLERS", 100_000)
