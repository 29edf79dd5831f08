"""`opq-tools sim`: the command as a user types it."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_in_process import run_in_process

from opq_proto.link import frames as link
from opq_proto.link.messages import Hello, Samples

TOOLS = [sys.executable, "-m", "opq_tools.cli", "sim"]


@pytest.fixture
def two_boxes(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [*TOOLS, "2", "--ports-dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield tmp_path, process
    finally:
        process.kill()
        process.communicate(timeout=240)


def told(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*TOOLS, *words], capture_output=True, text=True, timeout=240, check=False)


def test_sim_prints_a_port_per_box(two_boxes):
    """A client can speak the link at each port; Ctrl-C ends the command."""
    folder, process = two_boxes
    assert process.stdout is not None
    lines = [process.stdout.readline().split() for _ in range(2)]
    assert lines == [["box", box_id, str(folder / f"box{box_id}")] for box_id in ("1", "2")]
    descriptor = os.open(folder / "box2", os.O_RDWR | os.O_NOCTTY)
    decoder, seen = link.Decoder(), []
    end = time.monotonic() + 240
    while time.monotonic() < end and not any(isinstance(message, Samples) for message in seen):
        if select.select([descriptor], [], [], 0.1)[0]:
            seen += [message for _, message in decoder.feed(os.read(descriptor, 4096))]
    os.close(descriptor)
    assert next(message for message in seen if isinstance(message, Hello)).box_id == 2
    done = told("event", "sag", "--box", "2", "--depth", "0.7", "--cycles", "10", "--ports-dir", str(folder))
    assert (done.returncode, done.stdout) == (0, "box 2: sag to 0.3 of its voltage for 10 cycles\n")
    jump = run_in_process(
        "sim", "event", "phase_jump", "--box", "2", "--degrees", "-20", "--ports-dir", str(folder)
    )
    assert (jump.returncode, jump.stdout) == (0, "box 2: phase jump of -20 degrees\n")
    lost = run_in_process(
        "sim", "event", "supply_lost", "--box", "1", "--seconds", "5", "--ports-dir", str(folder)
    )
    assert (lost.returncode, lost.stdout) == (0, "box 1: supply lost for 5 s, no battery\n")
    refused = run_in_process("sim", "event", "sag", "--box", "5", "--ports-dir", str(folder))
    assert refused.returncode == 1
    assert "hosted here: 1, 2" in refused.stderr
    process.send_signal(signal.SIGINT)
    assert process.wait(240) == 0
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "wanted"),
    [
        (("event", "sag", "--box", "1", "--ports-dir", "/nonexistent"), 1, "no Boxes answer"),
        (("event", "quake", "--box", "1"), 2, "quake"),
        (("event", "sag", "--box", "1", "--depth", "0"), 2, "--depth"),
        (("many",), 2, "N"),
        (("0",), 2, "N"),
        (("2", "--scenario", "thunder"), 2, "lightning_dip"),
        (("1", "--ports-dir", __file__), 1, "File exists"),
    ],
)
def test_wrong_use_ends_with_one_clear_message(words: tuple[str, ...], code: int, wanted: str):
    done = run_in_process("sim", *words)
    assert done.returncode == code
    assert wanted in done.stderr
    assert "Traceback" not in done.stderr


def test_a_lost_supply_takes_its_own_options_alone():
    for words, wanted in (
        (("supply_lost", "--box", "1", "--depth", "0.5"), "either --seconds or --set"),
        (("supply_lost", "--at", "mv"), "give --box"),
        (("sag", "--box", "1", "--seconds", "5"), "--seconds is for supply_lost"),
    ):
        done = run_in_process("sim", "event", *words)
        assert done.returncode == 2 and wanted in done.stderr
