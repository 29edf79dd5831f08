"""Thirty minutes of incidents that the original stores late, replayed without a clock or a server."""

import itertools
import operator
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from opq_cloud.store.documents.readable import ReadableDocuments
from opq_cloud.store.driver import Fields, Table, Where
from opq_cloud.store.records.incidents.original_index import OriginalIndex
from opq_cloud.store.records.tables import INCIDENTS, INDEX, PARTS

T_MS = 1_600_000_000_000
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    "in": lambda value, values: value in values,
}


class MemoryDocuments:
    """`driver.Documents` and `driver.Driver`, as far as the index of the original uses them."""

    atomic, original = False, True

    def __init__(self) -> None:
        self.readable = ReadableDocuments()
        self.rows: dict[str, dict[object, Fields]] = {each.name: {} for each in (INCIDENTS, INDEX, PARTS)}
        self.counters: dict[str, int] = {}

    @contextmanager
    def read(self) -> Iterator["MemoryDocuments"]:
        yield self

    def exclusive(self, name: str, job: Callable[["MemoryDocuments"], int]) -> int:
        return job(self)

    def find(
        self,
        table: Table,
        where: Where = (),
        *,
        sort: Sequence[str] = (),
        limit: int | None = None,
        fields: Sequence[str] = (),
        batch: int | None = None,
    ) -> Iterator[Fields]:
        rows = self.rows[table.name].values()
        found = [
            row for row in rows if all(OPERATORS[how](row.get(name), value) for name, how, value in where)
        ]
        for name in reversed(sort):
            found.sort(key=operator.itemgetter(name.removeprefix("-")), reverse=name.startswith("-"))
        yield from found[:limit]

    def add(self, table: Table, documents: Sequence[Fields]) -> int:
        rows = self.rows[table.name]
        for each in documents:
            rows.setdefault(tuple(each[name] for name in table.key), each)
        return len(documents)

    def number(self, name: str) -> int | None:
        return self.counters.get(name)

    def first_number(self, name: str, drawn: int) -> int:
        return self.counters.setdefault(name, drawn)

    def raise_number(self, name: str, value: int | None = None) -> None:
        before = self.counters.get(name, 0)
        self.counters[name] = before + 1 if value is None else max(before, value)


def theirs(number: int) -> Fields:
    return {
        "incident_id": number,
        "event_id": 3,
        "box_id": "4",
        "start_timestamp_ms": T_MS + 60_000.0 * number,
        "end_timestamp_ms": T_MS + 60_000.0 * number + 250.0,
        "measurement_type": "VOLTAGE",
        "deviation_from_nominal": 24.0,
        "classifications": ["VOLTAGE_SAG"],
        "annotations": [],
    }


@pytest.mark.parametrize("restart_each", [1000, 7], ids=["one process", "restarts"])
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_late_incidents_are_indexed(seed: int, restart_each: int) -> None:
    """Each 10 s a dip, of which five plug-ins draw numbers and store incidents up to 40 s later.

    Ours draws numbers of the same service between them: 3 a dip, and 3,000 in one plan of a large fleet.
    """
    chance, numbers = random.Random(seed), itertools.count(1)
    documents, waiting, stored = MemoryDocuments(), list[tuple[float, int]](), set[int]()
    index = OriginalIndex(documents)  # type: ignore[arg-type]
    for step in range(180):
        at_s = 10.0 * step
        for plug_in in range(5):
            waiting.append((at_s + chance.uniform(0.5, 8.0 * (plug_in + 1)), next(numbers)))
            ours = 3000 if step % 40 == 20 and plug_in == 2 else chance.randrange(2)
            list(itertools.islice(numbers, ours))
        for now_s in (at_s + 5.0, at_s + 10.0):
            due = {number for when_s, number in waiting if when_s <= now_s}
            documents.add(INCIDENTS, [theirs(number) for number in due])
            waiting = [each for each in waiting if each[1] not in due]
            stored |= due
            index.index_slice()
            assert len(documents.rows[INDEX.name]) == len(stored), f"after {now_s:g} s"
        if step % restart_each == restart_each - 1:
            index = OriginalIndex(documents)  # type: ignore[arg-type]
    indexed = {each["incident_id"] for each in documents.find(INDEX)}
    assert indexed == stored and len(stored) > 850 and len(documents.rows[PARTS.name]) == len(stored)
