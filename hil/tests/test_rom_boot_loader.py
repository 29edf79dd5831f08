"""The emulated ROM boot loader answers byte for byte as AN3155 says."""

import os
import select
from collections.abc import Iterator

import pytest
from waiting import wait_for

from opq_sim.box.f405_memory import F405Memory
from opq_sim.box.rom_boot_loader import RomBootLoader

ACK, NACK = b"\x79", b"\x1f"
ANSWER_S, SILENCE_S = 60.0, 0.15
"""Longest wait for an answer, and the wait after which a chip counts as silent."""


class Host:
    """The other end of the pty."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)

    def ask(self, data: str, length: int = 1) -> bytes:
        """Sends bytes; returns the answer, of at least `length` bytes where the chip answers at all."""
        os.write(self.fd, bytes.fromhex(data))
        got = b""
        while self._has_bytes(ANSWER_S if len(got) < length else 0.0 if length else SILENCE_S):
            got += os.read(self.fd, 4096)
        return got

    def _has_bytes(self, wait_s: float) -> bool:
        return bool(select.select([self.fd], [], [], wait_s)[0])


@pytest.fixture
def chip() -> Iterator[RomBootLoader]:
    with RomBootLoader() as chip:
        yield chip


@pytest.fixture
def host(chip: RomBootLoader) -> Iterator[Host]:
    host = Host(chip.path)
    yield host
    os.close(host.fd)


def test_the_first_byte_must_be_7f(chip: RomBootLoader, host: Host) -> None:
    assert host.ask("00", length=0) == b""
    assert host.ask("7f", length=0) == b""
    chip.reset()
    assert host.ask("7f") == ACK


def test_with_boot0_low_the_flash_starts(chip: RomBootLoader, host: Host) -> None:
    chip.boot0 = False
    chip.reset()
    assert host.ask("7f", length=0) == b""
    wait_for(lambda: (chip.started_at, chip.mapped_at_0) == (0x0800_0000, 0x0800_0000))
    chip.boot0 = True
    chip.reset()
    assert host.ask("7f") == ACK
    assert (chip.started_at, chip.mapped_at_0) == (None, 0x1FFF_0000)


def test_get_get_version_and_get_id(host: Host) -> None:
    host.ask("7f")
    commands = bytes.fromhex("0b31 00 01 02 11 21 31 44 63 73 82 92")
    assert host.ask("00ff", len(commands) + 2) == ACK + commands + ACK
    assert host.ask("01fe", 5) == ACK + bytes.fromhex("310000") + ACK
    assert host.ask("02fd", 5) == ACK + bytes.fromhex("010413") + ACK


def test_a_wrong_command_is_refused(host: Host) -> None:
    host.ask("7f")
    assert host.ask("0011") == NACK
    assert host.ask("43bc") == NACK, "this one has Extended Erase"
    assert host.ask("7f7f") == NACK


def test_write_and_read_memory(chip: RomBootLoader, host: Host) -> None:
    host.ask("7f")
    assert host.ask("31ce") == ACK
    assert host.ask("08020000" + "0a") == ACK
    assert host.ask("03" + "11223344" + "47") == ACK  # 03 ^ 11 ^ 22 ^ 33 ^ 44
    assert bytes(chip.memory.flash[0x20000:0x20004]) == bytes.fromhex("11223344")
    assert host.ask("11ee") == ACK
    assert host.ask("08020000" + "0a") == ACK
    assert host.ask("03fc", 5) == ACK + bytes.fromhex("11223344")


def test_wrong_checksums_are_refused_and_change_nothing(chip: RomBootLoader, host: Host) -> None:
    host.ask("7f")
    host.ask("31ce")
    assert host.ask("08020000" + "0b") == NACK
    host.ask("31ce")
    host.ask("08020000" + "0a")
    assert host.ask("03" + "11223344" + "48") == NACK
    assert chip.memory.flash.count(0xFF) == len(chip.memory.flash)


def test_addresses_outside_are_refused(host: Host) -> None:
    host.ask("7f")
    host.ask("11ee")
    assert host.ask("40000000" + "40") == NACK
    host.ask("11ee")
    assert host.ask("08100000" + "18") == NACK


def test_extended_erase_of_sectors_and_of_all(chip: RomBootLoader, host: Host) -> None:
    host.ask("7f")
    chip.memory.program(0x0802_0000, b"\0" * 4)
    chip.memory.program(0x0808_0000, b"\0" * 4)
    assert host.ask("44bb") == ACK
    assert host.ask("0000" + "0005" + "05") == ACK
    assert chip.memory.erases == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    host.ask("44bb")
    assert host.ask("0000" + "000c" + "0c") == NACK, "there is no sector 12"
    host.ask("44bb")
    assert host.ask("fffe" + "01") == NACK, "one bank only"
    host.ask("44bb")
    assert host.ask("ffff" + "00") == ACK
    assert min(chip.memory.erases) == 1 and chip.memory.flash.count(0xFF) == 1 << 20


def test_the_old_erase_command_works_on_request() -> None:
    with RomBootLoader(old_erase=True) as chip:
        host = Host(chip.path)
        host.ask("7f")
        assert host.ask("44bb") == NACK
        assert host.ask("43bc") == ACK
        assert host.ask("00" + "05" + "05") == ACK
        assert chip.memory.erases[5] == 1
        os.close(host.fd)


def test_write_protection_holds_until_lifted(chip: RomBootLoader, host: Host) -> None:
    host.ask("7f")
    host.ask("639c")
    assert host.ask("00" + "05" + "05") == ACK
    assert host.ask("7f") == ACK, "after its reset it waits for 7F again"
    host.ask("44bb")
    assert host.ask("0000" + "0005" + "05") == NACK
    assert host.ask("738c", 2) == ACK + ACK
    host.ask("7f")
    host.ask("44bb")
    assert host.ask("0000" + "0005" + "05") == ACK


def test_lifting_readout_protection_erases_everything(chip: RomBootLoader, host: Host) -> None:
    host.ask("7f")
    chip.memory.program(0x0800_0000, b"\0" * 4)
    assert host.ask("827d", 2) == ACK + ACK
    host.ask("7f")
    assert host.ask("11ee") == NACK
    assert host.ask("02fd", 5)[-1:] == ACK
    assert host.ask("926d", 2) == ACK + ACK
    assert chip.memory.flash.count(0xFF) == 1 << 20
    assert host.ask("7f") == ACK
    assert host.ask("11ee") == ACK


def test_go_leaves_the_boot_loader(chip: RomBootLoader, host: Host) -> None:
    host.ask("7f")
    host.ask("21de")
    assert host.ask("08000000" + "08") == ACK
    assert chip.started_at == 0x0800_0000
    assert host.ask("00ff", length=0) == b""


def test_flash_bits_only_go_from_one_to_zero() -> None:
    memory = F405Memory()
    assert memory.program(0x0800_0000, bytes.fromhex("0ff0aa55"))
    assert memory.program(0x0800_0000, bytes.fromhex("ffff55aa"))
    assert bytes(memory.flash[:4]) == bytes.fromhex("0ff00000")


def test_the_sectors_are_those_of_rm0090() -> None:
    memory = F405Memory()
    spans = [memory.sector_span(sector) for sector in range(12)]
    assert spans[4] == (0x1_0000, 0x1_0000) and spans[5] == (0x2_0000, 0x2_0000)
    assert sum(size for _, size in spans) == 1 << 20
