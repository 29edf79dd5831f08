"""SELECT ... FROM ... JOIN ... WHERE ... GROUP BY ... Source: docs/reference/rules.md, D.1."""

from collections import Counter
from dataclasses import replace

from opq_rules.sql import syntax
from opq_rules.sql.cursor import Cursor
from opq_rules.sql.expression import UNITS_MS, WINDOWS, expression, filtered_over, star, stream_star

_JOINS = ("INNER", "LEFT", "RIGHT", "FULL", "CROSS")


def select(cursor: Cursor) -> syntax.Select:
    """A whole SELECT; the cursor is at its first word."""
    cursor.streams = _stream_names(cursor)
    cursor.index += 1
    if cursor.is_word("DISTINCT") and cursor.kinds[cursor.index + 1] in ("word", "name", "*", "("):
        cursor.unexpected("an item")
    items = [_item(cursor)]
    while cursor.accept(","):
        items.append(_item(cursor))
    cursor.want("FROM", "an operator, a comma, AS, INVISIBLE or FROM")
    source = _source(cursor)
    joins = _joins(cursor, source)
    after = "AS, JOIN, WHERE, GROUP BY, HAVING, ORDER BY, LIMIT or the end"
    where = having = None
    if cursor.accept("WHERE"):
        where = expression(cursor)
        after = "an operator, GROUP BY, HAVING, ORDER BY, LIMIT or the end"
    group_by, found = _grouping(cursor)
    if group_by or found:
        after = "an operator, a comma, HAVING, ORDER BY, LIMIT or the end"
    if cursor.accept("HAVING"):
        having = expression(cursor)
        after = "an operator, ORDER BY, LIMIT or the end"
    order_by = _order(cursor)
    if order_by:
        after = "an operator, a comma, ASC, DESC, LIMIT or the end"
    limit = None
    if cursor.accept_word("LIMIT"):
        limit = cursor.whole_number("the number of rows", 0)
        after = "the end after LIMIT"
    cursor.rest_is_empty(after)
    text = cursor.tokens.text.strip()
    return syntax.Select(tuple(items), source, joins, where, group_by, found, having, order_by, limit, text)


def _stream_names(cursor: Cursor) -> dict[str, str]:
    """The names that FROM and JOIN define, read ahead because the items come before them.

    A stream that occurs once with an alias may also be called by its own name: both mean the alias.
    """
    kinds, values = cursor.kinds, cursor.values
    own: list[tuple[str, str]] = []
    for index, kind in enumerate(kinds):
        if kind not in ("FROM", "JOIN") or kinds[index + 1] not in ("word", "name"):
            continue
        index += 1
        name = str(values[index])
        named = kinds[index + 1] == "word" and values[index + 1].upper() == "AS" and kinds[index + 2] != "end"
        own.append((name, str(values[index + 2]) if named else name))
    times = Counter(name for name, _ in own)
    names = {name: alias for name, alias in own if times[name] == 1}
    return names | {alias: alias for _, alias in own}


def _item(cursor: Cursor) -> syntax.Item:
    begun, at = cursor.index, cursor.at()
    found: syntax.Expression
    if cursor.accept("*"):
        found = star(cursor, None, at)
    elif (stream := stream_star(cursor)) is not None:
        found = star(cursor, stream, at)
    else:
        found = expression(cursor)
    tokens = cursor.tokens
    text = tokens.text[tokens.starts[begun] : tokens.ends[cursor.index - 1]]
    if isinstance(found, syntax.Star):
        if cursor.is_word("AS") or cursor.is_word("INVISIBLE"):
            cursor.fail(f"* cannot be followed by {cursor.values[cursor.index].upper()}: it is many columns")
        return syntax.Item(found, None, False, text, at)
    alias = cursor.name("a name after AS") if cursor.accept_word("AS") else None
    return syntax.Item(found, alias, cursor.accept_word("INVISIBLE"), text, at)


def _source(cursor: Cursor) -> syntax.FromItem:
    at = cursor.at()
    if cursor.kinds[cursor.index] == "(":
        cursor.fail("a SELECT within a SELECT is not supported", "chain rules over memory topics")
    stream = cursor.stream_name("the name of a stream or table")
    alias = cursor.name("a name after AS") if cursor.accept_word("AS") else None
    return syntax.FromItem(stream, alias, at)


def _joins(cursor: Cursor, first: syntax.FromItem) -> tuple[syntax.Join, ...]:
    joins: list[syntax.Join] = []
    names = {first.name}
    while True:
        at = cursor.at()
        word = str(cursor.values[cursor.index]).upper()
        if cursor.kinds[cursor.index] == ",":
            cursor.fail("found a comma, want JOIN", "write FROM a CROSS JOIN b, or INNER JOIN b ON ...")
        if word not in (*_JOINS, "JOIN") or cursor.kinds[cursor.index] in ("name", "text"):
            return tuple(joins)
        kind = next((each for each in _JOINS if each == word), "INNER")
        if word != "JOIN":
            cursor.index += 1
            if kind in ("LEFT", "RIGHT", "FULL"):
                cursor.accept_word("OUTER")
        cursor.want("JOIN", "JOIN")
        source = _source(cursor)
        if source.name in names:
            cursor.fail(f"{source.name} is there twice in FROM", "give one of them a name by AS", source.at)
        names.add(source.name)
        on = None
        if kind == "CROSS":
            if cursor.kinds[cursor.index] == "ON":
                cursor.fail("ON cannot follow CROSS JOIN", "write INNER JOIN ... ON")
        else:
            cursor.want("ON", f"AS or ON after {kind} JOIN")
            on = expression(cursor)
        joins.append(syntax.Join(kind, source, on, at))  # type: ignore[arg-type]  # of _JOINS


def _grouping(cursor: Cursor) -> tuple[tuple[syntax.Expression, ...], syntax.WindowClause | None]:
    if not cursor.accept("GROUP"):
        return (), None
    cursor.want("BY", "BY after GROUP")
    dimensions: list[syntax.Expression] = []
    found: syntax.WindowClause | None = None
    while True:
        if not is_window(cursor):
            dimensions.append(expression(cursor))
        elif found is not None:
            cursor.fail("a second window; a rule has one")
        else:
            found = window(cursor)
        if not cursor.accept(","):
            return tuple(dimensions), found


def _order(cursor: Cursor) -> tuple[syntax.OrderKey, ...]:
    if not cursor.accept("ORDER"):
        return ()
    cursor.want("BY", "BY after ORDER")
    keys: list[syntax.OrderKey] = []
    while True:
        at = cursor.at()
        found = expression(cursor)
        descending = cursor.accept("DESC")
        if not descending:
            cursor.accept("ASC")
        keys.append(syntax.OrderKey(found, descending, at))
        if not cursor.accept(","):
            return tuple(keys)


CYCLES = (10, 12, 150, 180)
"""IEC 61000-4-30: 10/12 cycles are its basic window, 150/180 its next; 50 and 60 Hz."""
_FORMS = {
    "tumbling": "TUMBLINGWINDOW(unit, length)",
    "hopping": "HOPPINGWINDOW(unit, length, hop)",
    "sliding": "SLIDINGWINDOW(unit, length [, delay])",
    "session": "SESSIONWINDOW(unit, longest, timeout)",
    "count": "COUNTWINDOW(count [, every])",
    "state": "STATEWINDOW(condition) or STATEWINDOW(begin, end)",
    "cycle": "CYCLEWINDOW(cycles)",
}


def is_window(cursor: Cursor) -> bool:
    """Whether the name of a window and ( follow."""
    index = cursor.index
    return (
        cursor.kinds[index] == "word"
        and cursor.kinds[index + 1] == "("
        and cursor.values[index].lower() in WINDOWS
    )


def window(cursor: Cursor) -> syntax.WindowClause:
    """A whole window, with its FILTER and OVER."""
    at = cursor.at()
    kind = WINDOWS[cursor.values[cursor.index].lower()]
    cursor.index += 2
    found = _READERS[kind](cursor, syntax.WindowClause(kind=kind, at=at), kind)
    close = f"); it is {_FORMS[kind]}"
    cursor.want(")", close)
    return _behind(cursor, found)


def _timed(cursor: Cursor, found: syntax.WindowClause, kind: syntax.WindowKind) -> syntax.WindowClause:
    """The window's arguments (unit, length [, second])."""
    form = _FORMS[kind]
    at = cursor.index
    if cursor.kinds[at] == "text":
        cursor.unexpected("a unit: DD, HH, MI, SS or MS", "write units bare, without quotes")
    unit = str(cursor.values[at]).upper() if cursor.kinds[at] == "word" else ""
    if unit not in UNITS_MS:
        cursor.unexpected(f"a unit: DD, HH, MI, SS or MS; it is {form}")
    cursor.index += 1
    unit_ms = UNITS_MS[unit]
    cursor.want(",", f", and the length; it is {form}")
    found = replace(found, unit=unit, length_ms=unit_ms * cursor.whole_number("the length"))
    if kind == "tumbling":
        return found
    if kind == "sliding":
        delay = cursor.whole_number("the delay", 0) if cursor.accept(",") else 0
        return replace(found, delay_ms=unit_ms * delay)
    second = "the hop" if kind == "hopping" else "the timeout"
    cursor.want(",", f", and {second}; it is {form}")
    value_ms = unit_ms * cursor.whole_number(second)
    return replace(found, hop_ms=value_ms) if kind == "hopping" else replace(found, timeout_ms=value_ms)


def _count(cursor: Cursor, found: syntax.WindowClause, kind: syntax.WindowKind) -> syntax.WindowClause:
    count = cursor.whole_number("the number of records")
    every = count
    if cursor.accept(","):
        at = cursor.at()
        every = cursor.whole_number("after how many records")
        if every > count:
            cursor.fail(f"found {every}, want at most {count}: a window of {count} would skip records", at=at)
    return replace(found, count=count, every=every)


def _state(cursor: Cursor, found: syntax.WindowClause, kind: syntax.WindowKind) -> syntax.WindowClause:
    if cursor.kinds[cursor.index] == ")":
        cursor.unexpected(f"a condition; it is {_FORMS[kind]}")
    begin = expression(cursor)
    return replace(found, begin=begin, end=expression(cursor) if cursor.accept(",") else None)


def _cycle(cursor: Cursor, found: syntax.WindowClause, kind: syntax.WindowKind) -> syntax.WindowClause:
    at = cursor.at()
    count = cursor.whole_number("the number of cycles")
    if count not in CYCLES:
        cursor.fail(f"found {count}, want {', '.join(map(str, CYCLES))} cycles (IEC 61000-4-30)", at=at)
    return replace(found, count=count)


_READERS = {
    "tumbling": _timed,
    "hopping": _timed,
    "sliding": _timed,
    "session": _timed,
    "count": _count,
    "state": _state,
    "cycle": _cycle,
}


def _behind(cursor: Cursor, found: syntax.WindowClause) -> syntax.WindowClause:
    """After a window: FILTER for any, OVER (WHEN c) for sliding, OVER (PARTITION BY k) for state windows."""
    at = cursor.at()
    condition, following = filtered_over(cursor)
    found = replace(found, filter=condition)
    if following is None:
        return found
    if following.when is not None and found.kind != "sliding":
        _refuse(cursor, at, "OVER (WHEN ...)", "SLIDINGWINDOW")
    if following.partition_by and found.kind != "state":
        _refuse(cursor, at, "OVER (PARTITION BY ...)", "STATEWINDOW")
    return replace(found, when=following.when, partition_by=following.partition_by)


def _refuse(cursor: Cursor, at: syntax.TextPlace, what: str, only: str) -> None:
    cursor.fail(f"{what} is allowed only after {only}", at=at)
