"""Flashing over a line that fails at any byte: one sentence within 15 s; half-written chips are reported.

A few places fail on ptys, where a crowded machine takes its own time. Every byte fails on a line in memory,
whose time is that for which the program waits: the 15 s are held there.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from failing_line import FailingLine, LineFault
from failing_port import BoxInMemory, FailingPort
from flash_under_test import Layout, boot_loader, bundle, image
from rom_in_memory import ChipInMemory, CountedTime
from updating_box import UpdatingBox

from opq_proto.firmware.image import Slot
from opq_proto.link.frames import encode
from opq_proto.link.messages import Log
from opq_sim.box.rom_boot_loader import RomBootLoader
from opq_tools.boxes.calibrate.calibrate_command import CalibrationLink
from opq_tools.boxes.calibrate.calibration import CalibrationError
from opq_tools.firmware.flash import box_link, in_place, rom, serial_line
from opq_tools.firmware.flash.chip import FlashError
from opq_tools.firmware.flash.chip_judgement import Allowed
from opq_tools.firmware.flash.connection import Connection, flash_chip
from opq_tools.firmware.flash.flash_command import command
from opq_tools.firmware.flash.flash_progress import FlashProgress
from opq_tools.firmware.flash.image import read_firmware

LONGEST_S, PATIENT_S = 15.0, 180.0
OLD_FLASH = bytes(Layout(boot_loader(), image(Slot.A, "1.0.0", size=300)).flash())
NEW = image(Slot.A, size=300)
PARALLEL = 40


def rom_holds(chip: RomBootLoader) -> str:
    """Old, new or neither."""
    flash = bytes(chip.memory.flash)
    if flash == OLD_FLASH:
        return "old"
    return "new" if flash[0x20000 : 0x20000 + len(NEW)] == NEW else "neither"


def box_holds(box: UpdatingBox) -> str:
    return "new" if box.firmware == "1.2.3" else "old"


@contextmanager
def rom_chip() -> Iterator[tuple[str, Callable[[], str]]]:
    """Its port, and what its slot A holds: old, new or neither."""
    with RomBootLoader() as chip:
        chip.memory.flash[:] = OLD_FLASH

        yield chip.path, lambda: rom_holds(chip)


@contextmanager
def running_box(sampling: bool = True) -> Iterator[tuple[str, Callable[[], str]]]:
    """Its firmware is the old one until the whole new one has come."""
    with UpdatingBox(sampling=sampling) as box:
        yield box.path, lambda: box_holds(box)


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


def error_of(way: str, path: str, file: Path) -> str:
    """Flashes; empty without an error."""
    at = Connection(
        dfu=False,
        probe=None,
        baud=None,
        reset_lines=False,
        serial="",
        port=path if way == "port" else None,
        link=None if way == "port" else path,
    )
    try:
        flash_chip(at, read_firmware(file, None), Allowed(), True, None, FlashProgress(None))
    except FlashError as told:
        return str(told)
    return ""


def flashed(way: str, fault: LineFault, at_byte: int, file: Path) -> Ended:
    chip = running_box(sampling=False) if way == QUIET else WAYS[way]()
    with chip as (device, held), FailingLine(device, fault, at_byte) as line:
        began = time.monotonic()
        error = error_of(way, line.path, file)
        seconds = time.monotonic() - began
        return Ended(f"{way} {fault} at byte {at_byte}", error, seconds, held(), line.carried)


def problems(cases: Iterable[tuple[str, LineFault, int]], file: Path, parallel: int = PARALLEL) -> list[str]:
    """All cases, many at once: they wait rather than work."""
    with ThreadPoolExecutor(parallel) as pool:
        ended = pool.map(lambda case: flashed(*case, file), cases)
        return [text for text in (each.problem(PATIENT_S) for each in ended) if text]


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


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (LineFault.UNPLUGGED, "look at the plug, the adapter and its supply"),
        (LineFault.SILENT, "no Box sends Hello within 8 s: nothing came: look at plug, supply and wiring"),
        (LineFault.ECHO, "TX and RX are joined, or the adapter echoes. No Box sends Hello within 8 s"),
        (LineFault.NACK, "no Box sends Hello within 8 s: 8 bytes came and no frame"),
        (LineFault.TALKING, "bytes came and no frame, so another device is there"),
    ],
)
def test_calibrate_says_what_flash_says(
    fault: LineFault, words: str, update: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [flashed_in_memory("link", fault, 0, update, monkeypatch).error]
    open_instead(FailingPort(lambda _: b"", CountedTime(), fault, 0), monkeypatch)
    with pytest.raises(CalibrationError) as done, closing(CalibrationLink("memory")) as link:
        link.hello()
    errors.append(str(done.value))
    assert all(words in error for error in errors), errors


def test_a_box_that_hears_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its TX arrives, and its RX has no wire."""
    frames = encode(Log(1, 0, 0, 0), 0)
    open_instead(FailingPort(lambda _: frames, CountedTime(), LineFault.SILENT, 1 << 30), monkeypatch)
    with pytest.raises(CalibrationError) as done, closing(CalibrationLink("memory")) as link:
        link.hello()
    assert "frames came, so it runs and hears nothing: look at the wire to its RX" in str(done.value)


def test_what_a_server_says_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """cminyard/ser2net 33: the port is taken, and the server says so before it ends the connection."""
    port = FailingPort(lambda _: b"Port already in use\r\n", CountedTime(), LineFault.UNPLUGGED, 60)
    open_instead(port, monkeypatch)
    with pytest.raises(CalibrationError) as done, closing(CalibrationLink("socket://host:3000")) as link:
        link.hello()
    assert "is gone (it said 'Port already in use'): look at the host's name" in str(done.value)


def test_an_unconfirmed_update_is_not_called_whole(update: Path) -> None:
    """The plug is pulled between the last piece and the first hello of the new firmware."""
    carried = flashed(QUIET, LineFault.SILENT, 1 << 30, update).carried
    found = problems([(QUIET, LineFault.UNPLUGGED, at) for at in range(carried - 300, carried, 5)], update)
    assert not found, "\n".join(found)


def open_instead(port: FailingPort, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every port that is opened is this one, and time is its time."""
    for module in (rom, box_link, in_place, serial_line):
        monkeypatch.setattr(module, "time", port.time)
    monkeypatch.setattr(serial_line, "open_port", lambda *_, **__: port)


def flashed_in_memory(
    way: str, fault: LineFault, at_byte: int, file: Path, monkeypatch: pytest.MonkeyPatch
) -> Ended:
    """The same on counted time, of a chip or Box in memory."""
    clock, chip, box = CountedTime(), ChipInMemory(), BoxInMemory()
    chip.memory.flash[:] = OLD_FLASH
    box.power_up()
    port = FailingPort(chip.answer if way == "port" else box.answer, clock, fault, at_byte)
    open_instead(port, monkeypatch)
    try:
        error = error_of(way, "memory", file)
    finally:
        chip.close()
    held = rom_holds(chip) if way == "port" else box_holds(box)
    return Ended(f"{way} {fault} at byte {at_byte}", error, clock.now_s, held, port.carried)


@pytest.mark.parametrize("way", WAYS)
def test_a_line_may_fail_at_any_byte(way: str, update: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte of the first hundred, and each 41st after it, of either way and of each fault."""
    whole = flashed_in_memory(way, LineFault.SILENT, 1 << 30, update, monkeypatch)
    assert not whole.error and whole.held == "new"
    places = (*range(100), *range(100, whole.carried, 41))
    cases = [(fault, at) for at in places for fault in LineFault]
    ended = [flashed_in_memory(way, *case, update, monkeypatch) for case in cases]
    found = [text for text in (each.problem(LONGEST_S) for each in ended) if text]
    assert not found, "\n".join(found)


def test_a_failed_line_has_its_document(update: Path) -> None:
    with RomBootLoader() as chip, FailingLine(chip.path, LineFault.UNPLUGGED, 9) as line:
        done = CliRunner().invoke(command, [str(update), "--port", line.path, "--json"])
    document = json.loads(done.stdout)
    assert done.exit_code == 1 and document["done"] is False
    assert document["error"].endswith("Nothing was written")
