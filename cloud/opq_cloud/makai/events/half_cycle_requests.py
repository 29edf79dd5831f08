"""Requests for Urms(1/2) of long dips and swells.

A long disturbance is sampled at its two ends only. For the time between them the event service asks the
gateways of the Boxes for the rms of each half cycle, which a gateway stores in its ledger. The span is in
`EventRecord.half_cycles_ns`. Each Box is asked once the span is over, and again if no answer comes; the
result is recorded, or the reason why there is none: only then is the event complete. The store says
which Boxes owe an answer, so that one that joins later is asked, and each is found again after a restart.
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
TOO_LATE = "over for too long to be asked for"
NO_ROOM = "too many others are asked"
LATEST_NS = 3600 * 10**9
"""Events that ended longer ago are not asked for."""
MAX_WAITING = 10_000


@dataclass(slots=True)
class HalfCycleRequest:
    """A Box of an event that has not answered."""

    event_id: int
    token: str
    box_id: str
    span_ns: tuple[int, int]
    next_s: float
    sent: int = 0
    why: str = NO_ANSWER
    """Why it is given up."""

    def refuse(self, why: str) -> None:
        """Gives it up without a question."""
        self.why, self.sent = why, len(PAUSES_S)


class HalfCycleRequests:
    """When each Box is asked; from MAX_WAITING on others are refused. Belongs to the event service's loop."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], HalfCycleRequest] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def note_events(self, records: Iterable[EventRecord], now_s: float, utc_ns: int) -> None:
        """Adds the Boxes of long disturbances that neither answered nor are given up."""
        for record in records:
            if (span_ns := record.half_cycles_ns) is None:
                continue
            for box_id in record.owes_half_cycles:
                if (record.token, box_id) in self._waiting:
                    continue
                request = HalfCycleRequest(record.event_id, record.token, box_id, span_ns, now_s)
                over_ns = utc_ns - span_ns[1]
                if over_ns > LATEST_NS:
                    request.refuse(TOO_LATE)
                elif len(self._waiting) >= MAX_WAITING:
                    request.refuse(NO_ROOM)
                else:
                    request.next_s += max(0.0, min(-over_ns, LATEST_NS) / 1e9 + MEASURED_S)
                self._waiting[record.token, box_id] = request

    def due(self, now_s: float) -> tuple[list[HalfCycleRequest], list[HalfCycleRequest]]:
        """Returns the Boxes to ask now, and those that are given up: until `answered`, at each call."""
        due_now, give_up = [], []
        for each in [one for one in self._waiting.values() if now_s >= one.next_s]:
            if each.sent == len(PAUSES_S):
                give_up.append(each)
            else:
                each.next_s = now_s + PAUSES_S[each.sent]
                each.sent += 1
                due_now.append(each)
        return due_now, give_up

    def find(self, token: str, box_id: str) -> HalfCycleRequest | None:
        """Returns the question that an answer belongs to; None: it is not awaited."""
        return self._waiting.get((token, box_id))

    def answered(self, token: str, box_id: str) -> None:
        """Ends the wait for a Box: its answer is recorded, or the reason why there is none."""
        self._waiting.pop((token, box_id), None)


def half_cycle_identity(token: str, instance: str) -> str:
    return f"{PREFIX}{token}_{instance}"


def parse_half_cycle_identity(text: str) -> str | None:
    """Returns the token; None if it is not such an identity."""
    parts = text.split("_")
    return parts[1] if len(parts) == 3 and parts[0] == PREFIX[:-1] and parts[1] and parts[2] else None
