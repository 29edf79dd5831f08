"""`opq-tools boxes delete` and `boxes lost`: what goes with a deleted Box, and what was lost of one."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import click

from opq_cloud.operations.box_service import delete_box, deleted_words, deletion_refused, kept_words
from opq_cloud.operations.command_audit import note_command
from opq_cloud.store.box_record import BoxLoss
from opq_gateway.measuring.lost_rows import LostRows, LostSpan
from opq_proto.errors import KeyFileError, OpqError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.keys.register import KeyRegister
from opq_proto.kit.shared_options import data_dir_option, json_option, mongo_option
from opq_proto.kit.system_place import find_system
from opq_tools.boxes.facts import box_argument
from opq_tools.shared.opened_store import check_known_boxes, opened_store


@click.command("delete", short_help="Delete a retired Box with its data and keys, after a question.")
@box_argument
@click.option("--yes", is_flag=True, help="Delete it without a question.")
@data_dir_option
@mongo_option
def delete(box_id: str, yes: bool, data_dir: Path | None, mongo_uri: str | None) -> None:
    """Delete a Box that was retired: its facts, keys, values, samples and own incidents.

    First it lists what goes, and what stays for how long. Without a terminal it deletes nothing but with
    --yes.

    \b
    Example: opq-tools boxes retire 4
             opq-tools boxes delete 4
    """
    with opened_store(mongo_uri, data_dir) as store:
        keys = KeyFolder(find_system(data_dir, None)[0] / "curve")
        check_known_boxes(store, [box_id], _boxes_with_keys(keys))
        if refused := deletion_refused(store, keys, box_id, time.time()):
            raise OpqError(refused)
        lines = [
            f"Deleted with Box {box_id}, for good:",
            *(f"  {each}" for each in deleted_words(store, box_id)),
            "What stays:",
            *(f"  {each}" for each in kept_words(store, box_id)),
        ]
        click.echo("\n".join(lines))
        if not yes:
            click.confirm(f"Delete Box {box_id}", abort=True)
        note_command(store.people, "began to delete a Box", f"box {box_id}")
        delete_box(store, keys, box_id)
        note_command(store.people, "deleted a Box with its data and keys", f"box {box_id}")
    click.echo(f"Box {box_id} is deleted")


def _boxes_with_keys(keys: KeyFolder) -> list[str]:
    try:
        return [each.box_id for each in KeyRegister(keys).entries()[0]]
    except KeyFileError:  # there is no key folder
        return []


@click.command("lost", short_help="List what was lost of each Box, with its span, until it was seen.")
@click.option("--seen", is_flag=True, help="Note that it was seen: status is no longer reminded of it.")
@json_option
@data_dir_option
@mongo_option
def lost(seen: bool, as_json: bool, data_dir: Path | None, mongo_uri: str | None) -> None:
    """List Measurements and values that were lost for good, with their spans.

    The disk was full, or the cloud was away for longer than its gateways hold Measurements. Charts and
    reports have the holes for ever; --seen ends the notes in `status` and Health. What a gateway of this
    machine lost is listed too, but for a store that --mongo-uri names without --data-dir.

    Example: opq-tools boxes lost --seen
    """
    named_alone = mongo_uri is not None and data_dir is None  # it may be of another machine's gateways
    ledgers = [] if named_alone else list(_at_gateway(find_system(data_dir, None)[0]))
    with opened_store(mongo_uri, data_dir) as store:
        known = {box.box_id: box.lost for box in store.boxes()}
        found = [(box_id, each.words) for box_id, losses in known.items() for each in losses]
        found += [
            (name, each.text)
            for name, rows in ledgers
            for each in rows.spans
            if not any(_has(loss, box_id, each, name) for box_id, losses in known.items() for loss in losses)
        ]
        if as_json:
            click.echo(json.dumps([{"box_id": box, "lost": words} for box, words in found], indent=1))
        for box_id, words in () if as_json else found:
            click.echo(f"Box {box_id}: {words}")
        if not found and not as_json:
            click.echo("nothing was lost")
        if seen:
            for box in store.boxes():
                store.forget_lost(box.box_id)
            for _, rows in ledgers:
                rows.forget()


def _has(loss: BoxLoss, box_id: str, span: LostSpan, name: str) -> bool:
    """Whether the cloud knows, of this Box, what a ledger lost; `name`: the ledger's Box or place."""
    own = BoxLoss(span.rows, span.start_ns // 10**6, span.end_ns // 10**6, span.kind, loss.place)
    return own.is_within(loss) and name == (f"group-{loss.place}" if loss.place else box_id)


def _at_gateway(folder: Path) -> Iterator[tuple[str, LostRows]]:
    """What each gateway's ledger of this data folder could not store."""
    for ledger in sorted((*folder.glob("gateway/box*/ledger"), *folder.glob("gateway/group-*"))):
        place = ledger.parent if ledger.name == "ledger" else ledger
        yield place.name.removeprefix("box"), LostRows(ledger)
