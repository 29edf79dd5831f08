"""The ROM boot loader over a serial port (ST AN3155), by stm32loader, on a line that may lose bytes.

stm32loader knows the commands; here is what it leaves to its caller: finding the place again after
a lost, wrong or late byte, and asking again. Every command that is repeated does the same twice.
"""

import contextlib
import time
from collections.abc import Callable
from functools import reduce
from operator import xor
from typing import TypeVar

import serial
from stm32loader.bootloader import CommandError, Stm32Bootloader

from opq_tools.flash.chip import (
    DEVICE_PAGE,
    ERASE_S_PER_KIB,
    FLASH_SIZE,
    UID,
    Chip,
    FlashError,
    LineError,
    Sector,
    check_dev_id,
)
from opq_tools.flash.serial_line import SerialLine

BAUD = 115_200
"""AN3155 2: the highest rate that is stated for it."""
TRIES = 12
REFUSALS = TRIES // 2
"""So many refusals of one command mean that the chip is protected; a late answer may lie between them."""
CHUNK = 256
ANSWER_S = 1.0
SILENT_S = 0.06
"""Longer than any pause within an answer; shorter than what a person notices."""
FILLER = 0xFF
"""What completes a command that lost bytes. As data it changes no flash cell, as a sector it is none, and
a pair of it is no command, so the chip ends with NACK wherever it stood."""
FILLERS_AT_MOST = 700
"""More than the longest command (Write Memory, 263 bytes) leaves open, twice."""

Result = TypeVar("Result")


class RomLoader:
    """A chip that waits in its ROM boot loader.

    Attributes:
        retries: commands that had to be asked again.
    """

    def __init__(self, line: SerialLine, answer_s: float = ANSWER_S) -> None:
        self._line = line
        self._answer_s = answer_s
        self._rom = Stm32Bootloader(line, device_family="F4", verbosity=0)
        self.retries = 0

    def connect(self, reset_by_lines: bool = False) -> None:
        """Say 0x7F until the chip answers.

        Raises:
            FlashError: nobody is there.
        """
        self._line.timeout = self._answer_s
        if reset_by_lines:
            self._line.set_lines(dtr=True, rts=True)  # NRST low, BOOT0 high (stm32loader's wiring)
            time.sleep(0.1)
            self._line.set_lines(dtr=False, rts=True)
            time.sleep(0.1)
        self._line.drain(SILENT_S)
        for _ in range(TRIES):
            self._line.write(bytes((Stm32Bootloader.Command.SYNCHRONIZE,)))
            with contextlib.suppress(LineError):
                if self._line.read()[0] in (Stm32Bootloader.Reply.ACK, Stm32Bootloader.Reply.NACK):
                    break
        else:
            raise FlashError(
                f"{self._line.name}: no ROM boot loader answers. Set BOOT0 high, press reset, and try again "
                "(its first byte sets the baud rate: after anything else it needs a reset); it listens on "
                "USART1 PA9/PA10 and USART3 PB10/PB11 or PC10/PC11. Nothing was written"
            )
        self._find_place()

    def chip(self) -> Chip:
        """Who it is; each fact read until two answers agree, for they carry no checksum.

        Raises:
            FlashError: the wrong chip, or one that is protected against reading.
        """
        dev_id: int = self._agreed(self._rom.get_id)
        check_dev_id(dev_id)
        page = self._agreed(lambda: bytes(self._rom.read_memory(DEVICE_PAGE, CHUNK)))
        kib = int.from_bytes(page[FLASH_SIZE - DEVICE_PAGE :][:2], "little")
        if kib not in (512, 1024):
            raise FlashError(
                f"the chip says {kib} KiB of flash; an F405 has 512 or 1024. Nothing was written"
            )
        return Chip(dev_id, kib, page[UID - DEVICE_PAGE :][:12].hex())

    def read(self, address: int, count: int) -> bytes:
        """At most 256 bytes as they came; a wrong byte on the line shows in none."""
        return self._again(f"reading 0x{address:08X}", lambda: bytes(self._rom.read_memory(address, count)))

    def read_sure(self, address: int, count: int) -> bytes:
        """The same until two answers agree."""
        return self._agreed(lambda: bytes(self._rom.read_memory(address, count)))

    def write(self, address: int, data: bytes) -> None:
        """At most 256 bytes; the chip checks what came."""
        self._again(f"writing 0x{address:08X}", lambda: self._rom.write_memory(address, data))

    def erase(self, sector: Sector) -> None:
        """One sector, by Extended Erase."""
        self._again(f"erasing sector {sector.number}", lambda: self._erase(sector))

    def start(self, address: int) -> bool:
        """Go; False when no answer came (it may run all the same)."""
        try:
            self._rom.go(address)
        except (CommandError, LineError):
            return False
        return True

    def close(self) -> None:
        """Give the port back."""
        self._line.close()

    def _erase(self, sector: Sector) -> None:
        body = (0).to_bytes(2, "big") + sector.number.to_bytes(2, "big")
        self._rom.command(Stm32Bootloader.Command.EXTENDED_ERASE, "Extended erase")
        self._line.timeout = max(self._answer_s, 2 * ERASE_S_PER_KIB * sector.size / 1024)
        try:
            self._rom.write_and_ack(f"erasing sector {sector.number}", body + bytes((reduce(xor, body),)))
        finally:
            self._line.timeout = self._answer_s

    def _agreed(self, ask: Callable[[], Result]) -> Result:
        before: Result | None = None
        for _ in range(2 * TRIES):
            answer = self._again("asking the chip who it is", ask)
            if answer == before:
                return answer
            before = answer
        raise FlashError(f"{self._line.name}: no two answers agree; the line is too bad. Nothing was written")

    def _again(self, what: str, ask: Callable[[], Result]) -> Result:
        """Ask until it is answered.

        Raises:
            LineError: it never was.
            FlashError: the chip refuses the command itself, again and again: it is protected.
        """
        problems: list[str] = []
        for attempt in range(TRIES):
            if attempt:
                self.retries += 1
                self._find_place()
            try:
                return ask()
            except (CommandError, LineError) as error:
                problems.append(str(error))
        if sum(problem.startswith("NACK Command") for problem in problems) >= REFUSALS:
            raise FlashError(
                f"{what}: the chip refuses. It is protected against reading; lifting that erases all of it: "
                "set RDP to level 0 with ST's tools, or stm32loader -u, and try again"
            )
        raise LineError(f"{what}: {problems[-1]}, at the last of {TRIES} attempts")

    def _find_place(self) -> None:
        """Bring the chip back to where it waits for a command, whatever it still waits for.

        Raises:
            LineError: it does not answer any more.
        """
        self._line.drain(SILENT_S)
        sent = 0
        while sent < FILLERS_AT_MOST:
            count = 1 if sent < 8 else 64
            self._line.write(bytes((FILLER,)) * count)
            sent += count
            if Stm32Bootloader.Reply.NACK in self._line.drain(SILENT_S) and self._at_start():
                return
        raise LineError("the chip does not answer any more")

    def _at_start(self) -> bool:
        """Whether the chip answers Get ID, all of it; an odd filler before makes the first one fail."""
        for _ in range(2):
            self._line.write(bytes((Stm32Bootloader.Command.GET_ID, 0xFF ^ Stm32Bootloader.Command.GET_ID)))
            answer = self._line.drain(SILENT_S)
            if len(answer) == 5 and answer[0] == answer[4] == Stm32Bootloader.Reply.ACK:
                return True
        return False


def open_rom(port: str, baud: int = BAUD) -> RomLoader:
    """The ROM boot loader at `port`: 8E1 (AN3155 2)."""
    return RomLoader(SerialLine(port, baud, serial.PARITY_EVEN))
