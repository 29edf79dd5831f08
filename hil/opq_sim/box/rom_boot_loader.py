"""The boot loader in an STM32F405's ROM, on a pty: the whole command set of ST's AN3155.

It accepts and refuses the same requests as the real one. On request, the line is faulty and the boot loader
refuses, answers late or falls silent. Parity (8E1) does not exist on a pty.
"""

import os
import select
import threading
import time
import tty
from collections.abc import Generator
from dataclasses import dataclass
from functools import reduce
from operator import xor

from opq_proto.kit.own_thread import OwnThread
from opq_sim.box.f405_memory import DEV_ID, FLASH, SYSTEM_ROM, F405Memory
from opq_sim.box.wire_faults import FaultyLine, LineFaults

# Bytes of the protocol (AN3155).
ACK = 0x79
NACK = 0x1F
SYNC = 0x7F
"""The first byte, by which the boot loader measures the bit rate."""

# Commands (AN3155).
GET = 0x00
GET_VERSION = 0x01
GET_ID = 0x02
READ = 0x11
GO = 0x21
WRITE = 0x31
ERASE = 0x43
EXTENDED_ERASE = 0x44
WRITE_PROTECT = 0x63
WRITE_UNPROTECT = 0x73
READOUT_PROTECT = 0x82
READOUT_UNPROTECT = 0x92

VERSION = 0x31
"""AN2606: USART boot loader V3.1 of the STM32F40xxx; it knows Extended Erase, not Erase."""
COMMANDS = (
    GET,
    GET_VERSION,
    GET_ID,
    READ,
    GO,
    WRITE,
    EXTENDED_ERASE,
    WRITE_PROTECT,
    WRITE_UNPROTECT,
    READOUT_PROTECT,
    READOUT_UNPROTECT,
)
MASS_ERASE = 0xFFFF
"""Instead of the number of pages in EXTENDED_ERASE, like the next two."""
BANK1_ERASE = 0xFFFE
BANK2_ERASE = 0xFFFD
TICK_S = 0.02

Reading = Generator[bytes, int, None]
"""Accepts one byte at a time and yields the answer to send, mostly empty."""


@dataclass(frozen=True, slots=True)
class BootLoaderFaults:
    """How the boot loader itself misbehaves; the default is not at all. Commands count from 1."""

    refuses_every: int = 0
    """Each n-th command is answered with NACK although it is right."""
    late_every: int = 0
    """Each n-th answer is sent `late_s` too late."""
    late_s: float = 0.0
    dies_after: int = 0
    """Silent for ever after this many commands, as when its power is lost."""
    dies_in_write: int = 0
    """Silent for ever in the middle of the n-th Write Memory: half of its bytes are in the flash."""


class GoneError(Exception):
    """The chip is reset or runs another program."""


class RomBootLoader(OwnThread):
    """One chip waiting in its ROM boot loader; a context manager, with its own thread.

    Attributes:
        path: device to open.
        memory: the chip's memory.
        boot0: level of the pin; a reset with it high ends here, with it low in the flash.
        mapped_at_0: memory that lies at address 0 and has the vectors, until a program says otherwise. Go
            does not change it: after Go with BOOT0 high it is the ROM.
        started_at: address that Go jumped to, or the flash after a reset with BOOT0 low; else None.
        commands: how many times each command was accepted.
    """

    _join_s = 5.0

    def __init__(
        self,
        memory: F405Memory | None = None,
        *,
        chip_id: int = DEV_ID,
        readout_protected: bool = False,
        faults: LineFaults | None = None,
        moods: BootLoaderFaults | None = None,
        old_erase: bool = False,
    ) -> None:
        super().__init__("rom-boot-loader")
        self.memory = memory or F405Memory()
        self.readout_protected = readout_protected
        self.boot0 = True
        self.mapped_at_0 = SYSTEM_ROM
        self.started_at: int | None = None
        self.commands: dict[int, int] = {}
        self._chip_id = chip_id
        self._moods = moods or BootLoaderFaults()
        self._into, self._back = (FaultyLine(faults or LineFaults(), direction) for direction in (0, 1))
        self._known = (*COMMANDS[:6], ERASE, *COMMANDS[7:]) if old_erase else COMMANDS
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._taken = 0
        self._answers = 0
        self._reset = threading.Event()

    def close(self) -> None:
        super().close()
        os.close(self._master)
        os.close(self._slave)

    def reset(self) -> None:
        """Resets the chip: with BOOT0 high it waits for the first 0x7F again."""
        self._reset.set()

    def _run(self) -> None:
        reading = self._start()
        while not self._stop.is_set():
            ready, _, _ = select.select([self._master], [], [], TICK_S)
            if self._reset.is_set():  # checked late: a byte sent after `reset` reaches the new session
                self._reset.clear()
                reading = self._start()
            if not ready:
                continue
            for byte in self._into.carry(os.read(self._master, 4096)):
                try:
                    self._answer(reading.send(byte))
                except (StopIteration, GoneError):
                    reading = deaf()
                    next(reading)

    def _start(self) -> Reading:
        self.mapped_at_0 = SYSTEM_ROM if self.boot0 else FLASH
        self.started_at = None if self.boot0 else FLASH
        reading = self._session() if self.boot0 else deaf()
        next(reading)
        return reading

    def _answer(self, data: bytes) -> None:
        if not data:
            return
        self._answers += 1
        if self._moods.late_every and self._answers % self._moods.late_every == 0:
            time.sleep(self._moods.late_s)
        arriving = self._back.carry(data)
        if arriving:
            os.write(self._master, arriving)

    def _session(self) -> Reading:
        """The session from reset on. The first byte sets the baud rate: anything but 0x7F leaves the chip
        deaf.
        """
        if (yield b"") != SYNC:
            raise GoneError
        answer = bytes((ACK,))
        while True:
            command = yield answer
            complement = yield b""
            answer = bytes((NACK,))
            if command ^ complement != 0xFF or command not in self._known:
                continue
            self._taken += 1
            if self._moods.dies_after and self._taken > self._moods.dies_after:
                raise GoneError
            if self._moods.refuses_every and self._taken % self._moods.refuses_every == 0:
                continue
            self.commands[command] = self.commands.get(command, 0) + 1
            if self.readout_protected and command not in (GET, GET_VERSION, GET_ID, READOUT_UNPROTECT):
                continue
            answer = yield from self._run_command(command)

    def _run_command(self, command: int) -> Generator[bytes, int, bytes]:
        """Reads the rest of an accepted command and returns its last answer."""
        ack, nack = bytes((ACK,)), bytes((NACK,))
        if command == GET:
            return ack + bytes((len(self._known), VERSION, *self._known)) + ack
        if command == GET_VERSION:
            return ack + bytes((VERSION, 0, 0)) + ack
        if command == GET_ID:
            return ack + b"\x01" + self._chip_id.to_bytes(2, "big") + ack
        if command == READ:
            return (yield from self._read(ack, nack))
        if command == GO:
            address, good = yield from self._address(ack)
            if not good or self.memory.read(address, 8) is None:
                return nack
            self.started_at = address
            self._answer(ack)
            raise GoneError
        if command == WRITE:
            return (yield from self._write(ack, nack))
        if command in (ERASE, EXTENDED_ERASE):
            return (yield from self._erase(ack, nack, 2 if command == EXTENDED_ERASE else 1))
        if command == WRITE_PROTECT:
            return (yield from self._write_protect(ack, nack))
        return self._protection(command, ack)

    def _address(self, ack: bytes) -> Generator[bytes, int, tuple[int, bool]]:
        got = bytearray()
        got.append((yield ack))
        for _ in range(4):
            got.append((yield b""))
        return int.from_bytes(got[:4], "big"), reduce(xor, got) == 0

    def _read(self, ack: bytes, nack: bytes) -> Generator[bytes, int, bytes]:
        address, good = yield from self._address(ack)
        if not good or self.memory.read(address, 1) is None:
            return nack
        count = yield ack
        if count ^ (yield b"") != 0xFF:
            return nack
        data = self.memory.read(address, count + 1)
        return nack if data is None else ack + data

    def _write(self, ack: bytes, nack: bytes) -> Generator[bytes, int, bytes]:
        address, good = yield from self._address(ack)
        if not good or self.memory.read(address, 1) is None:
            return nack
        count = yield ack
        data = bytearray()
        for _ in range(count + 1):
            data.append((yield b""))
        if reduce(xor, data, count) != (yield b""):
            return nack
        if self._moods.dies_in_write and self.commands[WRITE] >= self._moods.dies_in_write:
            self.memory.program(address, bytes(data[: len(data) // 8 * 4]))
            raise GoneError
        return ack if self.memory.program(address, bytes(data)) else nack

    def _erase(self, ack: bytes, nack: bytes, width: int) -> Generator[bytes, int, bytes]:
        """AN3155 3.7 and 3.8: the number of sectors less one, or a code for all sectors."""
        head = bytearray(((yield ack),))
        if width == 2:
            head.append((yield b""))
        count = int.from_bytes(head, "big")
        everything = count in (MASS_ERASE, BANK1_ERASE, BANK2_ERASE) if width == 2 else count == 0xFF
        if not everything and count >= 0xFFF0:
            return nack
        listed = bytearray()
        for _ in range(0 if everything else (count + 1) * width):
            listed.append((yield b""))
        checksum = yield b""
        wanted = 0 if width == 1 and everything else reduce(xor, head + listed)
        if checksum != wanted:
            return nack
        if everything:
            if count in (BANK1_ERASE, BANK2_ERASE):
                return nack  # one bank only
            self.memory.erase_all()
            return ack
        sectors = [int.from_bytes(listed[at : at + width], "big") for at in range(0, len(listed), width)]
        erased = [self.memory.erase(sector) for sector in sectors]
        return ack if all(erased) else nack

    def _write_protect(self, ack: bytes, nack: bytes) -> Generator[bytes, int, bytes]:
        count = yield ack
        sectors = bytearray()
        for _ in range(count + 1):
            sectors.append((yield b""))
        if reduce(xor, sectors, count) != (yield b""):
            return nack
        self.memory.write_protected |= set(sectors)
        self.reset()
        return ack

    def _protection(self, command: int, ack: bytes) -> bytes:
        """The three commands without arguments: two ACKs, then the chip resets itself."""
        if command == WRITE_UNPROTECT:
            self.memory.write_protected.clear()
        elif command == READOUT_PROTECT:
            self.readout_protected = True
        else:
            self.readout_protected = False
            self.memory.erase_all()
        self.reset()
        return ack + ack


def deaf() -> Reading:
    """A chip that is not in its boot loader: reads bytes and answers nothing."""
    while True:
        yield b""
