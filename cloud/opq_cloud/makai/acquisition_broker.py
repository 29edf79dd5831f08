"""Acquisition broker: commands to Boxes (9884 -> 8194) and their answers back (8196 -> 9899).

Every command gets a sequence number of ours; the answer with that number, from the addressed Box and under
that Box's key, goes to 9899 under the identity in the command. 8194 is an XPUB in manual mode, so that a Box
can subscribe only to its own id. ZeroMQ matches prefixes: a Box whose id begins another admitted Box's id, as
"1" does "10", would receive that Box's commands too, and an original Box answers them. Such a Box is
subscribed here to its id and a NUL, and frame 0 of its commands has that NUL: its own subscription "1" still
matches, and its connection gets nothing else. Where the longer id is admitted after it has connected, it
receives both until it connects again: our gateways compare Command.box_id, and an answer of a wrong Box is
counted and dropped here. Boxes of the C++ generation are handled in `leg_boxes.py`."""

import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from contextlib import ExitStack, closing
from dataclasses import dataclass

import zmq

from opq_cloud.core.backend.admission import backend_context
from opq_cloud.core.backend.fanout_socket import FanoutSocket
from opq_cloud.core.backend.peers import BackendPeers
from opq_cloud.core.backend.sockets import (
    MESSAGES_PER_TURN,
    PollPace,
    Socket,
    bind,
    open_socket,
    service_context,
)
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai_settings import AcquisitionBrokerSection
from opq_cloud.makai.brokers.admission import ANSWERS, SUBSCRIPTIONS, AdmittedSocket, ZapHandler
from opq_cloud.makai.brokers.command_numbers import CommandNumbers
from opq_cloud.makai.brokers.leg_boxes import LegBoxes
from opq_cloud.makai.brokers.registered_keys import StoreOfBoxes, registered_in
from opq_cloud.makai.events.requested_events import EVENT_REQUEST
from opq_proto.errors import FrameError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.kit.zmq_inbox import try_send
from opq_proto.wire.frames import ACK_PLUGIN, Command, command_from_wire, response_from_wire
from opq_proto.wire.leg import LEG_TOPIC, is_new_event, read_event_request, read_leg_answer

COMMAND_QUEUE = 10_000
ANSWER_QUEUE = 2_500
"""Limit of unread answers for one subscriber, some 0.1 MB each: a minute of 120 Boxes."""
PENDING_S = 120.0
"""How long a command waits for its answer."""
MAX_PENDING = 100_000
"""Most commands that wait for an answer."""
IDLE_S = 0.5
"""Interval of the checks of connections while nothing arrives, no command waits and no key changes."""
ID_END = b"\0"
"""Ends frame 0 for a Box whose id begins another's."""


@dataclass(frozen=True, slots=True)
class PendingCommand:
    """One command under way."""

    identity: str
    box_id: str
    until_s: float


class PendingCommands:
    """Commands that wait for an answer: sequence number -> identity and Box.

    At most `limit` wait, each for `keep_s`. Times are monotonic seconds, passed in. The original's map never
    expires (docs/reference/opq-interop.md H.6).
    """

    def __init__(self, limit: int, keep_s: float) -> None:
        self.expired = 0
        self.forgotten = 0
        """Removed because `limit` was reached."""
        self._limit = limit
        self._keep_s = keep_s
        self._commands: OrderedDict[int, PendingCommand] = OrderedDict()

    def __len__(self) -> int:
        return len(self._commands)

    def add_command(self, number: int, identity: str, box_id: str, now_s: float) -> None:
        self._commands[number] = PendingCommand(identity, box_id, now_s + self._keep_s)
        while len(self._commands) > self._limit:
            self._commands.popitem(last=False)
            self.forgotten += 1

    def get(self, number: int) -> PendingCommand | None:
        return self._commands.get(number)

    def remove(self, number: int) -> None:
        self._commands.pop(number, None)

    def expire(self, now_s: float) -> int:
        """Removes commands that have waited too long; returns how many."""
        count = 0
        while self._commands:
            number, command = next(iter(self._commands.items()))
            if command.until_s > now_s:
                break
            del self._commands[number]
            count += 1
        self.expired += count
        return count


class SharedBeginnings:
    """Finds ids that begin another admitted Box's id, as "1" does "10"; sorts the list once per change."""

    def __init__(self) -> None:
        self._of: frozenset[str] | None = None
        self._sorted: list[str] = []

    def begins_another(self, box_id: str, admitted: frozenset[str]) -> bool:
        """Whether the id begins another one. `admitted`: box ids, a new object when they change."""
        if admitted is not self._of:
            self._of, self._sorted = admitted, sorted(admitted)
        place = bisect_right(self._sorted, box_id)
        return place < len(self._sorted) and self._sorted[place].startswith(box_id)


class AcquisitionBroker:
    """PULL -> XPUB (CURVE), PULL (CURVE) -> PUB."""

    name = "acquisition-broker"

    def __init__(
        self,
        config: AcquisitionBrokerSection,
        keys: KeyFolder,
        numbers: CommandNumbers | None = None,
        registry: StoreOfBoxes | None = None,
    ) -> None:
        """`numbers`: of commands; None: they start anywhere. `registry`: as in the triggering broker."""
        self.counters = ServiceCounters()
        self._config = config
        self._keys = keys
        self._registry = registry
        self._log = log.get(service=self.name)
        self._limited = RateLimitedLog(self._log)
        self._pending = PendingCommands(MAX_PENDING, PENDING_S)
        self._numbers = numbers or CommandNumbers()
        self._leg = LegBoxes(self.counters, lambda: next(self._numbers), MAX_PENDING, PENDING_S)
        self._beginnings = SharedBeginnings()
        self._ended: set[str] = set()
        """Boxes that were subscribed with ID_END."""
        self._zap: ZapHandler | None = None

    def connections(self) -> dict[str, int]:
        """Returns `ZapHandler.connections`; empty before and after `run`."""
        return {} if self._zap is None else self._zap.connections()

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        config = self._config
        with ExitStack() as opened:
            context = opened.enter_context(service_context())
            registered = registered_in(self._registry, self.counters, self._log, self._keys.shared_keys)
            handler = ZapHandler(context, self._keys, self.counters, self._log, registered)
            zap = opened.enter_context(closing(handler))
            self._zap = zap
            commands = zap.open(
                zmq.XPUB,
                config.command_endpoint,
                self.name,
                "acquisition_broker.command_endpoint",
                SUBSCRIPTIONS,
                sndhwm=COMMAND_QUEUE,
                xpub_manual=1,
            )
            responses = zap.open(
                zmq.PULL,
                config.response_endpoint,
                self.name,
                "acquisition_broker.response_endpoint",
                ANSWERS,
            )
            addresses = config.request_endpoint, config.answer_endpoint
            backend = opened.enter_context(backend_context(addresses, self.counters))
            requests = opened.enter_context(
                closing(open_socket(backend.context, zmq.PULL, rcvhwm=COMMAND_QUEUE))
            )
            key, admission = "acquisition_broker.request_endpoint", backend.admission
            clients = opened.enter_context(
                closing(BackendPeers(backend.context, requests, key, self.counters, admission))
            )
            bind(requests, config.request_endpoint, self.name, key)
            answers = opened.enter_context(
                closing(FanoutSocket(backend.context, self.counters, ANSWER_QUEUE, admission))
            )
            answers.bind(config.answer_endpoint, self.name, "acquisition_broker.answer_endpoint")
            poller = zmq.Poller()
            zap.register(poller)
            for socket in (commands.socket, responses.socket, requests, answers.socket):
                poller.register(socket, zmq.POLLIN)
            self._log.info("broker.listening", boxes=config.command_endpoint, backend=config.request_endpoint)
            if ready is not None:
                ready.set()
            served_s, pace, idle = 0.0, PollPace(), True
            while not stop.is_set():
                idle = not poller.poll(pace.wait_ms(not idle)) and not zap.keys_changed
                if idle and not self._pending and time.monotonic() < served_s + IDLE_S:
                    clients.check()
                    answers.check()
                    continue
                served_s = time.monotonic()
                zap.handle_peers()
                answers.read_subscriptions()
                for message in commands.messages(MESSAGES_PER_TURN):
                    self._handle_subscription(*message, commands)
                clients.check()
                for frames in clients.messages(MESSAGES_PER_TURN):
                    self._pass_request(frames, commands.socket, answers)
                for frames in self._leg.messages(time.monotonic()):
                    self._send(commands.socket, "leg", frames)
                for message in responses.messages(MESSAGES_PER_TURN):
                    self._pass_response(*message, responses, answers)
                self._pending.expire(time.monotonic())
                self.counters.set("pending_now", len(self._pending))
                self.counters.set("expired", self._pending.expired + self._pending.forgotten)

    def _handle_subscription(self, first: zmq.Frame, frames: list[bytes], commands: AdmittedSocket) -> None:
        data = frames[0]
        wanted = data[1:]
        if data[:1] != b"\x01":
            # the peer that sent it, or no peer if that one has disconnected
            commands.socket.setsockopt(zmq.UNSUBSCRIBE, wanted)
            return
        box_id = commands.sender(first, wanted)
        if box_id is None:
            return
        if not wanted:  # a LEG Box subscribes to everything, and gets its own
            for each in commands.sharers(first) or (box_id,):
                self._subscribe(each, commands)
                self._leg.add_box(each)
            commands.socket.setsockopt(zmq.SUBSCRIBE, LEG_TOPIC)
            return
        if wanted == box_id.encode("ascii"):
            self._subscribe(box_id, commands)
            return
        self.counters.add("foreign_subscriptions", label=box_id)
        self._limited.warning("subscription.refused", key=box_id, box_id=box_id, wanted=wanted[:64])

    def _subscribe(self, box_id: str, commands: AdmittedSocket) -> None:
        """Gives the peer that sent the last subscription the commands of this Box."""
        own = box_id.encode("ascii")
        if self._beginnings.begins_another(box_id, commands.admitted):
            self._ended.add(box_id)
            own += ID_END
        commands.socket.setsockopt(zmq.SUBSCRIBE, own)
        self.counters.add("boxes_listening", label=box_id)

    def _pass_request(self, frames: list[bytes], commands: Socket, answers: FanoutSocket) -> None:
        """Passes on a Command, a RequestEventMessage for the event service, or the opened event's number."""
        try:
            if is_new_event(frames):
                self.counters.add("events_announced")
                answers.send(frames)
                return
            if len(frames) != 1:
                raise FrameError(f"{len(frames)} frames; want one Command")
            if read_event_request(frames[0]) is not None:
                self.counters.add("event_requests")
                answers.send([EVENT_REQUEST, frames[0]])
                return
            command = command_from_wire(frames[0])
            kind = command.WhichOneof("command")
            if kind is None:
                raise FrameError("the Command has no command")
        except FrameError as error:
            self.counters.add("malformed_commands")
            self._limited.warning("command.malformed", error=str(error))
            return
        self._pass_command(command, kind, commands)

    def _pass_command(self, command: Command, kind: str, commands: Socket) -> None:
        box_id = str(command.box_id)
        today, leg = self._leg.forms(box_id)
        if leg and kind == "data_command":
            self._leg.gather(command, time.monotonic())
        if not today:
            if kind != "data_command":  # that generation does not answer it
                self.counters.add("commands_not_for_leg", label=box_id)
            return
        command.seq = next(self._numbers)
        # an acknowledgement is not answered (docs/reference/contracts.md), so it does not wait
        if kind != "send_command_to_plugin" or command.send_command_to_plugin.plugin_name != ACK_PLUGIN:
            self._pending.add_command(command.seq, command.identity, box_id, time.monotonic())
        address = box_id.encode("ascii") + (ID_END if box_id in self._ended else b"")
        self._send(commands, box_id, [address, command.SerializeToString()])

    def _send(self, commands: Socket, label: str, frames: list[bytes]) -> None:
        sent = try_send(commands, frames)
        self.counters.add("sent_bytes", sum(map(len, frames)) if sent else 0)
        self.counters.add("commands" if sent else "commands_dropped", label=label)

    def _pass_response(
        self, first: zmq.Frame, frames: list[bytes], responses: AdmittedSocket, answers: FanoutSocket
    ) -> None:
        box_id = responses.sender(first, _claimed(frames[0]) if responses.sharers(first) else b"")
        if box_id is None:
            return
        self.counters.add("received_bytes", sum(map(len, frames)))
        try:
            leg = self._leg.answer_of(box_id, frames)
            if leg is not None:
                for message in self._leg.responses(box_id, leg, frames):
                    answers.send(message)
                return
            response = response_from_wire(frames[0])
        except FrameError as error:
            self.counters.add("malformed", label=box_id)
            self._limited.warning("response.malformed", key=box_id, box_id=box_id, error=str(error))
            return
        if str(response.box_id) != box_id:
            self.counters.add("foreign", label=box_id)
            self._limited.warning("response.foreign", key=box_id, box_id=box_id, claimed=str(response.box_id))
            return
        request = self._pending.get(response.seq)
        if request is None:
            self.counters.add("responses_not_asked_for", label=box_id)
            return
        if request.box_id != box_id:
            self.counters.add("foreign", label=box_id)
            return
        self._pending.remove(response.seq)
        self._leg.note_today(box_id)
        self.counters.add("responses", label=box_id)
        sent_s = request.until_s - PENDING_S
        self.counters.stages.add("command_answered", time.monotonic() - sent_s)
        answers.send([request.identity.encode("utf-8"), *frames])


def _claimed(frame: bytes) -> bytes:
    """The Box that an answer names; empty: it cannot be read."""
    leg = read_leg_answer(frame)
    try:
        return (str(response_from_wire(frame).box_id) if leg is None else leg.box_id or "").encode("ascii")
    except FrameError:
        return b""
