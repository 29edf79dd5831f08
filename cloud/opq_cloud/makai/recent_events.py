"""The newest events, so that one disturbance seen twice is one event."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class EventSpan:
    """An event's [start_ns, end_ns) and the Boxes that were asked for it, or saw it and were not."""

    event_id: int
    start_ns: int
    end_ns: int
    box_ids: set[str]
    token: str = ""
    located: bool = False
    """Its span is that of a transient which a gateway's detector found."""
    onsets_ns: dict[str, tuple[int, int]] = field(default_factory=dict)
    """The span that each Box named which saw it."""
    not_asked: dict[str, int] = field(default_factory=dict)
    """How many Boxes were not asked, by reason."""
    passed_over: set[str] = field(default_factory=set)
    """The Boxes among those that saw it themselves."""
    joined: dict[str, int] = field(default_factory=dict)
    """How many Boxes of each feeder came to it later."""


class RecentEvents:
    """The last `limit` events.

    A trigger whose window lies inside the span of an event that asked the same Box adds nothing: its
    samples are on their way. This holds after a restart too, when a Box sends a measurement again.
    """

    def __init__(self, limit: int, spans: Iterable[EventSpan] = ()) -> None:
        self._spans = deque(spans, maxlen=limit)

    def add_event(self, span: EventSpan) -> None:
        self._spans.append(span)

    def covering(self, box_id: str, start_ns: int, end_ns: int, transients: bool = True) -> EventSpan | None:
        """The newest event that asked this Box for all of [start_ns, end_ns).

        Without `transients` not one of a transient: that is too short to show what came with it.
        """
        for span in reversed(self._spans):
            inside = span.start_ns <= start_ns and end_ns <= span.end_ns
            if inside and box_id in span.box_ids and (transients or not span.located):
                return span
        return None

    def locating(self, box_id: str, start_ns: int, end_ns: int) -> EventSpan | None:
        """The newest event of a transient that this Box's gateway found within [start_ns, end_ns)."""
        for span in reversed(self._spans):
            onset_ns = span.onsets_ns.get(box_id)
            if span.located and onset_ns and start_ns <= onset_ns[0] and onset_ns[1] <= end_ns:
                return span
        return None

    def around(self, start_ns: int, end_ns: int, located: bool) -> EventSpan | None:
        """The newest event whose span holds all of [start_ns, end_ns), whomever it asked.

        What is no transient is not put to a transient's event: that is too short for it.
        """
        for span in reversed(self._spans):
            if span.start_ns <= start_ns and end_ns <= span.end_ns and (located or not span.located):
                return span
        return None
