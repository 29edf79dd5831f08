"""States of a Box: judged on what was received, and reached on a line. The Box here is the simulated one."""

import os
from pathlib import Path

import pytest
from rfc2217_server import served

from opq_hil.backends import board
from opq_hil.backends.backend import BackendError, Image
from opq_hil.backends.board import BoardBackend
from opq_hil.backends.boards import BOARDS
from opq_hil.gps.receiver import Gps
from opq_hil.world.capture import TimedMessage
from opq_hil.world.line import BenchLine, NoAnswerError
from opq_hil.world.strategy import NotReachedError, reach, when
from opq_hil.world.world import NS_PER_S, BitNoise, PowerScript, Sine, World
from opq_proto.link.messages import (
    Acknowledgement,
    Command,
    GpsState,
    GpsStatus,
    Log,
    Operation,
    Samples,
    Settings,
    Status,
)
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost


def status(t_ns: int, state: GpsState) -> TimedMessage:
    return TimedMessage(t_ns, 0, GpsStatus(state, 8, 0, 0, 0, 0, 0, 0, 18))


def block(t_ns: int) -> TimedMessage:
    return TimedMessage(t_ns, 0, Samples(0, 0, 0, 3, 12_000_000, 0, []))  # type: ignore[arg-type]


def test_a_state_holds_when_all_parts_hold() -> None:
    received = [
        status(1, GpsState.LOCKED),
        status(2, GpsState.HOLDOVER),
        block(3),
        status(4, GpsState.LOCKED),
    ]
    assert when(received, "locked") == 1
    assert when(received, "sampling, locked") == 4
    assert when(received, "locked", after_ns=2) == 4


def test_an_unreached_state_names_the_missing() -> None:
    with pytest.raises(NotReachedError, match="never sampling"):
        when([status(1, GpsState.LOCKED)], "sampling, locked")
    with pytest.raises(ValueError, match="state lockd: unknown"):
        when([], "lockd")


def test_a_box_is_brought_to_sampling() -> None:
    with BoxHost([Box("1")]) as host, BenchLine(host.ports["1"]) as line:
        reach(line, "sampling", 60)
        assert line.send_command(Operation.GET_SETTINGS, timeout_s=60).status is Status.DONE
        with pytest.raises(NoAnswerError, match=r"no Log within 2 s; came: (nothing|.*Samples)"):
            line.wait_for(Log, 2.0)


def test_a_bench_behind_a_serial_server_answers(tmp_path: Path) -> None:
    with BoxHost([Box("1")]) as host, served(str(host.ports["1"])) as (url, _):
        image, world = Image(BOARDS["opqbox"], Path()), World(NS_PER_S)
        with BoardBackend(url).live(image, world, tmp_path) as box, BenchLine(box.port) as line:
            reach(line, "sampling", 60)
            assert line.send_command(Operation.GET_SETTINGS, timeout_s=60).status is Status.DONE


def test_a_silent_port_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NoAnswerError, match=r"none: "), BenchLine(tmp_path / "none"):
        pass


def test_a_pulled_plug_is_one_sentence() -> None:
    ours, theirs = os.openpty()
    port = os.ttyname(theirs)
    with BenchLine(port) as line:
        os.close(theirs)
        os.close(ours)
        with pytest.raises(NoAnswerError, match="is gone: look at the plug, the adapter"):
            line.read(60)
        with pytest.raises(NoAnswerError, match="accepts no bytes: look at the plug, the adapter"):
            line.write(b"x")


@pytest.mark.parametrize(
    ("world", "why"),
    [
        (World(NS_PER_S), None),
        (World(NS_PER_S, Sine(dips=((1, 2, 0.5),))), "waveform"),
        (World(NS_PER_S, gps=Gps(missing=(3,))), "GPS"),
        (World(NS_PER_S, power=PowerScript(cut_ns=5)), "power"),
        (World(NS_PER_S, noise=(BitNoise(1e-4, True),)), None),
    ],
)
def test_a_board_refuses_the_impossible(world: World, why: str | None) -> None:
    found = BoardBackend("/dev/none").why_not(world)
    assert (found is None) if why is None else (found is not None and why in found)


def test_a_scenario_plays_on_a_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "RESET_S", 60.0)
    ask = ((NS_PER_S // 2, Command(7, Operation.GET_SETTINGS)),)
    with BoxHost([Box("1")]) as host:
        image = Image(BOARDS["opqbox"], tmp_path / "none")
        run = BoardBackend(host.ports["1"]).run(
            image, World(6 * NS_PER_S, messages=ask), tmp_path / "run", wall_limit_s=60
        )
    assert run.ended == "end" and run.capture.of(Samples)
    (settings,) = run.capture.of(Settings)
    (answer,) = run.capture.of(Acknowledgement)
    assert settings.values and answer.command_id == 7
    assert (tmp_path / "run" / "uart1.log").read_text()
    with pytest.raises(BackendError, match="power"):
        BoardBackend("x").run(image, World(NS_PER_S, power=PowerScript(cut_ns=1)), tmp_path, wall_limit_s=1)
