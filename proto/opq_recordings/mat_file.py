"""MATLAB files up to version 7: their arrays of numbers. Version 7.3 is HDF5 (`array_files.py`).

    level 5: 128 bytes, then elements (type, size, data), each an array or a zlib stream with one
    level 4: for each array 20 bytes, its name, its values

The reader of SciPy ends the process on some damaged files (segmentation fault in `read_var_array`, 1.17),
so it is not used; the tests compare with it.

Source: MathWorks, "MAT-File Format" (R2024a), chapters 1 and 2.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError

HEADER_BYTES = 128
# Types of an element that are not in STORED.
MATRIX = 14
COMPRESSED = 15

# Classes of an array that are not in CLASSES.
CELL = 1
STRUCTURE = 2
TEXT = 4

MOST_DEPTH = 8
"""Most structures within one another."""
MOST_NAME_BYTES = 1024
"""Most bytes of a field's name."""
MOST_ELEMENTS = 1000
"""Most elements of an array of structures or cells."""
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Type of an element -> its values."""
CLASSES = {
    **{6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2"},
    **{11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"},
}
"""Class of an array -> its values, which may be stored as a smaller type."""
LEVEL_4 = ("f8", "f4", "i4", "i2", "u2", "u1")
MOST_CODE = 5000
"""Of an array of level 4; a larger one is of the other byte order."""
LARGEST_ARRAY_BYTES = 1 << 30
"""Bytes of one array after decompression."""
MOST_DIMENSIONS = 32


def mat_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Name -> array; a field of a structure is `structure.field`, a text an array of one.

    The second element of an array of structures or of cells is `name(2)`. Complex numbers are left out.

    Raises:
        RecordingError: not a MATLAB file, or damaged.
    """
    content = path.read_bytes()
    try:
        if len(content) >= 4 and 0 in content[:4]:
            return dict(_level_4(content))
        order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
        if order is None:
            raise ValueError("without the mark of its byte order")
        found = (_arrays(data, order) for data in _matrices(content, HEADER_BYTES, order))
        return dict(each for one in found for each in one)
    except (ValueError, struct.error, zlib.error, KeyError, IndexError) as error:
        raise RecordingError(f"{path}: is not a readable MATLAB file") from error


def _matrices(content: bytes, at: int, order: str) -> Iterator[bytes]:
    while at < len(content):
        kind, data, at = _element(content, at, order)
        if kind == COMPRESSED:
            unpacked = zlib.decompressobj().decompress(data, LARGEST_ARRAY_BYTES)
            kind, data, _ = _element(unpacked, 0, order)
        if kind == MATRIX:
            yield data


def _element(content: bytes, at: int, order: str) -> tuple[int, bytes, int]:
    """Type and data of the element here, and where the next one begins."""
    (first,) = struct.unpack_from(f"{order}I", content, at)
    if first >> 16:  # up to four bytes stand in the tag
        size, kind, begin, end = first >> 16, first & 0xFFFF, at + 4, at + 8
        if size > 4:
            raise ValueError(f"a small element of {size} bytes")
    else:
        (size,) = struct.unpack_from(f"{order}I", content, at + 4)
        kind, begin = first, at + 8
        end = begin + (size if kind == COMPRESSED else -(-size // 8) * 8)
    if begin + size > len(content):
        raise ValueError(f"an element of {size} bytes at {at}, where the file ends")
    return kind, content[begin : begin + size], end


def _arrays(data: bytes, order: str, within: str = "", depth: int = 0) -> Iterator[tuple[str, NDArray[Any]]]:
    """The array of a matrix element, or those of its fields where it is a structure."""
    _, flags, at = _element(data, 0, order)
    (word,) = struct.unpack_from(f"{order}I", flags)
    kind, is_complex = word & 0xFF, bool(word & 0x0800)
    if (kind not in CLASSES and kind not in (STRUCTURE, TEXT, CELL)) or is_complex:
        return
    _, sizes, at = _element(data, at, order)
    shape = np.frombuffer(sizes, f"{order}i4")
    _, own_name, at = _element(data, at, order)
    name = within or own_name.decode("ascii")
    if kind in (STRUCTURE, CELL):
        count = math.prod(shape.tolist())
        names = [name] if count == 1 else [f"{name}({k})" for k in range(1, min(count, MOST_ELEMENTS) + 1)]
        if depth < MOST_DEPTH:
            yield from (_fields if kind == STRUCTURE else _cells)(data, at, order, names, depth)
        return
    stored, values, _ = _element(data, at, order)
    if kind == TEXT:
        code = {16: "utf-8", 17: "utf-16-le" if order == "<" else "utf-16-be"}.get(stored, "latin-1")
        text = values.decode(code, "replace")
        yield name, np.array(text.replace("\0", ""))
        return
    with np.errstate(invalid="ignore", over="ignore"):  # NaN or 1e300 of a damaged file
        array = np.frombuffer(values, order + STORED[stored]).astype(CLASSES[kind], copy=False)
    yield name, _shaped(array, shape.tolist())


def _fields(
    data: bytes, at: int, order: str, elements: Sequence[str], depth: int
) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays of the fields of these structures; the fields' names come first, then element by element."""
    _, length, at = _element(data, at, order)
    (size,) = struct.unpack_from(f"{order}i", length)
    _, names, at = _element(data, at, order)
    if not 0 < size <= MOST_NAME_BYTES:
        raise ValueError(f"names of fields with {size} bytes")
    fields = [
        names[begin : begin + size].partition(b"\0")[0].decode("ascii")
        for begin in range(0, len(names) - size + 1, size)
    ]
    yield from _cells(data, at, order, [f"{name}.{each}" for name in elements for each in fields], depth)


def _cells(
    data: bytes, at: int, order: str, names: Sequence[str], depth: int
) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays of matrices that follow each other, each with a name."""
    for name in names:
        kind, matrix, at = _element(data, at, order)
        if kind == MATRIX and matrix:
            yield from _arrays(matrix, order, name, depth + 1)


def _level_4(content: bytes) -> Iterator[tuple[str, NDArray[Any]]]:
    at = 0
    while at < len(content):
        order = "<" if struct.unpack_from("<I", content, at)[0] < MOST_CODE else ">"
        code, rows, columns, imaginary, length = struct.unpack_from(f"{order}5i", content, at)
        values = np.dtype(order + LEVEL_4[code // 10 % 10])
        begin = at + 20 + length
        size = values.itemsize * rows * columns
        if not (0 <= code < MOST_CODE and length > 0 and min(rows, columns) >= 0) or begin + size > len(
            content
        ):
            raise ValueError(f"an array of {rows} by {columns} at {at}, where the file ends")
        if code % 10 == 0 and not imaginary:
            name = content[at + 20 : begin].rstrip(b"\0").decode("ascii")
            yield name, _shaped(np.frombuffer(content[begin : begin + size], values), [rows, columns])
        at = begin + size * (2 if imaginary else 1)


def _shaped(values: NDArray[Any], shape: list[int]) -> NDArray[Any]:
    """Column by column, as MATLAB has them, without the dimensions of one."""
    if not 0 < len(shape) <= MOST_DIMENSIONS or min(shape) < 0 or math.prod(shape) != len(values):
        raise ValueError(f"{len(values)} values of a shape of {shape[:4]}")
    return values.reshape(shape, order="F").squeeze()
