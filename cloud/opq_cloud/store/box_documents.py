"""Boxes and the places where they stand, as the original's documents and back (opq-interop, D.8).

`opq_boxes`, `locations` and `regions` keep the original's fields; `nominal_*`, `region`, `feeder`, `phase`,
`grid` and `retired_ms` of a Box are ours. Both stores use these functions: in MongoDB they make the
documents, in the embedded store its JSON columns.
"""

import math
from collections.abc import Mapping
from typing import Any

from opq_cloud.store.store import BoxRecord, LocationRecord
from opq_proto.messages import NOMINAL_HZ, NOMINAL_V, nominal_or_none

_TEXTS = ("description", "region", "feeder", "phase", "grid", "public_key")
"""Fields that are a text, or "" where somebody took the text away."""
LARGEST_LATITUDE = 90.0
LARGEST_LONGITUDE = 180.0
REVISION = "boxes_revision"
"""Counter of both stores: each change of a Box, location or region raises it."""


def box_document(box: BoxRecord) -> dict[str, Any]:
    """`opq_boxes` without what is unknown, so that a stored value stays."""
    document = {
        "box_id": box.box_id, "name": box.name or None, "unplugged": box.unplugged,
        "location": box.location, "calibration_constant": box.calibration_constant,
        "nominal_v": box.nominal_v, "nominal_hz": box.nominal_hz,
        "location_start_time_ms": box.location_start_time_ms, "retired_ms": box.retired_ms,
        **{name: getattr(box, name) for name in _TEXTS},
    }  # fmt: skip
    if box.location_archive:
        document["location_archive"] = [_archived(*entry) for entry in box.location_archive]
    return {key: value for key, value in document.items() if value is not None}


def box_changes(known: Mapping[str, Any] | None, box: BoxRecord, now_ms: int) -> dict[str, Any]:
    """The fields to set, so that the stored document `known` says what `box` says.

    A Box that moves has its former place added to `location_archive`, as the original's View does it; a
    region that was set for the Box itself does not go along. A new Box has a name: the original's index on
    it is unique.
    """
    changes = box_document(box)
    if known is None:
        changes.setdefault("name", f"Box {box.box_id}")
        known = {}
    before = known.get("location")
    if box.location is not None and box.location != before:
        changes.setdefault("location_start_time_ms", now_ms)
        if before and not box.location_archive:
            former = _archived(before, known.get("location_start_time_ms"))
            changes["location_archive"] = [*(known.get("location_archive") or ()), former]
        if known.get("region"):
            changes.setdefault("region", "")
    return changes


def _archived(location: str, start_ms: int | None) -> dict[str, Any]:
    return {"location": location, "location_start_time_ms": start_ms}


def box_from_document(document: Mapping[str, Any]) -> BoxRecord:
    """Also of one that the original wrote, or that somebody edited: what cannot be is not known."""
    unplugged = document.get("unplugged")
    return BoxRecord(
        box_id=str(document["box_id"]),
        name=str(document.get("name") or document["box_id"]),
        location=document.get("location") or None,
        calibration_constant=_number(document.get("calibration_constant")),
        nominal_v=_nominal(document.get("nominal_v"), NOMINAL_V),
        nominal_hz=_nominal(document.get("nominal_hz"), NOMINAL_HZ),
        unplugged=None if unplugged is None else bool(unplugged),
        location_start_time_ms=_whole(document.get("location_start_time_ms")),
        location_archive=tuple(
            (str(entry["location"]), _whole(entry.get("location_start_time_ms")))
            for entry in document.get("location_archive") or ()
            if isinstance(entry, Mapping) and entry.get("location")
        ),
        retired_ms=_whole(document.get("retired_ms")) or None,
        **{name: str(document.get(name) or "") or None for name in _TEXTS},
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _nominal(value: object, limits: tuple[float, float]) -> float | None:
    """A field that the original does not have, and that anybody may have edited."""
    return nominal_or_none(float(value), limits) if isinstance(value, int | float) else None


def location_document(location: LocationRecord) -> dict[str, Any]:
    """`locations`; the original's index on `description` is unique, so that an absent one is the slug."""
    return {
        "slug": location.slug,
        "coordinates": [location.longitude, location.latitude],
        "description": location.description or location.slug,
    }


def location_from_document(document: Mapping[str, Any]) -> LocationRecord | None:
    """None without coordinates that can be."""
    coordinates = document.get("coordinates")
    if not isinstance(coordinates, list | tuple) or len(coordinates) != 2 or not document.get("slug"):
        return None
    longitude, latitude = (_number(value) for value in coordinates)
    if longitude is None or latitude is None:
        return None
    if not (abs(longitude) <= LARGEST_LONGITUDE and abs(latitude) <= LARGEST_LATITUDE):
        return None
    slug = str(document["slug"])
    return LocationRecord(slug, latitude, longitude, str(document.get("description") or slug))
