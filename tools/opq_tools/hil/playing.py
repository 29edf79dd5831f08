"""What the commands that play the firmware share: options, backend, firmware and the lines shown."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from opq_hil.backends.backend import BACKENDS, WARNINGS, Backend, BackendError, backend, dated_folder
from opq_hil.backends.firmware import BOARDS, OURS, Firmware, board_firmware
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


def backend_option(names: Sequence[str]) -> Callable[[Any], Any]:
    """Returns `--backend`, with the names that a command can use."""
    return click.option(
        "--backend",
        "backend_name",
        type=click.Choice(sorted(names)),
        default="qemu",
        show_default=True,
        help="Backend that runs the firmware.",
    )


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

    def report(self, verdicts: Sequence[ScenarioVerdict], at_least: int, as_json: bool) -> None:
        """Prints the sum; ends with exit code 1 if one failed or fewer than `at_least` passed."""
        counts = dict.fromkeys(("passed", "failed", "skipped"), 0)
        counts |= Counter(verdict.outcome for verdict in verdicts)
        if as_json:
            document = {
                "backend": self.backend.version,
                **counts,
                "verdicts": [verdict.document() for verdict in verdicts],
            }
            click.echo(json.dumps(document, indent=2))
        words = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        if boards := sum(int(verdict.figures.get(BOARDS_SKIPPED, 0)) for verdict in verdicts):
            words += f" (and {boards} boards)"
        click.echo(f"{words}; all of it is in {self.folder}", err=True)
        for verdict in verdicts:
            if verdict.outcome == "skipped":
                click.echo(f"not played: {verdict.scenario.name}: {verdict.reason}", err=True)
        passed, failed = counts["passed"], counts["failed"]
        if passed < at_least:
            click.echo(f"--at-least {at_least}: {passed} passed", err=True)
        if failed or passed < at_least:
            sys.exit(1)


def bench(
    backend_name: str, firmware_dir: Path | None, out: Path | None, port: str = "", board: str = ""
) -> Bench:
    """Returns a bench; what is wrong is reported before minutes of work."""
    if backend_name == "board" and not port:
        raise click.UsageError("--backend board needs --port, the serial port of the board")
    found = backend(backend_name, port, board or next(iter(BOARDS)))
    folder = made_folder(out)
    head = [f"backend: {found.version}", *filter(None, [WARNINGS.get(backend_name)])]
    click.echo("; ".join(head), err=True)
    if backend_name == "board":  # its firmware was flashed before
        return Bench(found, {board: board_firmware(Path(), board)}, folder)
    firmware = chosen_firmware(firmware_dir, tuple(OURS), lambda text: click.echo(text, err=True))
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
