"""The place, region and site of a Box, as its form states them, and their end where it is given back."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlencode

from opq_cloud.store.box_place import own_places, slug_of_its_own
from opq_cloud.store.box_record import BoxRecord, LocationRecord, box_order
from opq_cloud.store.records.accounts.account_records import AccountRecords, BoxAccess
from opq_cloud.store.site_key import checked_site, owners_site
from opq_cloud.store.site_key import site_name as site_name
from opq_cloud.store.stated_facts import (
    BEGINNING_MS,
    FACTS,
    NS_PER_MS,
    PLACE,
    courses_of,
    stated_of,
    with_statement,
)
from opq_cloud.store.store import CloudStore
from opq_cloud.view.pages.drawing.rendering import marked_time
from opq_cloud.view.pages.visible.public_mark import hold_mark
from opq_cloud.view.web.forms import SentForm
from opq_cloud.view.web.visitors import Visitor
from opq_proto.kit.typed_time import typed_ns
from opq_proto.time_units import WEEK_MS


def regions_offered(store: CloudStore, box: BoxRecord) -> list[str]:
    """The regions that a Box's owner may choose: those of places, which administrators name, and its own.

    A region that an owner could name would be one that they and whom they want to observe are in.
    """
    named = {region for regions in store.regions().values() for region in regions}
    return sorted({*named, box.region or ""} - {""})


def read_since(form: SentForm, field: str = "since") -> int | None:
    """From when on what is changed holds, in ms; None: from now on. Raises ValueError with a sentence."""
    text, now_ns = form.text(field, 40), time.time_ns()
    if not text:
        return None
    try:
        moment_ns = typed_ns(text, now_ns)
    except ValueError:
        raise ValueError(f"Since is {text}; want a time in UTC such as 2026-10-26T08:30.") from None
    if not 0 < moment_ns <= now_ns:
        raise ValueError(f"Since is {text}; want a time that is past, or nothing.")
    return moment_ns // NS_PER_MS


def check_own_time(since_ms: int | None, access: BoxAccess) -> None:
    """Raises ValueError where an owner states something for the time before they had the Box."""
    if since_ms is not None and since_ms < access.since_ms:
        first = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(-(-access.since_ms // 1000)))
        raise ValueError(f"Since is before the Box was yours; want {first} (UTC) or later, or nothing.")


def put_facts(store: CloudStore, wanted: BoxRecord, since_ms: int | None) -> None:
    """Stores the facts of a form. Those that it does not change hold since when they did."""
    before = store.box(wanted.box_id) or BoxRecord(wanted.box_id, "")
    same = {
        name: None for name in FACTS if (getattr(wanted, name) or None) == (getattr(before, name) or None)
    }
    store.put_box(replace(wanted, **same), since_ms)  # type: ignore[arg-type]


def put_name_and_place(
    store: CloudStore,
    box_id: str,
    name: str,
    region: str,
    place: LocationRecord | None,
    since_ms: int | None = None,
) -> None:
    """Stores name and place. An empty name becomes `Box 7`; without a place the Box keeps its present one."""
    if place is None:
        put_facts(store, BoxRecord(box_id, name or f"Box {box_id}", region=region), since_ms)
        return
    store.put_location(place)
    store.put_box(BoxRecord(box_id, name or f"Box {box_id}", location=place.slug), since_ms)
    put_facts(store, BoxRecord(box_id, "", region=region), since_ms)  # a move clears the region


def moved_to(wanted: LocationRecord | None, stands: LocationRecord | None) -> LocationRecord | None:
    """The place to move to; None where nothing was typed or the Box has these coordinates already."""
    if wanted is None or stands is None:
        return wanted
    return None if same_place(wanted, stands) else wanted


def same_place(first: LocationRecord, other: LocationRecord | None) -> bool:
    return other is not None and (first.latitude, first.longitude) == (other.latitude, other.longitude)


def forget_place(store: CloudStore, box_id: str, since_ms: int | None = None) -> None:
    """Removes the Box's place and, with its coordinates, each place of its own at which it was; a place that
    other Boxes may share stays in the store."""
    box = store.box(box_id)
    store.put_box(BoxRecord(box_id, "", location=""), since_ms)
    for slug in () if box is None else own_places(box):
        store.remove_location(slug)


def read_place(form: SentForm, box_id: str, known: Mapping[str, LocationRecord]) -> LocationRecord | None:
    """The typed place; None where nothing was typed. Raises ValueError where the text is not a place."""
    texts = form.text("latitude", 20), form.text("longitude", 20)
    if not any(texts):
        return None
    try:
        latitude, longitude = (float(text) for text in texts)
    except ValueError as error:
        raise ValueError("Latitude and longitude are numbers in degrees, such as 21.3 and -157.8.") from error
    if (
        not (math.isfinite(latitude) and math.isfinite(longitude))
        or abs(latitude) > 90
        or abs(longitude) > 180
    ):
        raise ValueError("Latitude goes from -90 to 90, longitude from -180 to 180 degrees.")
    return LocationRecord(slug_of_its_own(known, box_id, latitude, longitude), latitude, longitude)


def hold_moved(
    store: CloudStore, people: AccountRecords, box_id: str, before: LocationRecord | None, radius_km: float
) -> None:
    """Everybody goes on seeing a Box where it was, if it has moved since it was at `before`."""
    box = store.box(box_id)
    after = store.locations().get((box.location if box else None) or "")
    if before is None and after is not None:
        hold_mark(people, box_id, None, radius_km)
    elif before is not None and not same_place(before, after):
        hold_mark(people, box_id, (before.latitude, before.longitude), radius_km)


def read_site(form: SentForm, box: BoxRecord, visitor: Visitor) -> str | None:
    """The key of the typed site; None where it stays as it is. Raises ValueError where it is not a name.

    What an owner types names a site of their own; an administrator may name every site.
    """
    text = form.text("site", 80)
    if "site" not in form.fields or text == site_name(box.site):
        return None
    if visitor.administers or not text:
        return checked_site(text)
    return owners_site(text, visitor.account.account_id if visitor.account else "")


def forget_box(store: CloudStore, box_id: str) -> None:
    """Ends what the owner stated: name and all facts of its place, and deletes its coordinates.

    What was stated before stays for the time before, but a place whose coordinates are gone; what a new owner
    states holds from then on.
    """
    box, now_ms = store.box(box_id), time.time_ns() // NS_PER_MS
    if box is None:
        return
    names, own, stated = [name for name in PLACE if name != "grid"], own_places(box), courses_of(box.stated)
    ended = {}
    for name in names:
        course = stated.get(name, ((BEGINNING_MS, getattr(box, name)),))
        known = tuple((since_ms, None if value in own else value) for since_ms, value in course)
        is_known = any(value is not None for _, value in known)
        ended[name] = with_statement(known, None, None, None, now_ms) if is_known else ((now_ms, None),)
    others = (name for name in ("grid", "nominal_v", "nominal_hz") if name not in stated)
    ended |= {name: ((now_ms, None),) for name in others if getattr(box, name) is None}
    texts = dict.fromkeys(("description", *names), "")
    record = BoxRecord(box_id, f"Box {box_id}", stated=stated_of(ended))
    store.put_box(replace(record, **texts))  # type: ignore[arg-type]
    for slug in own:
        store.remove_location(slug)


def former_rows(visitor: Visitor) -> list[dict[str, object]]:
    """Boxes that the visitor owned: id, when that was, and the query of `/past` for its last week."""
    rows: list[dict[str, object]] = []
    for box_id, spans in sorted(visitor.former.items, key=lambda each: box_order(each[0])):
        for span in spans:
            start_ms, end_ms = (each // NS_PER_MS for each in span)
            rows.append(
                {
                    "box_id": box_id,
                    "since": marked_time(start_ms, visitor) if start_ms else "",
                    "until": marked_time(end_ms, visitor),
                    "query": urlencode({"from": max(start_ms, end_ms - WEEK_MS), "to": end_ms}),
                }
            )
    return rows
