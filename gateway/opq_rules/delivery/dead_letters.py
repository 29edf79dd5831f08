"""DeadLetters: rows that a sink can never write, one JSON object a line in a private file per rule.

    {"t": "2026-11-27T08:00:00+00:00", "sink": "mysql", "row_id": "r:7/0", "why": "no column x", "row": {...}}

At LARGEST_BYTES the file becomes NAME.1, which replaces an older NAME.1. Used by the threads of several
sinks.
"""

import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from opq_proto.kit.whole_file import open_private, private_folder
from opq_rules.values.batch import Row

LARGEST_BYTES = 64 << 20
_LOCK = threading.Lock()


class DeadLetters:
    """`folder` is made with the first row."""

    def __init__(self, folder: Path, sink: str) -> None:
        self._folder, self._sink = folder, sink

    def add(self, rule_id: str, rows: Sequence[Row], row_ids: Sequence[str], why: str) -> None:
        """Appends the rows. Raises OSError."""
        known = {"t": datetime.now(UTC).isoformat(timespec="milliseconds"), "sink": self._sink}
        lines = b"".join(
            msgspec.json.encode(known | {"row_id": row_id, "why": why, "row": row}, enc_hook=str) + b"\n"
            for row, row_id in zip(rows, row_ids, strict=True)
        )
        with _LOCK:
            private_folder(self._folder)
            path = self._folder / f"{rule_id or 'rules'}.jsonl"
            file = open_private(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            try:
                os.write(file, lines)
                size = os.fstat(file).st_size
            finally:
                os.close(file)
            if size >= LARGEST_BYTES:
                path.replace(path.with_suffix(".jsonl.1"))
