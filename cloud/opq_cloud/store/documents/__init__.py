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
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        raise ValueError(f"box_id is {found!r}")
    return str(found)


def texts_of(found: Any) -> list[str]:
    """Returns the texts of a field that is a list of them, without null; a single value is a list of one."""
    listed = found if isinstance(found, list | tuple) else [found]
    return [text for each in listed if each is not None and (text := str(each).strip())]
