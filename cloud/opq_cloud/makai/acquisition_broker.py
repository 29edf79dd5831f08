"""Acquisition broker: commands to Boxes (9884 -> 8194) and their answers back (8196 -> 9899).

Every command gets a sequence number of ours; the answer with that number, from the asked Box and
under that Box's key, goes to 9899 under the identity of who asked. 8194 is an XPUB in manual
mode: a Box can subscribe to its own id and to nothing else. (ZeroMQ matches prefixes, so the
subscription "1" of Box 1 still matches commands for Box 10: no broker can change that while
frame 0 is the unpadded id. Our gateways compare Command.box_id; answers of a wrong Box are
dropped here.)
"""

import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack, closing

import zmq

from opq_cloud.config import AcquisitionBroker as Config
from opq_cloud.makai.fanout import Fanout
from opq_cloud.makai.peers import Peers
from opq_cloud.makai.pending import Pending
from opq_cloud.makai.zap import Doorkeeper
from opq_cloud.once_per import OncePer
from opq_cloud.service import Counters, Health
from opq_cloud.sockets import DRAIN, POLL_MS, Socket, bind, context, open_socket, receive
from opq_proto import log
from opq_proto.errors import FrameError
from opq_proto.keys import KeyFolder
from opq_proto.wire import command_from_wire, response_from_wire

COMMAND_QUEUE = 10_000
ANSWER_QUEUE = 10_000
ACK_PLUGIN = "opq-ack"
"""Not answered (contracts.md, Acknowledgement): such a command does not wait."""


class AcquisitionBroker:
    """PULL -> XPUB (CURVE), PULL (CURVE) -> PUB."""

    name = "acquisition-broker"

    def __init__(self, config: Config, keys: KeyFolder) -> None:
        self.counters = Counters()
        self._config = config
        self._keys = keys
        self._log = log.get(service=self.name)
        self._lines = OncePer(10.0)
        self._pending = Pending(config.pending_commands, config.pending_s)

    def health(self) -> Iterable[Health]:
        return ()

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        config = self._config
        with ExitStack() as opened:
            own = context()
            opened.callback(own.term)
            door = opened.enter_context(closing(Doorkeeper(own, self._keys, self.counters, self._log)))
            commands, listeners = door.open(
                zmq.XPUB,
                config.command_endpoint,
                self.name,
                "acquisition_broker.command_endpoint",
                sndhwm=COMMAND_QUEUE,
                xpub_manual=1,
            )
            responses, answerers = door.open(
                zmq.PULL, config.response_endpoint, self.name, "acquisition_broker.response_endpoint"
            )
            requests = opened.enter_context(closing(open_socket(own, zmq.PULL, rcvhwm=COMMAND_QUEUE)))
            bind(requests, config.request_endpoint, self.name, "acquisition_broker.request_endpoint")
            fanout = opened.enter_context(closing(Fanout(own, self.counters, ANSWER_QUEUE)))
            fanout.bind(config.answer_endpoint, self.name, "acquisition_broker.answer_endpoint")
            poller = zmq.Poller()
            door.register(poller)
            for socket in (commands, responses, requests, fanout.socket):
                poller.register(socket, zmq.POLLIN)
            self._log.info("broker.listening", boxes=config.command_endpoint, backend=config.request_endpoint)
            if ready is not None:
                ready.set()
            while not stop.is_set():
                poller.poll(POLL_MS)
                door.tend()
                fanout.drain()
                for _ in range(DRAIN):
                    if (message := receive(commands)) is None:
                        break
                    self._subscription(*message, commands, door, listeners)
                for _ in range(DRAIN):
                    if (message := receive(requests)) is None:
                        break
                    self._command(message[1], commands)
                for _ in range(DRAIN):
                    if (message := receive(responses)) is None:
                        break
                    self._response(*message, door, answerers, fanout)
                self._pending.expire(time.monotonic())
                self.counters.set("pending_now", len(self._pending))
                self.counters.set("expired", self._pending.expired + self._pending.forgotten)

    def _subscription(
        self, first: zmq.Frame, frames: list[bytes], commands: Socket, door: Doorkeeper, listeners: Peers
    ) -> None:
        data = frames[0]
        wanted = data[1:]
        if data[:1] != b"\x01":
            commands.setsockopt(zmq.UNSUBSCRIBE, wanted)  # of the peer that sent it; of nobody if it is gone
            return
        box_id = door.sender(first, listeners)
        if box_id is None:
            return
        own = box_id.encode("ascii")
        if wanted in (own, b""):  # an older Box asks for everything, and gets what is its own
            commands.setsockopt(zmq.SUBSCRIBE, own)
            self.counters.add("boxes_listening", label=box_id)
            return
        self.counters.add("foreign_subscriptions", label=box_id)
        if count := self._lines.take(("subscription", box_id)):
            self._log.warning("subscription.refused", box_id=box_id, wanted=wanted[:64], count=count)

    def _command(self, frames: list[bytes], commands: Socket) -> None:
        try:
            if len(frames) != 1:
                raise FrameError(f"{len(frames)} frames; want one Command")
            command = command_from_wire(frames[0])
            kind = command.WhichOneof("command")
            if kind is None:
                raise FrameError("a Command without a command")
        except FrameError as error:
            self.counters.add("malformed_commands")
            if count := self._lines.take("command"):
                self._log.warning("command.malformed", error=str(error), count=count)
            return
        box_id = str(command.box_id)
        command.seq = self._pending.number()
        if kind != "send_command_to_plugin" or command.send_command_to_plugin.plugin_name != ACK_PLUGIN:
            self._pending.put(command.seq, command.identity, box_id, time.monotonic())
        try:
            commands.send_multipart([box_id.encode("ascii"), command.SerializeToString()], zmq.NOBLOCK)
            self.counters.add("commands", label=box_id)
        except zmq.Again:
            self.counters.add("commands_dropped", label=box_id)

    def _response(
        self, first: zmq.Frame, frames: list[bytes], door: Doorkeeper, answerers: Peers, fanout: Fanout
    ) -> None:
        box_id = door.sender(first, answerers)
        if box_id is None:
            return
        try:
            response = response_from_wire(frames[0])
        except FrameError:
            self.counters.add("malformed", label=box_id)
            return
        if str(response.box_id) != box_id:
            self.counters.add("foreign", label=box_id)
            if count := self._lines.take(("response", box_id)):
                self._log.warning(
                    "response.foreign", box_id=box_id, claimed=str(response.box_id), count=count
                )
            return
        request = self._pending.get(response.seq)
        if request is None:
            self.counters.add("responses_not_asked_for", label=box_id)
            return
        if request.box_id != box_id:
            self.counters.add("foreign", label=box_id)
            return
        self._pending.done(response.seq)
        self.counters.add("responses", label=box_id)
        fanout.send([request.identity.encode("utf-8"), *frames])
