"""Mutated answers of the ROM boot loader (AN3155) and of dfu-util: an end in a sentence, the flash as told.

Python reads both, so no sanitizer has a part in it: any exception but FlashError is a crash.
"""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from flash_under_test import Layout, boot_loader, bundle, image
from rom_in_memory import ChipInMemory, CountedTime, DamagedPort, mutated_bytes

from opq_proto.firmware.image import Slot
from opq_tools.firmware.flash import programs, rom, serial_line
from opq_tools.firmware.flash.chip import FlashError
from opq_tools.firmware.flash.chip_judgement import Allowed
from opq_tools.firmware.flash.dfu import LAYOUTS, Dfu
from opq_tools.firmware.flash.flash_progress import FlashProgress
from opq_tools.firmware.flash.image import FlashImage, read_firmware
from opq_tools.firmware.flash.ways import by_rom

OLD = bytes(Layout(boot_loader(), image(Slot.A, "1.0.0", size=300)).flash())
SLOT_A = 0x20000
WRITING_SHARE = 0.1
"""Share of dialogues with the ROM that write; the others ask which chip it is."""
FOUND = 'Found DFU: [0483:df11] ver=2200, devnum=4, cfg=1, intf=0, path="1-1", '
LISTED = (
    f'dfu-util 0.11\n\n{FOUND}alt=1, name="@Option Bytes  /0x1FFFC000/01*016 e", serial="305C3253"\n{FOUND}'
    'alt=0, name="@Internal Flash  /0x08000000/04*016Kg,01*064Kg,07*128Kg", serial="305C3253"\n'
)
OPTION_BYTES = b"\xef\xaa" + b"\xff" * 6 + b"\xff\x0f" + b"\xff" * 6


def rom_dialogues(
    firmware: FlashImage, mutated: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> Counter[str]:
    """Dialogues until so many answers were mutated; how they ended."""
    new = firmware.images[Slot.A]
    ended: Counter[str] = Counter()
    chance, clock, chip = random.Random(seed), CountedTime(), ChipInMemory()
    chip.memory.flash[:] = OLD
    for module in (rom, serial_line):
        monkeypatch.setattr(module, "time", clock)
    while ended["mutated"] < mutated:
        share = chance.choice((0.02, 0.1, 0.3, 0.6))
        port = DamagedPort(chip, clock, chance, share, chance.choice((0.0, share / 3)))
        monkeypatch.setattr(serial_line, "open_port", lambda *_, port=port, **__: port)
        chip.press_reset()
        wanted = firmware if chance.random() < WRITING_SHARE else None
        loader, error, done = rom.open_rom("memory"), "", False
        try:
            loader.connect()
            done = by_rom(loader, wanted, Allowed(), True, FlashProgress(None)).done
        except FlashError as told:
            error = str(told)
        assert "\n" not in error
        touched = chip.memory.flash != OLD
        if done:
            assert chip.memory.flash[SLOT_A : SLOT_A + len(new)] == new
        elif touched:
            assert "half-written" in error, error
        if touched:
            assert chip.memory.flash[:SLOT_A] == OLD[:SLOT_A]
            chip.memory.flash[:] = OLD
        ended["mutated"] += port.mutated
        ended["half" if "half-written" in error else "refused" if error else "done" if done else "asked"] += 1
    chip.close()
    return ended


def dfu_dialogues(mutated: int, seed: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Listings and option bytes, each of them mutated, until there were so many; how they ended."""
    chance = random.Random(seed)
    ended: Counter[str] = Counter()
    text = ""

    def run(command: Sequence[str], doing: str) -> tuple[int, str]:
        nonlocal text
        if "-l" in command:
            text = mutated_bytes(LISTED.encode(), chance).decode("utf-8", "replace")
            return 0, text
        there = mutated_bytes(OPTION_BYTES, chance)
        if there:
            Path(command[command.index("-U") + 1]).write_bytes(there)
        ended["mutated"] += 1
        return 0, ""

    monkeypatch.setattr(programs, "find_program", lambda name: name)
    monkeypatch.setattr(programs, "run_until_silent", run)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    while ended["mutated"] < mutated:
        ended["mutated"] += 1
        found = Dfu()
        try:
            chip = found.chip()
            assert any(
                f"/0x08000000/{layout}" in text
                for layout, facts in LAYOUTS.items()
                if facts[0] == chip.dev_id
            )
            ended["found"] += 1
            if ended["found"] % 20 == 0:  # a folder for each
                assert found.protected_sectors() <= set(range(12))
        except FlashError as told:
            assert "\n" not in str(told) and str(told).endswith("Nothing was written")
            ended["refused"] += 1
    return ended


@pytest.fixture
def firmware(tmp_path: Path) -> FlashImage:
    path = tmp_path / "x.opqfw"
    path.write_bytes(bundle(size=300))
    return read_firmware(path, None)


def test_a_mutated_rom_ends_in_a_sentence(firmware: FlashImage, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = rom_dialogues(firmware, 5_000, 1, monkeypatch)
    assert min(ended[end] for end in ("done", "asked", "refused")) > 0


def test_a_mutated_listing_ends_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = dfu_dialogues(5_000, 1, tmp_path, monkeypatch)
    assert min(ended[end] for end in ("found", "refused")) > 0


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("part", range(10))
def test_a_million_mutated_answers_of_the_rom(
    part: int, firmware: FlashImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times."""
    print(rom_dialogues(firmware, 1_000_000, 100 + part, monkeypatch))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_million_mutated_listings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    print(dfu_dialogues(10_000_000, 2, tmp_path, monkeypatch))
