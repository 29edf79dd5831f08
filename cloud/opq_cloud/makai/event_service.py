"""Event service: answers of Boxes into the store; an event is announced when it is complete.

SUB 9899 `data_`, PUB 10000, REP 10001. The event of one of our triggers is in the store before its Boxes are
asked; it is finished when each asked Box has sent all of its samples, or after a time limit, with the reason
per Box. After a restart, after `ask_again_s` of silence, and where an answer was short, Boxes are asked
again: whatever was killed in between, an opened event is finished once. A token that the store does not know
is an original makai's: its first answer opens the event and announces it, as the original does, others join
for 20 s. A waveform after an event was finished is stored and announced again."""

import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from functools import partial

import zmq

from opq_cloud.core.backend.admission import backend_context
from opq_cloud.core.backend.peer_watch import WatchedConnections
from opq_cloud.core.backend.sockets import PollPace, Socket, open_socket, service_context
from opq_cloud.core.service import CloudContext, HealthReport, ServiceCounters
from opq_cloud.core.settings.makai_settings import EventServiceSection
from opq_cloud.makai.events.announcements import EventAnnouncements
from opq_cloud.makai.events.answer_inbox import AnswerInbox, WaitingAnswer
from opq_cloud.makai.events.answers import AnswerReach, DataAnswer, lacking_at_ends, reach_of
from opq_cloud.makai.events.box_gains import BoxGains
from opq_cloud.makai.events.event_ids import EventIds
from opq_cloud.makai.events.event_requests import (
    FRUITLESS_ANSWERS,
    PREFIX,
    OpenEvent,
    OpenEvents,
    parse_identity,
    request_identity,
)
from opq_cloud.makai.events.half_cycle_answers import HalfCycleAnswers
from opq_cloud.makai.events.half_cycle_requests import PREFIX as HALF_CYCLES
from opq_cloud.makai.events.requested_events import EVENT_REQUEST, RequestedEvents
from opq_cloud.store.unknown_gain import answered_waveform
from opq_proto.errors import FrameError, StoreError
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.kit.zmq_inbox import try_send
from opq_proto.measurement.invariants import AHEAD, MAX_AHEAD_NS, refused_words
from opq_proto.messages import Trigger, Waveform
from opq_proto.wire.frames import Response, data_command, response_from_wire

REFRESH_S = 0.25
"""Interval of reading the store for events without an answer."""
RECEIVE_QUEUE = 200
"""Answers that libzmq keeps in addition to our own inbox: 0.1 MB each, with unknown origin."""
ANSWERS_AT_ONCE = 20
STORE_PAUSE_S = 0.25
STORE_TRIES = 40
"""An answer that the store refuses for 10 s is dropped, and its Box asked again."""
MAX_REQUESTED = 20
"""Requested events that wait for their Boxes."""
LATE_KEPT = 10_000
"""Most finished tokens that are remembered, to distinguish a late answer from an original makai's new event.
"""
FIRST_REQUEST_S = 0.25
"""Wait after a restart until Boxes have connected, because a command to a Box without connection is lost."""


class EventService:
    """SUB answers, PUB finished events, REP event ids, PUSH repeated commands."""

    name = "event-service"

    def __init__(self, config: EventServiceSection, shared: CloudContext) -> None:
        self.counters = ServiceCounters()
        self.counters.add("events_finished", 0)
        self._config = config
        self._shared = shared
        self._instance = str(uuid.uuid4())
        self._log = log.get(service=self.name)
        self._limited = RateLimitedLog(self._log)
        self._open = OpenEvents(config.answer_timeout_s, config.ask_again_s)
        self._gains = BoxGains(lambda: shared.store, config.v_per_lsb_fallback, self.counters)
        self._inbox = AnswerInbox()
        self._connections = WatchedConnections()
        self._requested = RequestedEvents(self.counters, self._instance, MAX_REQUESTED, config.noted_per_min)
        self._refused = 0
        """How often the store has refused the oldest answer."""
        self._store_again_s = 0.0
        self._finished: dict[str, int] = {}
        self._finished_order: deque[str] = deque()

    def health(self) -> list[HealthReport]:
        """Reports a missing broker, and Boxes with an unknown gain."""
        own = HealthReport(self.name, self._connections.problem is None, info=self._connections.problem)
        return [own, *self._gains.health()]

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        config = self._config
        self._store = self._shared.store
        with ExitStack() as opened:
            context = opened.enter_context(service_context())
            self._connections = connections = WatchedConnections()
            answers = opened.enter_context(closing(open_socket(context, zmq.SUB, rcvhwm=RECEIVE_QUEUE)))
            connections.connect(answers, config.answer_endpoint, "event_service.answer_endpoint")
            for topic in (PREFIX.encode(), HALF_CYCLES.encode(), EVENT_REQUEST):
                answers.subscribe(topic)
            self._requests = opened.enter_context(closing(open_socket(context, zmq.PUSH)))
            connections.connect(self._requests, config.request_endpoint, "event_service.request_endpoint")
            addresses = config.event_endpoint, config.event_id_endpoint
            backend = opened.enter_context(backend_context(addresses, self.counters))
            shared = backend, self._store, self.counters
            self._announcements = opened.enter_context(closing(EventAnnouncements(*shared)))
            self._announcements.bind(config.event_endpoint, self.name)
            self._ids = opened.enter_context(closing(EventIds(*shared)))
            self._ids.bind(config.event_id_endpoint, self.name)
            self._resume()
            if ready is not None:
                ready.set()
            self._loop(stop, answers)

    def _send_command(self, command: bytes) -> bool:
        """Sends a command; False where no broker takes it now."""
        return try_send(self._requests, [command])

    def _resume(self) -> None:
        """Resumes after a start: asks for unfinished events, and announces unanalysed ones again."""
        now = time.monotonic()
        self._open = OpenEvents(self._config.answer_timeout_s, self._config.ask_again_s)
        self._inbox = AnswerInbox()
        self._open.refresh(self._store.unfinished_events(), now, time.time_ns(), FIRST_REQUEST_S)
        self._half_cycles = HalfCycleAnswers(self._store, self._send_command, self._instance, self.counters)
        newest = self._store.events(limit=1000)
        self._half_cycles.note_events(newest, now)
        for record in newest:
            if record.finished:
                self._remember(record.token, record.event_id)
        unanalysed = [record.event_id for record in self._store.unanalysed_events()]
        self._announcements.put_off(self._instance, unanalysed)

    def _loop(self, stop: threading.Event, answers: Socket) -> None:
        poller = zmq.Poller()
        for socket in (answers, self._announcements.socket, self._ids.socket):
            poller.register(socket, zmq.POLLIN)
        refresh, pace, there = time.monotonic() + REFRESH_S, PollPace(), False
        while not stop.is_set():
            now = time.monotonic()
            due = self._inbox and now >= self._store_again_s
            there = bool(poller.poll(0 if due else pace.wait_ms(there or bool(self._inbox))))
            try:
                self._ids.advance()
            except StoreError as error:
                self._store_failed(error)
            self._announcements.advance()
            self._inbox.receive(answers)
            if not self._inbox.behind:
                self._connections.check()
            self._begin_waveforms()
            for _ in range(ANSWERS_AT_ONCE):
                if not self._read_oldest_answer():
                    break
            now = time.monotonic()
            if now >= refresh:
                refresh = now + REFRESH_S
                try:
                    unfinished = self._store.unfinished_events()
                    self._open.refresh(unfinished, now, time.time_ns())
                    self._half_cycles.note_events(unfinished, now)
                    self._half_cycles.request_due(now)
                except StoreError as error:
                    self._store_failed(error)
                if not self._inbox.behind:
                    self._request_again(self._open.due_requests(now, self._inbox.holds_answer))
                self.counters.set("events_open_now", len(self._open))
                self.counters.set("answers_waiting_now", len(self._inbox))
                self.counters.set("answers_waiting_bytes_now", self._inbox.size_bytes)
            for event in self._open.remove_finished(now, self._inbox.may_hold):
                self._finish(event, now)

    def _begin_waveforms(self) -> None:
        """Begins to store the waveforms of the oldest answers: one commit for all, not one for each.

        It ends at an answer that needs more than that, and at a second one of a Box.
        """
        waiting = self._inbox.oldest_answers(ANSWERS_AT_ONCE)
        if time.monotonic() < self._store_again_s or len(waiting) < 2:
            return
        boxes: set[str] = set()
        for each in waiting:
            try:
                answer = each.parsed = each.parsed or self._parse_answer(each.frames)
                event = self._open.get(answer.token)
                if event is None or answer.wave is None or answer.box_id not in event.waiting.keys() - boxes:
                    return
                boxes.add(answer.box_id)
                each.stored = each.stored or self._store.begin_waveform(event.event_id, answer.wave)
            except (FrameError, StoreError, UnicodeDecodeError):
                return  # reported in its turn

    def _read_oldest_answer(self) -> bool:
        """Stores the oldest answer; False when none waits, or it has to wait for the store."""
        answer = self._inbox.oldest
        now = time.monotonic()
        if answer is None or now < self._store_again_s:
            return False
        try:
            self._read_answer(answer)
        except StoreError as error:
            self._store_failed(error)
            self._refused += 1
            if self._refused < STORE_TRIES:
                self._store_again_s = now + STORE_PAUSE_S
                return False
            self.counters.add("answers_dropped")  # its Box is asked again
        self._refused = 0
        self._inbox.remove_oldest()
        return True

    def _read_answer(self, waiting: WaitingAnswer) -> None:
        """Stores one answer.

        Raises:
            StoreError: the store cannot take it.
        """
        frames = waiting.frames
        try:
            if frames[0] == EVENT_REQUEST and len(frames) == 2:
                self._open_requested(frames[1])
                return
            identity = frames[0].decode("utf-8")
            if identity.startswith(HALF_CYCLES):
                self._half_cycles.accept_answer(identity, frames)
                return
            answer = waiting.parsed or self._parse_answer(frames)
        except (FrameError, UnicodeDecodeError) as error:
            self.counters.add("malformed")
            self._limited.warning("answer.malformed", error=str(error))
            return
        stored, waiting.stored = waiting.stored, None
        self._store_answer(answer, stored)

    def _parse_answer(self, frames: list[bytes]) -> DataAnswer:
        """Reads an answer to a data command.

        Raises:
            FrameError, UnicodeDecodeError: the frames are not such an answer.
            StoreError: the gain of the Box cannot be read.
        """
        parsed = parse_identity(frames[0].decode("utf-8"))
        if parsed is None or len(frames) < 2:
            raise FrameError("identity is not data_<token>_<instance>, or there is no Response")
        box_id = str(response_from_wire(frames[1]).box_id)
        response, wave = answered_waveform(frames[1:], partial(self._gains.v_per_lsb, box_id))
        if response.WhichOneof("response") != "get_data_response":
            raise FrameError("the Response does not answer a data command")
        if wave is not None and wave.end_ns > time.time_ns() + MAX_AHEAD_NS:
            self.counters.add("refused", label=f"{box_id} {AHEAD}")
            raise FrameError(f"Box {box_id}: a waveform with {refused_words(AHEAD)}")
        return DataAnswer(*parsed, box_id, response, wave)

    def _open_requested(self, data: bytes) -> None:
        """Opens a requested event. Raises FrameError, StoreError: it was not opened."""
        now_ms = time.time_ns() // 1_000_000
        event_id, messages = self._requested.open_event(
            data, self._store, lambda token: self._open.get(token) is not None, now_ms
        )
        try:
            self._open.refresh(self._store.unfinished_events(), time.monotonic(), time.time_ns())
        except StoreError as error:  # the event is open: the request is not repeated
            self._store_failed(error)
        self._log.info("event.requested", event_id=event_id, boxes=len(messages) - 1)
        for message in messages:
            frames = [message] if isinstance(message, bytes) else message
            if not try_send(self._requests, frames):
                self.counters.add("commands_dropped")  # the Boxes are asked again

    def _store_answer(self, answer: DataAnswer, stored: Future[bool] | None) -> None:
        """Stores the waveform, or waits for `stored`; notes which samples the Box still owes.

        Raises StoreError.
        """
        box_id, wave = answer.box_id, answer.wave
        event = self._event_of(answer.token, answer.instance, box_id, wave)
        if event is None:
            return
        event.instance = answer.instance
        if not event.foreign and box_id not in event.waiting and box_id not in event.received:
            # its Box was just added to the event
            self._open.refresh(self._store.unfinished_events(), time.monotonic(), time.time_ns())
            if box_id not in event.waiting:
                self.counters.add("answers_not_asked_for", label=box_id)
                return
        moved_ns = answer.response.get_data_response.moved_ns
        moves = 0 < event.start_ns + moved_ns <= time.time_ns() + MAX_AHEAD_NS
        if moved_ns and moves and box_id == event.opened_by and box_id not in event.owed:
            self._store.move_event(event.event_id, moved_ns)
            self.counters.add("events_moved", label=box_id)
        if stored is None and wave is not None:
            stored = self._store.begin_waveform(event.event_id, wave)
        new = stored is not None and stored.result()
        if wave is None:
            self.counters.add("answers_empty", label=box_id)
        else:
            event.received.add(box_id)
            self.counters.add("waveforms_stored" if new else "answers_doubled", label=box_id)
        asked = event.span_missing(box_id) if box_id in event.waiting else event.span_of(box_id)
        reach = reach_of(answer.response, wave, *asked)
        owing = box_id in event.waiting and event.answers_last(box_id, wave)
        if owing:
            box = event.waiting[box_id]
            if lacking := lacking_at_ends(answer.response, wave, first=box.reach_ns is None):
                box.lacking[lacking] = None
        if owing and not self._request_rest(event, box_id, reach, new):
            if box_id not in event.received:
                self._store.mark_missing(event.event_id, box_id, _why_empty(answer.response))
            elif box.lacking:
                self._store.mark_missing(event.event_id, box_id, "; ".join(box.lacking))
            del event.waiting[box_id]
        if wave is not None and new:
            self._log.info(
                "event.waveform_stored", event_id=event.event_id, box_id=box_id, samples=len(wave.counts)
            )
            self._gains.read_response(box_id, answer.response)
        if event.foreign and not event.announced:  # as in the original: with the first answer
            event.announced = True
            self._announcements.announce(answer.instance, event.event_id)

    def _request_rest(self, event: OpenEvent, box_id: str, reach: AnswerReach, new: bool) -> bool:
        """Returns True if the Box is asked again: its answer was short, and may be longer next time."""
        box = event.waiting[box_id]
        if not new and not reach.ours:
            box.fruitless += 1
        if reach.short is None or box.fruitless >= FRUITLESS_ANSWERS:
            return False
        if box_id in event.received:  # must also be known after a restart
            self._store.mark_missing(event.event_id, box_id, reach.short)
        self._open.note_short(event, box_id, reach, time.monotonic(), time.time_ns())
        self.counters.add("answers_short", label=box_id)
        return True

    def _event_of(self, token: str, instance: str, box_id: str, wave: Waveform | None) -> OpenEvent | None:
        """Returns the open event of a token; a new one for an original makai's token.

        None: the answer is too late, or there is nothing in it.
        """
        event = self._open.get(token)
        if event is not None:
            return event
        now = time.monotonic()
        self._open.refresh(self._store.unfinished_events(), now, time.time_ns())
        event = self._open.get(token)
        if event is not None:
            return event
        if token in self._finished:
            self.counters.add("answers_late", label=box_id)
            if wave is not None and self._store.put_waveform(self._finished[token], wave):
                self._log.info("event.late_waveform", event_id=self._finished[token], box_id=box_id)
                self._announcements.announce(instance, self._finished[token])
            return None
        if wave is None:
            self.counters.add("answers_empty", label=box_id)
            return None
        trigger = Trigger(
            token, wave.start_ns, wave.end_ns, (box_id,), box_id, f"asked for by instance {instance}"
        )
        event_id = self._store.open_event(trigger, f"Makai id {instance}")
        give_up = now + self._config.grouping_s
        event = OpenEvent(
            event_id=event_id,
            token=token,
            start_ns=wave.start_ns,
            end_ns=wave.end_ns,
            waiting={},
            give_up_s=give_up,
            instance=instance,
            foreign=True,
        )
        self._open.add_event(event)
        self.counters.add("events_of_original_makai")
        return event

    def _finish(self, event: OpenEvent, now: float) -> None:
        try:
            for box_id, box in sorted(event.waiting.items()):
                why = box.short or f"no answer within {self._config.answer_timeout_s:g} s"
                self._store.mark_missing(event.event_id, box_id, why)
            record = self._store.event_record(event.event_id)
            if record and set(record.boxes_triggered).difference(record.boxes_received, record.missing):
                return  # a Box was added meanwhile: the event is opened again from the store
            first = self._store.finish_event(event.event_id)
        except StoreError as error:
            self._store_failed(error)
            event.give_up_s = now + 1.0  # `waiting` keeps its Boxes
            self._open.add_event(event)
            return
        self._remember(event.token, event.event_id)
        if record is not None:  # one that was answered between two readings of the unfinished events
            self._half_cycles.note_events([record], now)
        if not first:
            return
        if record is not None and record.finished_ns is not None:  # more was asked for since
            self._log.info("event.more_stored", event_id=event.event_id, boxes=list(record.boxes_received))
            self._announcements.announce(event.instance or self._instance, event.event_id)
            return
        self.counters.add("events_finished")
        if record is not None and record.decided_ns is not None:
            self.counters.stages.add("event_finished", (time.time_ns() - record.decided_ns) / 1e9)
        boxes = [] if record is None else list(record.boxes_received)
        missing = {} if record is None else dict(record.missing)
        self._log.info("event.finished", event_id=event.event_id, boxes=boxes, missing=missing)
        if not event.announced:
            self._announcements.announce(event.instance or self._instance, event.event_id)

    def _request_again(self, due: Iterable[tuple[OpenEvent, str]]) -> None:
        for event, box_id in due:
            identity = request_identity(event.token, event.instance or self._instance)
            try:
                stamp, start_id = event.stamp_of(box_id), event.start_id
                span = event.span_missing(box_id)
                command = data_command(box_id, *span, identity, stamp=stamp, start_id=start_id)
            except FrameError as error:  # a Box id in the store that does not fit the wire format
                self._log.warning("event.cannot_ask", event_id=event.event_id, error=str(error))
                continue
            sent = self._send_command(command)
            self.counters.add("asked_again" if sent else "commands_dropped", label=box_id)

    def _remember(self, token: str, event_id: int) -> None:
        if token not in self._finished:
            self._finished_order.append(token)
        self._finished[token] = event_id
        while len(self._finished_order) > LATE_KEPT:
            self._finished.pop(self._finished_order.popleft(), None)

    def _store_failed(self, error: StoreError) -> None:
        self.counters.add("store_errors")
        self._limited.error("store.failing", error=str(error))


def _why_empty(response: Response) -> str:
    header = response.get_data_response
    if header.HasField("available_start_ns") and header.HasField("available_end_ns"):
        first, last = (_utc(at_ns) for at_ns in (header.available_start_ns, header.available_end_ns))
        return f"no samples of this span; its gateway holds {first} to {last} UTC"
    return "no samples of this span"


def _utc(t_ns: int) -> str:
    return datetime.fromtimestamp(t_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")
