"""Events that a client of the C++ generation requests: RequestEventMessage on 9884, `evnew` on 9899.

The acquisition broker has no store: it passes the request on 9899 to the event service, which opens the
event on disk and sends back, over 9884, first the number for all subscribers and then a command per Box
(docs/reference/opq-interop.md B.3). The original asks every Box there is, whichever are named (H.37); here
the named ones, or those heard lately.
"""

import time
from collections.abc import Callable

from opq_cloud.core.service import ServiceCounters
from opq_cloud.makai.events.event_requests import new_token, request_identity
from opq_cloud.store.box_record import box_order
from opq_cloud.store.store import CloudStore
from opq_proto.errors import FrameError
from opq_proto.kit.rate_limit import TokenBuckets
from opq_proto.messages import Trigger
from opq_proto.time_units import NS_PER_MS
from opq_proto.wire.frames import data_command
from opq_proto.wire.leg import NEW_EVENT, EventRequest, read_event_request

EVENT_REQUEST = b"evreq"
"""Frame 0 on 9899 of a request on its way to the event service; frame 1 is the RequestEventMessage."""
KNOWN_BOXES = 10_000
MAX_WITNESSES = 50
"""Limit of the asked Boxes where none is named (docs/reference/contracts.md)."""
REPORTING_MS = 60_000
MAX_AHEAD_MS = 60_000
"""How far the end of a requested span may be ahead of this machine's clock: the event waits until then."""


class RequestedEvents:
    """Belongs to the event service's loop."""

    def __init__(
        self,
        counters: ServiceCounters,
        instance: str,
        most_open: int = 20,
        noted_per_min: int = 60,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            most_open: events that wait for their Boxes; another is refused: a client in clear may ask
                without end.
            noted_per_min: events without data of one Box; they wait for no answer, and would fill the disk.
        """
        self._most_open, self._noted_per_min = most_open, noted_per_min
        self._noted = TokenBuckets(noted_per_min, noted_per_min / 60, KNOWN_BOXES, monotonic_s)
        self._counters = counters
        self._instance = instance
        self._open: set[str] = set()
        """Tokens; those that are over are removed when another comes."""
        self._begun: tuple[bytes, str] | None = None
        """A request whose event is not completely stored, with its token; it is tried again."""

    def open_event(
        self, data: bytes, store: CloudStore, is_open: Callable[[str], bool], now_ms: int
    ) -> tuple[int, list[bytes | list[bytes]]]:
        """Opens a requested event; returns (event id, messages for 9884 in this order).

        Args:
            is_open: returns whether the event of a token still waits for Boxes.
        Raises:
            FrameError: it is invalid, or too many are under way.
            StoreError: the store has not taken all of it; the same request goes on with the same event.
        """
        request = read_event_request(data)
        if request is None:
            raise FrameError("the message is not a RequestEventMessage")
        if request.end_ms > now_ms + MAX_AHEAD_MS:
            self._counters.add("event_requests_refused")
            raise FrameError(f"the span ends more than {MAX_AHEAD_MS // 1000} s ahead of this clock")
        boxes = request.box_ids or _reporting(store, now_ms)
        if self._begun is None or self._begun[0] != data:
            self._open = {token for token in self._open if is_open(token)}
            if len(self._open) >= self._most_open:
                self._counters.add("event_requests_refused")
                raise FrameError(f"{self._most_open} requested events wait for their Boxes; ask again later")
            if not request.wants_data:
                self._note_without_data(boxes)
            self._begun = data, new_token()
        trigger = Trigger(
            token=self._begun[1],
            start_ns=request.start_ms * NS_PER_MS,
            end_ns=request.end_ms * NS_PER_MS,
            box_ids=boxes,
            opened_by=boxes[0] if boxes else "",
            because=f"{request.requestee} asked: {request.trigger} of {request.percent:g} %",
        )
        event_id = store.open_event(trigger, _description(request))
        messages: list[bytes | list[bytes]] = [[NEW_EVENT, str(event_id).encode("ascii")]]
        if not request.wants_data:
            for box_id in boxes:
                store.mark_missing(event_id, box_id, "not asked: request_data is false")
            store.finish_event(event_id)
        self._counters.add("events_requested")
        self._begun = None
        if not request.wants_data:
            return event_id, messages
        self._open.add(trigger.token)
        identity = request_identity(trigger.token, self._instance)
        for box_id in boxes:
            messages.append(data_command(box_id, trigger.start_ns, trigger.end_ns, identity))
        return event_id, messages

    def _note_without_data(self, boxes: tuple[str, ...]) -> None:
        """Notes an event without data. Raises FrameError: a Box has too many in this minute."""
        keys = boxes or ("",)
        full = [box_id for box_id in keys if self._noted.left(box_id) < 1]
        if full:
            self._counters.add("event_requests_refused")
            raise FrameError(
                f"Box {full[0] or '(none)'}: {self._noted_per_min} events a minute without data; ask later"
            )
        for box_id in keys:
            self._noted.spend(box_id, 1)


def _reporting(store: CloudStore, now_ms: int) -> tuple[str, ...]:
    """Returns Boxes with a Measurement of the last minute, the newest first where there are many."""
    newest = sorted(store.latest_measurements().values(), key=lambda row: -row.timestamp_ms)
    reporting = [row.box_id for row in newest if abs(now_ms - row.timestamp_ms) < REPORTING_MS]
    return tuple(sorted(reporting[:MAX_WITNESSES], key=box_order))


def _description(request: EventRequest) -> str:
    return f"{request.requestee}: {request.description}" if request.requestee else request.description
