"""The fields of a document that a copy has, and the sums by which two stores are compared. Pure."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from opq_cloud.store.documents.box_documents import original_box
from opq_cloud.store.documents.event_documents import event_record, file_name, half_cycles_name
from opq_cloud.store.documents.findings import incident_document, known_from_document
from opq_cloud.store.documents.retention import Ttls
from opq_cloud.store.driver import Fields, Table
from opq_cloud.store.records.events.waveforms import file_names
from opq_cloud.store.records.intervals.interval_records import check_block, check_new_row
from opq_cloud.store.records.part import expires
from opq_cloud.store.records.tables import (
    BOX_EVENTS,
    BOXES,
    DUE,
    EVENTS,
    INCIDENTS,
    INTERVAL_BLOCKS,
    INTERVALS_DAMAGED,
    INTERVALS_NEW,
    TRAFFIC,
)
from opq_proto.measurement.fields import STORED
from opq_proto.messages import TREND_MS, Measurement, TimeSource, Trend

TEXT_FIELDS = frozenset({"box_id", "slug", "locationSlug", "regionSlug", "_key", "family", "part"})
"""Fields of keys that are texts; the others are whole numbers."""
STORE_MADE_FIELDS = frozenset({"_id", "data_fs_id", "gridfs_filename", "measurements", "puts", "samples"})
"""Fields that a store makes for itself."""


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """A file that a document names."""

    name: str
    """In the copy."""
    event_id: int
    box_id: str
    names: list[str]
    """Where it may be in the source, the likeliest first."""
    file: object = None


def copied_document(table: Table, document: Fields) -> Fields:
    """Returns a document as it is put into a copy: an original's has all fields that ours have.

    Raises one of `readable.READ_ERRORS`: it cannot be read.
    """
    new = {name: plain_value(value) for name, value in document.items() if name not in STORE_MADE_FIELDS}
    for name in table.key:
        new[name] = _checked(name, new[name])
    if table is EVENTS:
        record, ours = event_record(new), "token" in new
        new |= {
            "token": record.token or f"original {record.event_id}",
            "start_ns": record.start_ns,
            "end_ns": record.end_ns,
            "finished": record.finished,
            "analysed": record.analysed or not ours,
            "requests": int(new.get("requests") or 0),
            "expire_at": int(new.get("expire_at") or expires(Ttls().events)),
        }
    elif table is BOXES:
        new = original_box(new)
    elif table is BOX_EVENTS:
        new["data_fs_filename"] = file_name(new["event_id"], new["box_id"])
    elif table is INCIDENTS:
        expire_at = int(new.get("expire_at") or expires(Ttls().incidents))
        new = incident_document(known_from_document(new), expire_at, "") | new
    elif table is TRAFFIC:
        new["timestamp_ms"] = int(new["timestamp_ms"])  # the original's have none
        new["expire_at"] = int(new.get("expire_at") or expires(Ttls().measurements))
    elif table is DUE:
        new["puts"] = 1
    elif table is INTERVAL_BLOCKS:
        check_block(new["level"], new["packed"])
    elif table is INTERVALS_NEW:
        check_new_row(new)
    elif table is INTERVALS_DAMAGED:
        raise ValueError(f"it is set aside: {new['why']}")
    return new


def files_of(table: Table, document: Fields) -> Iterator[CopiedFile]:
    """Yields the files of a document that was read of `table`."""
    if table is BOX_EVENTS:
        event_id, box_id = int(document["event_id"]), str(document["box_id"])
        names, file = file_names(document), document.get("data_fs_id")
        yield CopiedFile(file_name(event_id, box_id), event_id, box_id, names, file)
    elif table is EVENTS:
        event_id = int(document["event_id"])
        for box_id, why in document.get("half_cycles", {}).items():
            if not why:
                name = half_cycles_name(event_id, box_id)
                yield CopiedFile(name, event_id, box_id, [name])


def document_sum(table: Table, document: Fields) -> int:
    """Returns a number that is the same for equal documents, whichever store has them."""
    names = table.columns if table.in_columns else document.keys() - STORE_MADE_FIELDS
    given = {name: _comparable(document[name]) for name in names if document.get(name) is not None}
    return sum_of(json.dumps(given, sort_keys=True).encode())


def measurement_sum(row: Measurement) -> int:
    metrics = sorted((key, float(m.min), float(m.max), float(m.average)) for key, m in row.metrics.items())
    values = (getattr(row, each.name) for each in STORED)
    facts = tuple(int(value) if isinstance(value, TimeSource) else value for value in values)
    return sum_of(repr((facts, metrics)).encode())


def trend_sum(row: Trend, location: str) -> int:
    metrics = sorted((key, *map(float, three)) for key, three in row.metrics.items())
    histograms = sorted((key, each.packed) for key, each in row.histograms.items())
    covered_ms = row.covered_ms if row.length_ms == TREND_MS else row.time_ms
    facts = row.box_id, row.length_ms, row.start_ms, covered_ms, location
    return sum_of(repr((facts, metrics, histograms)).encode())


def sum_of(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=16).digest())


def _checked(name: str, value: Any) -> Any:
    wanted = str if name in TEXT_FIELDS else int
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, wanted):
        raise TypeError(f"{name} is {value!r:.40}")
    return value


def plain_value(value: Any) -> Any:
    """Returns a value as JSON has it; a time or an id of MongoDB is a text."""
    if isinstance(value, Mapping):
        return {str(name): plain_value(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(each) for each in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)  # pymongo has a type of its own for 64 bits
    return value if value is None or isinstance(value, bool | float | str | bytes) else str(value)


def _comparable(value: Any) -> Any:
    """Returns a value in one form: SQLite has 1 for true, 2.0 for 2 in some columns, and no NaN."""
    if isinstance(value, dict):
        return {name: _comparable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_comparable(each) for each in value]
    if isinstance(value, bytes):
        return hashlib.blake2b(value, digest_size=16).hexdigest()
    if isinstance(value, float):
        return None if value != value else int(value) if value.is_integer() else value
    return int(value) if isinstance(value, bool) else value
