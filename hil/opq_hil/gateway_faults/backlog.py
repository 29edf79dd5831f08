"""What waits in a gateway's queue on disk, and how far it went, looked at from outside."""

import sqlite3
from pathlib import Path

TIMEOUT_S = 2.0
QUERY = "SELECT box_id, sequence FROM measurements JOIN boxes USING (box)"
LAST_END = "SELECT last_end_ns FROM boxes WHERE box_id = ?"


def backlog(data_dir: Path) -> set[tuple[str, int]] | None:
    """(Box, sequence) of every Measurement that is not acknowledged; None: the file cannot be read now.

    Read only: a killed gateway's file is left to the next one as it is.
    """
    path = data_dir / "gateway" / "queue.sqlite"
    try:
        file = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=TIMEOUT_S)
        try:
            return {(str(box_id), int(sequence)) for box_id, sequence in file.execute(QUERY)}
        finally:
            file.close()
    except sqlite3.Error:
        return None


def queued_to_ns(data_dir: Path, box_id: str) -> int:
    """UTC up to which the Box's Measurements were queued; 0: none, or the file cannot be read now."""
    path = data_dir / "gateway" / "queue.sqlite"
    try:
        file = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=TIMEOUT_S)
        try:
            row = file.execute(LAST_END, (box_id,)).fetchone()
        finally:
            file.close()
    except sqlite3.Error:
        return 0
    return int(row[0] or 0) if row else 0
