"""A build's program: its lines, its limit, and that nothing of it is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from opq_hil.backends import build_step
from opq_hil.backends.build_step import BuildError, NinjaProgress, run_step, slowness
from opq_hil.backends.processes import guarded


def awaited_pid(file: Path) -> int:
    limit = time.monotonic() + 240
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < limit, f"nothing wrote {file}"
        time.sleep(0.02)
    return int(file.read_text())


def gone(pid: int) -> bool:
    limit = time.monotonic() + 240
    while time.monotonic() < limit:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_programs_lines_come_while_it_runs(tmp_path: Path) -> None:
    seen: list[tuple[str, bool]] = []
    (tmp_path / "go").touch()

    def accept_line(line: str) -> None:
        (tmp_path / "go").unlink(missing_ok=True)  # the program goes on only after its first line was read
        seen.append((line, True))

    script = "echo first; while [ -e go ]; do sleep 0.05; done; echo second >&2; printf third; exit 7"
    code, lines = run_step(("sh", "-c", script), tmp_path, "it", limit_s=60, on_line=accept_line)
    assert (code, lines) == (7, ["first", "second", "third"])
    assert [line for line, _ in seen] == lines


def test_an_absent_program_is_a_sentence(tmp_path: Path) -> None:
    code, lines = run_step((str(tmp_path / "nothing"),), tmp_path, "configure", limit_s=60)
    assert code != 0 and "nothing" in lines[-1]
    with pytest.raises(BuildError, match=r"configure does not start: .*elsewhere"):
        run_step(("true",), tmp_path / "elsewhere", "configure", limit_s=60)


def test_a_program_waits_for_its_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a guard, as where we are killed right before it: the program finds the end of its pipe."""
    popen, begun = subprocess.Popen, []

    def start(line: list[str], **options: Any) -> Any:
        if "guard" in line:
            raise MemoryError("no process left")
        begun.append(popen(line, **options))
        return begun[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(MemoryError), guarded(["touch", str(tmp_path / "begun")]):
        pass
    begun[0].stdin.close()
    assert begun[0].wait(240) != 0 and not (tmp_path / "begun").exists()


def test_a_limit_ends_program_and_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit comes once the program's first line was read."""
    ahead_s = 0.0

    def accept_line(_: str) -> None:
        nonlocal ahead_s
        ahead_s = 1e6

    clock = SimpleNamespace(
        monotonic=lambda: time.monotonic() + ahead_s, perf_counter=time.perf_counter, sleep=time.sleep
    )
    monkeypatch.setattr(build_step, "time", clock)
    script = "(trap '' TERM; echo $$ > /dev/null; exec sleep 600) & echo $! > child; echo begun; sleep 600"
    with pytest.raises(BuildError, match=r"^configure took longer than \d+ \w+ and was ended; .*: begun$"):
        run_step(("sh", "-c", script), tmp_path, "configure", limit_s=60, on_line=accept_line)
    assert gone(awaited_pid(tmp_path / "child"))


def test_a_leftover_child_ends_with_its_program(tmp_path: Path) -> None:
    began = time.monotonic()
    code, lines = run_step(
        ("sh", "-c", "sleep 600 & echo $! > child; echo done"), tmp_path, "it", limit_s=300
    )
    assert (code, lines) == (0, ["done"])
    assert time.monotonic() - began < 120
    assert gone(awaited_pid(tmp_path / "child"))


def test_when_we_are_killed_the_build_ends(tmp_path: Path) -> None:
    text = (
        "import pathlib, sys; from opq_hil.backends.build_step import run_step; "
        "sleep = ('sh', '-c', 'sleep 600 & echo $! > child; wait'); "
        "run_step(sleep, pathlib.Path(sys.argv[1]), 'it', limit_s=600)"
    )
    ours = subprocess.Popen((sys.executable, "-c", text, str(tmp_path)))
    try:
        child = awaited_pid(tmp_path / "child")
        limit = time.monotonic() + 240
        while not any("guard" in each.cmdline() for each in psutil.Process(ours.pid).children()):
            assert time.monotonic() < limit, "nothing guards the build"
            time.sleep(0.02)
    finally:
        os.kill(ours.pid, signal.SIGKILL)
        ours.wait()
    assert gone(child)


def test_a_limit_grows_on_slow_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert slowness() >= 1.0
    monkeypatch.setattr(build_step, "REFERENCE_WORK_S", 1e-4)  # as on a slow machine
    code, lines = run_step(("sh", "-c", "sleep 1; echo done"), tmp_path, "it", limit_s=0.1)
    assert (code, lines) == (0, ["done"])


def test_ninjas_count_is_reported_with_what_is_left() -> None:
    reported: list[str] = []
    progress = NinjaProgress(reported.append, every_s=0.0)
    for line in ("ninja: Entering directory", "[1/800] Compiling C object", "[200/800] Linking"):
        progress.accept_line(line)
    assert [text.split("]")[0] for text in reported] == ["  [1/800", "  [200/800"]
    assert all(text.endswith(" left") for text in reported)
    quiet: list[str] = []
    NinjaProgress(quiet.append).accept_line("[1/800] Compiling")
    assert not quiet
