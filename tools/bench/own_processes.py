"""Processes that a bench starts: their CPU time, and their end."""

import subprocess
from typing import Any

import psutil

END_S = 20.0


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


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
