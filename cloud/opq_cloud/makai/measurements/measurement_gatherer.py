"""Reads Measurements of a triggering broker in turns, gathered until one comes that may begin an event.

Starting a turn costs as much as handling fifty Measurements, so turns are kept apart; but a Measurement that
may begin an event cannot wait for the next turn.
"""

import math
import time

import zmq

from opq_cloud.core.backend.sockets import MESSAGES_PER_TURN, Socket
from opq_proto.measurement.wire import MeasurementReader
from opq_proto.wire.measurement_turns import waiting_measurements

MEASUREMENTS_GATHERED = 1000
"""This many Measurements are judged without further waiting."""
STEP_S = 0.005
"""Looks for a pressing one are at least so far apart: an original broker sends each Measurement by itself."""
URGENT_RMS_CHANGE = 0.05
"""Share of the largest rms of a window. Where the rms moves by more, a dip or a swell may begin: an original
Box reports no crossings."""


class MeasurementGatherer:
    """Belongs to the loop that reads its SUB socket."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._waiting = zmq.Poller()
        self._waiting.register(socket, zmq.POLLIN)

    def poll(self, timeout_ms: int) -> bool:
        """Waits; returns whether a Measurement is there."""
        return bool(self._waiting.poll(timeout_ms))

    def gather(self, until_s: float, came_s: float) -> tuple[MeasurementReader, float]:
        """Reads messages until `until_s` (monotonic), or one that may begin an event.

        came_s: when the first was there. Returns what was read, and since when it waits: the first, or the
        one that may begin an event.
        """
        read = MeasurementReader(URGENT_RMS_CHANGE)
        read.read(waiting_measurements(self._socket, MESSAGES_PER_TURN))
        looked_s = new_s = came_s
        while (
            not read.pressing
            and read.count < MEASUREMENTS_GATHERED
            and (left_s := until_s - time.monotonic()) > 0
        ):
            if not self.poll(math.ceil(left_s * 1e3)):
                break
            new_s = time.monotonic()
            if (early_s := looked_s + STEP_S - new_s) > 0:
                time.sleep(early_s)
            looked_s = time.monotonic()
            read.read(waiting_measurements(self._socket, MESSAGES_PER_TURN))
        return read, new_s if read.pressing else came_s
