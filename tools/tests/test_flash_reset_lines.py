"""`--reset-lines` against an adapter with the wiring of stm32loader, whose own class states it.

A pty has no modem lines: here pyserial's two methods that set them drive NRST and BOOT0 of the emulated chip.
"""

import socket
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from unittest.mock import Mock

import pytest
import serial
from click.testing import CliRunner
from flash_under_test import Layout, boot_loader, bundle, image
from stm32loader.uart import SerialConnection

from opq_proto.firmware.image import Slot
from opq_sim.box.f405_memory import FLASH
from opq_sim.box.rom_boot_loader import GO, RomBootLoader
from opq_tools.firmware.flash import chip_command
from opq_tools.firmware.flash.chip import FlashError
from opq_tools.firmware.flash.connection import WIRED
from opq_tools.firmware.flash.flash_command import command
from opq_tools.firmware.flash.serial_line import SerialLine


class Adapter:
    """Its lines at a chip that runs; a level is what stm32loader sets for it."""

    def __init__(
        self, chip: RomBootLoader, monkeypatch: pytest.MonkeyPatch, wired: tuple[str, ...] = ()
    ) -> None:
        self.chip, self.nrst_low = chip, False
        chip.boot0 = False
        chip.reset()
        theirs, lines = SerialConnection("none"), Mock()
        theirs.serial_connection = lines
        theirs.swap_rts_dtr = "swapped" in wired
        theirs.reset_active_high = "reset-high" in wired
        theirs.boot0_active_low = "boot0-low" in wired
        to_nrst, to_boot0 = (
            (lines.setRTS, lines.setDTR) if "swapped" in wired else (lines.setDTR, lines.setRTS)
        )
        theirs.enable_reset()
        theirs.enable_boot0()
        self._resets = bool(to_nrst.call_args.args[0])
        self._raises_boot0 = bool(to_boot0.call_args.args[0])
        sets = (self._set_boot0, self._set_nrst) if "swapped" in wired else (self._set_nrst, self._set_boot0)
        monkeypatch.setattr(serial.Serial, "_update_dtr_state", lambda port: sets[0](port.dtr))
        monkeypatch.setattr(serial.Serial, "_update_rts_state", lambda port: sets[1](port.rts))

    def _set_nrst(self, level: bool) -> None:
        was_low, self.nrst_low = self.nrst_low, level == self._resets
        if was_low and not self.nrst_low:
            self.chip.reset()

    def _set_boot0(self, level: bool) -> None:
        self.chip.boot0 = level == self._raises_boot0

    def runs_the_flash(self) -> bool:
        """Whether the chip came out of its last reset into the flash, which may take a moment."""
        limit = time.monotonic() + 240
        while self.chip.started_at is None and time.monotonic() < limit:
            time.sleep(0.02)
        return (self.chip.started_at, self.chip.mapped_at_0, self.nrst_low) == (FLASH, FLASH, False)


@pytest.fixture
def chip() -> Iterator[RomBootLoader]:
    with RomBootLoader() as chip:
        chip.memory.flash[:] = Layout(boot_loader(), image(Slot.A, "1.0.0")).flash()
        yield chip


@pytest.fixture
def adapter(chip: RomBootLoader, monkeypatch: pytest.MonkeyPatch) -> Adapter:
    return Adapter(chip, monkeypatch)


@pytest.fixture
def update(tmp_path: Path) -> str:
    path = tmp_path / "x.opqfw"
    path.write_bytes(bundle())
    return str(path)


def test_a_raw_server_has_no_lines() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = SerialLine(f"socket://127.0.0.1:{server.getsockname()[1]}", 115_200)
        with pytest.raises(FlashError, match=r"has no lines DTR and RTS; rfc2217:// has them"):
            line.set_lines(dtr=False, rts=False)
        line.close()


def test_reset_lines_flash_a_running_chip(adapter: Adapter, update: str) -> None:
    """The lines alone bring it into its ROM and, without Go, into its new firmware."""
    done = CliRunner().invoke(command, [update, "--port", adapter.chip.path, "--reset-lines"])
    assert done.exit_code == 0, done.output
    assert bytes(adapter.chip.memory.flash[0x20000:0x20200]) == image(Slot.A)[:512]
    assert adapter.runs_the_flash() and GO not in adapter.chip.commands


@pytest.mark.parametrize("wired", [*combinations(WIRED, 1), *combinations(WIRED, 2), WIRED], ids="+".join)
def test_other_wirings_are_stm32loaders(
    chip: RomBootLoader, monkeypatch: pytest.MonkeyPatch, wired: tuple[str, ...]
) -> None:
    """With each, the lines bring a running chip into its ROM and back."""
    adapter = Adapter(chip, monkeypatch, wired)
    words = [word for each in wired for word in ("--wired", each)]
    done = CliRunner().invoke(chip_command.command, ["--port", chip.path, "--reset-lines", *words])
    assert done.exit_code == 0 and "dev id: 0x413" in done.output
    assert adapter.runs_the_flash()


def test_a_wiring_needs_its_lines() -> None:
    done = CliRunner().invoke(chip_command.command, ["--port", "loop://", "--wired", "swapped"])
    assert done.exit_code == 2 and "--reset-lines" in done.output


def test_a_chip_that_was_asked_runs_again(adapter: Adapter) -> None:
    done = CliRunner().invoke(chip_command.command, ["--port", adapter.chip.path, "--reset-lines"])
    assert done.exit_code == 0 and "dev id: 0x413" in done.output
    assert adapter.runs_the_flash()


def test_a_refused_chip_runs_again(adapter: Adapter, update: str) -> None:
    adapter.chip.readout_protected = True
    done = CliRunner().invoke(command, [update, "--port", adapter.chip.path, "--reset-lines"])
    assert isinstance(done.exception, FlashError) and "protected against reading" in str(done.exception)
    assert adapter.runs_the_flash()


def test_no_start_leaves_the_rom_waiting(adapter: Adapter, update: str) -> None:
    done = CliRunner().invoke(command, [update, "--port", adapter.chip.path, "--reset-lines", "--no-start"])
    assert done.exit_code == 0 and adapter.chip.boot0 and adapter.chip.started_at is None


def test_an_open_port_holds_no_chip(adapter: Adapter) -> None:
    line = SerialLine(adapter.chip.path, 921_600)
    assert not adapter.nrst_low
    line.close()


def test_a_port_without_lines_is_one_sentence(update: str) -> None:
    with RomBootLoader() as chip:
        done = CliRunner().invoke(command, [update, "--port", chip.path, "--reset-lines"])
    assert isinstance(done.exception, FlashError) and "has no lines DTR and RTS" in str(done.exception)
