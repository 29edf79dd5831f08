"""Boxes that cost little, so that many run beside the gateway that is measured: a process of its own.

    python -m opq_tools.benchmarks.gateway.boxes COUNT PORTS_DIR SAG_EVERY_S

Each speaks at its real-time rate, by a crystal of its own; its waveform is one second of mains with harmonics
and noise of 2 LSB, made once and repeated. Every SAG_EVERY_S the next Box's voltage drops to 60 % for 12
cycles; the Box, a simulated one, sees that by itself and tells it, and the moment is logged. With 0 there is
no sag, and the Boxes are plain ones (plain_box.py).
"""

import signal
import sys
import threading
import time
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opq_hil.box.box import Box
from opq_hil.box.host import BoxHost
from opq_hil.mains import MIX_3_PERCENT
from opq_hil.mains.voltage import Mains
from opq_hil.mains.wave import Wave, harmonics_of
from opq_proto import log
from opq_proto.link_messages import Crossing, LinkMessage
from opq_tools.benchmarks.gateway.plain_box import serve

RATE = 12_000
V_PER_LSB = 0.0068
NOISE_LSB = 2.0
DEPTH_LEFT, SAG_CYCLES = 0.6, 12


class Repeated:
    """One second of mains, over and over; a `Source`. A sag is laid on it where nobody has read yet."""

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
        """From the next block on."""
        self._sag = range(self._read, self._read + SAG_CYCLES * 200)

    def counts(self, first: int, count: int) -> NDArray[np.int16]:
        self._read = first + count
        counts = self._twice[first % RATE : first % RATE + count]
        return (counts * DEPTH_LEFT).astype(np.int16) if first in self._sag else counts

    def marks(self, first: int, count: int) -> tuple[int, ...]:
        return (self._sag.start,) if self._sag and first == self._sag.start else ()


class TellingBox(Box):
    """Logs when a Crossing has gone out."""

    def send(self, message: LinkMessage) -> None:
        super().send(message)
        if isinstance(message, Crossing) and message.entering:
            self.port.flush(time.monotonic_ns())
            log.get(service="boxes").info("box.crossing_sent", box_id=self.box_id)


def main(boxes: int, ports_dir: Path, sag_every_s: float) -> None:
    """Until SIGTERM."""
    log.configure("boxes")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    sources = [Repeated(number) for number in range(1, boxes + 1)]
    if not sag_every_s:
        serve(sources, ports_dir, stop)
        return
    told = [TellingBox(str(number), source) for number, source in enumerate(sources, start=1)]
    with BoxHost(told, ports_dir=ports_dir):
        for number in count():
            if stop.wait(sag_every_s):
                return
            sources[number % boxes].sag()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
