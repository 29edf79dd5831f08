"""Windows that the calendar ends: tumbling, mains-cycle and hopping windows, [start, end).

They end at multiples of a length within the next larger unit of time: 10 s windows end at :10, :20 ...; hours
and days follow local time. A length that does not divide its larger unit gives a shorter last window in it: 7
s windows end at :07 ... :56, :00. Source: docs/reference/rules.md, D.2.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from opq_proto.time_units import DAY_MS, HOUR_MS, MINUTE_MS
from opq_rules.query.window import (
    MAX_EMPTY_WINDOWS,
    Cut,
    Fresh,
    LeftOut,
    Merge,
    Record,
    WindowContent,
    restored,
)
from opq_rules.values.batch import State

SECOND_MS = 1_000
_LARGER_MS = {"MS": SECOND_MS, "SS": MINUTE_MS, "MI": HOUR_MS, "HH": DAY_MS, "DD": DAY_MS}
_UNITS_MS = (SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS)
_MIN_MS = -62_000_000_000_000
"""UTC of a time in the year 5: zones are taken as constant before it."""
_MAX_MS = 253_000_000_000_000
"""UTC of a time in the year 9987: zones are taken as constant after it."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Boundaries every `length_ms`, starting again at each multiple of `unit_ms`; Unix ms.

    `zone`: the zone whose midnight counts; None: the machine's.
    """

    length_ms: int
    unit_ms: int
    zone: tzinfo | None = UTC

    @classmethod
    def of(cls, unit: str | None, length_ms: int, zone: tzinfo | None = None) -> "Ends":
        larger_ms = _LARGER_MS[unit or "MS"]
        for unit_ms in _UNITS_MS:
            if unit_ms >= larger_ms and unit_ms >= length_ms:
                return cls(length_ms, unit_ms, zone)
        whole_days_ms = -(-length_ms // DAY_MS) * DAY_MS  # days are counted from 1970-01-01
        return cls(length_ms, whole_days_ms, zone)

    def at_or_before(self, ms: int) -> int:
        """The last boundary that is not after `ms`."""
        local_ms = ms + self._offset_ms(ms)
        rest_ms = local_ms % self.unit_ms
        found = local_ms - rest_ms + rest_ms // self.length_ms * self.length_ms
        return min(self._unix_ms(found), ms)

    def after(self, ms: int) -> int:
        """The first boundary after `ms`."""
        local_ms = ms + self._offset_ms(ms)
        start_ms = local_ms - local_ms % self.unit_ms
        steps = (local_ms - start_ms) // self.length_ms + 1
        found = min(start_ms + steps * self.length_ms, start_ms + self.unit_ms)
        unix_ms = self._unix_ms(found)
        return unix_ms if unix_ms > ms else ms + self.length_ms  # an hour that occurs twice

    def _unix_ms(self, local_ms: int) -> int:
        return local_ms - self._offset_ms(local_ms - self._offset_ms(local_ms))

    def _offset_ms(self, ms: int) -> int:
        if self.unit_ms < HOUR_MS or self.zone is UTC:
            return 0  # no present zone differs by a part of a minute
        known_ms = min(max(ms, _MIN_MS), _MAX_MS)
        offset = datetime.fromtimestamp(known_ms / 1_000, UTC).astimezone(self.zone).utcoffset()
        assert offset is not None
        return int(offset.total_seconds() * 1_000)


class Tumbling:
    """`empty`: windows without a record are cut too, from `open` or the first record on."""

    def __init__(self, ends: Ends, fresh: Fresh, empty: bool, left_out: LeftOut) -> None:
        self._ends, self._fresh, self._empty, self._left_out = ends, fresh, empty, left_out
        self._content: WindowContent | None = None
        self._start_ms = 0
        self.next_due_ms: int | None = None

    def open(self, ms: int) -> None:
        """Starts the first window, at the rule's start or with the first record."""
        self._start_ms = self._ends.at_or_before(ms)
        self.next_due_ms = self._ends.after(ms)
        self._content = self._fresh()

    def add(self, records: Iterable[Record]) -> list[Cut]:
        for record in records:
            if self._content is None:
                self.open(record.ms)
            assert self._content is not None
            self._content.add(record)
        return []

    def advance(self, ms: int) -> list[Cut]:
        cuts: list[Cut] = []
        while self.next_due_ms is not None and self.next_due_ms <= ms:
            assert self._content is not None
            end_ms = self.next_due_ms
            cuts.append(Cut(self._content, self._start_ms, end_ms))
            self._content, self.next_due_ms = None, None
            if self._empty:
                if len(cuts) > MAX_EMPTY_WINDOWS and self._ends.after(end_ms) <= ms:
                    end_ms, silent_ms = self._ends.at_or_before(ms), end_ms
                    self._left_out(silent_ms, end_ms)
                self.open(end_ms)
        return cuts

    def state(self) -> State:
        content = None if self._content is None else self._content.state()
        return {"content": content, "start_ms": self._start_ms, "end_ms": self.next_due_ms}

    def restore(self, state: State) -> None:
        self._start_ms, self.next_due_ms = state["start_ms"], state["end_ms"]
        kept = state["content"]
        self._content = None if kept is None else restored(self._fresh, kept)


class Hopping:
    """A window at every hop, [end - length, end); records between shorter windows are dropped.

    Records go into panes that no window boundary divides; a window is its panes merged.
    """

    def __init__(
        self, ends: Ends, length_ms: int, fresh: Fresh, merge: Merge, empty: bool, left_out: LeftOut
    ) -> None:
        self._ends, self._length_ms = ends, length_ms
        self._fresh, self._merge = fresh, merge
        self._empty, self._left_out = empty, left_out
        self._panes: deque[tuple[int, WindowContent]] = deque()
        """(time of the first record, content)"""
        self._until_ms: int | None = None
        """The boundary after the newest pane; None: the next record begins a pane."""
        self.next_due_ms: int | None = None

    def open(self, ms: int) -> None:
        """Sets the first boundary, at the rule's start or with the first record."""
        self.next_due_ms = self._ends.after(ms)

    def add(self, records: Iterable[Record]) -> list[Cut]:
        for record in records:
            if self.next_due_ms is None:
                self.open(record.ms)
            if self._until_ms is None or record.ms >= self._until_ms:
                end_ms = self._ends.after(record.ms)
                if record.ms < end_ms - self._length_ms:
                    continue
                self._until_ms = min(end_ms, self._ends.after(record.ms + self._length_ms) - self._length_ms)
                self._panes.append((record.ms, self._fresh()))
            self._panes[-1][1].add(record)
        return []

    def advance(self, ms: int) -> list[Cut]:
        cuts: list[Cut] = []
        empty = 0
        while self.next_due_ms is not None and self.next_due_ms <= ms:
            end_ms = self.next_due_ms
            start_ms = end_ms - self._length_ms
            self._forget_before(start_ms)
            held = [content for first_ms, content in self._panes if first_ms < end_ms]
            empty += not held
            if held or self._empty:
                cuts.append(Cut(self._merge(held), start_ms, end_ms))
            too_many = empty > MAX_EMPTY_WINDOWS and not self._panes
            self.next_due_ms = self._ends.after(end_ms)
            if too_many and self.next_due_ms <= ms:
                self._left_out(end_ms, ms)
                self.next_due_ms = self._ends.after(ms)
            self._forget_before(self.next_due_ms - self._length_ms)
            if not self._panes:
                self._until_ms = None
                if not self._empty:
                    self.next_due_ms = None
        return cuts

    def _forget_before(self, ms: int) -> None:
        while self._panes and self._panes[0][0] < ms:
            self._panes.popleft()

    def state(self) -> State:
        panes = [[first_ms, content.state()] for first_ms, content in self._panes]
        return {"panes": panes, "until_ms": self._until_ms, "end_ms": self.next_due_ms}

    def restore(self, state: State) -> None:
        self._panes, self._until_ms, self.next_due_ms = deque(), None, state["end_ms"]
        for first_ms, kept in state["panes"]:
            self._panes.append((first_ms, restored(self._fresh, kept)))
        self._until_ms = state["until_ms"]
