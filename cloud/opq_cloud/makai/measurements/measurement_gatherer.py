"""Reads Measurements of a triggering broker in turns, gathered until a pressing one comes."""

import math
import time

import zmq

from opq_cloud.core.backend.sockets import BURST, Socket
from opq_cloud.makai.pressing import is_pressing
from opq_proto.wire.measurement_turns import waiting_measurements

GATHERED = 1000
"""This many Measurements are judged without further waiting."""
STEP_S = 0.005
"""Looks for a pressing one are at least so far apart: an original broker sends each Measurement by itself."""

Frames = list[bytes]


class MeasurementGatherer:
    """Belongs to the loop that reads its SUB socket."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._waiting = zmq.Poller()
        self._waiting.register(socket, zmq.POLLIN)

    def poll(self, timeout_ms: int) -> bool:
        """Waits; returns whether a Measurement is there."""
        return bool(self._waiting.poll(timeout_ms))

    def gather(self, until_s: float, came_s: float) -> tuple[list[list[Frames]], float]:
        """Reads messages until `until_s` (monotonic), or a pressing one.

        came_s: when the first was there. Returns the messages of Boxes with a pressing one, and the others;
        and since when they wait: the first, or the pressing one.
        """
        messages, pressing = self._receive()
        looked_s = new_s = came_s
        while not pressing and len(messages) < GATHERED and (left_s := until_s - time.monotonic()) > 0:
            if not self.poll(math.ceil(left_s * 1e3)):
                break
            new_s = time.monotonic()
            if (early_s := looked_s + STEP_S - new_s) > 0:
                time.sleep(early_s)
            looked_s = time.monotonic()
            new, pressing = self._receive()
            messages += new
        if not pressing:
            return [messages], came_s
        own = [frames for frames in messages if frames[0] in pressing]
        return [own, [frames for frames in messages if frames[0] not in pressing]], new_s

    def _receive(self) -> tuple[list[Frames], set[bytes]]:
        """Returns waiting messages, about BURST at most, and topics with a pressing one."""
        messages = waiting_measurements(self._socket, BURST)
        return messages, {frames[0] for frames in messages if is_pressing(frames[-1])}
