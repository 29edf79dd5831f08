"""Processes that a bench starts: what one of them takes, and how it ends."""

import subprocess
from typing import Any

import psutil

END_S = 20.0


def cpu_s(pid: int) -> float:
    """User and system time so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def resident_bytes(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


def end_process(process: "subprocess.Popen[Any]") -> None:
    """Ask it to end; killed when it has not after END_S."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
