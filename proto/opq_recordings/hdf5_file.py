"""HDF5, netCDF-4 and MATLAB (7.3 is HDF5): arrays by name, with their stated facts."""

from pathlib import Path

import numpy as np

from opq_proto.errors import RecordingError
from opq_recordings.guarded import read_guarded
from opq_recordings.mat_file import mat_arrays
from opq_recordings.named_arrays import NamedArrays, content_of, content_of_variables
from opq_recordings.recording import Content


def read_hdf5(path: Path) -> Content:
    """The numeric data sets of a file, with what attributes of them and of groups state.

    Of MATLAB 7.3 also the elements of cells and of arrays of structures, and texts.
    """
    with path.open("rb") as raw:
        if raw.read(3) == b"CDF":
            raise RecordingError(
                f"{path}: is netCDF-3; save it as netCDF-4, such as nccopy -k nc4 in.nc out.nc"
            )
    read = read_guarded("hdf5", path)
    stated, left_out = read.facts
    if not read.arrays and left_out:
        raise RecordingError(
            f"{path}: has objects of MATLAB ({', '.join(left_out[:5])}), which only MATLAB "
            "reads; save times and values as arrays"
        )
    if not read.arrays:
        raise RecordingError(f"{path}: has no data set of numbers in one to three dimensions")
    facts = {place: {name: _fact(value) for name, value in here.items()} for place, here in stated.items()}
    return content_of(path, "HDF5", NamedArrays(read.arrays, facts))


def _fact(value: object) -> object:
    """A text, or numbers of the type that the file has for them."""
    return np.array(value[1], value[0]) if isinstance(value, list) else value


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
        raise RecordingError(f"{path}: has no array of numbers in one to three dimensions")
    return found
