"""The Measurements for an open page: those of the Boxes that it shows, at most once a second.

Pages that show the same Boxes are one audience: the text of a second is made once, and each of them gets the
same bytes. A Box without a page costs nothing. A page that does not take its second in time loses it and
gets the newest of each Box instead, so that what it shows is never older than what it read last.

These classes have no lock, because the hub calls them under its lock.
"""

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Generic, TypeVar

BATCH_S = 1.0
ROWS_OF_A_BOX = 8
"""Rows of one Box in one second; beyond this its oldest are lost."""
BATCHES_KEPT = 3
"""Seconds that a page may be late."""
NEWEST_BOXES = 1000
"""A page that opens gets the newest values of at most this many Boxes."""

Who = TypeVar("Who")
Boxes = frozenset[str] | None
"""The wanted Boxes; None means all."""


class BoxIndex(Generic[Who]):
    """Which readers want which Boxes, found by the Box; an unwanted Box costs one look-up."""

    def __init__(self) -> None:
        self._all: set[Who] = set()
        self._of_box: dict[str, set[Who]] = {}

    def add(self, who: Who, boxes: Boxes) -> None:
        if boxes is None:
            self._all.add(who)
            return
        for box_id in boxes:
            self._of_box.setdefault(box_id, set()).add(who)

    def discard(self, who: Who, boxes: Boxes) -> None:
        """Removes a reader; `boxes` are those that it was added with."""
        if boxes is None:
            self._all.discard(who)
            return
        for box_id in boxes:
            wanting = self._of_box.get(box_id)
            if wanting is not None:
                wanting.discard(who)
                if not wanting:
                    del self._of_box[box_id]

    def of(self, box_id: str) -> Collection[Who]:
        """The readers of a Box; not to be stored, because the result may be the changing set itself."""
        wanting = self._of_box.get(box_id, ())
        return [*self._all, *wanting] if self._all else wanting


@dataclass(frozen=True, slots=True)
class PageSecond:
    """One second's text, and how many Measurements the audience had before and with it."""

    data: bytes
    before: int
    total: int


@dataclass(frozen=True, slots=True)
class NewestRows:
    """The newest of each Box as text, and its place among the batches."""

    data: bytes
    total: int
    made_s: float


@dataclass(slots=True, eq=False)
class Audience:
    """The pages that show the same Boxes."""

    boxes: Boxes
    next_s: float
    """When the present batch is sent; monotonic."""
    pages: int = 0
    _gathered: dict[str, list[bytes]] = field(default_factory=dict)
    """Lists, because they are short: an empty deque has 600 bytes, and a hundred Boxes need one each."""
    _batches: deque[PageSecond] = field(default_factory=lambda: deque(maxlen=BATCHES_KEPT))
    _total: int = 0
    _newest: NewestRows | None = None

    def accept(self, box_id: str, data: bytes) -> int:
        """Adds to the next batch; returns how many older rows of the Box were dropped."""
        rows = self._gathered.setdefault(box_id, [])
        rows.append(data)
        if len(rows) <= ROWS_OF_A_BOX:
            return 0
        del rows[0]
        return 1

    def read_after(
        self, sent: int | None, now_s: float, newest: Callable[[], bytes]
    ) -> tuple[bytes, int, int]:
        """For a page with `sent` Measurements (None: a new page): text, its number, how many it lost."""
        self._advance(now_s)
        begins = self._batches[0].before if self._batches else self._total
        if sent is None or sent < begins:
            lost = 0 if sent is None else begins - sent
            if self._newest is None or now_s - self._newest.made_s >= BATCH_S or self._newest.total < begins:
                self._newest = NewestRows(newest(), self._total, now_s)
            missed = b"".join(batch.data for batch in self._batches if batch.before >= self._newest.total)
            return self._newest.data + missed, self._total, lost
        later = [batch.data for batch in self._batches if batch.before >= sent]
        return (later[0] if len(later) == 1 else b"".join(later)), self._total, 0

    def _advance(self, now_s: float) -> None:
        if now_s < self.next_s:
            return
        self.next_s += BATCH_S * (1 + int((now_s - self.next_s) / BATCH_S))
        rows = [data for each in self._gathered.values() for data in each]
        if rows:
            self._batches.append(PageSecond(b"".join(rows), self._total, self._total + len(rows)))
            self._total += len(rows)
            self._gathered.clear()
