"""`opq-tools boxes`: its subcommands read and write the store, whether a cloud runs or not.

A running cloud takes changes over: its pages read the store; Makai reads nominal values every few seconds and
the gain with each waveform.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from opq_cloud.operations.box_service import box_of_name, retire_box, since_words, utc_words
from opq_cloud.operations.command_audit import note_command
from opq_cloud.store import BoxRecord, CloudStore
from opq_cloud.store.box_place import box_place
from opq_cloud.store.box_record import box_order
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.command_line import CommandGroup, text_table
from opq_proto.kit.shared_options import (
    data_dir_option,
    json_option,
    mongo_option,
    new_data_dir_option,
)
from opq_proto.kit.system_place import find_system
from opq_proto.messages import known_uncertainty_ns
from opq_tools.boxes.facts import (
    box_argument,
    box_facts,
    box_or_all,
    fact_options,
    location_not_known,
    place_options,
    put_place,
    since_option,
)
from opq_tools.boxes.importing import read_boxes, read_locations, read_regions
from opq_tools.boxes.losses import delete, lost
from opq_tools.shared.fact_line import fact_line
from opq_tools.shared.opened_store import StoreMissingError, box_not_known, opened_store, store_command


@click.group(
    "boxes",
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Names, places, gains and duties of Boxes, in the store of a running or a stopped cloud.

    \b
    Examples: opq-tools boxes set 1 --name Cellar --feeder f2 --site mill --phase L1
              opq-tools boxes place 1 --lat 21.31 --lon -157.81
              opq-tools boxes show
    """


command.add_command(delete)
command.add_command(lost)


@command.command("show", short_help="List the Boxes, or show all stored facts of one.")
@box_or_all
@click.option("--all", "everyone", is_flag=True, help="Without BOX: also list retired Boxes.")
@json_option
@store_command
def show_boxes(store: CloudStore, box_id: str | None, everyone: bool, as_json: bool) -> None:
    """List every Box that is stored or has sent something, by number; with BOX, show all its stored facts.

    \b
    Examples: opq-tools boxes show --json
              opq-tools boxes show 1
    """
    if box_id is None:
        _list(store, everyone, as_json)
    elif everyone:
        raise click.UsageError("--all goes without BOX")
    else:
        _show_one(store, box_id, as_json)


def _list(store: CloudStore, everyone: bool, as_json: bool) -> None:
    rows = [row for row in box_rows(store) if everyone or row["retired_ms"] is None]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    if not rows:
        click.echo("no Box is known; opq-tools boxes set 1 --name Cellar makes one known")
        return
    headings = ("box", "name", "place", "position", "nominal", "state", "last seen (UTC)")
    click.echo(text_table(headings, map(_cells, rows)))


def _show_one(store: CloudStore, box_id: str, as_json: bool) -> None:
    row = _row_of(store, box_id)
    newest = store.latest_measurements().get(box_id)
    if newest is not None:
        bound_ns = known_uncertainty_ns(newest.uncertainty_ns)
        row |= {"time_source": newest.source.name.lower(), "uncertainty_ns": bound_ns}
    _echo(row, as_json)


@command.command("set", short_help="Set name, feeder, gain and nominal values of a Box.")
@box_argument
@fact_options
@json_option
@new_data_dir_option
@mongo_option
def set_facts(box_id: str, as_json: bool, data_dir: Path | None, mongo_uri: str | None, **given: Any) -> None:
    """Set facts of a Box. Facts that are not given stay as they are; "" removes a text.

    They hold from now on, or from --since on, until others are set for a later time: reports and indices of a
    time before have the facts of then.

    A gain that the Box states itself replaces the one given here when its next waveform arrives. Its place is
    set by `boxes place`. --plugged-in takes a retired Box into service again; then it needs a key: `keys add
    BOX`.

    \b
    Examples: opq-tools boxes set 1 --name Cellar --feeder f2 --phase L1
              opq-tools boxes set 7 --v-per-lsb 0.006557
              opq-tools boxes set 1 --site yard --since 2026-10-26
    """
    _put_facts(box_id, as_json, data_dir, mongo_uri, given)


@command.command("place", short_help="Set where a Box is: its position, location and region.")
@box_argument
@place_options
@json_option
@new_data_dir_option
@mongo_option
def set_place(box_id: str, as_json: bool, data_dir: Path | None, mongo_uri: str | None, **given: Any) -> None:
    """Set where a Box is. What is not given stays as it is; "" removes a text.

    A Box that moves to another location keeps its former one in its archive.

    \b
    Examples: opq-tools boxes place 1 --lat 21.31 --lon -157.81
              opq-tools boxes place 1 --location kailua
    """
    slug = given["location"]
    try:
        _put_facts(box_id, as_json, data_dir, mongo_uri, given)
    except StoreMissingError:
        if mongo_uri is not None:
            raise
        raise location_not_known(slug) from None


def _put_facts(
    box_id: str, as_json: bool, data_dir: Path | None, mongo_uri: str | None, given: dict[str, Any]
) -> None:
    since_ms = given.pop("since_ms")
    if all(value is None for value in given.values()):
        raise click.UsageError("nothing to set: give at least one of the options")
    named_alone = bool(given.get("location")) and given.get("latitude") is None
    with opened_store(mongo_uri, data_dir, make=not named_alone) as store:  # its place is in a store
        place = (given.pop(name, None) for name in ("latitude", "longitude", "location"))
        location = put_place(store, box_id, *place)
        facts = box_facts(box_id, location, **given)
        _refuse_a_name_twice(store, facts)
        before = _row_if_known(store, box_id)
        store.put_box(facts, since_ms)
        if facts.region and (stands := location or _location_of(store, box_id)):
            store.put_region(facts.region, stands)
        row = _row_of(store, box_id)
        what = f"set facts of a Box{since_words(since_ms)}"
        note_command(store.people, what, f"box {box_id}", _plain(before), _plain(row))
        for line in _stated_for_later(store, facts, since_ms):
            click.echo(line, err=True)
    _echo(row, as_json)


def _stated_for_later(store: CloudStore, facts: BoxRecord, since_ms: int | None) -> Iterator[str]:
    """Lines for facts that hold only until another value that was set for a later moment."""
    record = store.box(facts.box_id)
    if record is None or since_ms is None:
        return
    for each in record.stated:
        if each.since_ms > since_ms and getattr(facts, each.name) is not None:
            moment = utc_words(each.since_ms)
            yield (
                f"{each.name} is {each.value if each.value is not None else 'not known'} since {moment}, as "
                f"was set before; --since {moment} replaces that"
            )


@command.command("retire", short_help="Take a Box out of service for good; its data stays.")
@box_argument
@since_option
@json_option
@data_dir_option
@mongo_option
def retire(
    box_id: str, since_ms: int | None, as_json: bool, data_dir: Path | None, mongo_uri: str | None
) -> None:
    """Take a Box out of service for good; its data stays, and reports of the time before have it.

    It is unplugged, no longer listed without --all, and its key is revoked where the key folder has one.
    `boxes set BOX --plugged-in` takes it into service again.

    Example: opq-tools boxes retire 4
    """
    with opened_store(mongo_uri, data_dir) as store:
        if store.box(box_id) is None and box_id not in store.latest_measurements():
            raise box_not_known(store, box_id)
        before = _row_if_known(store, box_id)
        keys = KeyFolder(find_system(data_dir, None)[0] / "curve")
        had_key = retire_box(store, keys, box_id, since_ms)
        row = _row_of(store, box_id)
        was: dict[str, Any] = {**_plain(before), "key": "admitted" if had_key else None}
        now: dict[str, Any] = {**_plain(row), "key": "revoked" if had_key else None}
        note_command(store.people, f"retired a Box{since_words(since_ms)}", f"box {box_id}", was, now)
    _echo(row, as_json)


@command.command("import")
@click.argument("path", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--locations",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also import the collection `locations` from this file.",
)
@click.option(
    "--regions",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also import the collection `regions` from this file.",
)
@json_option
@new_data_dir_option
@mongo_option
def import_boxes(
    path: Path,
    locations: Path | None,
    regions: Path | None,
    as_json: bool,
    data_dir: Path | None,
    mongo_uri: str | None,
) -> None:
    """Import the original's `opq_boxes`, as `mongoexport` writes it.

    FILE has one document a line, or one array. Names, places with their archive, gains and keys are imported;
    a field that is not in the file stays as it is. If one document is wrong, nothing is imported.

    \b
    Examples: mongoexport --db opq --collection opq_boxes --out opq_boxes.json
              opq-tools boxes import opq_boxes.json
    """
    records = read_boxes(path)
    places = read_locations(locations) if locations else []
    pairs = read_regions(regions) if regions else []
    with opened_store(mongo_uri, data_dir, make=True) as store:
        for place in places:
            store.put_location(place)
        for region, location in pairs:
            store.put_region(region, location)
        for record in records:
            store.put_box(record)
        note_command(store.people, "imported Boxes", "", None, {"boxes": len(records)})
        rows = [row for row in box_rows(store) if row["box_id"] in {record.box_id for record in records}]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo(f"imported Boxes: {len(records)}, locations: {len(places)}, regions: {len(pairs)}")
    without = [row["box_id"] for row in rows if row["calibration_constant"] is None]
    if without:
        click.echo(f"without a gain: Boxes {', '.join(without)}; give each with boxes set --v-per-lsb")


def box_rows(store: CloudStore) -> list[dict[str, Any]]:
    """All known Boxes (stored or heard from), sorted by number; fields as in docs/reference/contracts.md, and
    more."""
    locations, regions = store.locations(), store.regions()
    last_ms = {box_id: row.timestamp_ms for box_id, row in store.latest_measurements().items()}
    records = {record.box_id: record for record in store.boxes()}
    for box_id in last_ms:
        records.setdefault(box_id, BoxRecord(box_id, f"Box {box_id}"))
    rows = []
    for record in sorted(records.values(), key=lambda record: box_order(record.box_id)):
        place = box_place(record, locations, regions)
        constant = record.calibration_constant
        rows.append(
            {
                "box_id": record.box_id,
                "name": record.name,
                "location": (
                    None if place.latitude is None else {"lat": place.latitude, "lon": place.longitude}
                ),
                "region": place.region,
                "feeder": place.feeder,
                "phase": record.phase,
                "grid": place.grid,
                "nominal_v": record.nominal_v,
                "nominal_hz": record.nominal_hz,
                "unplugged": bool(record.unplugged),
                "last_seen_ms": last_ms.get(record.box_id),
                "site": record.site,
                "further_regions": list(place.further_regions),
                "description": record.description,
                "location_slug": record.location,
                "location_start_time_ms": record.location_start_time_ms,
                "location_archive": [
                    {"location": slug, "location_start_time_ms": since_ms}
                    for slug, since_ms in record.location_archive
                ],
                "calibration_constant": constant,
                "v_per_lsb": 1 / constant if constant else None,
                "public_key": record.public_key,
                "retired_ms": record.retired_ms,
                "stated": [asdict(each) for each in record.stated],
            }
        )
    return rows


def _row_if_known(store: CloudStore, box_id: str) -> dict[str, Any]:
    return next((row for row in box_rows(store) if row["box_id"] == box_id), {})


NOT_SET = (
    "box_id",
    "further_regions",
    "last_seen_ms",
    "location_archive",
    "location_start_time_ms",
    "v_per_lsb",
    "stated",
)
"""Fields that the Box or the store writes: the log of changes leaves them out."""


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A flat row of texts and numbers: a location becomes latitude and longitude."""
    place = row.get("location") or {}
    flat = {key: value for key, value in row.items() if key not in (*NOT_SET, "location") and value != ""}
    return {**flat, "latitude": place.get("lat"), "longitude": place.get("lon")}


def _row_of(store: CloudStore, box_id: str) -> dict[str, Any]:
    found = _row_if_known(store, box_id)
    if not found:
        raise box_not_known(store, box_id)
    return found


def _location_of(store: CloudStore, box_id: str) -> str | None:
    record = store.box(box_id)
    return None if record is None else record.location


def _refuse_a_name_twice(store: CloudStore, facts: BoxRecord) -> None:
    """Refuses a used name: the original's index on names is unique, and pages that show names need it."""
    other = box_of_name(store, facts.name, but=facts.box_id)
    if other is not None:
        raise click.UsageError(f"--name {facts.name!r} is Box {other}'s; want another one")


def _echo(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(row, indent=1))
        return
    for key, value in row.items():
        if key == "stated":
            for each in value:
                since = utc_words(each["since_ms"]) if each["since_ms"] else "the beginning"
                stated = "not stated" if each["value"] is None else each["value"]
                click.echo(fact_line(f"since {since}", fact_line(each["name"], stated, 0), 30))
        elif key == "further_regions" and value:
            click.echo(fact_line(key, ", ".join(value), 22))
        elif value is not None and value != []:
            click.echo(fact_line(key, value, 22))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    place, last_ms = row["location"], row["last_seen_ms"]
    site = row["site"] and f"site {row['site']}"
    where = [row["location_slug"], row["region"], *row["further_regions"], row["feeder"], site, row["phase"]]
    nominal = [(row["nominal_v"], "V"), (row["nominal_hz"], "Hz")]
    return (
        row["box_id"],
        row["name"],
        " ".join(filter(None, where)),
        "" if place is None else f"{place['lat']:g}, {place['lon']:g}",
        ", ".join(f"{value:g} {unit}" for value, unit in nominal if value) or "not stated",
        "in use" if not row["unplugged"] else "unplugged" if row["retired_ms"] is None else "retired",
        time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(last_ms / 1000)) if last_ms else "never",
    )
