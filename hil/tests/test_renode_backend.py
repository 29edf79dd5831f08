"""The Renode backend and the robot runner, against a stand-in that records what it is told.

With a real Renode (RENODE, or on PATH) and OPQ_FIRMWARE_DIR the last test boots the Box in it.
"""

import json
import os
import sys
from pathlib import Path

import pytest

from opq_hil.backends import renode, renode_robot
from opq_hil.backends.backend import BackendError, Image, WallLimitError
from opq_hil.backends.renode import Renode, seconds
from opq_hil.suites.sampling import nothing_missed
from opq_hil.world.world import NS, World

STAND_IN = Path(__file__).with_name("stand_in_renode.py")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "renode"
    program.write_text(f"#!{sys.executable}\n" + STAND_IN.read_text())
    program.chmod(0o755)
    (tmp_path / "flash.bin").write_bytes(b"\xff")
    monkeypatch.setenv("RENODE", str(program))
    monkeypatch.setenv("OPQ_STAND_IN", str(tmp_path))
    return tmp_path


def said(bench: Path) -> list[str]:
    return [json.loads(line)[1] for line in (bench / "said.jsonl").read_text().splitlines()]


def image(bench: Path) -> Image:
    return Image("opqbox", bench / "flash.bin", "spi2")


def test_a_world_is_played_in_slices_and_its_files_are_read(bench: Path) -> None:
    run = Renode().run(image(bench), World(2 * NS + 7, gps=None), bench / "run", wall_limit_s=30)
    log, world, flash, include, *played = said(bench)
    assert log == f"logFile @{bench}/run/renode.log"
    assert world == f"$world=@{bench}/run/world.txt" and flash == f"$firmware=@{bench}/flash.bin"
    assert include.startswith("include @") and include.endswith("/hil/renode/box.resc")
    steps = [command for command in played if "RunFor" in command]
    assert steps == [f'emulation RunFor "{each}"' for each in ("1.000000000", "1.000000000", "0.000000007")]
    assert played[-1] == f'sysbus.world Save "{bench}/run"'
    assert run.capture.data == b"\1\2\3\0" and run.ended == "end"
    assert run.report["unmodelled"] == [{"address": "0x40014000", "block": "", "times": 1}]
    assert run.flash == bench / "run" / "flash.bin"


def test_what_renode_refuses_is_told_in_its_own_words(bench: Path) -> None:
    (bench / "refuses").write_text("include")
    with pytest.raises(BackendError, match="There was an error executing command"):
        Renode().run(image(bench), World(NS, gps=None), bench / "run", wall_limit_s=30)


def test_a_run_that_takes_too_long_is_ended(bench: Path) -> None:
    with pytest.raises(WallLimitError):
        Renode().run(image(bench), World(3600 * NS, gps=None), bench / "run", wall_limit_s=0.5)


def test_a_live_box_is_a_pty_that_renode_makes(bench: Path) -> None:
    with Renode().live(image(bench), World(NS, gps=None), bench / "run") as port:
        assert port == bench / "run" / "usart1"
    *_, terminal, connect, start, pause, save = said(bench)
    assert terminal == f'emulation CreateUartPtyTerminal "gateway" "{port}" true'
    assert connect == "connector Connect sysbus.usart1 gateway"
    assert (start, pause, save) == ("start", "pause", f'sysbus.world Save "{bench}/run"')


def test_no_renode_is_a_reason_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENODE", "/nonexistent/renode")
    assert "no Renode here" in (Renode().why_not(None) or "")
    assert Renode().version == "no Renode"


def test_a_folder_with_a_space_is_refused(bench: Path) -> None:
    with pytest.raises(BackendError, match="space"):
        Renode().run(image(bench), World(NS, gps=None), bench / "a run", wall_limit_s=5)


@pytest.mark.parametrize(
    ("ns", "text"), [(0, "0.000000000"), (1, "0.000000001"), (3600 * NS, "3600.000000000")]
)
def test_times_are_digits_a_dot_and_digits(ns: int, text: str) -> None:
    assert seconds(ns) == text


def test_the_robot_runner_leaves_soaks_out_and_says_when_there_is_no_renode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = renode_robot.command(Path("renode-test"), Path("/f"), Path("/r"), ["boot"])
    assert line[1].endswith("hil/renode/robot/boot.robot") and "--exclude" in line
    assert "OPQ_FIRMWARE_DIR:/f" in line
    assert "--exclude" not in renode_robot.command(Path("x"), Path("/f"), Path("/r"), ["soak"], ["soak"])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RENODE", raising=False)
    assert renode_robot.main([]) == renode_robot.NO_RENODE
    assert "no renode-test here" in capsys.readouterr().err


@pytest.mark.timeout(600)
def test_the_box_samples_in_the_real_renode(tmp_path: Path) -> None:
    if renode.find() is None:
        pytest.skip(Renode().why_not(None) or "no Renode")
    built = os.environ.get("OPQ_FIRMWARE_DIR")
    if built is None:
        pytest.skip("no built firmware: opq-tools firmware build, then OPQ_FIRMWARE_DIR")
    firmware = Image("opqbox", Path(built) / "opqbox" / "flash.bin", "spi2")
    run = Renode().run(firmware, World(8 * NS), tmp_path / "run", wall_limit_s=500)
    nothing_missed(run.capture, since_s=5.0, end_s=8.0)
