"""A Problem: what is wrong, and what helps."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        what: names the thing, e.g. `clock`.
        text: what is wrong with it, as a sentence.
        fix: a command or a sentence.
        is_note: nothing is wrong, and somebody should know it all the same.
        mend: does what `fix` says where that is safe: no data is lost, and nothing is started or ended.
    """

    what: str
    text: str
    fix: str
    mend: Callable[[], None] | None = None
    is_note: bool = False
