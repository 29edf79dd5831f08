"""Disturbances that outlasted what was asked for at their onset: the whole of each is asked for, once.

Times are handed in. Boxes end their windows at different moments, so a disturbance that several
Boxes saw is told by each of them within a window's length. What was told waits that long, and
goes out as one Trigger for all of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from opq_cloud.makai.identity import new_token
from opq_cloud.makai.recent import RecentEvents
from opq_proto.decision import Decision
from opq_proto.messages import Trigger


@dataclass(frozen=True, slots=True)
class _Told:
    """[start_ns, end_ns) of a disturbance, and the Boxes that told it, the first one first."""

    start_ns: int
    end_ns: int
    box_ids: tuple[str, ...]
    decision: Decision
    due_s: float


class Completions:
    """What no event covers waits until it is due; spans that begin and end together are one."""

    def __init__(self, recent: RecentEvents, pre_ns: int, post_ns: int) -> None:
        self._recent = recent
        self._pre_ns = pre_ns
        self._post_ns = post_ns
        self._waiting: list[_Told] = []

    def put(self, box_id: str, decision: Decision, due_s: float, apart_ns: int) -> None:
        """A disturbance is over: nothing to do when one event has all of it, as most have.

        One that begins and ends within `apart_ns` of one that waits goes out with it.
        """
        if decision.span_ns is None or self._recent.covering(box_id, *decision.span_ns) is not None:
            return
        start_ns, end_ns = decision.span_ns
        if self.covers(box_id, start_ns, end_ns):
            return
        for place, known in enumerate(self._waiting):
            if max(abs(start_ns - known.start_ns), abs(end_ns - known.end_ns)) <= apart_ns:
                self._waiting[place] = replace(
                    known,
                    start_ns=min(start_ns, known.start_ns),
                    end_ns=max(end_ns, known.end_ns),
                    box_ids=known.box_ids if box_id in known.box_ids else (*known.box_ids, box_id),
                )
                return
        self._waiting.append(_Told(start_ns, end_ns, (box_id,), decision, due_s))

    def covers(self, box_id: str, start_ns: int, end_ns: int) -> bool:
        """Whether one that waits will ask this Box for all of [start_ns, end_ns)."""
        return any(
            box_id in told.box_ids
            and told.start_ns - self._pre_ns <= start_ns
            and end_ns <= told.end_ns + self._post_ns
            for told in self._waiting
        )

    def due(self, now_s: float) -> Iterator[tuple[Trigger, Decision]]:
        """Those whose time has come, without the Boxes that another event has come to cover meanwhile.

        The caller makes an event of each before it takes the next.
        """
        if not self._waiting:
            return
        over = [told for told in self._waiting if now_s >= told.due_s]
        self._waiting = [told for told in self._waiting if now_s < told.due_s]
        for told in over:
            trigger = self._trigger(told)
            if trigger is not None:
                yield trigger, told.decision

    def _trigger(self, told: _Told) -> Trigger | None:
        span = told.start_ns, told.end_ns
        boxes = tuple(box_id for box_id in told.box_ids if self._recent.covering(box_id, *span) is None)
        if not boxes:
            return None
        onset = self._recent.covering(boxes[0], told.start_ns, told.start_ns)
        what = "" if onset is None else f"completes event {onset.event_id}: "
        return Trigger(
            token=new_token(),
            start_ns=max(0, told.start_ns - self._pre_ns),  # no wire has less
            end_ns=told.end_ns + self._post_ns,
            box_ids=boxes,
            opened_by=boxes[0],
            because=f"Box {boxes[0]}, {what}{told.decision.because}",
        )
