"""Converts Boxes and their locations to the original's documents and back (docs/reference/opq-interop.md,
D.8).

`opq_boxes`, `locations` and `regions` keep the original's fields; `nominal_*`, `region`, `feeder`, `site`,
`phase`, `grid`, `gateway_id`, `retired_ms` and `starts` of a Box are ours. Both stores use these functions:
in MongoDB they make the documents, in the embedded store its JSON columns.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from opq_cloud.store.box_record import BoxRecord, LocationRecord
from opq_cloud.store.stated_starts import StatedStart
from opq_proto.messages import NOMINAL_HZ, NOMINAL_V, nominal_or_none

_TEXTS = ("description", "region", "feeder", "site", "phase", "grid", "public_key")
"""Fields that are a text, or "" where the text was removed."""
LARGEST_LATITUDE = 90.0
LARGEST_LONGITUDE = 180.0
REVISION = "boxes_revision"
"""Name of a counter in both stores, raised by each change of a Box, location or region."""


def box_document(box: BoxRecord) -> dict[str, Any]:
    """Returns the document for `opq_boxes`, without unknown fields, so that their stored values stay."""
    document = {
        "box_id": box.box_id,
        "name": box.name or None,
        "unplugged": box.unplugged,
        "location": box.location,
        "calibration_constant": box.calibration_constant,
        "nominal_v": box.nominal_v,
        "nominal_hz": box.nominal_hz,
        "location_start_time_ms": box.location_start_time_ms,
        "retired_ms": box.retired_ms,
        "gateway_id": box.gateway_id,
        **{name: getattr(box, name) for name in _TEXTS},
    }
    if box.location_archive:
        document["location_archive"] = [_archived(*entry) for entry in box.location_archive]
    if box.starts:
        document["starts"] = [asdict(start) for start in box.starts]
    return {key: value for key, value in document.items() if value is not None}


def box_changes(known: Mapping[str, Any] | None, box: BoxRecord, now_ms: int) -> dict[str, Any]:
    """Returns the fields to set in the stored document `known` so that it agrees with `box`.

    If a Box moves, its former place is added to `location_archive`, as the original's View does, and a region
    that was set for the Box itself is cleared. A new Box always gets a name, because the original's index on
    the name is unique.
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
    """Reads a Box, also where the original wrote it or a person edited it; invalid values become None."""
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
        starts=tuple(
            StatedStart(
                first_number,
                _whole(entry.get("start_id")),
                _nominal(entry.get("nominal_v"), NOMINAL_V),
                _nominal(entry.get("nominal_hz"), NOMINAL_HZ),
            )
            for entry in document.get("starts") or ()
            if isinstance(entry, Mapping) and (first_number := _whole(entry.get("first_number"))) is not None
        ),
        gateway_id=_whole(document.get("gateway_id")) or None,
        **{name: str(document.get(name) or "") or None for name in _TEXTS},
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _nominal(value: object, limits: tuple[float, float]) -> float | None:
    """Reads a nominal value, which the original does not have; None where it is outside `limits`."""
    return nominal_or_none(float(value), limits) if isinstance(value, int | float) else None


def location_document(location: LocationRecord) -> dict[str, Any]:
    """Returns the document for `locations`. Its `description` must be unique, so the slug is the default."""
    return {
        "slug": location.slug,
        "coordinates": [location.longitude, location.latitude],
        "description": location.description or location.slug,
    }


def location_from_document(document: Mapping[str, Any]) -> LocationRecord | None:
    """Reads a location; None without a slug and valid coordinates."""
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
