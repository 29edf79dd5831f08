"""`opq-tools hil digests` and `compare`: whether two emulators come to the same."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from opq_hil.backends.backend import BackendError
from opq_hil.backends.our_sources import our_source
from opq_hil.suites.comparison import compare, read_saved_run
from opq_hil.suites.digests import (
    BOARD,
    digest_document,
    digest_text,
    firmware_identity,
    read_digests,
    scenarios,
)
from opq_hil.suites.run_digest import Digest
from opq_proto.kit.command_line import text_table
from opq_proto.kit.shared_options import json_option
from opq_tools.hil.playing import EMULATORS, backend_option, bench, built_options, out_option


@click.command("digests", short_help="Play the short worlds; keep or compare the digests of their runs.")
@click.argument("names", metavar="[WORLD]...", nargs=-1)
@click.option(
    "--against",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Compare the digests with this file; hil/digests/qemu.json is there in every folder.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the digests into this file, if every world passed.",
)
@backend_option(EMULATORS)
@built_options
@out_option
@json_option
def command(
    names: tuple[str, ...],
    against: Path | None,
    keep: Path | None,
    backend_name: str,
    firmware_dir: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Play the short worlds of hil/README.md, all or some, and make a digest of each run.

    Exit code 1 if a digest differs from that of --against.

    Example: opq-tools hil digests --against hil/digests/qemu.json line_noise
    """
    if against is None and keep is None:
        raise click.UsageError("give --against FILE to compare the digests, or --keep FILE to store them")
    stored = read_digests(kept_digests(against)) if against else None
    found: dict[str, Digest] = {}
    worlds = scenarios(names, stored["worlds"] if stored else None, found)
    there = bench(backend_name, firmware_dir, out)
    if BOARD not in there.firmware:
        raise click.UsageError(
            f"digests are made for {BOARD}; build it: opq-tools firmware build --board {BOARD}"
        )
    identity = firmware_identity(there.firmware[BOARD])
    if stored and stored["firmware"] != identity:
        click.echo(
            f"{against}: made with another firmware ({stored['firmware']['image_sha256'][:12]}; this is "
            f"{identity['image_sha256'][:12]}): a difference may be the firmware's",
            err=True,
        )
    verdicts = there.play(worlds)
    if keep and all(verdict.outcome != "failed" for verdict in verdicts):
        content = digest_document(found, there.backend.version, there.firmware[BOARD])
        _write(keep, digest_text(content))
    if as_json:
        click.echo(json.dumps(there.document(verdicts), indent=2))
    if not there.report(verdicts, 1):
        sys.exit(1)


@click.command("compare")
@click.argument("run_a", type=click.Path(path_type=Path, file_okay=False))
@click.argument("run_b", type=click.Path(path_type=Path, file_okay=False))
@json_option
def compare_runs(run_a: Path, run_b: Path, as_json: bool) -> None:
    """Show how two kept runs of one world differ; exit code 1 if they do."""
    rows = compare(read_saved_run(run_a), read_saved_run(run_b))
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        cells = ((row.what, "equal" if row.equal else "DIFFERS", row.text) for row in rows)
        click.echo(text_table(("what", "result", "how"), cells))
    if not all(row.equal for row in rows):
        sys.exit(1)


def kept_digests(path: Path) -> Path:
    """The file as named, else the toolkit's own of that name."""
    ours = our_source(str(path))
    return ours if not path.exists() and ours.is_file() else path


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BackendError(f"--keep {path}: {error.strerror}") from None
