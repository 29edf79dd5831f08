"""`opq-tools reanalyse`: analyses stored events again, shows the changes and carries them out.

It works on the store, whether a cloud runs or not.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from opq_cloud.core.original.original_settings import read_config
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.mauka.reanalysis.reanalysis_run import AnalysisChoiceError, ReanalysisOrder, run_reanalysis
from opq_cloud.mauka.reanalysis.report_json import report_json, report_lines
from opq_proto.kit.shared_options import configs_option, data_dir_option, json_option, mongo_option
from opq_proto.kit.system_place import find_system
from opq_tools.shared.moment import from_option, to_option
from opq_tools.shared.opened_store import opened_store
from opq_tools.shared.progress import shown_progress

LINES_SHOWN = 200
"""Most changes shown as text; JSON has them all."""
Settings = dict[str, dict[str, object]]


@click.command("reanalyse")
@from_option("Only events from this time on (UTC), e.g. 2026-11-20.")
@to_option("Only events before this time (UTC).")
@click.option("--dry-run", is_flag=True, help="Only show the changes; the store stays as it is.")
@click.option(
    "--analysis", "names", multiple=True, metavar="NAME", help="Run only this analysis; repeatable."
)
@click.option(
    "--set",
    "changed",
    multiple=True,
    metavar="NAME.FIELD=VALUE",
    help="Setting of an analysis, e.g. rms_voltage.sag_percent=85; repeatable.",
)
@configs_option
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Analyse on a Dask scheduler's workers: tcp://HOST:PORT, or local[:N] for N processes here.",
)
@click.option(
    "--present-nominal",
    is_flag=True,
    help="Judge by the nominal values that each Box has now: a correction that counts for the past, too. "
    "Without it, those that the start of the samples stated.",
)
@json_option
@data_dir_option
@mongo_option
def command(
    start_ns: int | None,
    end_ns: int | None,
    dry_run: bool,
    names: tuple[str, ...],
    changed: tuple[str, ...],
    paths: tuple[Path, ...],
    scheduler: str | None,
    present_nominal: bool,
    as_json: bool,
    data_dir: Path | None,
    mongo_uri: str | None,
) -> None:
    """Analyse stored events again, and replace the earlier findings.

    Built-in analyses run, and those that are installed in the cloud with this data folder. Findings and
    incidents keep their numbers where they are still the same. Labels, splits and merges by people stay, and
    so do findings of analyses that are not run here. A second run changes nothing. A run that was ended
    (Ctrl-C), also a dry one, continues where it stopped when the same command is started again.

    \b
    Examples: opq-tools reanalyse --from 2026-11-20 --dry-run
              opq-tools reanalyse --from 2026-11-20 --set rms_voltage.sag_percent=85 --dry-run --json
    """
    if start_ns is None:
        raise click.UsageError("want a start, e.g. --from 2026-11-20")
    config = read_config(paths, {}, None, []) if paths else CloudConfig()
    folder, _ = find_system(data_dir, None)
    store_of = replace(config.store, mongo_uri=mongo_uri, data_dir=folder)
    config = replace(config, store=store_of, data_dir=config.data_dir or folder)
    order = ReanalysisOrder(start_ns, end_ns, dry_run, names, settings_of(changed), present_nominal)
    with opened_store(mongo_uri, data_dir) as store:
        try:
            report = run_reanalysis(
                config,
                store,
                order,
                scheduler,
                lambda total: shown_progress("analysing events again", total, lines=True),
            )
        except AnalysisChoiceError as error:
            raise click.UsageError(str(error)) from error
        except KeyboardInterrupt:
            raise click.ClickException("ended; the same command goes on from here") from None
    if as_json:
        click.echo(json.dumps(report_json(report, dry_run), indent=1))
        return
    for line in report_lines(report, dry_run, LINES_SHOWN):
        click.echo(line)


def settings_of(changed: Sequence[str]) -> Settings:
    """Parses settings NAME.FIELD=VALUE; a value is a number, true, false or text.

    Raises:
        click.UsageError: a setting has another form.
    """
    found: Settings = {}
    for text in changed:
        path, equals, value = text.partition("=")
        name, dot, field = path.partition(".")
        if not (name and dot and field and equals):
            raise click.UsageError(f"{text!r} is not a setting; want e.g. rms_voltage.sag_percent=85")
        try:
            found.setdefault(name, {})[field] = json.loads(value)
        except ValueError:
            found.setdefault(name, {})[field] = value
    return found
