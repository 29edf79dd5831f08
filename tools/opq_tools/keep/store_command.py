"""`opq-tools store`: checks a store, saves what can be read of a damaged one, copies one into another."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import click

from opq_cloud.store import FILE_NAME, CloudStore, open_store
from opq_cloud.store.passed_over import without_password
from opq_cloud.store.upkeep.checking import CheckReport, check_store, file_problems
from opq_cloud.store.upkeep.copying import CopyReport, Shown, copy_store, read_store
from opq_cloud.store.upkeep.repair import repair_store
from opq_proto.errors import OpqError, OtherFormError, problem_count
from opq_proto.kit.command_line import CommandGroup
from opq_proto.kit.shared_options import data_dir_option, json_option, mongo_option
from opq_proto.kit.system_place import find_system
from opq_proto.kit.system_record import refuse_unfinished
from opq_tools.keep.archive import STORE_FILES
from opq_tools.shared.opened_store import store_place
from opq_tools.shared.progress import shown_progress

SCHEMES = ("mongodb://", "mongodb+srv://")
NOUNS = {
    "measurements": "Measurements",
    "trends": "trends",
    "events": "events",
    "files": "waveforms and Urms(1/2)",
    "incidents": "findings",
    "opq_boxes": "Boxes",
    "opq_accounts": "accounts",
}
"""Table -> what it has, in a summary."""


RESTORE = "opq-tools restore puts a back-up in its place"


class StoreNotWellError(OpqError):
    """The store has problems, or there is none."""


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Check a store, save what can be read of a damaged one, copy one into another.

    \b
    Examples: opq-tools store check
              opq-tools store repair --into /var/lib/opq-new
              opq-tools store copy --from /var/lib/opq --to mongodb://127.0.0.1/opq
    """


@command.command("check", short_help="Read everything; compare sums and references.")
@data_dir_option
@mongo_option
@json_option
def check(data_dir: Path | None, mongo_uri: str | None, as_json: bool) -> None:
    """Read everything in a store and name what is damaged or missing; it may be in use.

    SQLite's own check of both files, the checksum of each block of Measurements and of each waveform, every
    document, and what documents say of each other. Ends with 1 if something is wrong.

    Example: opq-tools store check --json
    """
    mongo_uri, place = store_place(mongo_uri, data_dir)
    folder = "" if mongo_uri else str(_existing(place))
    problems, report = [], CheckReport()
    if folder:
        for name in STORE_FILES:
            path = Path(folder) / name
            problems += file_problems(path) if path.exists() else []
    try:
        opened = open_store(mongo_uri, Path(folder))
    except OpqError as error:
        if mongo_uri or isinstance(error, OtherFormError):  # nothing was read, so nothing is known of it
            unread = shown_place(mongo_uri or folder)
            raise StoreNotWellError(f"{unread} was not checked: {error}") from error
        problems.append(str(error))
    else:
        with closing(opened) as store, shown_counts(store) as shown:
            report = check_store(store, shown)
    problems += report.problems
    if as_json:
        click.echo(
            json.dumps({"ok": not problems, "checked": report.checked, "problems": problems}, indent=1)
        )
    else:
        for line in problems:
            click.echo(line)
        click.echo(_counted(report.checked) + ("" if problems else ": all is well"))
    if problems:
        saves = "copy leaves it out" if mongo_uri else "repair saves the rest"
        helps = f"opq-tools store {saves}, {RESTORE}"
        raise StoreNotWellError(f"{problem_count(problems)}; {helps}")


@command.command("repair", short_help="Save what can be read into a new store.")
@click.option(
    "--into", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the new store."
)
@data_dir_option
@json_option
def repair(into: Path, data_dir: Path | None, as_json: bool) -> None:
    """Save what can be read of a damaged opq.db and accounts.db into a new store, and name what cannot.

    End the cloud first. The old files are not changed. Where something is lost, it is named, and at a
    terminal you are asked whether to keep the rest. Then move the old files away, put the two new ones in
    their place, and start the cloud. Ends with 1 if nothing of a kind could be saved. For a MongoDB there is
    `mongod --repair`, and `opq-tools store copy`.

    Example: opq-tools store repair --data-dir /var/lib/opq --into /var/lib/opq-new
    """
    folder = _existing(data_dir)
    refuse_unfinished(into)
    report = repair_store(folder, into, FILE_NAME)
    _print(report, f"{into / FILE_NAME}: saved", as_json)
    counts = {name: each.count for name, each in report.copied.items()}
    gone = [noun for name, noun in NOUNS.items() if name in report.lost and not counts.get(name)]
    is_empty = not any(counts.get(name) for name in NOUNS)
    asked = report.problems and not is_empty and not as_json and sys.stdin.isatty()
    if (gone and is_empty) or (asked and not click.confirm("What is named above is lost. Keep the rest?")):
        for name in STORE_FILES:
            (into / name).unlink(missing_ok=True)
        raise StoreNotWellError(f"nothing is kept in {into}; {folder} is as it was: {RESTORE}")
    if gone:
        raise StoreNotWellError(f"nothing was saved of the {', '.join(gone)}: {RESTORE}")


@command.command("copy", short_help="Copy a whole store into an empty one of either kind.")
@click.option("--from", "origin", required=True, metavar="PLACE", help="Data folder or mongodb:// address.")
@click.option("--to", "place", metavar="PLACE", help="Data folder or mongodb:// address of an empty store.")
@click.option("--dry-run", is_flag=True, help="Only read, and say what would be copied and what would not.")
@json_option
def copy(origin: str, place: str | None, dry_run: bool, as_json: bool) -> None:
    """Copy a whole store into an empty one: SQLite or MongoDB, an original's database too.

    It may be in use; what comes meanwhile may be missing in the copy. A copy that was ended goes on where it
    was if it is called again. At the end both are compared by number and sum. What cannot be read is left
    out and named; so is what only the original uses. The time to live of Measurements begins again.

    \b
    Examples: opq-tools store copy --from /var/lib/opq --to mongodb://127.0.0.1/opq
              opq-tools store copy --from mongodb://old/opq --dry-run
    """
    if not dry_run and place is None:
        raise click.UsageError("--to is missing; or give --dry-run")
    with ExitStack() as opened:
        source = opened.enter_context(closing(_open(origin, must_exist=True, untouched=dry_run)))
        shown = opened.enter_context(shown_counts(source))
        others = source.others()
        if dry_run or place is None:
            report = read_store(source, shown, samples=(place or "").startswith(SCHEMES))
        else:
            target = opened.enter_context(closing(_open(place)))
            report = copy_store(source, target, shown_place(origin), shown)
    report.problems += [f"{name}: {count} documents stay where they are" for name, count in others.items()]
    _print(report, "would be copied" if dry_run else f"{shown_place(place or '')}: copied", as_json)


def shown_place(place: str) -> str:
    """Returns a place without the passwords in it."""
    return without_password(place) if "://" in place else str(Path(place).resolve())


def _open(place: str, must_exist: bool = False, untouched: bool = False) -> CloudStore:
    if place.startswith(SCHEMES):
        return open_store(place, Path(), untouched=untouched)
    refuse_unfinished(Path(place))
    return open_store(None, _existing(Path(place)) if must_exist else Path(place))


def _existing(data_dir: Path | None) -> Path:
    folder, _ = find_system(data_dir, None)
    refuse_unfinished(folder)
    if not (folder / FILE_NAME).exists():
        raise StoreNotWellError(
            f"{folder}: has no {FILE_NAME}; name its folder, or put a back-up there with opq-tools restore"
        )
    return folder


@contextmanager
def shown_counts(store: CloudStore) -> Iterator[Shown]:
    """Shows how many of the store's documents were read."""
    counts: dict[str, int] = {}
    with shown_progress("documents", sum(store.counts().values())) as show:

        def shown(name: str, count: int) -> None:
            counts[name] = count
            show(sum(counts.values()))

        yield shown


def _print(report: CopyReport, done: str, as_json: bool) -> None:
    counts = {name: each.count for name, each in report.copied.items()}
    left = {name: each.left for name, each in report.copied.items() if each.left}
    if as_json:
        click.echo(json.dumps({"copied": counts, "left_out": left, "problems": report.problems}, indent=1))
        return
    for line in report.problems:
        click.echo(line)
    click.echo(f"{done} {_counted(counts)}")


def _counted(counts: dict[str, int]) -> str:
    named = [f"{counts.get(name, 0):,} {noun}" for name, noun in NOUNS.items()]
    rest = sum(count for name, count in counts.items() if name not in NOUNS)
    return f"{', '.join(named)} and {rest:,} other documents"
