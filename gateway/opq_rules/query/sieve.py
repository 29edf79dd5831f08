"""Sieve: marks the records of a batch for which the first comparison of WHERE is not false. Pure.

Of very many records few pass; those are asked one by one, one comprehension tells the others apart. What
stands left in an AND is decided first, so where it is false nothing behind it is computed, nor can fail.
What the comparison alone does not tell (null, no such column, another kind of value) is for WHERE to say.
"""

from collections.abc import Callable, Sequence
from typing import Any

from opq_rules.batch import Row
from opq_rules.expressions.values import COMPARISONS
from opq_rules.query.where import conjuncts
from opq_rules.sql.syntax import Binary, Column, Expression, Literal, Select, Unary

Sieve = Callable[[Sequence[Row]], list[bool]]
"""Of each row, whether WHERE is to be asked."""

_SIEVE = """
def make(key, constant):
    def sieve(rows):
        return [(value := row.get(key)).__class__ not in kinds or value {sign} constant for row in rows]
    return sieve
"""
_NUMBERS, _TEXT = frozenset({int, float}), frozenset({str})
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}


def _made(kinds: frozenset[type]) -> dict[str, Callable[[str, Any], Sieve]]:
    made = {}
    for sign in COMPARISONS:
        names: dict[str, Any] = {"kinds": kinds}
        exec(_SIEVE.format(sign="==" if sign == "=" else sign), names)  # the template above, a sign of ours
        made[sign] = names["make"]
    return made


_OF_NUMBERS, _OF_TEXT = _made(_NUMBERS), _made(_TEXT)


def sieve_of(select: Select) -> Sieve | None:
    """None: WHERE does not begin with a column beside a number or text."""
    if select.where is None or select.joins:
        return None
    first = conjuncts(select.where)[0]
    if not isinstance(first, Binary) or first.operator not in _MIRRORED:
        return None
    column, other, sign = first.left, first.right, first.operator
    if isinstance(other, Column):
        column, other, sign = other, column, _MIRRORED[sign]
    aliases = {item.alias.lower() for item in select.items if item.alias}
    if not isinstance(column, Column) or column.name.lower() in aliases:
        return None
    constant = _constant(other)
    if type(constant) is str:
        return _OF_TEXT[sign](column.name, constant)
    return _OF_NUMBERS[sign](column.name, constant) if type(constant) in _NUMBERS else None


def _constant(node: Expression) -> Any:
    if isinstance(node, Unary) and node.operator == "-":
        value = _constant(node.operand)
        return -value if type(value) in _NUMBERS else None
    return node.value if isinstance(node, Literal) else None
