"""LocalFeed passes what a service measures or receives to the sources of an engine inside it.

It uses no socket. A slow source loses its oldest items, which are counted, and does not delay the others.
"""

import threading
from typing import Generic, TypeVar

from opq_proto.kit.channel import Channel

Item = TypeVar("Item")

MESSAGES_WAITING = 10_000


class LocalFeed(Generic[Item]):
    """Any thread may offer items; each reading source has its own channel."""

    def __init__(self, name: str, limit: int = MESSAGES_WAITING) -> None:
        self._name, self._limit = name, limit
        self._lock = threading.Lock()
        self._channels: tuple[Channel[Item], ...] = ()
        self._dropped = 0
        """Items dropped by channels that have ended."""

    @property
    def wanted(self) -> bool:
        """Whether there is a reader; otherwise items need not be made."""
        return bool(self._channels)

    @property
    def dropped(self) -> int:
        return self._dropped + sum(channel.dropped for channel in self._channels)

    def subscribe(self) -> Channel[Item]:
        channel: Channel[Item] = Channel(self._name, self._limit, "drop_oldest")
        with self._lock:
            self._channels = (*self._channels, channel)
        return channel

    def leave(self, channel: Channel[Item]) -> None:
        with self._lock:
            self._channels = tuple(each for each in self._channels if each is not channel)
            self._dropped += channel.dropped

    def offer(self, item: Item) -> None:
        """Passes an item to all channels; never blocks."""
        for channel in self._channels:
            channel.offer(item)
