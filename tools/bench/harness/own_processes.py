"""Processes that a bench starts: their CPU time, their memory, and their end."""

import subprocess
import time
from contextlib import suppress
from typing import Any

import psutil

END_S = 20.0


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, also of its ended threads.

    By its clock, which has nanoseconds where /proc has hundredths of a second. Python has no
    clock_getcpuclockid(3), which makes the number of another process's clock.
    """
    return time.clock_gettime((~pid << 3) | 2)


def proportional_bytes(pid: int) -> int:
    """Memory of a process and of those that it started (PSS): what several have in common counts once."""
    first = psutil.Process(pid)
    found = 0
    for each in (first, *first.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            found += int(each.memory_full_info().pss)
    return found


def end_process(process: "subprocess.Popen[Any]") -> None:
    """Asks a process to end; kills it after END_S."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
