"""TriggerPlugin: a TriggerRequest on the bus becomes an event: an id, one command per Box, a MakaiEvent.

The original's plug-in of this name (docs/reference/opq-interop.md E.3): an event id from port 10001, the
event in the store, one data command per Box with identity `mauka_<uuid4>_<box id>`, answers from 9899,
MakaiEvent when no Box is outstanding. The original forgets the request at its first answer (H.28), waits for
ever for a Box that is away, and accepts any span. Where this plug-in is killed meanwhile, our event service
requests the samples and finishes the event.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import zmq

from opq_cloud.core.backend.sockets import connect, open_socket
from opq_cloud.mauka.bus.bus_messages import MAKAI_EVENT, makai_event
from opq_cloud.mauka.bus_plugins.box_commands import BoxCommandPlugin
from opq_cloud.mauka.plugin import PluginConfig
from opq_cloud.store.box_record import box_order
from opq_cloud.store.event_record import MAUKA_ASKED
from opq_cloud.store.store import CloudStore
from opq_cloud.store.unknown_gain import answered_waveform
from opq_proto.errors import FrameError
from opq_proto.kit import log as logs
from opq_proto.kit.rate_limit import TokenBuckets
from opq_proto.messages import Trigger
from opq_proto.time_units import NS_PER_MS
from opq_proto.wire.frames import Response, data_command, info_command
from opq_proto.wire.mauka_pb2 import MaukaMessage, TriggerRequest

log = logs.get(service="mauka")

TRIGGER_REQUEST = "TriggerRequest"
PREFIX = "mauka_"
EVENT_ID_KEY = "zmq.event_id.interface"
MAX_BOXES = 50
"""Boxes of one request, at most."""
LONGEST_MS = 60_000
"""Span of one request, at most."""
MAX_OPEN = 20
BYTES_PER_S = 24_000
"""Samples of one Box: 12 kS/s of 2 bytes."""
BYTES_PER_MIN = 60_000_000
"""Samples that all requests may fetch: a fifth of Makai's own budget."""
SAMPLED_S = 0.5
"""A Box gets its command this long after the end of the span."""
ANSWER_S = 20.0
"""A Box that has not answered by then is missing, as in the event service."""
ID_S = 1.0
WHOLE = ""


@dataclass(slots=True)
class _OpenRequest:
    event_id: int
    trigger: Trigger
    send_at_s: float
    waiting: set[str] = field(default_factory=set)
    sent: bool = False


class TriggerRequestPlugin(BoxCommandPlugin):
    """Counters: `events_requested`, `requests_refused`, `waveforms_stored`, `boxes_missing`, the base's."""

    NAME = "TriggerPlugin"
    GIVES = (MAKAI_EVENT,)

    def __init__(
        self,
        config: PluginConfig,
        store: Callable[[], CloudStore],
        v_per_lsb_fallback: float | None,
    ) -> None:
        """`v_per_lsb_fallback`: for a Box that reports no gain and has none in the store; None: unknown."""
        super().__init__(config, [TRIGGER_REQUEST], TriggerRequestPlugin.NAME, [PREFIX])
        self._store, self._fallback = store, v_per_lsb_fallback
        self._open: dict[str, _OpenRequest] = {}
        self._budget = TokenBuckets(BYTES_PER_MIN, BYTES_PER_MIN / 60, 1)

    def on_message(self, topic: str, mauka_message: MaukaMessage) -> None:
        """Opens the event; its Boxes get their commands when the span has been sampled."""
        if mauka_message.WhichOneof("message") != "trigger_request":
            self.counters.add("malformed")
            return
        request = mauka_message.trigger_request
        boxes = tuple(sorted(dict.fromkeys(request.box_ids), key=box_order))
        if problem := self._problem_of(request, boxes):
            self.counters.add("requests_refused")
            log.warning("trigger_request.refused", source=mauka_message.source, problem=problem)
            return
        trigger = Trigger(
            token=str(uuid.uuid4()),
            start_ns=request.start_timestamp_ms * NS_PER_MS,
            end_ns=request.end_timestamp_ms * NS_PER_MS,
            box_ids=boxes,
            opened_by=boxes[0],
            because=f"{mauka_message.source or 'a plug-in'} requested it"
            + (f", for incident {request.incident_id}" if request.incident_id else ""),
            asked_as=((MAUKA_ASKED, boxes),),
            decided_ns=time.time_ns(),
        )
        event_id = self._store().open_event(trigger, f"Mauka {trigger.token}", self._drawn_id())
        ahead_s = (trigger.end_ns - time.time_ns()) / 1e9
        send_at_s = time.monotonic() + (ahead_s + SAMPLED_S if ahead_s > 0 else 0.0)
        self._open[trigger.token] = _OpenRequest(event_id, trigger, send_at_s, set(boxes))
        self.counters.add("events_requested")
        log.info("trigger_request.opened", event_id=event_id, boxes=list(boxes), because=trigger.because)
        self.on_idle()

    def on_idle(self) -> bool:
        """Sends commands that are due, reads answers, and finishes events that are complete or timed out."""
        super().on_idle()
        now_s = time.monotonic()
        for token, each in list(self._open.items()):
            if not each.sent and now_s >= each.send_at_s:
                each.sent = True
                for box_id in each.trigger.box_ids:
                    span = each.trigger.start_ns, each.trigger.end_ns
                    self.send_command(data_command(box_id, *span, f"{PREFIX}{token}_{box_id}", wait=False))
            elif each.sent and (not each.waiting or now_s >= each.send_at_s + ANSWER_S):
                self._finish(token, each)
        return False

    def idle_due_s(self) -> float:
        """Returns the seconds until a command is due, or an event ends without its last Boxes."""
        now_s = time.monotonic()
        due_s = (each.send_at_s + (ANSWER_S if each.sent else 0.0) - now_s for each in self._open.values())
        return min([super().idle_due_s(), *due_s])

    def accept_answer(self, parts: Sequence[str], response: Response, frames: Sequence[bytes]) -> None:
        """Stores a Box's samples. Raises FrameError: it answers none of our requests; StoreError."""
        _, token, box_id = parts
        each = self._open.get(token)
        if each is None or box_id not in each.waiting:
            return
        if str(response.box_id) != box_id or response.WhichOneof("response") != "get_data_response":
            raise FrameError(f"Box {response.box_id} answers for Box {box_id}, or something else than data")
        store = self._store()
        _, wave = answered_waveform(frames, lambda t_ns: self._v_per_lsb(box_id, t_ns))
        if wave is None:
            store.mark_missing(each.event_id, box_id, "no samples of this span")
            self.counters.add("boxes_missing")
        else:
            store.put_waveform(each.event_id, wave)
            self.counters.add("waveforms_stored")
        each.waiting.discard(box_id)

    def _v_per_lsb(self, box_id: str, t_ns: int) -> float | None:
        """The gain of a Box that does not send it. Raises StoreError."""
        box = self._store().box(box_id)
        known = None if box is None else box.at(t_ns).calibration_constant
        return 1 / known if known else self._fallback

    def _finish(self, token: str, each: _OpenRequest) -> None:
        """Finishes an event. Raises StoreError; it is then tried again."""
        store = self._store()
        for box_id in sorted(each.waiting, key=box_order):
            store.mark_missing(each.event_id, box_id, f"no answer within {ANSWER_S:g} s")
            self.counters.add("boxes_missing")
        store.finish_event(each.event_id)
        del self._open[token]
        self.produce(MAKAI_EVENT, makai_event(each.event_id, self.name))

    def _problem_of(self, request: TriggerRequest, boxes: Sequence[str]) -> str | None:
        """Returns why it is refused; None: it is accepted, and its cost is taken from the budget."""
        length_ms = request.end_timestamp_ms - request.start_timestamp_ms
        if not 0 < length_ms <= LONGEST_MS:
            return f"a span of {length_ms} ms; want 1 to {LONGEST_MS}"
        if not 1 <= len(boxes) <= MAX_BOXES:
            return f"{len(boxes)} Boxes; want 1 to {MAX_BOXES}"
        if request.end_timestamp_ms > time.time_ns() // NS_PER_MS + LONGEST_MS:
            return f"the span ends more than {LONGEST_MS // 1000} s ahead"
        if len(self._open) >= MAX_OPEN:
            return f"{MAX_OPEN} requests wait for their Boxes; ask again later"
        try:
            for box_id in boxes:
                info_command(box_id, "")
        except FrameError as error:
            return str(error)
        if not self._budget.spend(WHOLE, len(boxes) * length_ms * BYTES_PER_S // 1000):
            return f"more than {BYTES_PER_MIN // 10**6} MB of samples a minute; ask again later"
        return None

    def _drawn_id(self) -> int | None:
        """Gets an id from port 10001, so that an original event service and the store share no number.

        None: no answer there, and the store draws one.
        """
        if self._command_context is None:
            return None
        with closing(open_socket(self._command_context, zmq.REQ, rcvtimeo=round(1000 * ID_S))) as asker:
            asker.setsockopt(zmq.LINGER, 0)
            connect(asker, str(self.config[EVENT_ID_KEY]), EVENT_ID_KEY)
            asker.send(b"")
            try:
                number = int(asker.recv())
            except (zmq.Again, ValueError):
                self.counters.add("ids_not_given")
                return None
        return number if number > 0 else None
