"""The physical layer of PQDIF: a chain of records, each a tree of tagged elements, compressed or not."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError
from opq_recordings.pqdif_tags import (
    COLLECTION,
    DAY_OF_1970,
    ENTRY,
    HEADER,
    SCALAR,
    SIGNATURE,
    VECTOR,
    ZLIB,
    Tag,
)

TYPES = {
    1: "u1",
    2: "<u2",
    3: "<u4",
    10: "S1",
    11: "<u2",
    20: "i1",
    21: "<i2",
    22: "<i4",
    30: "u1",
    31: "<u2",
    32: "<u4",
    40: "<f4",
    41: "<f8",
    42: "<c8",
    43: "<c16",
}
"""Physical types of numbers; a time stamp is 50, a GUID 60."""
MOST_BYTES = 1 << 28
"""Bytes of one record when it is unpacked, and of all records that are kept together."""
MOST_RECORDS = 100_000
MOST_ELEMENTS = 1_000_000
MAX_DEPTH = 16


@dataclass(frozen=True, slots=True)
class PqdifElement:
    """An element as read: `data` of a scalar or vector, or the members of a collection."""

    tag: UUID
    physical: int = 0
    data: bytes = b""
    members: tuple["PqdifElement", ...] = ()

    def each(self, tag: UUID) -> Iterator["PqdifElement"]:
        return (member for member in self.members if member.tag == tag)

    def member(self, tag: UUID) -> "PqdifElement | None":
        return next(self.each(tag), None)

    def number(self, tag: UUID) -> float | None:
        """The number of a scalar member; None where it is not there or no number."""
        found = self.member(tag)
        values = None if found is None else found.values()
        return float(values[0]) if values is not None and len(values) and np.isfinite(values[0]) else None

    def whole(self, tag: UUID) -> int | None:
        value = self.number(tag)
        return None if value is None else int(value)

    def guid(self, tag: UUID) -> UUID | None:
        found = self.member(tag)
        return UUID(bytes_le=found.data[:16]) if found is not None and len(found.data) >= 16 else None

    def text(self, tag: UUID) -> str:
        found = self.member(tag)
        if found is None:
            return ""
        code = "utf-16-le" if found.physical == 11 else "utf-8"
        return found.data.decode(code, "replace").partition("\0")[0].strip()

    def time_ns(self, tag: UUID) -> int | None:
        """Nanoseconds since 1970 of a time stamp: days, and seconds of the day."""
        found = self.member(tag)
        if found is None or found.physical != 50 or len(found.data) < 12:
            return None
        days, seconds = struct.unpack("<Id", found.data[:12])
        if not 0 <= seconds <= 200_000:
            return None
        t_ns: int = (days - DAY_OF_1970) * 86_400 * 10**9 + round(seconds * 1e9)
        return t_ns

    def values(self) -> NDArray[Any] | None:
        """(n,) the numbers; None where they are not numbers."""
        if self.physical not in TYPES or self.physical in (10, 42, 43):
            return None
        dtype = np.dtype(TYPES[self.physical])
        return np.frombuffer(self.data, dtype, len(self.data) // dtype.itemsize)


@dataclass(slots=True)
class _Body:
    """The unpacked bytes of a record, and how many more elements may be read."""

    path: Path
    data: bytes
    left: int = field(default=MOST_ELEMENTS)

    def collection(self, tag: UUID, at: int, depth: int) -> PqdifElement:
        if depth > MAX_DEPTH or not 0 <= at <= len(self.data) - 4:
            raise RecordingError(
                f"{self.path}: is not a readable PQDIF file: an element lies beyond its record"
            )
        (count,) = struct.unpack_from("<i", self.data, at)
        self.left -= count
        if count < 0 or at + 4 + count * ENTRY.size > len(self.data) or self.left < 0:
            raise RecordingError(
                f"{self.path}: is not a readable PQDIF file: a collection has {count} elements"
            )
        members = []
        for k in range(count):
            where = at + 4 + k * ENTRY.size
            name, kind, physical, embedded, place = ENTRY.unpack_from(self.data, where)
            members.append(self._member(UUID(bytes_le=name), kind, physical, bool(embedded), place, depth))
        return PqdifElement(tag, members=tuple(members))

    def _member(
        self, tag: UUID, kind: int, physical: int, embedded: bool, place: bytes, depth: int
    ) -> PqdifElement:
        if kind == SCALAR and embedded:
            return PqdifElement(tag, physical, place)
        at, _ = struct.unpack("<ii", place)
        if kind == COLLECTION:
            return self.collection(tag, at, depth + 1)
        if kind not in (SCALAR, VECTOR) or not 0 <= at <= len(self.data):
            raise RecordingError(
                f"{self.path}: is not a readable PQDIF file: an element of kind {kind} at byte {at}"
            )
        if kind == SCALAR:
            return PqdifElement(tag, physical, self.data[at : at + 16])
        if at + 4 > len(self.data):
            raise RecordingError(f"{self.path}: is not a readable PQDIF file: a list begins at its end")
        (count,) = struct.unpack_from("<i", self.data, at)
        size = np.dtype(TYPES[physical]).itemsize if physical in TYPES else 12 if physical == 50 else 16
        if count < 0 or at + 4 + count * size > len(self.data):
            raise RecordingError(
                f"{self.path}: is not a readable PQDIF file: a list of {count} values is cut short"
            )
        return PqdifElement(tag, physical, self.data[at + 4 : at + 4 + count * size])


def records_of(path: Path, problems: list[str]) -> Iterator[PqdifElement]:
    """Yields the records of a file as trees, in order; what is doubtful about them is added to `problems`.

    Raises:
        RecordingError: no PQDIF, cut short, or compressed in a way that is not zlib.
    """
    size = path.stat().st_size
    style = algorithm = 0
    at, seen, kept = 0, set(), 0
    with path.open("rb") as file:
        while True:
            file.seek(at)
            head = file.read(HEADER.size)
            if len(head) < HEADER.size or head[:16] != SIGNATURE.bytes_le:
                what = (
                    "begins with other bytes than PQDIF" if at == 0 else f"its record at byte {at} is broken"
                )
                raise RecordingError(f"{path}: is not a readable PQDIF file: {what}")
            _, kind, header_bytes, body_bytes, following, _ = HEADER.unpack(head)
            seen.add(at)
            begin = at + max(header_bytes, HEADER.size)
            if body_bytes < 0 or begin + body_bytes > size or kept > MOST_BYTES:
                raise RecordingError(
                    f"{path}: is cut short: a record of {body_bytes} bytes at byte {begin} of {size}"
                )
            file.seek(begin)
            stored = file.read(body_bytes)
            body = _unpacked(path, stored, style, algorithm)
            kept += len(body)
            tree = _Body(path, body).collection(UUID(bytes_le=kind), 0, 0)
            if tree.tag == Tag.CONTAINER:
                style, algorithm = (
                    tree.whole(Tag.COMPRESSION_STYLE) or 0,
                    tree.whole(Tag.COMPRESSION_ALGORITHM) or 0,
                )
            yield tree
            if following <= 0 or len(seen) > MOST_RECORDS:
                return
            if following == size:  # some writers lead the last record there, instead of to 0
                problems.append(
                    "its last record leads to the end of the file: if that was cut, more is missing"
                )
                return
            if following in seen or following > size:
                raise RecordingError(
                    f"{path}: is not a readable PQDIF file: its record at byte {at} leads to byte {following}"
                )
            at = following


def _unpacked(path: Path, stored: bytes, style: int, algorithm: int) -> bytes:
    """The body of a record; the container itself is never compressed."""
    if style == 0 or not stored:
        return stored
    if algorithm != ZLIB:
        raise RecordingError(
            f"{path}: is compressed by method {algorithm}, want zlib (1); save it again uncompressed"
        )
    try:
        packed = zlib.decompressobj()
        body = packed.decompress(stored, MOST_BYTES)
    except zlib.error as error:
        if stored[:1] != b"\x78":  # some writers state a compression and leave records as they are
            return stored
        raise RecordingError(
            f"{path}: is not a readable PQDIF file: a compressed record is broken"
        ) from error
    if packed.unconsumed_tail:
        raise RecordingError(f"{path}: a record has more than {MOST_BYTES >> 20} MiB")
    return body
