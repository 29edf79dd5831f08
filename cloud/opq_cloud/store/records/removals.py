"""Removal of documents with what belongs to them: files, and rows of other tables.

The documents name their files, so files that outlive them would never be found, and documents that outlive
their files are damaged if they stay after all. MongoDB runs a job step by step. So a removal is noted there,
then the documents go, then what belongs to those that are gone, then the note. The next call completes a
removal that was cut. A job of SQLite is not cut and needs no note.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from uuid import uuid4

from opq_cloud.store.driver import Condition, Documents, Fields, Table
from opq_cloud.store.records.tables import REMOVALS

ClearRest = Callable[[Documents, Sequence[Fields]], Iterable[None]]
"""Removes what belonged to documents that are gone, as often as it is called; yields between statements."""


def never() -> bool:
    return False


def remove_whole(
    documents: Documents,
    table: Table,
    rows: Sequence[Fields],
    due_s: int | None,
    clear_rest: ClearRest,
    stopped: Callable[[], bool] = never,
) -> int:
    """Removes documents and what belongs to them; returns how many.

    Args:
        due_s: those that expire later stay; None: all of them go.
        rows: of each document its number, and what `clear_rest` needs, as values of JSON.
        stopped: whether to break off; then a further call completes the removal.
    """
    note = uuid4().hex
    if not documents.atomic:
        stated = {"removal": note, "table": table.name, "due_s": due_s, "rows": [*rows]}
        documents.insert(REMOVALS, stated)
    gone = documents.remove(table, _to_go(table, rows, due_s))
    _complete(documents, table, note, rows, due_s, clear_rest, stopped)
    return gone


def complete_removals(
    documents: Documents, table: Table, clear_rest: ClearRest, stopped: Callable[[], bool] = never
) -> None:
    """Completes the removals of a table that were cut."""
    if documents.atomic:
        return
    for each in list(documents.find(REMOVALS, [("table", "=", table.name)])):
        _complete(documents, table, each["removal"], each["rows"], each["due_s"], clear_rest, stopped)


def _complete(
    documents: Documents,
    table: Table,
    note: str,
    rows: Sequence[Fields],
    due_s: int | None,
    clear_rest: ClearRest,
    stopped: Callable[[], bool],
) -> None:
    """Clears what belonged to the documents that are gone; the note stays while others are to go."""
    (key,) = table.key
    left = {each[key] for each in documents.find(table, _to_go(table, rows), fields=table.key)}
    gone = [each for each in rows if each[key] not in left]
    steps: Iterator[None] = iter(clear_rest(documents, gone) if gone else ())
    for _ in steps:
        if not documents.atomic and stopped():
            return
    if documents.atomic or (left and documents.count(table, _to_go(table, rows, due_s), 1)):
        return
    documents.remove(REMOVALS, [("removal", "=", note)])


def _to_go(table: Table, rows: Sequence[Fields], due_s: int | None = None) -> list[Condition]:
    (key,) = table.key
    due: list[Condition] = [] if due_s is None else [("expire_at", "<=", due_s)]
    return [*due, (key, "in", [each[key] for each in rows])]  # FerretDB compares with many numbers slowly
