"""Which columns of its streams a statement reads."""

from collections.abc import Iterator

from opq_rules.query.names import Names
from opq_rules.sql.syntax import Call, Column, Expression, Select, Star
from opq_rules.sql.walk import walk


def used_columns(select: Select, names: Names) -> dict[str, frozenset[str] | None]:
    """By stream, in lower case; None: all of them. What could be of several streams is read of each."""
    found: dict[str, set[str]] = {origin.stream: set() for origin in names.origins}
    whole: set[str] = set()
    for expression in _expressions(select):
        counted = {
            id(argument)
            for each in walk(expression)
            if isinstance(each, Call) and each.name == "count"
            for argument in each.arguments
        }
        for each in walk(expression):
            if isinstance(each, Star) and id(each) not in counted:
                whole |= {o.stream for o in names.origins if each.stream in (None, o.name)}
            elif isinstance(each, Column):
                for origin in names.origins:
                    if each.stream in (None, origin.name) and origin.has(each.name):
                        found[origin.stream].add(each.name.lower())
    return {stream: None if stream in whole else frozenset(read) for stream, read in found.items()}


def _expressions(select: Select) -> Iterator[Expression]:
    yield from (item.expression for item in select.items)
    yield from (join.on for join in select.joins if join.on is not None)
    yield from select.group_by
    yield from (key.expression for key in select.order_by)
    window = select.window
    conditions = (window.filter, window.when, window.begin, window.end) if window else ()
    yield from (each for each in (select.where, select.having, *conditions) if each is not None)
    yield from window.partition_by if window else ()
