"""Which events there are already, so that one disturbance seen twice is one event.

Pure. A trigger whose window lies inside the span of an event that asked the same Box adds
nothing: its samples are on their way. Also after a restart, when a Box sends a measurement again.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """An event's [start_ns, end_ns) and the Boxes that were asked for it."""

    event_id: int
    start_ns: int
    end_ns: int
    box_ids: frozenset[str]


class RecentEvents:
    """The last `limit` events."""

    def __init__(self, limit: int, spans: Iterable[Span] = ()) -> None:
        self._spans = deque(spans, maxlen=limit)

    def add(self, span: Span) -> None:
        self._spans.append(span)

    def covering(self, box_id: str, start_ns: int, end_ns: int) -> Span | None:
        """The newest event that asked this Box for all of [start_ns, end_ns)."""
        for span in reversed(self._spans):
            if span.start_ns <= start_ns and end_ns <= span.end_ns and box_id in span.box_ids:
                return span
        return None
