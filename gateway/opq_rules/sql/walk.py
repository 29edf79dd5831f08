"""The expressions within an expression, and within a whole SELECT."""

from collections.abc import Iterator

from opq_rules.sql.syntax import (
    Between,
    Binary,
    Call,
    Case,
    Column,
    Expression,
    In,
    Index,
    Like,
    Member,
    Select,
    Slice,
    Star,
    Unary,
)


def children(node: Expression) -> tuple[Expression, ...]:
    """Those one step below, in the order of the text."""
    match node:
        case Binary():
            return (node.left, node.right)
        case Unary():
            return (node.operand,)
        case Call():
            over = node.over
            behind: tuple[Expression, ...] = () if node.filter is None else (node.filter,)
            if over is not None:
                behind += over.partition_by + (() if over.when is None else (over.when,))
            return node.arguments + behind
        case Member():
            return (node.of,)
        case Index():
            return (node.of, node.index)
        case Slice():
            return (node.of, *(end for end in (node.start, node.end) if end is not None))
        case In():
            return (node.of, *node.choices)
        case Between():
            return (node.of, node.low, node.high)
        case Like():
            return (node.of, node.pattern)
        case Case():
            pairs = tuple(each for pair in node.whens for each in pair)
            before = () if node.of is None else (node.of,)
            return before + pairs + (() if node.otherwise is None else (node.otherwise,))
        case Star():
            return tuple(each for each, _ in node.replace)
        case _:
            return ()


def walk(node: Expression) -> Iterator[Expression]:
    """`node` and all below it, each before what it holds. No recursion."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(children(node)))


def depth(node: Expression) -> int:
    """How many nodes stand above each other, at most."""
    deepest, level = 0, [node]
    while level:
        deepest += 1
        level = [below for each in level for below in children(each)]
    return deepest


def roots(select: Select) -> Iterator[Expression]:
    """Every expression of the statement that stands in no other one, in the order of the clauses."""
    yield from (item.expression for item in select.items)
    yield from (join.on for join in select.joins if join.on is not None)
    yield from select.group_by
    window = select.window
    alone = [select.where, select.having]
    if window is not None:
        alone += [window.begin, window.end, window.filter, window.when, *window.partition_by]
    yield from (each for each in alone if each is not None)
    yield from (key.expression for key in select.order_by)


def used_columns(select: Select) -> frozenset[str] | None:
    """Names that the statement reads, in lower case, aliases among them; None: all, for there is a `*`.

    What STRICT_VALIDATION looks at. `count(*)` reads no column.
    """
    names = set()
    for root in roots(select):
        counted: set[int] = set()
        for node in walk(root):
            if isinstance(node, Column):
                names.add(node.name.lower())
            elif isinstance(node, Call) and node.name == "count":
                counted.update(id(each) for each in node.arguments)
            elif isinstance(node, Star) and id(node) not in counted:
                return None
    return frozenset(names)
