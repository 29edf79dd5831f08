"""Requests for Urms(1/2) of long dips and swells.

A long disturbance is sampled at its two ends only. For the time between them the event service asks the
gateways of the Boxes for the rms of each half cycle, which a gateway stores in its ledger. The span is in
`EventRecord.half_cycles_ns`. Each Box is asked once the span is over, and again if no answer comes; the
result is recorded, or the reason why there is none. Unanswered requests are found again after a restart.
Identities are `half_<token>_<instance>`. An original Box answers yes with nothing in it and is not asked
again. Times are passed in, in monotonic seconds.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from opq_cloud.store.event_record import EventRecord

PREFIX = "half_"
"""Prefix that the event service subscribes to in addition to `event_requests.PREFIX`."""
MEASURED_S = 3.0
"""A Box is asked this long after the end of the span: a window is flagged when the next one is there, and the
ledger is written once a second."""
PAUSES_S = (5.0, 10.0, 20.0)
"""How long to wait after each question; after the last wait the Box is given up."""
NO_ANSWER = "no answer"
LATEST_NS = 3600 * 10**9
"""After a start, events that ended longer ago are not asked for."""
MAX_WAITING = 10_000
MAX_KNOWN = 10_000
"""Limit of the events that are remembered as handled; each until LATEST_NS after its end."""


@dataclass(slots=True)
class HalfCycleRequest:
    """A Box of an event that has not answered."""

    event_id: int
    token: str
    box_id: str
    span_ns: tuple[int, int]
    next_s: float
    sent: int = 0


class HalfCycleRequests:
    """When each Box is asked; bounded by MAX_WAITING, MAX_KNOWN. Belongs to the event service's loop."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], HalfCycleRequest] = {}
        self._known: dict[int, int] = {}
        """Event -> end of its span: the same event is read four times a second."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def events_known(self) -> int:
        """Number of events remembered as handled."""
        return len(self._known)

    def note_events(self, records: Iterable[EventRecord], now_s: float, utc_ns: int) -> int:
        """Adds events of long disturbances with unanswered Boxes; returns how many Boxes found no room."""
        no_room = 0
        self._remove_old(utc_ns)
        for record in records:
            span_ns = record.half_cycles_ns
            if span_ns is None or record.event_id in self._known or utc_ns - span_ns[1] > LATEST_NS:
                continue
            self._known[record.event_id] = span_ns[1]
            at_s = now_s + max(0.0, min((span_ns[1] - utc_ns) / 1e9, LATEST_NS / 1e9) + MEASURED_S)
            for box_id in record.boxes_triggered:
                if box_id in record.half_cycles or (record.token, box_id) in self._waiting:
                    continue
                if len(self._waiting) >= MAX_WAITING:
                    no_room += 1
                    continue
                request = HalfCycleRequest(record.event_id, record.token, box_id, span_ns, at_s)
                self._waiting[record.token, box_id] = request
        return no_room

    def _remove_old(self, utc_ns: int) -> None:
        """Removes, where too many are known, those too old to be added again, then the oldest."""
        if len(self._known) > MAX_KNOWN:
            over = utc_ns - LATEST_NS
            newer = [(event, end_ns) for event, end_ns in self._known.items() if end_ns >= over]
            self._known = dict(newer[-MAX_KNOWN:])

    def due(self, now_s: float) -> tuple[list[HalfCycleRequest], list[HalfCycleRequest]]:
        """Returns the Boxes to ask now, and those that are given up because they were asked often enough."""
        due_now, give_up = [], []
        for each in [one for one in self._waiting.values() if now_s >= one.next_s]:
            if each.sent == len(PAUSES_S):
                give_up.append(each)
                del self._waiting[each.token, each.box_id]
            else:
                each.next_s = now_s + PAUSES_S[each.sent]
                each.sent += 1
                due_now.append(each)
        return due_now, give_up

    def find(self, token: str, box_id: str) -> HalfCycleRequest | None:
        """Returns the question that an answer belongs to; None: it is not awaited."""
        return self._waiting.get((token, box_id))

    def answered(self, token: str, box_id: str) -> None:
        """Ends the wait for a Box whose answer is recorded."""
        self._waiting.pop((token, box_id), None)


def half_cycle_identity(token: str, instance: str) -> str:
    return f"{PREFIX}{token}_{instance}"


def parse_half_cycle_identity(text: str) -> str | None:
    """Returns the token; None if it is not such an identity."""
    parts = text.split("_")
    return parts[1] if len(parts) == 3 and parts[0] == PREFIX[:-1] and parts[1] and parts[2] else None
