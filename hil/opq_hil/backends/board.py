"""Real hardware on a serial port: the same scenarios, as far as a board can play them.

Nothing here controls its mains, its sky or its supply, so only the gateway's messages of a world are played;
worlds that need more are refused with the reason. A world begins at power-on: a board is reset
for it. Its time is the host's, unless it is an emulator that stands in for one.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from opq_hil.backends.backend import BackendError, FirmwareRun, Image, LiveBox
from opq_hil.gps.oscillator import Oscillator
from opq_hil.gps.receiver import Gps
from opq_hil.world.capture import Capture, TimedMessage
from opq_hil.world.line import BenchLine, NoAnswerError
from opq_hil.world.world import Played, PowerScript, World
from opq_proto.link import frames as link
from opq_proto.link.messages import Acknowledgement, Health, Hello, Operation

RESET_S = 10.0
"""Limit from the command to the first hello: the loader's check of the signature, and room for an erase."""
UP_S = 3.0
"""Limit for the first message of a Box that has just been plugged in; a command before it would be lost."""


@dataclass(frozen=True, slots=True)
class BoardBackend:
    """A Box of type `board` on `port`, flashed beforehand (`opq-tools flash`).

    `now_s` gives the Box's time in s (`LiveBox.now_s`), so a world lasts as long on an emulator that is late.
    """

    port: str
    board: str = "opqbox"
    name: str = "board"
    deterministic: bool = False
    wall_factor: float = 1.0
    start_s: float = 0.0
    now_s: Callable[[], float] = time.monotonic

    @property
    def boards(self) -> tuple[str, ...]:
        return (self.board,)

    @property
    def version(self) -> str:
        return f"board {self.board} on {self.port}"

    def why_not(self, world: World | None) -> str | None:
        """Names the parts of a world that a board on a bench cannot play."""
        if not self.port:
            return "no port: give --hil-port, or --port"
        if world is None:
            return None
        unmet = []
        if isinstance(world.mains, Played) or (world.mains is not None and world.mains.dips):
            unmet.append("its own waveform")  # any mains will do for a plain sine
        if world.gps is not None and _faulty(world.gps):
            unmet.append("faults of the GPS receiver")
        if world.oscillator != Oscillator():
            unmet.append("a bad oscillator")
        if world.power != PowerScript():
            unmet.append("power faults")
        if world.noise:
            unmet.append("noise on the link")
        if world.pins:
            unmet.append("pins")
        return f"a board cannot be given {', '.join(unmet)} from here" if unmet else None

    def run(
        self, image: Image, world: World, folder: Path, *, flash: Path | None = None, wall_limit_s: float
    ) -> FirmwareRun:
        """Resets the board, then reads for as long as the world lasts and sends its messages at their times.

        Raises:
            BackendError: the world needs more than a board can do; nothing answers, or sends no new hello.
        """
        why = self.why_not(world)
        if why or flash is not None:
            raise BackendError(why or "a board's flash is not put back from a file")
        folder.mkdir(parents=True, exist_ok=True)
        with BenchLine(self.port, self.now_s) as line:
            started = _reset(line)
            wall_began, began = time.monotonic(), self.now_s()
            for sequence, (at_ns, message) in enumerate(sorted(world.messages, key=lambda entry: entry[0])):
                line.read(at_ns / 1e9 - (self.now_s() - began))
                line.write(message if isinstance(message, bytes) else b"\0" + link.encode(message, sequence))
            line.read(world.end_ns / 1e9 - (self.now_s() - began))
            entries = list(_from(line.log, started))
        capture = Capture(entries)
        log = "".join(f"{at} {data.hex()}\n" for at, data in entries)
        (folder / "uart1.log").write_text(log, encoding="ascii")
        return FirmwareRun(world, folder, capture, {}, None, time.monotonic() - wall_began)

    @contextmanager
    def live(
        self, image: Image, world: World, folder: Path, *, flash: Path | None = None
    ) -> Iterator[LiveBox]:
        """The port of the board, which runs already."""
        why = self.why_not(world)
        if why:
            raise BackendError(why)
        yield LiveBox(self.port)


def _reset(line: BenchLine) -> int:
    """Restarts the Box; returns how many bytes of the line's log came before its new hello."""

    def hello() -> TimedMessage | None:
        answers = (
            at for at, received in enumerate(line.received) if isinstance(received.message, Acknowledgement)
        )
        behind = line.received[next(answers, len(line.received)) :]
        return next((received for received in behind if isinstance(received.message, Hello)), None)

    line.read(UP_S, lambda: any(isinstance(received.message, Health) for received in line.received))
    try:
        line.send_command(Operation.RESET, timeout_s=RESET_S)
    except NoAnswerError as error:
        raise BackendError(f"no reset: {error}") from error
    line.read(RESET_S, lambda: hello() is not None)
    found = hello()
    if found is None:
        raise BackendError(f"{line.port}: no hello within {RESET_S:g} s of the reset")
    return b"".join(data for _, data in line.log).rindex(link.encode(found.message, found.sequence))


def _from(log: Sequence[tuple[int, bytes]], start: int) -> Iterator[tuple[int, bytes]]:
    """The log from one of its bytes on; times count from there."""
    began: int | None = None
    for at, data in log:
        rest = data[start:]
        start = max(0, start - len(data))
        if rest:
            began = at if began is None else began
            yield at - began, rest


def _faulty(gps: Gps) -> bool:
    faults = (gps.outages, gps.unplugged, gps.no_pulse, gps.missing, gps.glitches, gps.late_ns)
    return any(faults) or bool(gps.wrong_labels) or gps.leap_after_utc_s is not None or gps.jitter_ns > 0
