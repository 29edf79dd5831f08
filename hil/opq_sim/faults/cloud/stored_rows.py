"""Rows of the cloud's store, read only and from outside: events, and the findings that make incidents."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opq_sim.score.records import BoxSpan, FoundIncident

FILE_NAME: Final = "opq.db"
TIMEOUT_S: Final = 5.0
_EVENTS: Final = "SELECT document, finished, analysed FROM events ORDER BY event_id"
_FINDINGS: Final = "SELECT group_id, document FROM incidents ORDER BY incident_id"
_LEFT: Final = (
    "SELECT count(*) FROM events WHERE finished = 0",
    ("SELECT count(*) FROM events WHERE finished = 1 AND analysed = 0"),
)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event, and the result for each requested Box."""

    event_id: int
    start_ns: int
    end_ns: int
    requested: tuple[str, ...]
    received: tuple[str, ...]
    missing: Mapping[str, str]
    """Box -> why it has no waveform, or one that does not cover the span."""
    finished: bool = True
    analysed: bool = True


@dataclass(frozen=True, slots=True)
class StoreProgress:
    """State of the store: its unfinished work, and its size."""

    unfinished: int
    unanalysed: int
    events: int
    findings: int


def store_progress(data_dir: Path) -> StoreProgress | None:
    """Reads the store's state; None if it cannot be read now."""
    try:
        with closing(_opened(data_dir)) as file:
            counts = [file.execute(query).fetchone()[0] for query in _LEFT]
            counts += [
                file.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("events", "incidents")
            ]
    except sqlite3.Error:
        return None
    return StoreProgress(*counts)


def stored_events(data_dir: Path) -> list[StoredEvent]:
    """All events.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    with closing(_opened(data_dir)) as file:
        return [_event(json.loads(text), *flags) for text, *flags in file.execute(_EVENTS)]


def stored_incidents(data_dir: Path) -> list[FoundIncident]:
    """All incidents, each with its findings by Box.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    groups: dict[int, list[dict[str, Any]]] = {}
    with closing(_opened(data_dir)) as file:
        for group_id, text in file.execute(_FINDINGS):
            groups.setdefault(int(group_id), []).append(json.loads(text))
    return [incident_of_findings(number, findings) for number, findings in groups.items()]


def incident_of_findings(number: int, findings: list[dict[str, Any]]) -> FoundIncident:
    """Makes an incident of the documents of one `group_id`; two findings of one Box give one joined span."""
    boxes: dict[str, BoxSpan] = {}
    for each in findings:
        box_id, kind = str(each["box_id"]), str(each["class"])
        start_ns, end_ns = int(each["start_ns"]), int(each["end_ns"])
        if box_id in boxes:
            other = boxes[box_id]
            kind = "+".join(sorted({*other.kind.split("+"), *kind.split("+")}))
            start_ns, end_ns = min(start_ns, other.start_ns), max(end_ns, other.end_ns)
        boxes[box_id] = BoxSpan(kind, start_ns, end_ns)
    kinds = sorted({part for span in boxes.values() for part in span.kind.split("+")})
    return FoundIncident(number, "+".join(kinds), None, boxes)


def _event(document: dict[str, Any], finished: int, analysed: int) -> StoredEvent:
    received = tuple(map(str, document["boxes_received"]))
    requested = tuple(map(str, document["boxes_triggered"]))
    missing = {str(box_id): str(why) for box_id, why in document["missing"].items()}
    span = int(document["start_ns"]), int(document["end_ns"])
    return StoredEvent(
        int(document["event_id"]), *span, requested, received, missing, bool(finished), bool(analysed)
    )


def _opened(data_dir: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{data_dir / FILE_NAME}?mode=ro", uri=True, timeout=TIMEOUT_S)
