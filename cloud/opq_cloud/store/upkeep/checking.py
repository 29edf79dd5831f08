"""Checks a whole store: SQLite's own check, sums of Measurements and waveforms, documents, and references.

The check changes nothing, and others may write meanwhile.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from opq_cloud.store.documents import known_whole, text_of, texts_of
from opq_cloud.store.driver import Documents
from opq_cloud.store.embedded.schema import BOXES_PER_SEGMENT
from opq_cloud.store.embedded.whole_log import span_text
from opq_cloud.store.records.tables import BOX_EVENTS, EVENTS, INCIDENTS, NOTES
from opq_cloud.store.store import CloudStore
from opq_cloud.store.upkeep.copying import Shown, read_store
from opq_proto.errors import StoreError
from opq_proto.kit.sqlite_file import reading_address

MOST_LINES = 50
"""Lines of SQLite's own check of one file."""


@dataclass
class CheckReport:
    """What was read, by table, and a line for each thing that is wrong."""

    checked: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def check_store(store: CloudStore, shown: Shown = lambda name, count: None) -> CheckReport:
    """Reads everything, and compares sums and references."""
    report = CheckReport()
    try:
        found = read_store(store, shown, samples=True)
        report.checked = {name: each.count for name, each in found.copied.items()}
        report.problems += found.problems
        unnamed = sum(each.left for each in found.copied.values()) - len(found.problems)
        if unnamed > 0:
            report.problems.append(f"{unnamed} more that cannot be read")
        with store.driver.read() as documents:
            report.problems += broken_references(documents)
    except StoreError as error:
        report.problems.append(str(error))
    return report


def file_problems(path: Path) -> list[str]:
    """Returns what SQLite itself finds in a file, documents that are not JSON, and lost blocks."""
    try:
        with closing(sqlite3.connect(reading_address(path), uri=True, timeout=60)) as file:
            file.execute("BEGIN")  # one state of the file, others may write
            found = file.execute(f"PRAGMA quick_check({MOST_LINES})").fetchall()
            lines = [f"{path.name}: {' '.join(line.split())}" for (line,) in found if line != "ok"]
            return lines or [f"{path.name}: {line}" for line in (*_not_json(file), *lost_measurements(file))]
    except sqlite3.Error as error:
        return [f"{path.name}: {error}"]


def _not_json(file: sqlite3.Connection) -> Iterator[str]:
    holding = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%document TEXT%'"
    for (table,) in file.execute(holding).fetchall():
        (count,) = file.execute(f"SELECT count(*) FROM {table} WHERE NOT json_valid(document)").fetchone()
        if count:
            yield f"{table}: {count} documents are damaged"


def lost_measurements(file: sqlite3.Connection) -> Iterator[str]:
    """Yields a line for each segment of which blocks are missing; nothing in `accounts.db`."""
    if not file.execute("SELECT 1 FROM sqlite_master WHERE name = 'segments'").fetchone():
        return
    held = dict(
        file.execute(f"SELECT block / {BOXES_PER_SEGMENT}, sum(rows) FROM blocks GROUP BY 1").fetchall()
    )
    for segment, start_ms, end_ms, rows in file.execute(
        "SELECT segment, start_ms, end_ms, rows FROM segments"
    ):
        if (missing := rows - held.get(segment, 0)) != 0:
            yield f"{missing} of {rows} Measurements {span_text(start_ms, end_ms)} are missing"


def broken_references(documents: Documents) -> Iterator[str]:
    """Yields a line for each document that names a missing one. A missing one is searched once more, because
    others may write meanwhile.
    """
    named: set[tuple[int, str]] = set()
    for event in documents.find(EVENTS):
        named |= {(event.get("event_id", 0), box_id) for box_id in texts_of(event.get("boxes_received"))}
    fields = ("event_id", "box_id")
    waves = {
        (each.get("event_id"), text_of(each.get("box_id")))
        for each in documents.find(BOX_EVENTS, fields=fields)
    }
    for event_id, box_id in sorted(named - waves, key=str):
        lost = documents.get(BOX_EVENTS, event_id, box_id) is None
        if lost and documents.get(EVENTS, event_id) is not None:
            yield f"event {event_id}: the waveform of Box {box_id} is missing"
    for number, box in sorted(waves - named, key=str):
        if documents.get(EVENTS, number) is None:
            yield f"waveform of Box {box}: its event {number} is missing"
    incidents = set()
    for finding in documents.find(INCIDENTS):
        number = finding.get("incident_id")
        incidents.add(finding.get("group_id", number))
        numbers = map(known_whole, finding.get("event_ids") or (finding.get("event_id"),))
        events = [each for each in numbers if each is not None and each > 0]
        if events and all(documents.get(EVENTS, each) is None for each in events):
            yield f"finding {number}: its event {max(events)} is missing"
    for note in documents.find(NOTES):
        if note.get("incident_id") not in incidents:
            yield f"note {note.get('note_id')}: its incident {note.get('incident_id')} is missing"
