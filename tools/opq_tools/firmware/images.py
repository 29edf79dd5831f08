"""Signed images, the update file and the flash's content, from the linked binaries."""

from dataclasses import dataclass
from pathlib import Path

from opq_proto.firmware_image import FLAG_DEVELOPMENT_KEY, Slot, make_image, pack_bundle, version_number
from opq_proto.signing import firmware_key, public_of
from opq_proto.whole_file import write_whole_file

FLASH_BYTES = 1 << 20
FLASH_ORIGIN = 0x0800_0000


@dataclass(frozen=True, slots=True)
class Images:
    """What was laid out, and by whose key."""

    update: str
    flash: str
    key_fingerprint: str
    development_key: bool


def lay_out(folder: Path, board: str, version: str, key: Path, *, development: bool) -> Images:
    """`firmware.opqfw` (both slots) and `flash.bin` (boot loader and slot A: a new Box)."""
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
    write_whole_file(folder / "firmware.opqfw", [pack_bundle(images)])  # an emulator may read the one before
    flash = bytearray(b"\xff" * FLASH_BYTES)
    for address, data in (
        (FLASH_ORIGIN, (folder / "boot.bin").read_bytes()),
        (Slot.A.address, images[Slot.A]),
    ):
        flash[address - FLASH_ORIGIN : address - FLASH_ORIGIN + len(data)] = data
    write_whole_file(folder / "flash.bin", [bytes(flash)])
    return Images("firmware.opqfw", "flash.bin", public_of(private).fingerprint, development)
