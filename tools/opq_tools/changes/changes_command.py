"""`opq-tools changes`: what analyses found to have lasted or changed over weeks."""

import json
import time
from pathlib import Path

import click

from opq_cloud.store.records.incidents.phenomenon_words import ordered, phenomenon_json, words_of
from opq_proto.kit.shared_options import data_dir_option, json_option, mongo_option
from opq_tools.shared import values
from opq_tools.shared.moment import from_option, to_option
from opq_tools.shared.opened_store import check_known_boxes, opened_store

LISTED_MS = 30 * 86_400_000
"""Time before now that is listed."""


@click.command("changes", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--box", "box_id", default="", shell_complete=values.boxes, help="Only those of this Box.")
@from_option("Only what was there after this time (UTC).  [default: now-30d]")
@to_option("Only what began before this time (UTC).  [default: now]")
@json_option
@data_dir_option
@mongo_option
def command(
    box_id: str,
    start_ns: int | None,
    end_ns: int | None,
    as_json: bool,
    data_dir: Path | None,
    mongo_uri: str | None,
) -> None:
    """List what lasted or changed over weeks: the phenomena that installed analyses found.

    `opq-tools plugin install change` adds one that finds steps, drift, profiles, and Boxes on one phase.

    \b
    Examples: opq-tools changes
              opq-tools changes --box 4
    """
    now_ms = time.time_ns() // 1_000_000
    with opened_store(mongo_uri, data_dir) as store:
        check_known_boxes(store, [box_id])
        start_ms = now_ms - LISTED_MS if start_ns is None else start_ns // 1_000_000
        end_ms = now_ms if end_ns is None else end_ns // 1_000_000
        found = store.phenomena(start_ms, end_ms, box_id)
    if as_json:
        click.echo(json.dumps([phenomenon_json(each) for each in found], indent=1))
        return
    for each in ordered(found):
        click.echo(words_of(each))
    if not found:
        click.echo(
            "no stored change fits these options; the plug-in change finds them where more than two weeks are"
            " stored: opq-tools plugin install change"
        )
