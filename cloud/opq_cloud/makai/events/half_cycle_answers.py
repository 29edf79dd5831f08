"""Half cycles of long dips and swells: Boxes are asked for them, and their answers are stored.

`half_cycle_requests` decides which Box is asked when. The store gets the half cycles of each Box, or the
reason why there are none.
"""

import time
from collections.abc import Callable, Iterable, Sequence

from opq_cloud.core.service import ServiceCounters
from opq_cloud.makai.events.half_cycle_requests import (
    NO_ANSWER,
    HalfCycleRequests,
    half_cycle_identity,
    parse_half_cycle_identity,
)
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.store import CloudStore
from opq_proto.errors import FrameError
from opq_proto.kit import log
from opq_proto.wire.frames import HALF_CYCLES_PLUGIN, plugin_command, response_from_wire
from opq_proto.wire.half_cycles import half_cycles_from_wire, half_cycles_question

RECORDED_AT_ONCE = 100
"""Boxes given up that are recorded in one turn of the service's loop."""


class HalfCycleAnswers:
    """The half cycles that Boxes still owe, and their answers. Belongs to the event service's loop."""

    def __init__(
        self, store: CloudStore, send: Callable[[bytes], bool], instance: str, counters: ServiceCounters
    ) -> None:
        """`send`: sends a command to a Box; False where no broker takes it now."""
        self._store = store
        self._send = send
        self._instance = instance
        self._counters = counters
        self._requests = HalfCycleRequests()
        self._log = log.get(service="event-service")

    def note_events(self, records: Iterable[EventRecord], now: float) -> None:
        """Adds the Boxes of long disturbances that neither answered nor are given up."""
        self._requests.note_events(records, now, time.time_ns())

    def request_due(self, now: float) -> None:
        """Asks the Boxes that are due, and records those that are given up.

        Raises:
            StoreError: a Box that was given up is not recorded; the next call tries again.
        """
        due, given_up = self._requests.due(now)
        for each in due:
            identity = half_cycle_identity(each.token, self._instance)
            try:
                question = half_cycles_question(*each.span_ns)
                command = plugin_command(each.box_id, HALF_CYCLES_PLUGIN, question, identity)
            except FrameError:  # a Box id in the store that does not fit the wire format
                continue
            sent = self._send(command)
            self._counters.add("half_cycles_asked" if sent else "commands_dropped", label=each.box_id)
        for each in given_up[:RECORDED_AT_ONCE]:
            if self._store.event_record(each.event_id) is not None:
                self._store.mark_no_half_cycles(each.event_id, each.box_id, each.why)
            self._requests.answered(each.token, each.box_id)
            name = "half_cycles_unanswered" if each.why == NO_ANSWER else "half_cycles_not_asked"
            self._counters.add(name, label=each.box_id)

    def accept_answer(self, identity: str, frames: Sequence[bytes]) -> None:
        """Stores half cycles.

        Raises:
            FrameError: it is not an answer.
            StoreError: it was not stored.
        """
        token = parse_half_cycle_identity(identity)
        if token is None or len(frames) != 2:
            raise FrameError("identity is not half_<token>_<instance>, or there is not one Response")
        response = response_from_wire(frames[1])
        box_id, answer = str(response.box_id), response.command_to_plugin_response
        self._counters.add("half_cycles_bytes", len(frames[1]), label=box_id)
        request = self._requests.find(token, box_id)
        if request is None:
            self._counters.add("half_cycles_not_asked_for", label=box_id)
            return
        if not answer.HasField("half_cycles"):
            why = answer.detail or "its gateway stores no half cycles"
            self._store.mark_no_half_cycles(request.event_id, box_id, why)
            self._counters.add("half_cycles_refused", label=box_id)
        else:
            found = half_cycles_from_wire(box_id, answer.half_cycles)
            if not len(found.t_ns):
                why = "its gateway has no half cycles of this time"
                self._store.mark_no_half_cycles(request.event_id, box_id, why)
                self._counters.add("half_cycles_empty", label=box_id)
            elif self._store.put_half_cycles(request.event_id, found):
                self._counters.add("half_cycles_stored", label=box_id)
                self._log.info(
                    "event.half_cycles_stored",
                    event_id=request.event_id,
                    box_id=box_id,
                    points=len(found.t_ns),
                    half_cycles_in_a_point=found.every,
                )
        self._requests.answered(token, box_id)
