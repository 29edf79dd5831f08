"""`opq-tools box program try`: a `box.py` on a made recording, without a Box."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analyze_under_test import RATE_HZ, as_i16, mains
from command_in_process import run_in_process

from opq_proto.link.user_program import MAX_BYTES, MESSAGES_PER_CALL

ROOT = Path(__file__).resolve().parents[2]
START_NS = 1_763_632_800_000_000_000
SAG = slice(12_600, 13_800)
"""Samples at half of nominal, within one window."""
SAG_WINDOW = 5
WINDOWS = 9
PRINTS = "def window(w):\n    print(w.rms_v)\n"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    volts = mains(2.0, phase=1.0)
    volts[SAG] *= 0.5
    return as_i16(tmp_path_factory.mktemp("recording"), volts, start_ns=START_NS)


def tried(folder: Path, text: str, recording: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    file = folder / "box.py"
    file.write_text(text)
    return run_in_process("box", "program", "try", str(file), str(recording), *options)


def result(folder: Path, text: str, recording: Path, exit_code: int = 0) -> dict[str, Any]:
    done = tried(folder, text, recording, "--json")
    assert done.returncode == exit_code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def page_program() -> str:
    page = (ROOT / "docs" / "box-program.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", page, re.S)
    assert found is not None
    return found[1]


def test_a_channels_values_are_shown_with_their_windows(tmp_path: Path, recording: Path) -> None:
    """The page's own program; and what a Box refuses is refused."""
    page = (ROOT / "docs" / "box-program.md").read_text(encoding="utf-8")
    text = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[1]
    found = result(tmp_path, text, recording)
    assert [each["window"] for each in found["messages"]] == list(range(WINDOWS)) and not found["stopped"]
    assert {(each["message"], each["name"], each["unit"]) for each in found["messages"]} == {
        ("channel", "ripple", "v")
    }
    ripples = [each["value"] for each in found["messages"]]
    assert ripples[SAG_WINDOW] == pytest.approx(60, abs=1) and max(ripples[:SAG_WINDOW]) < 1
    shown = tried(tmp_path, text, recording).stdout
    assert f"values of channels: {WINDOWS}" in shown and " channel ripple " in shown
    none = "from opq import program\ndef window(w):\n    assert not program.channel('a', 'v', {})\n"
    for value in ("None", "float('nan')", "float('inf')", "10**400", "-(10**400)", "1.1e12"):
        assert result(tmp_path, none.format(value), recording)["messages"] == []
    body = "from opq import program\nassert not program.channel('a', 'v', 1)\ndef window(w):\n    pass\n"
    assert result(tmp_path, body, recording)["messages"] == []
    wrong = "from opq import program\ndef window(w):\n    program.channel('Oil', 'c', 1)\n"
    assert "want a name of 16" in result(tmp_path, wrong, recording, exit_code=1)["stopped"]
    data = "from opq import program\ndef window(w):\n    program.channel(b'oil', 'c', 1)\n"
    assert "want a name of 16" in result(tmp_path, data, recording, exit_code=1)["stopped"]


def test_a_sag_crosses_in_its_own_window(tmp_path: Path, recording: Path) -> None:
    found = result(tmp_path, page_program(), recording)
    assert (found["windows"], found["stopped"], found["not_sent"]) == (WINDOWS, None, 0)
    assert found["nominal_hz"] == 60 and found["rate_hz"] == RATE_HZ
    [sent] = found["messages"]
    assert (sent["message"], sent["kind"], sent["entering"], sent["limit_v"]) == ("crossing", "dip", True, 90)
    assert sent["window"] == SAG_WINDOW and sent["rms_v"] == pytest.approx(60, abs=0.2)
    first_edge_s = (1 - 1 / (2 * np.pi)) / 60
    assert sent["start_s"] == pytest.approx(first_edge_s + 0.2 * SAG_WINDOW, abs=1e-3)
    assert sent["t_ns"] == pytest.approx(START_NS + sent["start_s"] * 1e9, abs=1000)


def test_each_line_has_its_windows_time(tmp_path: Path, recording: Path) -> None:
    text = "from opq import program\ndef window(w):\n    program.log(w.samples, round(w.f_hz * 100))\n"
    *lines, end = tried(tmp_path, text, recording).stdout.splitlines()
    assert len(lines) == WINDOWS
    assert end.startswith(
        "windows: 9 at 60 Hz; lines of log: 9; crossings: 0; values of channels: 0; time and"
    )
    first = re.fullmatch(r" +(0\.0\d+) s  2025-11-20T10:00:(00\.0\d\d)Z  log 2400 6000", lines[0])
    assert first is not None and float(first[1]) == pytest.approx(float(first[2]), abs=1e-3)


def test_figures_are_the_boxes(tmp_path: Path, recording: Path) -> None:
    text = (
        "from opq import program\n"
        "def window(w):\n"
        "    program.crossing('swell', w.clipped, w.rms_v, w.half_cycle_max_v)\n"
        "    program.crossing('swell', w.source == 0, w.thd, w.trans_v)\n"
        "    program.log(w.uncertainty_ns, w.t_ns)\n"
    )
    first, second, log = result(tmp_path, text, recording)["messages"][:3]
    rms_v = 120 * np.sqrt(1 + 0.03**2 + 0.04**2)
    assert (first["rms_v"], first["limit_v"]) == pytest.approx((rms_v, rms_v), rel=1e-3)
    assert second["rms_v"] == pytest.approx(0.05, abs=1e-4) and second["limit_v"] < 5
    assert (first["entering"], second["entering"]) == (False, True)
    assert log["a"] == -1, "unknown, as 32 bits"


def test_a_sample_at_the_limit_is_clipped(tmp_path: Path) -> None:
    limit_v = 32767 * 0.0068
    path = as_i16(tmp_path, np.clip(mains(0.6, rms_v=180.0), -limit_v, limit_v))
    text = "from opq import program\ndef window(w):\n    program.log(w.clipped, 0)\n"
    assert [each["a"] for each in result(tmp_path, text, path)["messages"]] in ([1, 1], [1, 1, 1])


def test_a_program_that_raises_is_stopped(tmp_path: Path, recording: Path) -> None:
    text = (
        "from opq import program\ncalls = 0\n\n\n"
        "def window(w: program.Window) -> None:\n    global calls\n"
        "    calls += 1\n    program.log(1, calls)\n"
        "    if calls == 3:\n        raise ValueError('too high')\n"
    )
    done = tried(tmp_path, text, recording)
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    *lines, end, stopped = done.stdout.splitlines()
    assert len(lines) == 3 and end.startswith("windows: 3 at")
    assert stopped.startswith("stopped: ValueError: too high, line 10; window 2, 0.4")
    assert result(tmp_path, text, recording, 1)["stopped"] in stopped


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("program.log(1.5, 2)", "TypeError: 'float' object cannot be interpreted as an integer"),
        ("program.crossing('dip', True, None, 90)", "TypeError: can't convert NoneType to float"),
        ("program.crossing('sag', True, 1, 90)", "ValueError: want dip, swell or interruption"),
        ("import journal", "ModuleNotFoundError: No module named 'journal'"),
        ("raise SystemExit", "SystemExit: "),
    ],
)
def test_wrong_calls_stop_a_program(line: str, reason: str, tmp_path: Path, recording: Path) -> None:
    text = f"from opq import program\ndef window(w):\n    {line}\n"
    assert result(tmp_path, text, recording, 1)["stopped"].startswith(f"{reason}, line 3; window 0, ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def window(w:\n", "SyntaxError: '(' was never closed, line 1"),
        ("x = 1\n", "it has no function window(w)"),
        ("\nraise ValueError('no')\n", "ValueError: no, line 2"),
        ("#" * (MAX_BYTES + 1), f"box.py has {MAX_BYTES + 1} bytes; want 1 to {MAX_BYTES}"),
        ("", f"box.py has 0 bytes; want 1 to {MAX_BYTES}"),
    ],
)
def test_what_a_box_refuses_is_refused(text: str, reason: str, tmp_path: Path, recording: Path) -> None:
    done = tried(tmp_path, text, recording)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"opq-tools: {tmp_path / 'box.py'}: {reason}\n"


def test_four_messages_a_call_are_sent(tmp_path: Path, recording: Path) -> None:
    text = (
        "from opq import program\ndef window(w):\n    sent = [program.log(0, k) for k in range(6)]\n"
        "    assert sent == [True] * 4 + [False] * 2\n"
    )
    found = result(tmp_path, text, recording)
    assert len(found["messages"]) == WINDOWS * MESSAGES_PER_CALL
    assert found["not_sent"] == WINDOWS * 2
    module = (ROOT / "device" / "cmodules" / "program" / "module.c").read_text(encoding="utf-8")
    assert f"MESSAGES_PER_CALL = {MESSAGES_PER_CALL}," in module


def test_a_crossing_in_the_body_is_not_sent(tmp_path: Path, recording: Path) -> None:
    text = "from opq import program\nassert not program.crossing('dip', True, 1, 90)\nwindow = print\n"
    assert result(tmp_path, text, recording)["messages"] == []


def test_what_it_prints_leaves_the_json(tmp_path: Path, recording: Path) -> None:
    done = tried(tmp_path, PRINTS, recording, "--json")
    assert json.loads(done.stdout)["messages"] == [] and len(done.stderr.splitlines()) == WINDOWS
    assert "opq" not in sys.modules


def test_a_gap_begins_windows_again(tmp_path: Path) -> None:
    volts = mains(1.3)
    volts[7000:7037] = np.nan
    path = tmp_path / "mains.npy"
    np.save(path, volts)
    text = "from opq import program\ndef window(w):\n    program.log(w.first_sample, w.samples)\n"
    done = tried(tmp_path, text, path, "--rate-hz", "12000", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["messages"]
    assert all(each["a"] + each["b"] <= 7000 or each["a"] >= 7037 for each in found)
    assert [each["t_ns"] for each in found] == [None] * len(found) and len(found) == 5


def test_too_slow_a_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mains.npy"
    np.save(path, mains(2.0)[::20])
    done = tried(tmp_path, PRINTS, path, "--rate-hz", "600", "--nominal-hz", "60")
    assert done.returncode == 1 and "want at least 20 samples per cycle of 60 Hz" in done.stderr
