"""`opq-tools reference`: another meter's values beside ours: bias, spread and delay."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from opq_cloud.export.meter_comparison import LENGTHS_MS, QUANTITIES, compare_meter, comparison_page
from opq_cloud.export.meter_values import csv_values, message_value
from opq_cloud.export.records import ExportError
from opq_cloud.store import CloudStore
from opq_cloud.store.records.reference_meters import MeterValue
from opq_proto.kit.command_line import CommandGroup, text_table
from opq_proto.kit.shared_options import json_option
from opq_tools.exporting.events import write_pieces
from opq_tools.shared import values
from opq_tools.shared.moment import from_option, to_option
from opq_tools.shared.opened_store import store_command

ROWS_PER_BATCH = 5000
WRITTEN_EVERY_S = 5.0
DAY_NS = 86_400 * 10**9
meter_option = click.option("--meter", required=True, help="Name of the other meter.")


@click.group("reference", cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Values of another meter, stored and compared with a Box's: bias, spread and delay.

    \b
    Examples: opq-tools reference import fluke.csv --meter fluke --column rms_v=V1 --zone Europe/Berlin
              opq-tools reference compare --meter fluke --box 4 --from now-7d
    """


@command.command("import", short_help="Values out of a CSV.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@meter_option
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="QUANTITY=NAME",
    help="Column of a quantity, such as rms_v=V1; repeatable.  [default: columns with a quantity's name]",
)
@click.option(
    "--time", "time_name", default="", help="Column of the times.  [default: time, timestamp or ts-s]"
)
@click.option("--zone", default="UTC", show_default=True, help="Zone of times that state none.")
@store_command
def import_values(
    store: CloudStore, file: Path, meter: str, columns: Sequence[str], time_name: str, zone: str
) -> None:
    """Store the values of a CSV; those of a time that is stored already are replaced.

    Example: opq-tools reference import fluke.csv --meter fluke --column rms_v=V1 --column f_hz=Freq
    """
    chosen = dict(each.partition("=")[::2] for each in columns)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ExportError(f"{file}: is not text in UTF-8") from None
    batch: list[MeterValue] = []
    count = 0
    for each in csv_values(text, meter, chosen, time_name, zone):
        batch.append(each)
        if len(batch) == ROWS_PER_BATCH:
            count += store.put_meter_values(batch)
            batch = []
    count += store.put_meter_values(batch)
    click.echo(f"{count} values of {meter} are stored")


@command.command("listen", short_help="Values out of MQTT messages, as they come.")
@click.argument("topic")
@meter_option
@click.option("--quantity", default="rms_v", show_default=True, help="Quantity of the values.")
@click.option("--server", default="tcp://127.0.0.1:1883", show_default=True, help="Address of the broker.")
@click.option(
    "--key", default="", help="Key of the value in messages of JSON; a.b is b within a.  [default: value]"
)
@click.option("--count", type=click.IntRange(1), help="End after so many values.  [default: never]")
@store_command
def listen(
    store: CloudStore, topic: str, meter: str, quantity: str, server: str, key: str, count: int | None
) -> None:
    """Store the values of a topic's messages until Ctrl-C: a number each, or an object of JSON.

    The time of a value is that of the object's `time` or `timestamp`, otherwise when it came.

    Example: opq-tools reference listen meters/7/voltage --meter shelly --key voltage
    """
    from opq_rules.mqtt_client import Client, Login  # paho is of the extras gateway, rules and cloud

    waiting: list[MeterValue] = []
    stored = 0

    def published(topics: Sequence[str], payloads: Sequence[bytes], ids: Sequence[int]) -> None:
        for payload in payloads:
            value = message_value(payload, meter, quantity, key, time.time())
            if value is not None:
                waiting.append(value)

    client = Client(Login(server=server), published, None, (topic, 1))
    client.start(10.0)
    try:
        written_s = time.monotonic()
        while count is None or stored < count:
            time.sleep(0.1)
            full = count is not None and stored + len(waiting) >= count
            if waiting and (full or time.monotonic() - written_s >= WRITTEN_EVERY_S):
                batch, waiting[:] = list(waiting), []
                stored += store.put_meter_values(batch)
                written_s = time.monotonic()
    except KeyboardInterrupt:
        pass
    finally:
        client.stop()
        stored += store.put_meter_values(waiting)
    click.echo(f"{stored} values of {meter} are stored")


@command.command("compare", short_help="Bias, spread and delay against a Box, with a chart.")
@meter_option
@click.option("--box", "box_id", required=True, shell_complete=values.boxes, help="The Box beside it.")
@from_option("Start of the span (UTC).  [default: now-7d]")
@to_option("End of the span (UTC).  [default: now]")
@click.option(
    "--length",
    type=click.Choice(tuple(LENGTHS_MS)),
    default="10min",
    show_default=True,
    help="Our intervals that are compared.",
)
@click.option(
    "--quantity", "quantities", multiple=True, help=f"Repeatable.  [default: {', '.join(QUANTITIES)}]"
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Page to write, with the charts."
)
@json_option
@store_command
def compare(
    store: CloudStore,
    meter: str,
    box_id: str,
    start_ns: int | None,
    end_ns: int | None,
    length: str,
    quantities: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare another meter with a Box: bias, spread, and how much later its course is.

    Example: opq-tools reference compare --meter fluke --box 4 --from 2026-11-20 --out fluke.html
    """
    end_ns = time.time_ns() if end_ns is None else end_ns
    start_ns = end_ns - 7 * DAY_NS if start_ns is None else start_ns
    found = compare_meter(
        store, meter, box_id, start_ns, end_ns, LENGTHS_MS[length], quantities or QUANTITIES
    )
    if not found:
        known = ", ".join(store.meters()) or "none"
        raise ExportError(
            f"{meter} and Box {box_id} have fewer than 12 intervals of {length} in common; meters: {known}"
        )
    if out is not None:
        write_pieces([comparison_page(meter, box_id, found).encode()], out)
    if as_json:
        click.echo(
            json.dumps({"meter": meter, "box_id": box_id, "quantities": [each.as_json() for each in found]})
        )
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


@command.command("meters", short_help="Which meters have values; or remove one.")
@click.option("--remove", default="", metavar="METER", help="Remove all values of this meter.")
@json_option
@store_command
def meters(store: CloudStore, remove: str, as_json: bool) -> None:
    """List the other meters with the number of their values, or remove those of one.

    Example: opq-tools reference meters
    """
    if remove:
        click.echo(f"{store.remove_meter(remove)} values of {remove} are removed", file=sys.stderr)
    found = store.meters()
    if as_json:
        click.echo(json.dumps(found))
    else:
        click.echo(
            text_table(("METER", "VALUES"), sorted(found.items())) if found else "no other meter is known"
        )
