"""Flashing over a line that fails at any byte: one sentence within 15 s; half-written chips are reported.

The 15 s are held by the slow test, on an idle machine: on a crowded one dozens of lines wait for a core.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from failing_line import FailingLine, LineFault
from flash_under_test import Layout, boot_loader, bundle, image
from updating_box import UpdatingBox

from opq_proto.firmware.image import Slot
from opq_sim.box.rom_boot_loader import RomBootLoader
from opq_tools.firmware.flash.chip import FlashError
from opq_tools.firmware.flash.chip_judgement import Allowed
from opq_tools.firmware.flash.connection import Connection, flash_chip
from opq_tools.firmware.flash.flash_command import command
from opq_tools.firmware.flash.flash_progress import FlashProgress
from opq_tools.firmware.flash.image import read_firmware

LONGEST_S, PATIENT_S = 15.0, 180.0
OLD = Layout(boot_loader(), image(Slot.A, "1.0.0", size=300))
NEW = image(Slot.A, size=300)
PARALLEL = 40


@contextmanager
def rom_chip() -> Iterator[tuple[str, Callable[[], str]]]:
    """Its port, and what its slot A holds: old, new or neither."""
    with RomBootLoader() as chip:
        chip.memory.flash[:] = OLD.flash()

        def held() -> str:
            flash = bytes(chip.memory.flash)
            if flash == bytes(OLD.flash()):
                return "old"
            return "new" if flash[0x20000 : 0x20000 + len(NEW)] == NEW else "neither"

        yield chip.path, held


@contextmanager
def running_box(sampling: bool = True) -> Iterator[tuple[str, Callable[[], str]]]:
    """Its firmware is the old one until the whole new one has come."""
    with UpdatingBox(sampling=sampling) as box:
        yield box.path, lambda: "new" if box.firmware == "1.2.3" else "old"


Way = Callable[[], AbstractContextManager[tuple[str, Callable[[], str]]]]
WAYS: dict[str, Way] = {"port": rom_chip, "link": running_box}
QUIET = "link without samples"
"""Its dialogue has the same bytes each time."""


@dataclass(frozen=True)
class Ended:
    """How one flashing over one failing line ended; `error` is empty where it was done before the fault."""

    where: str
    error: str
    seconds: float
    held: str
    carried: int

    def problem(self, longest_s: float) -> str:
        """What is wrong with it; empty: nothing."""
        if self.seconds > longest_s:
            return f"{self.where}: {self.seconds:.1f} s: {self.error}"
        if not self.error:
            return "" if self.held == "new" else f"{self.where}: done, but it holds {self.held}"
        if "\n" in self.error or "Errno" in self.error:
            return f"{self.where}: not one sentence: {self.error}"
        if "Nothing was written" in self.error and self.held != "old":
            return f"{self.where}: it holds {self.held}, not told: {self.error}"
        if "has the whole new firmware" in self.error and self.held != "new":
            return f"{self.where}: it holds {self.held}: {self.error}"
        words = ("Nothing was written", "half-written", "run the same command again", "opq-tools chip")
        return "" if any(word in self.error for word in words) else f"{self.where}: {self.error}"


def flashed(way: str, fault: LineFault, at_byte: int, file: Path) -> Ended:
    chip = running_box(sampling=False) if way == QUIET else WAYS[way]()
    with chip as (device, held), FailingLine(device, fault, at_byte) as line:
        at = Connection(
            dfu=False,
            probe=None,
            baud=None,
            reset_lines=False,
            serial="",
            port=line.path if way == "port" else None,
            link=None if way == "port" else line.path,
        )
        began, error = time.monotonic(), ""
        try:
            flash_chip(at, read_firmware(file, None), Allowed(), True, None, FlashProgress(None))
        except FlashError as told:
            error = str(told)
        seconds = time.monotonic() - began
        return Ended(f"{way} {fault} at byte {at_byte}", error, seconds, held(), line.carried)


def problems(
    cases: Iterable[tuple[str, LineFault, int]],
    file: Path,
    parallel: int = PARALLEL,
    longest_s: float = PATIENT_S,
) -> list[str]:
    """All cases, many at once: they wait rather than work."""
    with ThreadPoolExecutor(parallel) as pool:
        ended = pool.map(lambda case: flashed(*case, file), cases)
        return [text for text in (each.problem(longest_s) for each in ended) if text]


@pytest.fixture
def update(tmp_path: Path) -> Path:
    path = tmp_path / "x.opqfw"
    path.write_bytes(bundle(size=300))
    return path


def test_a_line_that_fails_ends_in_a_sentence(update: Path) -> None:
    """At its first byte, in a question, while the chip is judged, and in the midst of writing."""
    cases: list[tuple[str, LineFault, int]] = []
    for way in WAYS:
        whole = flashed(way, LineFault.SILENT, 1 << 30, update)
        assert not whole.error and whole.held == "new"
        places = {0, 1, whole.carried // 4, whole.carried * 4 // 5}
        cases += [(way, fault, at) for at in places for fault in LineFault]
    found = problems(cases, update, len(cases))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("way", WAYS)
def test_an_echo_is_named(way: str, update: Path) -> None:
    assert "TX and RX are joined" in flashed(way, LineFault.ECHO, 0, update).error
    assert "TX and RX" not in flashed(way, LineFault.SILENT, 0, update).error


def test_an_unconfirmed_update_is_not_called_whole(update: Path) -> None:
    """The plug is pulled between the last piece and the first hello of the new firmware."""
    carried = flashed(QUIET, LineFault.SILENT, 1 << 30, update).carried
    found = problems([(QUIET, LineFault.UNPLUGGED, at) for at in range(carried - 300, carried, 5)], update)
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", WAYS)
def test_lines_fail_at_any_byte(way: str, update: Path) -> None:
    """Each byte of the first hundred, and each 41st after it, of either way and of each fault."""
    carried = flashed(way, LineFault.SILENT, 1 << 30, update).carried
    places = (*range(100), *range(100, carried, 41))
    cases = [(way, fault, at) for at in places for fault in LineFault]
    found = problems(cases, update, longest_s=LONGEST_S)
    assert not found, "\n".join(found)


def test_a_failed_line_has_its_document(update: Path) -> None:
    with RomBootLoader() as chip, FailingLine(chip.path, LineFault.UNPLUGGED, 9) as line:
        done = CliRunner().invoke(command, [str(update), "--port", line.path, "--json"])
    document = json.loads(done.stdout)
    assert done.exit_code == 1 and document["done"] is False
    assert document["error"].endswith("Nothing was written")
