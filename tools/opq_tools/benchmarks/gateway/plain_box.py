"""PlainBox: what a Box says in its steady life, for a third of a simulated Box's CPU, so that 64 keep pace.

From its first command on: samples on time, hello, state each second, figures of its own; every command is
answered "done", samples that are asked for again are sent again. It looks at nothing: no crossings, no
settings, no updates.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from opq_hil.box.box import BLOCK_SAMPLES
from opq_hil.box.port import Port
from opq_hil.box.source import RunClock, Source
from opq_proto import link
from opq_proto.link_messages import (
    FLAG_RESENT,
    PROTOCOL,
    Acknowledgement,
    BoxMeasurement,
    Command,
    GpsState,
    GpsStatus,
    Health,
    Hello,
    LinkMessage,
    Operation,
    Resend,
    Samples,
    Status,
)

RING_S, HELLO_S = 10, 5
MOST_WAITING_BYTES = 32_768
"""What a port did not take; more is lost, as on a real line."""
RESENT_PER_TICK = 4
PACE_S = 0.01
"""Blocks leave so much late at most."""


class PlainBox:
    """One Box on its pty."""

    def __init__(self, box_id: int, source: Source, clock: RunClock) -> None:
        self.port = Port()
        self._box_id, self._source, self._clock = box_id, source, clock
        self._decoder = link.Decoder()
        self._sequence = 0
        self._next: int | None = None
        self._second = -1
        self._again: deque[int] = deque()
        self._out = bytearray()

    def tick(self, now_ns: int) -> None:
        """Say what is due."""
        if self._next is None:
            return
        taken = (now_ns - self._clock.monotonic_ns) * self._source.rate_millihz // 10**12
        while self._next + BLOCK_SAMPLES <= taken:
            self._say(self._samples(self._next, 0))
            self._next += BLOCK_SAMPLES
        for _ in range(min(RESENT_PER_TICK, len(self._again))):
            self._say(self._samples(self._again.popleft(), FLAG_RESENT))
        second = (now_ns - self._clock.monotonic_ns) // 10**9
        if second > self._second:
            self._second = second
            self._each_second(second, self._next)
        self._write()

    def receive(self) -> None:
        """The gateway said something."""
        for _, message in self._decoder.feed(self.port.receive()):
            if isinstance(message, Command):
                if self._next is None:
                    self._next = self._newest() // BLOCK_SAMPLES * BLOCK_SAMPLES
                if message.operation == Operation.HELLO:
                    self._say(self._hello())
                self._say(Acknowledgement(message.command_id, Status.DONE, ""))
            elif isinstance(message, Resend):
                oldest = self._newest() - RING_S * self._source.rate_millihz // 1000
                first = max(message.first_sample, oldest) // BLOCK_SAMPLES * BLOCK_SAMPLES
                end = min(message.first_sample + message.count, self._next or 0)
                self._again.extend(range(first, end, BLOCK_SAMPLES))

    def _say(self, message: LinkMessage) -> None:
        if len(self._out) < MOST_WAITING_BYTES:
            self._out += link.encode(message, self._sequence)
        self._sequence += 1

    def _write(self) -> None:
        try:
            del self._out[: os.write(self.port.fileno(), self._out)]
        except BlockingIOError:
            return

    def _samples(self, first: int, flags: int) -> Samples:
        clock, source = self._clock, self._source
        t_ns = clock.t_ns(first, source.rate_millihz, source.offset_ns)
        counts = source.counts(first, BLOCK_SAMPLES)
        return Samples(first, t_ns, clock.uncertainty_ns, clock.source, source.rate_millihz, flags, counts)

    def _newest(self) -> int:
        """Samples taken by now."""
        return (time.monotonic_ns() - self._clock.monotonic_ns) * self._source.rate_millihz // 10**12

    def _each_second(self, second: int, newest: int) -> None:
        clock, source = self._clock, self._source
        t_ns = clock.t_ns(newest, source.rate_millihz, source.offset_ns)
        if second % HELLO_S == 0:
            self._say(self._hello())
        self._say(Health(second * 1000, None, None, None, 0, 0, 0, 0, 0, 0, 0, 0))
        self._say(GpsStatus(GpsState.FREE, 0, t_ns, clock.uncertainty_ns, 0, 0, 0, 0, 0))
        rate = source.rate_millihz // 1000
        if newest >= rate:
            self._say(BoxMeasurement(newest - rate, rate, source.nominal_v, source.nominal_hz, None, None))

    def _hello(self) -> Hello:
        source = self._source
        return Hello(
            protocol=PROTOCOL,
            box_id=self._box_id,
            boot_id=1,
            rate_millihz=source.rate_millihz,
            v_per_lsb=source.v_per_lsb,
            nominal_v=source.nominal_v,
            nominal_hz=source.nominal_hz,
            effective_bits=source.effective_bits,
            block_samples=BLOCK_SAMPLES,
            ring_samples=source.rate_millihz * RING_S // 1000,
            hardware="opq-tools plain",
            firmware="1",
        )


def serve(sources: Sequence[Source], ports_dir: Path, stop: threading.Event) -> None:
    """A PlainBox per source, ids from 1, until `stop`."""
    clock = RunClock.now()
    boxes = [PlainBox(number, source, clock) for number, source in enumerate(sources, start=1)]
    for number, box in enumerate(boxes, start=1):
        box.port.link_as(ports_dir / f"box{number}")
    while not stop.is_set():
        for box in boxes:
            box.receive()
            box.tick(time.monotonic_ns())
        stop.wait(PACE_S)
    for box in boxes:
        box.port.close()
