"""SQL for the tables of the store: what `SqliteDocuments` runs. Pure.

A field is a column, an expression that an index has, or a value in the JSON column.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache

from opq_cloud.store.driver import EarliestStart, Key, Select, Table, Where

FEW_SINCE = 10_000
"""If fewer documents end after a moment, a search since then starts at the earliest start of these."""
_COMPARED = {"=": "IS", "!=": "IS NOT"}
Values = list[object]


@cache
def columns_of(table: Table) -> tuple[str, ...]:
    """Returns the fields that a row has, in the order of `SELECT`; the JSON column comes after them."""
    return tuple(table.columns)


@cache
def selection(table: Table) -> str:
    columns = [*table.columns.values(), *(() if table.in_columns else ("document",))]
    return f"SELECT {', '.join(f'{_prefix(table)}{name}' for name in columns)}"


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
def update_statement(table: Table) -> str:
    """Returns the statement that replaces a row; its values are those of an insert, then the key."""
    names = [*table.columns.values(), *(() if table.in_columns else ("document",))]
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
    source, conditions, values, homes = _search(table, where, ordered=bool(sort))
    keys = [homes(name.removeprefix("-")) for name in sort]
    falls = bool(sort) and sort[0].startswith("-")
    if beyond:
        marks = ", ".join("?" * len(beyond))
        conditions.append(f"({', '.join(keys)}) {'<' if falls else '>'} ({marks})")
        values += beyond
    chosen = f"SELECT {', '.join(homes(name) for name in fields)}" if fields else selection(table)
    text = f"{chosen} FROM {source}{_all(conditions)}"
    if sort:
        text += f" ORDER BY {', '.join(f'{key} DESC' if falls else key for key in keys)}"
    if limit is not None:
        text += " LIMIT ?"
        values.append(limit)
    return text, values


def count_statement(table: Table, where: Where, most: int | None) -> tuple[str, Values]:
    source, conditions, values, _ = _search(table, where)
    if most is None:
        return f"SELECT count(*) FROM {source}{_all(conditions)}", values
    return f"SELECT count(*) FROM (SELECT 1 FROM {source}{_all(conditions)} LIMIT ?)", [*values, most]


def tally_statement(table: Table, where: Where, field: str) -> tuple[str, Values]:
    source, conditions, values, homes = _search(table, where)
    home = homes(field)
    conditions.append(f"{home} IS NOT NULL")
    return f"SELECT {home}, count(*) FROM {source}{_all(conditions)} GROUP BY {home}", values


def set_statement(table: Table, where: Where, values: Mapping[str, object]) -> tuple[str, Values]:
    """Returns the statement for `Documents.set_fields`."""
    parts: list[str] = []
    given: Values = []
    in_json = [name for name in values if name not in table.columns]
    for name in values:
        if name in table.columns:
            parts.append(f"{table.columns[name]} = ?")
            given.append(values[name])
    if in_json:
        places = ", ".join(f"'$.{name}', json(?)" for name in in_json)
        parts.append(f"document = json_set(document, {places})")
        given += [json.dumps(values[name]) for name in in_json]
    source, conditions, found, _ = _search(table, where)
    return f"UPDATE {source} SET {', '.join(parts)}{_all(conditions)}", [*given, *found]


def remove_statement(table: Table, where: Where, limit: int | None) -> tuple[str, Values]:
    source, conditions, values, _ = _search(table, where)
    if limit is None:
        return f"DELETE FROM {source}{_all(conditions)}", values
    some = f"SELECT rowid FROM {source}{_all(conditions)} LIMIT ?"
    return f"DELETE FROM {source} WHERE rowid IN ({some})", [*values, limit]


def _all(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _prefix(table: Table) -> str:
    """Returns what stands before a column: nothing where a statement names one table."""
    return f"{table.name}." if table.values else ""


class _Homes:
    """Where the fields of a table are, in one statement."""

    def __init__(self, table: Table) -> None:
        self._table, self._prefix = table, _prefix(table)
        self.others: dict[str, str] = {}
        """Fields that are read from the table of values."""

    def __call__(self, name: str) -> str:
        if name in self.others:
            return self.others[name]
        table = self._table
        if name in table.derived:
            return table.derived[name]
        column = table.columns.get(name)
        return f"json_extract(document, '$.{name}')" if column is None else f"{self._prefix}{column}"


def _search(table: Table, where: Where, ordered: bool = False) -> tuple[str, list[str], Values, _Homes]:
    """Returns source, conditions, values and homes of a search.

    Rows of the first `has` are read in the order of the table of values; the other sets are looked up. A `+`
    keeps the planner from an index that is not the one of the order, or of the first list.
    """
    source, homes = table.name, _Homes(table)
    conditions: list[str] = []
    values: Values = []
    listed = ordered
    if any(operator == "has" for _, operator, _ in where) and table.values is not None:
        _, texts, moment = table.values
        (key,) = table.key
        source = f"{texts} CROSS JOIN {table.name} ON {homes(key)} = {texts}.{table.columns[key]}"
        homes.others = {key: f"{texts}.{table.columns[key]}", moment: f"{texts}.{table.columns[moment]}"}
    first_text = True
    for name, operator, value in where:
        if operator in ("has", "has any"):
            assert table.values is not None, f"{table.name}.{name} is no set of texts"
            texts, column = table.values[1], table.columns[table.key[0]]
            if operator == "has any":
                text = f"SELECT {column} FROM {texts} WHERE tag IN (SELECT value FROM json_each(?))"
                conditions.append(f"{homes(table.key[0])} IN ({text})")
                values.append(json.dumps(value))
                continue
            other = f"SELECT 1 FROM {texts} u WHERE u.tag = ? AND u.{column} = {homes(table.key[0])}"
            conditions.append(f"{texts}.tag = ?" if first_text else f"EXISTS ({other})")
            values.append(value)
            first_text = False
        elif operator == "in":
            text, given = _list(value)
            conditions.append(f"{'+' if listed else ''}{homes(name)} IN ({text})")
            values += given
            listed = True
        elif operator == "contains":
            conditions.append(f"{homes(name)} != '' AND instr({homes(name)}, ?) > 0")
            values.append(value)
        elif isinstance(value, EarliestStart):
            text, given = _earliest(value)
            conditions.append(f"{homes(name)} {operator} ({text})")
            values += given
        elif value is None or isinstance(value, bool) or value == 0:  # as indexes of a part have it
            number = "NULL" if value is None else str(int(value))
            equal = operator if operator == "=" and value is not None else _COMPARED.get(operator, operator)
            conditions.append(f"{homes(name)} {equal} {number}")
        else:
            conditions.append(f"{homes(name)} {'IS NOT' if operator == '!=' else operator} ?")
            values.append(value)
    return source, conditions, values, homes


def _list(value: object) -> tuple[str, Values]:
    if isinstance(value, Select):
        return find_statement(value.table, value.where, fields=(value.field,))
    assert isinstance(value, Sequence)
    return "SELECT value FROM json_each(?)", [json.dumps(list(value))]


def _earliest(value: EarliestStart) -> tuple[str, Values]:
    start, end = value.table.columns["start_ns"], value.table.columns["end_ns"]
    text = (
        f"SELECT CASE WHEN count(*) < {FEW_SINCE} THEN min({start}) ELSE 0 END FROM "
        f"(SELECT {start} FROM {value.table.name} WHERE {end} > ? LIMIT {FEW_SINCE})"
    )
    return text, [value.after_ns]
