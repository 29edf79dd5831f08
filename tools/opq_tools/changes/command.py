"""`opq-tools changes`: what changed over weeks at a Box: steps, drift, profiles, single hours."""

import json
import time
from pathlib import Path

import click

from opq_cloud.mauka.change.series import DAY_H, HOUR_NS
from opq_cloud.store.records.phenomenon_words import ordered, phenomenon_json, words_of
from opq_cloud.store.store import CloudStore
from opq_proto.decision import Nominal
from opq_proto.kit.shared_options import data_dir_option, json_option, mongo_option
from opq_tools.shared import values
from opq_tools.shared.moment import from_option, to_option
from opq_tools.shared.opened_store import check_known_boxes, opened_store, stated_nominal

DAYS_LISTED = 30
"""Days that are listed, and that `--find` analyses."""


@click.command("changes", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--box", "box_id", default="", shell_complete=values.boxes, help="Only those of this Box.")
@from_option("Only what was there after this time (UTC).  [default: now-30d]")
@to_option("Only what began before this time (UTC).  [default: now]")
@click.option(
    "--find", "finds", is_flag=True, help="Analyse the last 30 days first, as Mauka does once a day."
)
@json_option
@data_dir_option
@mongo_option
def command(
    box_id: str,
    start_ns: int | None,
    end_ns: int | None,
    finds: bool,
    as_json: bool,
    data_dir: Path | None,
    mongo_uri: str | None,
) -> None:
    """List what changed over weeks: steps and drift of the supply or of a Box, profiles, single hours.

    Boxes that move alike are listed with the likelihood that they are on one phase.

    \b
    Examples: opq-tools changes
              opq-tools changes --box 4 --find
    """
    now_ns = time.time_ns()
    with opened_store(mongo_uri, data_dir) as store:
        check_known_boxes(store, [box_id])
        if finds:
            _find(store, now_ns, stated_nominal(data_dir), box_id)
        usual_ns = (now_ns // HOUR_NS - DAYS_LISTED * DAY_H) * HOUR_NS
        start_ms = (usual_ns if start_ns is None else start_ns) // 1_000_000
        end_ms = (now_ns if end_ns is None else end_ns) // 1_000_000
        found = store.phenomena(start_ms, end_ms, box_id)
    if as_json:
        click.echo(json.dumps([phenomenon_json(each) for each in found], indent=1))
        return
    for each in ordered(found):
        click.echo(words_of(each))
    if not found:
        click.echo("no stored change fits these options; --find analyses the last 30 days")


def _find(store: CloudStore, now_ns: int, nominal: Nominal, box_id: str) -> None:
    # imported here: the list needs nothing of the extra `change`
    from opq_cloud.mauka.change.detection import LIMITS
    from opq_cloud.mauka.change.stored_changes import find_changes, last_days

    for _ in find_changes(store, last_days(now_ns, DAYS_LISTED), nominal, LIMITS, box_id):
        pass
