"""One interval as a row of the store's new ones: its values as bytes, in single precision. Pure.

Measurement -> new_row -> document -> add_new_row -> IntervalRow
"""

import math
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

import msgspec
import numpy as np

from opq_cloud.store.documents.readable import READ_ERRORS
from opq_cloud.store.intervals.interval_rows import IntervalRow
from opq_proto.errors import StoreError
from opq_proto.measurement.intervals import LENGTHS_MS
from opq_proto.messages import Interval, Measurement, known_uncertainty_ns


class _Body(msgspec.Struct, array_like=True):
    end_ns: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    flagged: bool
    coverage: float
    values: dict[str, float | bytes]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Body).decode


def place_of(measurement: Measurement) -> str:
    """Returns the place whose phases an interval is of; empty: it is of its Box, or is not an interval."""
    return "" if measurement.interval is None else measurement.interval.place


def new_row(measurement: Measurement) -> dict[str, Any] | None:
    """The document of an interval; one of a place has the place's name as its Box."""
    interval, start_ns, end_ns = measurement.interval, measurement.start_ns, measurement.end_ns
    if interval is None or start_ns is None or end_ns is None or interval.length_ms not in LENGTHS_MS:
        return None
    return {
        "box_id": interval.place or measurement.box_id,
        "length_ms": interval.length_ms,
        "start_ns": start_ns,
        "sequence": -1 if measurement.sequence is None else measurement.sequence,
        "body": _body(interval, end_ns, measurement.uncertainty_ns),
    }


def _body(interval: Interval, end_ns: int, uncertainty_ns: int | None) -> bytes:
    values: dict[str, float | bytes] = {
        name: np.array(value, "<f4").tobytes() if isinstance(value, tuple) else float(np.float32(value))
        for name, value in interval.values.items()
    }
    bound_ns = None if interval.coverage is None else known_uncertainty_ns(uncertainty_ns)
    if bound_ns is not None:  # with the windows' part; flicker comes beside it
        values["uncertainty_ns"] = float(np.float32(bound_ns))
    coverage = math.nan if interval.coverage is None else float(np.float32(interval.coverage))
    return _encode(_Body(end_ns, interval.flagged, coverage, values))


@lru_cache
def _floats(size: int) -> struct.Struct:
    return struct.Struct(f"<{size // 4}f")


def add_new_row(rows: dict[int, IntervalRow], document: Mapping[str, Any]) -> None:
    """Adds a document of `new_row` to rows by their start.

    Raises:
        StoreError: the bytes are not those of an interval.
    """
    try:
        start_ns, sequence = int(document["start_ns"]), int(document["sequence"])
        body = _decode(document["body"])
        values = {
            name: _floats(len(value)).unpack(value) if isinstance(value, bytes) else (value,)
            for name, value in body.values.items()
        }
    except (*READ_ERRORS, msgspec.MsgspecError, struct.error) as error:
        raise StoreError(f"intervals of Box {document['box_id']}: a row is damaged ({error})") from error
    row = rows.get(start_ns)
    if row is None:
        row = rows[start_ns] = IntervalRow(start_ns, body.end_ns)
    row.add(body.end_ns, body.flagged, body.coverage, values, [sequence] * 2)
