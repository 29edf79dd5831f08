"""Arithmetic operators of SQL: + - * / % & | ^ and the sign. With a null operand the result is null.

The quotient of two bigints is cut (7/2 = 3); `divide_uncut` is for values that are not declared bigint. A
whole result beyond 64 bits is an error of the record. A bool is not a number, but & | ^ also take two bools.
Source: docs/reference/rules.md, D.4.
"""

import math
import operator
from collections.abc import Callable
from functools import partial

from opq_rules.errors import RowError
from opq_rules.values.batch import Value
from opq_rules.values.sql_values import LARGEST_EXACT, NUMBERS, in_bigint, shown, whole_as_int


def negate(value: Value) -> Value:
    if value is None:
        return None
    if type(value) not in NUMBERS:
        raise RowError(f"-({shown(value)}): want a number")
    if value == -(2**63) and type(value) is int:
        raise RowError(f"-({shown(value)}): the result does not fit into 64 bits")
    return -value


def _numeric(sign: str, work: Callable[[Value, Value], Value], left: Value, right: Value) -> Value:
    if left is None or right is None:
        return None
    if type(left) not in NUMBERS or type(right) not in NUMBERS:
        raise RowError(f"{shown(left)} {sign} {shown(right)}: want numbers")
    try:
        found = work(left, right)
    except ZeroDivisionError:
        raise RowError(f"{shown(left)} {sign} {shown(right)}: division by zero") from None
    except OverflowError as error:
        raise RowError(f"{shown(left)} {sign} {shown(right)}: {error}") from None
    if type(found) is int and not in_bigint(found):
        raise RowError(f"{shown(left)} {sign} {shown(right)}: the result does not fit into 64 bits")
    return found


def _quotient(left: Value, right: Value) -> Value:
    """The quotient; of two ints it is cut towards zero: 7/2 = 3, -7/2 = -3."""
    if type(left) is int and type(right) is int:
        quotient = abs(left) // abs(right)
        return quotient if (left < 0) == (right < 0) else -quotient
    return left / right


def _fraction(left: Value, right: Value) -> Value:
    """The quotient with its fraction, as far as a float can hold one: 7/2 = 3.5."""
    found = left / right
    return found if -LARGEST_EXACT < found < LARGEST_EXACT else _quotient(left, right)


def _remainder(left: Value, right: Value) -> Value:
    """The remainder, with the sign of `left`: -7 % 2 = -1."""
    if right == 0:
        raise ZeroDivisionError
    if type(left) is int and type(right) is int:
        rest = abs(left) % abs(right)
        return -rest if left < 0 else rest
    return math.fmod(left, right)


def _bitwise(sign: str, work: Callable[[Value, Value], Value], left: Value, right: Value) -> Value:
    if left is None or right is None:
        return None
    left, right = whole_as_int(left), whole_as_int(right)
    if type(left) is not type(right) or type(left) not in (int, bool):
        raise RowError(f"{shown(left)} {sign} {shown(right)}: want whole numbers")
    return work(left, right)


ARITHMETIC: dict[str, Callable[[Value, Value], Value]] = {
    "+": partial(_numeric, "+", operator.add),
    "-": partial(_numeric, "-", operator.sub),
    "*": partial(_numeric, "*", operator.mul),
    "/": partial(_numeric, "/", _quotient),
    "%": partial(_numeric, "%", _remainder),
    "&": partial(_bitwise, "&", operator.and_),
    "|": partial(_bitwise, "|", operator.or_),
    "^": partial(_bitwise, "^", operator.xor),
}
divide_uncut = partial(_numeric, "/", _fraction)
