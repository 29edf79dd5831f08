"""The port's drivers on a PC, against registers that answer late, wrongly or never."""

import os
import subprocess
from dataclasses import replace

import pytest
from host_library import CMODULES, DEVICE, header_folder, program

from opq_hil.backends.boards import BOARDS

PORT = DEVICE / "port"
SOURCES = [
    DEVICE / "tests" / "port_probe.c",
    *(PORT / f"{noun}.c" for noun in ("power", "flash", "uart", "watchdog")),
    CMODULES / "link" / "queue.c",
]
FLAGS = ("-DOPQ_HOST_REGISTERS", "-D_GNU_SOURCE", f"-I{PORT}", f"-I{header_folder(BOARDS['opqbox'])}")


def probe(case: str, cause: int = 0, revision: int = 0x10076413) -> str:
    # -O2: the bounds of the waits are counted in millions of loops
    built = program("port_probe", SOURCES, *FLAGS, optimise="-O2")
    environment = {**os.environ, "CAUSE": str(cause), "REVISION": f"{revision:x}"}
    done = subprocess.run(
        [built, case], capture_output=True, text=True, timeout=600, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_box_runs_at_168_mhz() -> None:
    """With its oscillator the Box runs at 168 mhz and its lines at their rates."""
    # RM0090 30.3.4: 84 MHz / 921,600 = 91.1 -> 0x5B; 42 MHz / 9600 = 4375 -> 0x1117; 5 waits (table 10)
    assert probe("good") == "0 42000000 84000000 latency 5 brr 5b 1117"


def test_without_oscillator_the_internal_one_serves() -> None:
    """An oscillator that does not start leaves the internal one behind the pll."""
    assert probe("no_hse") == "1 42000000 84000000 latency 5 brr 5b 1117"


def test_without_pll_lines_still_work() -> None:
    """A pll that does not lock leaves 16 mhz and lines that still talk."""
    # 16 MHz / 921,600 = 17.4 -> 0x11: 2.1 % fast, which 8N1 bears (5 % over ten bits); 16 MHz / 9600 = 1666.7
    assert probe("no_pll") == "2 16000000 16000000 latency 5 brr 11 683"


@pytest.mark.parametrize(
    ("revision", "on"),
    [
        (0x10006413, "0"),
        (0x10002411, "0"),
        (0x10016413, "1"),
        (0x10036413, "1"),
        (0x10076413, "1"),
        (0x10006419, "1"),
    ],
)
def test_only_revision_a_disables_prefetch(revision: int, on: str) -> None:
    assert probe("prefetch", revision=revision) == on


def test_option_bytes_change_only_the_boot_sectors() -> None:
    """Option bytes are set for the boot loaders sectors only and the rest of them stays."""
    # OPTCR: OPTSTRT stays on here, since these registers do not clear it; OPTLOCK is on again
    assert probe("protection") == "0 0 slots 0 level 0 set 1 3 3 optcr ffcaae3 busy 0"


@pytest.mark.parametrize(
    ("hz", "bypass", "good"),
    [
        (8_000_000, 0, True),
        (12_000_000, 1, True),
        (25_000_000, 0, True),
        (16_000_000, 0, True),
        (12_288_000, 1, False),
        (1_000_000, 1, False),
        (27_000_000, 0, False),
        (3_000_000, 0, False),
    ],
)
def test_a_wrong_crystal_does_not_build(hz: int, bypass: int, good: bool) -> None:
    box = BOARDS["opqbox"]
    board = replace(box, clock=replace(box.clock, hse_hz=hz, hse_bypass=bool(bypass)))
    folders = (header_folder(board), PORT, CMODULES / "link", CMODULES / "update", CMODULES / "acquire")
    command = ["cc", "-std=c11", "-fsyntax-only", "-DOPQ_HOST_REGISTERS", "-D_GNU_SOURCE"]
    command += [f"-I{folder}" for folder in folders] + [str(PORT / "power.c")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode == 0) == good, done.stderr
    assert good or "static assertion failed" in done.stderr


def test_flash_writes_are_bounded() -> None:
    answer = probe("flash")
    if answer == "no memory there":
        pytest.skip("this machine has something at 0x08000000")
    # opq_nor_status_t: 0 OK, 1 bad argument, 2 low power, 3 timeout, 4 failed
    assert answer == (
        "program 0 reads 12345678 locked 1 outside 1 odd 1 erase 0 sector 1 flag 4 low 2 busy 3"
    )


def test_a_line_counts_what_it_loses_and_doubts() -> None:
    assert probe("overrun") == "6 2 1 2 gps 0"  # received, overruns, noise, refused


@pytest.mark.parametrize("cause", range(6), ids=("power", "brown-out", "pin", "software", "iwdg", "lp"))
def test_the_reset_cause_is_the_most_telling(cause: int) -> None:
    """The reset cause is the most telling flag and the flags are cleared."""
    assert probe("cause", cause) == f"{cause + 1} 1"  # opq_reset_cause_t
