"""`opq-tools flash --port`: what is refused and why, what is written, what the user reads."""

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flash_under_test import Layout, be_patient, boot_loader, bundle, image, key

from opq_proto.errors import OpqError
from opq_proto.firmware.image import Slot
from opq_sim.box.f405_memory import F405Memory
from opq_sim.box.rom_boot_loader import RomBootLoader
from opq_tools.firmware.flash import chip_command
from opq_tools.firmware.flash.flash_command import command


def memory(layout: Layout) -> F405Memory:
    found = F405Memory()
    found.flash[:] = layout.flash()
    return found


BOX = Layout(boot_loader(), image(Slot.A, "1.0.0"), settings=b"settings" * 100)


def flash(tmp_path: Path, data: bytes, chip: F405Memory, *options: str, name: str = "x.opqfw") -> Result:
    path = tmp_path / name
    path.write_bytes(data)
    with RomBootLoader(chip) as rom, pytest.MonkeyPatch.context() as patch:
        be_patient(patch)
        return CliRunner().invoke(command, [str(path), "--port", rom.path, *options])


def refused(result: Result) -> str:
    """The one line that the user reads."""
    assert isinstance(result.exception, OpqError), result.exception
    return str(result.exception)


def test_an_update_file_changes_slot_a_only(tmp_path: Path) -> None:
    """Settings and boot loader keep their bytes."""
    chip = memory(BOX)
    result = flash(tmp_path, bundle(), chip)
    assert result.exit_code == 0, result.output
    assert bytes(chip.flash) == bytes(Layout(BOX.boot, image(Slot.A), settings=BOX.settings).flash())
    assert "hardware: opqbox" in result.output and "slot a: 1.0.0" in result.output
    assert f"x.opqfw: {len(image(Slot.A))} bytes written and verified" in result.output


@pytest.mark.parametrize("options", [(), ("--no-start",)])
def test_it_says_that_boot0_has_to_be_lowered(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = flash(tmp_path, bundle(), memory(BOX), *options)
    assert done.exit_code == 0 and "set BOOT0 low now" in done.stderr


def test_a_protected_boot_loader_needs_unprotect(tmp_path: Path) -> None:
    chip = memory(BOX)
    chip.write_protected = {0, 1}
    whole = Layout(boot_loader(), image(Slot.A)).flash()
    text = refused(flash(tmp_path, whole, chip, name="flash.bin"))
    assert "write-protected: sector 0, 1; --allow unprotect lifts that" in text and text.endswith(
        "Nothing was written"
    )
    assert flash(tmp_path, bundle(), chip).exit_code == 0, "an update file does not touch it"
    done = flash(tmp_path, whole, chip, "--allow=unprotect", "--allow=downgrade", name="flash.bin")
    assert done.exit_code == 0 and chip.write_protected == set()


def test_silent_firmware_is_written_but_not_protected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opq_tools.firmware.flash.box_link.HELLO_S", 0.3)
    text = refused(flash(tmp_path, bundle(), memory(BOX), "--protect"))
    assert text.startswith(f"{len(image(Slot.A))} bytes are written and verified; not protected: ")


def test_json_is_one_document(tmp_path: Path) -> None:
    found = json.loads(flash(tmp_path, bundle(), memory(BOX), "--json").stdout)
    assert (found["done"], found["verified"], found["started"]) == (True, True, True)
    assert found["chip"]["dev_id"] == 0x413 and found["installed"]["slot_a"] == "1.0.0"


def test_a_bare_chip_needs_the_whole_flash(tmp_path: Path) -> None:
    """An update file alone is refused, because the chip has no boot loader."""
    whole = bytes(Layout(boot_loader(), image(Slot.A)).flash())
    chip = F405Memory()
    assert "no boot loader" in refused(flash(tmp_path, bundle(), chip))
    assert flash(tmp_path, whole, chip, name="flash.bin").exit_code == 0
    assert bytes(chip.flash) == whole


def test_the_whole_flash_leaves_settings_alone(tmp_path: Path) -> None:
    chip = memory(BOX)
    assert (
        flash(tmp_path, bytes(Layout(boot_loader(), image(Slot.A)).flash()), chip, name="f.bin").exit_code
        == 0
    )
    assert bytes(chip.flash[0x8000:0x8320]) == BOX.settings


def test_an_earlier_images_marks_are_erased(tmp_path: Path) -> None:
    chip = memory(BOX)
    chip.flash[0x80000 - 1024 : 0x80000] = bytes(1024)
    assert flash(tmp_path, bundle(), chip).exit_code == 0
    assert chip.flash[0x80000 - 1024 : 0x80000].count(0xFF) == 1024


def test_a_newer_other_slot_is_cleared_on_downgrade(tmp_path: Path) -> None:
    chip = memory(Layout(boot_loader(), image(Slot.A, "1.0.0"), image(Slot.B, "2.0.0")))
    assert "older than the 2.0.0" in refused(flash(tmp_path, bundle("1.2.3"), chip))
    assert chip.erases == [0] * 12
    result = flash(tmp_path, bundle("1.2.3"), chip, "--allow=downgrade")
    assert result.exit_code == 0 and "slot B held 2.0.0 and is cleared" in result.output
    assert chip.flash[0x80000:0x80200].count(0xFF) == 512


def test_an_older_other_slot_stays_for_rollback(tmp_path: Path) -> None:
    chip = memory(Layout(boot_loader(), image(Slot.A, "1.0.0"), image(Slot.B, "1.1.0")))
    assert flash(tmp_path, bundle("1.2.3"), chip).exit_code == 0
    assert bytes(chip.flash[0x80000 : 0x80000 + 200]) == image(Slot.B, "1.1.0")[:200]


@pytest.mark.parametrize(
    ("data", "words", "option"),
    [
        (bundle(hardware="pyboard_f405"), "it is for pyboard_f405, this is opqbox", "--allow other-board"),
        (bundle(signed_by=None), "image A is not signed", "--allow unsigned"),
        (bundle(signed_by="somebody"), "another key than the boot loader's key", "--allow unsigned"),
        (bundle("0.9.0"), "it is 0.9.0, older than the 1.0.0 there", "--allow downgrade"),
    ],
)
def test_a_refusal_names_its_reason_and_option(tmp_path: Path, data: bytes, words: str, option: str) -> None:
    chip = memory(BOX)
    text = refused(flash(tmp_path, data, chip))
    assert words in text and option in text and text.endswith("Nothing was written")
    assert chip.erases == [0] * 12
    assert flash(tmp_path, data, chip, *option.split()).exit_code == 0


def test_all_objections_are_reported_at_once(tmp_path: Path) -> None:
    text = refused(flash(tmp_path, bundle("0.1.0", hardware="other", signed_by=None), memory(BOX)))
    for word in ("--allow other-board", "--allow downgrade", "--allow unsigned"):
        assert word in text


def test_a_changed_body_is_refused_whatever_is_allowed(tmp_path: Path) -> None:
    data = bytearray(bundle())
    data[-1] ^= 1
    chip = memory(BOX)
    assert "SHA-256" in refused(flash(tmp_path, bytes(data), chip, "--allow=unsigned"))
    assert chip.erases == [0] * 12


def test_a_named_key_overrules_the_boot_loaders(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = key("mine").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "mine.pub").write_bytes(public)
    options = ("--public-key", str(tmp_path / "mine.pub"))
    assert "mine.pub" in refused(flash(tmp_path, bundle(), memory(BOX), *options))
    assert flash(tmp_path, bundle(signed_by="mine"), memory(BOX), *options).exit_code == 0


def test_a_bare_file_needs_permission_and_an_address(tmp_path: Path) -> None:
    chip = F405Memory()
    data = boot_loader()
    assert "--allow unsigned" in refused(flash(tmp_path, data, chip, name="x.bin"))
    assert "needs --address" in refused(flash(tmp_path, b"\0" * 64, chip, "--allow=unsigned", name="x.bin"))
    assert flash(tmp_path, data, chip, "--allow=unsigned", name="x.bin").exit_code == 0
    assert bytes(chip.flash[: len(data)]) == data
    there = ("--address", "0x08100000", "--allow=unsigned")
    assert "does not lie within" in refused(flash(tmp_path, b"\1" * 8, chip, *there, name="x.bin"))


def test_the_same_port_opens_repeatedly(tmp_path: Path) -> None:
    """A pty keeps its settings, and glibc refuses parity on it when nothing else changes."""
    with RomBootLoader(memory(BOX)) as rom:
        for _ in range(3):
            result = CliRunner().invoke(chip_command.command, ["--port", rom.path])
            assert result.exit_code == 0, result.exception


def test_chip_only_asks() -> None:
    with RomBootLoader(memory(BOX)) as rom:
        result = CliRunner().invoke(chip_command.command, ["--port", rom.path])
    assert result.exit_code == 0 and "slot a: 1.0.0" in result.output
    assert "written" not in result.output


def notes_of(layout: Layout) -> str:
    with RomBootLoader(memory(layout)) as rom:
        return CliRunner().invoke(chip_command.command, ["--port", rom.path]).stderr


def test_chip_says_which_slot_starts() -> None:
    """Another programmer that writes slot A alone loses to slot B of the same version."""
    one, two = image(Slot.A, "1.0.0"), image(Slot.B, "1.0.0")
    assert not notes_of(BOX)
    assert "both slots hold 1.0.0: the last one that was updated" in notes_of(Layout(boot_loader(), one, two))
    assert not notes_of(Layout(boot_loader(), one, image(Slot.B, "1.0.1")))
    bare = notes_of(Layout(boot_loader(), one[512:], two))
    assert "slot A holds something without a header, so it does not start" in bare
    assert not notes_of(Layout(b"", one[512:]))


def test_an_image_without_header_is_refused(tmp_path: Path) -> None:
    """`firmware_a.elf` and `firmware_a.bin` of a build: the boot loader would not start them."""
    chip, before = memory(BOX), BOX.flash()
    options = ("--address", "0x08020000", "--allow=unsigned")
    text = refused(flash(tmp_path, image(Slot.A)[512:], chip, *options, name="firmware_a.bin"))
    assert "would be in slot A without the header" in text and text.endswith("Nothing was written")
    assert chip.flash == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["x"],
        ["x", "--dfu", "--port", "p"],
        ["--dfu"],
        ["--protect", "--dfu"],
        ["x", "--dfu", "--protect"],
        ["--protect", "--port", "p"],
    ],
)
def test_a_wrong_use_ends_with_two(arguments: list[str]) -> None:
    assert CliRunner().invoke(command, arguments).exit_code == 2


@pytest.mark.parametrize("arguments", [[], ["--dfu", "--port", "p"]])
def test_chip_wants_one_connection(arguments: list[str]) -> None:
    assert CliRunner().invoke(chip_command.command, arguments).exit_code == 2


def test_no_such_file_is_one_clear_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [str(tmp_path / "none.opqfw"), "--dfu"])
    assert "No such file" in refused(result)


def test_a_terminal_gets_a_bar_and_pipes_none(tmp_path: Path) -> None:
    path = tmp_path / "x.opqfw"
    path.write_bytes(bundle(size=60_000))
    line = [sys.executable, "-m", "opq_tools.cli", "flash", str(path), "--port"]
    with RomBootLoader(memory(BOX)) as rom:
        quiet = subprocess.run([*line, rom.path], capture_output=True, text=True, timeout=240, check=True)
    assert "\x1b" not in quiet.stdout + quiet.stderr
    ours, theirs = pty.openpty()
    shown = b""
    with RomBootLoader(memory(BOX)) as rom:
        running = subprocess.Popen([*line, rom.path], stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        with suppress(OSError):  # EIO: it has ended. A pty that is not read holds a slow run up
            while data := os.read(ours, 1 << 16):
                shown += data
        assert running.wait(240) == 0
    assert b"writing slot A" in shown
    os.close(ours)
