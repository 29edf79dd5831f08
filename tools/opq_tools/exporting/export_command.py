"""`opq-tools export`: writes stored data as files that other programs read."""

from collections.abc import Callable, Iterable
from pathlib import Path

import click

from opq_cloud.export.exported_records import ExportError
from opq_cloud.export.selection import (
    all_incidents,
    finding_table,
    incident_table,
    known_incident,
    measurement_table,
)
from opq_cloud.export.tables import ExportTable, TableForm, table_pieces
from opq_cloud.store.box_record import box_order
from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.store.store import CloudStore
from opq_cloud.view.web.words import CLASS_PHRASES
from opq_proto.kit.command_line import CommandGroup
from opq_proto.messages import Incident
from opq_tools.exporting.class_a import changes, disturbances, intervals, trends
from opq_tools.exporting.exported_events import (
    NUMBER,
    boxes_option,
    comments_option,
    events,
    licence_option,
    write_pieces,
)
from opq_tools.shared import values
from opq_tools.shared.moment import from_option, to_option
from opq_tools.shared.opened_store import check_known_boxes, store_command

LATEST_MS = 4 * 10**12
"""The year 2096."""
Decorated = Callable[..., None]


@click.group(
    "export",
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Export events, incidents, Measurements, trends and class A values from the store into files.

    \b
    Examples: opq-tools export events 17 --format comtrade --out event-17.zip
              opq-tools export measurements --box 1 --format csv
    """


command.add_command(events)
command.add_command(intervals)
command.add_command(disturbances)
command.add_command(changes)
command.add_command(trends)


def table_options(decorated: Decorated) -> Decorated:
    """Adds the options of commands that write a table of a span of time, and the store."""
    for option in (
        store_command,
        licence_option,
        click.option(
            "--out",
            type=click.Path(dir_okay=False, path_type=Path),
            help="File to write, complete or not at all.  [default: stdout]",
        ),
        click.option(
            "--format",
            "form",
            type=click.Choice(["csv", "json", "parquet"]),
            default="json",
            show_default=True,
            help="Format of the file.",
        ),
        comments_option,
        to_option("Only data before this time (UTC)."),
        from_option("Only data from this time on (UTC), e.g. 2026-11-20T10:00:00 or now-2h."),
    ):
        decorated = option(decorated)
    return decorated


def chosen_incidents(decorated: Decorated) -> Decorated:
    """Adds the options that choose incidents, beside a span of time."""
    for option in (
        click.option(
            "--box", "box_id", default="", shell_complete=values.boxes, help="Only what this Box saw."
        ),
        click.option(
            "--class",
            "kind",
            type=click.Choice(tuple(CLASS_PHRASES)),
            help="Only this class; each part of a combination counts.",
        ),
    ):
        decorated = option(decorated)
    return decorated


@command.command("incidents", short_help="Export every incident, or finding, of a span of time.")
@click.option(
    "--findings", is_flag=True, help="A row for each finding, also those of other Boxes and classes."
)
@click.option("--incident", "incident_id", type=NUMBER, metavar="ID", help="Only this incident.")
@chosen_incidents
@table_options
def incidents(
    store: CloudStore,
    start_ns: int | None,
    end_ns: int | None,
    form: TableForm,
    out: Path | None,
    comments: bool,
    licence: str,
    kind: str | None,
    box_id: str,
    findings: bool,
    incident_id: int | None,
) -> None:
    """Export every incident of a span of time, by rising start; with --findings, every finding of them.

    \b
    Examples: opq-tools export incidents --from 2026-11-20 --class sag --format csv --out sags.csv
              opq-tools export incidents --findings --box 1 --format parquet --out findings.parquet
    """
    check_known_boxes(store, [box_id])
    wanted = IncidentFilter(kind or "", box_id, start_ns=start_ns, end_ns=end_ns)
    if incident_id is None:
        chosen: Iterable[Incident] = all_incidents(store, wanted)
    elif wanted != IncidentFilter():
        raise click.UsageError("--incident is one incident: leave --from, --to, --box and --class out")
    else:
        chosen = [known_incident(store, incident_id)]
    progress = store.index_progress() if incident_id is None else None  # first: it may end meanwhile
    if progress is not None:
        click.echo(progress.words, err=True)
    table = finding_table if findings else incident_table
    _write_table(table(chosen, licence, progress), form, out, comments)


@command.command("measurements", short_help="Export every Measurement of a span of time.")
@boxes_option
@table_options
def measurements(
    store: CloudStore,
    box_ids: tuple[str, ...],
    start_ns: int | None,
    end_ns: int | None,
    form: TableForm,
    out: Path | None,
    comments: bool,
    licence: str,
) -> None:
    """Export every Measurement of a span of time, in time order per Box; stdout gets only the rows.

    Example: opq-tools export measurements --from 2026-11-20 --format json
    """
    check_known_boxes(store, box_ids)
    stored = tuple(store.latest_measurements())
    if silent := [each for each in box_ids if each not in stored]:
        click.echo(f"no Measurement is stored of Box {', '.join(silent)}", err=True)
    boxes = sorted(box_ids or stored, key=box_order)
    first_ms = 0 if start_ns is None else start_ns // 10**6
    last_ms = LATEST_MS if end_ns is None else end_ns // 10**6
    _write_table(measurement_table(store, boxes, first_ms, last_ms, licence), form, out, comments)


def _write_table(table: ExportTable, form: TableForm, out: Path | None, comments: bool) -> None:
    """Writes a table; stdout gets only the rows, a file of JSON or Parquet also states their origin."""
    if out is not None:
        write_pieces(table_pieces(table, form, comments=comments), out)
        return
    if form == "parquet":
        raise ExportError("Parquet is a file, not text: name it with --out FILE")
    for piece in table_pieces(table, form, bare=True):
        click.echo(piece, nl=False)
