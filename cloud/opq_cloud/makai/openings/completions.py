"""Disturbances that outlasted their event: the missing part is requested when they are over."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from opq_cloud.makai.events.event_requests import new_token
from opq_cloud.makai.openings.brief_onsets import LATEST_S
from opq_cloud.makai.openings.recent_events import RecentEvents
from opq_cloud.makai.requested_boxes import SAW
from opq_proto.decision import Decision
from opq_proto.messages import Trigger

BOUND = "bound"
"""Reason for a Box that is not asked because enough others are."""


@dataclass(slots=True)
class _OverSpan:
    """[start_ns, end_ns) of a disturbance that is over, and the Boxes that saw it, the first one first."""

    start_ns: int
    end_ns: int
    decision: Decision
    due_s: float
    tolerance_ns: int
    """Longest window of a Box: others show the same end in a window that ends so much later."""
    box_ids: dict[str, None] = field(default_factory=dict)
    left_out: int = 0


class Completions:
    """Disturbances that outlasted their event: the part that no event covers is requested, once.

    That is all of a disturbance, or the end of a long one (`Decision.since_ns`). Boxes end their windows at
    different moments, so each Box that saw a disturbance reports its end within a window's length. A span
    waits that long, and goes out as one Trigger for all of them, `most_boxes` at most.
    """

    def __init__(self, recent: RecentEvents, pre_ns: int, post_ns: int, most_boxes: int = 200) -> None:
        self._recent = recent
        self._pre_ns = pre_ns
        self._post_ns = post_ns
        self._most_boxes = most_boxes
        self._waiting: list[_OverSpan] = []

    def add_span(self, box_id: str, decision: Decision, due_s: float, tolerance_ns: int) -> None:
        """Adds a disturbance that is over; does nothing when one event has all of it, as most have.

        One that begins and ends within `tolerance_ns` of a waiting one goes out with it.
        """
        if decision.span_ns is None or self._recent.covering(box_id, *decision.span_ns) is not None:
            return
        start_ns, end_ns = decision.span_ns
        if self.is_requested(box_id, start_ns, end_ns):
            return
        for known in self._waiting:
            if max(abs(start_ns - known.start_ns), abs(end_ns - known.end_ns)) <= tolerance_ns:
                known.start_ns, known.end_ns = min(start_ns, known.start_ns), max(end_ns, known.end_ns)
                if box_id not in known.box_ids and len(known.box_ids) >= self._most_boxes:
                    known.left_out += 1
                else:
                    known.box_ids[box_id] = None
                return
        self._waiting.append(_OverSpan(start_ns, end_ns, decision, due_s, tolerance_ns, {box_id: None}))

    def is_requested(self, box_id: str, start_ns: int, end_ns: int) -> bool:
        """Returns True if a waiting span will ask this Box for all of [start_ns, end_ns)."""
        return any(
            box_id in over.box_ids
            and over.start_ns - self._pre_ns <= start_ns
            and end_ns <= over.end_ns + self._post_ns
            for over in self._waiting
        )

    def due(
        self, now_s: float, slowest_ns: Callable[[Iterable[str]], int]
    ) -> Iterator[tuple[Trigger, Decision]]:
        """Yields the triggers that are due, without Boxes that another event covers meanwhile.

        The caller makes an event of each before it takes the next.

        Args:
            slowest_ns: up to when all of these Boxes have sent their Measurements: for those of the same
                end a span waits for LATEST_S more at most.
        """
        if not self._waiting:
            return
        due = [
            over for over in self._waiting if now_s >= over.due_s and self._is_known(over, now_s, slowest_ns)
        ]
        left = set(map(id, due))
        self._waiting = [over for over in self._waiting if id(over) not in left]
        for over in due:
            trigger = self._trigger(over)
            if trigger is not None:
                yield trigger, over.decision

    def _is_known(self, over: _OverSpan, now_s: float, slowest_ns: Callable[[Iterable[str]], int]) -> bool:
        """Returns True if the other Boxes of its event have sent what shows the end, or had time for it."""
        since_ns = over.start_ns if over.decision.since_ns is None else over.decision.since_ns
        onset = self._recent.covering(next(iter(over.box_ids)), since_ns, since_ns)
        others = set() if onset is None else onset.box_ids - over.box_ids.keys()
        until_ns = over.end_ns + 2 * over.tolerance_ns
        return not others or now_s >= over.due_s + LATEST_S or slowest_ns(others) >= until_ns

    def _between(self, over: _OverSpan) -> tuple[int, int] | None:
        """The span for the gateways' ledgers: all of a dip or swell of which only the end is sampled."""
        since_ns = over.decision.since_ns
        if since_ns is None or over.decision.metric != "rms":
            return None
        return max(0, since_ns - self._pre_ns), over.end_ns + self._post_ns

    def _trigger(self, over: _OverSpan) -> Trigger | None:
        span = over.start_ns, over.end_ns
        boxes = tuple(box_id for box_id in over.box_ids if self._recent.covering(box_id, *span) is None)
        if not boxes:
            return None
        since_ns = over.start_ns if over.decision.since_ns is None else over.decision.since_ns
        onset = self._recent.covering(boxes[0], since_ns, since_ns)
        what = "" if onset is None else f"completes event {onset.event_id}: "
        return Trigger(
            token=new_token(),
            start_ns=max(0, over.start_ns - self._pre_ns),  # no wire format allows less
            end_ns=over.end_ns + self._post_ns,
            box_ids=boxes,
            opened_by=boxes[0],
            because=f"Box {boxes[0]}, {what}{over.decision.because}",
            completes=None if onset is None else onset.event_id,
            asked_as=((SAW, boxes),),
            half_cycles_ns=self._between(over),
            not_asked=((BOUND, over.left_out),) if over.left_out else (),
        )
