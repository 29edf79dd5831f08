"""The processes that a worker has started, including hidden ones, and their memory together."""

import os
from pathlib import Path


def resident_bytes(pids: list[int], enough_bytes: int) -> int:
    """Resident memory of the processes; beyond `enough_bytes` shared memory is counted once."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = shared_once = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
        except (OSError, IndexError):
            continue
    if total <= enough_bytes:
        return total
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            shared_once += int(text.partition("\nPss:")[2].split()[0]) << 10
        except (OSError, IndexError):
            continue
    return shared_once


def started_by(child: int) -> list[int]:
    """Our living descendants except `child`; orphans are adopted, so that none escapes by a double fork."""
    ours = os.getpid()
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names only, and it races with the bomb
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] not in "ZX":
                parents[int(entry)] = int(fields[1])
    found = []
    for pid in parents:
        above = pid
        while above in parents and above != ours:
            above = parents[above]
        if above == ours and pid not in (ours, child):
            found.append(pid)
    return found
