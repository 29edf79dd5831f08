"""HDF5, netCDF-4 and MATLAB (7.3 is HDF5): arrays by name, and what is stated of them."""

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError
from opq_recordings.installed import library
from opq_recordings.mat_file import MOST_DEPTH, MOST_ELEMENTS, mat_arrays
from opq_recordings.named_arrays import NamedArrays, content_of, content_of_variables
from opq_recordings.recording import Content
from opq_recordings.stated_facts import text_of

PIECE = 1 << 20
HEAP, HEAP_HEADER, HEAP_OBJECT = b"GCOL\1\0\0\0", struct.Struct("<8sQ"), struct.Struct("<H6xQ")
LARGEST_HEAP = 1 << 26
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


def read_hdf5(path: Path) -> Content:
    """The numeric data sets of a file, with what attributes of them and of groups state.

    Of MATLAB 7.3 also the elements of cells and of arrays of structures, and texts.
    """
    h5py = library("h5py", path)
    with path.open("rb") as raw:
        if raw.read(3) == b"CDF":
            raise RecordingError(
                f"{path}: is netCDF-3; save it as netCDF-4, such as nccopy -k nc4 in.nc out.nc"
            )
        if _has_endless_heap(raw):
            raise RecordingError(f"{path}: is no readable HDF5 file")
    try:
        with h5py.File(path, "r") as file:
            walk = _Walk(h5py, file)
            walk.found.facts[""] = _attributes(file)
            file.visititems(walk.visit)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise RecordingError(f"{path}: is no readable HDF5 file") from error
    if not walk.found.arrays and walk.left_out:
        raise RecordingError(
            f"{path}: has objects of MATLAB ({', '.join(sorted(walk.left_out)[:5])}), which only MATLAB "
            "reads; save times and values as arrays"
        )
    if not walk.found.arrays:
        raise RecordingError(f"{path}: has no data set of numbers in one or two dimensions")
    return content_of(path, "HDF5", walk.found)


def read_mat(path: Path) -> Content:
    """The numeric arrays of a MATLAB file, also in structures, with what is stated beside them.

    Version 7.3 is HDF5.
    """
    with path.open("rb") as file:
        head = file.read(128)
    if head.startswith(b"\x89HDF\r\n\x1a\n") or head.startswith(b"MATLAB 7.3"):
        return read_hdf5(path)
    named = {name.replace(".", "/"): array for name, array in mat_arrays(path).items()}
    found = content_of_variables(path, "MATLAB", named)
    if found is None:
        raise RecordingError(f"{path}: has no array of numbers in one or two dimensions")
    return found


def _has_endless_heap(raw: BinaryIO) -> bool:
    """Whether a heap of texts has free space of no size: the library (2.0.0) never comes to its end.

    Source: HDF5 File Format Specification 3.0, III.E (Global Heap).
    """
    place, known = 0, b""
    raw.seek(0)
    while part := raw.read(PIECE):
        known += part
        at = known.find(HEAP)
        while at >= 0:
            raw.seek(place + at)
            head = raw.read(HEAP_HEADER.size)
            size = HEAP_HEADER.unpack(head)[1] if len(head) == HEAP_HEADER.size else 0
            if _is_endless(raw.read(max(0, min(size, LARGEST_HEAP) - HEAP_HEADER.size))):
                return True
            at = known.find(HEAP, at + 1)
        place, known = place + max(0, len(known) - len(HEAP)), known[-len(HEAP) :]
        raw.seek(place + len(known))
    return False


def _is_endless(objects: bytes) -> bool:
    at = 0
    while at + HEAP_OBJECT.size <= len(objects):
        index, size = HEAP_OBJECT.unpack_from(objects, at)
        step = size if index == 0 else HEAP_OBJECT.size + -(-size // 8) * 8
        if step == 0:
            return True
        at += step
    return False


class _Walk:
    """Goes through the objects of a file; `#refs#` is what references of MATLAB lead to."""

    def __init__(self, h5py: Any, file: Any) -> None:
        self.found = NamedArrays()
        self._h5py = h5py
        self._file = file
        self.left_out: set[str] = set()
        """Classes of MATLAB whose numbers are not values, such as `timeseries`."""
        self._left = MOST_OBJECTS
        self._read: dict[str, NDArray[Any]] = {}
        """What was read already, since references may lead to one data set many times."""

    def visit(self, name: str | bytes, item: Any) -> None:
        if not _words(name).startswith("#"):
            self.add(_words(name), item, 0)

    def add(self, name: str, item: Any, depth: int) -> None:
        self.found.facts.setdefault(name, {}).update(_attributes(item))
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
            self.found.state(name, text)
        elif item.dtype.kind in "iuf" and item.size > 0 and (item.size == 1 or item.ndim in (1, 2)):
            values = self._read.get(item.name)
            if values is None:
                values = self._read[item.name] = np.asarray(item)
            self.found.add(name, values)

    def _follow(self, name: str, item: Any, depth: int) -> None:
        for number, reference in enumerate(np.asarray(item[()]).ravel(), 1):
            if not reference or depth >= MOST_DEPTH or self._left <= 0:
                continue
            target, place = self._file[reference], _element_name(name, number, item)
            if not _words(target.name or "").startswith(REFERENCED):
                continue  # it has a name of its own
            within = target.items() if isinstance(target, self._h5py.Group) else ()
            for key, each in (("", target), *within):
                self._left -= 1
                self.add(f"{place}/{_words(key)}" if key else place, each, depth + 1)


def _attributes(item: Any) -> dict[str, object]:
    return {_words(name): value for name, value in item.attrs.items()}


def _words(name: str | bytes) -> str:
    """A name; h5py has bytes where these are no UTF-8."""
    return name if isinstance(name, str) else name.decode("utf-8", "replace")


def _element_name(name: str, number: int, item: Any) -> str:
    """As in level 5; the fields of an array of structures are stored side by side."""
    place, _, field = name.rpartition("/")
    if item.size == 1:
        return name
    return f"{name}({number})" if _is(item, "cell") or not place else f"{place}({number})/{field}"


def _text_in(item: Any) -> str | None:
    """The text of a data set, also of MATLAB's, which are numbers of letters; None where it is none."""
    if item.dtype.kind in "SO" and item.size == 1:
        return text_of(np.asarray(item[()]).flat[0])
    if _is(item, "char") and item.dtype.kind == "u":
        letters = np.asarray(item[()]).ravel()
        return "".join(chr(each) for each in letters.tolist() if 0 < each < 0xD800)
    return None


def _is(item: Any, kind: str) -> bool:
    """Whether a data set is of this class of MATLAB."""
    return text_of(item.attrs.get("MATLAB_class")) == kind
