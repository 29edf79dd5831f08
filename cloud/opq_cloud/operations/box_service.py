"""Retires a Box, returns it to service and deletes it, for View's pages and `opq-tools boxes`.

The store has the Boxes in service, the key folder those
that may connect, and both change together.
"""

import time
from datetime import UTC, datetime

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.records.accounts.audit import AUDIT_S
from opq_cloud.store.store import CloudStore
from opq_proto.keys.key_files import KeyFolder
from opq_proto.keys.register import KeyRegister

QUIET_S = 120.0
"""A Box that sent or was admitted within this time may have Measurements that are not in the store yet."""


def retire_box(store: CloudStore, keys: KeyFolder | None, box_id: str, since_ms: int | None = None) -> bool:
    """Retires a Box for good, from now or `since_ms` on: unplugged, no longer listed, its key revoked; its
    measurements stay.

    Returns whether it had a key that was admitted. Raises StoreError, KeyFileError.
    """
    since_ms = time.time_ns() // 1_000_000 if since_ms is None else since_ms
    store.put_box(BoxRecord(box_id, "", unplugged=True, retired_ms=since_ms))
    return keys is not None and KeyRegister(keys).revoke(box_id)


def return_box(store: CloudStore, box_id: str) -> None:
    """Returns a Box to service; it needs a key then. Raises StoreError."""
    store.put_box(BoxRecord(box_id, "", unplugged=False, retired_ms=0))


def deletion_refused(store: CloudStore, keys: KeyFolder | None, box_id: str, now_s: float) -> str:
    """Why a Box cannot be deleted now; empty where it can. Raises StoreError."""
    record, newest = store.box(box_id), store.latest_measurements().get(box_id)
    in_service = newest is not None if record is None else not record.retired_ms
    if in_service:
        retire = f"retire it first (opq-tools boxes retire {box_id})"
        return f"Box {box_id} is in service; {retire}, and delete it two minutes later"
    if keys is not None and box_id in keys.listed_boxes():
        revoke = f"revoke it first (opq-tools keys revoke {box_id})"
        return f"Box {box_id} has a key that admits it; {revoke}, and delete the Box two minutes later"
    moments_ms = {  # a late Box sent until its key was revoked, whatever its clock said
        "sent a Measurement": None if newest is None else newest.timestamp_ms,
        "was retired": None if record is None else record.retired_ms,
        "had its key revoked": None if keys is None else KeyRegister(keys).revoked_ms(box_id),
    }
    ages_s = {what: now_s - at_ms / 1000 for what, at_ms in moments_ms.items() if at_ms}
    what = min((each for each, age_s in ages_s.items() if age_s >= 0), key=ages_s.__getitem__, default="")
    if what and (age_s := ages_s[what]) < QUIET_S:
        return f"Box {box_id} {what} {age_s:.0f} s ago; delete it in {QUIET_S - age_s:.0f} s or later"
    return ""


def deleted_words(store: CloudStore, box_id: str) -> list[str]:
    """What goes with a Box, a sentence each. Raises StoreError."""
    held = store.box_holdings(box_id)
    return [
        "Its name, place, nominal values and gain, who owns it and sees it.",
        "Its keys: the public one, the private one that was made here, and the revoked one.",
        "Its Measurements, trends, and intervals of class A.",
        f"Its samples: {_counted(held.waveforms, 'event')}. The events stay, and say that it was deleted.",
        f"Its dips, swells and interruptions by class A: {held.disturbances}.",
        f"Incidents that no other Box saw, with their notes: {held.incidents}.",
        f"Changes over weeks that no other Box shares: {held.phenomena}.",
    ]


def kept_words(store: CloudStore, box_id: str) -> list[str]:
    """What stays of a Box and for how long, a sentence each. Raises StoreError."""
    held = store.box_holdings(box_id)
    shared = "Incidents that other Boxes saw too: none."
    if held.shared_until_s is not None:
        until = datetime.fromtimestamp(held.shared_until_s, UTC).strftime("%Y-%m-%d")
        shared = (
            f"Its number, class and voltage in {_counted(held.shared_incidents, 'incident')} that other "
            f"Boxes saw too, until {until} at most."
        )
    return [
        shared,
        f"Changes over weeks that other Boxes share, until they expire: {held.shared_phenomena}.",
        f"What was changed about it, in the log of changes: {AUDIT_S // 86_400} days after each change.",
        "In the states of SQL rules: open windows until they end, and the last values of functions such as "
        "`lag` until the rule is deleted or gets another statement.",
        "What a site measured of its phases together, under the site's name, as long as intervals are kept.",
        "That it was deleted: an empty file beside the keys, until a command adds the Box again.",
        "Back-ups, exports and reports that were made before: until they are deleted where they are.",
        "At its gateway: its samples and measured values, for the hours and days of the gateway's own "
        "settings (ring_hours, measuring.values_days), and its key; delete the gateway's data folder.",
    ]


def delete_box(store: CloudStore, keys: KeyFolder | None, box_id: str) -> None:
    """Deletes a Box that is out of service, its data and its keys; a repeat deletes what is left.

    Raises StoreError, KeyFileError.
    """
    if keys is not None:
        KeyRegister(keys).revoke(box_id)  # first: it may not connect during the deletion
    store.delete_box(box_id)
    if keys is not None:
        KeyRegister(keys).forget(box_id)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def since_words(since_ms: int | None) -> str:
    """Says in the log of changes that a fact was corrected for the past."""
    return "" if since_ms is None else f" for the past, since {utc_words(since_ms)} UTC"


def utc_words(moment_ms: int) -> str:
    """`2026-10-26T08:30:00`, as `--since` reads it."""
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{moment_ms % 1000:03d}" if moment_ms % 1000 else "")


def box_of_name(store: CloudStore, name: str, but: str) -> str | None:
    """Returns the Box with this name, other than `but`: names are unique, as in the original's index."""
    for other in store.boxes():
        if name and other.name == name and other.box_id != but:
            return other.box_id
    return None
