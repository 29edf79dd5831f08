"""What a person sees of `opq-tools analyze`: the report, the figure, and how long they wait."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analyze_under_test import FLAGS, as_i16, assert_refused, mains, run, shell

from opq_tools.recordings.analyze.analysis_report import plot_lines as lines

Ended = subprocess.CompletedProcess[Any]


def test_the_report_names_the_dip_and_draws_it(tmp_path: Path) -> None:
    volts = mains(6.0)
    volts[9000:11000] *= 0.7
    result = run(as_i16(tmp_path, volts))
    assert result.exit_code == 0
    for words in (
        "mains.i16",
        "instantaneous sag",
        "70.0",
        "largest harmonics",
        "5th 4.00",
        "Pinst max",
        "⣀",
    ):
        assert words in result.output
    assert "No dip" in run(as_i16(tmp_path, mains())).output
    assert "Too short" in run(as_i16(tmp_path, mains(0.01))).output


def test_forty_events_are_printed_and_others_counted(tmp_path: Path) -> None:
    """Many dips leave room for the other events."""
    volts = mains(30.0)
    at = np.arange(len(volts)) % 6000  # a dip of six cycles each half second
    volts *= np.where((at >= 2000) & (at < 3200), 0.7, 1.0)
    volts[[5000, 11000, 17000]] += 100.0
    output = run(as_i16(tmp_path, volts)).output
    assert "60 events" in output and "... and 23 more, in --json" in output
    assert output.count("instantaneous sag") == 37 and output.count("impulsive transient") == 3


@pytest.mark.parametrize("nominal_hz", [400.0, 16.7])
def test_a_wrong_nominal_frequency_is_one_line(nominal_hz: float, tmp_path: Path) -> None:
    lines_told = run(as_i16(tmp_path, mains(0.5), nominal_hz=nominal_hz)).stdout.splitlines()
    (line,) = [each for each in lines_told if "known fundamental" in each]
    assert f"nominal {nominal_hz:g} Hz" in line and "0.65 to 1.45" in line
    assert f"from {0.65 * nominal_hz:g} to {1.45 * nominal_hz:g} Hz," in line
    assert "known fundamental" not in run(as_i16(tmp_path, mains(0.5))).output


def test_a_narrow_terminal_cuts_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    volts = mains()
    volts[9000:] *= 0.7
    output = run(as_i16(tmp_path, volts)).output
    assert "momentary sag" in output and "≥ 75.0" in output and "…" not in output
    assert all(len(line) <= 40 for line in output.splitlines() if "⣀" in line)


def test_a_terminal_without_braille_gets_the_figures_alone(tmp_path: Path) -> None:
    volts = mains()
    volts[9000:] *= 0.7
    done = shell(as_i16(tmp_path, volts), env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and done.stderr == ""
    assert "momentary sag" in done.stdout and "????" not in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_full_disk_is_one_line(flags: list[str], tmp_path: Path) -> None:
    path = as_i16(tmp_path, mains())
    command = [sys.executable, "-m", "opq_tools.cli", "analyze", str(path), *flags]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=240, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "opq-tools: No space left on device\n"


def test_a_plot_shows_extremes_within_its_width() -> None:
    values = np.full(5000, 120.0)
    values[2500] = 60.0
    text = lines(values, 40, 5, "V", "0 s", "1 s")
    assert len(text) == 6 and all(len(line) == 49 for line in text)
    dots = [sum(bin(ord(sign) - 0x2800).count("1") for sign in line[9:]) for line in text[:5]]
    assert dots[0] >= 80 and dots[-1] >= 1 and dots[2] >= 4
    assert len(lines(np.array([1.0]), 30, 3, "V", "0", "1")) == 4


@pytest.mark.parametrize(
    "suffix",
    ["png", pytest.param("svg", marks=pytest.mark.slow), pytest.param("pdf", marks=pytest.mark.slow)],
)
def test_a_figure_is_drawn_into_a_file(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="drawing into a file needs the extra `analyze`")
    volts = mains()
    volts[9000:11000] *= 0.7
    path = as_i16(tmp_path, volts)
    target = tmp_path / f"drawing.{suffix}"
    assert run(path, "--plot", target).exit_code == 0
    assert target.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml", b"%PDF-")
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        f"drawing.{suffix}",
        "mains.i16",
        "mains.json",
    ]
    assert_refused(path, "--plot", tmp_path / "nowhere" / f"drawing.{suffix}")


def test_a_figure_tells_why_it_has_no_frequency(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="drawing into a file needs the extra `analyze`")
    target = tmp_path / "drawing.svg"
    assert run(as_i16(tmp_path, mains(0.5), nominal_hz=400.0), "--plot", target).exit_code == 0
    assert "0.65 to 1.45 of the nominal 400 Hz" in target.read_text()


# speed and memory


def test_two_seconds_cost_little_beyond_imports(tmp_path: Path) -> None:
    """Measured 1.3 to 1.6 times, idle and at load 14; seconds of CPU depend on who else is on the core."""
    path = as_i16(tmp_path, mains())
    imports = [sys.executable, "-c", "import asyncio, json, click, numpy"]
    ratios = []
    for _ in range(10):  # the first one fills the page cache
        answered_s, done = cpu_of(lambda: shell(path, "--json"))
        imported_s, _ = cpu_of(lambda: subprocess.run(imports, timeout=240, check=True))
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)
        ratios.append(answered_s / imported_s)
        if ratios[-1] < 2.5:
            return
    raise AssertionError(ratios)


def cpu_of(action: Callable[[], Ended]) -> tuple[float, Ended]:
    """Seconds of CPU of the children that ended in it, and what it returns."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = action()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended


def test_nothing_slow_is_imported_for_json(tmp_path: Path) -> None:
    code = (
        "import sys; from opq_tools.recordings.analyze.analyze_command import command; "
        f"command([{str(as_i16(tmp_path, mains()))!r}, '--json'], standalone_mode=False); "
        "slow = ('scipy', 'rich', 'matplotlib', 'comtrade'); "
        "print([name for name in slow if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True
    )
    assert done.stderr.strip() == "[]"


def test_eleven_minutes_need_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.i16"
    one = np.rint(mains(60.0) / 0.0068).astype("<i2").tobytes()
    with path.open("wb") as file:
        for _ in range(11):
            file.write(one)
    code = (
        "import re, sys; from opq_tools.recordings.analyze.analyze_command import command; "
        f"command([{str(path)!r}, *{FLAGS!r}, '--json'], standalone_mode=False); "
        "status = open('/proc/self/status').read(); "  # ru_maxrss would tell that of the parent too
        "print(re.search(r'VmHWM:\\s+(\\d+)', status)[1], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True
    )
    answer = json.loads(done.stdout)
    assert answer["samples"] == 7_920_000 and answer["events"] == []
    assert answer["flicker"]["pst"] is not None and answer["flicker"]["pst"] < 0.1
    assert (
        int(done.stderr.split()[-1]) < 300_000
    )  # KiB; as float64 the signal and its squares alone would be 127 MB
