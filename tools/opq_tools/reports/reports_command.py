"""`opq-tools report`: what the supply was like in a week, by a standard."""

import sys
import time
from pathlib import Path

import click

from opq_cloud.export.exported_records import ExportError
from opq_cloud.reports.fleet_reading import read_fleet
from opq_cloud.reports.indices import fleet_indices
from opq_cloud.reports.limit_table import known_standards, limit_table
from opq_cloud.reports.missing_letters import missing_letters, missing_words
from opq_cloud.reports.place_reading import PlaceChoice
from opq_cloud.reports.report_page import report_html
from opq_cloud.reports.week import span_of, week_of
from opq_cloud.reports.written import FORMS, ReportForm, moment_of, written, written_indices
from opq_proto.kit.plain_text import composed
from opq_proto.kit.shared_options import data_dir_option, mongo_option
from opq_tools.exporting.exported_events import write_pieces
from opq_tools.shared import values
from opq_tools.shared.opened_store import opened_store, stated_nominal


def _composed(context: click.Context, parameter: click.Parameter, text: str) -> str:
    return composed(text.strip())


@click.command("report", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--box", "box_id", default="", shell_complete=values.boxes, help="Only this Box.")
@click.option("--site", default="", callback=_composed, help="Only this site: its phases side by side.")
@click.option(
    "--feeder", default="", callback=_composed, help="Every place of this feeder.  [default: every place]"
)
@click.option(
    "--week",
    default="last",
    show_default=True,
    help="Week of ISO 8601, such as 2026-W47, from Monday; or last.",
)
@click.option(
    "--indices",
    metavar="SPAN",
    help="Instead of verdicts: SARFI, interruptions, data and frequency over a year (2026), month or week.",
)
@click.option("--zone", default="UTC", show_default=True, help="Zone whose clock the week follows.")
@click.option(
    "--standard",
    default="en50160",
    show_default=True,
    help=f"Limits: {', '.join(known_standards())}, or a file of a country's own that ends in .toml.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    help="Format of the report; indices are json or csv.  [default: html, of indices json]",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, complete or not at all.  [default: stdout]",
)
@data_dir_option
@mongo_option
def command(
    box_id: str,
    site: str,
    feeder: str,
    week: str,
    indices: str | None,
    zone: str,
    standard: str,
    form: ReportForm | None,
    out: Path | None,
    data_dir: Path | None,
    mongo_uri: str | None,
) -> None:
    """Report a week of a Box, a site, a feeder or of all places by a standard.

    It says first what failed, where, by how much and since when; each figure has its clause, limit, coverage
    and share of flagged intervals.

    \b
    Examples: opq-tools report --site mill --week 2026-W47 --standard en50160 --format pdf --out mill.pdf
              opq-tools report --feeder f2 --zone Europe/Berlin --format json
              opq-tools report --indices 2026 --format csv
    """
    given = [(kind, name) for kind, name in (("box", box_id), ("site", site), ("feeder", feeder)) if name]
    if len(given) > 1:
        raise click.UsageError(
            "--box, --site and --feeder exclude each other; give one of them, or none for all"
        )
    form = form or ("json" if indices else "html")
    if indices and form not in ("json", "csv"):
        raise click.UsageError("indices are json or csv")
    if form == "pdf" and out is None:
        raise ExportError("PDF is a file, not text: name it with --out FILE")
    now_ns = time.time_ns()
    choice = PlaceChoice(*given[0]) if given else PlaceChoice()  # type: ignore[arg-type]
    nominal = stated_nominal(data_dir)
    with opened_store(mongo_uri, data_dir) as store:
        if indices:
            found = fleet_indices(store, span_of(indices, zone, now_ns), choice, nominal, now_ns)
            made = written_indices(found, form)
        else:
            chosen = limit_table(standard), week_of(week, zone, now_ns), choice
            fleet = read_fleet(store, *chosen, nominal, now_ns)
            made = written(fleet, form, now_ns)
            if form == "pdf":
                page = report_html(fleet, moment_of(now_ns), for_paper=True)
                if missing := missing_words(missing_letters(page)):
                    click.echo(f"{out}: {missing}", err=True)
    if out is not None:
        write_pieces([made], out)
        return
    sys.stdout.buffer.write(made)
