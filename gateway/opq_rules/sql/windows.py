"""The windows of GROUP BY: `TUMBLINGWINDOW(ss, 10) FILTER (WHERE v > 0)`. Source: reference/rules.md, D.2."""

from dataclasses import replace

from opq_rules.sql.cursor import Cursor
from opq_rules.sql.expression import WINDOWS, expression, filtered, over
from opq_rules.sql.syntax import TextPlace, WindowClause, WindowKind

UNITS_MS = {"DD": 86_400_000, "HH": 3_600_000, "MI": 60_000, "SS": 1_000, "MS": 1}
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
    """Whether a window's name and ( follow."""
    index = cursor.index
    return (
        cursor.kinds[index] == "word"
        and cursor.kinds[index + 1] == "("
        and cursor.values[index].lower() in WINDOWS
    )


def window(cursor: Cursor) -> WindowClause:
    """A whole window, with FILTER and OVER."""
    at = cursor.at()
    kind = WINDOWS[cursor.values[cursor.index].lower()]
    cursor.index += 2
    found = _READERS[kind](cursor, WindowClause(kind=kind, at=at), kind)
    close = f"); it is {_FORMS[kind]}"
    cursor.want(")", close)
    return _behind(cursor, found)


def _timed(cursor: Cursor, found: WindowClause, kind: WindowKind) -> WindowClause:
    """(unit, length [, second])."""
    form = _FORMS[kind]
    at = cursor.index
    if cursor.kinds[at] == "text":
        cursor.unexpected("a unit: DD, HH, MI, SS or MS", "units stand bare, without quotes")
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
        delay = cursor.whole_number("the delay", 0) if cursor.take(",") else 0
        return replace(found, delay_ms=unit_ms * delay)
    second = "the hop" if kind == "hopping" else "the timeout"
    cursor.want(",", f", and {second}; it is {form}")
    value_ms = unit_ms * cursor.whole_number(second)
    return replace(found, hop_ms=value_ms) if kind == "hopping" else replace(found, timeout_ms=value_ms)


def _count(cursor: Cursor, found: WindowClause, kind: WindowKind) -> WindowClause:
    count = cursor.whole_number("the number of records")
    every = count
    if cursor.take(","):
        at = cursor.at()
        every = cursor.whole_number("after how many records")
        if every > count:
            cursor.fail(f"found {every}, want at most {count}: a window of {count} would skip records", at=at)
    return replace(found, count=count, every=every)


def _state(cursor: Cursor, found: WindowClause, kind: WindowKind) -> WindowClause:
    if cursor.kinds[cursor.index] == ")":
        cursor.unexpected(f"a condition; it is {_FORMS[kind]}")
    begin = expression(cursor)
    return replace(found, begin=begin, end=expression(cursor) if cursor.take(",") else None)


def _cycle(cursor: Cursor, found: WindowClause, kind: WindowKind) -> WindowClause:
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


def _behind(cursor: Cursor, found: WindowClause) -> WindowClause:
    """FILTER of all, OVER (WHEN c) of the sliding, OVER (PARTITION BY k) of the state window."""
    found = replace(found, filter=filtered(cursor))
    at = cursor.at()
    following = over(cursor)
    if following is None:
        return found
    if following.when is not None and found.kind != "sliding":
        _refuse(cursor, at, "OVER (WHEN ...)", "SLIDINGWINDOW")
    if following.partition_by and found.kind != "state":
        _refuse(cursor, at, "OVER (PARTITION BY ...)", "STATEWINDOW")
    return replace(found, when=following.when, partition_by=following.partition_by)


def _refuse(cursor: Cursor, at: TextPlace, what: str, only: str) -> None:
    cursor.fail(f"{what} stands only after {only}", at=at)
