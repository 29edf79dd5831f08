"""`opq-tools hil run` and `list`: the scenarios that the firmware has to pass."""

import json
import sys
from pathlib import Path

import click

from opq_hil.backends.backend import BACKENDS, NO_FIXTURES, Fixtures
from opq_hil.backends.boards import BOARDS
from opq_hil.suites.catalogue import SCENARIOS, chosen
from opq_proto.kit.command_line import text_table
from opq_proto.kit.shared_options import json_option
from opq_tools.firmware.board_option import board_dir_option
from opq_tools.hil.faults import FAULT_SUITES, shown_suites
from opq_tools.hil.playing import backend_option, backends_here, bench, built_options, made_folder, out_option


@click.command("run")
@click.argument("names", metavar="[SCENARIO]...", nargs=-1)
@backend_option(list(BACKENDS), None)
@click.option("--port", default="", metavar="PORT", help="Serial port of the board (--backend board).")
@click.option(
    "--power-command",
    default="",
    metavar="CMD",
    help="Relay in the supply of the board; called with `on` or `off`.",
)
@click.option(
    "--program-command",
    default="",
    metavar="CMD",
    help="Programmer at the board; called with a .hex file, first with flash.hex of --firmware.",
)
@click.option(
    "--board", type=click.Choice(list(BOARDS)), default="opqbox", show_default=True, help="Kind of the board."
)
@board_dir_option
@click.option(
    "--suite",
    type=click.Choice(["A", "B"]),
    help="Play all scenarios of one suite: A in virtual time, B live.",
)
@click.option("--soak", is_flag=True, help="Also play the long scenarios.")
@built_options
@out_option
@click.option(
    "--at-least",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    metavar="N",
    help="Exit code 1 if fewer scenarios passed; a skipped one did not.",
)
@json_option
def run(
    names: tuple[str, ...],
    backend_name: str | None,
    port: str,
    power_command: str,
    program_command: str,
    board: str,
    board_dir: Path | None,
    suite: str | None,
    soak: bool,
    firmware_dir: Path | None,
    out: Path | None,
    at_least: int,
    as_json: bool,
) -> None:
    """Play scenarios; without names, all except soaks. Exit code 1 if one failed.

    Without --backend each scenario is played in every backend that is here: emulators, and a board at --port.
    --json is a list with an object for each backend.

    \b
    Examples: opq-tools hil run cold_start
              opq-tools hil run --backend board --port /dev/ttyUSB0 live_commands
    """
    if seeded := [name for name in names if name in FAULT_SUITES]:
        raise click.UsageError(
            f"{seeded[0]} is a suite of faults by seed; play it by opq-tools hil faults {seeded[0]}"
        )
    scenarios = chosen(names, suite, soak)
    fixtures = Fixtures(power_command, program_command)
    if fixtures != NO_FIXTURES and not port:
        raise click.UsageError("--power-command and --program-command are for a board: give its --port")
    if program_command and firmware_dir is None:
        raise click.UsageError("--program-command writes the flash.hex of a build: give its --firmware")
    own_board = board_dir.name if board_dir else ""
    chosen_names = [backend_name] if backend_name else backends_here(port, own_board)
    top = made_folder(out)
    benches = [  # all before the first plays: what is wrong with the last costs no verdicts
        bench(
            name, firmware_dir, top / name if len(chosen_names) > 1 else top, port, board, fixtures, board_dir
        )
        for name in chosen_names
    ]
    played = [(there, there.play(scenarios)) for there in benches]
    if as_json:
        click.echo(json.dumps([there.document(verdicts) for there, verdicts in played], indent=2))
    well = [there.report(verdicts, at_least) for there, verdicts in played]
    if not all(well):
        sys.exit(1)


@click.command("list", short_help="List every scenario and suite of faults, and what it shows.")
@json_option
def list_all(as_json: bool) -> None:
    """List every scenario of `hil run` and every suite of `hil faults`, and what it shows."""
    if as_json:
        rows = [
            {"name": name, "suite": scenario.suite, "soak": scenario.soak, "shows": scenario.line}
            for name, scenario in SCENARIOS.items()
        ]
        rows += [
            {"name": name, "suite": "", "soak": True, "shows": shows}
            for name, shows in shown_suites().items()
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    cells = [
        (name, f"{scenario.suite}{' soak' if scenario.soak else ''}", scenario.line)
        for name, scenario in SCENARIOS.items()
    ]
    cells += [(name, "faults", shows) for name, shows in shown_suites().items()]
    click.echo(text_table(("name", "suite", "what it shows"), cells))
