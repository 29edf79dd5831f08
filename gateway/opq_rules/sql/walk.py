"""The expressions within an expression."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from opq_rules.sql import syntax


def children(node: syntax.Expression) -> tuple[syntax.Expression, ...]:
    """The expressions one level below, in the order of the text."""
    match node:
        case syntax.BinaryOperation():
            return (node.left, node.right)
        case syntax.Unary():
            return (node.operand,)
        case syntax.FunctionCall():
            over = node.over
            following: tuple[syntax.Expression, ...] = () if node.filter is None else (node.filter,)
            if over is not None:
                following += over.partition_by + (() if over.when is None else (over.when,))
            return node.arguments + following
        case syntax.MemberOf():
            return (node.of,)
        case syntax.ElementAt():
            return (node.of, node.index)
        case syntax.Slice():
            return (node.of, *(end for end in (node.start, node.end) if end is not None))
        case syntax.In():
            return (node.of, *node.choices)
        case syntax.Between():
            return (node.of, node.low, node.high)
        case syntax.Like():
            return (node.of, node.pattern)
        case syntax.CaseExpression():
            pairs = tuple(each for pair in node.whens for each in pair)
            before = () if node.of is None else (node.of,)
            return before + pairs + (() if node.otherwise is None else (node.otherwise,))
        case syntax.Star():
            return tuple(each for each, _ in node.replace)
        case _:
            return ()


def walk(node: syntax.Expression) -> Iterator[syntax.Expression]:
    """`node` and everything below it, each node before its children. No recursion."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(children(node)))


def expressions_of(select: syntax.Select) -> Iterator[syntax.Expression]:
    """All expressions of a statement that are not inside another one."""
    yield from (item.expression for item in select.items)
    yield from (join.on for join in select.joins if join.on is not None)
    yield from select.group_by
    yield from (key.expression for key in select.order_by)
    window = select.window
    conditions = (window.filter, window.when, window.begin, window.end) if window else ()
    yield from (each for each in (select.where, select.having, *conditions) if each is not None)
    yield from window.partition_by if window else ()


def calls_in(select: syntax.Select) -> Iterator[syntax.FunctionCall]:
    """Every call in a statement."""
    nodes = (node for expression in expressions_of(select) for node in walk(expression))
    return (node for node in nodes if isinstance(node, syntax.FunctionCall))


def operands(node: syntax.BinaryOperation) -> list[syntax.Expression]:
    """The parts of `a AND b AND c`, or of OR, in order. No recursion."""
    found: list[syntax.Expression] = []
    waiting: list[syntax.Expression] = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, syntax.BinaryOperation) and each.operator == node.operator:
            waiting += [each.right, each.left]
        else:
            found.append(each)
    return found


def depth(node: syntax.Expression) -> int:
    """The largest number of nodes above each other."""
    deepest, level = 0, [node]
    while level:
        deepest += 1
        level = [below for each in level for below in children(each)]
    return deepest


_PLACES = ("at", "slot", "written")


def tree_key(node: Any) -> Any:
    """A key that is equal for equal expressions: the tree without its places."""
    if isinstance(node, tuple):
        return tuple(tree_key(each) for each in node)
    if not is_dataclass(node):
        return node
    if isinstance(node, syntax.Literal):
        return (type(node.value), node.value)
    names = (field.name for field in fields(node))
    return (type(node), *[tree_key(getattr(node, name)) for name in names if name not in _PLACES])
