"""Cheap brokers in a process of their own, in plain pyzmq, so that a fleet has the machine.

It admits every key, acknowledges what it hears every five seconds, as Makai does, and asks for waveforms at a
pace. It decodes a Measurement only for its numbers. Not what is measured.
"""

import time
from collections import deque
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import zmq

from opq_gateway.uplink.connection import Endpoints
from opq_proto.wire.frames import ACK_PLUGIN, data_command, plugin_command
from opq_proto.wire.opqbox3_pb2 import Measurement

ACKNOWLEDGE_S = 5.0
WAVEFORM_S = 3.0
LATE_S = 1.0
"""Age of the end of a requested waveform."""
BURST = 2000


@dataclass(frozen=True, slots=True)
class ListenerCounts:
    """What the listener counted so far."""

    boxes: int = 0
    measurements: int = 0
    missing: int = 0
    """Sequence numbers that were skipped."""
    requested: int = 0
    """Requested waveforms."""
    answers: int = 0
    samples: int = 0


class PlainBrokers:
    """The brokers' three sockets, in one thread."""

    def __init__(self, public: bytes, secret: bytes) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        made = []
        for kind in (zmq.SUB, zmq.PUB, zmq.PULL):
            socket = self._context.socket(kind)
            socket.linger = 0
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = public, secret
            socket.setsockopt(zmq.BACKLOG, 4096)
            socket.rcvhwm = 500_000
            made.append((socket, socket.bind_to_random_port("tcp://127.0.0.1")))
        (self._measurements, trigger), (self._commands, command), (self._answers, response) = made
        self._measurements.subscribe(b"")
        self.endpoints = Endpoints(*(f"tcp://127.0.0.1:{port}" for port in (trigger, command, response)))
        self.counted = ListenerCounts()
        self._waveforms_per_s = 0.0
        self._newest: dict[int, int] = {}
        self._due: deque[int] = deque()
        self._requested_s = self._acknowledged_s = time.monotonic()

    def run_once(self) -> None:
        """Reads some waiting messages, and sends what is due."""
        self._measurements.poll(20)
        self._read_measurements()
        self._read_answers()
        now_s = time.monotonic()
        boxes = list(self._newest)
        if boxes and now_s - self._acknowledged_s >= ACKNOWLEDGE_S and not self._due:
            self._acknowledged_s = now_s
            self._due.extend(boxes)
        for _ in range(min(200, len(self._due))):
            box = self._due.popleft()
            self._send(box, plugin_command(str(box), ACK_PLUGIN, str(self._newest[box]), "ack"))
        wanted = int(self._waveforms_per_s * (now_s - self._requested_s))
        if wanted and boxes:
            self._requested_s += wanted / self._waveforms_per_s  # the fraction counts in the next turn
            end_ns = time.time_ns() - round(LATE_S * 1e9)
            for number in range(wanted):
                box = boxes[(self.counted.requested + number) % len(boxes)]  # each in turn, answered or not
                start_ns = end_ns - round(WAVEFORM_S * 1e9)
                self._send(box, data_command(str(box), start_ns, end_ns, "bench", wait=False))
            self.counted = replace(self.counted, requested=self.counted.requested + wanted)

    def request_waveforms(self, per_s: float) -> None:
        """Requests `per_s` waveforms a second from now on."""
        self._waveforms_per_s, self._requested_s = per_s, time.monotonic()

    def close(self) -> None:
        self._context.destroy(linger=0)

    def _send(self, box: int, command: bytes) -> None:
        self._commands.send_multipart([b"%d" % box, command])

    def _read_measurements(self) -> None:
        count = missing = 0
        for _ in range(BURST):
            try:
                _, body = self._measurements.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            message = Measurement.FromString(body)
            before = self._newest.get(message.box_id)
            if before is not None and message.sequence > before + 1:
                missing += message.sequence - before - 1
            self._newest[message.box_id] = max(message.sequence, before or 0)
            count += 1
        self.counted = replace(
            self.counted,
            boxes=len(self._newest),
            measurements=self.counted.measurements + count,
            missing=self.counted.missing + missing,
        )

    def _read_answers(self) -> None:
        for _ in range(100):
            try:
                frames = self._answers.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            answers, samples = self.counted.answers + 1, self.counted.samples + 200 * (len(frames) - 1)
            self.counted = replace(self.counted, answers=answers, samples=samples)


def serve(pipe: Connection, public: bytes, secret: bytes) -> None:
    """Runs until "end" comes; a number sets the rate of requests, and is answered with the counts."""
    brokers = PlainBrokers(public, secret)
    pipe.send(brokers.endpoints)
    while True:
        brokers.run_once()
        if pipe.poll():
            message = pipe.recv()
            if message == "end":
                brokers.close()
                return
            brokers.request_waveforms(float(message))
            pipe.send(brokers.counted)
