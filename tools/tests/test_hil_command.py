"""`opq-tools hil` and what builds ahead for it: what is wrong is said before minutes are spent."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from model_box import ModelBox

from opq_hil.backends.backend import Backend, BackendError, Image
from opq_hil.backends.boards import BOARDS
from opq_hil.backends.firmware import Firmware, FirmwareError
from opq_hil.suites.catalogue import SCENARIOS
from opq_hil.suites.digests import read_digests
from opq_hil.suites.scenario import ScenarioVerdict
from opq_proto.errors import ConfigError, OpqError
from opq_sim.faults.draws import draw_cloud
from opq_sim.faults.runner import SeedLog
from opq_sim.faults.suites import SUITES
from opq_tools.firmware.sources import COPY, DEVICE, copy_sources
from opq_tools.hil import built_firmware, faults, playing
from opq_tools.hil.digests import kept_digests
from opq_tools.hil.hil_command import command
from opq_tools.hil.playing import Bench


def hil(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, list(map(str, arguments)))


def test_the_scenario_list_is_one_json_document() -> None:
    rows = json.loads(hil("list", "--json").stdout)
    assert [row["name"] for row in rows] == [*SCENARIOS, *SUITES]
    assert all(row["suite"] in "AB" and row["shows"] for row in rows)


def test_a_wheel_names_the_clone_for_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(SUITES) == list(faults.FAULT_SUITES)
    monkeypatch.setattr(faults, "find_spec", lambda _: None)
    assert [row["name"] for row in json.loads(hil("list", "--json").stdout)] == [*SCENARIOS]
    with pytest.raises(faults.NoFaultWorldsError, match="clone the project"):
        command.main(["faults", "clock-faults"], standalone_mode=False)


def test_run_names_the_faults_command() -> None:
    done = hil("run", "cold_start", "cloud-faults")
    assert done.exit_code == 2 and "opq-tools hil faults cloud-faults" in done.output


def test_digests_want_a_file() -> None:
    done = hil("digests", "line_noise")
    assert done.exit_code == 2 and "give --against FILE" in done.output


def test_logged_seeds_are_not_played_again(tmp_path: Path) -> None:
    log = tmp_path / "seeds.jsonl"
    verdicts = [
        {**draw_cloud(seed).document(), "ok": seed != 8, "problems": [], "figures": {"made": 5}}
        for seed in (7, 8)
    ]
    whole = "".join(json.dumps(each) + "\n" for each in verdicts)
    log.write_text(whole + '{"seed": 9, "fau')  # a kill came while this was written
    asked = (
        "faults",
        "cloud-faults",
        "--first",
        "7",
        "--seeds",
        "2",
        "--log",
        log,
        "--out",
        tmp_path / "out",
    )
    done = hil(*asked, "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["tally"]["failed_seeds"], told["tally"]["made"]) == (1, [8], 10)
    assert "2 of 2 seeds are in the log already" in done.stderr and log.read_text() == whole
    log.write_text(json.dumps({**verdicts[0], "faults": []}) + "\n")
    assert "seed 7 has other faults now" in str(hil(*asked).exception)
    log.write_text("what is this\n")
    assert "line 1: this is not a verdict" in str(hil(*asked).exception)


def test_a_verdict_is_printed_when_its_seed_ends(tmp_path: Path) -> None:
    log = SeedLog(tmp_path / "seeds.jsonl", "cloud-faults")
    verdict = {**draw_cloud(3).document(), "ok": True, "problems": [], "figures": {}}
    log.add(verdict)
    assert json.loads((tmp_path / "seeds.jsonl").read_text()) == json.loads(json.dumps(verdict))
    again = SeedLog(tmp_path / "seeds.jsonl", "cloud-faults")
    assert set(again.played) == {3} and again.played[3]["ok"] is True


def test_an_unknown_scenario_lists_the_known_ones() -> None:
    done = hil("run", "cold_strat")
    assert isinstance(done.exception, ConfigError)
    assert "cold_strat" in str(done.exception) and "cold_start" in str(done.exception)


def test_a_board_wants_a_port() -> None:
    done = hil("run", "--backend", "board", "live_commands")
    assert done.exit_code == 2
    assert "--port" in done.stderr


@pytest.mark.parametrize("name", [name for name, each in SCENARIOS.items() if each.suite == "A"])
def test_an_unfit_scenario_fails_by_name(name: str, tmp_path: Path) -> None:
    done = hil("run", "--backend", "board", "--port", tmp_path / "ttyUSB9", "--out", tmp_path / "out", name)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert f"skipped {name}" in done.stderr or "no such port" in done.stderr or "no firmware" in done.stderr


def verdict(outcome: str, **figures: int) -> ScenarioVerdict:
    return ScenarioVerdict(SCENARIOS["boots"], outcome, figures, "no firmware", Path(), 1.0, 0.0)


def test_what_was_not_played_did_not_pass(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    there = Bench(ModelBox(), {}, tmp_path)
    played = [verdict("passed", boards_skipped=3), verdict("skipped")]
    assert there.report(played, 1)
    err = capsys.readouterr().err
    found = there.document(played)
    assert (found["passed"], found["failed"], found["skipped"]) == (1, 0, 1)
    assert "1 passed, 0 failed, 1 skipped (and 3 boards)" in err and "not played: boots: no firmware" in err
    for verdicts, least in (([verdict("skipped")], 1), ([verdict("passed"), verdict("skipped")], 2)):
        assert not there.report(verdicts, least)
    assert "--at-least 2: 1 passed on model" in capsys.readouterr().err


def test_run_plays_in_each_backend_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And says which: both, one in the folder of its name, where two can run."""
    models = {name: ModelBox(name=name, version=name) for name in ("qemu", "renode")}
    boxes = {"opqbox": Firmware(Image(BOARDS["opqbox"], tmp_path / "none"), tmp_path / "none")}
    (tmp_path / "none").write_bytes(b"")
    monkeypatch.setattr(playing, "backend", lambda name, *_: models[name])
    monkeypatch.setattr(playing, "chosen_firmware", lambda *_: boxes)
    done = hil("run", "without_gps", "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.stderr
    assert [found["backend"] for found in json.loads(done.stdout)] == ["qemu", "renode"]
    assert "backend: qemu" in done.stderr and "renode: 1 passed, 0 failed, 0 skipped" in done.stderr
    assert (tmp_path / "out" / "renode" / "without_gps" / "verdict.json").exists()
    alone = hil("run", "--backend", "qemu", "without_gps", "--out", tmp_path / "alone", "--json")
    assert [found["backend"] for found in json.loads(alone.stdout)] == ["qemu"]
    monkeypatch.setattr(playing, "backend", absent)
    assert isinstance(hil("run", "without_gps", "--out", tmp_path / "none_here").exception, BackendError)


def test_every_bench_stands_before_one_plays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    models = {name: ModelBox(name=name, version=name) for name in ("qemu", "renode")}
    monkeypatch.setattr(playing, "backend", lambda name, *_: models[name])
    builds: list[Mapping[str, Firmware]] = [{}]

    def second_fails(*_: object) -> Mapping[str, Firmware]:
        if not builds:
            raise FirmwareError("no firmware for the second")
        return builds.pop()

    monkeypatch.setattr(playing, "chosen_firmware", second_fails)
    done = hil("run", "without_gps", "--out", tmp_path / "out")
    assert str(done.exception) == "no firmware for the second"
    assert "not played" not in done.stderr and not list(tmp_path.rglob("verdict.json"))


def test_a_programmer_writes_the_named_build(tmp_path: Path) -> None:
    at_board = ("run", "--backend", "board", "--port", "/dev/null", "--program-command", "false")
    done = hil(*at_board, "other_programmer", "--out", tmp_path / "out")
    assert done.exit_code == 2 and "--firmware" in done.stderr
    (tmp_path / "opqbox").mkdir()
    (tmp_path / "opqbox/flash.bin").write_bytes(b"")
    done = hil(*at_board, "other_programmer", "--out", tmp_path / "out", "--firmware", tmp_path)
    assert isinstance(done.exception, FirmwareError) and "flash.hex is not there" in str(done.exception)


def absent(name: str, *_: object) -> Backend:
    raise BackendError(f"backend {name} cannot run here: it is not installed")


def test_a_build_of_other_sources_is_not_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv("OPQ_FIRMWARE_DIR", raising=False)
    monkeypatch.setattr(built_firmware, "built_folder", lambda: tmp_path)
    monkeypatch.setattr(built_firmware, "firmware_for", lambda *_: {})
    (tmp_path / "opqbox").mkdir()
    (tmp_path / "opqbox/flash.bin").write_bytes(b"")
    copy_sources(DEVICE, tmp_path / "opqbox" / COPY)
    assert set(built_firmware.chosen_firmware(None, ("opqbox", "pyboard_f405"), print)) == {"opqbox"}
    assert built_firmware.chosen_firmware(None, ("pyboard_f405",), print) == {}
    assert capsys.readouterr().out == f"firmware: opqbox of {tmp_path}\n"
    (tmp_path / "opqbox" / COPY / "app/main.py").write_text("changed")
    assert built_firmware.chosen_firmware(None, ("opqbox",), print) == {}
    assert "built from other sources" in capsys.readouterr().out


def test_the_toolkits_digests_are_found_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_digests(kept_digests(Path("hil/digests/qemu.json")))["worlds"]
    assert kept_digests(Path("none.json")) == Path("none.json")


def test_an_impossible_folder_is_reported_early(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    done = hil("run", "--backend", "board", "--port", "/dev/null", "--out", out, "live_commands")
    assert isinstance(done.exception, OpqError)
    assert str(done.exception) == f"--out {out}: Not a directory"


@pytest.mark.parametrize(
    "module", ["opq_hil.backends.qemu_build", "opq_hil.backends.registers", "opq_tools.hil.built_firmware"]
)
def test_module_help_builds_nothing(module: str) -> None:
    line = [sys.executable, "-m", module]
    told = subprocess.run([*line, "--help"], capture_output=True, text=True, timeout=240, check=True).stdout
    assert f"Example: python -m {module}" in told
    wrong = subprocess.run([*line, "--nonsense"], capture_output=True, text=True, timeout=240, check=False)
    assert wrong.returncode == 2
