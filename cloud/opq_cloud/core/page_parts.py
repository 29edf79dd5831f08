"""A part of a page, report or answer that fails does not fail the others.

What one Box states may be in a page of many Boxes. Each of their parts is made here: one that raises becomes
a sentence in its place, is counted (`opq_view_parts_failed_total`), and is logged once per period with its
name and traceback. What a user can act on (OpqError, such as a store that cannot be read) fails the page.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from opq_proto.errors import OpqError
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog

Item = TypeVar("Item")
Made = TypeVar("Made")
Instead = TypeVar("Instead")
LOG_PERIOD_S = 300.0


@dataclass(frozen=True, slots=True)
class FailedPart:
    """A part that could not be made."""

    name: str
    """Which place, Box or panel."""

    @property
    def sentence(self) -> str:
        """What stands in its place."""
        return (
            f"{self.name}: this part cannot be shown. The fault is ours; the log of View has it by this name."
        )


class _FailureRecord:
    """Counts and logs the parts of this process; from any thread."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()
        self._limited = RateLimitedLog(log.get(), LOG_PERIOD_S)

    def note(self, name: str, error: Exception) -> None:
        with self._lock:
            self.count += 1
            self._limited.error("page.part_failed", key=name, part=name, error=repr(error), exc_info=error)


_record = _FailureRecord()


def made_part(name: str, make: Callable[[], Made]) -> Made | FailedPart:
    """Makes a part of a page. Raises OpqError as `make` does."""
    try:
        return make()
    except OpqError:
        raise
    except Exception as error:  # a figure that no part expects; the other parts do not depend on it
        return failed_part(name, error)


def failed_part(name: str, error: Exception) -> FailedPart:
    """Counts and logs a part that could not be made."""
    _record.note(name, error)
    return FailedPart(name)


def made_parts(
    items: Iterable[Item], name_of: Callable[[Item], str], make: Callable[[Item], Made]
) -> tuple[tuple[Made, ...], tuple[FailedPart, ...]]:
    """Makes a part of each item; returns those that could be made, and the others."""
    found = [made_part(name_of(item), lambda item=item: make(item)) for item in items]  # type: ignore[misc]
    return (
        tuple(each for each in found if not isinstance(each, FailedPart)),
        tuple(each for each in found if isinstance(each, FailedPart)),
    )


class ShownParts:
    """The parts of one page. `failed`: those that could not be made."""

    def __init__(self) -> None:
        self.failed: list[FailedPart] = []

    def made(self, name: str, make: Callable[[], Made], instead: Instead) -> Made | Instead:
        """Makes a part; returns `instead` where it fails. Raises OpqError as `make` does."""
        part = made_part(name, make)
        if isinstance(part, FailedPart):
            self.failed.append(part)
            return instead
        return part


def parts_failed() -> int:
    """Returns how many parts have failed in this process."""
    return _record.count
