"""KnownColumns: what the rows of a source can have, where CREATE declares nothing.

A source has `columns`, KnownColumns or None. A misspelt column would always be null, and its rule would wait
for ever; of a source that knows its columns it is refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches


def near_column(name: str, known: Sequence[str]) -> str:
    """`did you mean "x"?`, or which there are."""
    near = get_close_matches(name.lower(), known, n=1)
    return f'did you mean "{near[0]}"?' if near else f"there are {', '.join(known)}"


@dataclass(frozen=True, slots=True)
class KnownColumns:
    """Names in lower case, and a pattern for further ones."""

    names: tuple[str, ...]
    more: re.Pattern[str] | None = None

    def has(self, name: str) -> bool:
        plain = name.lower()
        return plain in self.names or (self.more is not None and self.more.fullmatch(plain) is not None)
