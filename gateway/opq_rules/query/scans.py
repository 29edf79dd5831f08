"""Scans: the rows that scan tables hold in memory, the oldest of each leaves first."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opq_rules.batch import Row
from opq_rules.query.origin import Origin

BATCH_TYPES = ("file", "mock", "simulator")
"""Sources that end: a scan table of theirs holds all rows, of others the last."""
MOST_ROWS = 1_000_000
"""Of such a table."""


class Scans:
    """`rows`: by number in FROM. `retain`: how many a table keeps, by name, whatever its definition says."""

    def __init__(self, tables: Iterable[Origin], retain: Mapping[str, int]) -> None:
        self._tables = {table.index: table for table in tables}
        self.rows = {
            index: deque[Row](maxlen=retain.get(table.stream, _kept_rows(table)))
            for index, table in self._tables.items()
        }

    def take(self, stream: str, rows: Sequence[Row]) -> bool:
        """Whether `stream` is a table of these; then it has the rows, under each of its names."""
        taken = False
        for index, table in self._tables.items():
            if table.stream == stream:
                self.rows[index].extend(rows)
                taken = True
        return taken

    def by_name(self) -> dict[str, list[Row]]:
        return {self._tables[index].name: list(rows) for index, rows in self.rows.items()}

    def state(self) -> Any:
        return {str(index): list(rows) for index, rows in self.rows.items()}

    def restore(self, state: Any) -> None:
        for index, rows in self.rows.items():
            rows.clear()
            rows.extend(state[str(index)])


def _kept_rows(table: Origin) -> int:
    asked = table.definition.retain_size
    if asked is not None:
        return asked
    return MOST_ROWS if table.definition.type in BATCH_TYPES else 1
