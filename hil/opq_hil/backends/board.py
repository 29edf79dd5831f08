"""Real hardware on a serial port: the same scenarios, as far as a board can be told what to live through.

Nobody can command its mains, its sky or its supply from here, so a world is played only in what the gateway
says; worlds that need more are refused with the reason. Its time is real time.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from opq_hil.backends.backend import BackendError, Image, Run
from opq_hil.gps import Gps
from opq_hil.line import BoxLine
from opq_hil.oscillator import Oscillator
from opq_hil.world import Played, Power, World
from opq_proto import link


@dataclass(frozen=True, slots=True)
class Board:
    """A Box on `port`, flashed beforehand (`opq-tools flash`)."""

    port: str
    name: str = "board"
    deterministic: bool = False

    @property
    def version(self) -> str:
        return f"board on {self.port}"

    def why_not(self, world: World | None) -> str | None:
        """What of a world a board on a bench cannot be made to live through."""
        if not self.port:
            return "no port: give --hil-port, or --port"
        if world is None:
            return None
        asked = []
        if isinstance(world.mains, Played) or (world.mains is not None and world.mains.dips):
            asked.append("a waveform of its own")  # for a plain sine any mains will do
        if world.gps is not None and _faulty(world.gps):
            asked.append("faults of the GPS receiver")
        if world.oscillator != Oscillator():
            asked.append("a bad oscillator")
        if world.power != Power():
            asked.append("power faults")
        if world.noise:
            asked.append("noise on the link")
        if world.pins:
            asked.append("pins")
        return f"a board cannot be given {', '.join(asked)} from here" if asked else None

    def run(
        self, image: Image, world: World, folder: Path, *, flash: Path | None = None, wall_limit_s: float
    ) -> Run:
        """Listen for as long as the world lasts, saying what it says at its times."""
        why = self.why_not(world)
        if why or flash is not None:
            raise BackendError(why or "a board's flash is not put back from a file")
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with BoxLine(self.port) as line:
            for sequence, (at_ns, said) in enumerate(sorted(world.said, key=lambda entry: entry[0])):
                line.read(at_ns / 1e9 - (time.monotonic() - began))
                line.write(said if isinstance(said, bytes) else b"\0" + link.encode(said, sequence))
            line.read(world.end_ns / 1e9 - (time.monotonic() - began))
            capture = line.capture()
        log = "".join(f"{at} {data.hex()}\n" for at, data in capture.entries())
        (folder / "uart1.log").write_text(log, encoding="ascii")
        return Run(world, folder, capture, {}, None, time.monotonic() - began)

    @contextmanager
    def live(self, image: Image, world: World, folder: Path, *, flash: Path | None = None) -> Iterator[Path]:
        """The board's port; it runs already."""
        why = self.why_not(world)
        if why:
            raise BackendError(why)
        yield Path(self.port)


def _faulty(gps: Gps) -> bool:
    faults = (gps.outages, gps.unplugged, gps.no_pulse, gps.missing, gps.glitches, gps.late_ns)
    return any(faults) or bool(gps.wrong_labels) or gps.leap_after_utc_s is not None or gps.jitter_ns > 0
