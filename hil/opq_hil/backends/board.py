"""Real hardware on a serial port: the same scenarios, as far as a board can play them.

A board has its own mains and sky. Its settings are put by command, and its firmware by an update over the
line. Noise on the line is made at this end of it, where a world is played. What else a world needs is a
fixture at the bench, which `why_not` names; two of them are commands of the user (`Fixtures`). A world of
`run` begins at the first message after a reset; `live` takes the Box as it runs. Its time is the host's,
unless it is an emulator that stands in for a board.
"""

import random
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from opq_hil.backends.backend import NO_FIXTURES, BackendError, FirmwareRun, Fixtures, Image, LiveBox
from opq_hil.gps.oscillator import Oscillator
from opq_hil.gps.receiver import Gps
from opq_hil.world.capture import Capture, TimedMessage
from opq_hil.world.line import BenchLine, NoAnswerError
from opq_hil.world.strategy import reach
from opq_hil.world.world import BitNoise, Played, World
from opq_proto.firmware.image import Slot, version_number
from opq_proto.link import frames as link
from opq_proto.link.log_codes import UPDATE_CONFIRMED
from opq_proto.link.messages import Acknowledgement, Hello, Log, Operation, Settings, Status

RESET_S = 10.0
"""Limit from the command to the first hello: the loader's check of the signature, and room for an erase."""
UP_S = 10.0
"""Limit for an answer of a Box that has just been plugged in or switched on."""
SAVE_S = 5.0
"""Limit for a saved setting: an erase of a sector of 16 KB takes 0.5 s at most (DS8626, table 40)."""
TRIAL_S = 130.0
"""Limit for the end of a trial: the Box resets 120 s after a start without health (device/app/updater.py)."""
CONFIRM_S = 40.0
"""Limit for the confirmation of an image: the app confirms itself after 10 s of samples."""
OFF_S = 2.0
"""Time without supply: the capacitors of a Box are empty then."""
COMMAND_S = 300.0
"""Limit of real time for a command of the user: a programmer writes 1 MB in a minute."""


class RunningImage(NamedTuple):
    """What runs on a Box."""

    slot: Slot
    version: int
    """As in the image's header."""


@dataclass(frozen=True, slots=True)
class BoardBackend:
    """A Box on `port`, of the one type in `boards`; flashed beforehand (`opq-tools flash`), or by the
    programmer's command.

    `now_s` gives the Box's time in s (`LiveBox.now_s`), so a world lasts as long on an emulator that is late.
    """

    port: str
    boards: tuple[str, ...] = ("opqbox",)
    name: str = "board"
    deterministic: bool = False
    wall_factor: float = 1.0
    start_s: float = 0.0
    now_s: Callable[[], float] = time.monotonic
    fixtures: Fixtures = NO_FIXTURES

    @property
    def version(self) -> str:
        return f"board {self.boards[0]} on {self.port}"

    def why_not(self, world: World | None) -> str | None:
        """Names the fixtures that a world needs and the bench does not have."""
        if not self.port:
            return "no port: give --hil-port, or --port"
        if world is None:
            return None
        needs = []
        if world.gps is not None and _simulated(world.gps):
            needs.append("a GPS simulator at the board's receiver")
        if isinstance(world.mains, Played) or (world.mains is not None and world.mains.dips):
            needs.append("a waveform source at its mains input")  # any mains will do for a plain sine
        if world.oscillator != Oscillator():
            needs.append("an oscillator that can be tuned")
        elif world.power.adc or world.power.pvd:
            needs.append("an adjustable supply and battery")
        if world.power.cut_after is not None:
            needs.append("a supply that fails in a chosen flash operation, which an emulator has")
        if world.power.cut_ns is not None and not self.fixtures.power_command:
            needs.append("a relay in its power supply (--power-command)")
        if world.pins or world.rom_start is not None:
            needs.append("switches at its pins")
        return f"needs {', '.join(needs)}" if needs else None

    def why_not_live(self, world: World) -> str | None:
        """As `why_not`, for a world in real time."""
        noise = "needs noise on its line, whose end here is the gateway's" if world.noise else None
        return self.why_not(world) or noise

    def run(
        self, image: Image, world: World, folder: Path, *, flash: Path | None = None, wall_limit_s: float
    ) -> FirmwareRun:
        """Resets the board, then reads for as long as the world lasts and sends its messages at their times.

        Raises:
            BackendError: the world needs more than the bench has; nothing answers, or sends no new hello.
        """
        why = self.why_not(world)
        if why or flash is not None:
            raise BackendError(why or "a board's flash is not put back from a file")
        folder.mkdir(parents=True, exist_ok=True)
        cut_ns = world.power.cut_ns
        end_ns = world.end_ns if cut_ns is None else min(cut_ns, world.end_ns)
        wall_began = time.monotonic()
        to_box = [_Damage(noise) for noise in world.noise if noise.towards_box]
        from_box = [_Damage(noise) for noise in world.noise if not noise.towards_box]
        with self.line() as line:
            first = _reset(line)
            began = line.start_s + _since(line.log, first)[0] / 1e9
            for sequence, (at_ns, message) in enumerate(sorted(world.messages, key=lambda entry: entry[0])):
                if at_ns >= end_ns:
                    break
                line.read(at_ns / 1e9 - (self.now_s() - began))
                sent = message if isinstance(message, bytes) else b"\0" + link.encode(message, sequence)
                line.write(_damaged(sent, to_box))
            line.read(end_ns / 1e9 - (self.now_s() - began))
            _, entries = _since(line.log, first)
        entries = [(at, _damaged(data, from_box)) for at, data in entries]
        if cut_ns is not None:
            self.cut_power()
        log = "".join(f"{at} {data.hex()}\n" for at, data in entries)
        (folder / "uart1.log").write_text(log, encoding="ascii")
        report = {"end": "end" if cut_ns is None else "cut"}
        return FirmwareRun(world, folder, Capture(entries), report, None, time.monotonic() - wall_began)

    @contextmanager
    def live(
        self, image: Image, world: World, folder: Path, *, flash: Path | None = None
    ) -> Iterator[LiveBox]:
        """The port of the board, which runs already."""
        if why := self.why_not_live(world):
            raise BackendError(why)
        yield LiveBox(self.port, self.now_s)

    def put_settings(self, wanted: Mapping[str, str]) -> Mapping[str, str]:
        """Saves settings by command where they differ; returns all of them as they were before.

        Raises:
            BackendError: the Box does not answer, or refuses one.
        """
        with self.line() as line:
            try:
                before = _settings(line)
                for key, value in sorted(wanted.items()):
                    if before.get(key) == value:
                        continue
                    answer = line.send_command(Operation.PUT_SETTING, f"{key}={value}", timeout_s=SAVE_S)
                    if answer.status is not Status.DONE:
                        raise BackendError(f"setting {key}={value}: {answer.status.name} {answer.detail}")
            except NoAnswerError as error:
                raise BackendError(f"settings: {error}") from error
        return before

    def running(self) -> RunningImage:
        """What runs, by the Box's own word; waits for the end of a trial.

        Raises:
            BackendError: the Box does not answer, or does not say it.
        """
        with self.line() as line:
            try:
                hello = _hello(line)
                until_s = self.now_s() + TRIAL_S
                while True:  # it erases nothing before the first piece
                    answer = line.send_command(Operation.UPDATE_BEGIN, "4096", timeout_s=SAVE_S)
                    if answer.status is not Status.BUSY or self.now_s() > until_s:
                        break
                    line.read(1.0)
            except NoAnswerError as error:
                raise BackendError(f"running firmware: {error}") from error
        if answer.status is not Status.DONE or answer.detail not in Slot.__members__:
            raise BackendError(f"the Box names no free slot: {answer.status.name} {answer.detail}")
        return RunningImage(Slot[answer.detail].other, version_number(hello.firmware))

    def cut_power(self) -> None:
        """Switches the supply off and, after OFF_S, on again.

        Raises:
            BackendError: the command failed, or the Box does not answer afterwards.
        """
        self._switch_off()
        self._switch_on()

    @contextmanager
    def cut_meanwhile(self, after_s: float) -> Iterator[Callable[[], bool]]:
        """Cuts the power while the block goes on, and switches it on after the block.

        Yields a condition: its first call starts the time, `after_s` later it starts the relay's command, and
        it is true when that has ended. By then the port may be gone with the supply.

        Raises:
            BackendError: the command failed, or the Box does not answer afterwards.
        """
        with ThreadPoolExecutor(1) as pool:
            cut_s: float | None = None
            off: Future[None] | None = None

            def is_off() -> bool:
                nonlocal cut_s, off
                if cut_s is None:
                    cut_s = self.now_s() + after_s
                if off is None and self.now_s() >= cut_s:
                    off = pool.submit(self._switch_off)
                return off is not None and off.done()

            try:
                yield is_off
                off = off or pool.submit(self._switch_off)
            finally:
                if off is not None:
                    off.result()
                    self._switch_on()

    def _switch_off(self) -> None:
        _execute(self.fixtures.power_command, "off")

    def _switch_on(self) -> None:
        time.sleep(OFF_S)
        _execute(self.fixtures.power_command, "on")
        self._answers()

    def program(self, hex_file: Path) -> None:
        """Writes an Intel HEX file by the programmer's command, and waits until the new image is confirmed.

        Before that, its third start without health would end in the boot loader's recovery.

        Raises:
            BackendError: the command failed, or no image is confirmed afterwards.
        """
        _execute(self.fixtures.program_command, str(hex_file))
        with self._line_again() as line:

            def confirmed() -> bool:
                return any(
                    isinstance(found.message, Log) and found.message.code == UPDATE_CONFIRMED
                    for found in line.received
                )

            line.read(CONFIRM_S, confirmed)
            if not confirmed():
                raise BackendError(f"{hex_file}: not confirmed within {CONFIRM_S:g} s after it was written")

    def line(self) -> BenchLine:
        """The port, in the Box's time."""
        return BenchLine(self.port, self.now_s)

    def _line_again(self) -> BenchLine:
        """The port once it is there: a converter with the Box's own supply is away at first."""
        until_s = time.monotonic() + COMMAND_S
        while Path(self.port).is_absolute() and not Path(self.port).exists() and time.monotonic() < until_s:
            time.sleep(0.1)
        return self.line()

    def _answers(self) -> None:
        with self._line_again() as line:
            try:
                reach(line, "running", UP_S)
            except NoAnswerError as error:
                raise BackendError(f"after the fixture's command: {error}") from error


class _Damage:
    """Noise of a world, made at this end of the line; the Box and the judge read what a bad line gives."""

    def __init__(self, noise: BitNoise) -> None:
        self._share = noise.per_byte
        self._chance = random.Random(noise.seed)

    def flip(self, data: bytes) -> bytes:
        """The bytes, some with one bit changed."""
        row = bytearray(data)
        for at in range(len(row)):
            if self._chance.random() < self._share:
                row[at] ^= 1 << self._chance.randrange(8)
        return bytes(row)


def _damaged(data: bytes, damages: Sequence[_Damage]) -> bytes:
    for damage in damages:
        data = damage.flip(data)
    return data


def _execute(command: str, word: str) -> None:
    """Runs a command of the user; `word` takes the place of `{}`, or is the last word."""
    words = shlex.split(command)
    words = [part.replace("{}", word) for part in words] if "{}" in command else [*words, word]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=COMMAND_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"{shlex.join(words)}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise BackendError(f"{shlex.join(words)} ended with {done.returncode}: {said[-1] if said else ''}")


def _hello(line: BenchLine) -> Hello:
    """The newest hello of a Box that answers."""

    def hellos() -> list[Hello]:
        return [found.message for found in line.received if isinstance(found.message, Hello)]

    reach(line, "running", UP_S)
    line.read(UP_S, lambda: bool(hellos()))
    if not hellos():
        raise NoAnswerError(f"{line.port}: no hello within {UP_S:g} s")
    return hellos()[-1]


def _settings(line: BenchLine) -> dict[str, str]:
    """All settings, requested by command."""
    reach(line, "running", UP_S)
    seen = len(line.received)
    line.send_command(Operation.GET_SETTINGS, timeout_s=SAVE_S)

    def found() -> Settings | None:
        new = (received.message for received in line.received[seen:])
        return next((message for message in new if isinstance(message, Settings)), None)

    line.read(SAVE_S, lambda: found() is not None)
    settings = found()
    if settings is None:
        raise NoAnswerError(f"{line.port}: no settings within {SAVE_S:g} s")
    return dict(settings.values)


def _reset(line: BenchLine) -> int:
    """Restarts the Box; returns how many bytes of the line's log came before the first frame of its start.

    What the Box had queued still comes after the acknowledgement. A start numbers its frames from 0; if
    that frame was lost, the new start begins at its hello.
    """
    try:
        before = _hello(line)
        line.send_command(Operation.RESET, timeout_s=RESET_S)
    except NoAnswerError as error:
        raise BackendError(f"no reset: {error}") from error
    acknowledged = max(
        at for at, found in enumerate(line.received) if isinstance(found.message, Acknowledgement)
    )

    def hello() -> int | None:
        return next(
            (
                at
                for at, found in enumerate(line.received)
                if at > acknowledged
                and isinstance(found.message, Hello)
                and found.message.boot_id != before.boot_id
            ),
            None,
        )

    line.read(RESET_S, lambda: hello() is not None)
    at = hello()
    if at is None:
        raise BackendError(f"{line.port}: no hello within {RESET_S:g} s of the reset")
    numbered = (found for found in line.received[acknowledged + 1 : at] if found.sequence == 0)
    first: TimedMessage = next(numbered, line.received[at])
    return b"".join(data for _, data in line.log).rindex(link.encode(first.message, first.sequence))


def _since(log: Sequence[tuple[int, bytes]], start: int) -> tuple[int, list[tuple[int, bytes]]]:
    """When byte `start` of the log came, and the log from there on, with times that count from it."""
    entries = []
    for at, data in log:
        rest = data[start:]
        start = max(0, start - len(data))
        if rest:
            entries.append((at, rest))
    return entries[0][0], [(at - entries[0][0], data) for at, data in entries]


def _simulated(gps: Gps) -> bool:
    """Whether a sky differs from what an antenna outside sees at any time."""
    return replace(gps, form="", seed=1, utc_start_ns=0) != Gps(form="", seed=1, utc_start_ns=0)
