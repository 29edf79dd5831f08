"""What the tests of the QEMU machine share: our QEMU, and small programs for the bare chip."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from opq_hil.backends.build_step import BuildError
from opq_hil.backends.debian_source import SourceError
from opq_hil.backends.qemu_build import find_qemu

PROGRAMS = Path(__file__).parent / "qemu_programs"
HEADERS = Path(__file__).parents[2] / "device" / "port"
FLAGS = (
    "-mcpu=cortex-m4",
    "-mthumb",
    "-mfpu=fpv4-sp-d16",
    "-mfloat-abi=hard",
    "-O2",
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-array-bounds",
    "-ffreestanding",
    "-nostartfiles",
)


def our_qemu() -> Path:
    """The binary; skips the test, with the reason, where it cannot be had."""
    try:
        return find_qemu().path
    except (BuildError, SourceError) as problem:
        pytest.skip(f"our QEMU is not here: {problem}")


def compiler(folder: Path) -> Callable[[str], Path]:
    """Name of a program -> its ELF file, built once into `folder`."""
    gcc = shutil.which("arm-none-eabi-gcc")
    if gcc is None:
        pytest.skip("arm-none-eabi-gcc is not here: sudo apt install gcc-arm-none-eabi")

    def built(name: str) -> Path:
        elf = folder / f"{name}.elf"
        if not elf.exists():
            sources = [str(PROGRAMS / "program.c"), str(PROGRAMS / f"{name}.c")]
            script = str(PROGRAMS / "program.ld")
            subprocess.run([gcc, *FLAGS, f"-I{HEADERS}", "-T", script, *sources, "-o", str(elf)], check=True)
        return elf

    return built
