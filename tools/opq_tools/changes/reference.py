"""`opq-tools reference`: another meter's values beside a Box's: bias, spread and delay."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from opq_cloud.export.exported_records import ExportError
from opq_cloud.export.meter_comparison import compare_meter, comparison_page
from opq_cloud.export.meter_values import MeterTable, csv_values
from opq_cloud.store import CloudStore
from opq_proto.kit.command_line import CommandGroup, text_table
from opq_proto.kit.shared_options import json_option
from opq_proto.measurement.intervals import LENGTH_NAMES
from opq_recordings.csv_times import CALENDARS
from opq_recordings.date_order import DATE_ORDERS
from opq_recordings.local_hours import REPEATED
from opq_recordings.row_moments import StatedTimes
from opq_tools.exporting.exported_events import write_pieces
from opq_tools.shared import values
from opq_tools.shared.moment import from_option, to_option
from opq_tools.shared.opened_store import check_known_boxes, store_command


@click.group("reference", cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Another meter's values beside a Box's: bias, spread and delay.

    Example: opq-tools reference compare 4 fluke.csv --column rms_v=V1 --zone Europe/Berlin
    """


@command.command("compare", short_help="A CSV of another meter against a Box, with a chart.")
@click.argument("box_id", metavar="BOX", shell_complete=values.boxes)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="QUANTITY=NAME",
    help="Column of a quantity, such as rms_v=V1; repeatable.  [default: columns with a quantity's name]",
)
@click.option(
    "--time",
    "time_name",
    default="",
    help="Column of the times; a date and a clock in two columns belong together.  [default: by its name]",
)
@click.option("--zone", help="Zone of times that state none: a place, or +01:00.  [default: UTC]")
@click.option(
    "--dates",
    type=click.Choice(DATE_ORDERS),
    help="Order of dates such as 03/04/26: day, month, year.  [default: by the dates of the file]",
)
@click.option(
    "--repeated-hour",
    type=click.Choice(REPEATED),
    help="Which one of an hour that a clock shows twice.  [default: by the order of the rows]",
)
@click.option("--decimal-mark", type=click.Choice([".", ","]), help="Decimal mark.  [default: by the file]")
@from_option("Start of the span (UTC).  [default: the first time of the file]")
@to_option("End of the span (UTC).  [default: the last time of the file]")
@click.option(
    "--length",
    type=click.Choice(tuple(LENGTH_NAMES)),
    default="10min",
    show_default=True,
    help="Our intervals that are compared.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Page to write, with the charts."
)
@json_option
@store_command
def compare(
    store: CloudStore,
    box_id: str,
    file: Path,
    columns: Sequence[str],
    time_name: str,
    zone: str | None,
    dates: str | None,
    repeated_hour: str | None,
    decimal_mark: str | None,
    start_ns: int | None,
    end_ns: int | None,
    length: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare another meter's CSV with a Box: bias, spread, and how much later its course is.

    \b
    Examples: opq-tools reference compare 4 fluke.csv --column rms_v=V1 --column f_hz=Freq
              opq-tools reference compare 4 fluke.csv --from 2026-11-20 --out fluke.html
    """
    for each in columns:
        if not all(each.partition("=")):
            raise click.UsageError(f"--column is {each!r}, want QUANTITY=NAME, such as rms_v=V1")
    check_known_boxes(store, [box_id])
    chosen = dict(each.partition("=")[::2] for each in columns)
    stated = StatedTimes(zone or "UTC", dates or "", repeated_hour or "")
    table = csv_values(file, chosen, stated, time_name, decimal_mark)
    _report(table, zone)
    length_ns = LENGTH_NAMES[length] * 1_000_000
    first_s = min(each.at_s[0] for each in table.courses.values())
    last_s = max(each.at_s[-1] for each in table.courses.values())
    start_ns = int(first_s * 1e9) - length_ns if start_ns is None else start_ns
    end_ns = int(last_s * 1e9) + length_ns if end_ns is None else end_ns
    found = compare_meter(store, box_id, table.courses, start_ns, end_ns, LENGTH_NAMES[length])
    if not found:
        raise ExportError(
            f"{file} and Box {box_id} have fewer than 12 intervals of {length} in common; "
            f"the file has {', '.join(table.courses)}"
        )
    if out is not None:
        write_pieces([comparison_page(file.name, box_id, found).encode()], out)
    if as_json:
        quantities = [each.as_json() for each in found]
        click.echo(json.dumps({"file": str(file), "box_id": box_id, "quantities": quantities}))
        return
    rows = [
        (
            each.quantity,
            each.found.count,
            f"{each.found.bias:+.6g}",
            f"{each.found.spread:.6g}",
            None if each.found.delay_s is None else f"{each.found.delay_s:.2f}",
        )
        for each in found
    ]
    click.echo(text_table(("QUANTITY", "INTERVALS", "BIAS", "SPREAD", "DELAY S"), rows))


def _report(table: MeterTable, zone: str | None) -> None:
    """Says what of the file was assumed, and what was left out."""
    if table.local and zone is None:
        click.echo("its times state no zone and were taken as UTC; --zone states another one", err=True)
    if table.days_since:
        text = f"its times were taken as days since {table.days_since}"
        more = "" if table.days_since != CALENDARS[0] else "; a workbook of the 1904 calendar has 1,462 less"
        click.echo(text + more, err=True)
    for left_out, why in (
        (table.empty, "cells have no value"),
        (table.left_out, "rows of a repeated hour are left out"),
        (table.replaced, "values are left out, because a later row of the file has the same time"),
    ):
        if left_out:
            click.echo(f"{left_out} {why}", err=True)
