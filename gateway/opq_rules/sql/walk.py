"""The expressions within an expression."""

from collections.abc import Iterator

from opq_rules.sql.syntax import (
    Between,
    Binary,
    Call,
    Case,
    Expression,
    In,
    Index,
    Like,
    Member,
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
