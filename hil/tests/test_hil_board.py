"""The board backend with the real firmware behind its port: an emulator in real time is the bench."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from opq_hil.backends.backend import Backend
from opq_hil.backends.board import BoardBackend
from opq_hil.backends.firmware import Firmware, board_firmware
from opq_hil.suites.catalogue import play_all
from opq_hil.suites.sampling import SCENARIOS
from opq_hil.suites.scenario import FirmwareScenario
from opq_hil.world.world import NS_PER_S, Sine, World


@pytest.mark.slow  # the scenario always runs on the emulator itself
def test_a_bench_board_boots_alone(
    hil_backend: Backend, hil_firmware: Mapping[str, Firmware], tmp_path: Path
) -> None:
    """The other board is not asked for."""
    if not hil_backend.deterministic:
        pytest.skip("needs an emulator to stand in for a bench")
    boots = next(scenario for scenario in SCENARIOS if scenario.name == "boots")
    world = World(600 * NS_PER_S, mains=Sine())
    with hil_backend.live(hil_firmware["opqbox"].image, world, tmp_path / "live") as box:
        flashed = {"opqbox": board_firmware(Path(), "opqbox")}
        bench = BoardBackend(str(box.port), now_s=box.now_s)
        # a busy machine plays the emulator late and loses samples on the pty; no bench does
        for attempt in range(4):
            (verdict,) = play_all([boots], bench, flashed, tmp_path / f"bench{attempt}")
            if verdict.outcome == "passed":
                break
        (other,) = play_all([wanting("pyboard_f405")], bench, flashed, tmp_path / "bench")
    assert verdict.outcome == "passed", verdict.reason
    assert [name for name in verdict.figures if "sampling" in name] == ["opqbox_sampling_s"]
    assert other.outcome == "skipped" and "the bench has opqbox" in other.reason


def wanting(board: str) -> FirmwareScenario:
    return FirmwareScenario(
        "wanting", "any board", lambda bench: {"ran": str(bench.run(World(NS_PER_S), board).folder)}
    )
