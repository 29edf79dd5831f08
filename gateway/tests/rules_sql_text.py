"""A tree back as SQL, to show that the parser loses nothing, without needless parentheses; one expression."""

import re
from collections.abc import Iterable

from opq_rules.sql.cursor import Cursor
from opq_rules.sql.expression import COMPARISON, NOT_POWER, PATH, POWER, SIGN, expression
from opq_rules.sql.syntax import (
    Between,
    BinaryOperation,
    CaseExpression,
    Column,
    Create,
    ElementAt,
    Expression,
    Field,
    FromItem,
    FunctionCall,
    In,
    Item,
    Join,
    Like,
    Literal,
    MemberOf,
    Named,
    Select,
    Show,
    Slice,
    Star,
    Statement,
    Type,
    Unary,
    WindowClause,
)
from opq_rules.sql.tokens import RESERVED

_PLAIN = re.compile(r"[^\W\d]\w*")
_ATOM = 9


def parse_expression(text: str, streams: Iterable[str] = ()) -> Expression:
    """One expression alone. `streams`: names that make `a.b` a column of stream a."""
    cursor = Cursor(text, streams)
    found = expression(cursor)
    cursor.rest_is_empty("an operator or the end")
    return found


def sql(statement: Statement) -> str:
    """`statement` as text; `parse` of it gives the same tree but for places, `written` and `text`."""
    match statement:
        case Select():
            return _select(statement)
        case Create():
            fields = "" if statement.fields is None else ", ".join(map(_field, statement.fields))
            options = ", ".join(f"{_name(name)}={_quoted(value)}" for name, value, _ in statement.options)
            return f"CREATE {statement.what.upper()} {_path(statement.name)} ({fields}) WITH ({options})"
        case Show():
            return f"SHOW {statement.what.upper()}"
        case Named():
            return f"{statement.verb.upper()} {statement.what.upper()} {_path(statement.name)}"


def expression_sql(node: Expression) -> str:
    """One expression."""
    return _written(node, 0)


def window_sql(found: WindowClause) -> str:
    """A window with FILTER and OVER, its times in ms."""
    times = (found.length_ms, found.hop_ms, found.delay_ms or None, found.timeout_ms)
    match found.kind:
        case "count" | "cycle":
            arguments = [str(each) for each in (found.count, found.every) if each is not None]
        case "state":
            arguments = [expression_sql(each) for each in (found.begin, found.end) if each is not None]
        case _:
            arguments = ["ms", *(str(each) for each in times if each is not None)]
    following = "" if found.filter is None else f" FILTER (WHERE {expression_sql(found.filter)})"
    if found.when is not None or found.partition_by:
        following += _over(found.partition_by, found.when)
    return f"{found.kind.upper()}WINDOW({', '.join(arguments)}){following}"


def _select(found: Select) -> str:
    parts = ["SELECT " + ", ".join(map(_item, found.items)), "FROM " + _source(found.source)]
    parts += map(_join, found.joins)
    if found.where is not None:
        parts.append(f"WHERE {expression_sql(found.where)}")
    grouping = [expression_sql(each) for each in found.group_by]
    grouping += [window_sql(found.window)] if found.window else []
    if grouping:
        parts.append(f"GROUP BY {', '.join(grouping)}")
    if found.having is not None:
        parts.append(f"HAVING {expression_sql(found.having)}")
    if found.order_by:
        keys = (
            expression_sql(key.expression) + (" DESC" if key.descending else "") for key in found.order_by
        )
        parts.append(f"ORDER BY {', '.join(keys)}")
    if found.limit is not None:
        parts.append(f"LIMIT {found.limit}")
    return " ".join(parts)


def _item(item: Item) -> str:
    alias = "" if item.alias is None else f" AS {_name(item.alias)}"
    return expression_sql(item.expression) + alias + (" INVISIBLE" if item.invisible else "")


def _source(source: FromItem) -> str:
    return _path(source.stream) + ("" if source.alias is None else f" AS {_name(source.alias)}")


def _join(join: Join) -> str:
    on = "" if join.on is None else f" ON {expression_sql(join.on)}"
    return f"{join.kind} JOIN {_source(join.source)}{on}"


def _field(field: Field) -> str:
    default = "" if field.default is None else f" DEFAULT {_constant(field.default)}"
    return f"{_name(field.name)} {_type(field.type)}{default}"


def _type(kind: Type) -> str:
    if kind.name == "array" and kind.of is not None:
        return f"ARRAY({_type(kind.of)})"
    if kind.name == "struct":
        return f"STRUCT({', '.join(map(_field, kind.fields))})"
    return kind.name.upper()


def _written(node: Expression, least: int) -> str:
    """`node`, in parentheses where it binds more loosely than `least`."""
    power, text = _parts(node)
    return text if power >= least else f"({text})"


def _parts(node: Expression) -> tuple[int, str]:
    """How tightly it binds, and its text."""
    match node:
        case Literal():
            return _ATOM, _constant(node.value)
        case Column():
            return _ATOM, ("" if node.stream is None else _name(node.stream) + ".") + _name(node.name)
        case MemberOf():
            return PATH, f"{_written(node.of, PATH)}->{_name(node.name)}"
        case ElementAt():
            return PATH, f"{_written(node.of, PATH)}[{_written(node.index, 0)}]"
        case Slice():
            start, end = ("" if each is None else _written(each, 0) for each in (node.start, node.end))
            return PATH, f"{_written(node.of, PATH)}[{start}:{end}]"
        case Unary():
            return _unary(node)
        case BinaryOperation():
            power = POWER[node.operator]
            return power, f"{_written(node.left, power)} {node.operator} {_written(node.right, power + 1)}"
        case In() | Between() | Like():
            return COMPARISON, _tested(node)
        case CaseExpression():
            return _ATOM, _case(node)
        case Star():
            return _ATOM, _star(node)
        case FunctionCall():
            arguments = ", ".join(_written(each, 0) for each in node.arguments)
            following = "" if node.filter is None else f" FILTER (WHERE {_written(node.filter, 0)})"
            if node.over is not None:
                following += _over(node.over.partition_by, node.over.when)
            return _ATOM, f"{node.written}({arguments}){following}"


def _unary(node: Unary) -> tuple[int, str]:
    if node.operator == "NOT":
        return NOT_POWER, f"NOT {_written(node.operand, NOT_POWER)}"
    operand = _written(node.operand, SIGN)
    if operand[0] in ".0123456789":  # bare after a comparison, the minus would be the number's
        return _ATOM, f"(-{operand})"
    return SIGN, f"- {operand}" if operand[0] == "-" else f"-{operand}"


def _tested(node: In | Between | Like) -> str:
    no = "NOT " if node.negated else ""
    of = _written(node.of, COMPARISON)
    if isinstance(node, Between):
        low, high = (_written(each, COMPARISON + 1) for each in (node.low, node.high))
        return f"{of} {no}BETWEEN {low} AND {high}"
    if isinstance(node, Like):
        return f"{of} {no}LIKE {_written(node.pattern, COMPARISON + 1)}"
    if node.array:
        return f"{of} {no}IN {_written(node.choices[0], COMPARISON + 1)}"
    return f"{of} {no}IN ({', '.join(_written(each, 0) for each in node.choices)})"


def _case(node: CaseExpression) -> str:
    of = "" if node.of is None else f" {_written(node.of, 0)}"
    whens = "".join(f" WHEN {_written(each, 0)} THEN {_written(then, 0)}" for each, then in node.whens)
    otherwise = "" if node.otherwise is None else f" ELSE {_written(node.otherwise, 0)}"
    return f"CASE{of}{whens}{otherwise} END"


def _star(node: Star) -> str:
    text = "*" if node.stream is None else f"{_name(node.stream)}.*"
    if node.leave_out:
        text += f" EXCEPT ({', '.join(map(_name, node.leave_out))})"
    if node.replace:
        text += (
            f" REPLACE ({', '.join(f'{_written(each, 0)} AS {_name(name)}' for each, name in node.replace)})"
        )
    return text


def _over(keys: tuple[Expression, ...], when: Expression | None) -> str:
    parts = [f"PARTITION BY {', '.join(_written(each, 0) for each in keys)}"] if keys else []
    parts += [] if when is None else [f"WHEN {_written(when, 0)}"]
    return f" OVER ({' '.join(parts)})"


def _constant(value: bool | int | float | str | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return _quoted(value)
    return str(value).upper() if isinstance(value, bool) else repr(value)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _name(name: str) -> str:
    return name if _PLAIN.fullmatch(name) and name.upper() not in RESERVED else f"`{name}`"


def _path(name: str) -> str:
    return _name(name)
