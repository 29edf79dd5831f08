"""Topics of memory, which connect rules with rules: rows go to all who listen, not encoded."""

import threading
from collections.abc import Callable, Sequence

from opq_rules.values.batch import Row

TopicListener = Callable[[str, Sequence[Row]], None]
"""Gets a topic, and the rows that were sent to it."""


class Topics:
    """Topics of memory. Thread-safe. A listener must not block; it gets no earlier rows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[tuple[str, TopicListener]] = []
        self._found: dict[str, tuple[TopicListener, ...]] = {}

    def listen(self, pattern: str, listener: TopicListener) -> None:
        with self._lock:
            self._listeners.append((pattern, listener))
            self._found = {}

    def leave(self, listener: TopicListener) -> None:
        with self._lock:
            self._listeners = [each for each in self._listeners if each[1] != listener]
            self._found = {}

    def publish(self, topic: str, rows: Sequence[Row]) -> int:
        """Passes rows to all listeners of the topic; returns their number."""
        found = self._found.get(topic)
        if found is None:
            with self._lock:
                found = tuple(each for pattern, each in self._listeners if matches(pattern, topic))
                if len(self._found) < 10_000:
                    self._found[topic] = found
        for listener in found:
            listener(topic, rows)
        return len(found)


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic matches a pattern."""
    if pattern == topic:
        return True
    wanted, there = pattern.split("/"), topic.split("/")
    for k, part in enumerate(wanted):
        if part == "#":
            return True
        if k >= len(there) or part not in ("+", there[k]):
            return False
    return len(wanted) == len(there)
