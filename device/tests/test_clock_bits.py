"""The clock's arithmetic gives the same bits on a Cortex-M4 as on the PC, at any optimisation.

4,200 seconds with jitter, glitches, a ramp of temperature, 15 min of holdover and the return: states,
stamps, and the filters' doubles. The M4 is QEMU's mps2-an386; software double is a library there, so an
emulated core runs the very instructions that a real one would.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
from clock_on_pc import CLOCK_SOURCES, CMODULES, DEVICE
from host_library import program

TESTS = DEVICE / "tests"
BITS = TESTS / "clock_bits.c"
# What decides about arithmetic in device/port/Makefile.
TARGET_FLAGS = (
    *("-mthumb", "-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
    *("-std=gnu11", "-Os", "-fno-strict-aliasing", "-fno-math-errno", "-ffp-contract=off"),
)


def on_pc(optimise: str) -> str:
    flags = "-ffp-contract=off", "-fno-sanitize=all"  # other tests have these sources under sanitizers
    built = program("clock_bits", [*CLOCK_SOURCES, BITS], *flags, optimise=optimise)
    done = subprocess.run([str(built)], capture_output=True, text=True, timeout=600, check=True)
    return done.stdout


def on_m4(folder: Path) -> str:
    for tool, package in (
        ("arm-none-eabi-gcc", "gcc-arm-none-eabi libnewlib-arm-none-eabi"),
        ("qemu-system-arm", "qemu-system-arm"),
    ):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here: apt install {package}")
    image = folder / "clock_bits.elf"
    sources = [*CLOCK_SOURCES, BITS, TESTS / "clock_bits_m4.c"]
    build = [
        *("arm-none-eabi-gcc", *TARGET_FLAGS, f"-I{CMODULES / 'clock'}", *map(str, sources)),
        *("-specs=rdimon.specs", "-T", str(TESTS / "clock_bits_m4.ld"), "-o", str(image)),
    ]
    done = subprocess.run(build, capture_output=True, text=True, timeout=600, check=False)
    if "cannot read spec file" in done.stderr:
        pytest.skip("no newlib here: apt install libnewlib-arm-none-eabi")
    assert done.returncode == 0, done.stderr
    run = [
        *("qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none"),
        *("-semihosting-config", "enable=on,target=native", "-kernel", str(image)),
    ]
    return subprocess.run(run, capture_output=True, text=True, timeout=600, check=True).stdout


def test_every_optimisation_gives_the_same_bits() -> None:
    assert len({on_pc(level) for level in ("-O0", "-O1", "-O3")}) == 1


def test_a_cortex_m4_gives_the_pcs_bits(tmp_path: Path) -> None:
    here = on_pc("-O1")
    assert len(here.splitlines()) == 70
    assert on_m4(tmp_path) == here
