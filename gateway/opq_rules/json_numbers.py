"""Numbers on their way from JSON into rules and back: in as floats, out without a needless point.

A JSON number of a column that no stream declares is a float, so that `/` and `avg` do not cut. A whole number
beyond 2**53 (a time in ns) stays whole: a float would lose its last digits.
Source: reference/rules.md, corrections; measured against eKuiper.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from opq_rules.batch import Row, Value

EXACT = 2**53
"""Up to here a float holds every whole number."""


class _Deeper(type):
    """Any value is one of `_Deep`, so that msgspec hands what is nested deeper to `as_floats`."""

    def __instancecheck__(cls, value: object) -> bool:
        return True


class _Deep(metaclass=_Deeper):
    pass


_Nested: Any = _Deep
for _ in range(3):  # each level doubles what msgspec compiles
    _Nested = None | bool | float | str | list[_Nested] | dict[str, _Nested]
_READ_FLOATS = msgspec.json.Decoder(dict[str, _Nested], dec_hook=lambda kind, value: as_floats(value)).decode
_READ = msgspec.json.Decoder(dict[str, Any]).decode
_WRITE = msgspec.json.Encoder().encode
_SHAPE = bytes.maketrans(b"123456789,[-", b"000000000:::")
_BLANKS = b" \t\r\n"
_MAY_BE_LARGE = b":" + b"0" * 16
"""In `_SHAPE`: a number that begins with 16 digits."""
_MANY_BYTES = 4096
"""From here on NumPy is quicker."""
_WHOLE = re.compile(rb"\.0(?:[,}\]]|$)")
_AS_THEY_ARE = frozenset({str, int, bool, type(None), datetime})


def read_rows(payloads: Sequence[bytes]) -> list[Row]:
    """One JSON object each, its numbers as floats. Raises what msgspec raises."""
    if _may_hold_large(b",".join(payloads)):
        return [as_floats(_READ(payload)) for payload in payloads]
    return list(map(_READ_FLOATS, payloads))


def _may_hold_large(text: bytes) -> bool:
    """False: no number in it begins with 16 digits."""
    if len(text) >= _MANY_BYTES:
        import numpy as np  # 20 MB, for those alone whose bodies are that large

        run = (np.frombuffer(text, np.uint8) - ord("0")) < 10
        for length in (1, 2, 4, 8):  # of 2, 4, 8 and 16 digits in a row
            run = run[:-length] & run[length:]
        if not run.any():
            return False
    return _MAY_BE_LARGE in text.translate(_SHAPE, _BLANKS)


def as_floats(value: Value) -> Value:
    """The same value with its whole numbers as floats; a new one only where something changes.

    What is nested deeper than Python's stack stays as it is.
    """
    try:
        return _floats(value)
    except RecursionError:
        return value


def _floats(value: Value) -> Value:
    kind = type(value)
    if kind is int:
        return float(value) if -EXACT <= value <= EXACT else value
    if kind is dict:
        made = value
        for key, each in value.items():
            kind = type(each)
            if kind is float or kind is str:
                continue
            found = _floats(each)
            if found is not each:
                if made is value:
                    made = value.copy()
                made[key] = found
        return made
    if kind is list:
        items = [_floats(each) for each in value]
        return value if all(a is b for a, b in zip(value, items, strict=True)) else items
    return value


def json_bytes(value: Value) -> bytes:
    """JSON as rules write it: 5.0 is 5."""
    written = _WRITE(value)
    at = written.find(b".0")
    return written if at < 0 or _WHOLE.search(written, at) is None else _WRITE(plain(value))


def json_text(value: Value) -> str:
    return json_bytes(value).decode()


def plain_number(value: Value) -> Value:
    """A whole float as the int that it is; anything else as it is."""
    return int(value) if type(value) is float and value.is_integer() and abs(value) < 1e16 else value


def plain(value: Value) -> Value:
    """What `json_bytes` writes, as a value; what is nested deeper than Python's stack as it is."""
    try:
        return _plain(value)
    except RecursionError:
        return value


def _plain(value: Value) -> Value:
    kind = type(value)
    if kind is float:
        return plain_number(value)
    if kind in _AS_THEY_ARE:
        return value
    if isinstance(value, Mapping):
        return {
            key: each
            if type(each) in _AS_THEY_ARE or (type(each) is float and not each.is_integer())
            else _plain(each)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
