"""The orderly end on a power failure: an input that is a file, SIGPWR to a real process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from opq_gateway.config import PowerSection
from opq_gateway.local.power import PowerFail
from opq_proto.keys.key_files import KeyFolder


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def watched(
    path: Path, clock: Clock, wait_s: float = 2.0, told: list[bool] | None = None
) -> tuple[PowerFail, list[str]]:
    ended: list[str] = []
    config = PowerSection(fail_input=path, wait_s=wait_s)
    tell = [].append if told is None else told.append
    return PowerFail(config, lambda: ended.append("end"), clock, tell), ended


def turn(power: PowerFail, clock: Clock, seconds: float) -> None:
    clock.now_s += seconds
    power.check()


def test_a_failure_that_lasts_ends_the_gateway_once(tmp_path: Path) -> None:
    clock = Clock()
    pin = tmp_path / "value"
    pin.write_text("0\n")
    power, ended = watched(pin, clock)
    turn(power, clock, 1)
    pin.write_text("1\n")
    turn(power, clock, 0)
    turn(power, clock, 1.9)
    assert ended == [] and not power.failed
    turn(power, clock, 0.2)
    turn(power, clock, 5)
    assert ended == ["end"] and power.failed


def test_a_flicker_of_the_supply_is_no_failure(tmp_path: Path) -> None:
    clock = Clock()
    pin = tmp_path / "value"
    told: list[bool] = []
    power, ended = watched(pin, clock, told=told)
    for value in "10101":
        pin.write_text(value)
        turn(power, clock, 1.5)
    assert ended == [] and told == [True, False, True, False, True]


def test_an_unreadable_input_switches_nothing_off(tmp_path: Path) -> None:
    clock = Clock()
    power, ended = watched(tmp_path / "absent", clock, wait_s=0)
    turn(power, clock, 1)
    (tmp_path / "absent").write_text("")
    turn(power, clock, 1)
    assert ended == []
    (tmp_path / "absent").write_text("1")
    turn(power, clock, 1)
    assert ended == ["end"]


def test_the_command_runs_only_after_a_failure(tmp_path: Path) -> None:
    made = tmp_path / "made"
    config = PowerSection(command=("touch", str(made)))
    power = PowerFail(config, lambda: None)
    power.after_end()
    assert not made.exists()
    power.failed = True
    power.after_end()
    assert made.exists()
    absent = PowerFail(PowerSection(command=(str(tmp_path / "no-such-program"),)), lambda: None)
    absent.failed = True
    absent.after_end()  # logged, and nothing thrown


def test_sigpwr_ends_a_gateway_in_order(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "curve")
    keys.create(True, ["1"])
    config = tmp_path / "gateway.toml"
    done = tmp_path / "done"
    config.write_text(
        f'data_dir = "{tmp_path}"\nhealth_endpoint = "127.0.0.1:0"\n[[box]]\nid = "1"\n'
        f'port = "{tmp_path}/absent"\n[power]\ncommand = ["touch", "{done}"]\n'
    )
    log_file = tmp_path / "log"
    command = [sys.executable, "-m", "opq_gateway", "run", "--config", str(config)]
    with log_file.open("w") as log:
        process = subprocess.Popen(command, stderr=log, env={**os.environ, "NOTIFY_SOCKET": ""})
    try:
        until = time.monotonic() + 240
        while "gateway.started" not in log_file.read_text():
            assert process.poll() is None and time.monotonic() < until, log_file.read_text()
            time.sleep(0.02)
        process.send_signal(signal.SIGPWR)
        assert process.wait(240) == 0
    finally:
        process.kill()
        process.wait()
    lines = log_file.read_text()
    assert done.exists() and lines.index("power.failed") < lines.index("gateway.stopped")
    assert lines.index("gateway.stopped") < lines.index("power.command")
