"""What a HIL scenario may ask of whatever runs the firmware, and the backends by name.

Two kinds of runs: `run` plays a whole world and gives what was heard (suite A: the same world gives the same
bytes on an emulator); `live` is a Box on a serial port in real time (suite B, and real boards). A new backend
is a module with a class like `Backend`, and a line in BACKENDS.
"""

import importlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from opq_hil.world.capture import Capture
from opq_hil.world.world import World
from opq_proto.errors import OpqError


class BackendError(OpqError):
    """A backend cannot do what was asked, or the emulator failed by itself (not the firmware)."""


class WallLimitError(BackendError):
    """The emulator ran longer than its limit of real time."""


@dataclass(frozen=True, slots=True)
class Image:
    """What is put onto the chip: raw contents of its flash from 0x08000000 on."""

    board: str
    """Folder name under device/port/boards: "opqbox", "pyboard_f405"."""
    flash: Path
    converter: str
    """Where mains comes in on this board: `world.INTERNAL` or `world.EXTERNAL`."""


@dataclass(frozen=True, slots=True)
class FirmwareRun:
    """One whole run and everything that it left."""

    world: World
    folder: Path
    """Holds world, log, report and flash."""
    capture: Capture
    report: Mapping[str, Any]
    """The emulator's own account: why it ended, counters of its models; empty on a board."""
    flash: Path | None
    """Contents of the flash at the end; None where it cannot be read back."""
    wall_s: float
    command: tuple[str, ...] = field(default=())
    """How the emulator was called, to do it again by hand."""

    @property
    def ended(self) -> str:
        """Why it ended: "end", "cut", "hang"; "end" where nobody says."""
        return str(self.report.get("end", "end"))


class Backend(Protocol):
    """Runs firmware. `deterministic`: the same world gives the same bytes."""

    @property
    def name(self) -> str: ...

    @property
    def deterministic(self) -> bool: ...

    @property
    def boards(self) -> tuple[str, ...]:
        """Which boards it can be: all on an emulator, one on a bench."""
        ...

    @property
    def version(self) -> str:
        """One line for the run's head: which emulator, or which board."""
        ...

    def why_not(self, world: World | None) -> str | None:
        """Why this backend cannot play a world, or (None) cannot run at all; None when it can."""
        ...

    def run(
        self, image: Image, world: World, folder: Path, *, flash: Path | None = None, wall_limit_s: float
    ) -> FirmwareRun:
        """Play `world` to its end; `flash` goes on from an earlier run instead of the image.

        Raises:
            BackendError: the emulator failed.
            WallLimitError: it took too long.
        """
        ...

    def live(
        self, image: Image, world: World, folder: Path, *, flash: Path | None = None
    ) -> AbstractContextManager[Path]:
        """A Box in real time for the block; the serial port that a gateway opens.

        Raises:
            BackendError: it did not start.
        """
        ...


BACKENDS: Mapping[str, tuple[str, str]] = {
    "qemu": ("opq_hil.backends.qemu", "Qemu"),
    "renode": ("opq_hil.backends.renode", "Renode"),
    "board": ("opq_hil.backends.board", "BoardBackend"),
}
"""Name -> module and class. Imported when asked for: what one needs, the others do not."""


def backend(name: str, port: str = "", board: str = "opqbox") -> Backend:
    """The backend of a name; `port` and `board` say where and what the board on the bench is.

    Raises:
        BackendError: no such backend, or it cannot run here; says why.
    """
    if name not in BACKENDS:
        raise BackendError(f"backend {name!r}: unknown; there are {', '.join(BACKENDS)}")
    module, kind = BACKENDS[name]
    make = getattr(importlib.import_module(module), kind)
    found: Backend = make(port, board) if name == "board" else make()
    why = found.why_not(None)
    if why:
        raise BackendError(f"backend {name} cannot run here: {why}")
    return found
