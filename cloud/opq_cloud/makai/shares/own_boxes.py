"""Which Boxes this triggering service judges, where several services share those of one store. Pure.

    a Box is gained --> subscribed; its messages wait until its last stored minutes were shown to triggers
    a Box is lost   --> judged for RELEASE_S longer, at the same time as by its new owner

Two owners at a time lose nothing and double nothing: rows are stored once by their sequence, and an onset
that has an event already is merged. Measurements sent while a Box has no owner are sent again by the Box.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

from opq_cloud.makai.shares.box_shares import LENGTH, beginning_of, beginnings_of
from opq_proto.wire import topic

RELEASE_S = 2.0
"""In this time the new owner's subscription has reached the broker."""
BEGUN_AT_ONCE = 50
"""Boxes whose last minutes are read in one turn of the loop."""
MAX_WAITING = 100_000
"""Messages of Boxes that are not begun yet."""
LONGEST = 10
"""Digits of a topic."""

Frames = list[bytes]


class OwnBoxes:
    """Belongs to one loop. `number`: of the own share."""

    def __init__(self, number: int) -> None:
        self.shares: tuple[int, ...] = ()
        """Present shares, as far as is known; before that no Boxes are judged."""
        self.dropped = 0
        """Messages that found no room while their Boxes were not begun, or whose topic is no Box's."""
        self._number = number
        self._owned: frozenset[bytes] = frozenset()
        """Beginnings of topics."""
        self._lost: dict[bytes, float] = {}
        """Beginning -> until when its Boxes are judged here."""
        self._begun: set[bytes] = set()
        """Topics of the Boxes that are judged here."""
        self._waiting: dict[bytes, list[Frames]] = {}
        """Topic -> messages of a Box that is not begun."""
        self._messages = 0
        """Messages in `_waiting`."""

    def __len__(self) -> int:
        """Number of Boxes that are judged here."""
        return len(self._begun)

    @property
    def begins(self) -> bool:
        """Whether a Box waits to be judged here."""
        return bool(self._waiting)

    def has(self, box_id: str) -> bool:
        """Returns True if the Box is judged here."""
        return topic(box_id) in self._begun

    def sort(self, messages: Sequence[Frames]) -> list[Frames]:
        """Returns the messages of Boxes that are judged here; keeps those of Boxes that have yet to begin."""
        begun = self._begun
        if all(frames[0] in begun for frames in messages):
            return list(messages)
        mine: list[Frames] = []
        for frames in messages:
            if frames[0] in begun:
                mine.append(frames)
            elif frames[0][:LENGTH] not in self._owned:
                continue  # it was on its way when its Box moved
            elif not _is_topic(frames[0]):
                self.dropped += 1
            elif self._messages < MAX_WAITING:
                self._waiting.setdefault(frames[0], []).append(frames)
                self._messages += 1
            else:
                self.dropped += 1
        return mine

    def use_shares(self, shares: Sequence[int], now_s: float) -> frozenset[bytes]:
        """Sets the present shares; returns the beginnings to subscribe to."""
        self.shares = tuple(shares)
        before, self._owned = self._owned, beginnings_of(self._number, self.shares)
        for lost in before - self._owned:
            self._lost.setdefault(lost, now_s + RELEASE_S)
        gained = self._owned - before
        new = gained - self._lost.keys()  # the others are still subscribed
        for beginning in gained:
            self._lost.pop(beginning, None)
        return new

    def know(self, box_ids: Iterable[str]) -> None:
        """Adds Boxes of the store, heard or not: a disturbance of theirs may have ended unseen."""
        for box_id in box_ids:
            if beginning_of(box_id) in self._owned and topic(box_id) not in self._begun:
                self._waiting.setdefault(topic(box_id), [])

    def next_gained(self) -> dict[str, list[Frames]]:
        """Returns some Boxes that are to be begun, and the messages of each."""
        return {_box_id(each): came for each, came in islice(self._waiting.items(), BEGUN_AT_ONCE)}

    def begin(self, box_ids: Iterable[str]) -> None:
        """Judges these Boxes here from now on."""
        for each in map(topic, box_ids):
            self._messages -= len(self._waiting.pop(each, ()))
            self._begun.add(each)

    def released(self, now_s: float) -> tuple[list[bytes], list[str]]:
        """Returns beginnings to unsubscribe, and their Boxes, which are no longer judged here."""
        over = {beginning for beginning, until_s in self._lost.items() if now_s >= until_s}
        if not over:
            return [], []
        for beginning in over:
            del self._lost[beginning]
        gone = {each for each in self._begun if each[:LENGTH] in over}
        self._begun -= gone
        for each in [each for each in self._waiting if each[:LENGTH] in over]:
            self._messages -= len(self._waiting.pop(each))
        return list(over), [_box_id(each) for each in gone]


def _is_topic(name: bytes) -> bool:
    return name.isdigit() and len(name) <= LONGEST and name == b"%04d" % int(name)


def _box_id(name: bytes) -> str:
    return str(int(name))
