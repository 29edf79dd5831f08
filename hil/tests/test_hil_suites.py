"""The suites judge rightly: an ideal Box passes, and each fault of a Box is found and named."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from model_box import ModelBox, broken

from opq_hil.backends.backend import Image
from opq_hil.backends.boards import BOARDS, EMULATED
from opq_hil.backends.firmware import Firmware
from opq_hil.suites import recordings, ticks
from opq_hil.suites.catalogue import SCENARIOS, chosen, play_all
from opq_hil.suites.cuts import Cut, CutLog, has_header
from opq_hil.suites.scenario import (
    Bench,
    Figures,
    FirmwareScenario,
    ScenarioFailedError,
    ScenarioVerdict,
    play,
)
from opq_hil.suites.supervision import heap_marks
from opq_hil.world.world import NS_PER_S, Played, World
from opq_proto.errors import ConfigError


def firmware(folder: Path) -> dict[str, Firmware]:
    (folder / "none").write_bytes(b"")
    return {board: Firmware(Image(BOARDS[board], folder / "none"), folder / "none") for board in EMULATED}


def verdict(name: str, box: ModelBox, folder: Path) -> ScenarioVerdict:
    return play(SCENARIOS[name], box, firmware(folder), folder, time.monotonic)


@pytest.mark.parametrize("name", ["boots", "cold_start", "loss_and_return", "fast", "without_gps"])
def test_an_ideal_box_passes(name: str, tmp_path: Path) -> None:
    found = verdict(name, ModelBox(), tmp_path)
    assert found.outcome == "passed", found.reason
    stored = json.loads((tmp_path / name / "verdict.json").read_text())
    assert stored["figures"] == found.figures and stored["outcome"] == "passed"


@pytest.mark.parametrize(
    ("name", "box", "why"),
    [
        ("boots", broken(lost=(100, 2)), "1 holes, the first at sample 20000"),
        ("boots", broken(unsteady=True), "other bytes"),
        ("cold_start", broken(lost=(100, 2), reports_losses=False), "1 holes"),
        ("cold_start", broken(stamp_error_ns=1500), "off by 1500 ns"),
        ("cold_start", broken(stamp_error_ns=150, bound_ns=100), "inside the stated bound"),
        ("cold_start", broken(tick_slip=21), "not 7000 ticks apart"),
        ("cold_start", broken(refuses=True), "settings were not taken: gps=ubx, oversampling=1"),
        ("loss_and_return", broken(stamp_error_ns=250), "off by 250 ns rms"),
    ],
)
def test_each_fault_of_a_box_is_named(name: str, box: ModelBox, why: str, tmp_path: Path) -> None:
    found = verdict(name, box, tmp_path)
    assert found.outcome == "failed"
    assert why in found.reason, found.reason


def test_a_heap_leak_is_found() -> None:
    """One block a minute; one late run of the collector is not a leak."""
    assert heap_marks([34_480, *[34_416] * 900, *[34_400] * 20_700])["lowest_since_s"] == 901
    with pytest.raises(ScenarioFailedError, match="34416 bytes after a minute, 28672 at the end"):
        heap_marks([34_416 - 16 * (second // 60) + 16 for second in range(6 * 3600 + 60)])


def test_a_backends_limit_is_not_a_failure(tmp_path: Path) -> None:
    found = verdict("live_commands", ModelBox(), tmp_path)
    assert found.outcome == "failed" and found.reason.startswith("the backend failed: ")
    absent = play(SCENARIOS["boots"], ModelBox(), {}, tmp_path, time.monotonic)
    assert absent.outcome == "skipped" and "no firmware for opqbox: opq-tools firmware build" in absent.reason


def test_a_scenario_has_its_folder_first(tmp_path: Path) -> None:
    """Its settings may have been prepared by another scenario. A file that fails ends this scenario alone."""

    def writes(bench: Bench) -> Figures:
        (bench.folder / "world.bin").write_bytes(b"x")
        return {"written": (bench.folder / "none" / "world.bin").write_bytes(b"x")}

    scenario = FirmwareScenario("writes", "it writes before it runs", writes)
    found = play(scenario, ModelBox(), firmware(tmp_path), tmp_path, time.monotonic)
    assert (tmp_path / "writes" / "world.bin").read_bytes() == b"x"
    assert found.outcome == "failed" and "No such file" in found.reason


def test_boots_has_a_verdict_per_board(tmp_path: Path) -> None:
    both = firmware(tmp_path)
    alone = play(SCENARIOS["boots"], ModelBox(), {"opqbox": both["opqbox"]}, tmp_path / "a", time.monotonic)
    assert alone.outcome == "passed", alone.reason
    assert alone.figures["opqbox"] == "passed" and "opqbox_sampling_s" in alone.figures
    assert str(alone.figures["pyboard_f405"]).startswith("skipped: no firmware for pyboard_f405")
    torn = play(SCENARIOS["boots"], broken(unsteady=True), both, tmp_path / "b", time.monotonic)
    assert torn.reason == "opqbox failed: the same world gave other bytes; pyboard_f405 passed"


def test_two_scenarios_run_at_once_in_order(tmp_path: Path) -> None:
    reported: list[str] = []
    names = ["cold_start", "without_gps", "boots"]
    verdicts = play_all(
        chosen(names), ModelBox(), firmware(tmp_path), tmp_path, lambda v: reported.append(v.scenario.name)
    )
    assert [found.scenario.name for found in verdicts] == names and sorted(reported) == sorted(names)
    assert all(found.outcome == "passed" for found in verdicts)


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--hil-required",), 1)])
def test_a_run_without_emulator_says_so(options: tuple[str, ...], code: int) -> None:
    words = [
        *options,
        "-q",
        "-p",
        "no:cacheprovider",
        str(Path(__file__).with_name("test_hil_binary.py")),
        "-k",
        "boots",
    ]
    nothing = {**os.environ, "OPQ_QEMU": "/bin/false"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        env=nothing,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert "THE FIRMWARE DID NOT RUN" in done.stdout, done.stdout + done.stderr
    assert "not run: hil/tests/test_hil_binary.py::test_the_binary_shows[boots]" in done.stdout
    assert done.returncode == code


def test_soaks_need_a_request() -> None:
    assert not any(scenario.soak for scenario in chosen([]))
    assert any(scenario.soak for scenario in chosen([], soaks=True))
    assert {scenario.suite for scenario in chosen([], suite="B")} == {"B"}
    with pytest.raises(ConfigError, match="scenario sampel: unknown; there are boots"):
        chosen(["sampel"])


def test_names_are_words_and_lines_are_lines() -> None:
    for name, scenario in SCENARIOS.items():
        assert isinstance(scenario, FirmwareScenario) and name.isidentifier()
        assert 10 < len(scenario.line) < 100 and "\n" not in scenario.line


def test_the_saw_names_every_tick() -> None:
    saw = ticks.saw()
    assert len(set(saw.counts.tolist())) == 65_536
    assert ticks.tick_of(250) == 21 and ticks.ns_of(21) == 250.0


def test_a_recordings_place_is_exact() -> None:
    """The place of a recording is found to the sample or not at all."""
    dip = np.arange(100, 150, dtype=np.int16)
    row = np.concatenate([np.zeros(7, np.int16), dip, np.zeros(3, np.int16)])
    assert recordings.place(row, dip) == 7
    row[20] += 1
    assert recordings.place(row, dip) == -1


def test_a_captured_line_ends_in_a_ring(tmp_path: Path) -> None:
    counts = (np.sin(np.arange(12_000) * 2 * np.pi / 200) * 20_000).astype(np.int16)
    world_mains = Played(counts, loop=True)
    run = ModelBox().run(
        Image(BOARDS["opqbox"], tmp_path), World(25 * NS_PER_S, mains=world_mains), tmp_path, wall_limit_s=1
    )
    received = run.capture.fresh
    stored = recordings.through_gateway(tmp_path, run.capture.data, len(received))
    assert np.array_equal(
        np.concatenate([block.counts for block in stored]),
        np.concatenate([block.counts for block in received]),
    )
    assert [block.t_ns for block in stored[-60:]] == [block.t_ns for block in received[-60:]]


def test_an_interrupted_log_of_cuts_continues(tmp_path: Path) -> None:
    """It plays failed cuts again."""
    start = {"flash_sha256": "ab", "emulator": "QEMU"}
    path = tmp_path / "many_cuts/cuts.jsonl"
    first, second, third = (Cut("a save", operation, 1) for operation in (1, 2, 3))
    log = CutLog(path, start)
    for cut, outcome in ((first, "old"), (second, "bricked by a cut"), (third, "new")):
        log.add(cut, outcome)
    with path.open("a") as file:
        file.write('{"what": "a save", "oper')  # the power of the PC was cut
    again = CutLog(path, start)
    assert again.outcomes == {first: "old", third: "new"}
    again.add(second, "old")
    assert CutLog(path, start).outcomes == {first: "old", second: "old", third: "new"}
    with pytest.raises(ScenarioFailedError, match="its cuts began with"):
        CutLog(path, start | {"flash_sha256": "cd"})
    path.write_text("a story\n")
    with pytest.raises(ScenarioFailedError, match=r"this is not a log of cuts .*; use another --out"):
        CutLog(path, start)


def test_a_new_image_has_its_whole_header(tmp_path: Path) -> None:
    """Its first word, the magic number, is written first: 5 of 128 words may be missing behind it."""
    image, flash = bytes(range(256)) * 2 + b"body", tmp_path / "flash.bin"
    flash.write_bytes(bytes(0x80000) + image)
    assert has_header(flash, image)
    flash.write_bytes(bytes(0x80000) + image[:492] + b"\xff" * 20 + b"body")
    assert not has_header(flash, image)
