"""The interface between a HIL scenario and whatever runs the firmware, and the backends by name.

There are two kinds of runs. `run` plays a whole world and returns the Box's output (suite A: on an emulator,
the same world gives the same bytes). `live` is a Box on a serial port in real time (suite B, and real
boards), or
slower: code that waits for a Box waits in its time (`LiveBox.now_s`). A new backend is a module with a class
like `Backend`, and a line in BACKENDS.
"""

import importlib
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from opq_hil.backends.boards import Board
from opq_hil.world.capture import Capture
from opq_hil.world.world import EXTERNAL, INTERNAL, NS_PER_S, Sine, World
from opq_proto.errors import OpqError


class BackendError(OpqError):
    """A backend cannot do what was requested, or the emulator failed by itself (not the firmware)."""


class WallLimitError(BackendError):
    """The emulator ran longer than its limit of real time; the text says how far it came."""

    def __init__(
        self, name: str, limit_s: float, reached_ns: int, end_ns: int, wall_s: float, folder: Path
    ) -> None:
        reached_s = reached_ns / NS_PER_S
        super().__init__(
            f"{name} ran longer than {limit_s:g} s: {reached_s:.3f} of {end_ns / NS_PER_S:g} s virtual, "
            f"{reached_s / max(wall_s, 1e-9):.2f} x real time; see {folder}"
        )


class StandsStillError(BackendError):
    """Virtual time stops."""


READ_S = 0.25
"""Shortest time between two requests: an answer costs a QEMU 8 ms of a core that it needs for its pace (20
requests a second, on a busy machine).
"""
STILL_S = 30.0
"""Limit for a standstill. Renode's slowest: an erase of 128 kB takes it seconds, in steps of 1 ms of
virtual time.
"""


class EmulatorClock:
    """Seconds since power-on in an emulator, requested at most once per READ_S of the host's time."""

    def __init__(self, read_s: Callable[[], float], still_limit_s: float = STILL_S) -> None:
        self._read_s = read_s
        self._still_limit_s = still_limit_s
        self._now_s = -1.0
        self._polled_s = self._moved_s = float("-inf")

    def __call__(self) -> float:
        """The emulator's time now.

        Raises:
            StandsStillError: it was the same for `still_limit_s`.
            BackendError: the emulator does not answer.
        """
        host_s = time.monotonic()
        if host_s - self._polled_s < READ_S:
            return self._now_s
        found_s = self._read_s()
        self._polled_s = time.monotonic()
        if found_s != self._now_s:
            self._now_s, self._moved_s = found_s, self._polled_s
        elif self._polled_s - self._moved_s > self._still_limit_s:
            still_s = self._polled_s - self._moved_s
            raise StandsStillError(f"virtual time has stopped at {found_s:.3f} s, for {still_s:.0f} s now")
        return found_s


@dataclass(frozen=True, slots=True)
class LiveBox:
    """A Box that runs for the block of `live`."""

    port: str
    """The port that a gateway opens: a path or an address."""
    now_s: Callable[[], float] = time.monotonic
    """The Box's time: seconds since its own moment. May raise BackendError."""
    counters: Callable[[], Mapping[str, int]] = dict
    """Counters of the line between emulator and gateway, where the backend carries it."""


def mains_input(board: Board) -> str:
    """A world's name for the input of the mains: `world.EXTERNAL` or `world.INTERNAL`."""
    return EXTERNAL if board.converter == "external" else INTERNAL


@dataclass(frozen=True, slots=True)
class Image:
    """The content of the chip's flash, raw, from 0x08000000 on."""

    board: Board
    flash: Path

    @property
    def converter(self) -> str:
        """Input of the mains on this board."""
        return mains_input(self.board)

    def sine(self) -> Sine:
        """Plain mains at that input."""
        if self.converter == EXTERNAL:
            return Sine()
        return Sine(INTERNAL, amplitude_lsb=1500, offset_lsb=self.board.zero)


@dataclass(frozen=True, slots=True)
class FirmwareRun:
    """One whole run and everything that it left."""

    world: World
    folder: Path
    """Folder of world, log, report and flash."""
    capture: Capture
    report: Mapping[str, Any]
    """The emulator's own report: why it ended, counters of its models; empty on a board."""
    flash: Path | None
    """Content of the flash at the end; None where it cannot be read back."""
    wall_s: float
    command: tuple[str, ...] = field(default=())
    """The emulator's command line, to repeat the run by hand."""

    @property
    def ended(self) -> str:
        """Why it ended: "end", "cut", "hang"; "end" if the report does not say."""
        return str(self.report.get("end", "end"))


class Backend(Protocol):
    """Runs firmware. `deterministic`: the same world gives the same bytes."""

    @property
    def name(self) -> str: ...

    @property
    def deterministic(self) -> bool: ...

    @property
    def wall_factor(self) -> float:
        """Factor on limits of real time, which are written for QEMU."""
        ...

    @property
    def start_s(self) -> float:
        """Rough time from `live` to virtual 0."""
        ...

    @property
    def boards(self) -> tuple[str, ...]:
        """Boards that it can run: all on an emulator, one on a bench."""
        ...

    @property
    def version(self) -> str:
        """One line for the head of the run: which emulator, or which board."""
        ...

    def why_not(self, world: World | None) -> str | None:
        """The reason why this backend cannot play a world (with None: cannot run at all); None if it can."""
        ...

    def run(
        self, image: Image, world: World, folder: Path, *, flash: Path | None = None, wall_limit_s: float
    ) -> FirmwareRun:
        """Plays `world` to its end; `flash` continues an earlier run instead of starting from the image.

        Raises:
            BackendError: the emulator failed.
            WallLimitError: it took too long.
        """
        ...

    def live(
        self, image: Image, world: World, folder: Path, *, flash: Path | None = None
    ) -> AbstractContextManager[LiveBox]:
        """A Box in real time, or slower, for the block.

        Raises:
            BackendError: it did not start.
        """
        ...


@dataclass(frozen=True, slots=True)
class Fixtures:
    """What a bench can do to a board beside its serial line: commands of the user; empty: it cannot."""

    power_command: str = ""
    """Switches the board's supply and battery. `on` or `off` takes the place of `{}`, or is the last word."""
    program_command: str = ""
    """Writes an Intel HEX file into the chip. Its path takes the place of `{}`, or is the last word."""


NO_FIXTURES = Fixtures()
BACKENDS: Mapping[str, tuple[str, str]] = {
    "qemu": ("opq_hil.backends.qemu", "Qemu"),
    "renode": ("opq_hil.backends.renode", "Renode"),
    "board": ("opq_hil.backends.board", "BoardBackend"),
}
"""Name -> module and class. Imported on request, so that one backend does not need another's packages."""
WARNINGS: Mapping[str, str] = {
    "renode": "Renode's robot server listens on all addresses of this machine and does what anybody asks, "
    "files and Python included; hil/renode/README.md shows how to close it",
}
"""Name -> what a user has to know before it runs; the first line of a run has it."""


def dated_folder() -> Path:
    """Where runs leave their files when no folder is named: in the current folder, ignored by git."""
    return Path(f"hil-{datetime.now(UTC):%Y%m%dT%H%M%S}")


def backend(name: str, port: str = "", board: str = "", fixtures: Fixtures = NO_FIXTURES) -> Backend:
    """The backend of a name; `port`, `board` and `fixtures` describe the bench.

    `board` in an emulator: the only one that it runs; "" for all of ours.

    Raises:
        BackendError: no such backend, or it cannot run here; the text says why.
    """
    if name not in BACKENDS:
        raise BackendError(f"backend {name!r}: unknown; there are {', '.join(BACKENDS)}")
    module, kind = BACKENDS[name]
    make = getattr(importlib.import_module(module), kind)
    boards = {"boards": (board,)} if board else {}
    found: Backend = make(port=port, fixtures=fixtures, **boards) if name == "board" else make(**boards)
    why = found.why_not(None)
    if why:
        raise BackendError(f"backend {name} cannot run here: {why}")
    return found
