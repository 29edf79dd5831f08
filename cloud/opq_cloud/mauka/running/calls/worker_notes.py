"""A file in which a worker process notes its current work for Mauka; it remains after a kill of the process.

One file a process, named by its number; one write of less than a page each, so no lock is ever left behind.
"""

import os
import resource
import time
from pathlib import Path
from typing import Any

from opq_plugins.sandbox.protection import end_with_parent

STARTING = "start"
"""Stands for the analysis while none has begun."""
NOTE_BYTES = 200

_own_file: list[int] = []
"""The note of this process, where it is a worker process of this machine."""


def begin_worker(folder: str, memory_bytes: int) -> None:
    """Makes this process a worker: it ends with Mauka, and when it needs more memory than this."""
    end_with_parent()
    _own_file.append(os.open(Path(folder) / str(os.getpid()), os.O_WRONLY | os.O_CREAT, 0o600))
    note(0)
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def note(event_id: int, analysis: str = STARTING) -> None:
    """Notes the event and analysis that this process begins; event 0 for none."""
    text = f"{event_id} {time.monotonic()} {analysis}".encode()[:NOTE_BYTES].ljust(NOTE_BYTES)
    for file in _own_file:
        os.pwrite(file, text, 0)


def end_for_memory() -> None:
    """Ends a worker process that has used up its memory: so all of it is free. Elsewhere it does nothing."""
    if _own_file:
        os._exit(1)


def read_note(path: Path) -> dict[str, Any] | None:
    """Reads the note of a process; None: it has none yet."""
    try:
        event_id, since_s, analysis = path.read_text().split(maxsplit=2)
    except (OSError, ValueError):
        return None
    busy = event_id != "0"
    return {
        "pid": int(path.name),
        "event_id": int(event_id) if busy else None,
        "analysis": analysis.rstrip() if busy else None,
        "busy_s": round(time.monotonic() - float(since_s), 3) if busy else 0.0,
    }
