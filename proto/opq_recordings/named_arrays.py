"""The named arrays of a file (NumPy .npz, MATLAB, HDF5) as channels of one recording or of several.

A name is a path: `/` separates an array from its groups or structures, whose facts apply to everything below.
Arrays of one length and rate are channels beside each other. Arrays of another length, rate or start are
separate recordings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError
from opq_recordings.even_axis import EvenAxis
from opq_recordings.quantity_names import quantity_named
from opq_recordings.recording import Channel, Content, Run, without_missing
from opq_recordings.stated_facts import (
    SAME_RATE,
    VALUE_FACTS,
    StatedStart,
    TimeAxis,
    axis_stated,
    chosen_rate,
    is_time,
    plain,
    stated_rates,
    stated_start,
    text_of,
    with_stated,
)

MOST_COLUMNS = 64
"""Most columns of a two-dimensional array, each a channel."""
LINES_EXAMINED = 8
"""Lines along each other axis by which the axis of time is known."""
SAMPLES_EXAMINED = 4096
LEAST_LIKENESS = 0.5
"""Correlation of values that follow one another in a signal: of mains, with 6 samples a cycle."""
LEAST_SHARE = 0.1
"""Share of the variance of all values that a signal has; copies of one recording have none."""
LEAST_TIMES = 16
"""Fewest values of an array of times."""


@dataclass(slots=True)
class NamedArrays:
    """The content of a file: arrays by name, and facts by the name of an array or group ("" is the file)."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    facts: dict[str, dict[str, object]] = field(default_factory=dict)

    def add(self, name: str, value: Any) -> None:
        """An array of numbers or times, or a fact of its group where it is a single value."""
        if value.size == 1:
            self.state(name, value)
        elif value.ndim in (1, 2, 3) and value.size > 1 and value.dtype.kind in "iuf":
            self.arrays[name] = np.asanyarray(value)
        elif value.ndim == 1 and value.dtype.kind == "M" and value.size > 1:
            self.arrays[name] = value.astype("datetime64[ns]").astype(np.int64)
            self.facts.setdefault(name, {})["units"] = "ns"

    def state(self, name: str, value: object) -> None:
        self.facts.setdefault(name.rpartition("/")[0], {})[name] = value


@dataclass(frozen=True, slots=True)
class _Placed:
    """A channel, and where its start is stated."""

    channel: Channel
    start_of: str | None
    recording: str = ""
    """Of an array of recordings: which one."""


def channels_of_array(
    path: Path, samples: NDArray[Any], name: str, rate_hz: float | None = None
) -> tuple[Channel, ...]:
    """A channel per column of an array; the longer side is time.

    A first column that rises evenly has the times of the others, as Simulink writes them.

    Raises:
        RecordingError: not one- or two-dimensional, or neither whole numbers nor floats.
    """
    if samples.ndim == 2:
        samples = samples if samples.shape[0] >= samples.shape[1] else samples.T
        if samples.shape[1] > MOST_COLUMNS:
            raise RecordingError(f"{path}: has {samples.shape[1]} columns, want at most {MOST_COLUMNS}")
        columns = [samples[:, k] for k in range(samples.shape[1])]
        times = axis_stated(columns[0], None) if _rises(columns[0]) and len(columns) > 1 else None
    elif samples.ndim == 1:
        columns, times = [samples], None
    else:
        raise RecordingError(
            f"{path}: has {samples.ndim} dimensions; want 1, 2 with a channel per column, 3 with recordings"
        )
    if samples.dtype.kind not in "iuf" or samples.dtype.itemsize > 8:
        raise RecordingError(
            f"{path}: its values are {samples.dtype}, want whole numbers (counts) or floats (volts)"
        )
    volts = samples.dtype.kind == "f"
    found = []
    for k, column in enumerate(columns, 1):
        if k == 1 and times is not None:
            continue
        channel = Channel.of(
            name if len(columns) == 1 and name else f"{name or 'column'} {k}".strip(),
            column,
            scale=1.0 if volts else None,
            unit=None,
            quantity=quantity_named(last_of(name)),
            rate_hz=rate_hz,
        )
        if times is not None:
            start_ns = None if times.start is None else times.start.t_ns
            channel = replace(channel, rate_hz=rate_hz or times.even.rate_hz, start_ns=start_ns)
            channel = _on_axis(channel, times.even)
        found.append(without_missing(channel))
    return tuple(found)


def recordings_of_array(name: str, samples: NDArray[Any]) -> tuple[Mapping[str, NDArray[Any]], str | None]:
    """The recordings of an array, each of one or two dimensions, by name, and a sentence on its axes.

    The longest of three axes is time, unless the values oscillate along the second longest one alone: there
    are more recordings than samples. The first of the others counts recordings, or the last one where time is
    the first, as MATLAB stores them.
    """
    if samples.ndim != 3:
        return {name: samples}, None
    _, second, longest = (int(each) for each in np.argsort(samples.shape, kind="stable"))
    is_second = not _oscillates(samples, longest) and _oscillates(samples, second)
    time = second if is_second else longest
    why = "its values oscillate along that axis" if is_second else "its longest axis is time"
    counted = 2 if time == 0 else 0
    apart = np.moveaxis(samples, counted, 0)
    channels = samples.size // samples.shape[time] // samples.shape[counted]
    shape = " x ".join(map(str, samples.shape))
    said = (
        f"{name or 'the array'} of {shape} is read as {samples.shape[counted]} recordings of {channels} "
        f"channels with {samples.shape[time]} samples: {why}"
    )
    return {f"{name} recording {k}".strip(): each for k, each in enumerate(apart, 1)}, said


def _oscillates(samples: NDArray[Any], axis: int) -> bool:
    """Whether the values go on along an axis as a sampled signal does; those of other recordings do not."""
    apart = np.moveaxis(samples, axis, -1)
    steps = [max(1, size // LINES_EXAMINED) for size in apart.shape[:2]]
    lines = apart[:: steps[0], :: steps[1], :SAMPLES_EXAMINED].astype(np.float64)
    around = lines - lines.mean(axis=-1, keepdims=True)
    power = float(np.mean(around**2))
    if power <= LEAST_SHARE * float(np.var(lines)):
        return False
    return float(np.mean(around[..., 1:] * around[..., :-1])) >= LEAST_LIKENESS * power


def channels_of_arrays(path: Path, samples: NDArray[Any]) -> tuple[tuple[Channel, ...], tuple[str, ...]]:
    """The channels of an array without a name, one recording or several, and sentences on its axes.

    Raises:
        RecordingError: as `channels_of_array`.
    """
    if not samples.size:
        raise RecordingError(f"{path}: is empty, an array of {' x '.join(map(str, samples.shape))}")
    recordings, said = recordings_of_array("", samples)
    channels = tuple(
        replace(channel, member=name)
        for name, array in recordings.items()
        for channel in channels_of_array(path, array, name)
    )
    return channels, () if said is None else (said,)


def _rises(column: NDArray[Any]) -> bool:
    """Whether a column may have the times of the others: these never fall, and a voltage does in a cycle."""
    return column.dtype.kind == "f" and len(column) >= LEAST_TIMES and bool((np.diff(column) > 0).all())


def content_of(path: Path, form: str, named: NamedArrays) -> Content:
    """A channel for each column of each array that is not the times of others."""
    problems: list[str] = []
    assumed: list[str] = []
    facts = named.facts
    arrays = {name: _as_vector(array) for name, array in named.arrays.items()}
    axes = {
        name: axis
        for name, array in arrays.items()
        if is_time(name)
        and len(arrays) > 1
        and array.ndim == 1
        and (axis := axis_stated(array, text_of(facts.get(name, {}).get("units")))) is not None
    }
    found: list[_Placed] = []
    for name, array in arrays.items():
        if name in axes:
            continue
        near: dict[str, object] = {}
        rates: list[tuple[str, float]] = []
        start: tuple[str, StatedStart] | None = None
        for place in _places(name):
            here = facts.get(place, {})
            rates += stated_rates(here)
            near = {**here, **near}
            if start is None and (stated := stated_start(here)) is not None:
                start = (place, stated)
        recordings, said = recordings_of_array(name, array)
        problems += [] if said is None else [said]
        parts = {part: channels_of_array(path, each, part) for part, each in recordings.items()}
        channels = tuple(channel for each in parts.values() for channel in each)
        of_part = [part if said else "" for part, each in parts.items() for _ in each]
        times = _times_of(name, len(channels[0].values), axes)
        if times is not None:
            rates.append((f"the times in {times[0]}", times[1].even.rate_hz))
            start = start or (None if times[1].start is None else (times[0], times[1].start))
        own_hz = channels[0].rate_hz if channels else None
        rates += [] if own_hz is None else [(f"the first column of {name}", own_hz)]
        rate_hz = chosen_rate(channels[0].values, rates, problems)
        own = {key: value for key, value in near.items() if plain(key) in VALUE_FACTS}
        if times is not None and rate_hz and abs(times[1].even.rate_hz / rate_hz - 1) <= SAME_RATE:
            channels = tuple(_on_axis(each, times[1].even) for each in channels)
            problems += times[1].even.problems
        if start is not None:
            assumed += [] if start[1].zone else ["time_zone"]
            problems += [] if start[1].problem is None else [start[1].problem]
        for each, part in zip(channels, of_part, strict=True):
            start_ns = each.start_ns if start is None else start[1].t_ns
            stated_channel = replace(with_stated(each, own), rate_hz=rate_hz, start_ns=start_ns)
            found.append(_Placed(stated_channel, None if start is None else start[0], part))
    return Content(
        form,
        _recordings(found, problems),
        tuple(dict.fromkeys(assumed)),
        tuple(dict.fromkeys(problems)),
    )


def _as_vector(array: NDArray[Any]) -> NDArray[Any]:
    """A column or row of a matrix, as MATLAB 7.3 stores each vector, without its dimension of one."""
    return array.reshape(-1) if array.ndim == 2 and 1 in array.shape else array


def content_of_variables(path: Path, form: str, named: Mapping[str, NDArray[Any]]) -> Content | None:
    """The arrays among named variables, with the numbers and texts beside them; None where there are none."""
    found = NamedArrays()
    for name, value in named.items():
        found.add(name, value)
    return content_of(path, form, found) if found.arrays else None


def last_of(name: str) -> str:
    """The name of an array without its groups."""
    return name.rpartition("/")[2]


def _recordings(found: Sequence[_Placed], problems: list[str]) -> tuple[Channel, ...]:
    """The channels; those of one length and rate are of one member.

    A start that is stated above several recordings of one quantity does not belong to any of them.
    """
    sizes: dict[tuple[str | None, str | None], set[tuple[int, float | None]]] = {}
    for each in found:
        of = sizes.setdefault((each.start_of, each.channel.quantity), set())
        of.add((each.channel.samples, each.channel.rate_hz))
    channels = []
    for each in found:
        length = f"{each.channel.samples} at {each.channel.rate_hz}"
        channel = replace(each.channel, member=f"{each.recording}: {length}" if each.recording else length)
        several = len(sizes[each.start_of, channel.quantity]) > 1
        if channel.start_ns is not None and channel.quantity == "voltage" and several:
            problems.append(
                "its start is stated once and its voltages have several lengths or rates, so it is not known "
                "which of them begins then"
            )
            channel = replace(channel, start_ns=None)
        channels.append(channel)
    return tuple(channels)


def _times_of(name: str, count: int, axes: Mapping[str, TimeAxis]) -> tuple[str, TimeAxis] | None:
    """The times of so many rows that are nearest to an array: in its group, or in one above."""
    fitting = {other: axis for other, axis in axes.items() if axis.rows == count}
    for place in _places(name)[1:]:
        for other, axis in fitting.items():
            if other.rpartition("/")[0] == place:
                return other, axis
    return next(iter(fitting.items())) if len(fitting) == 1 else None


def _on_axis(channel: Channel, axis: EvenAxis) -> Channel:
    """The channel with the gaps of its times."""
    runs = tuple(
        Run(
            on.first_sample + max(on.row, run.row) - on.row, max(on.row, run.row), stop - max(on.row, run.row)
        )
        for on in axis.runs
        for run in channel.runs
        if (stop := min(on.row + on.samples, run.row + run.samples)) > max(on.row, run.row)
    )
    return replace(channel, runs=runs, samples=axis.samples)


def _places(name: str) -> list[str]:
    """The array and the groups above it, the nearest first; "" is the file."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), -1, -1)]
