"""A board's facts are in its board.toml, also of a board outside this repository."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from model_box import ModelBox

from opq_hil.backends import debugging
from opq_hil.backends.backend import BackendError, Image, backend
from opq_hil.backends.boards import BOARDS, EMULATED, FILE, board_folders, read_board
from opq_hil.backends.firmware import Firmware, FirmwareError, flashed_firmware, read_firmware
from opq_hil.backends.our_sources import our_source
from opq_hil.suites.catalogue import SCENARIOS, chosen, play_all
from opq_hil.world.world import INTERNAL, Sine
from opq_proto.errors import ConfigError, OpqError
from opq_proto.firmware.image import Slot, read_header
from opq_tools.firmware.firmware_command import build_command as firmware_build
from opq_tools.hil.built_firmware import firmware_for
from opq_tools.hil.scenarios import run as hil_run

CHANGES = {"hse_hz = 12_000_000": "hse_hz = 16_000_000", 'led_fault = "PB5"': 'led_fault = ""'}


def own_board(parent: Path, changes: Mapping[str, str] = CHANGES, name: str = "garden_box") -> Path:
    """A folder outside the repository: the Box with another oscillator and without a lamp."""
    text = (board_folders(our_source("device"))["opqbox"] / FILE).read_text(encoding="utf-8")
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    folder = parent / name
    folder.mkdir()
    (folder / FILE).write_text(text, encoding="utf-8")
    return folder


def test_a_header_has_the_boards_facts(tmp_path: Path) -> None:
    macros = dict(re.findall(r"#define OPQ_BOARD_(\w+) (.+)\n", read_board(own_board(tmp_path)).header()))
    assert macros["NAME"] == '"garden_box"' and macros["HSE_HZ"] == "16000000u"
    assert macros["LINK_TX"] == "OPQ_PIN(A, 9)" and macros["LED_FAULT"] == "OPQ_PIN_NONE"
    assert macros["CONVERTER_INTERNAL"] == "0" and "EXTERNAL_V_PER_LSB" not in macros
    discovery = BOARDS["disco_f407"].header()
    assert "#define OPQ_BOARD_INTERNAL_V_PER_LSB 0.018235f\n" in discovery
    assert "#define OPQ_BOARD_INTERNAL_LINEAR_LSB 30500\n" in discovery


def test_a_larger_chip_holds_more(tmp_path: Path) -> None:
    macros = dict(re.findall(r"#define OPQ_BOARD_(\w+) (.+)\n", BOARDS["nucleo_f429zi"].header()))
    assert macros["SRAM_BYTES"] == "196608" and macros["RING_SAMPLES"] == str(5 * 12_000)
    assert macros["MORE_HEAP_BYTES"] == "16384"
    smallest = dict(re.findall(r"#define OPQ_BOARD_(\w+) (.+)\n", BOARDS["opqbox"].header()))
    assert (smallest["SRAM_BYTES"], smallest["MORE_HEAP_BYTES"]) == ("131072", "0")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"sram_bytes = 122880": "sram_bytes = 188416"},
            "budget.sram_bytes  is 188416; the STM32F405RG has 131072",
        ),
        ({"[budget]": "[memory]\nring_s = 7.0\n[budget]"}, "memory.ring_s  is 7.0; want from 3.2 to 6"),
        ({"[budget]": "[memory]\nring_s = 5.0\n[budget]"}, "memory  needs an STM32F427 to 439"),
        (
            {"F405RG": "F427VI", "[budget]": "[memory]\nring_s = 5.05\n[budget]"},
            "memory.ring_s  is 5.05; want whole tenths of a second",
        ),
        (
            {"F405RG": "F427VI", "[budget]": "[memory]\nmore_heap_bytes = 8\n[budget]"},
            "memory.more_heap_bytes  is 8; want 0, or at least 1024",
        ),
        ({'chip = "STM32F405RG"': 'chip = "STM32F446RE"'}, "chip  is 'STM32F446RE'; want an STM32F405, 407"),
        ({'pps = "PA0" ': 'pps = "PE0" '}, "pins.pps  is 'PE0'; want a pin of ports A to D, such as PA9"),
        ({"hse_hz": "hse_mhz"}, 'clock.hse_mhz  unknown key; did you mean "hse_hz"?'),
        ({"pvd_level = 7 ": "pvd_level = 3 "}, "clock.pvd_level  is 3; want from 6 to 7"),
        ({"[budget]": "[budgets]"}, "budget  missing: a table with flash_bytes"),
        ({"[clock]": "clock = 1\n[clocks]"}, "clock  missing: a table with hse_hz"),
        ({'chip = "STM32F405RG"': "chip ="}, "Invalid value"),
    ],
)
def test_a_wrong_fact_is_named(changes: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_board(own_board(tmp_path, changes))
    assert words in str(caught.value) and str(tmp_path) in str(caught.value)


def test_all_wrong_facts_are_reported_at_once(tmp_path: Path) -> None:
    changes = {"tcxo = true": "tcxo = 1", 'repl = "PC9" ': 'repl = "C9" '}
    folder = own_board(tmp_path, changes, "Garden-Box")
    done = CliRunner().invoke(firmware_build, ["--board-dir", str(folder)])
    assert isinstance(done.exception, ConfigError)
    text = str(done.exception)
    assert "3 problems" in text and "the folder's name is Garden-Box" in text
    assert "clock.tcxo  is 1; want true or false" in text and "pins.repl  is 'C9'" in text


def test_a_folder_without_a_board_is_reported(tmp_path: Path) -> None:
    done = CliRunner().invoke(hil_run, ["--board-dir", str(tmp_path), "--backend", "qemu", "boots"])
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception) == f"{tmp_path / FILE}: No such file or directory"


def test_a_build_brings_its_boards_facts(tmp_path: Path) -> None:
    """An emulator has the crystal and channel of what was built, whatever its name."""
    folder = own_board(tmp_path)
    for name in ("flash.bin", "firmware.opqfw"):
        (folder / name).write_bytes(b"")
    (tmp_path / "opqbox").mkdir()
    (tmp_path / "opqbox" / "flash.bin").write_bytes(b"")
    (tmp_path / "not a board").mkdir()
    (tmp_path / "not a board" / "flash.bin").write_bytes(b"")
    found = read_firmware(tmp_path)
    assert set(found) == {"garden_box", "opqbox"}
    assert found["garden_box"].image.board == read_board(folder)
    assert found["opqbox"].image.board == BOARDS["opqbox"]


def test_a_renamed_build_is_left_out(tmp_path: Path) -> None:
    """And reported; what was asked for is an error."""
    for name, changes in (("garden_box", {"tcxo = true": "tcxo = 1"}), ("opqbox.bak", {})):
        (own_board(tmp_path, changes, name) / "flash.bin").write_bytes(b"")
    reported: list[str] = []
    with pytest.raises(FirmwareError, match=r"no board's flash\.bin"):
        read_firmware(tmp_path, reported.append)
    wrong, renamed = reported
    assert f"{tmp_path / 'garden_box'} is left out" in wrong and "the folder's name is opqbox.bak" in renamed
    (tmp_path / "opqbox").mkdir()
    (tmp_path / "opqbox" / "flash.bin").write_bytes(b"")
    assert set(read_firmware(tmp_path)) == {"opqbox"}
    asked = read_board(own_board(tmp_path / "opqbox"))
    with pytest.raises(FirmwareError, match=r"(?s)no flash\.bin of garden_box in it.*clock\.tcxo  is 1"):
        flashed_firmware(tmp_path, asked)


def test_mains_are_at_the_boards_own_converter(tmp_path: Path) -> None:
    assert Image(BOARDS["opqbox"], tmp_path).sine() == Sine()
    for name in ("pyboard_f405", "disco_f407", "nucleo_f429zi"):
        image = Image(BOARDS[name], tmp_path)
        assert (image.converter, image.sine().converter) == (INTERNAL, INTERNAL)
        assert image.sine().offset_lsb == 2048


@pytest.mark.usefixtures("made_dip")
@pytest.mark.parametrize(
    ("name", "scenario", "why"),
    [
        ("pyboard_f405", "boots", ""),
        ("pyboard_f405", "half_minute", ""),
        ("pyboard_f405", "dip", "needs mains at spi2; pyboard_f405 has them at adc1"),
        ("nucleo_f429zi", "battery", "needs channel 11 of ADC1; nucleo_f429zi has others"),
    ],
)
def test_a_board_plays_what_its_inputs_can(name: str, scenario: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "none").write_bytes(b"")
    board = {name: Firmware(Image(BOARDS[name], tmp_path / "none"), None)}
    (verdict,) = play_all([SCENARIOS[scenario]], ModelBox(boards=(name,)), board, tmp_path / "out")
    assert (verdict.outcome, verdict.reason) == ("skipped" if why else "passed", why)


@pytest.mark.slow  # the build of one more board: half a minute of CPU
@pytest.mark.timeout(3600)
def test_an_own_board_runs_in_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built from a folder outside the repository; its clock has another oscillator, its updates its name."""
    monkeypatch.delenv("OPQ_FIRMWARE_DIR", raising=False)
    folder = own_board(tmp_path)
    try:
        qemu, built = backend("qemu", board=folder.name), firmware_for(board_dir=folder)
    except OpqError as error:
        pytest.skip(str(error))
    assert read_header(built[folder.name].images()[Slot.A]).hardware == folder.name
    for verdict in play_all(chosen(["boots", "good_update"]), qemu, built, tmp_path / "out"):
        assert verdict.outcome == "passed", verdict.reason


def test_a_debugged_board_has_its_own_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debugging, "find_qemu", lambda _: SimpleNamespace(path=Path("qemu")))
    board = read_board(own_board(tmp_path))
    machine = debugging.qemu_server(tmp_path, tmp_path / "f", tmp_path / "w", 1, board)[2]
    assert "hse-hz=16000000" in machine.split(",") and "mains-channel=10" in machine.split(",")


def test_renode_has_the_platform_of_ours(tmp_path: Path) -> None:
    words = f"{EMULATED[0]} and {EMULATED[1]}, not of"
    with pytest.raises(BackendError, match=f"{words} garden_box"):
        backend("renode", board="garden_box")
    with pytest.raises(BackendError, match=f"{words} disco_f407"):
        debugging.renode_server(tmp_path, tmp_path, tmp_path, 1, BOARDS["disco_f407"])
