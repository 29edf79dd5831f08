"""What the commands that play the firmware share: options, backend, firmware and the lines shown."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from opq_hil.backends.backend import (
    BACKENDS,
    NO_FIXTURES,
    WARNINGS,
    Backend,
    BackendError,
    Fixtures,
    backend,
    dated_folder,
)
from opq_hil.backends.board import BoardBackend
from opq_hil.backends.boards import BOARDS, EMULATED, read_board
from opq_hil.backends.firmware import Firmware, flashed_firmware
from opq_hil.suites.catalogue import play_all
from opq_hil.suites.sampling import BOARDS_SKIPPED
from opq_hil.suites.scenario import FirmwareScenario, ScenarioVerdict
from opq_tools.firmware.source_options import micropython_option, qemu_source_option
from opq_tools.hil.built_firmware import chosen_firmware

EMULATORS = [name for name in BACKENDS if name != "board"]
out_option = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for worlds, logs and reports. [./hil-DATE]",
)
firmware_option = click.option(
    "--firmware",
    "firmware_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with built boards.  [default: $OPQ_FIRMWARE_DIR, build/firmware, else built]",
)


def backend_option(names: Sequence[str], default: str | None = "qemu") -> Callable[[Any], Any]:
    """Returns `--backend`, with the names that a command can use; None: each backend that is here."""
    return click.option(
        "--backend",
        "backend_name",
        type=click.Choice(sorted(names)),
        default=default,
        show_default=default or "each that is here",
        help="Backend that runs the firmware.",
    )


def backends_here(port: str, own_board: str = "") -> list[str]:
    """Names of the emulators that can run here, and of the board where a port is given.

    `own_board`: name of a board of the user's own, which not every emulator can run.
    """
    found = ["board"] if port else []
    for name in EMULATORS:
        try:
            backend(name, "", own_board)
        except BackendError as error:
            click.echo(f"{error}; {name} does not play", err=True)
        else:
            found.insert(len(found) - bool(port), name)
    if not found:
        raise BackendError(f"no backend can run here; there are {', '.join(BACKENDS)}")
    return found


def built_options(command: Any) -> Any:
    """Adds the options that say which firmware an emulator runs."""
    return firmware_option(micropython_option(qemu_source_option(command)))


@dataclass(frozen=True)
class Bench:
    """A backend, the firmware that it runs, and the folder that gets what it leaves."""

    backend: Backend
    firmware: Mapping[str, Firmware]
    folder: Path

    def play(self, scenarios: Sequence[FirmwareScenario]) -> list[ScenarioVerdict]:
        """Plays scenarios; a line on stderr as each ends."""
        return play_all(scenarios, self.backend, self.firmware, self.folder, _show_verdict)

    def document(self, verdicts: Sequence[ScenarioVerdict]) -> dict[str, Any]:
        """The sum for --json, and the verdicts."""
        named = [verdict.document() for verdict in verdicts]
        return {"backend": self.backend.version, **_counts(verdicts), "verdicts": named}

    def report(self, verdicts: Sequence[ScenarioVerdict], at_least: int) -> bool:
        """Prints the sum; returns whether none failed and at least `at_least` passed."""
        counts = _counts(verdicts)
        words = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        if boards := sum(int(verdict.figures.get(BOARDS_SKIPPED, 0)) for verdict in verdicts):
            words += f" (and {boards} boards)"
        click.echo(f"{self.backend.name}: {words}; all of it is in {self.folder}", err=True)
        for verdict in verdicts:
            if verdict.outcome == "skipped":
                click.echo(f"not played: {verdict.scenario.name}: {verdict.reason}", err=True)
        passed, failed = counts["passed"], counts["failed"]
        if passed < at_least:
            click.echo(f"--at-least {at_least}: {passed} passed on {self.backend.name}", err=True)
        return not failed and passed >= at_least


def _counts(verdicts: Sequence[ScenarioVerdict]) -> dict[str, int]:
    return dict.fromkeys(("passed", "failed", "skipped"), 0) | Counter(
        verdict.outcome for verdict in verdicts
    )


def bench(
    backend_name: str,
    firmware_dir: Path | None,
    out: Path | None,
    port: str = "",
    board: str = "",
    fixtures: Fixtures = NO_FIXTURES,
    board_dir: Path | None = None,
) -> Bench:
    """Returns a bench; what is wrong is reported before minutes of work."""
    if backend_name == "board" and not port:
        raise click.UsageError("--backend board needs --port, the serial port of the board")
    own = read_board(board_dir) if board_dir else None
    at_bench = own or BOARDS[board or "opqbox"]
    only = at_bench.name if own or backend_name == "board" else ""
    found = backend(backend_name, port, only, fixtures)
    folder = made_folder(out)
    head = [f"backend: {found.version}", *filter(None, [WARNINGS.get(backend_name)])]
    click.echo("; ".join(head), err=True)
    if isinstance(found, BoardBackend):
        flashed = flashed_firmware(firmware_dir, at_bench)
        if fixtures.program_command:
            found.program(flashed.flash_hex())
        return Bench(found, {at_bench.name: flashed}, folder)
    ours: Sequence[str] = () if own else EMULATED
    firmware = chosen_firmware(firmware_dir, ours, lambda text: click.echo(text, err=True), board_dir)
    return Bench(found, firmware, folder)


def made_folder(out: Path | None) -> Path:
    """Returns the folder of `--out`, which is made here."""
    folder = out or dated_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(f"--out {folder}: {error.strerror}") from None
    return folder.absolute()


def _show_verdict(verdict: ScenarioVerdict) -> None:
    """Prints one line when a scenario ends."""
    speed = f", {verdict.virtual_s / verdict.wall_s:.1f} x real time" if verdict.virtual_s else ""
    what = verdict.reason or ", ".join(f"{name} {_short(value)}" for name, value in verdict.figures.items())
    click.echo(
        f"{verdict.outcome:<8}{verdict.scenario.name:<20}{verdict.wall_s:6.1f} s{speed}: {what}", err=True
    )


def _short(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
