"""A bounded queue between two threads that counts dropped items.

Channels of live views drop the oldest item (`drop_oldest`). Channels of data that must not be lost refuse a
new item (`refuse`), so that the sender keeps it. The code that makes the channel chooses one of the two.
"""

import threading
import time
from collections import deque
from typing import Generic, Literal, TypeVar

Item = TypeVar("Item")
OnFull = Literal["drop_oldest", "refuse"]


class Channel(Generic[Item]):
    """Holds at most `limit` items between threads; `offer` never blocks.

    Attributes:
        name: the name in counters and logs. offered, dropped: numbers of items offered, and of those dropped
        (`drop_oldest`) or refused (`refuse`). high_water: the most items it ever held.
    """

    def __init__(self, name: str, limit: int, on_full: OnFull = "drop_oldest") -> None:
        if limit < 1:
            raise ValueError(f"channel {name}: limit is {limit}; want at least 1")
        if on_full not in ("drop_oldest", "refuse"):
            raise ValueError(f"channel {name}: on_full is {on_full!r}; want 'drop_oldest' or 'refuse'")
        self.name = name
        self.limit = limit
        self.on_full: OnFull = on_full
        self.offered = 0
        self.dropped = 0
        self.high_water = 0
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def offer(self, item: Item) -> bool:
        """Adds `item`; False where it was refused (channel full or closed)."""
        with self._changed:
            self.offered += 1
            if self._closed:
                self.dropped += 1
                return False
            if len(self._items) >= self.limit:
                self.dropped += 1
                if self.on_full == "refuse":
                    return False
                self._items.popleft()
            self._items.append(item)
            self.high_water = max(self.high_water, len(self._items))
            self._changed.notify()
            return True

    def take_item(self, timeout_s: float = 0.0) -> Item | None:
        """Removes and returns the oldest item, waiting at most `timeout_s`; None if no item came."""
        with self._changed:
            self._wait(timeout_s)
            return self._items.popleft() if self._items else None

    def take_all(self, limit: int | None = None, timeout_s: float = 0.0) -> list[Item]:
        """Removes and returns all items, at most `limit`, oldest first; waits only for the first."""
        with self._changed:
            self._wait(timeout_s)
            count = len(self._items) if limit is None else min(limit, len(self._items))
            return [self._items.popleft() for _ in range(count)]

    def close(self) -> None:
        """Refuses further items and wakes waiting readers; present items can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)

    def _wait(self, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while not self._items and not self._closed:
            left = until - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)
