"""The fields that programs of the original read of each document, so that they can use ours.

Source: openpowerquality/opq d3d9f051 (mauka/mongo.py and plugins, view/app/imports/api, makai, util/mongod).
A document of ours has all of them; `docs/schema.md` shows the table.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from opq_cloud.store.documents import Document

NUMBER, WHOLE, TEXT, FLAG = (int, float), (int,), (str,), (bool,)
LIST, TABLE, TIME = (list,), (dict,), (datetime,)
Kind = tuple[type, ...]
_WORDS: Mapping[Kind, str] = {
    NUMBER: "number",
    WHOLE: "whole number",
    TEXT: "text",
    FLAG: "yes or no",
    LIST: "list",
    TABLE: "object",
    TIME: "date",
}
_THREE = ("min", "max", "average")
_LIMITS = (
    "ref_f",
    "ref_v",
    "threshold_percent_f_low",
    "threshold_percent_f_high",
    "threshold_percent_v_low",
    "threshold_percent_v_high",
    "threshold_percent_thd_high",
)


@dataclass(frozen=True, slots=True)
class ReadField:
    """A field that a program of the original reads, with a dot before the name of an inner one."""

    name: str
    kind: Kind
    readers: str
    optional: bool = False
    """Whether its readers work without it."""


def _fields(kind: Kind, readers: str, *names: str, optional: bool = False) -> tuple[ReadField, ...]:
    return tuple(ReadField(name, kind, readers, optional) for name in names)


READ_FIELDS: Mapping[str, Sequence[ReadField]] = {
    "measurements": (
        *_fields(TEXT, "Mauka, View", "box_id"),
        *_fields(WHOLE, "Mauka, View", "timestamp_ms"),
        *_fields(
            NUMBER, "View, get_event_data.py", "voltage", "frequency", "thd", "transient", optional=True
        ),
        *_fields(WHOLE, "LahaGcPlugin", "expire_at"),
    ),
    "trends": (
        *_fields(TEXT, "View", "box_id"),
        *_fields(WHOLE, "View, LahaGcPlugin", "timestamp_ms"),
        *_fields(TABLE, "View", "voltage", "frequency", "thd", "transient", optional=True),
        *(
            field
            for metric in ("voltage", "frequency", "thd", "transient")
            for field in _fields(NUMBER, "View", *(f"{metric}.{each}" for each in _THREE), optional=True)
        ),
        *_fields(TEXT, "View", "location"),
        *_fields(WHOLE, "LahaGcPlugin", "expire_at"),
    ),
    "events": (
        *_fields(WHOLE, "Mauka, View", "event_id"),
        *_fields(TEXT, "View", "description"),
        *_fields(LIST, "LahaGcPlugin, View", "boxes_triggered", "boxes_received"),
        *_fields(
            WHOLE,
            "LahaGcPlugin, View",
            "target_event_start_timestamp_ms",
            "target_event_end_timestamp_ms",
            "expire_at",
        ),
    ),
    "box_events": (
        *_fields(WHOLE, "MakaiEventPlugin, View", "event_id"),
        *_fields(TEXT, "MakaiEventPlugin, View", "box_id", "data_fs_filename", "location"),
        *_fields(NUMBER, "MakaiEventPlugin, View", "event_start_timestamp_ms", "event_end_timestamp_ms"),
    ),
    "incidents": (
        *_fields(WHOLE, "Mauka, View", "incident_id", "event_id", "expire_at"),
        *_fields(NUMBER, "LahaGcPlugin, View", "start_timestamp_ms", "end_timestamp_ms"),
        *_fields(TEXT, "LahaGcPlugin, View", "box_id", "gridfs_filename"),
        *_fields(TEXT, "View", "location", "measurement_type", "ieee_duration"),
        *_fields(NUMBER, "View", "deviation_from_nominal"),
        *_fields(LIST, "View", "measurements", "classifications", "annotations"),
        *_fields(TABLE, "View", "metadata"),
    ),
    "fs.files": (
        *_fields(TEXT, "Mauka, View", "filename"),
        *_fields(WHOLE, "SystemStatsPlugin", "length"),
    ),
    "opq_boxes": (
        *_fields(TEXT, "Mauka, Makai, View", "box_id"),
        *_fields(NUMBER, "MakaiEventPlugin, View", "calibration_constant"),
        *_fields(FLAG, "OutagePlugin, View", "unplugged"),
        *_fields(TEXT, "View", "name"),
        *_fields(TEXT, "Mauka, Makai, View", "location", "description", optional=True),
        *_fields(LIST, "View", "location_archive", optional=True),
    ),
    "locations": (
        *_fields(TEXT, "View", "slug", "description"),
        *_fields(LIST, "View", "coordinates"),
    ),
    "regions": _fields(TEXT, "View", "regionSlug", "locationSlug"),
    "laha_config": _fields(
        WHOLE,
        "Makai, Mauka",
        *(
            f"ttls.{name}"
            for name in ("box_samples", "measurements", "trends", "events", "incidents", "phenomena")
        ),
    ),
    "makai_config": (
        *_fields(
            NUMBER,
            "Makai, Mauka, View",
            *(f"triggering.default_{name}" for name in _LIMITS),
        ),
        *_fields(
            LIST,
            "Makai, ThresholdOptimizationPlugin, SystemStatsPlugin, View",
            "triggering.triggering_overrides",
        ),
    ),
    "health": (
        *_fields(TEXT, "View", "service", "serviceID", "status", "info"),
        *_fields(TIME, "View", "timestamp"),
    ),
    "laha_stats": (
        *_fields(WHOLE, "View", "timestamp_s"),
        *_fields(TABLE, "View", "plugin_stats", "system_stats", "laha_stats", "other_stats"),
    ),
}
"""Collection -> what is read of each of its documents."""


def missing_fields(collection: str, document: Document) -> list[str]:
    """Returns the fields that a reader of the original would miss, each with the reason."""
    return [
        f"{collection}.{field.name}: {why}"
        for field in READ_FIELDS[collection]
        if (why := _why_unread(field, document)) is not None
    ]


def read_fields_table() -> str:
    """Returns the table of `docs/schema.md`."""
    rows = ["| collection | field | kind | read by |", "| --- | --- | --- | --- |"]
    return "\n".join([*rows, *_rows()]) + "\n"


def _rows() -> Iterator[str]:
    for collection, fields in READ_FIELDS.items():
        joined: dict[tuple[Kind, str, bool], list[str]] = {}
        for field in fields:
            joined.setdefault((field.kind, field.readers, field.optional), []).append(f"`{field.name}`")
        for (kind, readers, optional), names in joined.items():
            word = f"{_WORDS[kind]}, or absent" if optional else _WORDS[kind]
            yield f"| `{collection}` | {', '.join(names)} | {word} | {readers} |"


def _why_unread(field: ReadField, document: Document) -> str | None:
    found: Any = document
    for name in field.name.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return None if field.optional else "is missing"
        found = found[name]
    is_readable = isinstance(found, field.kind) and (field.kind == FLAG or not isinstance(found, bool))
    return None if is_readable else f"is {found!r:.40}; want a {_WORDS[field.kind]}"
