"""Our nouns as the original's documents, and back (docs/reference/opq-interop.md, part D)."""

from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]


def box_id_of(document: Mapping[str, Any]) -> str:
    """Returns the Box of a document; some programs store its number as a number.

    Raises:
        KeyError, ValueError: the document names no Box.
    """
    found = document["box_id"]
    is_whole = isinstance(found, int) or (isinstance(found, float) and found.is_integer())
    if isinstance(found, bool) or not (is_whole or isinstance(found, str)) or found == "":
        raise ValueError(f"box_id is {found!r}")
    return text_of(found)


def text_of(found: Any) -> str:
    """Returns a value as text: 3.0 is "3", because the legacy mongo shell stores each number as a Double."""
    return str(int(found) if isinstance(found, float) and found.is_integer() else found)


def texts_of(found: Any) -> list[str]:
    """Returns the texts of a field that is a list of them, without null; a single value is a list of one."""
    listed = found if isinstance(found, list | tuple) else [found]
    return [text for each in listed if each is not None and (text := text_of(each).strip())]
