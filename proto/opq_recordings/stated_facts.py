"""The stated facts of an array of samples: rate, unit, factor, offset and the mark for "no value". Pure.

One rule for the variables of NumPy (.npz) and MATLAB files and for the attributes of HDF5 and netCDF-4. Names
are those of the conventions: CF/netCDF for units, scale_factor, add_offset, _FillValue and missing_value;
oscilloscopes and scripts for the rate.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError
from opq_proto.time_units import NS_PER_S
from opq_recordings.even_axis import EvenAxis, axis_of_times
from opq_recordings.moments import MAX_START_NS, epoch_ns
from opq_recordings.recording import Channel, without_missing
from opq_recordings.units import measured_in, seconds_of
from opq_recordings.written_times import written_time

RATE_NAMES = {
    "ratehz",
    "fs",
    "fsample",
    "samplerate",
    "samplingrate",
    "samplingfrequency",
    "samplefrequency",
    "sampleratehz",
    "sr",
    "srate",
}
INTERVAL_NAMES = {
    "tinterval",
    "dt",
    "ts",
    "deltat",
    "interval",
    "sampleinterval",
    "samplinginterval",
    "sampletime",
    "samplingtime",
    "timestep",
    "xincrement",
    "xincr",
    "tsample",
}
TIME_NAMES = {
    "t",
    "time",
    "times",
    "timestamp",
    "timestamps",
    "times_s",
    "time_s",
    "zeit",
    "tempo",
    "temps",
    "时间",
    "время",
}
"""Of variables with the time of each sample."""
START_NAMES = {
    "start",
    "starts",
    "startns",
    "startutc",
    "starttime",
    "starttimens",
    "starttimeutc",
    "startdate",
    "startdatetime",
    "startedat",
    "begin",
    "begintime",
    "t0",
    "tstart",
    "timestamp",
    "timestampns",
    "datetime",
    "time",
    "recordingstart",
    "recordstart",
    "firstsample",
    "firstsamplens",
    "wfstarttime",
}
UNIT_NAMES = ("units", "unit")
MARK_NAMES = ("_fillvalue", "missingvalue")
FACTOR_NAMES = ("scalefactor", "calibrationfactor", "voltsperlsb", "voltspercount", "lsb", "gain")
OFFSET_NAMES = ("addoffset", "offset")
"""The first of each is that of netCDF; the others are those of loggers that store counts, and of counts only:
of volts a gain is that of the amplifier before."""
VALUE_FACTS = frozenset((*UNIT_NAMES, *FACTOR_NAMES, *OFFSET_NAMES, "_fillvalue", "missingvalue", "phase"))
"""What concerns the values of an array, and not when they were taken."""
SAME_RATE = 1e-3
"""Share by which two statements of one rate may differ, because they are rounded."""
MAINS_HZ = (50.0, 60.0)
NEAR_MAINS_HZ = (0.5, 2.5)
"""Mains is this near to its frequency; the second value is tried if no rate fits the first."""
SAMPLES_EXAMINED = 1 << 15
"""Samples that are searched for the file's mains."""


def plain(name: str) -> str:
    """The last part of a name, in small letters without separators but the leading one of `_FillValue`."""
    last = name.replace("/", ".").rpartition(".")[2].lower()
    return last[:1] + last[1:].replace("_", "").replace("-", "").replace(" ", "")


def number_of(value: object) -> float | None:
    """A single finite number, of any dimension; None for anything else."""
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "iuf" or not np.isfinite(array.flat[0]):
        return None
    return float(array.flat[0])


def text_of(value: object) -> str | None:
    """A text, also as bytes or in an array of one; None for anything else."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.flat[0]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value) if isinstance(value, str) else None


def is_time(name: str) -> bool:
    """Whether a variable of this name has the times of the samples."""
    return name.replace("/", ".").rpartition(".")[2].lower() in TIME_NAMES


def stated_rates(facts: Mapping[str, object]) -> list[tuple[str, float]]:
    """(what states it, Hz) of each rate and interval among these facts."""
    found = []
    for name, value in facts.items():
        number = number_of(value)
        if number is None or number <= 0:
            continue
        if plain(name) in RATE_NAMES:
            found.append((f"{name} {number:.9g} Hz", number))
        elif plain(name) in INTERVAL_NAMES:
            found.append((f"{name} {number:.9g} s", 1 / number))
    return found


@dataclass(frozen=True, slots=True)
class StatedStart:
    """A start that a file states."""

    t_ns: int | None
    """None where it is not understood; `problem` says so."""
    zone: bool = True
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """A vector of times: its rows, the axis on which they lie, and the start where they state it."""

    rows: int
    even: EvenAxis
    start: StatedStart | None


def stated_start(facts: Mapping[str, object]) -> StatedStart | None:
    """The start among these facts: a text, a Unix time, or nanoseconds; None where none is stated."""
    for name, value in facts.items():
        if plain(name) not in START_NAMES:
            continue
        array = np.asarray(value)
        if array.size == 1 and array.dtype.kind == "M":
            return _of_unix(int(array.astype("datetime64[ns]").astype(np.int64).flat[0]), 1)
        if array.size == 1 and array.dtype.kind in "iuf":
            number = array.flat[0].item()
            unit_ns = epoch_ns(number)
            if unit_ns is not None:
                return _of_unix(number, unit_ns)
        elif (text := text_of(value)) is not None and text.strip():
            return _written(name, text.strip(), facts)
    return None


def _written(name: str, text: str, facts: Mapping[str, object]) -> StatedStart:
    found = written_time(text)
    if found is not None and not found.dated:
        day = next(
            (day for key, value in facts.items() if plain(key) == "date" and (day := text_of(value))), ""
        )
        found = written_time(f"{day} {text}") if day else found
    if found is None or found.t_ns is None:
        why = f" ({found.problem})" if found is not None and found.problem else ""
        return StatedStart(
            None, problem=f"its {name}, {text!r:.60}, is not understood{why}, so its start is not known"
        )
    return StatedStart(found.t_ns, found.zone)


def _of_unix(number: float, unit_ns: int) -> StatedStart:
    t_ns = int(number) * unit_ns + round((number - int(number)) * unit_ns)
    return StatedStart(t_ns if 0 <= t_ns <= MAX_START_NS else None)


def axis_stated(times: NDArray[Any], unit: str | None) -> TimeAxis | None:
    """The axis of a vector of times; None where it is not even, so that it is its own signal or nothing.

    Args:
        times: (n,) numbers.
        unit: of the times, such as `ms` or `seconds since 2024-01-01`; None: seconds, or as long as Unix
            times of that size are.
    """
    of, _, since = (unit or "").partition(" since ")
    if len(times) < 3 or times.dtype.kind not in "iuf" or not np.isfinite(times[0]):
        return None
    first = times[0].item()
    unit_ns = epoch_ns(first)
    scale = seconds_of(of) if unit else (unit_ns or NS_PER_S) / NS_PER_S
    if scale is None:
        return None
    start = None
    if since:
        zero = _written("time", since.strip(), {})
        begins = None if zero.t_ns is None else zero.t_ns + round(first * scale * NS_PER_S)
        start = StatedStart(begins, zero.zone, zero.problem)
    elif unit_ns is not None and abs(unit_ns / NS_PER_S / scale - 1) < SAME_RATE:
        start = _of_unix(first, unit_ns)
    even = times - times[0] if times.dtype.kind == "i" else times
    try:
        return TimeAxis(len(times), axis_of_times(even.astype(np.float64) * scale), start)
    except RecordingError:
        return None


def chosen_rate(
    values: NDArray[Any],
    rates: Sequence[tuple[str, float]],
    problems: list[str],
    line_hz: float | None = None,
) -> float | None:
    """The rate of these samples by what states it; of two that contradict, the one that their mains fits.

    Args:
        values: (n,) of one channel.
        rates: (what states it, Hz), the nearest statement first.
        line_hz: the frequency of the mains, where the file states it; of 50 and 60 Hz it is the one.
    """
    if not rates:
        return None
    differing = [each for each in rates if abs(each[1] / rates[0][1] - 1) > SAME_RATE]
    if not differing:
        return rates[0][1]
    said = " and ".join(name for name, _ in [rates[0], *differing])
    cycles = _cycles_per_sample(values) or 0.0
    fitting: list[tuple[str, float]] = []
    for mains in ((line_hz,) if line_hz else (), MAINS_HZ):
        for apart_hz in NEAR_MAINS_HZ:
            near = (rate for rate in (rates[0], *differing) if _is_near(cycles * rate[1], mains, apart_hz))
            fitting = fitting or list(near)
    taken = fitting[0] if len({rate for _, rate in fitting}) == 1 else rates[0]
    why = ", under which its mains is 50 or 60 Hz" if taken in fitting else ""
    problems.append(f"its rate is stated twice and differently, by {said}; {taken[1]:.9g} Hz was taken{why}")
    return taken[1]


def _is_near(hz: float, mains: Sequence[float], apart_hz: float) -> bool:
    return any(abs(hz - each) <= apart_hz for each in mains)


def _cycles_per_sample(values: NDArray[Any]) -> float | None:
    """The frequency of the largest tone, in cycles per sample; None for too few samples or a constant."""
    part = values[:SAMPLES_EXAMINED].astype(np.float64)
    part = part[np.isfinite(part)]
    if len(part) < 64 or np.ptp(part) == 0:
        return None
    spectrum = np.abs(np.fft.rfft((part - part.mean()) * np.hanning(len(part)), 8 * len(part)))
    return float(np.argmax(spectrum) / (8 * len(part)))


def with_stated(channel: Channel, facts: Mapping[str, object]) -> Channel:
    """The channel with unit, factor, offset and mark for "no value" that are stated beside it.

    Whole numbers without unit and factor stay counts of a converter, whose gain is not known.
    """
    named = {plain(name): value for name, value in facts.items()}
    unit = next((text for name in UNIT_NAMES if (text := text_of(named.get(name))) is not None), None)
    counts = channel.values.dtype.kind in "iu"
    factor = _first_number(named, FACTOR_NAMES if counts else FACTOR_NAMES[:1])
    added = _first_number(named, OFFSET_NAMES if counts and factor is not None else OFFSET_NAMES[:1])
    shown, quantity, of_unit = measured_in(unit, channel.name.rpartition("/")[2])
    scale = channel.scale
    if factor is not None or (shown is not None and of_unit is not None):
        scale = (1.0 if factor is None else factor) * (of_unit or 1.0)
    if shown is not None and of_unit is None and factor is None:
        scale = None
    stated = replace(
        channel,
        scale=scale,
        offset=(added or 0.0) * (of_unit or 1.0),
        unit=shown,
        quantity=quantity,
        phase=channel.phase or text_of(named.get("phase")) or "",
    )
    for mark in _marks(named):
        stated = without_missing(stated, mark)
    return stated


def _first_number(named: Mapping[str, object], names: Sequence[str]) -> float | None:
    return next((found for name in names if (found := number_of(named.get(name))) is not None), None)


def _marks(named: Mapping[str, object]) -> Iterable[float]:
    for name in MARK_NAMES:
        value = named.get(name)
        if value is not None:
            array = np.asarray(value)
            if array.dtype.kind in "iuf":
                yield from (float(each) for each in array.flat[:4] if np.isfinite(each))
