"""The ROM boot loader over a serial port (ST AN3155), by stm32loader, on a line that may lose bytes.

stm32loader implements the commands. This module synchronises again after a lost, wrong or late byte and
repeats the command; repeating any of these commands is harmless.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import TypeVar

import serial
from stm32loader.bootloader import CommandError, Stm32Bootloader

from opq_proto.kit.port_trouble import where_to_look
from opq_tools.firmware.flash.chip import (
    DEVICE_PAGE,
    ERASE_S_PER_KIB,
    FLASH_SIZE_ADDRESS,
    OPTION_BYTES,
    UID_ADDRESS,
    WRITE_PROTECTION,
    Chip,
    FlashError,
    LineError,
    Sector,
    check_banks,
    shut_sectors,
)
from opq_tools.firmware.flash.serial_line import SerialLine

BAUD = 115_200
"""AN3155 2: the highest stated rate."""
TRIES = 12
REFUSALS = TRIES // 2
"""Refusals of one command that mean a protected chip; late answers may lie between them."""
CHUNK = 256
ANSWER_S = 1.0
RESET_S = 0.1
"""How long NRST is held, and how long the ROM has to start (AN2606: some milliseconds)."""
SILENT_S = 0.06
"""Longer than any pause within an answer of a chip that is in time; too short for a person to notice."""
LATE_S = 0.5
"""Longest silence that is waited for while answers of before may still arrive."""
FILLER_BYTE = 0xFF
"""Byte that completes a command that lost bytes. As data it changes no flash cell, as a sector number it is
invalid, and a pair of it is not a command, so the chip answers NACK in any state."""
GIVE_UP_S = 8.0
"""Nothing is tried once more after this time without one right answer, so that a dead line ends in 15 s."""
MAX_FILLERS = 700
"""More than twice the longest command (Write Memory, 263 bytes)."""

NO_ROM = (
    "no ROM boot loader answers. Set BOOT0 high, press reset, and try again (its first byte sets the baud "
    "rate: after anything else it needs a reset); it listens on USART1 PA9/PA10 and USART3 PB10/PB11 or "
    "PC10/PC11. Nothing was written"
)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ResetWiring:
    """How a port's DTR and RTS reach the chip; the default is stm32loader's, whose options are the words.

    A line that is set is 0 V, and so DTR that is set holds NRST low, RTS that is not set holds BOOT0 high.
    """

    swapped: bool = False
    """DTR is BOOT0 and RTS is NRST (-s)."""
    reset_high: bool = False
    """An inverter lies before NRST (-R)."""
    boot0_low: bool = False
    """An inverter lies before BOOT0 (-B)."""

    def lines(self, *, reset: bool, boot0: bool) -> dict[str, bool]:
        """The lines that hold the chip in reset or not, with BOOT0 high or low."""
        to_nrst, to_boot0 = reset != self.reset_high, boot0 == self.boot0_low
        return {"dtr": to_boot0, "rts": to_nrst} if self.swapped else {"dtr": to_nrst, "rts": to_boot0}


class RomLoader:
    """A chip that waits in its ROM boot loader.

    Attributes:
        retries: commands that had to be repeated.
    """

    lifts_protection = True

    def __init__(
        self, line: SerialLine, answer_s: float = ANSWER_S, wiring: ResetWiring | None = None
    ) -> None:
        """`wiring`: of lines that reset the chip, where it may be reset by them."""
        self._line = line
        self._wiring = wiring
        self._answer_s = answer_s
        self._rom = Stm32Bootloader(line, device_family="F4", verbosity=0)
        self.retries = 0

    def connect(self) -> None:
        """Resets the chip by the lines, where there is a wiring, and sends 0x7F until it answers.

        Raises:
            FlashError: no chip answers.
        """
        try:
            self._connect()
        except LineError as error:
            raise FlashError(f"{error}. Nothing was written") from error

    def _connect(self) -> None:
        self._line.timeout = self._answer_s
        if self._wiring is not None:
            self._reset(self._wiring, boot0=True)
            time.sleep(RESET_S)
        self._line.drain(SILENT_S)
        end = time.monotonic() + GIVE_UP_S
        for _ in range(TRIES):
            if time.monotonic() > end:
                raise FlashError(self._line.silence(NO_ROM))
            self._line.write(bytes((Stm32Bootloader.Command.SYNCHRONIZE,)))
            with contextlib.suppress(LineError):
                if self._line.read()[0] in (Stm32Bootloader.Reply.ACK, Stm32Bootloader.Reply.NACK):
                    break
        else:
            raise FlashError(self._line.silence(NO_ROM))
        self._find_place()

    def reset_into_flash(self) -> None:
        """Lowers BOOT0 and resets the chip by the port's lines, where there is a wiring."""
        if self._wiring is not None:
            self._reset(self._wiring, boot0=False)

    def chip(self) -> Chip:
        """Identifies the chip; reads each fact until two answers agree, because answers carry no checksum.

        Raises:
            FlashError: the wrong chip, or one that is protected against reading.
        """
        dev_id: int = self._agreed(self._rom.get_id)
        page = self._agreed(lambda: bytes(self._rom.read_memory(DEVICE_PAGE, CHUNK)))
        kib = int.from_bytes(page[FLASH_SIZE_ADDRESS - DEVICE_PAGE :][:2], "little")
        chip = Chip(dev_id, kib, page[UID_ADDRESS - DEVICE_PAGE :][:12].hex())
        check_banks(chip, self._write_protection())
        return chip

    def protected_sectors(self) -> set[int]:
        """Write-protected sectors, from the option bytes."""
        return shut_sectors(self._write_protection())

    def unprotect(self) -> None:
        """Lifts the write protection of all sectors; the chip resets itself (AN3155 3.10)."""
        with contextlib.suppress(CommandError, LineError):  # the second answer may be lost; it is read back
            self._rom.write_unprotect()
        self.connect()
        if self.protected_sectors():
            raise FlashError(f"{self._line.name}: the chip is still write-protected")

    def read(self, address: int, count: int) -> bytes:
        """Reads at most 256 bytes; a wrong byte on the line is not detected."""
        return self._again(f"reading 0x{address:08X}", lambda: bytes(self._rom.read_memory(address, count)))

    def read_sure(self, address: int, count: int) -> bytes:
        """Reads at most 256 bytes until two answers agree."""
        return self._agreed(lambda: bytes(self._rom.read_memory(address, count)))

    def write(self, address: int, data: bytes) -> None:
        """Writes at most 256 bytes; the chip checks what it receives."""
        self._again(f"writing 0x{address:08X}", lambda: self._rom.write_memory(address, data))

    def erase(self, sector: Sector) -> None:
        """Erases one sector by Extended Erase."""
        self._again(f"erasing sector {sector.number}", lambda: self._erase(sector))

    def start(self, address: int) -> bool:
        """Sends Go; False without an answer (the program may run all the same)."""
        try:
            self._rom.go(address)
        except (CommandError, LineError):
            return False
        return True

    def close(self) -> None:
        """Closes the port."""
        self._line.close()

    def _write_protection(self) -> int:
        page = self.read_sure(OPTION_BYTES, 16)
        return int.from_bytes(page[WRITE_PROTECTION - OPTION_BYTES :][:2], "little")

    def _reset(self, wiring: ResetWiring, *, boot0: bool) -> None:
        """Holds NRST low for a moment by the port's lines."""
        self._line.set_lines(**wiring.lines(reset=True, boot0=boot0))
        time.sleep(RESET_S)
        self._line.set_lines(**wiring.lines(reset=False, boot0=boot0))

    def _erase(self, sector: Sector) -> None:
        body = (0).to_bytes(2, "big") + sector.number.to_bytes(2, "big")
        self._rom.command(Stm32Bootloader.Command.EXTENDED_ERASE, "Extended erase")
        self._line.timeout = max(self._answer_s, 2 * ERASE_S_PER_KIB * sector.size / 1024)
        try:
            self._rom.write_and_ack(f"erasing sector {sector.number}", body + bytes((reduce(xor, body),)))
        finally:
            self._line.timeout = self._answer_s

    def _agreed(self, call: Callable[[], Result]) -> Result:
        before: Result | None = None
        for _ in range(2 * TRIES):
            answer = self._again("asking the chip who it is", call)
            if answer == before:
                return answer
            before = answer
        raise FlashError(f"{self._line.name}: no two answers agree; the line is too bad. Nothing was written")

    def _again(self, what: str, call: Callable[[], Result]) -> Result:
        """Repeats `call` until it is answered.

        Raises:
            LineError: it was not answered in all tries.
            FlashError: the chip refuses the command repeatedly: it is protected.
        """
        problems: list[str] = []
        end = time.monotonic() + GIVE_UP_S
        try:
            for attempt in range(TRIES):
                if attempt and time.monotonic() > end:
                    break
                if attempt:
                    self.retries += 1
                    self._find_place()
                    self._line.timeout = self._answer_s * (1 + attempt / 2)
                try:
                    return call()
                except (CommandError, LineError) as error:
                    problems.append(str(error))
        finally:
            self._line.timeout = self._answer_s
        if sum(problem.startswith("NACK Command") for problem in problems) >= REFUSALS:
            raise FlashError(
                f"{what}: the chip refuses. It is protected against reading; lifting that erases all of it: "
                "set RDP to level 0 with ST's tools, or stm32loader -u, and try again"
            )
        last = f"{problems[-1]}, at the last of {len(problems)} attempts"
        raise LineError(f"{what}: {last}: {where_to_look(self._line.name)}")

    def _find_place(self) -> None:
        """Brings the chip back to waiting for a command, from any state.

        Raises:
            LineError: the chip no longer answers.
        """
        self._line.drain(SILENT_S)
        sent, silent_s, end = 0, SILENT_S, time.monotonic() + GIVE_UP_S
        while sent < MAX_FILLERS and time.monotonic() < end:
            count = 1 if sent < 8 else 64
            self._line.write(bytes((FILLER_BYTE,)) * count)
            sent += count
            if Stm32Bootloader.Reply.NACK in self._line.drain(silent_s):
                if self._at_start(silent_s):
                    return
                silent_s = min(2 * silent_s, LATE_S)
        raise LineError(
            f"{self._line.name}: the chip does not answer any more: look at plug, supply and wiring"
        )

    def _at_start(self, silent_s: float) -> bool:
        """Whether the chip gives a whole answer to Get ID; one left-over filler makes the first try fail.

        An answer that is later than `silent_s` would be taken for one to the next question, so a caller
        that was answered wrongly waits longer the next time.
        """
        for _ in range(2):
            self._line.write(bytes((Stm32Bootloader.Command.GET_ID, 0xFF ^ Stm32Bootloader.Command.GET_ID)))
            answer = self._line.drain(silent_s)
            if len(answer) == 5 and answer[0] == answer[4] == Stm32Bootloader.Reply.ACK:
                return True
        return False


def open_rom(port: str, baud: int = BAUD, wiring: ResetWiring | None = None) -> RomLoader:
    """Opens the ROM boot loader at `port`: 8E1 (AN3155 2)."""
    return RomLoader(SerialLine(port, baud, serial.PARITY_EVEN), wiring=wiring)
