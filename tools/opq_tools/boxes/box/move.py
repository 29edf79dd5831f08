"""`opq-tools box move`: hands a Box with key, history and what its gateway holds to another cloud.

    admit at the new cloud -> copy -> its gateway tries the new cloud -> copy the rest -> retire here

The gateway keeps every Measurement until a cloud has stored it, and the new store takes each number once. So
what was under way to the old cloud comes by the copy, by the gateway or by both, and is stored once. Each
step looks whether it is done already, so that a command that was ended is given again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opq_cloud.operations.box_service import box_of_name, retire_box
from opq_cloud.operations.command_audit import note_command
from opq_cloud.store import CloudStore
from opq_cloud.store.store import LogPlace
from opq_gateway.uplink.connection import TRIAL_S, Endpoints, UplinkPlace, place_to_text
from opq_proto.errors import OpqError
from opq_proto.keys.key_files import KeyFolder, read_key_file
from opq_proto.keys.register import KeyRegister
from opq_proto.keys.signing import firmware_public_key
from opq_proto.kit.ports import endpoint
from opq_proto.kit.system_place import find_system
from opq_proto.wire.command_client import CommandClient, UnansweredError
from opq_proto.wire.frames import UPLINK_PLUGIN
from opq_tools.boxes.box.history import copy_box, copy_history, not_copied
from opq_tools.shared.opened_store import opened_store

SETTLE_S = 30.0
"""Longest wait for what the old cloud has received and not stored yet."""
POLL_S = 0.5
SHORTLY_BEFORE_MS = 3_600_000
"""The second copy begins this long before the first: what is old does not change meanwhile."""
Shown = Callable[[str], None]


class NotMovedError(OpqError):
    """The Box was not moved, or not wholly; the text says where it is and what to do."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """A cloud: its store, and its folder of keys."""

    store: CloudStore
    keys: KeyFolder


def place_of(keys: KeyFolder, host: str, port_offset: int) -> UplinkPlace:
    """Where gateways reach a cloud, and who its administrator is. Raises KeyFileError, SigningError."""
    names = ("triggering_box", "command_box", "response_box")
    endpoints = Endpoints(*(endpoint(name, port_offset, host) for name in names))
    administrator = firmware_public_key(keys.administrator_public).raw.hex()
    return UplinkPlace(endpoints, read_key_file(keys.server_public).public, administrator)


def move_box(
    box_id: str, source: Cloud, target: Cloud, place: UplinkPlace, client: CommandClient, shown: Shown
) -> dict[str, Any]:
    """Moves a Box; returns how much both stores have of it.

    Raises:
        NotMovedError, KeyFileError, StoreError: the text says what is left to do.
    """
    _check(box_id, source, target)
    _admit(box_id, source, target)
    began_ms = time.time_ns() // 1_000_000
    copy_box(box_id, source.store, target.store)
    first = copy_history(box_id, source.store, target.store, shown)
    shown(f"copied {first.measurements} Measurements, {first.minutes} minutes, {first.events} events")
    if not _arrives(box_id, source, target):
        _redirect(box_id, source, target, place, client)
    shown(f"its gateway sends to {place.endpoints.trigger}")
    since_ms = began_ms - SHORTLY_BEFORE_MS
    read_to = _copy_rest(box_id, source, target, since_ms, first.place, shown)
    had_key = retire_box(source.store, source.keys, box_id)
    _copy_rest(box_id, source, target, since_ms, read_to, shown)
    before = {"key": "admitted" if had_key else None, "cloud": source.store.identity()}
    after = {"key": "revoked" if had_key else None, "cloud": target.store.identity()}
    note_command(source.store.people, "moved a Box to another cloud", f"box {box_id}", before, after)
    here, there = (set(each.store.sequences(box_id, 0, 2**62)) for each in (source, target))
    return {
        "box_id": box_id,
        "from": source.store.identity(),
        "to": target.store.identity(),
        "measurements_here": len(here),
        "of_them_there": len(here & there),
        "measurements_there": len(there),
        "endpoint": place.endpoints.trigger,
    }


def _check(box_id: str, source: Cloud, target: Cloud) -> None:
    if source.store.identity() == target.store.identity():
        raise NotMovedError("--to is the cloud that the Box is at; name the folder of another one")
    record = source.store.box(box_id)
    if record is None and source.store.highest_sequence(box_id) is None:
        raise NotMovedError(f"Box {box_id} is not known here; --data-dir names the cloud that it leaves")
    other = box_of_name(target.store, record.name, but=box_id) if record is not None else None
    if record is not None and other is not None:
        raise NotMovedError(f"the name {record.name!r} is Box {other}'s there; rename one with boxes set")


def _admit(box_id: str, source: Cloud, target: Cloud) -> None:
    known = source.keys.box_public(box_id)
    public = read_key_file(known if known.exists() else source.keys.box_revoked(box_id)).public
    there = target.keys.box_public(box_id)
    if not there.exists():
        KeyRegister(target.keys).add(box_id, public)
    elif read_key_file(there).public != public:
        raise NotMovedError(f"another key of a Box {box_id} is admitted there; is it another Box?")


def _arrives(box_id: str, source: Cloud, target: Cloud) -> bool:
    """Whether its gateway sends there: that store has a number above all that were stored here."""
    here, there = source.store.highest_sequence(box_id), target.store.highest_sequence(box_id)
    return there is not None and (here is None or there > here)


def _redirect(box_id: str, source: Cloud, target: Cloud, place: UplinkPlace, client: CommandClient) -> None:
    try:
        client.send_order(box_id, UPLINK_PLUGIN, place_to_text(place), 10.0)
    except UnansweredError as error:  # it may have moved just now
        unanswered: UnansweredError | None = error
    else:
        unanswered = None
    until_s = time.monotonic() + (POLL_S if unanswered else TRIAL_S + SETTLE_S)
    while not _arrives(box_id, source, target):
        if time.monotonic() > until_s:
            why = unanswered or (
                f"its gateway was not admitted at {place.endpoints.trigger} within {TRIAL_S:g} s and stays"
            )
            raise NotMovedError(
                f"Box {box_id} is not moved: {why}. Its history is copied; give the command again when that "
                "is mended"
            )
        time.sleep(POLL_S)


def _copy_rest(
    box_id: str, source: Cloud, target: Cloud, since_ms: int, after: LogPlace, shown: Shown
) -> LogPlace:
    """Copies until the new store has every number of the old one; returns how far the old one was read."""
    until_s = time.monotonic() + SETTLE_S
    while True:
        after = copy_history(box_id, source.store, target.store, shown, since_ms, after).place
        missing = not_copied(box_id, source.store, target.store)
        if not missing:
            return after
        if time.monotonic() > until_s:
            raise NotMovedError(
                f"Box {box_id}: {len(missing)} Measurements from number {missing[0]} on are not in the other "
                "store; its gateway sends there already. Give the command again"
            )
        since_ms, after = 0, ()
        time.sleep(POLL_S)


def open_keys(data_dir: Path) -> KeyFolder:
    """A cloud's folder of keys. Raises NotMovedError: it has none."""
    keys = KeyFolder(data_dir / "curve")
    if not keys.server_public.exists():
        raise NotMovedError(f"{data_dir} is not a cloud's data folder: it has no {keys.server_public}")
    if not keys.administrator_public.exists():
        command = f"opq-tools keygen --out {keys.root} --administrator"
        raise NotMovedError(f"{data_dir} has no administrator's key, which a move needs; make it: {command}")
    return keys


def move_between(
    box_id: str,
    here: tuple[Path | None, str | None],
    there: tuple[Path, str | None, str, int | None],
    client: CommandClient,
    shown: Shown,
) -> dict[str, Any]:
    """Moves a Box from the cloud `here` (data folder, URI of a MongoDB) to that of another data folder.

    `there` has the folder, the URI of a MongoDB, the machine's name, and the port offset where it is given.
    """
    folder, uri, host, port_offset = there
    keys = open_keys(folder)
    place = place_of(keys, host, find_system(folder, port_offset)[1])
    with opened_store(here[1], here[0]) as source, opened_store(uri, folder) as target:
        left = Cloud(source, open_keys(find_system(here[0], None)[0]))
        return move_box(box_id, left, Cloud(target, keys), place, client, shown)
