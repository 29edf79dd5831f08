"""A board of one's own (--board-dir, --hil-board-dir): what is refused, built and played."""

import subprocess
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click import Command
from click.testing import CliRunner
from model_box import ModelBox
from test_boards import own_board

from opq_hil import plugin
from opq_hil.backends import renode
from opq_hil.backends.backend import Backend, Image, backend
from opq_hil.backends.boards import BOARDS, EMULATED, board_folders, read_board, read_own_board
from opq_hil.backends.firmware import NO_FIRMWARE, Firmware
from opq_hil.backends.our_sources import our_source
from opq_hil.backends.qemu import Qemu
from opq_proto.errors import ConfigError, OpqError
from opq_tools.firmware import build, toolchain
from opq_tools.firmware.firmware_command import build_command
from opq_tools.firmware.flash.flash_command import command as flash
from opq_tools.hil import built_firmware, playing
from opq_tools.hil.debug import command as hil_debug
from opq_tools.hil.scenarios import run as hil_run


def test_an_own_board_has_another_name_than_ours(tmp_path: Path) -> None:
    done = CliRunner().invoke(hil_run, ["boots", "--board-dir", str(own_board(tmp_path, name="opqbox"))])
    assert isinstance(done.exception, ConfigError)
    assert "opqbox is one of our boards, which has other facts" in str(done.exception)
    assert read_own_board(board_folders(our_source("device"))["opqbox"]) == BOARDS["opqbox"]


@pytest.mark.parametrize(
    ("command", "words"), [(build_command, ()), (hil_run, ("boots",)), (hil_debug, ("qemu",)), (flash, ())]
)
@pytest.mark.parametrize("first", [True, False])
def test_one_option_names_the_board(
    command: Command, words: Sequence[str], first: bool, tmp_path: Path
) -> None:
    options = [("--board", "opqbox"), ("--board-dir", str(own_board(tmp_path)))]
    done = CliRunner().invoke(command, [*words, *chain(*sorted(options, reverse=first))])
    assert done.exit_code == 2 and "--board is for our boards, --board-dir for another" in done.stderr


def test_pytest_refuses_a_wrong_board_first(tmp_path: Path) -> None:
    def configured(**options: object) -> None:
        plugin.pytest_configure(cast(Any, SimpleNamespace(getoption=lambda name: options[name.strip("-")])))

    own = own_board(tmp_path)
    for board, folder, words in (
        (None, tmp_path, "board.toml: No such file"),
        ("opqbox", own, "--hil-board, for our boards"),
    ):
        with pytest.raises(pytest.UsageError, match=words):
            configured(**{"hil-board": board, "hil-board-dir": folder})
    configured(**{"hil-board": None, "hil-board-dir": own})
    configured(**{"hil-board": "opqbox", "hil-board-dir": None})


def test_an_own_board_is_built_beside_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So pytest's own board plays, and tests of one of ours have theirs."""
    monkeypatch.delenv("OPQ_FIRMWARE_DIR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))  # gets a key
    built: list[str] = []
    monkeypatch.setattr(toolchain, "find_toolchain", lambda: None)
    monkeypatch.setattr(build, "build", lambda place, *_, **__: built.append(place.name))
    monkeypatch.setattr(built_firmware, "board_firmware", lambda folder, _: folder.name)
    found = built_firmware.firmware_for(board_dir=own_board(tmp_path))
    assert built == [*EMULATED, "garden_box"] == list(found)


def test_renode_does_not_play_an_own_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is installed too; the other emulator plays on."""
    monkeypatch.setattr(renode, "find_renode", lambda: Path("renode"))
    model = ModelBox(name="qemu", version="qemu", boards=("garden_box",))
    monkeypatch.setattr(
        playing, "backend", lambda name, *more: model if name == "qemu" else backend(name, *more)
    )
    (tmp_path / "none").write_bytes(b"")
    folder = own_board(tmp_path)
    boxes = {"garden_box": Firmware(Image(read_board(folder), tmp_path / "none"), None)}
    monkeypatch.setattr(playing, "chosen_firmware", lambda *_: boxes)
    options = ["--board-dir", str(folder), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(hil_run, ["without_gps", *options])
    assert done.exit_code == 0, done.output
    assert "not of garden_box; renode does not play" in done.stderr


PLAYED = """
from opq_hil.world.strategy import when
from opq_hil.world.world import NS_PER_S, World
from opq_proto.link.messages import Hello


def test_my_board_samples(hil_bench):
    run = hil_bench.run(World(5 * NS_PER_S))
    assert run.capture.of(Hello)[-1].hardware.startswith("garden_box")
    assert when(run.capture.received, "sampling") < 2 * NS_PER_S
"""


@pytest.mark.slow  # a firmware from nothing
def test_pytest_plays_an_own_board(hil_backend: Backend, tmp_path: Path) -> None:
    """Its own oscillator and lamps, in a folder without a clone."""
    if not isinstance(hil_backend, Qemu):
        pytest.skip("for QEMU alone")
    folder = own_board(tmp_path)
    try:
        tools = toolchain.find_toolchain()
    except OpqError as error:
        pytest.skip(f"{NO_FIRMWARE}: {error}")
    build.build(folder, tools, out=tmp_path / "built", version="1.0.0")
    (tmp_path / "test_mine.py").write_text(PLAYED, encoding="utf-8")
    line = [sys.executable, "-m", "pytest", "-q", "-p", "opq_hil.plugin", "-p", "no:cacheprovider"]
    options = ["--hil-required", "--hil-board-dir", folder.name, "--hil-firmware", "built", "test_mine.py"]
    done = subprocess.run([*line, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr
