"""Numbers; sqrt(-1) is null, a value too large is an error. Source: docs/reference/rules.md, D.5, Math."""

import math
import random
from collections.abc import Callable

from opq_rules.functions.arguments import number, reads, whole
from opq_rules.functions.registry import Definition, Scalar, renamed
from opq_rules.values import sql_values
from opq_rules.values.arithmetic import ARITHMETIC
from opq_rules.values.batch import Value

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MAX_UNSIGNED = 2**64 - 1
"""Largest unsigned number of 64 bits."""
_MAX_SIGNED = 2**63 - 1
"""Largest signed number of 64 bits."""
_MAX_DIGITS = 1_000


def _real(work: Callable[..., float]) -> Callable[..., float | None]:
    """`work` on numbers, with null outside its domain."""

    def run(*values: Value) -> float | None:
        for value in values:
            number(value)
        try:
            return work(*values)
        except ValueError:
            return None

    return run


def _cot(value: float) -> float:
    tangent = math.tan(value)
    if tangent == 0:
        raise ValueError("cot is not defined for a multiple of pi")
    return 1 / tangent


def _log(*values: Value) -> float:
    """log(x) to base 10, or log(base, x)."""
    if len(values) == 1:
        return math.log10(values[0])
    base, value = values
    if base <= 1:
        raise ValueError("base is below 1; want 1 or more")
    return math.log(value) / math.log(base)


def rounded(value: Value, places: Value = 0) -> Value:
    """The value rounded half away from zero, as in SQL; a bigint stays a bigint."""
    places = _places(places)
    if type(number(value)) is int and places >= 0:
        return value
    scale = 10.0**places
    scaled = abs(value) * scale
    if math.isinf(scaled):
        return value
    below = math.floor(scaled)
    nearest = below + (scaled - below >= 0.5)  # scaled + 0.5 would round 0.49999999999999994 up
    found = math.copysign(nearest / scale, value)
    return int(found) if type(value) is int else found


def _places(value: Value) -> int:
    if abs(whole(value)) > 300:
        raise ValueError(f"places is {value}; want -300 to 300")
    return int(value)


def _towards(work: Callable[[float], int]) -> Callable[[Value], Value]:
    """ceil, floor: a bigint stays one, a float stays a float."""
    return lambda value: value if type(number(value)) is int else float(work(value))


def _conv(value: Value, source: Value, target: Value) -> str | None:
    """The digits of a number converted from one base to another: conv(255, 10, 16) = "FF".

    As in MySQL: the digits up to the first that the base does not have, as 64 bits; unsigned, with a negative
    base signed. Null where a base is not 2 to 36.
    """
    source, target = whole(source), whole(target)
    if not (2 <= abs(source) <= 36 and 2 <= abs(target) <= 36):
        return None
    written = str(sql_values.whole_as_int(value))
    if len(written) > _MAX_DIGITS:
        raise ValueError(f"{len(written)} digits; want at most {_MAX_DIGITS}")
    written = written.strip()
    negative, digits = written[:1] == "-", written.lstrip("+-").upper()
    allowed = _DIGITS[: abs(source)]
    kept = next((at for at, digit in enumerate(digits) if digit not in allowed), len(digits))
    size = int(digits[:kept] or "0", abs(source))
    if source < 0:
        size = min(size, _MAX_SIGNED + 1 if negative else _MAX_SIGNED)
    left = min(size, _MAX_UNSIGNED) * (-1 if negative else 1)
    if target > 0:
        left &= _MAX_UNSIGNED
    elif left > _MAX_SIGNED:
        left -= _MAX_UNSIGNED + 1
    found, rest = "" if left else "0", abs(left)
    while rest:
        rest, digit = divmod(rest, abs(target))
        found = _DIGITS[digit] + found
    return f"-{found}" if left < 0 else found


def _sign(value: Value) -> int:
    return int(number(value) > 0) - int(value < 0)


_AS_PYTHON = "acos asin atan cos cosh degrees exp radians sin sinh sqrt tan tanh"

FUNCTIONS: tuple[Definition, ...] = (
    *[Scalar(name, _real(getattr(math, name)), 1, 1) for name in _AS_PYTHON.split()],
    Scalar("cot", _real(_cot), 1, 1),
    Scalar("ln", _real(math.log), 1, 1),
    Scalar("abs", lambda value: abs(number(value)), 1, 1),
    Scalar("atan2", _real(math.atan2), 2, 2),
    Scalar("mod", ARITHMETIC["%"], 2, 2),
    *renamed(Scalar("power", _real(math.pow), 2, 2), "pow"),
    *renamed(Scalar("ceil", _towards(math.ceil), 1, 1), "ceiling"),
    Scalar("floor", _towards(math.floor), 1, 1),
    Scalar("sign", _sign, 1, 1),
    Scalar("log", _real(_log), 1, 2),
    Scalar("round", rounded, 1, 2, check=reads(1, _places)),
    Scalar("bitand", lambda a, b: whole(a) & whole(b), 2, 2),
    Scalar("bitor", lambda a, b: whole(a) | whole(b), 2, 2),
    Scalar("bitxor", lambda a, b: whole(a) ^ whole(b), 2, 2),
    Scalar("bitnot", lambda value: ~whole(value), 1, 1),
    Scalar("conv", _conv, 3, 3),
    Scalar("pi", lambda: math.pi, 0, 0),
    Scalar("rand", random.random, 0, 0, volatile=True),
)
