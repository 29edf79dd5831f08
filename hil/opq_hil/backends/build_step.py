"""One program of a build: its lines while it runs, a limit of time, and an end of all its processes.

`configure` of QEMU starts meson, which starts compilers: to end the first alone would leave the others at
work in a tree that somebody builds again. So each program leads a group, and the group ends with it: at the
limit, at Ctrl-C, and when our own process is killed.

A limit is for the machine that it was measured on (2 cores). It grows with the time that fixed work takes
here, which is measured at the start and again when the limit has come: a machine that became busy is slower.
"""

import os
import re
import selectors
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from opq_hil.backends.processes import end_group, ended_with_parent, guarded
from opq_proto.errors import OpqError

Report = Callable[[str], None]
REFERENCE_CORES = 2
REFERENCE_WORK_S = 0.025
"""Time of `_work` on the machine of the limits."""
REPORT_EVERY_S = 10.0
TICK_S = 0.2


class BuildError(OpqError):
    """Something cannot be built here; the text says why and what to do."""


def no_report(text: str) -> None:
    """Ignores progress."""


def run_step(
    command: Sequence[str],
    folder: Path,
    what: str,
    *,
    limit_s: float,
    on_line: Callable[[str], None] = no_report,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, list[str]]:
    """Runs a program to its end; returns its exit code and the lines of its output.

    A program that is not there has code 126 or 127, and a line that says so.

    Raises:
        BuildError: the folder is not there, or the program and all its processes were ended at the limit.
    """
    with ExitStack() as begun:
        output: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        try:
            program = guarded(ended_with_parent(tuple(command)), cwd=folder, env=environment, **output)
            process = begun.enter_context(program)
        except OSError as problem:
            raise BuildError(f"{what} does not start: {problem}") from None
        try:
            lines = _read_lines(process, what, limit_s, on_line)
        finally:
            end_group(process)
            if process.stdout is not None:
                process.stdout.close()
    return process.returncode, lines


def slowness() -> float:
    """How many times longer a build takes here now than on the machine of the limits; at least 1."""
    began = time.perf_counter()
    _work()
    work = (time.perf_counter() - began) / REFERENCE_WORK_S
    return max(1.0, work) * max(1.0, REFERENCE_CORES / (os.cpu_count() or 1))


class NinjaProgress:
    """Reports ninja's `[done/all]` now and then, with the time that is left at this pace."""

    def __init__(self, report: Report, every_s: float = REPORT_EVERY_S) -> None:
        self._report, self._every_s = report, every_s
        self._began_s = self._reported_s = time.monotonic()

    def accept_line(self, line: str) -> None:
        """Reads a line of ninja's output."""
        step = re.match(r"\[(\d+)/(\d+)\]", line)
        now_s = time.monotonic()
        if step and now_s - self._reported_s >= self._every_s:
            self._reported_s = now_s
            done, total = int(step[1]), int(step[2])
            left_s = (now_s - self._began_s) / done * (total - done) if done else 0.0
            self._report(f"  [{done}/{total}] some {_minutes(left_s)} left")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _work() -> None:
    sum(range(2_000_000))


def _read_lines(
    process: subprocess.Popen[bytes], what: str, limit_s: float, on_line: Callable[[str], None]
) -> list[str]:
    assert process.stdout is not None
    began_s = time.monotonic()
    factor = slowness()
    lines: list[str] = []
    rest, closed = b"", False
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        while True:
            ended = process.poll() is not None  # before reading: its last words may be in the pipe
            data = b""
            if closed:
                time.sleep(TICK_S)
            elif waiting.select(timeout=TICK_S):
                data = os.read(process.stdout.fileno(), 65_536)
                closed = not data
            done = ended and not data  # a child of it may hold the pipe open: it ends with the group
            *whole, rest = (rest + data + (b"\n" if done and rest else b"")).split(b"\n")
            for line in whole:
                lines.append(line.decode(errors="replace"))
                on_line(lines[-1])
            if done:
                return lines
            passed_s = time.monotonic() - began_s
            if passed_s > limit_s * factor:
                factor = max(factor, slowness())
            if passed_s > limit_s * factor:
                last = f"; its last line: {lines[-1].strip()}" if lines else ""
                raise BuildError(f"{what} took longer than {_minutes(limit_s * factor)} and was ended{last}")
