"""The rows of the index by incident and Box, in the embedded store: table `incident_boxes`."""

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any

from opq_cloud.store.documents.findings import known_from_document
from opq_cloud.store.embedded.incident_index import ENTRY, FILL_ROWS, SINCE
from opq_cloud.store.embedded.schema import EmbeddedPart
from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident, IndexPlace
from opq_cloud.store.incidents.join_plan import KnownFinding
from opq_cloud.store.incidents.parts import BoxPart, IndexedParts, Row, in_order, part_of, row_boxes

FEW_BOXES = 100
"""Rows of up to this many Boxes are merged; for more, all rows are read in order until enough fit."""
_FILLED, _FILLED_TO = "incident_boxes", "incident_boxes_to"
_PART = (
    "b.box_id, b.start_ns, b.end_ns, b.kind, b.residual_percent, b.length_ns, b.worst_start_ns, b.worst_id"
)
_ENTRY_FIELDS = 9

Pair = tuple[int, str]


class EmbeddedParts(EmbeddedPart):
    """The table with one row per incident and Box."""

    def incident_parts(
        self,
        seen: Collection[str],
        wanted: IncidentFilter,
        beyond: IndexPlace | None = None,
        back: bool = False,
    ) -> Iterator[IndexedParts]:
        self._fill_parts()
        with self._database.read() as connection:
            rows = _rows(connection, seen, wanted, beyond, back)
            text, values = parts_statement(seen, wanted)

            def read(numbers: Sequence[int]) -> Iterator[IndexedParts]:
                found = connection.execute(text, [json.dumps(numbers), *values])
                for _, group in groupby(found, key=itemgetter(0)):
                    yield _parts(list(group))

            yield from in_order(rows, read, beyond, back)

    def _fill_parts(self) -> None:
        """Index the incidents that an older version stored without these rows. Done once, slice by slice."""
        done = self._is_filled(_FILLED)
        while not done:
            done = self._database.write(_fill_slice)


def _parts(rows: Sequence[tuple[Any, ...]]) -> IndexedParts:
    entry = IndexedIncident(*rows[0][:_ENTRY_FIELDS])
    words, boxes = rows[0][_ENTRY_FIELDS : _ENTRY_FIELDS + 2]
    return IndexedParts(entry, words, boxes, tuple(BoxPart(*row[_ENTRY_FIELDS + 2 :]) for row in rows))


def _rows(
    connection: sqlite3.Connection,
    seen: Collection[str],
    wanted: IncidentFilter,
    beyond: IndexPlace | None,
    back: bool,
) -> Iterator[Row]:
    """Yields rows in order: for few Boxes merged from each one's index, for many from one index."""
    boxes, among = row_boxes(seen, wanted, beyond, back)
    groups = [[box_id] for box_id in boxes] if len(boxes) <= FEW_BOXES else [boxes]
    since_ns = wanted.start_ns
    if since_ns is not None:
        (found_ns,) = connection.execute(SINCE, (since_ns,)).fetchone()
        since_ns = since_ns if found_ns is None else found_ns  # None: nothing ends after it
    if wanted.began_ns is not None:
        since_ns = max(since_ns or 0, wanted.began_ns)
    statements = (rows_statement(group, among, wanted, beyond, back, since_ns) for group in groups)
    cursors = [connection.execute(text, values) for text, values in statements]
    return merge(*cursors, reverse=not back)


def rows_statement(
    boxes: Collection[str],
    among: tuple[str, ...],
    wanted: IncidentFilter,
    beyond: IndexPlace | None,
    back: bool,
    since_ns: int | None,
) -> tuple[str, list[object]]:
    """Returns the statement for (start, number) at one or many Boxes, in order, from `beyond` on.

    Args:
        among: Boxes of which an incident must be at one; empty for any.
        since_ns: no incident that overlaps the wanted span begins earlier.
    """
    # + stops the planner from using an index, after which it would have to sort
    own = "b.box_id = ?" if len(boxes) == 1 else "+b.box_id IN (SELECT value FROM json_each(?))"
    first = next(iter(boxes)) if len(boxes) == 1 else json.dumps(list(boxes))
    where, values = [own], list[object]([first])
    if among:
        there = "SELECT group_id FROM incident_boxes WHERE box_id IN (SELECT value FROM json_each(?))"
        where.append(f"+b.group_id IN ({there})")
        values.append(json.dumps(among))
    for text, value in (
        ("b.start_ns >= ?", since_ns),
        ("b.start_ns < ?", wanted.end_ns),
        (f"b.start_ns {'>=' if back else '<='} ?", None if beyond is None else beyond.value),
    ):
        if value is not None:
            where.append(text)
            values.append(value)
    turn = "ASC" if back else "DESC"
    order = f"b.start_ns {turn}, b.group_id {turn}"
    return (
        f"SELECT b.start_ns, b.group_id FROM incident_boxes b WHERE {' AND '.join(where)} ORDER BY {order}",
        values,
    )


def parts_statement(seen: Collection[str], wanted: IncidentFilter) -> tuple[str, list[object]]:
    """Returns the statement for incidents with their rows, if the whole incident overlaps the wanted span.

    The caller puts the incidents' numbers before the values, as JSON.
    """
    where = [
        "i.group_id IN (SELECT value FROM json_each(?))",
        "+b.box_id IN (SELECT value FROM json_each(?))",
    ]
    values: list[object] = [json.dumps(list(seen))]
    for text, value in (("i.end_ns > ?", wanted.start_ns), ("i.start_ns < ?", wanted.end_ns)):
        if value is not None:
            where.append(text)
            values.append(value)
    source = "incident_index i CROSS JOIN incident_boxes b ON b.group_id = i.group_id"
    return f"SELECT {ENTRY}, i.words, i.boxes, {_PART} FROM {source} WHERE {' AND '.join(where)}", values


def enter_parts(
    connection: sqlite3.Connection,
    pairs: Iterable[Pair],
    written: Iterable[KnownFinding] = (),
    whole: Collection[int] = (),
) -> None:
    """Writes the rows of these incidents and Boxes from their findings, after the entries are written.

    Findings just `written` are not read back: that would take a third of the commit of thousands of findings.

    Args:
        whole: incidents of which every finding is in `written`.
    """
    every, fresh = sorted(set(pairs)), {one.finding_id: one for one in written}
    of_pair: dict[Pair, list[KnownFinding]] = {}
    for one in fresh.values():
        of_pair.setdefault((one.incident_id, one.finding.box_id), []).append(one)
    parts: list[tuple[Pair, BoxPart]] = []
    more: Counter[int] = Counter()
    for number, box_id in every:
        known = of_pair.get((number, box_id), []) if number in whole else None
        if known is None:
            rows = connection.execute(
                "SELECT incident_id, document FROM incidents WHERE group_id = ? AND box_id = ?",
                (number, box_id),
            )
            known = [fresh.get(own_id) or known_from_document(json.loads(text)) for own_id, text in rows]
            gone = connection.execute(
                "DELETE FROM incident_boxes WHERE group_id = ? AND box_id = ?", (number, box_id)
            )
            more[number] -= gone.rowcount
        if known:
            parts.append(((number, box_id), part_of(known)))
            more[number] += 1
    connection.executemany(
        "INSERT OR REPLACE INTO incident_boxes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                *pair, part.start_ns, part.end_ns, part.kind, part.residual_percent,
                part.length_ns, part.worst_start_ns, part.worst_id,
            )
            for pair, part in parts
        ),
    )  # fmt: skip
    connection.executemany(  # counts all Boxes only once, then adds the difference
        "UPDATE incident_index SET boxes = CASE WHEN boxes > 0 THEN boxes + ?2 ELSE "
        "(SELECT count(*) FROM incident_boxes WHERE group_id = ?1) END WHERE group_id = ?1",
        [each for each in more.items() if each[1]],
    )


def pairs_of(connection: sqlite3.Connection, finding_ids: Sequence[int]) -> list[Pair]:
    """Returns the stored incident and Box of each of these findings."""
    rows = connection.execute(
        "SELECT group_id, box_id FROM incidents WHERE incident_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(finding_ids)),),
    )
    return [(int(number), str(box_id)) for number, box_id in rows]


def _fill_slice(connection: sqlite3.Connection) -> bool:
    """Indexes one slice, from the end of the slice before; returns whether it was the last."""
    row = connection.execute("SELECT value FROM counters WHERE name = ?", (_FILLED_TO,)).fetchone()
    after = 0 if row is None else int(row[0])
    numbers = connection.execute(
        "SELECT DISTINCT group_id FROM incidents WHERE group_id > ? ORDER BY group_id LIMIT ?",
        (after, FILL_ROWS),
    ).fetchall()
    ended = len(numbers) < FILL_ROWS
    if numbers:
        pairs = connection.execute(
            "SELECT DISTINCT group_id, box_id FROM incidents WHERE group_id BETWEEN ? AND ?",
            (numbers[0][0], numbers[-1][0]),
        ).fetchall()
        enter_parts(connection, pairs)
    name, value = (_FILLED, 1) if ended else (_FILLED_TO, int(numbers[-1][0]))
    connection.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, value))
    return ended
