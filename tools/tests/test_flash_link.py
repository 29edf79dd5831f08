"""Update in place over the serial link, against a Box-side fake; the firmware itself is asked in hil."""

import json
import os
import re
import subprocess
import tty
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result
from flash_under_test import bundle, image
from updating_box import UpdatingBox

from opq_proto.errors import OpqError
from opq_proto.firmware.image import Slot, pack_bundle
from opq_proto.link.messages import LINK_BAUD, Operation
from opq_sim.box.wire_faults import LineFaults
from opq_tools.firmware.flash import box_link, chip_command, in_place, rom
from opq_tools.firmware.flash.box_link import BoxLink
from opq_tools.firmware.flash.flash_command import command
from opq_tools.firmware.flash.protection import offer_protection
from opq_tools.firmware.flash.serial_line import SerialLine


def flash(tmp_path: Path, box: UpdatingBox, data: bytes, *options: str) -> Result:
    (tmp_path / "x.opqfw").write_bytes(data)
    return CliRunner().invoke(command, [str(tmp_path / "x.opqfw"), "--link", box.path, *options])


def refused(result: Result) -> str:
    """The one line that the user reads."""
    assert isinstance(result.exception, OpqError), result.exception
    return str(result.exception)


def test_the_free_slots_image_is_confirmed(tmp_path: Path) -> None:
    with UpdatingBox() as box:
        result = flash(tmp_path, box, bundle(size=20_000), "--json")
    found = json.loads(result.stdout)
    assert (found["done"], found["verified"], found["written_bytes"]) == (True, True, 20_512)
    assert "slot B runs 1.2.3, confirmed" in found["notes"][0]
    assert box.image == image(Slot.B, size=20_000)
    assert box.operations == [Operation.UPDATE_BEGIN, Operation.UPDATE_END]


def test_lost_and_corrupted_frames_cost_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_link, "ANSWER_S", 0.4)
    with UpdatingBox(faults=LineFaults(corruption=1e-4, dropping=1e-4, seed=3)) as box:
        result = flash(tmp_path, box, bundle(size=20_000), "--json")
    found = json.loads(result.stdout)
    assert found["done"] and found["retries"] > 0
    assert box.image == image(Slot.B, size=20_000)


def test_a_box_on_trial_is_waited_for(tmp_path: Path) -> None:
    with UpdatingBox(on_trial_answers=3) as box:
        assert flash(tmp_path, box, bundle()).exit_code == 0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bundle(hardware="pyboard_f405"), "it is for pyboard_f405, this is opqbox (--allow other-board)"),
        (bundle("0.9.0"), "older than the 1.0.0 there (--allow downgrade)"),
        (bundle(signed_by=None), "image B is not signed (--allow unsigned)"),
    ],
)
def test_objections_are_reported_before_sending(tmp_path: Path, data: bytes, words: str) -> None:
    with UpdatingBox() as box:
        text = refused(flash(tmp_path, box, data))
    assert words in text and text.endswith("Nothing was written")
    assert box.operations == []


@pytest.mark.parametrize(
    ("data", "option", "words"),
    [
        (bundle(signed_by=None), "--allow=unsigned", "not signed"),
        (bundle("0.9.0"), "--allow=downgrade", "older than what the Box has confirmed"),
        (bundle(signed_by="somebody"), "--allow=unsigned", "signed by another key"),
    ],
)
def test_the_boxs_own_refusal_is_in_words(tmp_path: Path, data: bytes, option: str, words: str) -> None:
    with UpdatingBox() as box:
        text = refused(flash(tmp_path, box, data, option))
    assert words in text and "keeps the firmware that it has (1.0.0)" in text


def test_a_boot_loader_in_recovery_takes_firmware(tmp_path: Path) -> None:
    with UpdatingBox(firmware="boot 1.0.0: recovery pin", hardware="opqbox", in_recovery=True) as box:
        found = json.loads(flash(tmp_path, box, bundle(), "--json").stdout)
    assert found["done"] and not found["started"]
    assert "take the jumper off and reset" in found["notes"][0]


def test_unhealthy_firmware_is_reported_as_rolled_back(tmp_path: Path) -> None:
    with UpdatingBox(healthy=False) as box:
        assert "rolled back" in refused(flash(tmp_path, box, bundle()))


def test_a_silent_box_keeps_its_firmware(tmp_path: Path) -> None:
    with UpdatingBox(falls_silent_at=4096) as box:
        text = refused(flash(tmp_path, box, bundle(size=20_000)))
    at = re.search(r"no answer to byte (\d+), 10 times", text)  # sooner where the machine stops
    assert at is not None and int(at[1]) <= 4096 and "run the same command again" in text


def test_an_unconfirmed_end_is_not_called_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Box keeps its firmware: the end of the update did not come to it."""
    monkeypatch.setattr(in_place, "RESTART_S", 0.3)
    with UpdatingBox(falls_silent_at=len(image(Slot.B))) as box:
        text = refused(flash(tmp_path, box, bundle()))
        assert box.firmware == "1.0.0" and Operation.UPDATE_END not in box.operations
    assert "did not confirm the end of the update: it goes on with 1.0.0 unless it starts again" in text
    assert "opq-tools chip, and run the same command again" in text


def test_a_file_without_the_slots_image_is_refused(tmp_path: Path) -> None:
    with UpdatingBox() as box:
        only_a = pack_bundle({Slot.A: image(Slot.A)})
        assert "wants the image for slot B" in refused(flash(tmp_path, box, only_a))


def test_a_bare_file_goes_into_no_box(tmp_path: Path) -> None:
    with UpdatingBox() as box:
        data = bytes.fromhex("00000220 01010008".replace(" ", "")).ljust(64, b"\1")
        assert "takes .opqfw files only" in refused(flash(tmp_path, box, data, "--allow=unsigned"))


def test_nobody_at_the_port_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_link, "HELLO_S", 0.3)
    with UpdatingBox(falls_silent_at=0) as box:
        text = refused(flash(tmp_path, box, bundle()))
    assert "no Box sends Hello" in text and "Nothing was written" in text


@pytest.mark.parametrize(
    ("way", "limit"), [("--link", (box_link, "HELLO_S")), ("--port", (rom, "GIVE_UP_S"))]
)
def test_another_program_at_the_port_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, limit: tuple[ModuleType, str]
) -> None:
    """zephyrproject-rtos/zephyr 9509: a terminal program that was left open took the answers."""
    monkeypatch.setattr(*limit, 0.1)
    (tmp_path / "x.opqfw").write_bytes(bundle())
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    try:
        with subprocess.Popen(["sleep", "600"], stdin=theirs) as other:
            result = CliRunner().invoke(command, [str(tmp_path / "x.opqfw"), way, os.ttyname(theirs)])
            other.kill()
    finally:
        os.close(ours)
        os.close(theirs)
    assert f"has this port open, too: sleep (process {other.pid}); end that first. No " in refused(result)


def test_chip_reports_board_and_firmware() -> None:
    with UpdatingBox() as box:
        result = CliRunner().invoke(chip_command.command, ["--box", box.path])
    assert "hardware: opqbox" in result.output and "firmware: 1.0.0" in result.output


def protect(box: UpdatingBox, *options: str) -> Result:
    return CliRunner().invoke(command, ["--protect", "--link", box.path, *options])


def test_protection_is_set_without_a_file() -> None:
    with UpdatingBox() as box:
        found = json.loads(protect(box, "--json").stdout)
        again = protect(box)
    assert found["protection"] == {"brown_out_level": "2.70 V", "protected_sectors": "sectors 0, 1"}
    assert box.protection == (3, 3)
    assert "brown out level: 2.70 V\nprotected sectors: sectors 0, 1\n" in again.output
    assert [words for operation, words in box.asked if operation == Operation.PROTECT] == ["", "3 3", "", ""]


def test_what_is_protected_beyond_it_stays() -> None:
    with UpdatingBox(protection=(3, 0b1011)) as box:
        result = protect(box)
    assert "protected sectors: sectors 0, 1, 3\n" in result.output and box.protection == (3, 0b1011)


@pytest.mark.parametrize(
    ("box", "within_s", "words"),
    [
        (UpdatingBox(protection=None), 3.0, "its firmware does not report its option bytes: update it first"),
        (UpdatingBox(protects=False), 120.0, "the Box does not set its option bytes (failed, not set)"),
    ],
)
def test_unset_protection_is_an_error(
    monkeypatch: pytest.MonkeyPatch, box: UpdatingBox, within_s: float, words: str
) -> None:
    monkeypatch.setattr("opq_tools.firmware.flash.protection.ANSWER_S", within_s)
    with box:
        assert words in refused(protect(box))


def test_an_update_off_terminal_keeps_option_bytes(tmp_path: Path) -> None:
    with UpdatingBox() as box:
        found = json.loads(flash(tmp_path, box, bundle(), "--json").stdout)
    assert found["protection"] == {} and box.protection == (0, 0)


@pytest.mark.parametrize(("answer", "left"), [(True, (3, 3)), (False, (0, 0))])
def test_on_a_terminal_it_is_shown_and_asked(answer: bool, left: tuple[int, int]) -> None:
    asked: list[str] = []

    def ask(question: str) -> bool:
        asked.append(question)
        return answer

    with UpdatingBox() as box:
        line = SerialLine(box.path, LINK_BAUD)
        found = offer_protection(BoxLink(line), None, ask)
        line.close()
    assert (found.level, found.sectors) == box.protection == left
    assert asked == [
        "Option bytes: brown out level off; protected sectors none. "
        "Set them to brown out level 2.70 V; protected sectors sectors 0, 1?"
    ]
