"""Each board of the project, by each way of flashing, in each state that its chip may be in.

Device ids, sizes and layouts are from RM0090 38.6.1, 39.2, tables 5, 6, 13 and 15, and AN2606 (as listings of
dfu-util show it), what the ROM answers from AN3155, and no code of ours gave them. openocd's stand-in fails
as its stm32f2x driver does. Flashing over the link, whose Box runs, is in test_flash_link.py.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flash_under_test import Layout, boot_loader, bundle, image
from test_boards import own_board
from test_flash_programs import WAYS, Bench, refused

from opq_hil.backends.boards import BOARDS
from opq_proto.firmware.image import Slot
from opq_sim.box.f405_memory import F405Memory
from opq_sim.box.rom_boot_loader import RomBootLoader
from opq_tools.firmware.flash import chip, rom
from opq_tools.firmware.flash.flash_command import command

BANK = "04*016Kg,01*064Kg,07*128Kg"
FACTS = {
    0x413: {"idcode": "0x10076413", "kib": "1024", "layout": BANK},
    0x419: {"idcode": "0x20036419", "kib": "2048", "layout": f"{BANK},{BANK}"},
}
SETTINGS = b"settings" * 100
LIFTS = ("rom", "openocd")
"""Ways that can lift write protection."""
BY_BOOT0 = ("rom", "dfu-util")
"""Ways that need BOOT0 high: the ROM answers them."""


def device_id(board: str) -> int:
    """By the name of the board's chip."""
    return {"40": 0x413, "41": 0x413, "42": 0x419, "43": 0x419}[BOARDS[board].chip[6:8]]


def whole(board: str) -> bytes:
    return bytes(Layout(boot_loader(board), image(Slot.A, hardware=board)).flash())


@dataclass
class FlashBench:
    """One chip, at one way."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    way: str
    chip_id: int
    protected: bool = False
    boot0: bool = True

    def __post_init__(self) -> None:
        self.programs = Bench(self.folder, self.monkeypatch, () if self.way == "rom" else (self.way,))

    def put(self, flash: bytes) -> None:
        kib = int(FACTS[self.chip_id]["kib"])
        self.memory = F405Memory(flash_kib=kib)
        self.memory.flash[:] = flash[: 1 << 20].ljust(kib << 10, b"\xff")
        (self.folder / "flash.bin").write_bytes(self.memory.flash)

    def flash(self, data: bytes, *options: str) -> Result:
        if self.way != "rom":
            facts = FACTS[self.chip_id] | {"write_protection": "0x0FFC" if self.protected else "0x0FFF"}
            self.programs.set(**(facts if self.boot0 or self.way != "dfu-util" else facts | {"serials": ""}))
            return self.programs.flash(data, *WAYS[self.way], *options)
        path = self.folder / "x.opqfw"
        path.write_bytes(data)
        if self.protected:
            self.memory.write_protected = {0, 1}
        with RomBootLoader(self.memory, chip_id=self.chip_id) as chip:
            chip.boot0 = self.boot0
            if not self.boot0:
                chip.reset()
                self.monkeypatch.setattr(rom, "TRIES", 1)
            return CliRunner().invoke(command, [str(path), "--port", chip.path, *options])

    @property
    def content(self) -> bytes:
        flash = self.memory.flash if self.way == "rom" else (self.folder / "flash.bin").read_bytes()
        return bytes(flash[: 1 << 20])


Expected = Callable[[FlashBench, str], None]


def takes(bench: FlashBench, data: bytes, layout: Layout, *options: str) -> Result:
    done = bench.flash(data, *options)
    assert done.exit_code == 0, (done.output, done.exception)
    assert bench.content == bytes(layout.flash())
    assert ("set BOOT0 low now" in done.stderr) is (bench.way in BY_BOOT0)
    return done


def refuses(bench: FlashBench, data: bytes, words: str, *options: str) -> None:
    before = bench.content
    text = refused(bench.flash(data, *options))
    assert words in text and text.endswith("Nothing was written") and bench.content == before


def empty(bench: FlashBench, board: str) -> None:
    bench.put(b"")
    refuses(bench, bundle(hardware=board), "the chip has no boot loader")
    takes(bench, whole(board), Layout(boot_loader(board), image(Slot.A, hardware=board)))


def foreign(bench: FlashBench, board: str) -> None:
    """Somebody's program from the first byte on; what it has in the sectors of our settings stays."""
    theirs = random.Random(1).randbytes(100_000)
    bench.put(theirs)
    refuses(bench, bundle(hardware=board), "the chip has no boot loader")
    done = bench.flash(whole(board))
    assert done.exit_code == 0, (done.output, done.exception)
    there = bench.content
    assert there[:0x8000] == boot_loader(board) and there[0x20000 : 1 << 20] == whole(board)[0x20000:]
    assert there[0x8000:0x10000] == theirs[0x8000:0x10000]


def ours(bench: FlashBench, board: str) -> None:
    layout = Layout(boot_loader(board), image(Slot.A, "1.0.0", hardware=board), settings=SETTINGS)
    bench.put(layout.flash())
    new = image(Slot.A, hardware=board)
    takes(bench, bundle(hardware=board), Layout(layout.boot, new, settings=SETTINGS))
    other = 0x413 ^ 0x419 ^ bench.chip_id
    bench.chip_id = other
    bench.put(bench.content)
    if bench.way != "dfu-util":  # which learns no device id, and has the layouts below
        refuses(bench, bundle(hardware=board), f"which has an STM32F4{'05' if other == 0x419 else '2x'}")


def write_protected(bench: FlashBench, board: str) -> None:
    """As `--protect` leaves it."""
    bench.protected = True
    layout = Layout(boot_loader(board), image(Slot.A, "1.0.0", hardware=board))
    bench.put(layout.flash())
    new = Layout(layout.boot, image(Slot.A, hardware=board))
    takes(bench, bundle(hardware=board), new)
    refuses(bench, whole(board), "write-protected: sector 0, 1; --allow unprotect lifts that")
    if bench.way not in LIFTS:
        words = "lifts no write protection: --allow unprotect lifts that with --port or --probe openocd"
        refuses(bench, whole(board), words, "--allow", "unprotect")
        return
    done = takes(bench, whole(board), new, "--allow", "unprotect")
    assert "The write protection of sector 0, 1 is lifted; --protect sets it again" in done.stderr


def half_a_slot(bench: FlashBench, board: str) -> None:
    """A slot's header is written last."""
    torn = b"\xff" * 512 + image(Slot.A, hardware=board)[512:3000]
    bench.put(Layout(boot_loader(board), torn, settings=SETTINGS).flash())
    new = Layout(boot_loader(board), image(Slot.A, hardware=board), settings=SETTINGS)
    takes(bench, bundle(hardware=board), new)


def half_a_boot_loader(bench: FlashBench, board: str) -> None:
    """Without its vectors, which the ROM's way writes last, it starts nothing, though its facts are there."""
    torn = b"\xff" * 256 + boot_loader(board)[256:]
    bench.put(Layout(torn, image(Slot.A, "1.0.0", hardware=board)).flash())
    refuses(bench, bundle(hardware=board), "the chip has no boot loader")
    takes(bench, whole(board), Layout(boot_loader(board), image(Slot.A, hardware=board)))


def boot0_forgotten(bench: FlashBench, board: str) -> None:
    """The chip runs its program, or did not leave it; a probe halts it wherever it is."""
    bench.boot0 = False
    bench.put(Layout(boot_loader(board), image(Slot.A, "1.0.0", hardware=board)).flash())
    if bench.way in BY_BOOT0:
        refuses(bench, bundle(hardware=board), "et BOOT0 high")
    else:
        takes(bench, bundle(hardware=board), Layout(boot_loader(board), image(Slot.A, hardware=board)))


STATES: tuple[Expected, ...] = (
    empty,
    foreign,
    ours,
    write_protected,
    half_a_slot,
    half_a_boot_loader,
    boot0_forgotten,
)


def test_each_board_has_its_chip() -> None:
    assert all(chip.device_id(facts) == device_id(board) for board, facts in BOARDS.items())


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("way", WAYS)
def test_programs_flash_each_board_in_each_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, board: str, state: Expected
) -> None:
    state(FlashBench(tmp_path, monkeypatch, way, device_id(board)), board)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
@pytest.mark.parametrize("board", ["opqbox", "nucleo_f429zi"])  # a chip of each kind: others are alike here
def test_the_rom_flashes_in_each_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: str, state: Expected
) -> None:
    state(FlashBench(tmp_path, monkeypatch, "rom", device_id(board)), board)


def test_two_banks_of_512_kib_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.bin").write_bytes(whole("nucleo_f429zi"))
    memory = F405Memory()
    memory.in_two_banks = True
    with RomBootLoader(memory, chip_id=0x419) as chip:
        done = CliRunner().invoke(command, [str(tmp_path / "x.bin"), "--port", chip.path])
    assert "DB1M" in refused(done) and not any(memory.erases)
    programs = Bench(tmp_path, monkeypatch, ("openocd",))
    programs.set(idcode="0x20036419", write_protection="0x4FFF")
    assert "DB1M" in refused(programs.flash(whole("nucleo_f429zi"), "--probe"))


def test_a_new_name_may_have_either_chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for way, chip_id in (("openocd", 0x413), ("pyocd", 0x419)):
        (folder := tmp_path / way).mkdir()
        bench = FlashBench(folder, monkeypatch, way, chip_id)
        bench.put(b"")
        assert bench.flash(whole("my_board")).exit_code == 0


def test_an_own_board_has_its_chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `--board-dir`, which also names the board of a chip that does not."""
    own = own_board(tmp_path)
    for chip_id, name, words in (
        (0x413, "garden_box", ""),
        (0x419, "garden_box", "it is for garden_box, which has an STM32F405 (0x413)"),
        (0x413, "opqbox", "it is for opqbox, this is garden_box"),
    ):
        (folder := tmp_path / f"{chip_id}{name}").mkdir()
        bench = FlashBench(folder, monkeypatch, "openocd", chip_id)
        bench.put(b"")
        done = bench.flash(whole(name), "--board-dir", str(own))
        assert done.exit_code == 0 if not words else words in refused(done)


def test_a_link_refuses_to_unprotect(tmp_path: Path) -> None:
    path = tmp_path / "x.opqfw"
    path.write_bytes(bundle())
    text = refused(CliRunner().invoke(command, [str(path), "--link", "loop://", "--allow", "unprotect"]))
    assert "writes no protected sector" in text and text.endswith("Nothing was written")
