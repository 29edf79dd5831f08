"""A HIL scenario: a world to play, and the conditions that the Box must fulfil afterwards.

`play` gets a `Bench`, runs worlds on it and returns figures. A wrong figure raises `ScenarioFailedError`,
which names it. pytest and `opq-tools hil run` play the same scenarios.
"""

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from opq_hil.backends.backend import Backend, BackendError, FirmwareRun, Image, LiveBox
from opq_hil.backends.board import BoardBackend
from opq_hil.backends.boards import BOARDS
from opq_hil.backends.firmware import Firmware
from opq_hil.world.world import EXTERNAL, NS_PER_S, Sine, World
from opq_proto.errors import OpqError
from opq_proto.link.messages import Acknowledgement, Command, Operation, Status

Figures = Mapping[str, float | int | str]
PREPARE_S = 3
"""Seconds from power-on until the Box accepts commands."""
_preparing = threading.Lock()


class ScenarioFailedError(OpqError):
    """A Box did not fulfil a scenario's condition."""


class SkippedError(OpqError):
    """A scenario cannot be played on this backend; the text says why."""


def require(condition: bool, text: str) -> None:
    """Raises ScenarioFailedError unless the condition is true; `text` has the figures."""
    if not condition:
        raise ScenarioFailedError(text)


class Bench:
    """A place to play worlds: one backend, the firmware of the boards, a folder for the results.

    Attributes:
        box: the backend if it is a board, which keeps its flash from one world to the next.
        board: name of the board that plays what names none.
    """

    def __init__(
        self, backend: Backend, firmware: Mapping[str, Firmware], folder: Path, limit_s: float
    ) -> None:
        self.backend = backend
        self.folder = folder
        self.box = backend if isinstance(backend, BoardBackend) else None
        self.board = backend.boards[0]
        self.runs: list[FirmwareRun] = []
        self.virtual_ns = 0
        self._settings_before: Mapping[str, str] = {}
        self._firmware = firmware
        self._limit_s = limit_s
        self._lock = threading.Lock()

    def firmware(self, board: str = "") -> Firmware:
        """The firmware to flash on a board.

        Raises:
            SkippedError: it was not built, or another board is on the bench.
        """
        board = board or self.board
        if board not in self.backend.boards:
            raise SkippedError(f"needs {board}; the bench has {', '.join(self.backend.boards)}")
        if board not in self._firmware:
            of = "" if board in BOARDS else " --board-dir DIR"
            raise SkippedError(f"no firmware for {board}: opq-tools firmware build{of}")
        return self._firmware[board]

    def run(
        self,
        world: World,
        board: str = "",
        *,
        name: str = "run",
        flash: Path | None = None,
        settings: Mapping[str, str] | None = None,
        wall_limit_s: float | None = None,
    ) -> FirmwareRun:
        """Plays a world in its own folder, `<name>`, with a number if it already exists.

        `settings` are saved before it begins; `flash` continues an earlier run of an emulator.

        Raises:
            SkippedError: this backend cannot play it.
            BackendError: the emulator failed.
            ScenarioFailedError: the firmware hung, or a setting was refused.
        """
        image, world = self._playable(world, board)
        flash = self._set(world, board, flash, settings)
        limit_s = (wall_limit_s or self._limit_s) * self.backend.wall_factor
        run = self.backend.run(image, world, self._fresh(name), flash=flash, wall_limit_s=limit_s)
        with self._lock:
            self.runs.append(run)
            self.virtual_ns += world.end_ns
        require(run.ended != "hang", f"the processor hung; see {run.folder}")
        return run

    def delete_runs(self, *runs: FirmwareRun) -> None:
        """Deletes runs without a fault: out of hundreds, only the faulty ones are kept."""
        for run in runs:
            with self._lock:
                self.runs = [other for other in self.runs if other is not run]
            shutil.rmtree(run.folder, ignore_errors=True)

    def prepared(self, board: str = "", seconds: int = 0, **settings: str) -> Path:
        """A flash with saved settings, made by commands as a gateway sends them, once per folder and
        firmware.

        `seconds`: shortest length of its run, e.g. until its image is confirmed.

        Raises:
            ScenarioFailedError: the Box did not accept them.
            SkippedError: the firmware runs on a board, whose flash is not a file.
        """
        if self.box is not None:
            raise SkippedError("needs an emulator, whose flash is a file")
        board = board or self.board
        before = self.firmware(board).image.flash
        image = hashlib.sha256(before.read_bytes()).hexdigest()[:12]
        named = (f"{name}-{value}" for name, value in sorted(settings.items()))
        key = "_".join([board, image, f"{seconds}s", *named])
        path = self.folder.parent / "prepared" / f"{key}.bin"
        with _preparing:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self._saved(board, seconds, settings), path)
        return path

    def _saved(self, board: str, seconds: int, settings: Mapping[str, str]) -> Path:
        puts = tuple(
            (
                PREPARE_S * NS_PER_S + number * NS_PER_S // 5,
                Command(100 + number, Operation.PUT_SETTING, f"{key}={value}"),
            )
            for number, (key, value) in enumerate(sorted(settings.items()))
        )
        end_ns = max(seconds * NS_PER_S, PREPARE_S * NS_PER_S + len(puts) * NS_PER_S // 5 + NS_PER_S)
        run = self.run(World(end_ns, gps=None, messages=puts), board, name="prepare")
        done = {
            answer.command_id for answer in run.capture.of(Acknowledgement) if answer.status is Status.DONE
        }
        refused = [command.argument for _, command in puts if command.command_id not in done]
        require(not refused, f"settings were not taken: {', '.join(refused)}; see {run.folder}")
        if run.flash is None:
            raise SkippedError("settings are kept in a flash that this backend does not give back")
        return run.flash

    @contextmanager
    def live(
        self,
        world: World,
        board: str = "",
        *,
        flash: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Iterator[LiveBox]:
        """A Box in real time, or slower: its serial port and its current time."""
        if self.box is not None and (why := self.box.why_not_live(world)):
            raise SkippedError(why)
        image, world = self._playable(world, board)
        flash = self._set(world, board, flash, settings)
        with self.backend.live(image, world, self._fresh("live"), flash=flash) as box:
            yield box

    def put_back(self) -> None:
        """Gives a board the settings that it had before the first world.

        Raises:
            BackendError: it does not answer, or refuses one.
        """
        if self.box is not None and self._settings_before:
            self.box.put_settings(self._settings_before)

    def _playable(self, world: World, board: str) -> tuple[Image, World]:
        """The image, and the world with a plain sine at the board's own converter."""
        why = self.backend.why_not(world)
        if why:
            raise SkippedError(why)
        image = self.firmware(board).image
        if self.box is not None:
            return image, world
        there = image.board.analogue
        channels = {there.supply_channel, there.battery_channel, there.temperature_channel}
        if needed := {channel for channel, _, _ in world.power.adc} - channels:
            raise SkippedError(f"needs channel {min(needed)} of ADC1; {image.board.name} has others")
        if world.mains is None or world.mains.converter == image.converter:
            return image, world
        if world.mains != Sine():
            raise SkippedError(f"needs mains at {EXTERNAL}; {image.board.name} has them at {image.converter}")
        return image, replace(world, mains=image.sine())

    def _set(
        self, world: World, board: str, flash: Path | None, settings: Mapping[str, str] | None
    ) -> Path | None:
        """The flash that a run begins with; a board saves settings by command, and needs none."""
        if self.box is None:
            return self.prepared(board, 0, **settings) if settings else flash
        wanted = dict(settings or {})
        if world.gps is None:
            wanted["gps"] = "none"  # it has a receiver, which it does not read then
        before = self.box.put_settings(wanted)
        self._settings_before = self._settings_before or before
        return flash

    def _fresh(self, name: str) -> Path:
        with self._lock:
            number = 1
            path = self.folder / name
            while path.exists():
                number += 1
                path = self.folder / f"{name}_{number}"
            path.mkdir(parents=True)
        return path


@dataclass(frozen=True, slots=True)
class FirmwareScenario:
    """One property to show."""

    name: str
    line: str
    """One line for the list: what the scenario shows."""
    play: Callable[[Bench], Figures]
    suite: str = "A"
    """"A": played in virtual time, deterministic; "B": live, in real time."""
    soak: bool = False
    """Long: played only on request."""
    wall_limit_s: float = 900.0
    """For QEMU; other backends multiply it by their factor. It ends an emulator that hangs and does not judge
    speed, because on a busy machine a good run takes minutes.
    """
    virtual_s: int = 60
    """Rough total length in virtual seconds: the longest scenarios begin first."""


@dataclass(frozen=True, slots=True)
class ScenarioVerdict:
    """Outcome of a scenario: `passed`, `failed` or `skipped`, with figures or the reason."""

    scenario: FirmwareScenario
    outcome: str
    figures: Figures
    reason: str
    folder: Path
    wall_s: float
    virtual_s: float
    runs: tuple[FirmwareRun, ...] = field(default=(), repr=False)

    def document(self) -> dict[str, Any]:
        """The verdict for --json, and for `verdict.json` in the folder of the runs."""
        return {
            "scenario": self.scenario.name,
            "outcome": self.outcome,
            "figures": dict(self.figures),
            "reason": self.reason,
            "folder": str(self.folder),
            "wall_s": round(self.wall_s, 2),
            "virtual_s": round(self.virtual_s, 3),
        }


def play(
    scenario: FirmwareScenario,
    backend: Backend,
    firmware: Mapping[str, Firmware],
    folder: Path,
    now: Callable[[], float],
) -> ScenarioVerdict:
    """Plays one scenario; its runs and its verdict stay in `folder / name`, which is made first.

    Raises no OpqError, and no OSError of the scenario itself.
    """
    place = folder / scenario.name
    place.mkdir(parents=True, exist_ok=True)
    bench = Bench(backend, firmware, place, scenario.wall_limit_s)
    began = now()
    figures: Figures = {}
    outcome, reason = "passed", ""
    try:
        figures = scenario.play(bench)
    except SkippedError as error:
        outcome, reason = "skipped", str(error)
    except BackendError as error:
        outcome, reason = "failed", f"the backend failed: {error}"
    except (OpqError, OSError) as error:
        outcome, reason = "failed", str(error)
    try:
        bench.put_back()
    except (OpqError, OSError) as error:
        outcome, reason = "failed", f"{reason}; the board's settings were not put back: {error}".lstrip("; ")
    virtual_s = bench.virtual_ns / 1e9
    wall_s = now() - began
    verdict = ScenarioVerdict(scenario, outcome, figures, reason, place, wall_s, virtual_s, tuple(bench.runs))
    (place / "verdict.json").write_text(json.dumps(verdict.document(), indent=2) + "\n", encoding="utf-8")
    return verdict
