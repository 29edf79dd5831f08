"""The process `python -m opq_sim.box`: what users and `opq-tools up` start, stop and disturb."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from opq_proto.errors import ConfigError, OpqError, RecordingError
from opq_sim.box.control import request_control
from opq_sim.box.run_boxes import plan_fleet


@contextmanager
def running(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "opq_sim.box", "--ports-dir", str(folder), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(240)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(240)
        assert process.stderr is not None
        process.stderr.close()


def wait_for(path: Path) -> None:
    end = time.monotonic() + 240
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.02)


def lines_of(process: subprocess.Popen[str], last: str) -> list[dict]:
    """What it logs until the event `last` and, on a request to end, after it."""
    assert process.stderr is not None
    lines = []
    while not lines or lines[-1]["event"] != last:
        text = process.stderr.readline()
        assert text, f"it ended without {last}"
        lines.append(json.loads(text))
    process.terminate()
    lines += [json.loads(text) for text in process.stderr]
    process.wait(240)
    return lines


def test_the_default_run_leaves_nothing(tmp_path: Path):
    with running(tmp_path, "--lead-s", "0.5") as process:
        wait_for(tmp_path / "box2")
        targets = {name: os.path.realpath(tmp_path / name) for name in ("box1", "box2", "box4")}
        assert len(set(targets.values())) == 3
        lines = lines_of(process, "box.event_sent")
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []
    started = {line["box_id"]: line["port"] for line in lines if line["event"] == "box.started"}
    assert started == {name.removeprefix("box"): target for name, target in targets.items()}
    (sent,) = [line for line in lines if line["event"] == "box.event_sent"]
    assert (sent["service"], sent["box_id"], sent["level"]) == ("boxes", "1", "info")
    assert 6000 < sent["first_sample"] < 7000
    assert isinstance(sent["monotonic_ns"], int)


def test_an_event_on_demand_is_answered(tmp_path: Path):
    """It reaches the Box that it names; nonsense is counted and answered."""
    with running(tmp_path, "--sim", "2") as process:
        wait_for(tmp_path / "box2")
        assert set(request_control(tmp_path, {"do": "list"})["boxes"]) == {"1", "2"}
        answer = request_control(
            tmp_path, {"do": "event", "box": "2", "kind": "sag", "depth": 0.7, "cycles": 10}
        )
        assert (answer["box"], answer["depth"]) == ("2", 0.7)
        wrong = [
            {"do": "event", "box": "9", "kind": "sag"},
            {"do": "event", "box": "1", "kind": "earthquake"},
            {"do": "event", "box": "1", "kind": "sag", "depth": "deep"},
            {"do": "event", "box": "1", "kind": "sag", "deep": 1},
            {"do": "dance"},
            {"do": "stop"},  # as `sim stop` asks: these Boxes are another program's to end
        ]
        for request in wrong:
            with pytest.raises(OpqError):
                request_control(tmp_path, request)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(tmp_path / "control"))
            connection.sendall(b"\xff\xfe no json\n[[[[\n" + b"x" * 10_000)
            assert b'"ok": false' in connection.recv(4096)
        assert request_control(tmp_path, {"do": "list"})["ok"]
        assert request_control(tmp_path, {"do": "status"})["malformed"] >= len(wrong) + 2
        lines = lines_of(process, "box.event_sent")
    assert process.returncode == 0
    sent = [line for line in lines if line["event"] == "box.event_sent"]
    assert [line["box_id"] for line in sent] == ["2"]
    refused = [line for line in lines if line["event"] == "control.refused"]
    assert 1 <= len(refused) < len(wrong)  # one line in ten seconds


def test_a_second_process_is_refused(tmp_path: Path):
    with running(tmp_path, "--sim", "1"):
        wait_for(tmp_path / "box1")
        target = str((tmp_path / "box1").readlink())
        command = [sys.executable, "-m", "opq_sim.box", "--ports-dir", str(tmp_path), "--sim", "1"]
        second = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert second.returncode == 1
        assert len(second.stderr.splitlines()) == 1
        assert "in use" in second.stderr
        assert str((tmp_path / "box1").readlink()) == target


def test_a_killed_processs_remains_are_taken_over(tmp_path: Path):
    with running(tmp_path, "--sim", "1") as process:
        wait_for(tmp_path / "box1")
        device = os.path.realpath(tmp_path / "box1")
        process.send_signal(signal.SIGKILL)
        process.wait(240)
    assert (tmp_path / "control").exists()
    assert (tmp_path / "box1").is_symlink()
    new = [os.openpty() for _ in range(8)]  # one of them has the killed Box's number
    try:
        assert device in [os.ttyname(slave) for _, slave in new]
        with pytest.raises(FileNotFoundError):
            os.open(tmp_path / "box1", os.O_RDWR | os.O_NOCTTY)
    finally:
        for master, slave in new:
            os.close(master)
            os.close(slave)
    with running(tmp_path, "--sim", "1"):
        end = time.monotonic() + 240
        answer = None
        while answer != os.path.realpath(tmp_path / "box1") and time.monotonic() < end:  # the link may be old
            try:
                answer = request_control(tmp_path, {"do": "list"})["boxes"].get("1")
            except OpqError:
                time.sleep(0.05)
        assert answer == os.path.realpath(tmp_path / "box1")


def test_a_folder_beyond_socket_names_works(tmp_path: Path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with running(deep, "--sim", "1"):
        wait_for(deep / "box1")
        assert request_control(deep, {"do": "list"})["ok"]


@pytest.mark.parametrize(
    ("options", "code", "wanted"),
    [
        (("--replay", "missing.i16"), 1, "missing.i16: there is no such file"),
        (("--replay", "missing.csv"), 1, "missing.csv: there is no such file"),
        (("--scenario", "missing.toml"), 2, "missing.toml"),
        (("--sim", "-3"), 2, "--sim"),
    ],
)
def test_an_impossible_start_prints_no_traceback(
    tmp_path: Path, options: tuple[str, ...], code: int, wanted: str
):
    command = [sys.executable, "-m", "opq_sim.box", "--ports-dir", str(tmp_path / "ports"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code
    assert wanted in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ports").exists()


def made_recording(folder: Path, name: str, meta: dict | None = None) -> Path:
    t_s = np.arange(12_000) / 12_000
    counts = np.rint(25_000 * np.sin(2 * np.pi * 60 * t_s)).astype("<i2")
    path = folder / name
    path.write_bytes(counts.tobytes())
    path.with_suffix(".json").write_text(
        json.dumps({"rate_hz": 12000, "volts_per_lsb": 0.0068, **(meta or {})})
    )
    return path


def test_box_ids_come_from_metadata(tmp_path: Path):
    named = made_recording(tmp_path, "a.i16", {"box_id": "2"})
    nameless = made_recording(tmp_path, "b.i16")
    fleet = plan_fleet(replays=[nameless, named], sim=2)
    assert fleet.box_ids == ("1", "2", "3", "4")
    assert [box.box_id for box in fleet.boxes()] == list(fleet.box_ids)
    again = fleet.arguments()
    assert again.count("--replay") == 2
    assert plan_fleet().box_ids == ("1", "4", "2")
    with pytest.raises(ConfigError, match="twice"):
        plan_fleet(replays=[named, named])
    with pytest.raises(ConfigError, match="Box 1"):
        plan_fleet(replays=[made_recording(tmp_path, "c.i16", {"box_id": 1})], scenario="lightning_dip")
    with pytest.raises(RecordingError):
        plan_fleet(replays=[tmp_path / "none.i16"])


def test_a_scenario_plays_as_often_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "often.toml"
    box = '[[box]]\nid = "1"\n[[box.event]]\nkind = "sag"\ndepth = 0.4\ncycles = 10\n'
    path.write_text(f"every_s = 15.0\n{box}")
    own, told = plan_fleet(scenario=path), plan_fleet(scenario=path, replay_every_s=30.0)
    assert own.announcement().endswith("the first dip comes 10 s after the Boxes start, then every 15 s")
    assert "--replay-every-s" not in own.arguments()
    assert told.announcement().endswith("then every 30 s")
    recording = made_recording(tmp_path, "b.i16", {"box_id": 4})
    assert "every" not in plan_fleet(replays=[recording], scenario=path).announcement()  # 60 s and 15 s
