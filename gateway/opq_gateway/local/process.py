"""This process as Prometheus' clients in all languages show theirs: memory, CPU, start, descriptors."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from opq_gateway.local.exposition import Family


def process() -> Iterator[Family]:
    """Of now; nothing where /proc is not to be read."""
    try:
        stat = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()  # from field 3, proc(5)
        booted = next(
            line for line in Path("/proc/stat").read_bytes().splitlines() if line.startswith(b"btime ")
        )
        open_files = sum(1 for _ in Path("/proc/self/fd").iterdir())
    except (OSError, StopIteration):
        return
    ticks_per_s, page_bytes = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    cpu_s = (int(stat[11]) + int(stat[12])) / ticks_per_s
    yield _gauge("virtual_memory_bytes", "Virtual memory size in bytes.", int(stat[20]))
    yield _gauge("resident_memory_bytes", "Resident memory size in bytes.", int(stat[21]) * page_bytes)
    yield _gauge(
        "start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        int(booted.split()[1]) + int(stat[19]) / ticks_per_s,
    )
    help_cpu = "Total user and system CPU time spent in seconds."
    yield Family("process_cpu_seconds_total", "counter", help_cpu, "", {"": cpu_s})
    yield _gauge("open_fds", "Number of open file descriptors.", open_files)
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield _gauge("max_fds", "Maximum number of open file descriptors.", most_files)


def _gauge(name: str, meaning: str, value: float) -> Family:
    return Family(f"process_{name}", "gauge", meaning, "", {"": value})
