"""Arrays on disk: raw int16 (.i16), NumPy (.npy), HDF5 (.h5) and MATLAB (.mat). Nothing is ever unpickled."""

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from opq_recordings.stated_facts import (
    OF_VALUES,
    axis_stated,
    chosen_rate,
    is_time,
    plain,
    stated_rates,
    text_of,
    with_stated,
)

MOST_COLUMNS = 64


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
    """The numeric data sets of an HDF5 or netCDF-4 file, with what attributes of them and of groups state."""
    h5py = library("h5py", path)
    arrays: dict[str, NDArray[Any]] = {}
    facts: dict[str, dict[str, object]] = {}
    try:
        with h5py.File(path, "r") as file:

            def add(name: str, item: Any) -> None:
                attributes = dict(item.attrs)
                if isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf":
                    if item.size == 1:
                        facts.setdefault(name.rpartition("/")[0], {})[name] = item[()]
                        return
                    if item.ndim in (1, 2) and item.size > 1:
                        arrays[name] = np.asarray(item)
                facts.setdefault(name, {}).update(attributes)

            facts[""] = dict(file.attrs)
            file.visititems(add)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise RecordingError(f"{path}: is no readable HDF5 file") from error
    if not arrays:
        raise RecordingError(f"{path}: has no data set of numbers in one or two dimensions")
    return _content_of(path, "HDF5", arrays, facts)


def read_mat(path: Path) -> Content:
    """The numeric arrays of a MATLAB file, also in structures, with what is stated beside them.

    Version 7.3 is HDF5.
    """
    with path.open("rb") as file:
        if file.read(8) == b"\x89HDF\r\n\x1a\n" or b"MATLAB 7.3" in file.read(120):
            return read_hdf5(path)
    named = {name.replace(".", "/"): array for name, array in mat_arrays(path).items()}
    found = _content_of_variables(path, "MATLAB", named)
    if found is None:
        raise RecordingError(f"{path}: has no array of numbers in one or two dimensions")
    return found


def read_npz(path: Path, members: Sequence[Path]) -> Content | None:
    """The arrays of a .npz, unpacked; None if these are recordings of their own, as `export` writes them."""
    if any(each.suffix.lower() != ".npy" or each.with_suffix(".json").exists() for each in members):
        return None
    named = {}
    for each in members:
        try:
            named[each.stem] = np.lib.format.open_memmap(each, mode="r")
        except (ValueError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, TokenError):
            continue  # a text or an object beside the numbers
    return _content_of_variables(path, "NumPy", named)


def _content_of_variables(path: Path, form: str, named: Mapping[str, NDArray[Any]]) -> Content | None:
    """The arrays among named variables, with the numbers and texts beside them; None where there are none."""
    arrays = {
        name: array
        for name, array in named.items()
        if array.ndim in (1, 2) and array.size > 1 and array.dtype.kind in "iuf"
    }
    facts: dict[str, dict[str, object]] = {}
    for name, value in named.items():
        if value.size == 1:
            facts.setdefault(name.rpartition("/")[0], {})[name] = value
    return _content_of(path, form, arrays, facts) if arrays else None


def _content_of(
    path: Path, form: str, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Mapping[str, object]]
) -> Content:
    """A channel for each column of each array.

    Args:
        arrays: name -> array; `/` divides it from its groups or structures.
        facts: array or group ("" is the file) -> what is stated of it, and of all below it.
    """
    problems: list[str] = []
    axes = {
        name: axis
        for name, array in arrays.items()
        if is_time(name)
        and len(arrays) > 1
        and array.ndim == 1
        and (axis := axis_stated(array, text_of(facts.get(name, {}).get("units")))) is not None
    }
    found: list[Channel] = []
    for name, array in arrays.items():
        if name in axes:
            continue
        near: dict[str, object] = {}
        rates = []
        for place in _places(name):
            here = facts.get(place, {})
            rates += stated_rates(here)
            near = {**here, **near}
        channels = channels_of_array(path, array, name)
        times = [(other, axis.rate_hz) for other, axis in axes.items() if axis.samples == channels[0].samples]
        rates += [(f"the times in {other}", rate_hz) for other, rate_hz in times]
        rate_hz = chosen_rate(channels[0].values, rates, problems)
        own = {key: value for key, value in near.items() if plain(key) in OF_VALUES}
        found += [replace(with_stated(each, own), rate_hz=rate_hz) for each in channels]
    return Content(form, tuple(found), (), tuple(dict.fromkeys(problems)))


def _places(name: str) -> list[str]:
    """The array and the groups above it, the nearest first; "" is the file."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), -1, -1)]


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
