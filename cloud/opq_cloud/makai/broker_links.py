"""The brokers of one service: Measurements from them, and which of them gets a command.

One of each as a rule; several where several Makais share a store (`[[further_brokers]]`). A Box is at one of
them: a command goes to the broker of its last Measurement, and to all where none has come.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing

import zmq

from opq_cloud.makai.pressing import is_pressing
from opq_cloud.makai.shares.own_boxes import Frames
from opq_cloud.own_keys import OwnKeys
from opq_cloud.sockets import BURST, Context, Socket, open_socket
from opq_proto.errors import FrameError
from opq_proto.measurement_turns import request_turns, waiting_measurements
from opq_proto.wire import command_from_wire, topic
from opq_proto.zmq_inbox import try_send

GATHERED = 400
"""This many Measurements are judged without further waiting."""
STEP_S = 0.001
"""While Measurements are gathered, a pressing one is seen after this time."""
MAX_PLACES = 100_000
"""Limit of Boxes with a known broker; beyond it, all are learnt again."""


def linked(
    opened: ExitStack,
    context: Context,
    keys: OwnKeys,
    kind: int,
    endpoints: Iterable[str],
    key: str,
    turns: bool = False,
    **options: int,
) -> list[Socket]:
    """Opens a socket to each, as `OwnKeys.connect`. turns: they request whole turns."""
    sockets = []
    for endpoint in endpoints:
        sockets.append(opened.enter_context(closing(open_socket(context, kind, **options))))
        if turns:
            request_turns(sockets[-1])
        keys.connect(sockets[-1], endpoint, key)
    return sockets


class MeasurementLinks:
    """A SUB of each triggering broker; `at`: topic of a Box -> broker of its last Measurement."""

    def __init__(self, sockets: Sequence[Socket]) -> None:
        self.at: dict[bytes, int] = {}
        self._sockets = sockets
        self._poller = zmq.Poller()
        for socket in sockets:
            self._poller.register(socket, zmq.POLLIN)

    def wake_for(self, socket: Socket) -> None:
        """A message at this socket ends waiting for Measurements, too."""
        self._poller.register(socket, zmq.POLLIN)

    def poll(self, timeout_ms: int) -> bool:
        """Waits; returns whether a Measurement is there."""
        return any(socket in self._sockets for socket, _ in self._poller.poll(timeout_ms))

    def subscribe(self, beginning: bytes) -> None:
        for socket in self._sockets:
            socket.subscribe(beginning)

    def unsubscribe(self, beginning: bytes) -> None:
        for socket in self._sockets:
            socket.unsubscribe(beginning)

    def receive(self, limit: int) -> tuple[list[Frames], set[bytes]]:
        """Returns waiting messages, some `limit` from each broker, and topics with a pressing message."""
        received: list[Frames] = []
        pressing: set[bytes] = set()
        for number, socket in enumerate(self._sockets):
            new, single, presses = waiting_measurements(socket, limit)
            pressing.update([frames[0] for frames in single if is_pressing(frames[-1])])
            if presses:
                pressing.update([frames[0] for frames in new if is_pressing(frames[-1])])
            new += single
            if len(self._sockets) == 1:
                return new, pressing
            senders = dict.fromkeys([frames[0] for frames in new], number)
            self.at.update(senders)
            if len(self.at) > MAX_PLACES:  # topics of Boxes that no longer exist
                self.at.clear()
                self.at.update(senders)
            received += new
        return received, pressing

    def gather(self, until_s: float, came_s: float) -> tuple[list[list[Frames]], float]:
        """Reads messages until `until_s` (monotonic), a pressing one, or a message at another socket.

        came_s: when the first was there. Returns the messages of Boxes with a pressing one, and the others;
        and since when they wait: the first, or the pressing one.
        """
        messages, pressing = self.receive(BURST)
        new_s = came_s
        while len(messages) < GATHERED:
            if pressing:
                own = [frames for frames in messages if frames[0] in pressing]
                return [own, [frames for frames in messages if frames[0] not in pressing]], new_s
            if (left_s := until_s - time.monotonic()) <= 0:
                break
            time.sleep(min(left_s, STEP_S))
            ready = self._poller.poll(max(0, round((until_s - time.monotonic()) * 1e3)))
            if not ready or any(socket not in self._sockets for socket, _ in ready):
                break
            new_s = time.monotonic()
            new, pressing = self.receive(BURST)
            messages += new
        return [messages], came_s


class CommandLinks:
    """A PUSH to each acquisition broker, in the order of the others."""

    def __init__(self, sockets: Sequence[Socket], at: Mapping[bytes, int] | None = None) -> None:
        self._sockets = sockets
        self._at = {} if at is None else at

    def send(self, frames: list[bytes]) -> bool:
        """Sends a command; False where nobody takes it now."""
        if len(self._sockets) == 1:
            return try_send(self._sockets[0], frames)
        here = self._at.get(_topic(frames))
        chosen = self._sockets if here is None else (self._sockets[here],)
        return [try_send(socket, frames) for socket in chosen].count(True) > 0


def _topic(frames: list[bytes]) -> bytes:
    """Returns the topic of the Box that these frames command; empty where they are no command."""
    try:
        return topic(str(command_from_wire(frames[0]).box_id))
    except FrameError:
        return b""
