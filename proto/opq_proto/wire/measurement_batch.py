"""Reads many Measurements from the wire at once: messages of one shape as one matrix.

Boxes of one kind send the same fields in the same order, so that nearly all messages differ only in numbers.
The first message of a shape is read field by field and stored as a mask of the bytes that may differ;
messages that fit the mask are read as arrays. All others (a metric missing or one more, a value of 0, a
crossing, bytes that are not a Measurement) are left to `wire.measurement_from_wire`; both give the same
result to the bit. Source of the encoding: protobuf.dev, "Encoding".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.messages import NOMINAL_HZ, NOMINAL_V
from opq_proto.wire.frames import MAX_WINDOW_NS
from opq_proto.wire.measurement_columns import METRIC_NAMES

Columns = dict[str, NDArray[Any]]
"""Fields of `WireRows`."""
MIN_EQUAL_LENGTH = 16
"""Fewer messages of one length are read one by one, which takes 13 us each; arrays take at least 150 us."""
SHAPES_OF_LENGTH = 64
"""Shapes remembered per length of message; beyond that, messages that fit none are read one by one."""
LENGTHS = 64
LONGEST_BYTES = 400
"""A regular Measurement has 150 to 190."""
_VARINT, _LENGTH, _FIXED32 = 0, 2, 5
_ANY, _CONTINUES = 0x00, 0x80
"""Bits of a byte that are compared: none in a float, the top bit in a varint."""
_WIDTHS = {1: 5, 2: 9, 1000: 9, 1001: 9, 1002: 5, 1003: 1, 1004: 9, 1005: 1, 1007: 9,
           1012: 9, 1020: 9, 1021: 5}  # fmt: skip
"""Field -> most bytes of its varint: nine hold 63 bits."""
_NAMES = {name.encode(): place for place, name in enumerate(METRIC_NAMES)}
_NEEDED = frozenset((1, 2, 1000, 1001, 1002))
_FLOATS = 3 * len(METRIC_NAMES)
_NOMINALS = {1008: _FLOATS, 1009: _FLOATS + 1}
_LARGEST_U32 = 2**32 - 1
_TIMES_NS = 2**62


@dataclass(frozen=True, eq=False, slots=True)
class WireRows:
    """n Measurements as arrays, (n,) each, in the order in which they came.

    All have the four metrics with finite values, a start not after the end and an uncertainty; none is a
    crossing.
    """

    at: NDArray[np.int64]
    """Places of the Measurements in the batch."""
    box: NDArray[np.int64]
    timestamp_ms: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    uncertainty_ns: NDArray[np.int64]
    source: NDArray[np.int64]
    sequence: NDArray[np.int64]
    oldest: NDArray[np.int64]
    """-1 where the sender gives none."""
    clock_id: NDArray[np.int64]
    """0 where the sender gives none."""
    first_sample: NDArray[np.int64]
    samples: NDArray[np.int64]
    """-1 where the sender gives none."""
    backfilled: NDArray[np.int64]
    """1 where it was sent later, or again."""
    nominal_v: NDArray[np.float32]
    nominal_hz: NDArray[np.float32]
    """0 where the sender gives none within the allowed limits."""
    metrics: NDArray[np.float32]
    """(n, 4, 3) of METRIC_NAMES: least, most, mean."""

    def __len__(self) -> int:
        return len(self.at)

    def part(self, rows: NDArray[np.bool_]) -> "WireRows":
        """Returns these rows."""
        return WireRows(*(getattr(self, name)[rows] for name in self.__slots__))


_FIELDS = {1: "box", 2: "timestamp_ms", 1000: "start_ns", 1001: "end_ns", 1002: "uncertainty_ns",
           1003: "source", 1004: "sequence", 1005: "backfilled", 1007: "oldest",
           1012: "clock_id", 1020: "first_sample", 1021: "samples"}  # fmt: skip
_ABSENT = {
    "source": 0, "sequence": -1, "backfilled": 0, "oldest": -1, "clock_id": 0, "first_sample": -1,
    "samples": -1,
}  # fmt: skip


class MeasurementBatch:
    """Reads batches; remembers the shapes it has seen. Used by one thread."""

    def __init__(self) -> None:
        self._shapes: dict[int, list[_MessageShape]] = {}

    def read(self, bodies: Sequence[bytes]) -> tuple[WireRows | None, list[int]]:
        """Returns the regular Measurements, and the places of the other messages, rising."""
        by_length: dict[int, list[int]] = {}
        for at, size in enumerate(map(len, bodies)):
            if size in by_length:
                by_length[size].append(at)
            else:
                by_length[size] = [at]
        parts: list[Columns] = []
        others: list[int] = []
        for size, places in by_length.items():
            if len(places) < MIN_EQUAL_LENGTH or not 0 < size <= LONGEST_BYTES:
                others += places
            else:
                others += self._read_alike(bodies, size, np.array(places), parts)
        if not parts:
            return None, sorted(others)
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if len(parts) > 1:
            order = np.argsort(columns["at"], kind="stable")
            columns = {name: column[order] for name, column in columns.items()}
        return WireRows(**columns), sorted(others)

    def _read_alike(
        self, bodies: Sequence[bytes], size: int, places: NDArray[np.int64], parts: list[Columns]
    ) -> list[int]:
        """Reads messages of one length into `parts`; returns the places of those that could not be read."""
        data = np.frombuffer(b"".join([bodies[at] for at in places.tolist()]), np.uint8).reshape(-1, size)
        shapes = self._shapes.get(size)
        if shapes is None:
            if len(self._shapes) >= LENGTHS:
                self._shapes.clear()
            shapes = self._shapes[size] = []
        others: list[int] = []
        known = 0
        while len(places):
            if known == len(shapes):
                shape = _shape_of(data[0].tobytes()) if len(shapes) < SHAPES_OF_LENGTH else None
                if shape is None:
                    others.append(int(places[0]))
                    places, data = places[1:], data[1:]
                    if len(shapes) >= SHAPES_OF_LENGTH:
                        others += places.tolist()
                        return others
                    continue
                shapes.append(shape)
            shape = shapes[known]
            fits = shape.fits(data)
            if fits.all():
                shape.read(data, places, parts, others)
                if known:  # the commonest shape comes first
                    shapes.insert(0, shapes.pop(known))
                return others
            if fits.any():
                shape.read(data[fits], places[fits], parts, others)
                places, data = places[~fits], data[~fits]
            known += 1
        return others


class _MessageShape:
    """The fields of one message, and where they are."""

    __slots__ = ("_at_bytes", "_at_floats", "_begins", "_mask", "_names", "_nominals", "_shifts", "_want")

    def __init__(
        self, body: bytes, mask: bytearray, varints: dict[int, tuple[int, int]], floats: dict[int, int]
    ) -> None:
        """`varints`: field -> (offset, bytes); `floats`: place -> offset, metrics first."""
        self._mask = np.frombuffer(bytes(mask), np.uint8)
        self._want = np.frombuffer(body, np.uint8) & self._mask
        self._names = [_FIELDS[field] for field in varints]
        spans = list(varints.values())
        self._at_bytes = np.concatenate([np.arange(offset, offset + size) for offset, size in spans])
        self._shifts = np.concatenate([7 * np.arange(size) for _, size in spans])
        self._begins = np.cumsum([0, *(size for _, size in spans[:-1])])
        order = [*range(_FLOATS), *(place for place in _NOMINALS.values() if place in floats)]
        self._at_floats = np.concatenate([np.arange(floats[place], floats[place] + 4) for place in order])
        self._nominals = [place in floats for place in _NOMINALS.values()]

    def fits(self, data: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Returns (n,), whether each row of (n, length) bytes has this shape."""
        fits: NDArray[np.bool_] = ((data & self._mask) == self._want).all(axis=1)
        return fits

    def read(
        self, data: NDArray[np.uint8], places: NDArray[np.int64], parts: list[Columns], others: list[int]
    ) -> None:
        """Reads messages of this shape: regular ones into `parts`, the places of others into `others`."""
        digits = (data[:, self._at_bytes] & 0x7F).astype(np.int64) << self._shifts
        numbers = np.add.reduceat(digits, self._begins, axis=1)
        found: Columns = {"at": places}
        for name, column in zip(self._names, numbers.T, strict=True):
            found[name] = column
        for name, absent in _ABSENT.items():
            if name not in found:
                found[name] = np.full(len(places), absent, np.int64)
        floats = np.ascontiguousarray(data[:, self._at_floats]).view("<f4")
        found["metrics"] = floats[:, :_FLOATS].reshape(-1, len(METRIC_NAMES), 3)
        at = _FLOATS
        for there, name, limits in zip(
            self._nominals, ("nominal_v", "nominal_hz"), (NOMINAL_V, NOMINAL_HZ), strict=True
        ):
            if there:
                value = floats[:, at]
                found[name] = np.where((value >= limits[0]) & (value <= limits[1]), value, np.float32(0))
            else:
                found[name] = np.zeros(len(places), np.float32)
            at += there
        regular = _regular(found)
        if not regular.all():
            others += places[~regular].tolist()
            found = {name: column[regular] for name, column in found.items()}
        if regular.any():
            parts.append(found)


def _regular(found: Columns) -> NDArray[np.bool_]:
    """Returns (n,), whether `measurement_from_wire` would read exactly the same numbers."""
    start_ns, end_ns = found["start_ns"], found["end_ns"]
    fine = np.isfinite(found["metrics"]).all(axis=(1, 2))
    fine = fine & (found["box"] <= _LARGEST_U32) & (found["uncertainty_ns"] <= _LARGEST_U32)
    fine = fine & (found["source"] <= 3) & (found["timestamp_ms"] < _TIMES_NS // 1_000_000)
    fine = fine & (found["backfilled"] <= 1) & (found["samples"] <= _LARGEST_U32)
    fine = fine & (start_ns < _TIMES_NS) & (end_ns < _TIMES_NS) & (start_ns <= end_ns)
    return np.asarray(fine & (end_ns - start_ns <= MAX_WINDOW_NS), np.bool_)


def _shape_of(body: bytes) -> _MessageShape | None:
    """Returns the shape of a message; None where it is not a regular Measurement."""
    found = regular_fields(body)
    return None if found is None else _MessageShape(body, *found)


def regular_fields(body: bytes) -> tuple[bytearray, dict[int, tuple[int, int]], dict[int, int]] | None:
    """Finds the values of a regular Measurement, which has each field at most once; None for other messages.

    Returns a mask of the bytes that are equal in all messages of its shape, field -> (offset, bytes) of each
    varint, and place -> offset of each float.
    """
    mask = bytearray(b"\xff" * len(body))
    varints: dict[int, tuple[int, int]] = {}
    floats: dict[int, int] = {}
    try:
        at = 0
        while at < len(body):
            tag, at = _varint(body, at)
            field, kind = tag >> 3, tag & 7
            if kind == _VARINT and field in _WIDTHS and field not in varints:
                begin = at
                _, at = _varint(body, at)
                if at - begin > _WIDTHS[field]:
                    return None
                varints[field] = begin, at - begin
                mask[begin:at] = bytes([_CONTINUES]) * (at - begin)
            elif kind == _FIXED32 and field in _NOMINALS and _NOMINALS[field] not in floats:
                floats[_NOMINALS[field]] = at
                mask[at : at + 4] = bytes([_ANY]) * 4
                at += 4
            elif kind == _LENGTH and field == 3:
                size, at = _varint(body, at)
                if not _note_metric(body, at, size, mask, floats):
                    return None
                at += size
            else:
                return None
    except IndexError:
        return None
    whole = at == len(body) and varints.keys() >= _NEEDED and all(place in floats for place in range(_FLOATS))
    return (mask, varints, floats) if whole else None


def _note_metric(body: bytes, at: int, size: int, mask: bytearray, floats: dict[int, int]) -> bool:
    """Reads an entry of the map: key, then min, max, average; False where it has another form."""
    end = at + size
    if body[at] != 0x0A or end > len(body):
        return False
    length = body[at + 1]
    name = body[at + 2 : at + 2 + length]
    place = _NAMES.get(name)
    begin = at + 2 + length
    if place is None or 3 * place in floats or end - begin != 17 or body[begin : begin + 2] != b"\x12\x0f":
        return False
    for number, tag in enumerate(b"\x0d\x15\x1d"):
        offset = begin + 2 + 5 * number
        if body[offset] != tag:
            return False
        floats[3 * place + number] = offset + 1
        mask[offset + 1 : offset + 5] = bytes([_ANY]) * 4
    return True


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """Returns a varint's value and the offset after it. Raises IndexError where it does not end."""
    value = shift = 0
    while True:
        byte = body[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
