"""Recordings on disk: a waveform in one of five formats, and what its numbers mean.

| suffix | samples | rate and gain |
| --- | --- | --- |
| .i16 | raw int16, little endian, one channel | .json beside it, or flags |
| .csv | `time_s,volts` under that header, or one column of volts | from the times, or as above |
| .npy | one-dimensional, int16 counts or float volts | as .i16 |
| .wav | int16 counts, one channel | rate from the file, gain as .i16 |
| .cfg, .dat, .cff | COMTRADE, one analogue channel | from the file |

Flags come before the .json, the .json before what the file itself says. Nothing is ever unpickled, and
.i16 and .npy are mapped, not read. Whatever is broken is a RecordingError of one line.
"""

import json
import math
import warnings
import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError

DEFAULT_NOMINAL_V, DEFAULT_NOMINAL_HZ = 120.0, 60.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a recording; None where it is not."""

    rate_hz: float | None = None
    volts_per_lsb: float | None = None
    nominal_v: float | None = None
    nominal_hz: float | None = None
    box_id: str | None = None

    def before(self, other: "Facts") -> "Facts":
        """These, and the other's where these are None."""
        mine = {name: getattr(self, name) for name in self.__slots__}
        return Facts(
            **{name: getattr(other, name) if value is None else value for name, value in mine.items()}
        )


@dataclass(frozen=True, slots=True)
class Recording:
    """A waveform: `samples` (n,) of `v_per_lsb` volts each (1.0 where they are volts already)."""

    path: Path
    samples: NDArray[Any]
    v_per_lsb: float
    rate_hz: float
    nominal_v: float
    nominal_hz: float
    box_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Content:
    """What a reader found in a file: counts need a gain, volts need none."""

    samples: NDArray[Any]
    counts: bool
    facts: Facts = field(default_factory=Facts)


def read_recording(path: Path, given: Facts | None = None, channel: str | None = None) -> Recording:
    """Read a recording.

    Args:
        given: facts that hold against those of the file and of the .json beside it.
        channel: COMTRADE only: name, or number from 1, of the analogue channel; else the first voltage.
    Raises:
        RecordingError: not there, broken, of an unknown format, or its rate or gain is not known.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise RecordingError(f"{path}: unknown format '{path.suffix}', want one of {', '.join(READERS)}")
    try:
        if not path.is_file():
            raise RecordingError(f"{path}: {'is no file' if path.exists() else 'there is no such file'}")
        content = reader(path, channel)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
    if content.samples.ndim != 1:
        raise RecordingError(f"{path}: has {content.samples.ndim} dimensions, want 1")
    if len(content.samples) == 0:
        raise RecordingError(f"{path}: is empty, no samples in it")
    beside = read_facts(path.with_suffix(".json"))
    facts = (given or Facts()).before(beside).before(content.facts)
    missing = path.with_suffix(".json").name
    if facts.rate_hz is None:
        raise RecordingError(f"{path}: its rate is not known; put rate_hz into {missing} or give --rate-hz")
    if content.counts and facts.volts_per_lsb is None:
        raise RecordingError(
            f"{path}: the gain of its counts is not known; put volts_per_lsb into {missing} "
            "or give --volts-per-lsb"
        )
    return Recording(
        path=path,
        samples=content.samples,
        v_per_lsb=facts.volts_per_lsb if content.counts and facts.volts_per_lsb else 1.0,
        rate_hz=facts.rate_hz,
        nominal_v=facts.nominal_v or DEFAULT_NOMINAL_V,
        nominal_hz=facts.nominal_hz or DEFAULT_NOMINAL_HZ,
        box_id=facts.box_id,
    )


def read_facts(path: Path) -> Facts:
    """The facts of a recording's .json; none when there is no such file.

    Raises:
        RecordingError: not JSON, not an object, or a value that is not a positive number.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Facts()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path}: cannot be read: {error}") from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{path}: is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise RecordingError(
            f"{path}: holds a {type(content).__name__}, want an object with rate_hz, volts_per_lsb, …"
        )
    box_id = content.get("box_id")
    return Facts(
        rate_hz=_positive(path, content, "rate_hz"),
        volts_per_lsb=_positive(path, content, "volts_per_lsb"),
        nominal_v=_positive(path, content, "nominal_volts"),
        nominal_hz=_positive(path, content, "nominal_hz"),
        box_id=None if box_id is None else str(box_id),
    )


def _positive(path: Path, content: Mapping[str, object], key: str) -> float | None:
    if key not in content:
        return None
    value = content[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise RecordingError(f"{path}: {key} is {value!r:.60}, want a positive number")
    return float(value)


def _read_i16(path: Path, _channel: str | None) -> _Content:
    size = path.stat().st_size
    if size == 0:
        raise RecordingError(f"{path}: is empty, no samples in it")
    if size % 2:
        raise RecordingError(f"{path}: has {size} bytes, an odd number; want 2 per sample")
    return _Content(np.memmap(path, dtype="<i2", mode="r"), counts=True)


def _read_npy(path: Path, _channel: str | None) -> _Content:
    try:
        samples = np.lib.format.open_memmap(path, mode="r")  # maps only; an array of objects is refused
    except (ValueError, EOFError, SyntaxError, TypeError, OverflowError) as error:
        raise RecordingError(f"{path}: is no readable .npy file: {_first_line(error)}") from error
    if samples.dtype.kind == "f":
        _check_finite(path, samples)
        return _Content(samples, counts=False)
    if samples.dtype == np.dtype(np.int16) or samples.dtype == np.dtype(">i2"):
        return _Content(samples, counts=True)
    raise RecordingError(f"{path}: its values are {samples.dtype}, want int16 counts or float volts")


def _read_wav(path: Path, _channel: str | None) -> _Content:
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, frames = file.getnchannels(), file.getsampwidth(), file.getnframes()
            rate_hz = file.getframerate()
            if channels != 1 or width != 2:
                raise RecordingError(f"{path}: has {channels} channels of {8 * width} bits, want 1 of 16")
            samples = np.frombuffer(file.readframes(frames), dtype="<i2")
    except (wave.Error, EOFError, ValueError) as error:
        raise RecordingError(
            f"{path}: is no readable .wav file: {_first_line(error) or 'cut short'}"
        ) from error
    if len(samples) != frames:
        raise RecordingError(f"{path}: is cut short, {len(samples)} of {frames} samples are there")
    return _Content(samples, counts=True, facts=Facts(rate_hz=float(rate_hz)))


def _read_csv(path: Path, _channel: str | None) -> _Content:
    """Two columns under their header, or one column of volts with or without a header."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = next((line.strip() for line in file if line.strip()), "")
            header = bool(first) and not _is_number(first.split(",")[0])
            names = [name.strip().lower() for name in first.split(",")]
            if header and names not in (["time_s", "volts"], ["volts"]):
                raise RecordingError(f"{path}: its header is {first[:60]!r}, want time_s,volts or one column")
            if not header and len(names) > 1:
                raise RecordingError(
                    f"{path}: has {len(names)} columns and no header, want time_s,volts above them"
                )
            file.seek(0)
            lines = (line for line in file if line.strip())
            if header:
                next(lines)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of a table without rows, said below
                table = np.loadtxt(lines, delimiter=",", ndmin=2, comments=None)
    except ValueError as error:
        raise RecordingError(f"{path}: is no table of numbers: {_first_line(error)}") from error
    if table.size == 0:
        raise RecordingError(f"{path}: is empty, no samples in it")
    if table.shape[1] != len(names):
        raise RecordingError(f"{path}: has {table.shape[1]} columns under a header of {len(names)}")
    volts = np.ascontiguousarray(table[:, -1])
    _check_finite(path, volts)
    facts = Facts(rate_hz=_rate_of_times(path, table[:, 0])) if len(names) == 2 else Facts()
    return _Content(volts, counts=False, facts=facts)


def _rate_of_times(path: Path, times_s: NDArray[np.float64]) -> float:
    if len(times_s) < 2:
        raise RecordingError(f"{path}: one sample has no rate")
    _check_finite(path, times_s)
    step_s = (times_s[-1] - times_s[0]) / (len(times_s) - 1)
    if not step_s > 0:
        raise RecordingError(f"{path}: its times do not rise")
    away = np.abs(times_s - times_s[0] - step_s * np.arange(len(times_s)))
    if away.max() > step_s / 2:
        row = int(np.argmax(away > step_s / 2))
        raise RecordingError(
            f"{path}: its times are not evenly spaced, first at sample {row} ({times_s[row]:g} s)"
        )
    return float(1 / step_s)


def _read_comtrade(path: Path, channel: str | None) -> _Content:
    from opq_tools.comtrade_file import read_channel

    samples, rate_hz, nominal_hz = read_channel(path, channel)
    _check_finite(path, samples)
    return _Content(samples, counts=False, facts=Facts(rate_hz=rate_hz, nominal_hz=nominal_hz))


def _check_finite(path: Path, values: NDArray[Any]) -> None:
    if values.ndim != 1:
        return  # refused for that, later
    for first in range(0, values.size, 1 << 20):
        finite = np.isfinite(values[first : first + (1 << 20)])
        if not finite.all():
            raise RecordingError(f"{path}: sample {first + int(np.argmin(finite))} is not a finite number")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]


READERS: Mapping[str, Callable[[Path, str | None], _Content]] = {
    ".i16": _read_i16,
    ".csv": _read_csv,
    ".npy": _read_npy,
    ".wav": _read_wav,
    ".cfg": _read_comtrade,
    ".dat": _read_comtrade,
    ".cff": _read_comtrade,
}
