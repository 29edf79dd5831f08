"""What a worker has started: its processes, even hidden ones, and their memory together."""

import os
from pathlib import Path

TOKEN = "OPQ_PLUGIN_WORKER"
"""In the environment of a worker and all that it starts: finds survivors without name spaces."""
OWN = 2
"""Numbers in a name space up to this are its first process, which reaps, and the worker."""


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


def started_by(child: int, space: str | None) -> list[int]:
    """Living processes that the worker started: those of its name space, or our other descendants."""
    if space is None:
        return _descendants(os.getpid(), child)
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names only, and it races with the bomb
        if not entry.isdigit() or int(entry) in (child, os.getpid()):
            continue
        pid = int(entry)
        try:
            mine = space_of(pid) == space and _number_inside(pid) > OWN
            if mine and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.append(pid)
        except (OSError, IndexError):
            continue
    return found


def _descendants(ours: int, child: int) -> list[int]:
    """Our living descendants except `child`; orphans are adopted, so that none escapes by a double fork."""
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


def _number_inside(pid: int) -> int:
    """The process' number in its own name space."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("NSpid:")[2].partition("\n")[0].split()[-1])


def space_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115
    except OSError:
        return ""
