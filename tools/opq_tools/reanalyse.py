"""`opq-tools reanalyse`: stored events analysed again; what that changes is shown, and carried out.

It works at the store, so that a cloud may run meanwhile or not.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import click

from opq_cloud.config import CloudConfig
from opq_cloud.mauka.bulk import BulkWork
from opq_cloud.mauka.bulk_progress import BulkProgress
from opq_cloud.mauka.bulk_run import chosen_analysis
from opq_cloud.mauka.provenance import provenance_of
from opq_cloud.mauka.reanalysis import Reanalysis, ReanalysisReport, events_to_replace
from opq_cloud.mauka.reanalysis_json import report_json, report_lines
from opq_cloud.mauka.service import analysis_entries, built_in, load_analyses
from opq_cloud.original_config import read_config
from opq_proto.config import default_data_dir
from opq_tools.boxes.command import data_option, json_option, mongo_option, opened_store
from opq_tools.moment import moment
from opq_tools.progress import shown_progress

MOST_EVENTS = 100_000
LINES = 200
"""Changes shown as text; JSON has them all."""
Settings = dict[str, dict[str, object]]


@click.command("reanalyse")
@click.option(
    "--from", "start", callback=moment, metavar="TIME", required=True, help="Events from then on (UTC)."
)
@click.option("--to", "end", callback=moment, metavar="TIME", help="Events before this time (UTC).")
@click.option("--dry-run", is_flag=True, help="Show what it would change; the store stays as it is.")
@click.option("--analysis", "names", multiple=True, metavar="NAME", help="Only this one; repeatable.")
@click.option(
    "--set",
    "changed",
    multiple=True,
    metavar="NAME.FIELD=VALUE",
    help="A setting, e.g. rms_voltage.sag_percent=85; repeatable.",
)
@click.option(
    "--config",
    "paths",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="The cloud's, for its [[mauka.analyses]] and nominal values.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Analyse on a Dask scheduler's workers: tcp://HOST:PORT, or local[:N] for N processes here.",
)
@json_option
@data_option
@mongo_option
def command(
    start: datetime,
    end: datetime | None,
    dry_run: bool,
    names: tuple[str, ...],
    changed: tuple[str, ...],
    paths: tuple[Path, ...],
    scheduler: str | None,
    as_json: bool,
    data_dir: Path | None,
    mongo_uri: str | None,
) -> None:
    """Analyse stored events again, and replace what was found before.

    Findings and incidents keep their numbers where they are what they were. Labels, splits and merges by
    people stay. What an analysis that is not asked here has found stays too. Doing it twice changes nothing.
    A run that was ended goes on where it was when it is begun again.

    \b
    Examples: opq-tools reanalyse --from 2026-11-20 --dry-run
              opq-tools reanalyse --from 2026-11-20 --set rms_voltage.sag_percent=85 --dry-run --json
    """
    config = read_config(paths, {}, None, []) if paths else CloudConfig()
    entries = chosen(config, names, settings_of(changed))
    analyses = load_analyses(entries)
    report = ReanalysisReport()
    folder = data_dir or default_data_dir()
    work = BulkWork.of(mongo_uri, folder, entries, config.nominal)
    progress = None if dry_run else BulkProgress(folder, [provenance_of(one) for one in analyses])
    with opened_store(mongo_uri, data_dir) as store:
        groups = events_to_replace(store, _ns(start), _ns(end), MOST_EVENTS, report)
        if progress is not None:
            groups = [group for group in groups if not progress.is_done([each.event_id for each in group])]
        event_ids = [each.event_id for group in groups for each in group]
        ran = frozenset(one.name for one in analyses)
        replacing = Reanalysis(store, ran, ran == built_in(), report, dry_run)
        with (
            chosen_analysis(store, scheduler, work) as analyse,
            shown_progress("analysing again", len(event_ids)) as show,
        ):
            note_done = progress.note_done if progress is not None else lambda event_ids: None
            replacing.replace_groups(groups, analyse(event_ids), show, note_done)
    if progress is not None:
        progress.finish()
    if as_json:
        click.echo(json.dumps(report_json(report, dry_run), indent=1))
        return
    for line in report_lines(report, dry_run, LINES):
        click.echo(line)


def settings_of(changed: Sequence[str]) -> Settings:
    """NAME.FIELD=VALUE of each; a value is a number, true, false or text.

    Raises:
        click.UsageError: it is none of that form.
    """
    found: Settings = {}
    for text in changed:
        path, equals, value = text.partition("=")
        name, dot, field = path.partition(".")
        if not (name and dot and field and equals):
            raise click.UsageError(f"{text!r} is no setting; want e.g. rms_voltage.sag_percent=85")
        try:
            found.setdefault(name, {})[field] = json.loads(value)
        except ValueError:
            found.setdefault(name, {})[field] = value
    return found


def chosen(
    config: CloudConfig, names: Sequence[str], changed: Mapping[str, Mapping[str, object]]
) -> list[tuple[str, dict[str, object]]]:
    """(name, settings) of the built-in analyses that are to run.

    Raises:
        click.UsageError: a name is none of them.
    """
    known = built_in()
    entries = analysis_entries(config.mauka, known)
    configured = {name: dict(settings) for name, settings in entries if name in known}
    every = configured or {name: {} for name in sorted(known)}
    strange = sorted({*names, *changed} - known)
    if strange:
        raise click.UsageError(
            f"{strange[0]!r} is no analysis of this version; there are {', '.join(sorted(known))}"
        )
    wanted = [name for name in every if not names or name in names]
    return [(name, {**every[name], **changed.get(name, {})}) for name in wanted]


def _ns(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1000) * 1_000_000
