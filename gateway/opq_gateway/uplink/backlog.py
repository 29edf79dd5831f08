"""Backlog: which of a Box's held Measurements have to be sent, again or for the first time. Pure.

New Measurements do not wait for it: they are sent as they come, and what lies before them is
sent in between, the lowest first. One connection keeps the order, so what was sent is missing only
once the cloud has stored something that was sent after it: a cloud that is minutes late is sent
nothing twice. The idea is that of RACK (RFC 8985) with order instead of time.
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

Range = tuple[int, int]
"""First and last sequence, both of it."""
IN_FLIGHT_S = 10.0
"""The cloud acknowledges every 5 s at least; an answer to what is younger is still on its way. A few may
overtake each other in the cloud: one that opens an event is stored after it."""
MOST_FLOWN = 64
"""Runs that are remembered as sent; the oldest is forgotten, and may be sent again."""
MOST_RANGES = 1000
"""A text of more is no list of holes; the two that are nearest become one."""


class ResendBacklog:
    """What one Box has to send again; times are monotonic and handed in."""

    def __init__(self, in_flight_s: float = IN_FLIGHT_S) -> None:
        self._in_flight_s = in_flight_s
        self._due: list[Range] = []
        self._flown: deque[tuple[float, int, int]] = deque()
        self.sent_s: float | None = None
        """When something was sent last."""

    def __bool__(self) -> bool:
        return bool(self._due)

    @property
    def count(self) -> int:
        """How many are due."""
        return sum(last - first + 1 for first, last in self._due)

    @property
    def first(self) -> Range:
        """The lowest range that is due."""
        return self._due[0]

    def add(self, first: int, last: int) -> None:
        """Send these; what is due already stays so."""
        if first > last:
            return
        merged: list[Range] = []
        for one in sorted([*self._due, (first, last)]):
            if merged and one[0] <= merged[-1][1] + 1:
                merged[-1] = merged[-1][0], max(merged[-1][1], one[1])
            else:
                merged.append(one)
        while len(merged) > MOST_RANGES:
            nearest = min(range(1, len(merged)), key=lambda k: merged[k][0] - merged[k - 1][1])
            merged[nearest - 1 : nearest + 1] = [(merged[nearest - 1][0], merged[nearest][1])]
        self._due = merged

    def missed(self, holes: Sequence[Range], upto: int, highest: int | None, now_s: float) -> int:
        """The cloud has all up to `upto`, and not these above it: those that are not in flight are due.
        How many were not due before: they are lost on the way.

        `holes` rise; up to the number after the last one the cloud has everything else, and it has
        `highest`; where it does not say that, what was sent IN_FLIGHT_S ago is not in flight any more.
        """
        if highest is None:
            young = [run for run in self._flown if now_s - run[0] < self._in_flight_s]
            self._flown = deque(young)
        else:
            self._land(holes, upto, highest, now_s)
        before = self.count
        for hole in holes:
            rest = [hole]
            for _, first, last in self._flown:
                rest = [part for one in rest for part in _without(one, (first, last))]
            for part in rest:
                self.add(*part)
        return self.count - before

    def sent(self, first: int, last: int, now_s: float) -> None:
        """These were handed to a standing connection, and all of `due` below them."""
        self.sent_s = now_s
        self._due = [part for one in self._due for part in _without(one, (first, last))]
        if self._flown and self._flown[-1][2] + 1 == first and now_s - self._flown[-1][0] < 1.0:
            began_s, since, _ = self._flown.pop()
            self._flown.append((began_s, since, last))
        else:
            self._flown.append((now_s, first, last))
        if len(self._flown) > MOST_FLOWN:
            _, since, middle = self._flown.popleft()
            sent_s, first, last = self._flown[0]
            if middle + 1 == first:
                self._flown[0] = sent_s, since, last

    def acknowledged(self, upto: int) -> None:
        """Up to there nothing has to be sent any more."""
        self._due = [part for one in self._due for part in _without(one, (0, upto))]

    def lost(self) -> None:
        """The connection went: nothing is in flight."""
        self._flown.clear()

    def text(self) -> str:
        """`a-b,c-d`, to be kept."""
        return ",".join(f"{first}-{last}" for first, last in self._due)

    def restore(self, text: str) -> None:
        """What `text` gave; what cannot be read is left out."""
        for part in text.split(","):
            first, _, last = part.partition("-")
            if first.isdecimal() and last.isdecimal():
                self.add(int(first), int(last))

    def _land(self, holes: Sequence[Range], upto: int, highest: int, now_s: float) -> None:
        """Forget what was sent before something that is stored: it has come, or it is lost."""
        top = holes[-1][1] + 1 if holes else upto
        at = len(self._flown) - 1
        while at >= 0:
            _, first, last = self._flown[at]
            stored = highest if first <= highest <= last else min(last, top)
            for hole in reversed(holes):
                if hole[0] <= stored <= hole[1]:
                    stored = hole[0] - 1
            if stored >= first:
                break
            at -= 1
        else:
            return
        kept: deque[tuple[float, int, int]] = deque()
        for number, (sent_s, first, last) in enumerate(self._flown):
            if number <= at and now_s - sent_s >= self._in_flight_s:
                if number < at or stored >= last:
                    continue
                first = stored + 1  # a run is in order too
            kept.append((sent_s, first, last))
        self._flown = kept


def _without(one: Range, gone: Range) -> list[Range]:
    """What is left of `one`."""
    if gone[1] < one[0] or gone[0] > one[1]:
        return [one]
    parts = [(one[0], gone[0] - 1), (gone[1] + 1, one[1])]
    return [part for part in parts if part[0] <= part[1]]


_TEXT = re.compile(r"\d{1,19}(,\d{1,19}-\d{1,19}){0,1000}", re.ASCII)
_STORE = re.compile(r"ack_([0-9a-z]{1,64})_store", re.ASCII)
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class CloudAcknowledgement:
    """Everything up to `upto` is stored; `missing` are the holes above it, (first, last)."""

    upto: int
    missing: tuple[tuple[int, int], ...] = ()
    highest: int | None = None
    """The highest number that is stored, above all holes; None: the cloud does not say."""
    store: str = ""
    """The lasting name of the store that has them; empty: the cloud does not say."""


def acknowledgement(text: str, identity: str = "") -> CloudAcknowledgement | None:
    """The message of an `opq-ack`, and whose it is by its command's identity; None when it is none."""
    if _TEXT.fullmatch(text) is None:
        return None
    upto, *holes = text.split(",")
    pairs = (hole.split("-") for hole in holes)
    missing = tuple((int(first), int(last)) for first, last in pairs)
    if max(int(upto), *(last for _, last in missing), 0) > _LARGEST:
        return None
    said = [last for first, last in missing if first == last + 1]  # a hole of nothing
    return CloudAcknowledgement(
        int(upto),
        tuple((first, last) for first, last in missing if first <= last),
        max(said, default=None),
        store.group(1) if (store := _STORE.fullmatch(identity)) else "",
    )
