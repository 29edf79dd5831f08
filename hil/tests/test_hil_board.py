"""The board backend: its capture, fixtures, and every scenario on an emulator that stands in for a board."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from board_stand_in import BoardStandIn
from model_box import broken

from opq_hil.backends.backend import Backend, BackendError, FirmwareRun, Fixtures, Image
from opq_hil.backends.board import BoardBackend
from opq_hil.backends.boards import BOARDS
from opq_hil.backends.firmware import Firmware, FirmwareError, flashed_firmware
from opq_hil.suites.box_update import update_box
from opq_hil.suites.catalogue import SCENARIOS, chosen, play_all
from opq_hil.suites.cuts import ASK_SLOT, SAVES_AHEAD, figures_of_saves, looked_at, running_slot, saves_until
from opq_hil.suites.line_faults import logged
from opq_hil.suites.scenario import Bench, FirmwareScenario, ScenarioFailedError, SkippedError
from opq_hil.world.capture import Capture, TimedMessage
from opq_hil.world.line import BenchLine, PortLostError
from opq_hil.world.world import NS_PER_S, BitNoise, PowerScript, World
from opq_proto.firmware.image import Slot, make_image
from opq_proto.link import frames as link
from opq_proto.link.messages import Acknowledgement, Command, Hello, LinkMessage, Log, Operation, Status
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost

GPS_SIMULATOR = "a GPS simulator at the board's receiver"
WAVEFORM = "a waveform source at its mains input"
NEEDS: Mapping[str, str] = {
    "dip": WAVEFORM,
    **dict.fromkeys(
        (
            "cold_start",
            "loss_and_return",
            "bad_pulses",
            "wrong_label",
            "late_labels",
            "late_gateway",
            "lost_weeks",
        ),
        f"{GPS_SIMULATOR}, {WAVEFORM}",
    ),
    "leap_second": f"{GPS_SIMULATOR}, {WAVEFORM}",
    **dict.fromkeys(("fast", "slow", "temperature_ramp"), "an oscillator that can be tuned"),
    **dict.fromkeys(("battery", "brown_out", "discharge"), "an adjustable supply and battery"),
    "live_corrupted": "noise on its line",
}
"""Scenario -> what it says that the bench needs. All others pass on a bench with relay and programmer."""
COMMANDED = {
    **dict.fromkeys(
        ("few_cuts", "cuts_settings", "cuts_update"), "a relay in its power supply (--power-command)"
    ),
    "other_programmer": "a programmer at the board (--program-command)",
}
ATTEMPTS = 4
"""Of a scenario that ended for what LOST_ON_PTY matches."""
LOST_ON_PTY = re.compile(
    r"\d holes|[1-9]\d* missing, 0 differ|samples missing|samples lost over two|"
    r"bytes dropped: \(0, 0, [1-9]|on a clean line"
)
"""Reasons of a busy machine, which plays the emulator late and loses bytes on its pty; no bench does."""
EVERY = [pytest.param(name, marks=pytest.mark.slow) for name, each in SCENARIOS.items() if not each.soak]


def test_a_capture_has_the_boxs_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins with the first message of the new start, and has none of the start before."""
    monkeypatch.setattr("opq_hil.backends.board.RESET_S", 60.0)
    monkeypatch.setattr("opq_hil.backends.board.UP_S", 60.0)
    with BoxHost([Box("1")]) as host:
        image = Image(BOARDS["opqbox"], tmp_path / "none")
        bench = BoardBackend(host.ports["1"])
        run = bench.run(image, World(NS_PER_S), tmp_path / "run", wall_limit_s=60)
    first, second = (received.message for received in run.capture.received[:2])
    assert isinstance(first, Log) and isinstance(second, Hello)
    assert len(logged(run, "box.started")) == 1
    assert run.capture.fresh[0].first_sample == 0


def test_noise_is_made_at_this_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways; a bad frame is counted where it arrives."""
    monkeypatch.setattr("opq_hil.backends.board.RESET_S", 60.0)
    monkeypatch.setattr("opq_hil.backends.board.UP_S", 60.0)
    long = tuple(
        (NS_PER_S // 4 + number * NS_PER_S // 100, Command(number, Operation.PUT_SETTING, "x" * 200))
        for number in range(20)
    )
    noise = (BitNoise(1e-2, False, 5), BitNoise(2e-2, True, 6))
    world = World(3 * NS_PER_S, messages=long, noise=noise)
    with BoxHost([Box("1")]) as host:
        bench = BoardBackend(host.ports["1"])
        assert bench.why_not(world) is None
        image = Image(BOARDS["opqbox"], tmp_path / "none")
        run = bench.run(image, world, tmp_path / "run", wall_limit_s=60)
        clean = bench.run(image, World(NS_PER_S), tmp_path / "clean", wall_limit_s=60)
    assert run.capture.counters["crc_errors"] > 0 and clean.capture.counters["crc_errors"] == 0
    answered = {answer.command_id for answer in run.capture.of(Acknowledgement)}
    assert len(answered) < len(long)  # some commands did not arrive whole


@pytest.mark.usefixtures("made_dip")
def test_a_scenario_names_its_fixture(tmp_path: Path) -> None:
    """Whatever it cannot play is known before the board is touched: the port here leads nowhere."""
    names = sorted(NEEDS)
    bench = BoardBackend(str(tmp_path / "none"), fixtures=Fixtures("relay", "programmer"))
    for verdict in play_all(
        chosen(names), bench, {"opqbox": flashed_firmware(None, BOARDS["opqbox"])}, tmp_path / "out"
    ):
        assert verdict.outcome == "skipped" and NEEDS[verdict.scenario.name] in verdict.reason, verdict.reason
    without = BoardBackend(str(tmp_path / "none"))
    for verdict in play_all(
        chosen(list(COMMANDED)), without, {"opqbox": flashed_firmware(None, BOARDS["opqbox"])}, tmp_path
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


class ScriptedLine(BenchLine):
    """A line without a port; each read takes a second. The Box acknowledges `saves`, then it is gone."""

    def __init__(self, saves: int) -> None:
        self.clock_s = 0.0
        super().__init__("scripted", lambda: self.clock_s)
        self.saves = saves
        self.asked: list[str] = []

    def request(self, operation: Operation, argument: str = "") -> int:
        self.asked.append(argument)
        return len(self.asked)

    def read(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        self.clock_s += 1.0
        if self.saves < 0:
            return
        if len(self.received) == self.saves:
            raise PortLostError("the port is gone")
        self.received.append(TimedMessage(0, 0, Acknowledgement(len(self.received) + 1, Status.DONE)))


def test_saves_go_on_until_the_cut() -> None:
    """So that a cut falls into one, though a relay takes longer than a save."""
    line = ScriptedLine(saves=3)
    assert saves_until(line, lambda: False) == (3, 3 + SAVES_AHEAD)
    assert line.asked == [f"led_percent={save}" for save in range(1, 4 + SAVES_AHEAD)]
    assert figures_of_saves(["new", "old"], 3) == {"cuts": 2, "saves": 3, "old": 1, "new": 1}
    for outcomes, saves in ((["new", "new"], 3), (["old"], 0)):
        with pytest.raises(SkippedError, match="no cut fell into a save"):
            figures_of_saves(outcomes, saves)


def test_a_port_may_go_with_the_supply() -> None:
    """As that of a converter which the Box feeds: what was acknowledged by then counts."""
    ours, theirs = os.openpty()
    port = os.ttyname(theirs)
    with BenchLine(port) as line:
        os.close(theirs)
        os.close(ours)
        assert saves_until(line, lambda: False) == (0, 0)


@pytest.mark.parametrize(
    ("answer", "runs"),
    [
        (Acknowledgement(ASK_SLOT, Status.DONE, "A"), Slot.B),
        (Acknowledgement(ASK_SLOT, Status.DONE, "B"), Slot.A),
        (Acknowledgement(ASK_SLOT, Status.BUSY, "the running image is on trial"), Slot.A),
    ],
)
def test_a_box_says_which_slot_runs(answer: Acknowledgement, runs: Slot, tmp_path: Path) -> None:
    """After an update for slot A: also where it was confirmed before the cut."""
    capture = Capture([(0, link.encode(answer, 0))])
    run = FirmwareRun(World(NS_PER_S), tmp_path, capture, {}, None, 1.0)
    assert running_slot(run, "a cut", Slot.A) is runs


def test_an_update_waits_for_hello_and_ends() -> None:
    with pytest.raises(ScenarioFailedError, match="scripted: no hello in 30 s"):
        update_box(ScriptedLine(saves=-1), {})


class BusyLine(ScriptedLine):
    """Its Box answers each request within the same read: hello, the begin of an update, then busy."""

    def read(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        self.clock_s += 1.0
        answers: dict[int, LinkMessage] = {1: Box("1").hello(), 2: Acknowledgement(2, Status.DONE, "A")}
        newest = len(self.asked)
        busy = Acknowledgement(newest, Status.BUSY, "0")
        self.received.append(TimedMessage(0, 0, answers.get(newest, busy)))

    def send_piece(self, offset: int, data: bytes) -> int:
        return self.request(Operation.UPDATE_END)


def test_an_erase_has_its_time_from_its_begin() -> None:
    """Also on a line whose clock has run for long, as a host's has."""
    line = BusyLine(saves=0)
    line.clock_s = 1000.0
    images = {
        slot: make_image(bytes(2000), hardware="opqbox", version=1, slot=slot, sign=None) for slot in Slot
    }
    assert update_box(line, images, lambda: line.clock_s > 1020.0) == "sending"


def test_a_cut_switches_on_after_its_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opq_hil.backends.board.OFF_S", 0.0)
    monkeypatch.setattr("opq_hil.backends.board.UP_S", 60.0)
    words = tmp_path / "words"
    with BoxHost([Box("1")]) as host:
        bench = BoardBackend(host.ports["1"], fixtures=Fixtures(f"sh -c 'echo $0 >> {words}'"))
        with bench.cut_meanwhile(0.0) as is_off:
            while not is_off():
                time.sleep(0.01)
            assert words.read_text().split() == ["off"]
        with bench.cut_meanwhile(3600.0) as is_off:
            assert not is_off()
        with pytest.raises(ValueError, match="own"), bench.cut_meanwhile(0.0):
            raise ValueError("its own")
    assert words.read_text().split() == ["off", "on"] * 2


def test_a_scenarios_settings_are_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opq_hil.backends.board.RESET_S", 60.0)
    monkeypatch.setattr("opq_hil.backends.board.UP_S", 60.0)
    with BoxHost([Box("1")]) as host:
        board = BoardBackend(host.ports["1"])
        board.put_settings({"led_percent": "50"})
        bench = Bench(board, {"opqbox": flashed_firmware(None, BOARDS["opqbox"])}, tmp_path, 60)
        _, found = looked_at(bench, None, "nothing", {"led_percent": "0"})
        bench.put_back()
        assert (found["led_percent"], board.put_settings({})["led_percent"]) == ("0", "50")


def test_only_losses_on_the_pty_are_repeated(tmp_path: Path) -> None:
    (tmp_path / "none").write_bytes(b"")
    board = {"opqbox": Firmware(Image(BOARDS["opqbox"], tmp_path / "none"), tmp_path / "none")}
    for wrong, lost in ((broken(lost=(100, 2)), True), (broken(unsteady=True), False)):
        (verdict,) = play_all([SCENARIOS["boots"]], wrong, board, tmp_path / str(lost))
        assert verdict.outcome == "failed"
        assert bool(LOST_ON_PTY.search(verdict.reason)) is lost, verdict.reason


def test_a_boards_build_is_named_by_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the working folder nor OPQ_FIRMWARE_DIR has what it was flashed with."""
    (tmp_path / "opqbox").mkdir()
    for name in ("flash.bin", "firmware.opqfw", "flash.hex"):
        (tmp_path / "opqbox" / name).write_bytes(b"")
    monkeypatch.setenv("OPQ_FIRMWARE_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    unnamed = flashed_firmware(None, BOARDS["opqbox"])
    for read in (unnamed.images, unnamed.flash_hex):
        with pytest.raises(FirmwareError, match="--firmware DIR"):
            read()
    named = flashed_firmware(tmp_path, BOARDS["opqbox"])
    assert named.flash_hex() == tmp_path / "opqbox/flash.hex"
    (tmp_path / "opqbox/flash.hex").unlink()
    with pytest.raises(FirmwareError, match=r"flash\.hex is not there"):
        named.flash_hex()


@pytest.fixture(scope="module")
def stand_in(
    hil_backend: Backend, hil_firmware: Mapping[str, Firmware], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BoardStandIn]:
    if not hil_backend.deterministic:
        pytest.skip("needs an emulator to stand in for a board")
    folder = tmp_path_factory.mktemp("board") / "board"
    with BoardStandIn(hil_backend, hil_firmware, folder) as board:
        yield board


@pytest.mark.timeout(7200)  # forty cuts and eighty starts in real time, on an emulator that may be slower
@pytest.mark.parametrize("name", EVERY)
def test_a_board_plays_every_scenario(
    name: str, stand_in: BoardStandIn, hil_firmware: Mapping[str, Firmware], tmp_path: Path
) -> None:
    flashed = {"opqbox": hil_firmware["opqbox"]}
    for attempt in range(ATTEMPTS):
        (verdict,) = play_all([SCENARIOS[name]], stand_in.bench, flashed, tmp_path / str(attempt))
        if verdict.outcome != "failed" or not LOST_ON_PTY.search(verdict.reason):
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
