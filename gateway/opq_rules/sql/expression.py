"""Expressions: operator precedence after Pratt.

From loose to tight: OR, AND, NOT, comparisons (with IN, BETWEEN, LIKE), + - | ^, * / % &, unary minus,
then `[i]`, `[a:b]`, `->name` and `.name`. All binary operators group from the left.
"""

from collections.abc import Iterable
from typing import get_args

from opq_rules.sql import syntax
from opq_rules.sql.cursor import Cursor
from opq_rules.sql.tokens import RESERVED
from opq_rules.sql.walk import depth

MAX_DEPTH = 100
"""Largest depth of parentheses, arguments and signs; more is an error, before Python's own stack ends."""
MAX_HEIGHT = 200
"""Largest height of the whole tree, that is, of a chain of operators: the compiler recurses."""

# Binding powers between those of AND and of a path; a larger one binds first.
NOT_POWER = 3
COMPARISON = 4
SUM = 5
PRODUCT = 6
SIGN = 7
PATH = 8
POWER = (
    {"OR": 1, "AND": 2}
    | dict.fromkeys(("=", "!=", "<", "<=", ">", ">=", "IN", "BETWEEN", "LIKE", "NOT"), COMPARISON)
    | dict.fromkeys(("+", "-", "|", "^"), SUM)
    | dict.fromkeys(("*", "/", "%", "&"), PRODUCT)
    | dict.fromkeys((".", "->", "["), PATH)
)
_CONSTANTS = {"TRUE": True, "FALSE": False, "NULL": None}
WINDOWS: dict[str, syntax.WindowKind] = {f"{kind}window": kind for kind in get_args(syntax.WindowKind)}
"""Lower case name -> kind."""
WANT_VALUE = "a column, a number, a text, a function or ("


def expression(cursor: Cursor) -> syntax.Expression:
    """One complete expression; the caller checks the token that follows it."""
    begun = cursor.index
    tree = _expression(cursor, 0)
    if cursor.index - begun > MAX_HEIGHT and depth(tree) > MAX_HEIGHT:
        cursor.fail(
            f"the expression is more than {MAX_HEIGHT} operators deep",
            "x IN (...) is for many choices",
            cursor.tokens.place(begun),
        )
    return tree


def parenthesised(cursor: Cursor, allowed: str) -> tuple[syntax.Expression, ...]:
    """`a, b, ...)` with at least one expression; the opening parenthesis has been taken."""
    found = [_expression(cursor, 0)]
    while cursor.accept(","):
        found.append(_expression(cursor, 0))
    cursor.want(")", allowed)
    return tuple(found)


UNITS_MS = {"DD": 86_400_000, "HH": 3_600_000, "MI": 60_000, "SS": 1_000, "MS": 1}


def partition(cursor: Cursor) -> tuple[syntax.Expression, ...]:
    """`PARTITION BY a, b`, or nothing."""
    if not cursor.accept("PARTITION"):
        return ()
    cursor.want("BY", "BY after PARTITION")
    keys = [_expression(cursor, 0)]
    while cursor.accept(","):
        keys.append(_expression(cursor, 0))
    return tuple(keys)


def filtered(cursor: Cursor) -> syntax.Expression | None:
    """`FILTER (WHERE c)`, or None."""
    if not (cursor.is_word("FILTER") and cursor.kinds[cursor.index + 1] == "("):
        return None
    cursor.index += 2
    cursor.want("WHERE", "WHERE; it is FILTER (WHERE condition)")
    condition = _expression(cursor, 0)
    cursor.want(")", "an operator or ) after FILTER's condition")
    return condition


def over(cursor: Cursor) -> syntax.Over | None:
    """`OVER ([PARTITION BY a, ...] [WHEN c])`, or None."""
    at = cursor.at()
    if not cursor.accept("OVER"):
        return None
    cursor.want("(", "( after OVER")
    keys = partition(cursor)
    when = _expression(cursor, 0) if cursor.accept("WHEN") else None
    if not keys and when is None:
        cursor.unexpected("PARTITION BY or WHEN")
    cursor.want(")", "an operator or ) after OVER's condition" if when else "an operator, a comma, WHEN or )")
    return syntax.Over(keys, when, at)


def filtered_over(cursor: Cursor) -> tuple[syntax.Expression | None, syntax.Over | None]:
    """FILTER and OVER, in either order."""
    condition, following = filtered(cursor), over(cursor)
    if condition is None and following is not None:
        condition = filtered(cursor)
    return condition, following


def _expression(cursor: Cursor, least: int) -> syntax.Expression:
    """Parse as long as operators bind tighter than `least`."""
    cursor.depth += 1
    if cursor.depth > MAX_DEPTH:
        cursor.fail(f"more than {MAX_DEPTH} parentheses, functions or signs are nested")
    kinds = cursor.kinds
    left = _operand(cursor)
    while True:
        kind = kinds[cursor.index]
        power = POWER.get(kind, 0)
        if power <= least:
            break
        at = cursor.at()
        if power == PATH:
            left = _path(cursor, left, kind, at)
        elif kind == "NOT":
            cursor.index += 1
            kind = kinds[cursor.index]
            if kind not in ("IN", "BETWEEN", "LIKE"):
                cursor.unexpected("IN, BETWEEN or LIKE after NOT")
            left = _tested(cursor, left, kind, True, at)
        elif kind in ("IN", "BETWEEN", "LIKE"):
            left = _tested(cursor, left, kind, False, at)
        else:
            cursor.index += 1
            right = _expression(cursor, power)
            if power == COMPARISON:
                _refuse_null(cursor, kind, (left, right), at)
            left = syntax.BinaryOperation(kind, left, right, at)
    cursor.depth -= 1
    return left


def _refuse_null(
    cursor: Cursor, what: str, operands: Iterable[syntax.Expression], at: syntax.TextPlace
) -> None:
    """Refuses a comparison with a written NULL: it is never true, whatever the record."""
    if any(isinstance(each, syntax.Literal) and each.value is None for each in operands):
        cursor.fail(
            f"{what} with NULL is never true: null equals nothing", "write isNull(x) or NOT isNull(x)", at
        )


def _operand(cursor: Cursor) -> syntax.Expression:
    index = cursor.index
    kind, value = cursor.kinds[index], cursor.values[index]
    at = cursor.at()
    if kind == "word" or kind == "name":
        return _named(cursor, at)
    if kind == "number" or kind == "text":
        cursor.index += 1
        return syntax.Literal(value, cursor.tokens.slots[index], at)
    if kind in _CONSTANTS:
        cursor.index += 1
        return syntax.Literal(_CONSTANTS[kind], None, at)
    if kind == "-":
        cursor.index += 1
        return syntax.Unary("-", _expression(cursor, SIGN), at)
    if kind == "NOT":
        cursor.index += 1
        return syntax.Unary("NOT", _expression(cursor, NOT_POWER), at)
    if kind == "(":
        cursor.index += 1
        if cursor.kinds[cursor.index] == "SELECT":
            cursor.fail("a SELECT within a SELECT is not supported", "chain rules over memory topics")
        inner = _expression(cursor, 0)
        cursor.want(")", "an operator or )")
        return inner
    if kind == "CASE":
        return _case(cursor, at)
    if kind == "*":
        cursor.fail("found *, want a value", "write * alone, as an item or as an argument")
    return cursor.unexpected(WANT_VALUE)


def _named(cursor: Cursor, at: syntax.TextPlace) -> syntax.Expression:
    """A column, `stream.column`, `stream.*` or a call."""
    index = cursor.index
    name = cursor.values[index]
    after = cursor.kinds[index + 1]
    cursor.index += 1
    if after == "(" and cursor.kinds[index] == "word":
        return _call(cursor, name, at)
    if after == "." and name in cursor.streams:
        cursor.index += 1
        return syntax.Column(_member_name(cursor), cursor.streams[name], at)
    other_sql = name.upper() == "DISTINCT" and cursor.kinds[index] == after == "word"
    if other_sql and not cursor.is_word("AS") and not cursor.is_word("INVISIBLE"):
        cursor.index = index
        cursor.unexpected(WANT_VALUE)
    return syntax.Column(name, None, at)


def _member_name(cursor: Cursor) -> str:
    """The name after `.` or `->`, where every word is a name, also a reserved one."""
    kind = cursor.kinds[cursor.index]
    if kind == "word" or kind == "name" or kind in RESERVED:
        cursor.index += 1
        return str(cursor.values[cursor.index - 1])
    return cursor.unexpected("a name")


def _path(cursor: Cursor, of: syntax.Expression, kind: str, at: syntax.TextPlace) -> syntax.Expression:
    cursor.index += 1
    if kind != "[":
        return syntax.MemberOf(of, _member_name(cursor), at)
    start = None if cursor.kinds[cursor.index] == ":" else _expression(cursor, 0)
    if cursor.accept(":"):
        end = None if cursor.kinds[cursor.index] == "]" else _expression(cursor, 0)
        cursor.want("]", "an operator or ]")
        return syntax.Slice(of, start, end, at)
    cursor.want("]", "an operator, : or ]")
    if start is None:  # pragma: no cover: `:` was seen
        return cursor.unexpected("an index")
    return syntax.ElementAt(of, start, at)


def _tested(
    cursor: Cursor, of: syntax.Expression, kind: str, negated: bool, at: syntax.TextPlace
) -> syntax.Expression:
    """`IN`, `BETWEEN`, `LIKE`: the next token."""
    cursor.index += 1
    if kind == "LIKE":
        pattern = _expression(cursor, COMPARISON)
        _refuse_null(cursor, kind, (of, pattern), at)
        return syntax.Like(of, pattern, negated, at)
    if kind == "BETWEEN":
        low = _expression(cursor, COMPARISON)
        cursor.want("AND", "an operator or AND; it is BETWEEN low AND high")
        high = _expression(cursor, COMPARISON)
        _refuse_null(cursor, kind, (of, low, high), at)
        return syntax.Between(of, low, high, negated, at)
    if not cursor.accept("("):
        if cursor.kinds[cursor.index] not in ("word", "name", "CASE"):
            cursor.unexpected("( and values, or a column that is an array")
        return syntax.In(of, (_expression(cursor, COMPARISON),), True, negated, at)
    if cursor.kinds[cursor.index] == "SELECT":
        cursor.fail("a SELECT within a SELECT is not supported", "chain rules over memory topics")
    choices = parenthesised(cursor, "an operator, a comma or )")
    _refuse_null(cursor, kind, (of, *choices), at)
    return syntax.In(of, choices, False, negated, at)


def _case(cursor: Cursor, at: syntax.TextPlace) -> syntax.CaseExpression:
    cursor.index += 1
    of = None if cursor.kinds[cursor.index] == "WHEN" else _expression(cursor, 0)
    whens = []
    while cursor.accept("WHEN"):
        begins = cursor.at()
        condition = _expression(cursor, 0)
        if of is not None:
            _refuse_null(cursor, "WHEN", (of, condition), begins)
        cursor.want("THEN", "an operator or THEN")
        whens.append((condition, _expression(cursor, 0)))
    if not whens:
        cursor.unexpected("WHEN; a CASE has at least one")
    otherwise = _expression(cursor, 0) if cursor.accept("ELSE") else None
    cursor.want("END", "an operator or END" if otherwise is not None else "an operator, WHEN, ELSE or END")
    return syntax.CaseExpression(of, tuple(whens), otherwise, at)


def _call(cursor: Cursor, written: str, at: syntax.TextPlace) -> syntax.FunctionCall:
    if written.lower() in WINDOWS:
        cursor.index -= 1
        cursor.fail(f"{written.upper()} is allowed only in GROUP BY, alone between commas")
    cursor.index += 1
    arguments: list[syntax.Expression] = []
    name = written.lower()
    if name == "count" and cursor.is_word("DISTINCT") and cursor.kinds[cursor.index + 1] in ("word", "name"):
        cursor.index += 1
        name = "count_distinct"
    if not cursor.accept(")"):
        arguments.append(_argument(cursor))
        while cursor.accept(","):
            arguments.append(_argument(cursor))
        if cursor.is_word("AS") and written.upper() == "CAST":
            cursor.fail("CAST(x AS type) is not supported", 'write cast(x, "bigint")')
        cursor.want(")", "an operator, a comma or )")
    condition, following = filtered_over(cursor)
    return syntax.FunctionCall(name, tuple(arguments), condition, following, written, at)


def _argument(cursor: Cursor) -> syntax.Expression:
    at = cursor.at()
    if cursor.accept("*"):
        return star(cursor, None, at)
    stream = stream_star(cursor)
    if stream is not None:
        return star(cursor, stream, at)
    if cursor.kinds[cursor.index] == "word" and cursor.kinds[cursor.index + 1] in (",", ")"):
        word = str(cursor.values[cursor.index])
        if word.upper() in UNITS_MS:
            cursor.fail(f"{word} is a unit of windows, no argument", f"of a column write `{word}`")
    return _expression(cursor, 0)


def star(cursor: Cursor, stream: str | None, at: syntax.TextPlace) -> syntax.Star:
    """`*` is taken; `EXCEPT (a, b)`, `REPLACE (e AS a, ...)` may follow, in any order."""
    leave_out: list[str] = []
    replaced: list[tuple[syntax.Expression, str]] = []
    while True:
        if not leave_out and cursor.accept_word("EXCEPT"):
            cursor.want("(", "( after EXCEPT")
            leave_out.append(cursor.name("a column"))
            while cursor.accept(","):
                leave_out.append(cursor.name("a column"))
            cursor.want(")", "a comma or )")
        elif not replaced and cursor.accept_word("REPLACE"):
            cursor.want("(", "( after REPLACE")
            replaced.append(_replacement(cursor))
            while cursor.accept(","):
                replaced.append(_replacement(cursor))
            cursor.want(")", "a comma or )")
        else:
            return syntax.Star(stream, tuple(leave_out), tuple(replaced), at)


def _replacement(cursor: Cursor) -> tuple[syntax.Expression, str]:
    found = _expression(cursor, 0)
    cursor.want_word("AS", "an operator or AS; it is REPLACE (expression AS column)")
    return found, cursor.name("a column")


def stream_star(cursor: Cursor) -> str | None:
    """Take `s.*` and return the stream; None if something else follows."""
    kinds, index = cursor.kinds, cursor.index
    if kinds[index] not in ("word", "name") or kinds[index + 1] != "." or kinds[index + 2] != "*":
        return None
    stream = cursor.streams.get(cursor.values[index])
    if stream is None:
        cursor.fail(f"{cursor.values[index]} is not a stream of FROM or JOIN")
    cursor.index += 3
    return stream
