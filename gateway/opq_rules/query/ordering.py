"""ORDER BY: rows by their keys; null comes last, ascending or not. Source: reference/rules.md, D.1."""

from collections.abc import Sequence
from functools import cmp_to_key
from typing import Any, TypeVar

from opq_rules.errors import RowError
from opq_rules.expressions.values import compare

Put = TypeVar("Put")


def ordered(rows: Sequence[tuple[list[Any], Put]], descending: Sequence[bool]) -> list[Put]:
    """The rows of (keys, row). Raises RowError where keys do not compare."""

    def by_keys(left: tuple[list[Any], Put], right: tuple[list[Any], Put]) -> int:
        for a, b, down in zip(left[0], right[0], descending, strict=True):
            if a is None or b is None:
                if a is not b:
                    return 1 if a is None else -1
                continue
            if type(a) is bool and type(b) is bool:
                a, b = int(a), int(b)
            try:
                if compare("<", a, b):
                    return 1 if down else -1
                if compare(">", a, b):
                    return -1 if down else 1
            except RowError as error:
                raise RowError(f"Order By: {error}") from None
        return 0

    return [row for _, row in sorted(rows, key=cmp_to_key(by_keys))]
