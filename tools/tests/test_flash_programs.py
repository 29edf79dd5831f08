"""Flashing by dfu-util, openocd and pyocd: what we ask of them, against a stand-in with a file as flash.

The real programs have been asked whether they take these arguments, and what they say; no chip was there.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import stand_in_flasher
from click.testing import CliRunner, Result
from flash_under_test import Layout, boot_loader, bundle, image

from opq_proto.errors import OpqError
from opq_proto.firmware.image import Slot
from opq_tools.firmware.flash import chip_command, programs
from opq_tools.firmware.flash.chip import FlashError
from opq_tools.firmware.flash.flash_command import command
from opq_tools.firmware.flash.probe import INTERFACE, OpenOcd

WAYS = {"dfu-util": ["--dfu"], "openocd": ["--probe", "openocd"], "pyocd": ["--probe", "pyocd"]}
BOX = Layout(boot_loader(), image(Slot.A, "1.0.0"), settings=b"settings" * 100)


class Bench:
    """A folder on PATH with stand-ins, and the chip behind them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]) -> None:
        self.folder = folder
        on_path = folder / "bin"
        on_path.mkdir()
        for name in names:
            (on_path / name).touch(0o755)
        monkeypatch.setenv("PATH", str(on_path))
        monkeypatch.setattr(stand_in_flasher, "FOLDER", folder)
        monkeypatch.setattr(programs, "run_until_silent", stand_in_flasher.run)
        self.put(BOX)

    def put(self, layout: Layout) -> None:
        (self.folder / "flash.bin").write_bytes(layout.flash())

    @property
    def chip(self) -> bytes:
        return (self.folder / "flash.bin").read_bytes()

    def set(self, **facts: str) -> None:
        (self.folder / "facts.json").write_text(json.dumps(facts))

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls.jsonl").read_text().splitlines()]

    def flash(self, data: bytes, *options: str) -> Result:
        path = self.folder / "x.opqfw"
        path.write_bytes(data)
        return CliRunner().invoke(command, [str(path), *options])


@pytest.fixture(params=list(WAYS))
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> Bench:
    return Bench(tmp_path, monkeypatch, (program,))


def refused(result: Result) -> str:
    """The one line that the user reads."""
    assert isinstance(result.exception, OpqError), result.exception
    return str(result.exception)


def test_slot_a_is_read_back_after_an_update(bench: Bench, program: str) -> None:
    result = bench.flash(bundle(), *WAYS[program])
    assert result.exit_code == 0, result.output
    assert bench.chip == bytes(Layout(BOX.boot, image(Slot.A), settings=BOX.settings).flash())
    assert "hardware: opqbox" in result.output


def test_a_wrong_byte_on_the_chip_is_found(bench: Bench, program: str) -> None:
    bench.set(flips="1")
    text = refused(bench.flash(bundle(), *WAYS[program]))
    assert (
        "differs from what was written, from byte 0" in text
        and "half-written" in text
        and "same command again" in text
    )


def test_a_program_that_fails_is_quoted(bench: Bench, program: str) -> None:
    bench.set(fails="Error during download get_status")
    text = refused(bench.flash(bundle(), *WAYS[program]))
    assert "ended with 74: Error during download get_status" in text


def test_a_failed_first_erase_wrote_nothing(bench: Bench, program: str) -> None:
    """The first sector is read before and after: its old bytes are neither erased nor new."""
    bench.set(unerased="Error: failed erasing sectors 5 to 5")
    before = bench.chip
    text = refused(bench.flash(bundle(), *WAYS[program]))
    assert text.endswith("failed erasing sectors 5 to 5. Nothing was written")
    assert bench.chip == before
    bench.put(Layout(boot_loader(), image(Slot.A), settings=BOX.settings))
    assert "may be half-written" in refused(bench.flash(bundle(), *WAYS[program])), "old and new are alike"


@pytest.mark.parametrize("program", ["dfu-util"])
def test_dfu_names_a_chip_that_is_not_read(bench: Bench) -> None:
    bench.set(unread="dfu-util: Error sending completion packet: status(10) = dfuERROR")
    text = refused(bench.flash(bundle(), "--dfu"))
    assert "dfuERROR. A chip that is protected against reading (RDP level 1) fails so; `dfu-util" in text
    assert text.endswith("erases all of it. Nothing was written")


@pytest.mark.parametrize("program", ["dfu-util"])
def test_dfu_says_which_chips_it_cannot_tell_apart(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.set(serials="A B")
    assert "no chip with serial C in DFU mode; there: A, B" in refused(
        bench.flash(bundle(), "--dfu", "--serial", "C")
    )
    bench.set(serials="A A")
    for chosen in ([], ["--serial", "A"]):
        text = refused(bench.flash(bundle(), "--dfu", *chosen))
        assert "2 chips in DFU mode: all have serial A: unplug the others" in text
    bench.set()
    run = stand_in_flasher.run

    def in_run_time(command: Sequence[str], doing: str) -> tuple[int, str]:
        code, text = run(command, doing)
        return code, text.replace("Found DFU:", "Found Runtime:")

    monkeypatch.setattr(programs, "run_until_silent", in_run_time)
    assert "no chip in DFU mode" in refused(bench.flash(bundle(), "--dfu"))


@pytest.mark.parametrize("program", ["dfu-util"])
@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("0483:df11 found on devnum 3 (LIBUSB_ERROR_ACCESS)", "LIBUSB_ERROR_ACCESS"),
        ("0483:df11", "no reason given"),
    ],
)
def test_an_unopened_dfu_chip_is_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, words: str, why: str
) -> None:
    """pollen-robotics/reachy-mini-os 35, by dfu-util 0.11; nrobinson2000/po-util 17, by 0.9."""
    listing = f"dfu-util: Cannot open DFU device {words}\n"
    monkeypatch.setattr(programs, "run_until_silent", lambda *_: (0, listing))
    text = refused(bench.flash(bundle(), "--dfu"))
    assert text.startswith(f"a chip is in DFU mode, and dfu-util may not open it ({why}): run this as root")
    assert text.endswith("Nothing was written")


@pytest.mark.parametrize("program", ["openocd"])
@pytest.mark.parametrize("data", [b":020000040800F2\n", b"S00600004844521B\n", b"DfuSe\1", b"UF2\nWQ]\x9e"])
def test_files_of_other_programmers_are_named(bench: Bench, data: bytes) -> None:
    text = refused(bench.flash(data, "--probe", "openocd"))
    assert "which is for other programmers; want firmware.opqfw, flash.bin" in text


def test_a_newer_other_slot_is_cleared_on_request(bench: Bench, program: str) -> None:
    bench.put(Layout(boot_loader(), image(Slot.A, "1.0.0"), image(Slot.B, "2.0.0")))
    assert bench.flash(bundle("1.2.3"), *WAYS[program], "--allow=downgrade").exit_code == 0
    assert bench.chip[0x80000:0xA0000].count(0xFF) == 0x20000
    assert bench.chip[0x20000:0x20200] == image(Slot.A, "1.2.3")[:512]


def test_refusals_are_the_same_as_over_the_rom(bench: Bench, program: str) -> None:
    assert "another key" in refused(bench.flash(bundle(signed_by="somebody"), *WAYS[program]))
    assert bench.chip == bytes(BOX.flash())


@pytest.mark.parametrize("program", ["openocd"])
@pytest.mark.parametrize("words", ["Error: stm32x failed to write options", ""])
def test_a_failed_lifting_is_never_nothing(bench: Bench, words: str) -> None:
    """Without words the option bytes stay as they were."""
    bench.set(write_protection="0x0FFC", lifting=words)
    path = bench.folder / "flash.bin"
    wanted, before = bytes(Layout(boot_loader(), image(Slot.A)).flash()), path.read_bytes()
    text = refused(bench.flash(wanted, "--probe", "openocd", "--allow", "unprotect"))
    assert words in text and ("ended with 1" in text) is bool(words)
    assert text.endswith("The chip's write protection may be lifted; its flash is as before")
    assert "Nothing was written" not in text and path.read_bytes() == before


@pytest.mark.parametrize("program", ["openocd"])
def test_a_failure_after_lifting_says_both(bench: Bench) -> None:
    bench.set(write_protection="0x0FFC", fails="Error: timed out waiting for flash")
    wanted = bytes(Layout(boot_loader(), image(Slot.A)).flash())
    text = refused(bench.flash(wanted, "--probe", "openocd", "--allow", "unprotect"))
    assert "half-written" in text
    assert text.endswith("The write protection of sector 0, 1 is lifted; --protect sets it again")


@pytest.mark.parametrize("program", ["dfu-util"])
def test_dfu_addresses_the_one_chips_internal_flash(bench: Bench) -> None:
    assert bench.flash(bundle(), "--dfu").exit_code == 0
    listed, *_, write, read, leave = bench.calls
    assert listed == ["dfu-util", "-l", "-d", "0483:df11"]
    chosen = ["dfu-util", "-d", "0483:df11", "-a", "0", "-S", "305C3253"]
    assert write[:-1] == [*chosen, "-s", "0x08020000", "-D"]
    assert read[:-1] == [*chosen, "-s", f"0x08020000:{0x60000}", "-U"]
    assert leave[:-1] == [*chosen, "-s", "0x08000000:4:leave", "-U"]


@pytest.mark.parametrize("program", ["dfu-util"])
def test_dfu_refuses_other_chips_and_ambiguous_choices(bench: Bench) -> None:
    bench.set(layout="04*016Kg,01*064Kg,01*128Kg")
    assert "not an STM32F405" in refused(bench.flash(bundle(), "--dfu"))
    bench.set(serials="AAA BBB")
    assert "--serial (AAA, BBB)" in refused(bench.flash(bundle(), "--dfu"))
    assert bench.flash(bundle(), "--dfu", "--serial", "BBB").exit_code == 0
    bench.set(serials="")
    assert "set BOOT0 high" in refused(bench.flash(bundle(), "--dfu"))


@pytest.mark.parametrize("program", ["openocd"])
def test_openocd_gets_one_script_per_step(bench: Bench) -> None:
    options = ("--probe", "interface/cmsis-dap.cfg")
    assert bench.flash(bundle(), *options).exit_code == 0
    fixed = ["openocd", "-f", "interface/cmsis-dap.cfg", "-f", "target/stm32f4x.cfg", "-c"]
    assert all(call[:-1] == fixed for call in bench.calls)
    first, *_, write, _, reset = [call[-1] for call in bench.calls]
    assert first == (
        "init; reset halt; echo [mdw 0xE0042000 1]; echo [mdw 0x1FFF7A10 3]; echo [mdw 0x1FFF7A20 1]; "
        "echo [mdw 0x1FFFC000 1]; echo [mdw 0x1FFFC008 1]; shutdown"
    )
    first, second = (
        f"echo [flash erase_address pad 0x{sector:08X} 131072]; " for sector in (0x08020000, 0x08040000)
    )
    assert (
        write.startswith(f"init; reset halt; {first}{second}")
        and ".bin.0} 0x08020000 bin]; echo [flash write_image {" in write
    )
    assert ".bin.32768} 0x08028000 bin];" in write
    assert reset == "init; reset halt; echo [reset run]; shutdown"


@pytest.mark.parametrize("program", ["pyocd"])
def test_pyocd_gets_the_packs_target(bench: Bench) -> None:
    assert bench.flash(bundle(), "--probe", "pyocd").exit_code == 0
    assert bench.calls[0][2:5] == ["--no-wait", "-t", "cortex_m"]
    assert all(call[2:5] == ["--no-wait", "-t", "stm32f405rgtx"] for call in bench.calls[1:])
    write = next(call for call in bench.calls if call[1] == "flash")
    assert write[5:-1] == ["--no-reset", "-e", "sector", "-a", "0x08020000", "--format", "bin"]
    assert bench.calls[-1][1] == "reset"


@pytest.mark.parametrize("program", ["pyocd"])
def test_a_probe_is_chosen_by_its_serial(bench: Bench, program: str) -> None:
    """zephyrproject-rtos/zephyr 26769: the option was ignored, and the wrong board flashed."""
    assert bench.flash(bundle(), *WAYS[program], "--serial", "066DFF54").exit_code == 0
    for call in bench.calls:
        at = call.index("-u")
        assert call[at : at + 2] == ["-u", "066DFF54"]


@pytest.mark.parametrize("program", ["openocd"])
@pytest.mark.parametrize(
    ("files", "known"),
    [
        ("openocd", "adapter serial"),  # 0.12
        ("openocd", "hla_serial"),  # 0.11, as Ubuntu 22.04 has it
        ("interface/stlink-dap.cfg", "st-link serial"),
        ("interface/cmsis-dap.cfg", "cmsis_dap_serial"),
        ("interface/jlink.cfg", "jlink serial"),
    ],
)
def test_each_openocd_gets_its_serial_command(bench: Bench, program: str, files: str, known: str) -> None:
    """Before 0.12 each driver has its own command, which no other has; asked of openocd 0.11 and 0.12."""
    bench.set(serial_command=known)
    assert bench.flash(bundle(), "--probe", files, "--serial", "066DFF54").exit_code == 0
    assert (bench.folder / "serial").read_text() == f"{known} 066DFF54"
    # before the chip's file, which may start the probe, and in each run
    assert all(call.index("target/stm32f4x.cfg") == 6 and "{066DFF54}" in call[4] for call in bench.calls)


@pytest.mark.parametrize("program", ["openocd"])
def test_an_openocd_without_serials_is_named(bench: Bench, program: str) -> None:
    bench.set(serial_command="none")
    text = refused(bench.flash(bundle(), *WAYS[program], "--serial", "066DFF54"))
    assert "this openocd takes no serial 066DFF54 for the probe of this file" in text
    assert bench.chip == bytes(BOX.flash())


@pytest.mark.parametrize("program", ["openocd"])
@pytest.mark.parametrize("way", ["--port", "--link"])
def test_a_serial_without_usb_is_refused(bench: Bench, way: str) -> None:
    result = bench.flash(bundle(), way, "/dev/ttyUSB0", "--serial", "066DFF54")
    assert result.exit_code == 2 and "--serial chooses a chip of --dfu or a probe of --probe" in result.output


@pytest.mark.parametrize("program", ["openocd", "pyocd"])
def test_a_probe_on_another_chip_writes_nothing(bench: Bench, program: str) -> None:
    bench.set(idcode="0x10006421")
    text = refused(bench.flash(bundle(), *WAYS[program]))
    assert "0x421" in text and "Nothing was written" in text
    assert bench.chip == bytes(BOX.flash())


@pytest.mark.parametrize("program", ["openocd", "pyocd"])
@pytest.mark.parametrize(("rdp", "level"), [("0x55", 1), ("0xBB", 1), ("0xCC", 2)])
def test_a_probe_names_read_protection(bench: Bench, program: str, rdp: str, level: int) -> None:
    """pyocd/pyOCD 1689: a fault at the first read of the flash; rusefi/rusefi 8926: set by a power cut."""
    bench.set(rdp=rdp)
    text = refused(bench.flash(bundle(), *WAYS[program], "--allow", "unsigned"))
    assert f"(RDP level {level})" in text and text.endswith("Nothing was written")
    assert len(bench.calls) == 1


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--dfu"], "sudo apt install dfu-util"),
        (["--probe", "openocd"], "sudo apt install openocd"),
        (["--probe", "pyocd"], "pip install pyocd"),
        (["--probe", "auto"], "sudo apt install openocd; or pip install pyocd"),
    ],
)
def test_an_absent_program_names_its_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], line: str
) -> None:
    absent = Bench(tmp_path, monkeypatch, ())
    text = refused(absent.flash(bundle(), *options))
    assert line in text


def test_a_program_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As openocd does where a probe no longer answers (sinara-hw/sinara 457); its child hangs with it."""
    hangs = tmp_path / "openocd"
    hangs.write_text("#!/bin/sh\necho clock speed\nsleep 1000\n")
    hangs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert programs.SILENT_S <= 15
    monkeypatch.setattr(programs, "SILENT_S", 2.0)
    ended: list[tuple[int, int]] = []
    kill = os.killpg
    monkeypatch.setattr(os, "killpg", lambda pid, number: (ended.append((pid, number)), kill(pid, number)))
    text = refused(CliRunner().invoke(chip_command.command, ["--probe", "openocd"]))
    sentence = (
        "looking for a chip: openocd printed nothing for 2 s and was ended(, after: clock speed)?. Look at"
    )
    assert re.match(sentence, text) and text.endswith("Nothing was written")
    ((_, number),) = ended
    assert number == signal.SIGKILL


def test_a_program_that_prints_is_waited_for(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "echo one; echo two >&2; exit 3"]
    assert programs.run_until_silent(command, "waiting") == (3, "one\ntwo\n")
    with pytest.raises(FlashError, match="waiting: /nowhere/openocd cannot be run"):
        programs.run_until_silent(["/nowhere/openocd"], "waiting")


OPENOCD_WITHOUT_PROBE = {
    "stlink": "Error: open failed",
    "cmsis-dap": "Error: unable to find a matching CMSIS-DAP device",
    "jlink": "Error: No J-Link device found",
    "ftdi/minimodule": "Error: no device found\nError: unable to open ftdi device with vid 0403, pid 6010, "
    "description 'FT2232H MiniModule', serial '*' at bus location '*'",
    "nulink": "Error: unable to find Nu-Link",
    "xds110": "Error: XDS110: failed to connect",
    "kitprog": "Error: Failed to open or find the device\nError: Can't find a KitProg device! Please check "
    "device connections and permissions.",
    "ulink": "Error: Could not open ULINK device",
    "arm-jtag-ew": "Error: Cannot find ARM-JTAG-EW Interface! Please check connection and permissions.",
}
"""What Debian's openocd 0.12.0 says of each interface without a probe; it ends with 1."""


@pytest.mark.parametrize("program", ["openocd"])
@pytest.mark.parametrize("interface", OPENOCD_WITHOUT_PROBE)
def test_an_absent_probe_is_one_sentence(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, interface: str
) -> None:
    words = f"Info : clock speed 2000 kHz\n{OPENOCD_WITHOUT_PROBE[interface]}\n\n\n"
    monkeypatch.setattr(programs, "run_until_silent", lambda *_: (1, words))
    text = refused(bench.flash(bundle(), "--probe", f"interface/{interface}.cfg"))
    assert text.startswith(f"openocd finds no probe by interface/{interface}.cfg: plug it in")


OPENOCD_CHIP_SILENT = (
    "Info : clock speed 2000 kHz\nError: init mode failed (unable to connect to the target)",
    "Info : Target voltage: 0.017000\nError: target voltage may be too low for reliable debugging",
    "Info : CMSIS-DAP: Interface ready\nError: Error connecting DP: cannot read IDR",
)
"""As users of rust-embedded/book (380), stlink and cmsis-dap report it."""


@pytest.mark.parametrize("program", ["openocd"])
@pytest.mark.parametrize("words", OPENOCD_CHIP_SILENT)
def test_a_probe_without_a_chip_names_the_wires(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setattr(programs, "run_until_silent", lambda *_: (1, f"{words}\n\n"))
    text = refused(bench.flash(bundle(), "--probe", "openocd"))
    assert "no chip behind it: look at the wires" in text and text.endswith("Nothing was written")


@pytest.mark.parametrize("program", ["pyocd"])
@pytest.mark.parametrize(
    ("code", "words", "advice"),
    [
        (3, "No connected debug probes\n", "pyocd finds no probe: plug it in"),
        (
            1,
            "  0   STM32 STLink   066DFF54   n/a\n\n  1   STM32 STLink   066EFF38   n/a\n\n"
            "Enter the number of the debug probe or 'q' to quit> 0026560 C Error: EOF when reading a line "
            "[__main__]\n",
            "pyocd finds several probes: choose one with --serial, by its unique id of `pyocd list`. Nothing",
        ),
        (
            1,
            "0006111 C Target type stm32f405rgtx not recognized. Use 'pyocd list --targets' to see currently "
            "available target types. See <https://pyocd.io/docs/target_support.html> for how to install "
            "additional target support. [__main__]\n",
            "pyocd does not know this chip yet: pyocd pack install stm32f405rgtx. Nothing was written",
        ),
    ],
)
def test_pyocds_own_words_become_advice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, code: int, words: str, advice: str
) -> None:
    """As pyocd 0.46 has them; the chip itself is read without a pack."""

    def run(command: Sequence[str], doing: str) -> tuple[int, str]:
        is_chips = "stm32f405rgtx" in command
        return (code, words) if code == 3 or is_chips else stand_in_flasher.run(command, doing)

    monkeypatch.setattr(programs, "run_until_silent", run)
    assert advice in refused(bench.flash(bundle(), "--probe", "pyocd"))


REAL_PATH = os.environ.get("PATH", os.defpath)
"""Before a bench sets it."""
OPENOCD_WITHOUT_CHIP = """
    adapter driver dummy; transport select jtag; adapter speed 100; jtag newtap chip cpu -irlen 4
    target create chip.cpu testee -chain-position chip.cpu
    flash bank flash0 stm32f2x 0x08000000 0 0 0 chip.cpu
    init
"""
"""Its commands parse what they get, and then find no chip."""
WRONG_ARGUMENTS, UNKNOWN_COMMAND = -601, 1


@pytest.mark.parametrize("program", ["openocd"])
def test_the_real_openocd_parses_our_commands(bench: Bench, tmp_path: Path) -> None:
    real = shutil.which("openocd", path=REAL_PATH)
    if real is None:
        pytest.skip("no openocd here: apt install openocd")
    bench.set(write_protection="0x0FFC")
    wanted = bytes(Layout(boot_loader(), image(Slot.A)).flash())
    assert bench.flash(wanted, "--probe", "openocd", "--allow", "unprotect").exit_code == 0
    script = [command for call in bench.calls for command in call[-1].split("; ")]
    ours = {command.removeprefix("echo [").removesuffix("]") for command in script} - {"init", "shutdown"}
    assert {command.split()[0] for command in ours} == {"mdw", "dump_image", "flash", "reset"}
    tries = [
        f"puts [catch {{{command}}} result]" for command in (*ours, "flash protect 0 0", "flash nonsense")
    ]
    line = [real, "-c", OPENOCD_WITHOUT_CHIP + "\n".join((*tries, "shutdown"))]
    done = subprocess.run(line, capture_output=True, text=True, timeout=240, check=False)
    codes = [int(each) for each in done.stdout.split()]
    assert codes[-2:] == [WRONG_ARGUMENTS, UNKNOWN_COMMAND] and len(codes) == len(tries), done.stderr
    assert not {WRONG_ARGUMENTS, UNKNOWN_COMMAND} & set(codes[:-2]), done.stderr


def test_without_a_probe_openocd_is_one_sentence(tmp_path: Path) -> None:
    if shutil.which("openocd") is None:
        pytest.skip("no openocd here: apt install openocd")
    result = CliRunner().invoke(chip_command.command, ["--probe", "openocd"])
    if result.exit_code == 0:
        pytest.skip("a probe is plugged in")
    assert "finds no probe by interface/stlink.cfg: plug it in" in refused(result)


@pytest.mark.parametrize("files", [INTERFACE, "interface/cmsis-dap.cfg"])
def test_the_real_openocd_takes_a_serial(files: str) -> None:
    """It gets as far as looking for that probe, which is not connected."""
    if shutil.which("openocd") is None:
        pytest.skip("no openocd here: apt install openocd")
    with pytest.raises(FlashError, match=f"finds no probe with serial 066DFF54 by {files}"):
        OpenOcd(files, "066DFF54").chip()


def test_the_real_dfu_util_accepts_our_arguments(tmp_path: Path) -> None:
    """It gets as far as looking for a chip, which is not connected."""
    real = shutil.which("dfu-util")
    if real is None:
        pytest.skip("no dfu-util here: apt install dfu-util")
    line = [real, "-d", "0483:df11", "-a", "0", "-s", "0x08020000:512", "-U", str(tmp_path / "back.bin")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 74 and "No DFU capable USB device" in done.stderr
