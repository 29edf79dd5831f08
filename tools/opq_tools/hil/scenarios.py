"""`opq-tools hil run` and `list`: the scenarios that the firmware has to pass."""

import json
from pathlib import Path

import click

from opq_hil.backends.backend import BACKENDS
from opq_hil.backends.firmware import BOARDS
from opq_hil.suites.catalogue import SCENARIOS, chosen
from opq_proto.kit.command_line import text_table
from opq_proto.kit.shared_options import json_option
from opq_tools.hil.faults import FAULT_SUITES, shown_suites
from opq_tools.hil.playing import backend_option, bench, built_options, out_option


@click.command("run")
@click.argument("names", metavar="[SCENARIO]...", nargs=-1)
@backend_option(list(BACKENDS))
@click.option("--port", default="", metavar="PORT", help="Serial port of the board (--backend board).")
@click.option(
    "--board", type=click.Choice(list(BOARDS)), default="opqbox", show_default=True, help="Kind of the board."
)
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
    backend_name: str,
    port: str,
    board: str,
    suite: str | None,
    soak: bool,
    firmware_dir: Path | None,
    out: Path | None,
    at_least: int,
    as_json: bool,
) -> None:
    """Play scenarios; without names, all except soaks. Exit code 1 if one failed.

    \b
    Examples: opq-tools hil run cold_start
              opq-tools hil run --backend board --port /dev/ttyUSB0 live_commands
    """
    if seeded := [name for name in names if name in FAULT_SUITES]:
        raise click.UsageError(
            f"{seeded[0]} is a suite of faults by seed; play it by opq-tools hil faults {seeded[0]}"
        )
    scenarios = chosen(names, suite, soak)
    there = bench(backend_name, firmware_dir, out, port, board)
    there.report(there.play(scenarios), at_least, as_json)


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
