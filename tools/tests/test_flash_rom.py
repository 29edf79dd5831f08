"""Flashing by the ROM boot loader, against the emulated one on a pty, with a line as bad as asked."""

import random
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flash_under_test import be_patient

from opq_sim.box.f405_memory import SYSTEM_ROM, F405Memory
from opq_sim.box.rom_boot_loader import EXTENDED_ERASE, WRITE, BootLoaderFaults, RomBootLoader
from opq_sim.box.wire_faults import LineFaults
from opq_tools.firmware.flash.chip import Chip, FlashError, HalfWrittenError, LineError
from opq_tools.firmware.flash.chip_judgement import Allowed
from opq_tools.firmware.flash.flash_progress import FlashProgress
from opq_tools.firmware.flash.image import ImagePart
from opq_tools.firmware.flash.rom import RomLoader, open_rom
from opq_tools.firmware.flash.serial_line import SerialLine
from opq_tools.firmware.flash.ways import FlashResult, by_rom, lifted_protection, sectors_to_open
from opq_tools.firmware.flash.writing import sector_ranges, write_parts

SLOT_A = 0x0802_0000
FLASH = 0x0800_0000


def some_bytes(count: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(count)


IMPATIENT_S = 0.12  # for lines and chips that lose answers: each lost one costs this long


def connected(chip: RomBootLoader, answer_s: float = 30.0) -> RomLoader:
    """The loader, however often the first byte was damaged: each time somebody presses reset.

    On a line that loses nothing each answer comes, late where the machine is busy.
    """
    loader = RomLoader(SerialLine(chip.path, 115_200, "E"), answer_s)
    for _ in range(20):
        try:
            loader.connect()
        except (FlashError, LineError):
            chip.reset()
        else:
            return loader
    raise AssertionError("no way to the chip")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch)


@pytest.fixture
def chip() -> Iterator[RomBootLoader]:
    with RomBootLoader() as chip:
        yield chip


def test_a_chip_says_who_it_is(chip: RomBootLoader) -> None:
    found = connected(chip).chip()
    assert (found.dev_id, found.flash_kib) == (0x413, 1024)
    assert found.uid == bytes(range(0x30, 0x3C)).hex()


def test_only_the_written_bytes_change(chip: RomBootLoader) -> None:
    chip.memory.flash[0x8000:0xC000] = settings = some_bytes(0x4000, 7)
    loader = connected(chip)
    data = some_bytes(150_001)
    assert (
        write_parts(loader, loader.chip(), [ImagePart("image", SLOT_A, data)], FlashProgress(None)) == 150_004
    )
    assert bytes(chip.memory.flash[0x20000 : 0x20000 + 150_001]) == data
    assert bytes(chip.memory.flash[0x8000:0xC000]) == settings
    assert chip.memory.erases == [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]


def test_sectors_of_only_ff_stay_untouched() -> None:
    data = b"\1" * 0x4000 + b"\xff" * 0xC000 + b"\2" * 0x100
    cut = sector_ranges(Chip(0x413, 1024, ""), ImagePart("flash.bin", FLASH, data))
    assert [stretch.sector.number for stretch in cut] == [0, 4]


def test_a_part_within_a_sector_is_refused() -> None:
    with pytest.raises(FlashError, match="within sector 5"):
        sector_ranges(Chip(0x413, 1024, ""), ImagePart("x", SLOT_A + 512, b"\1"))


def test_a_parts_first_bytes_are_written_last(chip: RomBootLoader) -> None:
    order: list[int] = []
    program = chip.memory.program

    def noted(address: int, data: bytes) -> bool:
        order.append(address)
        return program(address, data)

    chip.memory.program = noted  # type: ignore[method-assign]
    loader = connected(chip)
    write_parts(
        loader, loader.chip(), [ImagePart("image", SLOT_A, some_bytes(0x20000 + 600))], FlashProgress(None)
    )
    assert order[-1] == SLOT_A and order.count(SLOT_A) == 1
    assert order[0] == SLOT_A + 0x20000


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("seed", range(2))
def test_lost_and_flipped_bytes_cost_only_time(seed: int) -> None:
    faults = LineFaults(corruption=4e-4, dropping=4e-4, seed=seed)
    data = some_bytes(8_000, seed)
    with RomBootLoader(faults=faults) as chip:
        loader = connected(chip, IMPATIENT_S)
        found = loader.chip()
        assert (found.flash_kib, found.uid) == (1024, bytes(range(0x30, 0x3C)).hex())
        write_parts(loader, found, [ImagePart("image", SLOT_A, data)], FlashProgress(None))
        assert bytes(chip.memory.flash[0x20000 : 0x20000 + len(data)]) == data
        rest = chip.memory.flash[:0x20000] + chip.memory.flash[0x40000:]
        assert rest.count(0xFF) == len(rest)
        assert loader.retries > 0


@pytest.mark.usefixtures("patient")
@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(20))
def test_a_whole_slot_over_a_bad_line(seed: int) -> None:
    faults = LineFaults(corruption=1e-4, dropping=1e-4, seed=seed)
    data = some_bytes(200_000, seed)
    with RomBootLoader(faults=faults) as chip:
        loader = connected(chip, IMPATIENT_S)
        write_parts(loader, loader.chip(), [ImagePart("image", SLOT_A, data)], FlashProgress(None))
        assert bytes(chip.memory.flash[0x20000 : 0x20000 + len(data)]) == data
        assert chip.memory.erases[:5] == [0] * 5


@pytest.mark.usefixtures("patient")
def test_refused_commands_are_asked_again() -> None:
    with RomBootLoader(moods=BootLoaderFaults(refuses_every=5)) as chip:
        loader = connected(chip, IMPATIENT_S)
        write_parts(
            loader, loader.chip(), [ImagePart("image", SLOT_A, some_bytes(3000))], FlashProgress(None)
        )
        assert bytes(chip.memory.flash[0x20000 : 0x20000 + 3000]) == some_bytes(3000)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(("every", "late_s"), [(9, 0.2), (7, 0.15), (4, 0.15)])
def test_late_answers_keep_the_loader_in_step(every: int, late_s: float) -> None:
    with RomBootLoader(moods=BootLoaderFaults(late_every=every, late_s=late_s)) as chip:
        loader = connected(chip, IMPATIENT_S)
        write_parts(loader, loader.chip(), [ImagePart("image", SLOT_A, some_bytes(600))], FlashProgress(None))
        assert bytes(chip.memory.flash[0x20000 : 0x20000 + 600]) == some_bytes(600)
        assert loader.retries > 0


def test_another_chip_is_refused_before_anything_is_written() -> None:
    with RomBootLoader(chip_id=0x421) as chip:
        with pytest.raises(FlashError, match=r"0x421.*STM32F405.*Nothing was written"):
            connected(chip).chip()
        assert EXTENDED_ERASE not in chip.commands and WRITE not in chip.commands


def test_a_read_protected_chip_is_named_as_such() -> None:
    with RomBootLoader(readout_protected=True) as chip, pytest.raises(FlashError, match="protected"):
        connected(chip).chip()


def test_a_read_protected_chip_was_not_written() -> None:
    unwritten = r"protected.*Nothing was written$"
    with RomBootLoader(readout_protected=True) as chip, pytest.raises(FlashError, match=unwritten):
        by_rom(connected(chip), None, Allowed(), False, FlashProgress(None))


def test_a_server_that_ends_is_looked_at() -> None:
    """A server at which another client is (cminyard/ser2net 33) says so and ends the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        loader = open_rom(f"socket://127.0.0.1:{server.getsockname()[1]}")
        client, _ = server.accept()
        with client:
            client.sendall(b"Port already in use\r\n")
    with closing(loader), pytest.raises(FlashError, match="the server there"):
        loader.connect()


@pytest.mark.usefixtures("patient")
def test_a_late_answer_still_shows_protection() -> None:
    late = BootLoaderFaults(late_every=5, late_s=0.15)
    protected = RomBootLoader(readout_protected=True, moods=late)
    with protected as chip, pytest.raises(FlashError, match="protected"):
        connected(chip, IMPATIENT_S).chip()


def test_a_smaller_chip_has_fewer_sectors() -> None:
    with RomBootLoader(F405Memory(flash_kib=512)) as chip:
        assert len(connected(chip).chip().sectors) == 8


def test_nobody_there_says_what_to_press() -> None:
    with RomBootLoader() as chip:
        line = SerialLine(chip.path, 115_200, "E")
        line.write(b"\x55")  # a wrong first byte: the real one has measured a wrong baud rate
        with pytest.raises(FlashError, match=r"BOOT0 high.*Nothing was written"):
            RomLoader(line, 0.05).connect()


def test_an_absent_port_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FlashError, match="cannot open"):
        SerialLine(str(tmp_path / "none"), 115_200)


def test_a_port_that_somebody_uses_says_so(chip: RomBootLoader) -> None:
    held = SerialLine(chip.path, 115_200)
    with pytest.raises(FlashError, match="stop the gateway"):
        SerialLine(chip.path, 115_200)
    held.close()


def test_lost_power_is_half_written_and_resumable() -> None:
    memory = F405Memory()
    data = some_bytes(5000)
    with RomBootLoader(memory, moods=BootLoaderFaults(dies_in_write=7)) as chip:
        loader = connected(chip, IMPATIENT_S)
        with pytest.raises(HalfWrittenError, match=r"half-written: sectors 5 .*run the same command again"):
            write_parts(loader, loader.chip(), [ImagePart("image", SLOT_A, data)], FlashProgress(None))
    assert bytes(memory.flash[0x20000:0x20100]) == b"\xff" * 256, "a boot loader must not see a header"
    with RomBootLoader(memory) as chip:
        loader = connected(chip)
        write_parts(loader, loader.chip(), [ImagePart("image", SLOT_A, data)], FlashProgress(None))
    assert bytes(memory.flash[0x20000 : 0x20000 + len(data)]) == data


def test_a_write_protected_sector_is_no_success(chip: RomBootLoader) -> None:
    chip.memory.write_protected.add(5)
    loader = connected(chip)
    with pytest.raises(HalfWrittenError, match="erasing sector 5"):
        write_parts(loader, loader.chip(), [ImagePart("image", SLOT_A, some_bytes(300))], FlashProgress(None))


def test_write_protection_is_read_and_lifted(chip: RomBootLoader) -> None:
    loader = connected(chip)
    assert loader.protected_sectors() == set()
    chip.memory.write_protected = {0, 1}
    assert loader.protected_sectors() == {0, 1}
    loader.unprotect()
    assert chip.memory.write_protected == set()
    data = some_bytes(512)
    write_parts(loader, loader.chip(), [ImagePart("boot loader", FLASH, data)], FlashProgress(None))
    assert bytes(chip.memory.flash[:512]) == data


def test_protected_sectors_are_named_before_anything_is_written(chip: RomBootLoader) -> None:
    chip.memory.write_protected = {0, 1}
    loader, result = connected(chip), FlashResult("rom")
    with pytest.raises(
        FlashError, match=r"write-protected: sector 0, 1; --allow unprotect .* Nothing was written"
    ):
        sectors_to_open(loader, {0, 1, 5}, Allowed(), result)
    assert sectors_to_open(loader, {5, 6}, Allowed(), result) == set()
    assert sectors_to_open(loader, {0, 5}, Allowed(unprotect=True), result) == {0, 1}
    assert result.notes == [] and chip.memory.write_protected == {0, 1}


def test_a_failure_after_lifting_says_so(chip: RomBootLoader) -> None:
    chip.memory.write_protected = {0, 1}
    loader, result = connected(chip), FlashResult("rom")
    lifted = "The write protection of sector 0, 1 is lifted; --protect sets it again"
    with (
        pytest.raises(HalfWrittenError, match=f"^erasing failed. {lifted}$"),
        lifted_protection(loader, {0, 1}, result),
    ):
        raise HalfWrittenError("erasing failed")
    assert result.notes == [lifted] and chip.memory.write_protected == set()


def test_unerased_cells_are_found_by_reading_back(chip: RomBootLoader) -> None:
    chip.memory.erase = lambda sector: True  # type: ignore[method-assign]
    chip.memory.flash[0x20000 + 700] = 0
    loader = connected(chip)
    with pytest.raises(HalfWrittenError, match="does not read back"):
        write_parts(loader, loader.chip(), [ImagePart("image", SLOT_A, b"\x55" * 1000)], FlashProgress(None))


def test_go_starts_the_program(chip: RomBootLoader) -> None:
    loader = connected(chip)
    assert loader.start(FLASH)
    assert chip.started_at == FLASH
    assert chip.mapped_at_0 == SYSTEM_ROM  # until the program has its own vectors, they are the ROM's
