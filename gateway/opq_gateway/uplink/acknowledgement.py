"""Acknowledgement: what the cloud says it has stored of a Box's Measurements. Pure.

`<highest sequence stored without a hole>[,<missing a-b>...]` (contracts.md, Acknowledgement).
"""

import re
from dataclasses import dataclass

_TEXT = re.compile(r"\d{1,19}(,\d{1,19}-\d{1,19}){0,1000}", re.ASCII)
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Everything up to `upto` is stored; `missing` are the holes above it, (first, last)."""

    upto: int
    missing: tuple[tuple[int, int], ...] = ()


def acknowledgement(text: str) -> Acknowledgement | None:
    """The message of an `opq-ack`; None when it is none."""
    if _TEXT.fullmatch(text) is None:
        return None
    upto, *holes = text.split(",")
    pairs = (hole.split("-") for hole in holes)
    missing = tuple((int(first), int(last)) for first, last in pairs)
    if max(int(upto), *(last for _, last in missing), 0) > _LARGEST:
        return None
    return Acknowledgement(int(upto), tuple((first, last) for first, last in missing if first <= last))
