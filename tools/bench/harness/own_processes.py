"""Processes that a bench starts: their CPU time, and their end."""

import subprocess
import time
from typing import Any

import psutil

END_S = 20.0


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, also of its ended threads.

    By its clock, which has nanoseconds where /proc has hundredths of a second. Python has no
    clock_getcpuclockid(3), which makes the number of another process's clock.
    """
    return time.clock_gettime((~pid << 3) | 2)


def resident_bytes(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


def end_process(process: "subprocess.Popen[Any]") -> None:
    """Asks a process to end; kills it after END_S."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
