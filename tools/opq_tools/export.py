"""`opq-tools export`: what the cloud stored, as files that other programs read."""

import csv
import json
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from opq_cloud.store import open_store
from opq_cloud.store.store import CloudStore
from opq_proto.config import default_data_dir
from opq_proto.messages import Measurement
from opq_tools.moment import moment

PAGE_ROWS = 50_000
LATEST_MS = 4 * 10**12
"""The year 2096."""


@click.group("export", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Measurements out of the store, as JSON or CSV.

    Example: opq-tools export measurements --box 1 --format csv
    """


@command.command("measurements", short_help="Every Measurement of a span of time, on stdout.")
@click.option("--box", "box_ids", multiple=True, help="Of this Box; repeatable.  [default: all]")
@click.option("--from", "start", callback=moment, metavar="TIME", help="From this time on (UTC).")
@click.option("--to", "end", callback=moment, metavar="TIME", help="Before this time (UTC).")
@click.option("--format", "form", type=click.Choice(["json", "csv"]), default="json", show_default=True)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Of the store.  [default: that of `up`]",
)
@click.option("--mongo-uri", help="The store, where it is a MongoDB.")
def measurements(
    box_ids: tuple[str, ...],
    start: datetime | None,
    end: datetime | None,
    form: str,
    data_dir: Path | None,
    mongo_uri: str | None,
) -> None:
    """Every Measurement of a span of time, on stdout, in time order per Box.

    Example: opq-tools export measurements --from 2026-11-20 --format json
    """
    store = open_store(mongo_uri, data_dir or default_data_dir())
    try:
        wanted = box_ids or tuple(store.latest_measurements())
        span = (_ms(start, 0), _ms(end, LATEST_MS))
        boxes = sorted(wanted, key=_number)
        rows = [row(each) for box_id in boxes for each in all_measurements(store, box_id, *span)]
    finally:
        store.close()
    if form == "json":
        click.echo(json.dumps(rows, indent=1))
    else:
        _write_csv(rows)


def row(measurement: Measurement) -> dict[str, Any]:
    """One Measurement as JSON has it; what is not known is null."""
    return {
        "box_id": measurement.box_id,
        "sequence": measurement.sequence,
        "timestamp_ms": measurement.timestamp_ms,
        "start_ns": measurement.start_ns,
        "end_ns": measurement.end_ns,
        "uncertainty_ns": measurement.uncertainty_ns,
        "source": measurement.source.name.lower(),
        "backfilled": measurement.backfilled,
        "crossing": measurement.crossing,
        "metrics": {
            key: {"min": metric.min, "max": metric.max, "average": metric.average}
            for key, metric in sorted(measurement.metrics.items())
        },
    }


def all_measurements(store: CloudStore, box_id: str, start_ms: int, end_ms: int) -> Iterable[Measurement]:
    """In pages: a page's last moment is read again, so that nothing of one millisecond is left out."""
    while True:
        page = store.measurements(box_id, start_ms, end_ms, PAGE_ROWS)
        if len(page) < PAGE_ROWS:
            yield from page
            return
        last_ms = page[-1].timestamp_ms
        if last_ms == page[0].timestamp_ms:
            raise click.ClickException(f"Box {box_id}: {PAGE_ROWS} Measurements in the one ms {last_ms}")
        yield from (each for each in page if each.timestamp_ms < last_ms)
        start_ms = last_ms


def _write_csv(rows: list[dict[str, Any]]) -> None:
    plain = [key for key in (rows[0] if rows else {}) if key != "metrics"]
    names = sorted({name for each in rows for name in each["metrics"]})
    columns = [f"{name}_{part}" for name in names for part in ("min", "max", "average")]
    writer = csv.writer(sys.stdout)
    writer.writerow([*plain, *columns])
    for each in rows:
        metrics = each["metrics"]
        values = [metrics.get(name, {}).get(part) for name in names for part in ("min", "max", "average")]
        writer.writerow([*(each[key] for key in plain), *values])


def _ms(time: datetime | None, default_ms: int) -> int:
    return default_ms if time is None else round(time.timestamp() * 1000)


def _number(box_id: str) -> tuple[int, str]:
    return (int(box_id) if box_id.isdecimal() else sys.maxsize, box_id)
