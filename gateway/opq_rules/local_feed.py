"""LocalFeed: what a service measures or hears, to the sources of an engine that runs inside it.

No socket between. A source that does not keep up loses its oldest items, counted, and holds up nobody.
"""

import threading
from typing import Generic, TypeVar

from opq_proto.channel import Channel

Item = TypeVar("Item")

LIMIT = 10_000


class LocalFeed(Generic[Item]):
    """Any thread offers; each source that reads has a channel of its own."""

    def __init__(self, name: str, limit: int = LIMIT) -> None:
        self._name, self._limit = name, limit
        self._lock = threading.Lock()
        self._channels: tuple[Channel[Item], ...] = ()
        self._dropped = 0
        """By channels that were left."""

    @property
    def wanted(self) -> bool:
        """Whether anybody reads: what nobody wants need not be made."""
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
        """Never blocks."""
        for channel in self._channels:
            channel.offer(item)
