"""Backlog: which of a Box's held Measurements have to be sent, again or for the first time. Pure.

New Measurements do not wait for the backlog: they are sent as they come, and older ones are sent in between,
the lowest first. One connection keeps the order, so a sent Measurement counts as missing only when the cloud
has stored something that was sent after it. So a cloud that is minutes late does not receive duplicates. It
works as RACK (RFC 8985), with order instead of time.
"""

import re
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from opq_proto.wire.frames import TAKES_INTERVALS, TAKES_LOSSES

Range = tuple[int, int]
"""First and last sequence, both inclusive."""
IN_FLIGHT_S = 10.0
"""The cloud acknowledges at least every 5 s, so the acknowledgement of a younger Measurement may still be on
its way. A few Measurements may overtake each other in the cloud, because one that opens an event is stored
later."""
MAX_REMEMBERED_RUNS = 64
"""Number of runs remembered as sent; the oldest is forgotten and may be sent again."""
MAX_RANGES = 1000
"""Most ranges in the backlog; beyond it the two nearest ranges are merged."""


class ResendBacklog:
    """The ranges that one Box has to send again; times are monotonic and handed in."""

    def __init__(self, in_flight_s: float = IN_FLIGHT_S) -> None:
        self._in_flight_s = in_flight_s
        self._due: list[Range] = []
        self._flown: deque[tuple[float, int, int]] = deque()
        self.sent_s: float | None = None
        """Time of the last send."""
        self.lost_s: float | None = None
        """When the newest Measurement that `missed` last found lost was sent; None: not known."""

    def __bool__(self) -> bool:
        return bool(self._due)

    @property
    def count(self) -> int:
        """Number of Measurements that are due."""
        return sum(last - first + 1 for first, last in self._due)

    @property
    def first(self) -> Range:
        """The lowest range that is due."""
        return self._due[0]

    def add(self, first: int, last: int) -> None:
        """Makes a range due; ranges that are due already stay due."""
        if first > last:
            return
        merged: list[Range] = []
        for one in sorted([*self._due, (first, last)]):
            if merged and one[0] <= merged[-1][1] + 1:
                merged[-1] = merged[-1][0], max(merged[-1][1], one[1])
            else:
                merged.append(one)
        while len(merged) > MAX_RANGES:
            nearest = min(range(1, len(merged)), key=lambda k: merged[k][0] - merged[k - 1][1])
            merged[nearest - 1 : nearest + 1] = [(merged[nearest - 1][0], merged[nearest][1])]
        self._due = merged

    def missed(self, holes: Sequence[Range], upto: int, highest: int | None, now_s: float) -> int:
        """Makes the holes above `upto` due, except numbers still in flight, and returns how many numbers are
        newly due because they were lost on the way.

        `holes` rise. The cloud has everything up to `upto`, every number between the holes, the number after
        the last hole, and `highest`, its highest number. Without `highest`, a number sent more than
        IN_FLIGHT_S ago is no longer in flight.
        """
        flown = list(self._flown)
        if highest is None:
            young = [run for run in self._flown if now_s - run[0] < self._in_flight_s]
            self._flown = deque(young)
        else:
            self._drop_arrived(holes, upto, highest, now_s)
        before, self.lost_s = self.count, None
        for hole in holes:
            rest = [hole]
            for _, first, last in self._flown:
                rest = [part for one in rest for part in _without(one, (first, last))]
            for part in rest:
                self.add(*part)
                runs = [sent_s for sent_s, *run in flown if _without(part, (run[0], run[1])) != [part]]
                self.lost_s = max(runs, default=self.lost_s)
        return self.count - before

    def sent(self, first: int, last: int, now_s: float) -> None:
        """Records that first .. last were handed to an open connection; they are no longer due."""
        self.sent_s = now_s
        self._due = [part for one in self._due for part in _without(one, (first, last))]
        if self._flown and self._flown[-1][2] + 1 == first and now_s - self._flown[-1][0] < 1.0:
            began_s, since, _ = self._flown.pop()
            self._flown.append((began_s, since, last))
        else:
            self._flown.append((now_s, first, last))
        if len(self._flown) > MAX_REMEMBERED_RUNS:
            _, since, middle = self._flown.popleft()
            sent_s, first, last = self._flown[0]
            if middle + 1 == first:
                self._flown[0] = sent_s, since, last

    def acknowledged(self, upto: int) -> None:
        """Removes everything up to `upto`."""
        self._due = [part for one in self._due for part in _without(one, (0, upto))]

    def lost(self) -> None:
        """Records the loss of the connection: nothing is in flight any more."""
        self._flown.clear()

    def text(self) -> str:
        """The due ranges as `a-b,c-d`, for storage."""
        return ",".join(f"{first}-{last}" for first, last in self._due)

    def restore(self, text: str) -> None:
        """Restores the ranges from `text`; skips what cannot be read."""
        for part in text.split(","):
            first, _, last = part.partition("-")
            if first.isdecimal() and last.isdecimal():
                self.add(int(first), int(last))

    def _drop_arrived(self, holes: Sequence[Range], upto: int, highest: int, now_s: float) -> None:
        """Forgets the runs that were sent before a stored number; they have arrived or are lost."""
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
                first = stored + 1  # within a run the order holds, too
            kept.append((sent_s, first, last))
        self._flown = kept


def _without(one: Range, gone: Range) -> list[Range]:
    """The parts of `one` outside of `gone`."""
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
    """The highest stored number, above all holes; None where the cloud does not report it."""
    store: str = ""
    """Permanent name of the store that has them; empty where the cloud does not report it."""
    takes_intervals: bool = False
    """Whether the cloud states that it takes intervals and disturbances; another may refuse them, and
    waits for their numbers."""
    takes_losses: bool = False
    """Whether the cloud states that it takes what a gateway lost of them."""


def acknowledgement(
    text: str, identity: str = "", takes: Collection[str] = ()
) -> CloudAcknowledgement | None:
    """Parses the message of an `opq-ack`; the command's identity names the store. None where it is not an
    acknowledgement."""
    if _TEXT.fullmatch(text) is None:
        return None
    upto, *holes = text.split(",")
    pairs = (hole.split("-") for hole in holes)
    missing = tuple((int(first), int(last)) for first, last in pairs)
    if max(int(upto), *(last for _, last in missing), 0) > _LARGEST:
        return None
    empty_holes = [last for first, last in missing if first == last + 1]  # an empty hole
    return CloudAcknowledgement(
        int(upto),
        tuple((first, last) for first, last in missing if first <= last),
        max(empty_holes, default=None),
        store.group(1) if (store := _STORE.fullmatch(identity)) else "",
        TAKES_INTERVALS in takes,
        TAKES_LOSSES in takes,
    )
