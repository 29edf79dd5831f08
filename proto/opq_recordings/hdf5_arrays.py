"""HDF5 by libhdf5: its data sets of numbers, and what attributes state. Runs in its own process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError
from opq_recordings.handover import ArrayWriter
from opq_recordings.installed import library
from opq_recordings.mat_file import MOST_DEPTH, MOST_ELEMENTS
from opq_recordings.named_arrays import NamedArrays
from opq_recordings.stated_facts import text_of

CLASSES_READ = (
    *("double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("char", "cell", "struct", "logical"),
)
"""Of MATLAB; the numbers of another class are not values."""
MOST_LETTERS = 1000
"""Of a text in a data set."""
REFERENCED = "/#refs#/"
"""Where MATLAB keeps the elements of cells and of arrays of structures."""
MOST_OBJECTS = 10_000
"""Data sets and groups that references lead to: they may lead in a circle."""


BLOCK_BYTES = 1 << 23
"""A data set is read so many bytes at a time; a larger one that lies in the file as it is stays there."""
MOST_VALUES = 4096
"""Of an attribute."""


def read(path: Path, writer: ArrayWriter) -> object:
    """The facts by object and name, and the classes of MATLAB that were left out.

    Of MATLAB 7.3 also the elements of cells and of arrays of structures, and texts.
    """
    h5py = library("h5py", path)
    try:
        with h5py.File(path, "r") as file:
            walk = _Walk(h5py, file, writer)
            walk.stated.facts[""] = _attributes(file)
            file.visititems(walk.visit)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise RecordingError(f"{path}: is not a readable HDF5 file: {why}") from error
    facts = {
        place: {name: _plain(value) for name, value in here.items()}
        for place, here in walk.stated.facts.items()
    }
    return [facts, sorted(walk.left_out)]


class _Walk:
    """Goes through the objects of a file; `#refs#` is what references of MATLAB lead to."""

    def __init__(self, h5py: Any, file: Any, writer: ArrayWriter) -> None:
        self.stated = NamedArrays()
        """The facts only; arrays are written as soon as they are found."""
        self.left_out: set[str] = set()
        """Classes of MATLAB whose numbers are not values, such as `timeseries`."""
        self._h5py = h5py
        self._file = file
        self._writer = writer
        self._left = MOST_OBJECTS
        self._written: dict[str, str] = {}
        """Data set -> the name under which it was written; references may lead to one many times."""

    def visit(self, name: str | bytes, item: Any) -> None:
        if not _words(name).startswith("#"):
            self.add(_words(name), item, 0)

    def add(self, name: str, item: Any, depth: int) -> None:
        self.stated.facts.setdefault(name, {}).update(_attributes(item))
        if not isinstance(item, self._h5py.Dataset) or "MATLAB_empty" in item.attrs:
            return
        kind = text_of(item.attrs.get("MATLAB_class"))
        if kind is not None and kind not in CLASSES_READ:
            self.left_out.add(kind)
            return
        if self._h5py.check_ref_dtype(item.dtype) is self._h5py.Reference:
            if item.size <= MOST_ELEMENTS:
                self._follow(name, item, depth)
        elif item.size <= MOST_LETTERS and (text := _text_in(item)) is not None:
            self.stated.state(name, text)
        elif item.dtype.kind in "iuf" and item.size > 0 and (item.size == 1 or item.ndim in (1, 2, 3)):
            if item.size == 1:
                self.stated.state(name, np.asarray(item))
            else:
                self._write(name, item)

    def _write(self, name: str, item: Any) -> None:
        """An array; one that is large and lies in the file as it is stays there."""
        former = self._written.setdefault(item.name, name)
        if former != name:
            self._writer.add_again(name, former)
        elif item.nbytes > BLOCK_BYTES and self._is_as_in_memory(item):
            self._writer.add_stored(name, item.dtype, item.shape, item.id.get_offset())
        else:
            self._writer.add(name, item.dtype, item.shape[1:], _blocks(item))

    def _is_as_in_memory(self, item: Any) -> bool:
        """Whether a data set lies in the file in one piece, unpacked, in a type that NumPy has."""
        kind = self._h5py.h5t.py_create(item.dtype)
        return item.id.get_offset() is not None and bool(item.id.get_type().equal(kind))

    def _follow(self, name: str, item: Any, depth: int) -> None:
        for number, reference in enumerate(np.asarray(item[()]).ravel(), 1):
            if not reference or depth >= MOST_DEPTH or self._left <= 0:
                continue
            target, place = self._file[reference], _element_name(name, number, item)
            if not _words(target.name or "").startswith(REFERENCED):
                continue  # it has its own name
            within = target.items() if isinstance(target, self._h5py.Group) else ()
            for key, each in (("", target), *within):
                self._left -= 1
                self.add(f"{place}/{_words(key)}" if key else place, each, depth + 1)


def _blocks(item: Any) -> Iterator[NDArray[Any]]:
    """The rows of a data set, of whole chunks at a time, since each chunk is unpacked as a whole."""
    rows = BLOCK_BYTES // max(1, item.nbytes // len(item))
    if item.chunks:
        rows = rows // item.chunks[0] * item.chunks[0] or item.chunks[0]
    for at in range(0, len(item), max(1, rows)):
        yield item[at : at + max(1, rows)]


def _attributes(item: Any) -> dict[str, object]:
    return {_words(name): value for name, value in item.attrs.items()}


def _plain(value: object) -> object:
    """A fact as JSON: a text, or numbers with their type; None for anything else."""
    if (text := text_of(value)) is not None:
        return text
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8 or array.size > MOST_VALUES:
        return None
    return [array.dtype.str, array.tolist()]


def _words(name: str | bytes) -> str:
    """A name; h5py has bytes where these are not UTF-8."""
    return name if isinstance(name, str) else name.decode("utf-8", "replace")


def _element_name(name: str, number: int, item: Any) -> str:
    """As in level 5; the fields of an array of structures are stored side by side."""
    place, _, field = name.rpartition("/")
    if item.size == 1:
        return name
    return f"{name}({number})" if _is(item, "cell") or not place else f"{place}({number})/{field}"


def _text_in(item: Any) -> str | None:
    """The text of a data set, also of MATLAB's, which are numbers of letters; None where it is not one."""
    if item.dtype.kind in "SO" and item.size == 1:
        return text_of(np.asarray(item[()]).flat[0])
    if _is(item, "char") and item.dtype.kind == "u":
        letters = np.asarray(item[()]).ravel()
        return "".join(chr(each) for each in letters.tolist() if 0 < each < 0xD800)
    return None


def _is(item: Any, kind: str) -> bool:
    """Whether a data set is of this class of MATLAB."""
    return text_of(item.attrs.get("MATLAB_class")) == kind
