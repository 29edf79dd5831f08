"""SQL for the tables of the store: what `SqliteDocuments` runs. Pure.

A field is a column, an expression that an index has, or a value in the JSON column.
"""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import msgspec

from opq_cloud.store.driver import EarliestStart, Key, Table, Where

FEW_DOCUMENTS = 10_000
"""If fewer documents end after a moment, a search since then starts at the earliest start of these."""
Values = list[object]
Shape = tuple[tuple[str, str, object], ...]
"""Conditions with a mark in place of each value: statements of one shape have one text."""
_GIVEN = object()
"""Mark of a value that is given with the text."""


def _plain(value: object) -> float:
    """NumPy's float64 is a float, but msgspec takes only float itself."""
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"{type(value).__name__} is not a value of JSON")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)


def to_json(value: object) -> str:
    """Returns the JSON of a value; NaN becomes null, which is unknown."""
    return _ENCODER.encode(value).decode()


@cache
def read_columns(table: Table) -> tuple[str, ...]:
    """Returns the fields that are read of a row's columns; the JSON column comes after them."""
    return tuple(name for name in table.columns if table.in_columns or name in table.ahead)


@cache
def selection(table: Table) -> str:
    columns = [table.columns[name] for name in read_columns(table)]
    names = columns if table.in_columns else [*columns, "document"]
    return f"SELECT {', '.join(f'{_prefix(table)}{name}' for name in names)}"


@cache
def get_statement(table: Table) -> str:
    return f"{selection(table)} FROM {table.name}{_where_key(table)}"


@cache
def insert_statement(table: Table) -> str:
    names = [*table.columns.values(), *(() if table.in_columns else ("document",))]
    marks = ", ".join("?" * len(names))
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})"


@cache
def put_statement(table: Table) -> str:
    """Returns the statement that inserts a row, or replaces the one with its key."""
    key = [table.columns[name] for name in table.key]
    others = [*table.columns.values(), *(() if table.in_columns else ("document",))]
    changes = ", ".join(f"{name} = excluded.{name}" for name in others if name not in key)
    action = f"UPDATE SET {changes}" if changes else "NOTHING"
    return f"{insert_statement(table)} ON CONFLICT ({', '.join(key)}) DO {action}"


@cache
def update_statement(table: Table, fields: tuple[str, ...]) -> str:
    """Returns the statement that replaces a row, of whose columns only these fields change.

    SQLite writes each index that has a column which is set, changed or not. The values are the fields, the
    JSON, and the key.
    """
    names = [*(table.columns[name] for name in fields), *(() if table.in_columns else ("document",))]
    return f"UPDATE {table.name} SET {', '.join(f'{name} = ?' for name in names)}{_where_key(table)}"


@cache
def delete_statement(table: Table) -> str:
    returned = selection(table).removeprefix("SELECT").replace(f"{table.name}.", "")
    return f"DELETE FROM {table.name}{_where_key(table)} RETURNING{returned}"


def _where_key(table: Table) -> str:
    if not table.key:
        return ""
    return " WHERE " + " AND ".join(f"{table.columns[name]} = ?" for name in table.key)


def find_statement(
    table: Table,
    where: Where = (),
    sort: Sequence[str] = (),
    beyond: Key = (),
    limit: int | None = None,
    fields: Sequence[str] = (),
) -> tuple[str, Values]:
    """Returns the statement for `Documents.find`; with `fields` it selects these alone."""
    shape, values = _shape(where)
    text = _find_text(table, shape, tuple(sort), len(beyond), limit is not None, tuple(fields))
    values += beyond
    if beyond and sort[0].removeprefix("-") in table.derived:
        values.append(beyond[0])
    if limit is not None:
        values.append(limit)
    return text, values


@lru_cache(1000)
def _find_text(
    table: Table, shape: Shape, sort: tuple[str, ...], beyond: int, limited: bool, fields: tuple[str, ...]
) -> str:
    plan = _search(table, shape, sort)
    conditions = list(plan.conditions)
    keys = [plan.home(name.removeprefix("-")) for name in sort]
    falls = bool(sort) and sort[0].startswith("-")
    if beyond:
        marks = ", ".join("?" * beyond)
        conditions.append(f"({', '.join(keys)}) {'<' if falls else '>'} ({marks})")
        if sort[0].removeprefix("-") in table.derived:  # an index of an expression does not serve a tuple
            conditions.append(f"{keys[0]} {'<=' if falls else '>='} ?")
    chosen = f"SELECT {', '.join(plan.home(name) for name in fields)}" if fields else selection(table)
    text = f"{chosen} FROM {plan.source}{_all(conditions)}"
    if sort:
        text += f" ORDER BY {', '.join(f'{key} DESC' if falls else key for key in keys)}"
    return f"{text} LIMIT ?" if limited else text


def count_statement(table: Table, where: Where, most: int | None) -> tuple[str, Values]:
    shape, values = _shape(where)
    plan = _search(table, shape)
    if most is None:
        return f"SELECT count(*) FROM {plan.source}{_all(plan.conditions)}", values
    some = f"SELECT 1 FROM {plan.source}{_all(plan.conditions)} LIMIT ?"
    return f"SELECT count(*) FROM ({some})", [*values, most]


def tally_statement(table: Table, where: Where, field: str) -> tuple[str, Values]:
    shape, values = _shape(where)
    plan = _search(table, shape)
    home = plan.home(field)
    conditions = _all([*plan.conditions, f"{home} IS NOT NULL"])
    return f"SELECT {home}, count(*) FROM {plan.source}{conditions} GROUP BY {home}", values


def set_statement(table: Table, where: Where, values: Mapping[str, object]) -> tuple[str, Values]:
    """Returns the statement for `Documents.set_fields`."""
    shape, found = _shape(where)
    text, columns, in_json = _set_text(table, shape, tuple(values))
    given = [values[name] for name in columns] + [to_json(values[name]) for name in in_json]
    return text, [*given, *found]


@lru_cache(1000)
def _set_text(
    table: Table, shape: Shape, names: tuple[str, ...]
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Returns the text, and the fields that are set in columns and in the JSON."""
    columns = tuple(name for name in names if name in table.columns)
    in_json = tuple(name for name in names if not table.in_columns and name not in table.ahead)
    parts = [f"{table.columns[name]} = ?" for name in columns]
    if in_json:
        places = ", ".join(f"'$.{name}', json(?)" for name in in_json)
        parts.append(f"document = json_set(document, {places})")
    plan = _search(table, shape)
    return f"UPDATE {plan.source} SET {', '.join(parts)}{_all(plan.conditions)}", columns, in_json


def remove_statement(table: Table, where: Where, limit: int | None) -> tuple[str, Values]:
    shape, values = _shape(where)
    plan = _search(table, shape)
    if limit is None:
        return f"DELETE FROM {plan.source}{_all(plan.conditions)}", values
    some = f"SELECT rowid FROM {plan.source}{_all(plan.conditions)} LIMIT ?"
    return f"DELETE FROM {plan.source} WHERE rowid IN ({some})", [*values, limit]


def _all(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _prefix(table: Table) -> str:
    """Returns what stands before a column: nothing where a statement names one table."""
    return f"{table.name}." if table.values else ""


def _shape(where: Where) -> tuple[Shape, Values]:
    """Returns the shape of conditions, and the values that are given with the text.

    Nothing, yes, no and 0 stand in the text, as in the conditions of indexes of a part.
    """
    shape: list[tuple[str, str, object]] = []
    values: Values = []
    for name, operator, value in where:
        mark: object = _GIVEN
        if operator in ("in", "has any", "not in"):
            values.append(to_json(list(value)))
        elif isinstance(value, EarliestStart):
            mark, given = earliest_statement(value)
            values += given
        elif value is None or value == 0:
            mark = "NULL" if value is None else "0"
        elif value is True:
            mark = "1"
        else:
            values.append(value)
        shape.append((name, operator, mark))
    return tuple(shape), values


class _Plan(NamedTuple):
    """A search: its table or tables, its conditions, and the homes of fields that are not the table's own."""

    table: Table
    source: str
    conditions: tuple[str, ...]
    others: Mapping[str, str]

    def home(self, name: str) -> str:
        return self.others.get(name) or _home(self.table, name)


def _home(table: Table, name: str) -> str:
    if name in table.derived:
        return table.derived[name]
    column = table.columns.get(name)
    return f"json_extract(document, '$.{name}')" if column is None else f"{_prefix(table)}{column}"


@lru_cache(1000)
def _search(table: Table, shape: Shape, sort: tuple[str, ...] = ()) -> _Plan:
    """Returns the plan of a search.

    Rows of the first `has` are read in the order of the table of values; the other sets are looked up. A `+`
    keeps the planner from an index that is not the one of the order, or of the first list.
    """
    plan = _Plan(table, table.name, (), {})
    if table.values is not None and any(operator == "has" for _, operator, _ in shape):
        _, texts, moment = table.values
        column = table.columns[table.key[0]]
        source = f"{texts} CROSS JOIN {table.name} ON {table.name}.{column} = {texts}.{column}"
        others = {table.key[0]: f"{texts}.{column}", moment: f"{texts}.{table.columns[moment]}"}
        plan = _Plan(table, source, (), others)
    conditions: list[str] = []
    ordered = {name.removeprefix("-") for name in sort}
    listed, first_text = bool(sort), True
    for name, operator, mark in shape:
        if operator in ("has", "has any"):
            conditions.append(_of_set(plan, name, operator, first_text))
            first_text &= operator == "has any"
            continue
        home = plan.home(name)
        if operator == "in":
            conditions.append(f"{'+' if listed else ''}{home} IN (SELECT value FROM json_each(?))")
            listed = True
        elif operator == "not in":
            conditions.append(f"{home} NOT IN (SELECT value FROM json_each(?))")
        elif operator == "contains":
            conditions.append(f"{home} != '' AND instr({home}, ?) > 0")
        elif mark is _GIVEN:
            aside = "+" if ordered and name not in ordered and operator != "=" else ""
            conditions.append(f"{aside}{home} {'IS NOT' if operator == '!=' else operator} ?")
        elif mark in ("NULL", "0", "1"):
            equal = "IS" if (operator, mark) == ("=", "NULL") else "IS NOT" if operator == "!=" else operator
            conditions.append(f"{home} {equal} {mark}")
        else:
            conditions.append(f"{home} {operator} ({mark})")
    return plan._replace(conditions=tuple(conditions))


def _of_set(plan: _Plan, name: str, operator: str, first: bool) -> str:
    """Returns the condition for a field that is a set of texts; one without a table of its own is in JSON."""
    table = plan.table
    if table.listed is not None and table.listed[0] == name:
        key = table.columns[table.key[0]]
        return f"{key} IN (SELECT {key} FROM {table.listed[1]} WHERE item = ?)"
    if table.values is None:
        return f"EXISTS (SELECT 1 FROM json_each({plan.home(name)}) WHERE value = ?)"
    texts, column, key = table.values[1], table.columns[table.key[0]], plan.home(table.key[0])
    if operator == "has any":
        return f"{key} IN (SELECT {column} FROM {texts} WHERE tag IN (SELECT value FROM json_each(?)))"
    if first:
        return f"{texts}.tag = ?"
    return f"EXISTS (SELECT 1 FROM {texts} u WHERE u.tag = ? AND u.{column} = {key})"


def earliest_statement(value: EarliestStart) -> tuple[str, Values]:
    start, end = value.table.columns["start_ns"], value.table.columns["end_ns"]
    text = (
        f"SELECT CASE WHEN count(*) < {FEW_DOCUMENTS} THEN min({start}) ELSE 0 END FROM "
        f"(SELECT {start} FROM {value.table.name} WHERE {end} > ? LIMIT {FEW_DOCUMENTS})"
    )
    return text, [value.after_ns]
