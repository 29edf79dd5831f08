"""The boot loader's binary on our QEMU machine, with images of a few dozen bytes: what runs, after what."""

import hashlib
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from boot_on_pc import PRIVATE, make_boot
from host_library import DEVICE

from opq_hil.backends.backend import BackendError, FirmwareRun, Image
from opq_hil.backends.boards import BOARDS
from opq_hil.backends.qemu import Qemu
from opq_hil.world.world import PowerScript, RomStart, World
from opq_proto.firmware.image import HEADER_BYTES, SLOT_BYTES, STATUS_BYTES, Slot, Verdict, make_image
from opq_proto.link.messages import (
    Acknowledgement,
    Command,
    Hello,
    LinkMessage,
    Operation,
    Status,
    UpdateData,
)

pytestmark = pytest.mark.timeout(900)  # the first run of all builds QEMU
S = 10**9
HERE = Path(__file__).resolve().parent
ORIGIN = 0x0800_0000
PIECE_BYTES = 1024
ERASE_NS = 7 * S
"""Three sectors of 128 KB at 2 s (DS8626 table 46, longest)."""
Place = Callable[..., bytes]
Play = Callable[..., FirmwareRun]


@pytest.fixture(scope="module")
def boot(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The boot loader, trusting the tests' key."""
    build = tmp_path_factory.mktemp("boot")
    done = make_boot(build, "opqbox")
    assert done.returncode == 0, done.stderr
    return (build / "boot.bin").read_bytes()


@pytest.fixture(scope="module")
def app(boot: bytes, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """A signed image: its name, version, slot, and whether it feeds the watchdog."""

    def made(name: str, version: int, slot: Slot, *, feeds: bool = True, signed: bool = True) -> bytes:
        folder = tmp_path_factory.mktemp("app")
        elf, binary = folder / "app.elf", folder / "app.bin"
        begin = slot.address + HEADER_BYTES
        command = (
            *("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-Os", "-std=c11", "-ffreestanding"),
            *("-Wall", "-Wextra", "-Werror", f'-DNAME="{name}"', f"-DFEEDS={int(feeds)}"),
            *(f"-I{DEVICE / 'port'}", "-nostdlib", "-Wl,--build-id=none"),
            *(f"-Wl,--section-start=.vectors=0x{begin:x}", f"-Wl,-Ttext=0x{begin + 16:x}"),
            *("-o", str(elf), str(HERE / "boot_app.c")),
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        subprocess.run(("arm-none-eabi-objcopy", "-O", "binary", str(elf), str(binary)), check=True)
        return make_image(
            binary.read_bytes(),
            hardware="opqbox",
            version=version,
            slot=slot,
            sign=PRIVATE.sign if signed else None,
        )

    return made


def flash_of(boot: bytes, *images: bytes, confirmed: Slot | None = None) -> bytes:
    """A chip's flash; the marks of slot.h say that the image in `confirmed` has reported health."""
    flash = bytearray(b"\xff" * (1 << 20))
    flash[: len(boot)] = boot
    for image in images:
        at = struct.unpack_from("<I", image, 28)[0] - ORIGIN
        flash[at : at + len(image)] = image
        if confirmed is not None and at == confirmed.address - ORIGIN:
            status = at + SLOT_BYTES - STATUS_BYTES
            tag = hashlib.sha256(image[HEADER_BYTES:]).digest()[:4]
            flash[status + 8 : status + 32] = tag + bytes(4) + bytes(16)
    return bytes(flash)


@pytest.fixture
def play(tmp_path: Path) -> Play:
    qemu = Qemu()
    why = qemu.why_not(None)
    if why:
        pytest.skip(why)

    def run(
        flash: bytes,
        seconds: float,
        *messages: tuple[int, LinkMessage | bytes],
        name: str = "run",
        cut: int | None = None,
        recovery: bool = False,
        rom_start: RomStart | None = None,
        seed: int = 1,
    ) -> FirmwareRun:
        source = tmp_path / f"{name}.bin"
        source.write_bytes(flash)
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        world = World(
            round(seconds * S),
            mains=None,
            gps=None,
            power=PowerScript(cut_after=cut),
            messages=messages,
            pins=(("C8", 0, not recovery), ("C9", 0, True)),
            rom_start=rom_start,
            seed=seed,
        )
        try:
            return qemu.run(Image(BOARDS["opqbox"], source), world, folder, wall_limit_s=600)
        except BackendError as problem:
            pytest.fail(str(problem))

    return run


def names(run: FirmwareRun) -> list[str]:
    """What the images printed about themselves, in order."""
    text = b"".join(data for _, data in run.capture.entries())
    return [name.decode() for name in re.findall(rb"([a-z]+)\n", text)]


def update_messages(image: bytes, start_ns: int) -> tuple[tuple[int, LinkMessage | bytes], ...]:
    """An update that looks at no answer; it waits for the erasure and sends every piece again after it."""
    messages: list[tuple[int, LinkMessage | bytes]] = [
        (start_ns, Command(1, Operation.UPDATE_BEGIN, str(len(image)))),
        (start_ns + S // 10, UpdateData(2, 0, image[:PIECE_BYTES])),
        (start_ns + S // 5, UpdateData(3, 512, image[512 : 512 + PIECE_BYTES])),
    ]
    at_ns = start_ns + ERASE_NS
    for offset in range(0, len(image), PIECE_BYTES):
        messages.append((at_ns, UpdateData(4, offset, image[offset : offset + PIECE_BYTES])))
        at_ns += S // 50
    return (*messages, (at_ns + S // 10, Command(5, Operation.UPDATE_END)))


def test_an_image_starts_within_100_ms(boot: bytes, app: Place, play: Play) -> None:
    run = play(flash_of(boot, app("one", 1, Slot.A), confirmed=Slot.A), 1)
    assert names(run) == ["one"]
    assert run.report["resets"] == []
    assert run.report["unmodelled"] == []
    assert run.report["flash"]["operations"] == 0


def test_a_hanging_image_gets_three_tries(boot: bytes, app: Place, play: Play) -> None:
    """An image that hangs is tried three times and then the old one runs."""
    hangs = app("hangs", 2, Slot.B, feeds=False)
    run = play(flash_of(boot, app("old", 1, Slot.A), hangs, confirmed=Slot.A), 30)
    assert names(run) == ["hangs", "hangs", "hangs", "old"]
    assert [cause for _, cause in run.report["resets"]] == ["iwdg"] * 3
    assert run.flash is not None
    again = play(run.flash.read_bytes(), 1, name="again")
    assert names(again) == ["old"]
    assert again.report["flash"]["operations"] == 0


def test_an_unsigned_image_never_runs(boot: bytes, app: Place, play: Play) -> None:
    run = play(
        flash_of(boot, app("old", 1, Slot.A), app("bad", 9, Slot.B, signed=False), confirmed=Slot.A), 1
    )
    assert names(run) == ["old"]


def test_a_blank_box_is_helped_over_the_line(boot: bytes, app: Place, play: Play) -> None:
    image = app("helped", 1, Slot.A)
    run = play(flash_of(boot), 9, *update_messages(image, S // 2))
    hello = run.capture.of(Hello)[0]
    assert (hello.hardware, hello.firmware) == ("opqbox", "boot 1.0.0: no good image")
    answers = {answer.command_id: answer for answer in run.capture.of(Acknowledgement)}
    assert (answers[1].status, answers[1].detail) == (Status.DONE, "A")
    assert answers[5].status is Status.DONE
    assert names(run)[-1] == "helped"
    assert [cause for _, cause in run.report["resets"]] == ["software"]


def test_a_rom_started_box_gets_help(boot: bytes, app: Place, play: Play) -> None:
    """BOOT0 is high: address 0 is the ROM's, and clocks, SysTick and NVIC are not as after a reset."""
    image = app("helped", 1, Slot.A)
    rom_start = RomStart(boot0_low_ns=S)
    run = play(flash_of(boot), 9, *update_messages(image, S // 2), rom_start=rom_start)
    hellos = [hello.firmware for hello in run.capture.of(Hello)]
    assert hellos and set(hellos) == {"boot 1.0.0: no good image"}
    answers = {answer.command_id: answer for answer in run.capture.of(Acknowledgement)}
    assert answers[5].status is Status.DONE
    assert names(run)[-1] == "helped"
    assert run.report["unmodelled"] == [] and run.report["violations"] == []


def test_boot0_decides_after_the_roms_start(boot: bytes, app: Place, play: Play) -> None:
    """An image that the rom started runs and after a reset boot0 decides."""
    flash = flash_of(boot, app("hangs", 1, Slot.A, feeds=False), confirmed=Slot.A)
    run = play(flash, 25, rom_start=RomStart(boot0_low_ns=S))
    assert names(run)[:2] == ["hangs", "hangs"]
    held = play(flash, 25, rom_start=RomStart(), name="held")
    assert names(held) == ["hangs"]
    assert [cause for _, cause in held.report["resets"]] == ["iwdg"]  # then it waits in the ROM


def test_a_bad_image_erases_nothing(boot: bytes, app: Place, play: Play) -> None:
    image = app("bad", 1, Slot.A, signed=False)
    run = play(flash_of(boot), 2, *update_messages(image, S // 2)[:2])
    [refused] = [answer for answer in run.capture.of(Acknowledgement) if answer.command_id == 2]
    assert (refused.status, refused.detail) == (Status.FAILED, f"verdict {int(Verdict.UNSIGNED)}")
    assert run.report["flash"]["operations"] == 0


def test_the_recovery_pin_holds_a_good_image_back(boot: bytes, app: Place, play: Play) -> None:
    run = play(flash_of(boot, app("good", 1, Slot.A), confirmed=Slot.A), 3, recovery=True)
    assert [hello.firmware for hello in run.capture.of(Hello)] == ["boot 1.0.0: recovery pin"] * 3
    assert names(run) == []


def test_recovery_ends_with_a_reset(boot: bytes, app: Place, play: Play) -> None:
    """A rejected image gets 30 s of help; a helper who goes away after his first piece costs 30 s more."""
    rejected = bytearray(flash_of(boot, app("rejected", 1, Slot.A), confirmed=Slot.A))
    status = Slot.A.address - ORIGIN + SLOT_BYTES - STATUS_BYTES
    rejected[status + 24 : status + 64] = b"\xff" * 8 + bytes(32)  # not confirmed; rejected, three trials
    begun = update_messages(app("half", 2, Slot.B), S // 2)[:3]
    questions = [(second * S, Command(9, Operation.HELLO)) for second in range(10, 90, 5)]
    run = play(bytes(rejected), 80, *begun, *questions)
    assert names(run) == ["rejected"]
    [(at_ns, cause)] = run.report["resets"]
    assert cause == "software"
    assert 30 * S < at_ns < 40 * S


def test_power_cuts_leave_an_image(boot: bytes, app: Place, play: Play) -> None:
    """A programmer's image is claimed, made solid and counted: 134 writes. The PC cuts every one of them."""
    fresh = flash_of(boot, app("first", 1, Slot.A))
    whole = play(fresh, 0.5, name="whole")
    operations = whole.report["flash"]["operations"]
    assert operations == 134
    for cut in (1, 2, 3, 66, operations - 5, operations - 3, operations - 2, operations - 1, operations):
        torn = play(fresh, 0.5, name=f"cut{cut}", cut=cut, seed=cut)
        assert torn.ended == "cut"
        assert torn.flash is not None
        after = play(torn.flash.read_bytes(), 4, name=f"after{cut}")  # a torn tag costs an erase: 2 s
        assert names(after) == ["first"]
