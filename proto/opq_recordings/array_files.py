"""Arrays on disk: raw int16 (.i16), NumPy (.npy), HDF5 (.h5) and MATLAB (.mat). Nothing is ever unpickled."""

import importlib
import json
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError
from opq_recordings.exported import exported_channel, runs_between
from opq_recordings.mat_file import mat_arrays
from opq_recordings.quantity_names import quantity_named
from opq_recordings.recording import Channel, Content, without_missing

MOST_COLUMNS = 64
RATE_NAMES = ("rate_hz", "fs", "sample_rate", "samplerate", "sampling_rate", "sampling_frequency", "sr")


def read_i16(path: Path) -> Content:
    """Raw int16, little endian, one channel."""
    size = path.stat().st_size
    if size == 0:
        raise RecordingError(f"{path}: is empty, no samples in it")
    if size % 2:
        raise RecordingError(f"{path}: has {size} bytes, an odd number; want 2 per sample")
    counts = np.memmap(path, dtype="<i2", mode="r")
    return Content("int16", (Channel.of("counts", counts, scale=None, unit=None, quantity=None),))


def read_npy(path: Path) -> Content:
    """Counts (whole numbers) or volts (floats), of one or several columns; NaN is a missing sample.

    Beside a .json of our own export, its gaps are left out of the samples.
    """
    try:
        samples = np.lib.format.open_memmap(path, mode="r")  # never unpickles: refuses objects
    except (ValueError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, TokenError) as error:
        raise RecordingError(
            f"{path}: is no readable .npy file; want one array of numbers, saved by numpy.save"
        ) from error
    facts = _export_beside(path)
    if facts and samples.ndim == 1 and samples.dtype.kind == "i":
        runs = runs_between(facts, len(samples), stored_gaps=False)
        box = str(facts.get("box_id"))
        return Content("NumPy, of opq-tools export", (exported_channel(box, samples, runs, facts),))
    return Content("NumPy", channels_of_array(path, samples, ""))


def channels_of_array(
    path: Path, samples: NDArray[Any], name: str, rate_hz: float | None = None
) -> tuple[Channel, ...]:
    """A channel per column of an array; the longer side is time.

    Raises:
        RecordingError: not one- or two-dimensional, or neither whole numbers nor floats.
    """
    if samples.ndim == 2:
        samples = samples if samples.shape[0] >= samples.shape[1] else samples.T
        if samples.shape[1] > MOST_COLUMNS:
            raise RecordingError(f"{path}: has {samples.shape[1]} columns, want at most {MOST_COLUMNS}")
        columns = [samples[:, k] for k in range(samples.shape[1])]
    elif samples.ndim == 1:
        columns = [samples]
    else:
        raise RecordingError(f"{path}: has {samples.ndim} dimensions, want 1, or 2 with a column per channel")
    if samples.dtype.kind not in "iuf" or samples.dtype.itemsize > 8:
        raise RecordingError(
            f"{path}: its values are {samples.dtype}, want whole numbers (counts) or floats (volts)"
        )
    volts = samples.dtype.kind == "f"
    return tuple(
        without_missing(channel)
        for channel in (
            Channel.of(
                name if len(columns) == 1 and name else f"{name or 'column'} {k}".strip(),
                column,
                scale=1.0 if volts else None,
                unit=None,
                quantity=quantity_named(name),
                rate_hz=rate_hz,
            )
            for k, column in enumerate(columns, 1)
        )
    )


def read_hdf5(path: Path) -> Content:
    """The numeric data sets of an HDF5 file; a rate is read from the attributes of the file or data set."""
    h5py = library("h5py", path)
    found: list[Channel] = []
    try:
        with h5py.File(path, "r") as file:

            def add(name: str, item: Any) -> None:
                if (
                    isinstance(item, h5py.Dataset)
                    and item.ndim in (1, 2)
                    and item.size > 1
                    and item.dtype.kind in "iuf"
                ):
                    rate_hz = _rate_of({**dict(file.attrs), **dict(item.attrs)})
                    found.extend(channels_of_array(path, np.asarray(item), name, rate_hz))

            file.visititems(add)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise RecordingError(f"{path}: is no readable HDF5 file") from error
    if not found:
        raise RecordingError(f"{path}: has no data set of numbers in one or two dimensions")
    return Content("HDF5", tuple(found))


def read_mat(path: Path) -> Content:
    """The numeric arrays of a MATLAB file (to version 7; 7.3 is HDF5); a scalar such as `fs` is the rate."""
    with path.open("rb") as file:
        if file.read(8) == b"\x89HDF\r\n\x1a\n" or b"MATLAB 7.3" in file.read(120):
            return read_hdf5(path)
    content = mat_arrays(path)
    rate_hz = _rate_of(content)
    found: list[Channel] = []
    for name, array in content.items():
        if array.ndim in (1, 2) and array.size > 1:
            found += channels_of_array(path, array, name, rate_hz)
    if not found:
        raise RecordingError(f"{path}: has no array of numbers in one or two dimensions")
    return Content("MATLAB", tuple(found))


def _rate_of(facts: dict[str, Any]) -> float | None:
    for name, value in facts.items():
        array = np.asarray(value)
        if (
            name.lower() in RATE_NAMES
            and array.size == 1
            and array.dtype.kind in "iuf"
            and float(array.flat[0]) > 0
        ):
            return float(array.flat[0])
    return None


def library(name: str, path: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RecordingError(
            f"{path}: {name.split('.')[0]} reads such files and is not installed: "
            "pip install 'opq-toolkit[recordings]'"
        ) from error


def _export_beside(path: Path) -> dict[str, object]:
    """The .json of our own export; empty where there is none or it is another's."""
    try:
        found = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and "rate_millihz" in found and "gaps" in found else {}
