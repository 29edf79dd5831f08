"""A user's program in flash that loses its power in mid-word: C of the firmware on the PC."""

import subprocess

import pytest
from host_library import CMODULES, DEVICE, program

SOURCES = (
    CMODULES / "program" / "program_store.c",
    CMODULES / "settings" / "nor.c",
    CMODULES / "link" / "crc32.c",
    DEVICE / "tests" / "nor_flash.c",
    DEVICE / "tests" / "power_cuts_program.c",
)


def run_cuts(seeds: int, timeout_s: int) -> dict[str, int]:
    cutter = program("power_cuts_program", SOURCES, optimise="-O2")
    done = subprocess.run(
        [cutter, str(seeds)], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    print(done.stdout.strip(), done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


def test_a_put_survives_any_power_cut() -> None:
    """Old or new is held; none only where the cut came during an erase."""
    figures = run_cuts(seeds=20, timeout_s=600)
    assert figures["cuts"] >= 1_800
    assert figures["corrupt"] == figures["bricked"] == 0
    assert min(figures["old"], figures["new"], figures["none"]) > 0


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_sixty_thousand_cuts_lose_no_program() -> None:
    figures = run_cuts(seeds=650, timeout_s=800)
    assert figures["cuts"] >= 60_000
    assert figures["corrupt"] == figures["bricked"] == 0
