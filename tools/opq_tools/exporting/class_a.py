"""`opq-tools export intervals|disturbances|changes|trends`: what was measured over months, as tables."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import click

from opq_cloud.export.class_a import disturbance_table, interval_table, trend_table
from opq_cloud.export.exported_records import ExportError
from opq_cloud.export.selection import change_table
from opq_cloud.export.tables import ExportTable, StreamForm, table_pieces
from opq_cloud.store.box_record import box_order
from opq_cloud.store.intervals.phases_together import IntervalsOfSites
from opq_cloud.store.store import CloudStore
from opq_proto.kit.plain_text import composed
from opq_proto.measurement.fields import USUAL
from opq_proto.measurement.intervals import LENGTH_NAMES
from opq_proto.messages import TREND_LEVELS
from opq_tools.exporting.exported_events import boxes_option, comments_option, licence_option, write_pieces
from opq_tools.shared.moment import from_option, to_option
from opq_tools.shared.opened_store import check_known_boxes, store_command

LATEST_NS = 4 * 10**18
"""The year 2096."""


@dataclass(frozen=True, slots=True)
class ChosenSpan:
    """Whose rows a command writes, of which time; no Boxes: all."""

    store: CloudStore
    box_ids: tuple[str, ...]
    start_ns: int | None
    end_ns: int | None
    licence: str

    @property
    def span_ns(self) -> tuple[int, int]:
        return self.start_ns or 0, self.end_ns or LATEST_NS


def table_command(made: Callable[..., ExportTable]) -> Callable[..., None]:
    """Makes a command that writes a long table of a ChosenSpan, with the options of these and the store."""

    @wraps(made)
    def decorated(
        store: CloudStore,
        box_ids: tuple[str, ...],
        start_ns: int | None,
        end_ns: int | None,
        form: StreamForm,
        out: Path | None,
        comments: bool,
        licence: str,
        **own: str,
    ) -> None:
        write_table(made(ChosenSpan(store, box_ids, start_ns, end_ns, licence), **own), form, out, comments)

    command: Callable[..., None] = decorated
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
            type=click.Choice(["csv", "jsonl", "parquet", "arrow"]),
            default="csv",
            show_default=True,
            help="Format of the file. pandas and DuckDB read the CSV as it is; a spreadsheet needs 'English "
            "(USA)' and 'Detect special numbers' at the import; DuckDB does not read arrow.",
        ),
        comments_option,
        to_option("Only data before this time (UTC)."),
        from_option("Only data from this time on (UTC), e.g. 2026-11-01 or now-7d."),
        boxes_option,
    ):
        command = option(command)
    return command


@click.command("intervals", short_help="Export the class A intervals of a span of time.")
@click.option(
    "--length",
    type=click.Choice(list(LENGTH_NAMES)),
    default="10min",
    show_default=True,
    help="Length of the intervals.",
)
@table_command
def intervals(chosen: ChosenSpan, length: str) -> ExportTable:
    """Export the intervals of one length, in time order per Box: a column for each quantity and order.

    `--box` takes the name of a site, too: unbalance and angles of its three phases.

    \b
    Examples: opq-tools export intervals --box 1 --from 2026-11-01 --format parquet --out november.parquet
              opq-tools export intervals --length 2h > years.csv
    """
    store, records = chosen.store, chosen.store.boxes()
    reader = IntervalsOfSites(store.intervals, records)
    box_ids = tuple(map(composed, chosen.box_ids))
    check_known_boxes(store, box_ids, reader.box_ids())
    boxes = sorted(box_ids or reader.box_ids(), key=box_order)
    return interval_table(reader, boxes, LENGTH_NAMES[length], *chosen.span_ns, chosen.licence, records)


@click.command("disturbances", short_help="Export the dips, swells and interruptions of a span of time.")
@table_command
def disturbances(chosen: ChosenSpan) -> ExportTable:
    """Export the disturbances that gateways found by IEC 61000-4-30, in time order per Box.

    Example: opq-tools export disturbances --from 2026-01-01 --format jsonl
    """
    store = chosen.store
    check_known_boxes(store, chosen.box_ids)
    boxes = sorted(chosen.box_ids, key=box_order)
    return disturbance_table(store.intervals, boxes, *chosen.span_ns, chosen.licence, store.boxes())


@click.command("changes", short_help="Export what changed over weeks.")
@table_command
def changes(chosen: ChosenSpan) -> ExportTable:
    """Export what lasted or changed over weeks, as `opq-tools changes` lists it.

    Example: opq-tools export changes --from 2026-01-01 --format csv --out changes.csv
    """
    check_known_boxes(chosen.store, chosen.box_ids)
    start_ms, end_ms = (each // 1_000_000 for each in chosen.span_ns)
    return change_table(chosen.store, chosen.box_ids, start_ms, end_ms, chosen.licence)


@click.command("trends", short_help="Export the trends of a span of time.")
@click.option(
    "--level",
    type=click.Choice(list(TREND_LEVELS)),
    default="10m",
    show_default=True,
    help="Length of the rows.",
)
@table_command
def trends(chosen: ChosenSpan, level: str) -> ExportTable:
    """Export minimum, maximum and mean of voltage, frequency, distortion and transients.

    Example: opq-tools export trends --level 1d --format parquet --out days.parquet
    """
    store, box_ids, length_ms = chosen.store, chosen.box_ids, TREND_LEVELS[level]
    check_known_boxes(store, box_ids)
    first_ms, last_ms = (chosen.start_ns or 0) // 10**6, (chosen.end_ns or time.time_ns()) // 10**6
    with store.driver.read() as documents:
        stored = documents.trends.spans(length_ms)
    spans = {
        box_id: (max(first_ms, stored[box_id][0]), min(last_ms, stored[box_id][1] + length_ms))
        for box_id in sorted(stored, key=box_order)
        if not box_ids or box_id in box_ids
    }
    return trend_table(store, spans, length_ms, USUAL, chosen.licence, store.boxes())


def write_table(table: ExportTable, form: StreamForm, out: Path | None, comments: bool) -> None:
    """Writes a table; stdout gets only the rows."""
    if out is not None:
        write_pieces(table_pieces(table, form, comments=comments), out)
        return
    if form in ("parquet", "arrow"):
        raise ExportError(f"{form} is a file, not text: name it with --out FILE")
    for piece in table_pieces(table, form, bare=True):
        click.echo(piece, nl=False)
