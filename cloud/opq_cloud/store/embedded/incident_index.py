"""The index of incidents and the notes of people, in the embedded store."""

import json
import sqlite3
from collections.abc import Iterable, Sequence

from opq_cloud.store.documents.findings import known_from_document
from opq_cloud.store.embedded.schema import EmbeddedPart, next_number
from opq_cloud.store.incidents.index import (
    MAX_NOTES,
    NO_AUTHOR,
    IncidentFilter,
    IncidentNote,
    IndexedIncident,
    IndexPlace,
    cell_of,
    entry_of_facts,
    entry_of_incident,
    label_of,
    tags_of,
    words_of,
)
from opq_cloud.store.incidents.join_plan import IncidentFacts, JoinPlan, incident_of
from opq_proto.errors import StoreError

FILL_ROWS = 500
"""Incidents of an older version that are indexed in one write."""
FEW_SINCE = 10_000
"""If fewer incidents end after a moment, a search since then starts at the earliest start of these."""
ENTRY = (
    "i.group_id, i.start_ns, i.end_ns, i.kind, i.residual_percent, i.severity, i.scope, i.label, "
    "i.machine_kind"
)
_SORTED_BY = {"severe": "coalesce(i.severity, 0)", "long": "coalesce(i.length_ns, 0)"}
SINCE = (
    f"SELECT CASE WHEN count(*) < {FEW_SINCE} THEN min(start_ns) ELSE 0 END FROM "
    f"(SELECT start_ns FROM incident_index WHERE end_ns > ? LIMIT {FEW_SINCE})"
)
"""The earliest start of the incidents that end after a moment.

So a search in a class since a week ago does not read all incidents of the class.
"""
_FILLED, _FILLED_TO = "incident_index", "incident_index_to"


class EmbeddedIndex(EmbeddedPart):
    """Tables `incident_index`, `incident_tags` (for class and Box), `incident_notes` and `incident_heirs`."""

    def find_incidents(
        self, wanted: IncidentFilter, limit: int, beyond: IndexPlace | None = None, back: bool = False
    ) -> list[IndexedIncident]:
        self._fill_index()
        text, values = find_statement(wanted, limit, beyond, back)
        with self._database.read() as connection:
            return [IndexedIncident(*row) for row in connection.execute(text, values)]

    def count_incidents(self, wanted: IncidentFilter, most: int) -> int:
        self._fill_index()
        text, values = count_statement(wanted, most)
        with self._database.read() as connection:
            return int(connection.execute(text, values).fetchone()[0])

    def incident_cells(self, wanted: IncidentFilter) -> dict[int, int]:
        self._fill_index()
        source, where, values = _conditions(wanted)
        text = f"SELECT i.cell, count(*) FROM {source} WHERE {where} AND i.cell IS NOT NULL GROUP BY i.cell"
        with self._database.read() as connection:
            return {int(cell): int(count) for cell, count in connection.execute(text, values)}

    def put_note(self, note: IncidentNote) -> IncidentNote:
        self._fill_index()

        def job(connection: sqlite3.Connection) -> IncidentNote:
            number = note.incident_id
            if connection.execute("SELECT 1 FROM incidents WHERE group_id = ?", (number,)).fetchone() is None:
                raise StoreError(f"there is no incident {number}; it may have been joined with another")
            notes = _notes(connection, number)
            if len(notes) >= MAX_NOTES:
                raise StoreError(f"incident {number} has {MAX_NOTES} notes, and no more are kept")
            stored = IncidentNote(
                next_number(connection, "note_id"), number, note.at_ms, note.account_id, note.kind, note.text
            )
            connection.execute(
                "INSERT INTO incident_notes VALUES (?, ?, ?, ?)",
                (stored.note_id, number, stored.account_id, json.dumps(stored.as_document())),
            )
            _write_notes(connection, number, [*notes, stored])
            return stored

        return self._database.write(job)

    def successor(self, incident_id: int) -> int | None:
        with self._database.read() as connection:
            found = connection.execute("SELECT heir FROM incident_heirs WHERE group_id = ?", (incident_id,))
            return next((int(number) for (number,) in found), None)

    def notes(self, incident_id: int) -> list[IncidentNote]:
        with self._database.read() as connection:
            return _notes(connection, incident_id)

    def notes_of(self, account_id: str) -> list[IncidentNote]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT document FROM incident_notes WHERE account_id = ? ORDER BY note_id", (account_id,)
            ).fetchall()
        return [IncidentNote(**json.loads(text)) for (text,) in rows]

    def forget_author(self, account_id: str) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE incident_notes SET account_id = ?1, "
                "document = json_set(document, '$.account_id', ?1) WHERE account_id = ?2",
                (NO_AUTHOR, account_id),
            )

        self._database.write(job)

    def _fill_index(self) -> None:
        """Indexes the incidents that a version without the index stored; once, in slices."""
        done = self._is_filled(_FILLED)
        while not done:
            done = self._database.write(_fill_slice)


def find_statement(
    wanted: IncidentFilter, limit: int, beyond: IndexPlace | None, back: bool
) -> tuple[str, list[object]]:
    """Returns the statement and its values; `back` reverses the order."""
    source, where, values = _conditions(wanted)
    table, turn = "t" if wanted.tags else "i", "ASC" if back else "DESC"
    key, number = _SORTED_BY.get(wanted.order, f"{table}.start_ns"), f"{table}.group_id"
    if beyond is not None:
        where += f" AND ({key}, {number}) {'>' if back else '<'} (?, ?)"
        values += beyond.key
    order = f"{key} {turn}, {number} {turn}"
    return f"SELECT {ENTRY} FROM {source} WHERE {where} ORDER BY {order} LIMIT ?", [*values, limit]


def count_statement(wanted: IncidentFilter, most: int) -> tuple[str, list[object]]:
    source, where, values = _conditions(wanted)
    return f"SELECT count(*) FROM (SELECT 1 FROM {source} WHERE {where} LIMIT ?)", [*values, most]


def _conditions(wanted: IncidentFilter) -> tuple[str, str, list[object]]:
    """Returns FROM, WHERE and values; the query reads the rarest tag's rows and checks the other tags."""
    parts: list[str] = []
    values: list[object] = []
    source, number, start = "incident_index i", "i.group_id", "i.start_ns"
    for row, tag in enumerate(wanted.tags):
        if row == 0:
            source = "incident_tags t CROSS JOIN incident_index i ON i.group_id = t.group_id"
            number, start = "t.group_id", "t.start_ns"
            parts.append("t.tag = ?")
        else:
            parts.append(f"EXISTS (SELECT 1 FROM incident_tags u WHERE u.tag = ? AND u.group_id = {number})")
        values.append(tag)
    if wanted.box_ids is not None:
        parts.append(
            f"{number} IN (SELECT group_id FROM incident_tags WHERE tag IN (SELECT value FROM json_each(?)))"
        )
        values.append(json.dumps([f"box:{box_id}" for box_id in wanted.box_ids]))
    plain = (
        ("i.scope = ?", wanted.scope or None),
        ("i.severity >= ?", wanted.least_severity),
        ("i.end_ns > ?", wanted.start_ns),
        (f"{start} >= ({SINCE})", wanted.start_ns),
        (f"{start} >= ?", wanted.began_ns),
        (f"{start} < ?", wanted.end_ns),
        ("i.cell = ?", wanted.cell),
    )
    for text, value in plain:
        if value is not None:
            parts.append(text)
            values.append(value)
    for word in wanted.searched:
        parts.append("i.words != '' AND instr(i.words, ?) > 0")
        values.append(word)
    return source, " AND ".join(parts) or "1", values


def _fill_slice(connection: sqlite3.Connection) -> bool:
    """Indexes one slice, from the end of the slice before; returns whether it was the last."""
    row = connection.execute("SELECT value FROM counters WHERE name = ?", (_FILLED_TO,)).fetchone()
    rows = connection.execute(
        "SELECT DISTINCT group_id FROM incidents WHERE group_id > ? ORDER BY group_id LIMIT ?",
        (0 if row is None else int(row[0]), FILL_ROWS),
    ).fetchall()
    for (number,) in rows:
        known = connection.execute("SELECT 1 FROM incident_index WHERE group_id = ?", (number,)).fetchone()
        if known is None:
            _enter_stored(connection, number)
    ended = len(rows) < FILL_ROWS
    name, value = (_FILLED, 1) if ended else (_FILLED_TO, int(rows[-1][0]))
    connection.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, value))
    return ended


def _enter_stored(connection: sqlite3.Connection, number: int) -> None:
    """Indexes a stored incident, from its findings."""
    documents = connection.execute("SELECT document FROM incidents WHERE group_id = ?", (number,))
    known = [known_from_document(json.loads(text)) for (text,) in documents]
    facts = connection.execute("SELECT document FROM incident_facts WHERE group_id = ?", (number,)).fetchone()
    if known:
        known_facts = IncidentFacts.of_document(json.loads(facts[0])) if facts else None
        incident = incident_of(known, known_facts)
        _enter(connection, entry_of_incident(incident), incident.box_ids)


def successors_of(connection: sqlite3.Connection, plan: JoinPlan) -> dict[int, int]:
    """Returns ending incident -> one of its findings; the new incident of that finding gets its notes."""
    found = {}
    for number in plan.gone:
        row = connection.execute(
            "SELECT incident_id FROM incidents WHERE group_id = ? AND incident_id NOT IN "
            "(SELECT value FROM json_each(?)) ORDER BY start_ns, incident_id LIMIT 1",
            (number, json.dumps(plan.removed)),
        ).fetchone()
        if row is not None:
            found[number] = int(row[0])
    return found


def index_plan(
    connection: sqlite3.Connection,
    facts: Sequence[IncidentFacts],
    added: Sequence[tuple[int, str]],
    changed: Sequence[int],
    gone: Sequence[int],
    successors: dict[int, int],
) -> None:
    """Indexes what a plan has written: `added` are (incident, Box); `changed` ones may have lost a Box."""
    for one in facts:
        _enter(connection, entry_of_facts(one), ())
    for number in {number for number, _ in added} - {one.incident_id for one in facts}:
        _enter_stored(connection, number)  # the plan has no facts of it
    _tag(connection, ((number, f"box:{box_id}") for number, box_id in added))
    for number in changed:
        connection.execute("DELETE FROM incident_tags WHERE group_id = ? AND tag LIKE 'box:%'", (number,))
        connection.execute(
            "INSERT INTO incident_tags SELECT DISTINCT 'box:' || f.box_id, i.start_ns, i.group_id "
            "FROM incidents f JOIN incident_index i ON i.group_id = f.group_id WHERE f.group_id = ?",
            (number,),
        )
    for number in gone:
        successor = connection.execute(
            "SELECT group_id FROM incidents WHERE incident_id = ?", (successors.get(number, 0),)
        ).fetchone()
        connection.execute("DELETE FROM incident_index WHERE group_id = ?", (number,))
        connection.execute("DELETE FROM incident_tags WHERE group_id = ?", (number,))
        if successor is None:
            connection.execute("DELETE FROM incident_heirs WHERE heir = ?", (number,))
        else:
            _inherit(connection, number, int(successor[0]))


def _inherit(connection: sqlite3.Connection, number: int, successor: int) -> None:
    """Gives the notes and the number of an incident to the incident that it is part of now."""
    connection.execute("UPDATE incident_heirs SET heir = ?1 WHERE heir = ?2", (successor, number))
    connection.execute("INSERT OR REPLACE INTO incident_heirs VALUES (?, ?)", (number, successor))
    moved = connection.execute(
        "UPDATE incident_notes SET group_id = ?1, document = json_set(document, '$.incident_id', ?1) "
        "WHERE group_id = ?2",
        (successor, number),
    )
    if moved.rowcount:
        _write_notes(connection, successor, _notes(connection, successor))


def forget_incident(connection: sqlite3.Connection, number: int) -> None:
    """Deletes the entry, notes and other rows of an expired incident."""
    for table in ("incident_index", "incident_tags", "incident_notes", "incident_boxes"):
        connection.execute(f"DELETE FROM {table} WHERE group_id = ?", (number,))
    connection.execute("DELETE FROM incident_heirs WHERE heir = ?", (number,))


def labels(connection: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, str]:
    """Returns incident -> the class that a person gave it."""
    rows = connection.execute(
        "SELECT group_id, label FROM incident_index WHERE label IS NOT NULL "
        "AND group_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(numbers)),),
    )
    return {int(number): str(label) for number, label in rows}


def _enter(connection: sqlite3.Connection, entry: IndexedIncident, box_ids: Sequence[str]) -> None:
    """Writes an entry; a class from a label stays."""
    before = connection.execute(
        "SELECT start_ns FROM incident_index WHERE group_id = ?", (entry.incident_id,)
    ).fetchone()
    connection.execute(
        "INSERT INTO incident_index (group_id, start_ns, end_ns, length_ns, kind, machine_kind, "
        "residual_percent, severity, scope, cell) VALUES (?1, ?2, ?3, ?3 - ?2, ?4, ?4, ?5, ?6, ?7, ?8) "
        "ON CONFLICT (group_id) DO UPDATE SET start_ns = excluded.start_ns, end_ns = excluded.end_ns, "
        "length_ns = excluded.length_ns, kind = coalesce(label, excluded.kind), "
        "machine_kind = excluded.machine_kind, residual_percent = excluded.residual_percent, "
        "severity = excluded.severity, scope = excluded.scope, cell = excluded.cell",
        (
            entry.incident_id, entry.start_ns, entry.end_ns, entry.kind, entry.residual_percent,
            entry.severity, entry.scope, cell_of(entry.residual_percent, entry.start_ns, entry.end_ns),
        ),
    )  # fmt: skip
    if before is not None and before[0] != entry.start_ns:  # reads the tags of all its Boxes
        connection.execute(
            "UPDATE incident_tags SET start_ns = ?2 WHERE group_id = ?1 AND start_ns != ?2",
            (entry.incident_id, entry.start_ns),
        )
    _retag(connection, entry.incident_id)
    _tag(connection, ((entry.incident_id, f"box:{box_id}") for box_id in box_ids))


def _retag(connection: sqlite3.Connection, number: int) -> None:
    """Replaces the tags of the incident's class."""
    (kind,) = connection.execute("SELECT kind FROM incident_index WHERE group_id = ?", (number,)).fetchone()
    tags = tags_of(kind)
    connection.execute(
        "DELETE FROM incident_tags WHERE group_id = ? AND tag BETWEEN 'class:' AND 'class;' "
        "AND tag NOT IN (SELECT value FROM json_each(?))",
        (number, json.dumps(tags)),
    )
    _tag(connection, ((number, tag) for tag in tags))


def _tag(connection: sqlite3.Connection, tags: Iterable[tuple[int, str]]) -> None:
    """Adds (incident, tag) with the incident's start, so that the rows of a tag are in time order."""
    connection.executemany(
        "INSERT OR IGNORE INTO incident_tags SELECT ?2, start_ns, group_id FROM incident_index "
        "WHERE group_id = ?1",
        tags,
    )


def _notes(connection: sqlite3.Connection, number: int) -> list[IncidentNote]:
    rows = connection.execute(
        "SELECT document FROM incident_notes WHERE group_id = ? ORDER BY note_id", (number,)
    ).fetchall()
    return [IncidentNote(**json.loads(text)) for (text,) in rows]


def _write_notes(connection: sqlite3.Connection, number: int, notes: Sequence[IncidentNote]) -> None:
    """Updates the searched words, the label and the class of an incident from its notes."""
    connection.execute(
        "UPDATE incident_index SET words = ?1, label = ?2, kind = coalesce(?2, machine_kind) "
        "WHERE group_id = ?3",
        (words_of(notes), label_of(notes), number),
    )
    if connection.execute("SELECT 1 FROM incident_index WHERE group_id = ?", (number,)).fetchone():
        _retag(connection, number)
