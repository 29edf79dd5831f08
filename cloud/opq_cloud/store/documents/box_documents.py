"""Converts Boxes and their locations to the original's documents and back (docs/reference/opq-interop.md,
D.8).

`opq_boxes`, `locations` and `regions` keep the original's fields; `nominal_*`, `region`, `feeder`, `site`,
`phase`, `grid`, `gateway_id`, `retired_ms`, `starts`, `lost`, `stated_ms` and `stated_number` of a Box are
ours. Both stores use these functions: in MongoDB they make the documents, in the embedded store its JSON.

The facts of now are the fields of the document, `location_start_time_ms` and `stated_ms` (fact -> ms) say
since when. Former ones are in the original's `location_archive`: each entry has the location of then and
its `location_start_time_ms`, as in the original, and in `facts` what was stated for that moment, where that
is more than the location. `stated_number` counts the changes, so that of two writers one reads again.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from opq_cloud.store.box_record import MADE_UP, BoxLoss, BoxRecord, LocationRecord
from opq_cloud.store.documents import box_id_of, known_number, known_text
from opq_cloud.store.stated_facts import (
    BEGINNING_MS,
    FACTS,
    NS_PER_MS,
    SERVICE,
    Course,
    StatedFact,
    courses_of,
    stated_of,
    value_at,
    with_statement,
)
from opq_cloud.store.stated_starts import StatedStart
from opq_proto.messages import NOMINAL_HZ, NOMINAL_V, nominal_or_none

_TEXTS = ("description", "region", "feeder", "site", "phase", "grid", "public_key")
"""Fields that are a text, or "" where the text was removed."""
_TEXTS_OF_FACTS = ("location", "region", "feeder", "site", "phase", "grid")
_REMOVED: Mapping[str, Any] = {"unplugged": False, "retired_ms": 0, **dict.fromkeys(_TEXTS_OF_FACTS, "")}
ORIGINAL_DEFAULTS: Mapping[str, Any] = {"unplugged": False, "calibration_constant": 1}
"""Fields that the original's Mauka reads of each Box, as its View writes them where they are not known."""
LARGEST_LATITUDE = 90.0
LARGEST_LONGITUDE = 180.0
LOST = "lost"
"""Field of a Box with what was lost of it (`BoxLoss`)."""
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
        "retired_ms": box.retired_ms,
        "gateway_id": box.gateway_id,
        **{name: getattr(box, name) for name in _TEXTS},
    }
    if box.starts:
        document["starts"] = [asdict(start) for start in box.starts]
    return {key: value for key, value in document.items() if value is not None}


def original_box(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a document of `opq_boxes` with all that the original's Mauka reads of each."""
    missing = {name: value for name, value in ORIGINAL_DEFAULTS.items() if document.get(name) is None}
    return {**document, **missing}


def box_changes(
    known: Mapping[str, Any] | None, box: BoxRecord, now_ms: int, since_ms: int | None = None
) -> dict[str, Any]:
    """Returns the fields to set in the stored document `known` so that it agrees with `box`.

    `since_ms`: from when its facts hold; None: from now on. Where another value is stated for later, that
    stays the present one. If a Box moves, a region that was set for the Box itself is cleared. A new Box
    always gets a name, because the original's index on the name is unique.
    """
    changes = box_document(box)
    before = BoxRecord(box.box_id, "")
    if known is None:
        changes.setdefault("name", f"Box {box.box_id}")
        known = {}
    else:
        before = box_from_document({"box_id": box.box_id, **known})
    if box.location is not None and box.location != (before.location or "") and before.region:
        changes.setdefault("region", "")
    courses = {**courses_of(before.stated), **courses_of(box.stated)}
    for name in FACTS:
        if name not in changes:
            continue
        value = changes[name] or None
        course = courses.get(name, ())
        stood = getattr(before, name)
        made_up = before.description == MADE_UP and box.description is None and name not in SERVICE
        if made_up and not course and since_ms is None:
            courses[name] = ((now_ms, value),)
            continue
        moment_ms = since_ms
        if name in SERVICE and not box.stated:
            moment_ms = box.retired_ms or since_ms
            if moment_ms is None and known and (stood or None) != value:
                moment_ms = now_ms
        if moment_ms is None and name == "location" and value and not course and stood is None:
            courses[name] = ((now_ms, value),)
        elif not (box.stated and course and course[-1][1] == value):
            courses[name] = with_statement(course, stood or None, value, moment_ms, now_ms)
        if course := courses.get(name, ()):
            changes[name] = _as_stored(name, course[-1][1])
    return {**changes, **_stated_fields(courses, known)}


def _as_stored(name: str, value: Any) -> Any:
    """The value of a fact in its field; a removed one is empty, because a field that is left out stays."""
    return _REMOVED.get(name) if value is None else value


def _stated_fields(courses: Mapping[str, Course], known: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a document that say since when its facts hold, and what held before."""
    former: dict[int, dict[str, Any]] = {}
    since = {}
    for name, course in courses.items():
        for since_ms, value in course[:-1]:
            former.setdefault(since_ms, {})[name] = value
        if course and course[-1][0]:
            since[name] = course[-1][0]
    places = courses.get("location", ())
    found: dict[str, Any] = {}
    if former or known.get("location_archive"):
        found["location_archive"] = [
            _archived(
                value_at(places, since_ms * NS_PER_MS) if places else known.get("location"), since_ms, facts
            )
            for since_ms, facts in sorted(former.items())
        ]
    if "location" in since:
        found["location_start_time_ms"] = since.pop("location")
    elif "location" in courses and known.get("location_start_time_ms"):
        found["location_start_time_ms"] = BEGINNING_MS
    if since or known.get("stated_ms"):
        found["stated_ms"] = since
    if any(known.get(name) != value for name, value in found.items()):
        found["stated_number"] = (_whole(known.get("stated_number")) or 0) + 1
    return found


def _archived(location: str | None, since_ms: int, facts: dict[str, Any]) -> dict[str, Any]:
    """An entry of the archive: the original's where only the location was stated."""
    entry: dict[str, Any] = {"location": location or "", "location_start_time_ms": since_ms}
    return entry if facts.keys() == {"location"} else {**entry, "facts": facts}


def box_from_document(document: Mapping[str, Any]) -> BoxRecord:
    """Reads a Box, also where the original wrote it or a person edited it; invalid values become None."""
    box_id = box_id_of(document)
    retired_ms = _whole(document.get("retired_ms")) or None
    return BoxRecord(
        box_id=box_id,
        name=str(document.get("name") or box_id),
        location=_text(document.get("location")),
        calibration_constant=_constant(document.get("calibration_constant")),
        nominal_v=_nominal(document.get("nominal_v"), NOMINAL_V),
        nominal_hz=_nominal(document.get("nominal_hz"), NOMINAL_HZ),
        unplugged=_flag(document.get("unplugged")),
        retired_ms=retired_ms,
        stated=stated_of(_courses(document)),
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
        lost=tuple(losses_of(document)),
        gateway_id=_whole(document.get("gateway_id")) or None,
        **{name: _text(document.get(name)) for name in _TEXTS},
    )


def losses_of(document: Mapping[str, Any]) -> Iterator[BoxLoss]:
    """What was lost of the Box of a document."""
    for entry in document.get(LOST) or ():
        if isinstance(entry, Mapping):
            count, start_ms, end_ms = (_whole(entry.get(name)) for name in ("count", "start_ms", "end_ms"))
            kind, place = (str(entry.get(name) or "") for name in ("kind", "place"))
            if count is not None and start_ms is not None and end_ms is not None:
                yield BoxLoss(count, start_ms, end_ms, kind, place)


def _courses(document: Mapping[str, Any]) -> dict[str, Course]:
    """The courses of the facts of a document, of those that were not always as they are."""
    stated: list[StatedFact] = []
    for entry in document.get("location_archive") or ():
        if isinstance(entry, Mapping):
            since_ms = _whole(entry.get("location_start_time_ms")) or BEGINNING_MS
            facts = entry.get("facts", entry)
            if isinstance(facts, Mapping):
                found = (name for name in FACTS if name in facts)
                stated += (StatedFact(name, since_ms, _fact(name, facts[name])) for name in found)
    stored = document.get("stated_ms")
    since = {**stored} if isinstance(stored, Mapping) else {}
    since["location"] = document.get("location_start_time_ms")
    former = courses_of(stated)
    for name in FACTS:
        stated_ms = _whole(since.get(name)) or None
        last = former.get(name, ())
        if stated_ms is None:
            if not last:
                continue
            stated_ms = last[-1][0] + 1
        value = _fact(name, document.get(name))
        if last or value is not None or stored:
            stated.append(StatedFact(name, stated_ms, value))
    courses = courses_of(stated)
    for name in SERVICE:
        course = courses.get(name, ())
        if course and course[0][0] > BEGINNING_MS and course[0][1] is not None:
            courses[name] = ((BEGINNING_MS, None), *course)
    return courses


def _fact(name: str, value: object) -> Any:
    """The value of a fact as a record has it, also from a document that a person edited."""
    if name in _TEXTS_OF_FACTS:
        return _text(value)
    if name == "unplugged":
        return _flag(value) or None
    if name == "retired_ms":
        return _whole(value) or None
    if name == "calibration_constant":
        return _constant(value)
    return _nominal(value, NOMINAL_V if name == "nominal_v" else NOMINAL_HZ)


def _constant(value: object) -> float | None:
    """Reads counts per volt; the whole number 1 is what the original writes where it is not known."""
    return None if isinstance(value, int) and value == 1 else known_number(value)


def _text(value: object) -> str | None:
    """Reads a text; None also where it is empty."""
    return known_text(value) or None


def _flag(value: object) -> bool | None:
    """Reads yes or no; None where it is a text, such as "false"."""
    return bool(value) if isinstance(value, int | float) else None


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
    longitude, latitude = (known_number(value) for value in coordinates)
    if longitude is None or latitude is None:
        return None
    if not (abs(longitude) <= LARGEST_LONGITUDE and abs(latitude) <= LARGEST_LATITUDE):
        return None
    slug = str(document["slug"])
    return LocationRecord(slug, latitude, longitude, str(document.get("description") or slug))
