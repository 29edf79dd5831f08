"""The board backend: its capture, fixtures, and every scenario on an emulator that stands in for a board."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from board_stand_in import BoardStandIn

from opq_hil.backends.backend import Backend, BackendError, Fixtures, Image
from opq_hil.backends.board import BoardBackend
from opq_hil.backends.firmware import Firmware, board_firmware
from opq_hil.suites.catalogue import SCENARIOS, chosen, play_all
from opq_hil.suites.line_faults import logged
from opq_hil.suites.scenario import FirmwareScenario
from opq_hil.world.world import NS_PER_S, PowerScript, World
from opq_proto.link.messages import Hello, Log
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost

GPS_SIMULATOR = "a GPS simulator at the board's receiver"
WAVEFORM = "a waveform source at its mains input"
NEEDS: Mapping[str, str] = {
    "dip": WAVEFORM,
    **dict.fromkeys(
        ("cold_start", "loss_and_return", "bad_pulses", "wrong_label", "late_labels", "lost_weeks"),
        f"{GPS_SIMULATOR}, {WAVEFORM}",
    ),
    "leap_second": f"{GPS_SIMULATOR}, {WAVEFORM}",
    **dict.fromkeys(("fast", "slow", "temperature_ramp"), "an oscillator that can be tuned"),
    **dict.fromkeys(("battery", "brown_out"), "an adjustable supply and battery"),
    **dict.fromkeys(("corrupted_line", "live_corrupted"), "noise on its line"),
}
"""Scenario -> what it says that the bench needs. All others pass on a bench with relay and programmer."""
COMMANDED = {
    **dict.fromkeys(
        ("few_cuts", "cuts_settings", "cuts_update"), "a relay in its power supply (--power-command)"
    ),
    "other_programmer": "a programmer at the board (--program-command)",
}
ATTEMPTS = 4
"""A busy machine plays the emulator late and loses samples on its pty; no bench does."""
EVERY = [pytest.param(name, marks=pytest.mark.slow) for name, each in SCENARIOS.items() if not each.soak]


def test_a_capture_has_the_boxs_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins with the first message of the new start, and has none of the start before."""
    monkeypatch.setattr("opq_hil.backends.board.RESET_S", 60.0)
    monkeypatch.setattr("opq_hil.backends.board.UP_S", 60.0)
    with BoxHost([Box("1")]) as host:
        image = Image("opqbox", tmp_path / "none", "spi2")
        bench = BoardBackend(host.ports["1"])
        run = bench.run(image, World(NS_PER_S), tmp_path / "run", wall_limit_s=60)
    first, second = (received.message for received in run.capture.received[:2])
    assert isinstance(first, Log) and isinstance(second, Hello)
    assert len(logged(run, "box.started")) == 1
    assert run.capture.fresh[0].first_sample == 0


def test_a_scenario_names_its_fixture(tmp_path: Path) -> None:
    """Whatever it cannot play is known before the board is touched: the port here leads nowhere."""
    names = sorted(NEEDS)
    bench = BoardBackend(str(tmp_path / "none"), fixtures=Fixtures("relay", "programmer"))
    for verdict in play_all(
        chosen(names), bench, {"opqbox": board_firmware(Path(), "opqbox")}, tmp_path / "out"
    ):
        assert verdict.outcome == "skipped" and NEEDS[verdict.scenario.name] in verdict.reason, verdict.reason
    without = BoardBackend(str(tmp_path / "none"))
    for verdict in play_all(
        chosen(list(COMMANDED)), without, {"opqbox": board_firmware(Path(), "opqbox")}, tmp_path
    ):
        assert verdict.outcome == "skipped" and COMMANDED[verdict.scenario.name] in verdict.reason


def test_a_relays_command_gets_its_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opq_hil.backends.board.OFF_S", 0.0)
    words = tmp_path / "words"
    with BoxHost([Box("1")]) as host:
        bench = BoardBackend(
            host.ports["1"], fixtures=Fixtures(f"sh -c 'echo $0 >> {words}'", f"sh -c 'echo {{}} >> {words}'")
        )
        assert bench.why_not(World(NS_PER_S, power=PowerScript(cut_ns=1))) is None
        bench.cut_power()
        monkeypatch.setattr("opq_hil.backends.board.CONFIRM_S", 0.0)
        with pytest.raises(
            BackendError, match=r"flash.hex: not confirmed within"
        ):  # this Box confirms nothing
            bench.program(tmp_path / "flash.hex")
    assert words.read_text().split() == ["off", "on", str(tmp_path / "flash.hex")]


@pytest.fixture(scope="module")
def stand_in(
    hil_backend: Backend, hil_firmware: Mapping[str, Firmware], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BoardStandIn]:
    if not hil_backend.deterministic:
        pytest.skip("needs an emulator to stand in for a board")
    folder = tmp_path_factory.mktemp("board") / "board"
    with BoardStandIn(hil_backend, hil_firmware, folder) as board:
        yield board


@pytest.mark.parametrize("name", EVERY)
def test_a_board_plays_every_scenario(
    name: str, stand_in: BoardStandIn, hil_firmware: Mapping[str, Firmware], tmp_path: Path
) -> None:
    flashed = {"opqbox": hil_firmware["opqbox"]}
    for attempt in range(ATTEMPTS):
        (verdict,) = play_all([SCENARIOS[name]], stand_in.bench, flashed, tmp_path / str(attempt))
        if verdict.outcome != "failed":
            break
    if name in NEEDS:
        assert verdict.outcome == "skipped" and NEEDS[name] in verdict.reason, verdict.reason
    else:
        assert verdict.outcome == "passed", verdict.reason


@pytest.mark.slow
def test_a_bench_has_one_board(
    stand_in: BoardStandIn, hil_firmware: Mapping[str, Firmware], tmp_path: Path
) -> None:
    other = FirmwareScenario(
        "other", "any", lambda bench: {"ran": str(bench.run(World(NS_PER_S), "pyboard_f405").folder)}
    )
    (verdict,) = play_all([other], stand_in.bench, hil_firmware, tmp_path)
    assert verdict.outcome == "skipped" and "the bench has opqbox" in verdict.reason
