"""`opq-tools hil`: runs HIL scenarios on an emulator or a board, outside of pytest."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import click

from opq_hil.backends.backend import BACKENDS, WARNINGS, BackendError, backend, dated_folder
from opq_hil.backends.firmware import BOARDS, board_firmware
from opq_hil.suites.catalogue import SCENARIOS, chosen, play_all
from opq_hil.suites.comparison import compare, read_saved_run
from opq_hil.suites.digests import digest_document, digest_text, firmware_identity, read_digests
from opq_hil.suites.digests import scenarios as digest_scenarios
from opq_hil.suites.run_digest import Digest
from opq_hil.suites.scenario import ScenarioVerdict
from opq_hil.suites.updates import BOARD
from opq_proto.kit.command_line import json_option, text_table
from opq_sim.faults import runner
from opq_sim.faults.runner import Document, SeedLog
from opq_sim.faults.suites import SUITES
from opq_tools.firmware.source_options import micropython_option, qemu_source_option
from opq_tools.hil.built_firmware import firmware_for
from opq_tools.hil.renode import show_renode
from opq_tools.lazy_group import LazyGroup


@click.group(
    "hil",
    cls=LazyGroup,
    places={
        "debug": ("hil.debug", "Run GDB at the firmware in QEMU, in Renode or at a probe."),
    },
    removed={
        "list": "give opq-tools hil run --list",
        "compare": "give opq-tools hil run --compare RUN_A RUN_B",
    },
    aliases={"renode": "run --renode"},
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Hardware in the loop: test the real firmware on an emulator or a board.

    Example: opq-tools hil run boots cold_start
    """


@command.command("run")
@click.option(
    "--backend",
    "backend_name",
    type=click.Choice(sorted(BACKENDS)),
    default="qemu",
    show_default=True,
    help="Backend that runs the firmware.",
)
@click.option("--port", default="", metavar="PORT", help="Serial port of the board (--backend board).")
@click.option(
    "--board", type=click.Choice(list(BOARDS)), default="opqbox", show_default=True, help="Kind of the board."
)
@click.option(
    "--suite",
    type=click.Choice(["A", "B"]),
    help="Play all scenarios of one suite: A in virtual time, B live.",
)
@click.option("--list", "only_list", is_flag=True, help="List every scenario and what it shows; play none.")
@click.option(
    "--compare",
    "runs",
    nargs=2,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="RUN_A RUN_B",
    help="Show how two kept runs of one world differ; play none. Exit code 1 if they do.",
)
@click.option("--renode", is_flag=True, help="Show which Renode hil/renode.lock names; play none.")
@click.option("--fetch", is_flag=True, help="With --renode: download and unpack it; print its folder.")
@click.option(
    "--lock",
    "lock_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --renode: another file with version, url and sha256.",
)
@click.option("--soak", is_flag=True, help="Also play the long scenarios.")
@click.option(
    "--firmware",
    "firmware_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with built boards; without it they are built. [$OPQ_FIRMWARE_DIR]",
)
@micropython_option
@qemu_source_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for worlds, logs and reports. [./hil-DATE]",
)
@click.option(
    "--keep-digests",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Play the eight short worlds and write the digests of their runs into this file.",
)
@click.option(
    "--digests",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Play them and compare the digests with this file, e.g. hil/digests/qemu.json.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    help="For the schedules of faults by seed: number of seeds.  [default: 12]",
)
@click.option("--first", type=click.IntRange(0), help="For these: the first seed.  [default: 1]")
@click.option(
    "--side-by-side",
    type=click.IntRange(1, 64),
    help="For these: seeds at once.  [default: cloud-faults 4, gateway-faults 2, else 1]",
)
@click.option(
    "--log",
    "seed_log",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="For these: file for a JSON line per finished seed; seeds in it are not played again.",
)
@click.option(
    "--at-least",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Exit code 1 if fewer scenarios passed.",
)
@json_option
@click.argument("names", metavar="[SCENARIO]...", nargs=-1)
def run(
    backend_name: str,
    port: str,
    board: str,
    suite: str | None,
    only_list: bool,
    runs: tuple[Path, Path] | None,
    renode: bool,
    fetch: bool,
    lock_file: Path | None,
    soak: bool,
    firmware_dir: Path | None,
    out: Path | None,
    keep_digests: Path | None,
    digests: Path | None,
    seeds: int | None,
    first: int | None,
    side_by_side: int | None,
    seed_log: Path | None,
    at_least: int,
    as_json: bool,
    names: tuple[str, ...],
) -> None:
    """Play scenarios; without names, all except soaks. Exit code 1 if one failed.

    With --digests or --keep-digests the names are those of the short worlds (hil/README.md).
    `gateway-faults`, `cloud-faults`, `silence-faults`, `clock-faults` and `restart-faults`, each alone, play
    schedules of faults by seed at a real gateway or cloud, without firmware.

    While hil/renode.lock has no checksum, --renode --fetch shows that of what came and asks whether to write
    it there.

    \b
    Examples: opq-tools hil run --backend board --port /dev/ttyUSB0 live_commands
              opq-tools hil run --renode --fetch
    """
    if (fetch or lock_file) and not renode:
        raise click.UsageError("--fetch and --lock belong to --renode")
    if renode:
        show_renode(lock_file, fetch, as_json)
        return
    if only_list:
        _list_scenarios(as_json)
        return
    if runs:
        _compare(*runs, as_json)
        return
    if seeded := [name for name in names if name in SUITES]:
        if len(names) > 1:
            raise click.UsageError(f"{seeded[0]} cannot be combined with scenarios")
        log = None if seed_log is None else SeedLog(seed_log, seeded[0])
        wanted = range(1 if first is None else first, (1 if first is None else first) + (seeds or 12))
        all_well = _play_faults(seeded[0], wanted, side_by_side, log, _made(out or dated_folder()), as_json)
        sys.exit(0 if all_well else 1)
    if any(each is not None for each in (seeds, first, side_by_side, seed_log)):
        raise click.UsageError(f"--seeds, --first, --side-by-side and --log belong to {' and '.join(SUITES)}")
    by_digest = keep_digests is not None or digests is not None
    if by_digest and (backend_name == "board" or suite or soak):
        raise click.UsageError(
            "digests are made by runs in an emulator; leave out --backend board, --suite and --soak"
        )
    stored = read_digests(digests) if digests else None
    found_digests: dict[str, Digest] = {}
    scenarios = (
        digest_scenarios(names, stored["worlds"] if stored else None, found_digests)
        if by_digest
        else chosen(names, suite, soak)
    )
    if backend_name == "board" and not port:
        raise click.UsageError("--backend board needs --port, the serial port of the board")
    found = backend(backend_name, port, board)
    folder = _made(out or dated_folder())  # checked before minutes of work
    head = [f"backend: {found.version}", *filter(None, [WARNINGS.get(backend_name)])]
    click.echo("; ".join(head), err=True)
    if backend_name == "board":  # its firmware was flashed before
        firmware = {board: board_firmware(Path(), board)}
    else:
        firmware = dict(firmware_for(firmware_dir, report=lambda text: click.echo(text, err=True)))
    if by_digest and BOARD not in firmware:
        raise click.UsageError(
            f"digests are made for {BOARD}; build it: opq-tools firmware build --board {BOARD}"
        )
    if stored and stored["firmware"] != firmware_identity(firmware[BOARD]):
        click.echo(
            f"{digests}: made with another firmware ({stored['firmware']['image_sha256'][:12]}; this is "
            f"{firmware_identity(firmware[BOARD])['image_sha256'][:12]}): a difference may be the firmware's",
            err=True,
        )
    verdicts = play_all(scenarios, found, firmware, folder, _show_verdict)
    if as_json:
        document = {"backend": found.version, "verdicts": [verdict.document() for verdict in verdicts]}
        click.echo(json.dumps(document, indent=2))
    failed = sum(verdict.outcome == "failed" for verdict in verdicts)
    if keep_digests and not failed:
        content = digest_document(found_digests, found.version, firmware[BOARD])
        _write(keep_digests, digest_text(content))
    skipped = sum(verdict.outcome == "skipped" for verdict in verdicts)
    passed = len(verdicts) - failed - skipped
    click.echo(f"{passed} passed, {failed} failed, {skipped} skipped; all of it is in {folder}", err=True)
    if passed < at_least:
        click.echo(f"--at-least {at_least}: only {passed} passed", err=True)
    if failed or passed < at_least:
        sys.exit(1)


def _list_scenarios(as_json: bool) -> None:
    if as_json:
        rows = [
            {"name": name, "suite": scenario.suite, "soak": scenario.soak, "shows": scenario.line}
            for name, scenario in SCENARIOS.items()
        ]
        rows += [
            {"name": name, "suite": "", "soak": True, "shows": faults.shows}
            for name, faults in SUITES.items()
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    cells = [
        (name, f"{scenario.suite}{' soak' if scenario.soak else ''}", scenario.line)
        for name, scenario in SCENARIOS.items()
    ]
    cells += [(name, "faults", faults.shows) for name, faults in SUITES.items()]
    click.echo(text_table(("name", "suite", "what it shows"), cells))


def _compare(run_a: Path, run_b: Path, as_json: bool) -> None:
    """Shows how two kept runs of one world differ; exit code 1 if they do."""
    rows = compare(read_saved_run(run_a), read_saved_run(run_b))
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        cells = ((row.what, "equal" if row.equal else "DIFFERS", row.text) for row in rows)
        click.echo(text_table(("what", "result", "how"), cells))
    if not all(row.equal for row in rows):
        sys.exit(1)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BackendError(f"--keep-digests {path}: {error.strerror}") from None


def _made(folder: Path) -> Path:
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


def _play_faults(
    name: str, seeds: range, side_by_side: int | None, log: SeedLog | None, folder: Path, as_json: bool
) -> bool:
    """Runs the schedules of `seeds` that are not in the log; True if every one, old or new, passed."""
    begin_s = time.monotonic()
    before = [] if log is None else [log.played[seed] for seed in seeds if seed in log.played]
    if before:
        click.echo(f"{len(before)} of {len(seeds)} seeds are in the log already", err=True)

    def ended(document: Document) -> None:
        click.echo(runner.line(name, document), err=True)
        if log is not None:
            log.add(document)

    left = [seed for seed in seeds if log is None or seed not in log.played]
    played = runner.play(name, left, folder, ended, side_by_side)
    documents = sorted([*before, *played], key=lambda document: int(document["seed"]))
    all_of_it = {**runner.summarise(name, documents), "elapsed_s": round(time.monotonic() - begin_s, 1)}
    if as_json:
        click.echo(json.dumps({"tally": all_of_it, "schedules": documents}, indent=1))
    for key, value in all_of_it.items():
        click.echo(f"{key:<16} {value}", err=True)
    failed = all_of_it["failed_seeds"]
    if failed:
        again = f"opq-tools hil run {name} --seeds 1 --first {failed[0]}"
        click.echo(
            f"{len(failed)} of {len(seeds)} failed; what they left is in {folder}. Again: {again}", err=True
        )
    return not failed
