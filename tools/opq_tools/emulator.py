"""What an emulated Box needs before it can start: our QEMU and the firmware, built at first use and kept."""

from collections.abc import Callable
from pathlib import Path

from opq_hil.backends import qemu_build
from opq_tools.built_firmware import firmware_for

BOARD = "opqbox"


def prepare(say: Callable[[str], None]) -> Path:
    """Contents of the chip's flash; minutes at first use (`say` tells), two seconds later.

    Raises:
        OpqError: one of both cannot be built here; the text has the apt line.
    """
    binary = qemu_build.find(say)
    if binary is None or binary.kind != qemu_build.MACHINE:
        qemu_build.make(say)  # says why, and what to install
    return firmware_for(boards=(BOARD,), say=say)[BOARD].image.flash
