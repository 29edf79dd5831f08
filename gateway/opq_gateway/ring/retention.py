"""Retention: which files of a ring have to go, a pure function of what is held.

The measure is stored time, not the clock: a stepped clock deletes nothing. Files that cannot be read (a lost
head, another format) hold no time; they take their turn among the others, by the number of their name, and go
first where there is too much: nobody can ask for what is in them.
"""

from collections.abc import Sequence

from opq_gateway.ring.segment import Segment

MOST_FILES, LASTING_NS = 4_000, 600 * 10**9
"""At most, beside four for each ten minutes kept: a Box that starts anew all the time fills no disk, no start
opens tens of thousands of files, and no read looks through them (0.2 ms for so many)."""


def due(
    segments: Sequence[Segment], keep_ns: int, most_bytes: int | None, coming_bytes: int
) -> list[Segment]:
    """Those to be deleted, of all in the order of their names.

    From the oldest on while those behind hold the time, or while all are too many or too much.
    """
    files, taken = len(segments), sum(one.file_bytes for one in segments) + coming_bytes
    kept_ns = sum(one.span_ns for one in segments)
    most_files = MOST_FILES + 4 * keep_ns // LASTING_NS
    out_of_turn = [(one, False) for one in segments if not one.end_ns]
    going: dict[int, Segment] = {}
    for one, in_turn in (*out_of_turn, *((one, True) for one in segments)):
        too_much = files > most_files or (most_bytes is not None and taken > most_bytes)
        if id(one) in going:
            continue
        if too_much or (in_turn and kept_ns - one.span_ns >= keep_ns):
            going[id(one)] = one
            files, taken, kept_ns = files - 1, taken - one.file_bytes, kept_ns - one.span_ns
        elif in_turn:
            break
    return list(going.values())
