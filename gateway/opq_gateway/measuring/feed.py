"""Feed: what was measured, to whoever on this machine wants it: MQTT, C37.118, page, each by its channel.

A slow reader loses its oldest items, counted in its channel, and holds up nobody.
"""

import threading

from opq_gateway.measuring.values import Item
from opq_proto.channel import Channel


class Feed:
    """One writer side, any number of readers; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: tuple[tuple[tuple[type[Item], ...], Channel[Item]], ...] = ()

    def subscribe(self, name: str, kinds: tuple[type[Item], ...], limit: int = 1000) -> Channel[Item]:
        """A channel that gets every item of these types from now on."""
        channel: Channel[Item] = Channel(name, limit, "drop_oldest")
        with self._lock:
            self._readers = (*self._readers, (kinds, channel))
        return channel

    @property
    def channels(self) -> tuple[Channel[Item], ...]:
        """Of all readers, for who counts what waits and what was dropped."""
        return tuple(channel for _, channel in self._readers)

    def wanted(self, kind: type[Item]) -> bool:
        """Whether anybody reads items of this type: what nobody wants need not be made."""
        return any(kind in kinds for kinds, _ in self._readers)

    def offer(self, item: Item) -> None:
        """Hand an item to its readers; never blocks."""
        for kinds, channel in self._readers:
            if isinstance(item, kinds):
                channel.offer(item)
