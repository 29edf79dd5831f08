"""Measurements of many Boxes as protobuf bytes, made together: one matrix of bytes instead of a message each.

The bytes are those of `measurement_to_wire` with the metrics in the order of their keys (protobuf leaves the
order of a map open), followed by the sequence numbers as the gateway's uplink appends them. Times, numbers
and floats have a fixed length for decades, so all rows whose id and uncertainty have the same length are
alike. A Measurement that does not fit this (a value of 0, which protobuf leaves out) is serialised the
ordinary way.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from opq_proto.measurement.fields import METRIC_NAMES
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_proto.wire.frames import measurement_to_wire
from opq_proto.wire.opqbox3_pb2 import Measurement as WireMeasurement
from opq_proto.wire.packed_counts import varint
from opq_sim.mains.profiles import FloatArray

IndexArray = NDArray[np.int64]
_MS_BYTES, _NS_BYTES, _SEQUENCE_BYTES = 6, 9, 6
_MS_RANGE = 1 << 35, 1 << 42
"""1971 to 2109 in ms: a varint of six bytes; in ns one of nine."""
_FLOATS = (b"\x0d", b"\x15", b"\x1d")  # min, max, average
_VARINT, _FIXED32 = 0, 5


def _key(number: int, kind: int) -> bytes:
    return varint(number << 3 | kind)


def _put_varint(rows: NDArray[np.uint8], at: int, width: int, values: IndexArray) -> int:
    """Writes `values` (n,) as varints of exactly `width` bytes; returns where the next field begins."""
    shifts = 7 * np.arange(width, dtype=np.int64)
    digits = (values[:, np.newaxis] >> shifts) & 0x7F
    digits[:, :-1] |= 0x80
    rows[:, at : at + width] = digits
    return at + width


class MeasurementRows:
    """Makes rows for Boxes whose nominal values, clock and source do not change."""

    def __init__(
        self,
        box_ids: Sequence[str],
        nominal_v: FloatArray,
        nominal_hz: FloatArray,
        uncertainty_ns: int,
        source: TimeSource,
        start_id: int = 0,
    ) -> None:
        """`start_id`: the start of all these Boxes; 0: not named."""
        self._box_ids = tuple(box_ids)
        self._numbers = np.array([int(box_id) for box_id in box_ids], np.int64)
        self._nominal_v, self._nominal_hz = nominal_v, nominal_hz
        self._uncertainty_ns, self._source, self._start_id = uncertainty_ns, source, start_id
        self._widths = np.array([len(varint(int(number))) for number in self._numbers])

    def bodies(
        self, which: IndexArray, start_ns: IndexArray, end_ns: IndexArray, metrics: FloatArray
    ) -> list[bytes]:
        """Serialises Measurements without sequence numbers.

        Args:
            which: (n,) Boxes by index; start_ns, end_ns: (n,) UTC.
            metrics: (n, 4, 3) of METRIC_NAMES: minimum, maximum, mean.
        """
        values = metrics.astype(np.float32)
        timestamp_ms = (end_ns + 500_000) // 1_000_000
        ordinary = np.isfinite(values).all(axis=(1, 2)) & (values != 0).all(axis=(1, 2))
        ordinary &= (
            (timestamp_ms >= _MS_RANGE[0]) & (timestamp_ms < _MS_RANGE[1]) & (self._numbers[which] > 0)
        )
        found: list[bytes] = [b""] * len(which)
        for width in np.unique(self._widths[which]).tolist():
            alike = np.flatnonzero(ordinary & (self._widths[which] == width))
            if len(alike):
                rows = self._matrix(
                    which[alike], start_ns[alike], end_ns[alike], timestamp_ms[alike], values[alike], width
                )
                size, data = rows.shape[1], rows.tobytes()
                for place, at in enumerate(alike.tolist()):
                    found[at] = data[place * size : (place + 1) * size]
        for at in np.flatnonzero(~ordinary).tolist():
            found[at] = self._one(int(which[at]), int(start_ns[at]), int(end_ns[at]), metrics[at])
        return found

    def _matrix(
        self,
        which: IndexArray,
        start_ns: IndexArray,
        end_ns: IndexArray,
        timestamp_ms: IndexArray,
        values: NDArray[np.float32],
        width: int,
    ) -> NDArray[np.uint8]:
        """(n, length) bytes for Boxes whose ids have `width` bytes."""
        parts: list[bytes | tuple[int, IndexArray] | NDArray[np.float32]] = [
            _key(1, _VARINT), (width, self._numbers[which]), _key(2, _VARINT), (_MS_BYTES, timestamp_ms),
        ]  # fmt: skip
        for number, name in enumerate(METRIC_NAMES):
            entry = b"\x0a" + varint(len(name)) + name.encode() + b"\x12\x0f"
            parts.append(b"\x1a" + varint(len(entry) + 15) + entry)
            for column, tag in enumerate(_FLOATS):
                parts += [tag, values[:, number, column]]
        parts += [_key(1000, _VARINT), (_NS_BYTES, start_ns), _key(1001, _VARINT), (_NS_BYTES, end_ns)]
        parts.append(_key(1002, _VARINT) + varint(self._uncertainty_ns))
        if self._source:
            parts.append(_key(1003, _VARINT) + varint(int(self._source)))
        for number, nominal in ((1008, self._nominal_v), (1009, self._nominal_hz)):
            parts += [_key(number, _FIXED32), nominal[which].astype(np.float32)]
        if self._start_id:
            parts.append(_key(1022, _VARINT) + varint(self._start_id))
        return _joined(parts, len(which))

    def _one(self, box: int, start_ns: int, end_ns: int, metrics: FloatArray) -> bytes:
        fields = {
            name: Metric(*row) for name, row in zip(METRIC_NAMES, metrics.tolist(), strict=True)
        }  # values that are not finite are left out on the wire
        return measurement_to_wire(
            Measurement(
                self._box_ids[box],
                (end_ns + 500_000) // 1_000_000,
                fields,
                start_ns,
                end_ns,
                self._uncertainty_ns,
                self._source,
                nominal_v=float(self._nominal_v[box]),
                nominal_hz=float(self._nominal_hz[box]),
                start_id=self._start_id or None,
            )
        )


def _joined(
    parts: Sequence[bytes | tuple[int, IndexArray] | NDArray[np.float32]], count: int
) -> NDArray[np.uint8]:
    """(count, length): fixed bytes, varints of a fixed width, floats, in this order."""
    lengths = [
        len(part) if isinstance(part, bytes) else part[0] if isinstance(part, tuple) else 4 for part in parts
    ]
    rows = np.empty((count, sum(lengths)), np.uint8)
    at = 0
    for part, length in zip(parts, lengths, strict=True):
        if isinstance(part, bytes):
            rows[:, at : at + length] = np.frombuffer(part, np.uint8)
        elif isinstance(part, tuple):
            _put_varint(rows, at, length, part[1])
        else:
            little = np.ascontiguousarray(part, dtype="<f4")
            rows[:, at : at + length] = little.view(np.uint8).reshape(count, 4)
        at += length
    return rows


def sequence_tails(sequences: IndexArray, oldest: IndexArray) -> list[bytes]:
    """The bytes after a new Measurement's body: its sequence, and the oldest one that its Box holds."""
    both = np.concatenate((sequences, oldest))
    if len(both) and int(both.min()) >= _MS_RANGE[0] and int(both.max()) < _MS_RANGE[1]:
        parts: list[bytes | tuple[int, IndexArray] | NDArray[np.float32]] = [
                _key(1004, _VARINT), (_SEQUENCE_BYTES, sequences),
                _key(1007, _VARINT), (_SEQUENCE_BYTES, oldest),
            ]  # fmt: skip
        rows = _joined(parts, len(sequences))
        size, data = rows.shape[1], rows.tobytes()
        return [data[at : at + size] for at in range(0, len(data), size)]
    return [sequence_tail(*each, False) for each in zip(sequences.tolist(), oldest.tolist(), strict=True)]


def sequence_tail(sequence: int, oldest: int, backfilled: bool) -> bytes:
    """The same bytes for one Measurement, new or sent again."""
    return WireMeasurement(
        sequence=sequence, oldest_sequence=oldest, backfilled=backfilled
    ).SerializeToString()
