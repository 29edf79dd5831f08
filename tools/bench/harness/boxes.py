"""Cheap Boxes in their own process, so that many can run next to the measured gateway.

    python -m bench.harness.boxes COUNT PORTS_DIR SAG_EVERY_S AT_ONCE

Each sends at its real-time rate, with its own crystal; its waveform is one second of mains with harmonics and
noise of 2 LSB, made once and repeated. Every SAG_EVERY_S the voltage of the next AT_ONCE Boxes drops to 60 %
for 12 cycles; each sends a Crossing with the first block of it, and the moment is logged. With 0 there is no
sag.

A plain Box sends what a Box sends in steady operation, for a third of a simulated Box's CPU, so that 64 keep
pace: samples on time, hello, state each second, its own figures. It answers every command "done" and sends
requested samples again. It has no settings and no updates.
"""

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opq_proto.kit import log
from opq_proto.link import frames as link
from opq_proto.link.messages import (
    FLAG_RESENT,
    PROTOCOL,
    Acknowledgement,
    BoxMeasurement,
    Command,
    Crossing,
    CrossingKind,
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
from opq_sim.box.box import BLOCK_SAMPLES, HELLO_S, RING_SAMPLES
from opq_sim.box.port import PtyPort
from opq_sim.box.source import RunClock
from opq_sim.mains import MIX_3_PERCENT
from opq_sim.mains.voltage import Mains
from opq_sim.mains.wave import Wave, harmonics_of

RATE = 12_000
V_PER_LSB = 0.0068
NOISE_LSB = 2.0
SAG_LEFT_PU = 0.6
"""Voltage that a sag leaves."""
SAG_CYCLES = 12
"""Length of a sag."""
LIMIT_PU = 0.9
"""Limit that it crosses."""


def noisy(seconds: int, noise_lsb: float) -> NDArray[np.int16]:
    """(n,) counts of mains with 3 % harmonics."""
    wave = Wave(120.0, harmonics_of(MIX_3_PERCENT))
    volts = Mains(wave=wave, noise_v=noise_lsb * V_PER_LSB, seed=7).volts(0, seconds * RATE)
    return np.rint(volts / V_PER_LSB).astype(np.int16)


class RepeatedSource:
    """A `SampleSource` that repeats one second of mains; a sag can be added to samples not yet read."""

    offset_ns = 0
    v_per_lsb = V_PER_LSB
    nominal_v, nominal_hz = 120.0, 60.0
    effective_bits = 15.0

    def __init__(self, seed: int) -> None:
        self.rate_millihz = RATE * 1000 + 37 * seed % 481 - 240  # +-20 ppm: each has its own crystal
        wave = Wave(120.0, harmonics_of(MIX_3_PERCENT))
        volts = Mains(wave=wave, noise_v=NOISE_LSB * V_PER_LSB, seed=seed).volts(0, RATE)
        second = np.clip(np.rint(volts / V_PER_LSB), -32768, 32767).astype(np.int16)
        self._twice = np.concatenate((second, second))
        self._read = 0
        self._sag = range(0)

    def sag(self) -> None:
        """Starts a sag at the next block."""
        self._sag = range(self._read, self._read + SAG_CYCLES * 200)

    def counts(self, first: int, count: int) -> NDArray[np.int16]:
        self._read = max(self._read, first + count)  # a block may be sent again
        counts = self._twice[first % RATE : first % RATE + count]
        return (counts * SAG_LEFT_PU).astype(np.int16) if first in self._sag else counts

    def marks(self, first: int, count: int) -> tuple[int, ...]:
        return (self._sag.start,) if self._sag and first == self._sag.start else ()

    def enters(self, first: int) -> bool | None:
        """True: the block from `first` on begins the sag; False: it follows the sag; None: neither."""
        return True if self._sag and first == self._sag.start else False if first == self._sag.stop else None


def main(boxes: int, ports_dir: Path, sag_every_s: float, at_once: int) -> None:
    """Runs the Boxes until SIGTERM."""
    log.configure("boxes")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    sources = [RepeatedSource(number) for number in range(1, boxes + 1)]

    def sag() -> None:
        next_ones = cycle(sources)
        while not stop.wait(sag_every_s):
            for source in islice(next_ones, at_once):
                source.sag()

    if sag_every_s:
        threading.Thread(target=sag, name="sag", daemon=True).start()
    serve(sources, ports_dir, stop)


MAX_WAITING_BYTES = 32_768
"""Most bytes that wait for a port; more are lost, as on a real line."""
RESENT_PER_TICK = 4
PACE_S = 0.01
"""Most delay of a block."""


class PlainBox:
    """One Box on its pty."""

    def __init__(self, box_id: int, source: RepeatedSource, clock: RunClock) -> None:
        self.port = PtyPort()
        self._box_id, self._source, self._clock = box_id, source, clock
        self._decoder = link.Decoder()
        self._sequence = 0
        self._next: int | None = None
        self._second = -1
        self._again: deque[int] = deque()
        self._out = bytearray()

    def tick(self, now_ns: int) -> None:
        """Sends all messages that are due."""
        if self._next is None:
            return
        taken = (now_ns - self._clock.monotonic_ns) * self._source.rate_millihz // 10**12
        crossed = False
        while self._next + BLOCK_SAMPLES <= taken:
            samples = self._samples(self._next, 0)
            self._send(samples)
            enters = self._source.enters(self._next)
            if enters is not None:
                self._send(self._crossing(samples, enters))
                crossed |= enters
            self._next += BLOCK_SAMPLES
        for _ in range(min(RESENT_PER_TICK, len(self._again))):
            self._send(self._samples(self._again.popleft(), FLAG_RESENT))
        second = (now_ns - self._clock.monotonic_ns) // 10**9
        if second > self._second:
            self._second = second
            self._each_second(second, self._next)
        self._write()
        if crossed:
            log.get(service="boxes").info("box.crossing_sent", box_id=str(self._box_id))

    def receive(self) -> None:
        """Reads and answers the gateway's messages."""
        for _, message in self._decoder.feed(self.port.receive()):
            if isinstance(message, Command):
                if self._next is None:
                    self._next = self._newest() // BLOCK_SAMPLES * BLOCK_SAMPLES
                if message.operation == Operation.HELLO:
                    self._send(self._hello())
                self._send(Acknowledgement(message.command_id, Status.DONE, ""))
            elif isinstance(message, Resend):
                oldest = self._newest() - RING_SAMPLES
                first = max(message.first_sample, oldest) // BLOCK_SAMPLES * BLOCK_SAMPLES
                end = min(message.first_sample + message.count, self._next or 0)
                self._again.extend(range(first, end, BLOCK_SAMPLES))

    def _send(self, message: LinkMessage) -> None:
        if len(self._out) < MAX_WAITING_BYTES:
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

    def _crossing(self, samples: Samples, enters: bool) -> Crossing:
        nominal_v = self._source.nominal_v
        return Crossing(
            samples.first_sample,
            samples.t_ns,
            samples.uncertainty_ns,
            samples.source,
            CrossingKind.DIP,
            enters,
            nominal_v * (SAG_LEFT_PU if enters else 1.0),
            nominal_v * LIMIT_PU,
        )

    def _newest(self) -> int:
        """Number of samples taken by now."""
        return (time.monotonic_ns() - self._clock.monotonic_ns) * self._source.rate_millihz // 10**12

    def _each_second(self, second: int, newest: int) -> None:
        clock, source = self._clock, self._source
        t_ns = clock.t_ns(newest, source.rate_millihz, source.offset_ns)
        if second % HELLO_S == 0:
            self._send(self._hello())
        self._send(Health(second * 1000, None, None, None, 0, 0, 0, 0, 0, 0, 0, 0))
        self._send(GpsStatus(GpsState.FREE, 0, t_ns, clock.uncertainty_ns, 0, 0, 0, 0, 0))
        rate = source.rate_millihz // 1000
        if newest >= rate:
            self._send(BoxMeasurement(newest - rate, rate, source.nominal_v, source.nominal_hz, None, None))

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
            ring_samples=RING_SAMPLES,
            hardware="opq-tools plain",
            firmware="1",
        )


def serve(sources: Sequence[RepeatedSource], ports_dir: Path, stop: threading.Event) -> None:
    """Runs a PlainBox per source, ids from 1, until `stop`."""
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


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
