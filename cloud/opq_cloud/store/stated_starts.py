"""The starts of a Box and the values that each stated, so that a stored Measurement is judged by its own
start.

Measurements are stored without start and nominal values, which seldom change: the Box's record has them, by
the number (`Measurement.sequence`) from which on they hold.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from opq_proto.messages import Measurement

STARTS_KEPT = 32
"""Starts that are kept of a Box, the newest: Measurements are stored for a day."""
Stated = tuple[int | None, float | None, float | None]
"""`start_id`, nominal volts and hertz; None where the Measurement states none."""


@dataclass(frozen=True, slots=True)
class StatedStart:
    """From this number on, a Box's Measurements are of this start, and it stated these nominal values."""

    first_number: int
    start_id: int | None
    nominal_v: float | None
    nominal_hz: float | None

    @property
    def stated(self) -> Stated:
        return self.start_id, self.nominal_v, self.nominal_hz


def start_of(starts: tuple[StatedStart, ...], number: int | None) -> StatedStart | None:
    """Returns the start in which the Measurement with this number counts; None where that is not known."""
    at = 0 if number is None else _begun_by(starts, number)
    return starts[at - 1] if at else None


def _begun_by(starts: tuple[StatedStart, ...], number: int) -> int:
    """Returns how many of the starts have begun at this number."""
    return bisect_right(starts, number, key=lambda each: each.first_number)


def with_stated(starts: tuple[StatedStart, ...], number: int, stated: Stated) -> tuple[StatedStart, ...]:
    """Returns the starts with what the Measurement of this number states: the same where they have it.

    What was held up may come later than what was measured later: then the start that it is of began earlier
    than was known, or is a further one between two.
    """
    at = _begun_by(starts, number)
    if at and starts[at - 1].stated == stated:
        return starts
    began_earlier = at < len(starts) and starts[at].stated == stated
    return (*starts[:at], StatedStart(number, *stated), *starts[at + began_earlier :])[-STARTS_KEPT:]


def of_their_starts(starts: tuple[StatedStart, ...], rows: Iterable[Measurement]) -> Iterator[Measurement]:
    """Yields stored Measurements of one Box with their start and its nominal values, where it is known."""
    for row in rows:
        start = start_of(starts, row.sequence)
        if start is None:
            yield row
        else:
            start_id, volts, hz = start.stated
            yield replace(row, start_id=start_id, nominal_v=volts, nominal_hz=hz)
