"""The boot loader's and the update's C for the PC, with Monocypher, or a skip that says why not."""

from pathlib import Path

import pytest
from host_library import CMODULES, DEVICE

from opq_hil.debian_source import SourceError
from opq_hil.monocypher_source import monocypher

HERE = Path(__file__).resolve().parent
BOOT = DEVICE / "boot"
UPDATE = (
    CMODULES / "settings" / "nor.c",
    *(CMODULES / "update" / name for name in ("image.c", "slot.c", "update.c", "sha256.c")),
)
"""Images, slots and updates over any flash."""
LINK = tuple(CMODULES / "link" / name for name in ("cobs.c", "crc32.c", "frame.c", "messages.c", "readers.c"))
FLASH = HERE / "nor_flash.c"


def ed25519() -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Sources and flags of the boot loader's signature check."""
    try:
        folder = monocypher().path
    except SourceError as problem:
        pytest.skip(str(problem))
    # Monocypher's warnings are its own: our -Wconversion is not its style.
    flags = (f"-I{BOOT}", f"-isystem{folder}", f'-DOPQ_MONOCYPHER_C="{folder / "monocypher.c"}"')
    return (BOOT / "ed25519.c", BOOT / "sha512.c", HERE / "monocypher_on_pc.c"), flags
