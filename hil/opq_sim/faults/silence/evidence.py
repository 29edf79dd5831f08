"""What a schedule left in the cloud's store and in Mauka's log, read from outside."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opq_sim.faults.cloud.stored_rows import FILE_NAME
from opq_sim.faults.gateway.service import ServiceError

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A Measurement in the store, with its metrics beside the original's four: their means."""

    box_id: str
    start_ns: int
    end_ns: int
    sequence: int | None
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class FoundOutage:
    """A finding `outage`."""

    box_id: str
    start_ns: int
    end_ns: int
    because: str


def stored_rows(data_dir: Path) -> list[StoredRow]:
    """Every Measurement in the store, crossings too; empty where there is no store yet.

    Raises:
        ServiceError: the command that reads it failed.
    """
    if not (data_dir / FILE_NAME).exists():
        return []
    command = [sys.executable, "-m", "opq_tools.cli", "export", "measurements", "--format", "json"]
    done = subprocess.run(
        [*command, "--data-dir", str(data_dir)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise ServiceError(f"export of measurements: {done.stderr.strip()}")
    return [
        StoredRow(str(row["box_id"]), *_span_ns(row), row["sequence"], more)
        for row in json.loads(done.stdout)
        for more in ({} if row["crossing"] else _more(row),)
    ]


def _span_ns(row: dict[str, Any]) -> tuple[int, int]:
    """An original Box states only the end, in ms."""
    end_ns = int(row["timestamp_ms"]) * 10**6 if row["end_ns"] is None else int(row["end_ns"])
    return (end_ns if row["start_ns"] is None else int(row["start_ns"])), end_ns


def _more(row: dict[str, Any]) -> dict[str, float]:
    return {
        name: float(metric["average"])
        for name, metric in (row.get("metrics") or {}).items()
        if name.startswith(("missing_", "clock_set"))
    }


def stored_outages(data_dir: Path) -> list[FoundOutage]:
    """All findings `outage` in the store."""
    with closing(
        sqlite3.connect(f"file:{data_dir / FILE_NAME}?mode=ro", uri=True, timeout=TIMEOUT_S)
    ) as file:
        documents = [json.loads(text) for (text,) in file.execute("SELECT document FROM incidents")]
    return [
        FoundOutage(str(each["box_id"]), int(each["start_ns"]), int(each["end_ns"]), str(each.get("because")))
        for each in documents
        if each["class"] == "outage"
    ]


def outage_lines(path: Path) -> list[dict[str, Any]]:
    """Mauka's log lines about outages."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if '"outage.' in line and line.endswith("}"):
            found.append(json.loads(line))
    return found
