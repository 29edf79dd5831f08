"""Arrays and facts that one process hands to another in a file without a name.

It has only numbers and JSON, so a process that reads a damaged file can hand over wrong values, but no code.
Arrays that are stored unchanged in the recording stay there, and are mapped.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

ALIGNED_BYTES = 8
LENGTH_BYTES = 8
IN_MEMORY = 1 << 25
"""Bytes of arrays that are read into memory; more are mapped."""


class NoRoomError(Exception):
    """The results cannot be written."""


@dataclass(frozen=True, slots=True)
class ReadArrays:
    """The results of a reader: arrays by name, and facts, which are JSON."""

    arrays: dict[str, NDArray[Any]]
    facts: Any


class ArrayWriter:
    """Writes the results in the process that reads a recording."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._entries: dict[str, tuple[bool, str, list[int], int]] = {}

    def add(
        self, name: str, dtype: np.dtype[Any], columns: tuple[int, ...], blocks: Iterable[NDArray[Any]]
    ) -> int:
        """An array (n, *columns) whose rows come block by block; returns n."""
        at = self._file.seek(-(-self._file.tell() // ALIGNED_BYTES) * ALIGNED_BYTES)
        rows = 0
        for block in blocks:
            self._write(np.ascontiguousarray(block, dtype).tobytes())
            rows += len(block)
        self._entries[name] = (True, dtype.str, [rows, *columns], at)
        return rows

    def add_stored(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], first_byte: int) -> None:
        """An array that the recording holds as it is, from this byte on."""
        self._entries[name] = (False, dtype.str, list(shape), first_byte)

    def add_again(self, name: str, former: str) -> None:
        """An array that was added already, under a further name."""
        self._entries[name] = self._entries[former]

    def finish(self, facts: object) -> None:
        index = json.dumps([self._entries, facts]).encode()
        self._write(index + len(index).to_bytes(LENGTH_BYTES, "little"))

    def _write(self, content: bytes) -> None:
        try:
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            raise NoRoomError(f"the folder of temporary files has no room: {error.strerror}") from error


def read_arrays(file: IO[bytes], path: Path) -> ReadArrays:
    """The results that an ArrayWriter wrote of the recording `path`.

    Raises:
        ValueError, TypeError, LookupError: it is not right.
    """
    size = os.fstat(file.fileno()).st_size - LENGTH_BYTES
    file.seek(size)
    size -= int.from_bytes(file.read(LENGTH_BYTES), "little")
    file.seek(size)
    entries, facts = json.loads(file.read()[:-LENGTH_BYTES])
    return ReadArrays(_arrays(entries, file, size, path), facts)


def _arrays(
    entries: Mapping[str, tuple[bool, str, list[int], int]], file: IO[bytes], size: int, path: Path
) -> dict[str, NDArray[Any]]:
    found = {}
    sources: dict[bool, NDArray[np.uint8]] = {}
    for name, (is_own, of, shape, at) in entries.items():
        dtype = np.dtype(of)
        if dtype.kind not in "iuf" or at < 0 or min(shape) < 0:
            raise ValueError(
                f"an array of {dtype}, {shape}, at byte {at}; want numbers, at a byte of the file"
            )
        if is_own not in sources:
            sources[is_own] = _written(file, size) if is_own else np.memmap(path, np.uint8, "r")
        part = sources[is_own][at : at + math.prod(shape) * dtype.itemsize]
        found[name] = part.view(dtype).reshape(shape)
    return found


def _written(file: IO[bytes], size: int) -> NDArray[np.uint8]:
    if size > IN_MEMORY:
        return np.memmap(cast("Any", file), np.uint8, "r", shape=(size,))
    file.seek(0)
    return np.frombuffer(file.read(size), np.uint8)
