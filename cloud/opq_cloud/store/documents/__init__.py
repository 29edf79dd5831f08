"""Our nouns as the original's documents, and back (docs/reference/opq-interop.md, part D)."""

import math
from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]
LATEST_NS = 9 * 10**18
"""A time in the year 2255: with the length of a waveform added, it still has 64 bits."""


def box_id_of(document: Mapping[str, Any]) -> str:
    """Returns the Box of a document; some programs store its number as a number.

    Raises:
        KeyError, ValueError: the document names no Box.
    """
    found = box_text(document["box_id"])
    if not isinstance(found, str) or found == "":
        raise ValueError(f"box_id is {found!r}")
    return found


def text_of(found: Any) -> str:
    """Returns a value as text: 3.0 is "3", because the legacy mongo shell stores each number as a Double."""
    return str(int(found) if isinstance(found, float) and found.is_integer() else found)


def box_text(found: Any) -> Any:
    """Returns the text that names a Box where its number is stored as a whole number; else what is stored."""
    return found if isinstance(found, bool) or not _is_whole(found) else text_of(found)


def stored_boxes(box_id: str) -> list[Any]:
    """Returns the values that name a Box in documents of other programs: its text, and its number.

    MongoDB compares numbers by value: 3 also finds 3.0.
    """
    is_number = box_id.isascii() and box_id.isdecimal() and len(box_id) <= 15 and str(int(box_id)) == box_id
    return [box_id, int(box_id)] if is_number else [box_id]


def _is_whole(found: Any) -> bool:
    return isinstance(found, int) or (isinstance(found, float) and found.is_integer())


def texts_of(found: Any) -> list[str]:
    """Returns the texts of a field that is a list of them, without null; a single value is a list of one."""
    listed = found if isinstance(found, list | tuple) else [found]
    return [text for each in listed if each is not None and (text := text_of(each).strip())]


def whole_of(found: Any) -> int:
    """Returns a whole number that every document of its kind has.

    Raises:
        TypeError, ValueError, OverflowError: it is not a number, or it has more than 64 bits.
    """
    number = int(found)
    if abs(number) >= 2**63:
        raise OverflowError(f"{found} has more than 64 bits")
    return number


def time_of(found: Any) -> int:
    """Returns a time in ns since 1970 that every document of its kind has.

    Raises:
        TypeError, ValueError, OverflowError: it is not a number, or no time from 1684 to 2255.
    """
    t_ns = int(found)
    if abs(t_ns) > LATEST_NS:
        raise OverflowError(f"{found} ns is not a time: nanoseconds have 64 bits")
    return t_ns


def known_whole(found: Any) -> int | None:
    """Returns a whole number that a document may have; None where it is of another type or range."""
    return int(found) if known_number(found) is not None and abs(int(found)) < 2**63 else None


def known_number(found: Any) -> float | None:
    """Returns a finite number that a document may have; None where it is of another type."""
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return float(found) if is_number and math.isfinite(found) else None


def known_text(found: Any) -> str | None:
    """Returns a text that a document may have, also a whole number as one; None for another type."""
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else None
