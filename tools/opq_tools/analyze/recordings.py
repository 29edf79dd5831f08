"""Recordings on disk: a waveform in one of five formats, with its rate, gain and start.

| suffix | samples | rate and gain |
| --- | --- | --- |
| .i16 | raw int16, little endian, one channel | .json beside it, or flags |
| .csv | `time_s,volts` under that header, one column of volts, or of `export` | from the times, or as above |
| .npy | one-dimensional, int16 counts or float volts | as .i16 |
| .wav | int16 counts, one channel | rate from the file, gain as .i16 |
| .cfg, .dat, .cff | COMTRADE, one analogue channel | from the file |

UTC of the first sample: `--start`, `start_ns` in the .json, or COMTRADE's own; otherwise unknown.
Flags override the .json, and the .json overrides the file itself. Nothing is ever unpickled. .i16, .npy and
.wav are mapped, not read; a .csv of hours goes through an unnamed temporary file. Every fault of a file is a
RecordingError of one line.
"""

import contextlib
import json
import sys
import wave
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError
from opq_tools.analyze.csv_file import check_finite, read_columns

DEFAULT_NOMINAL_V, DEFAULT_NOMINAL_HZ = 120.0, 60.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_RATE_HZ = 1e7
"""Higher than the rate of any mains recorder; windows of 0.2 s are held in memory."""
MAX_START_NS = 2**62
"""The year 2116; later times within a recording then still fit into 64 bits."""


@dataclass(frozen=True, slots=True)
class RecordingFacts:
    """Known facts of a recording; None where unknown."""

    rate_hz: float | None = None
    volts_per_lsb: float | None = None
    nominal_v: float | None = None
    nominal_hz: float | None = None
    box_id: str | None = None
    start_ns: int | None = None

    def before(self, other: "RecordingFacts") -> "RecordingFacts":
        """These facts; where one is None, the other's."""
        mine = {name: getattr(self, name) for name in self.__slots__}
        return RecordingFacts(
            **{name: getattr(other, name) if value is None else value for name, value in mine.items()}
        )


@dataclass(frozen=True, slots=True)
class RecordingFile:
    """A waveform: `samples` (n,) in units of `v_per_lsb` volts (1.0 where they are volts already)."""

    path: Path
    samples: NDArray[Any]
    v_per_lsb: float
    rate_hz: float
    nominal_v: float
    nominal_hz: float
    box_id: str | None = None
    start_ns: int | None = None
    """UTC of the first sample."""
    assumed_nominal: bool = False
    """True where neither the file nor the call states the nominal voltage."""


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of a file as its reader found it; counts need a gain, volts do not."""

    samples: NDArray[Any]
    counts: bool
    facts: RecordingFacts = field(default_factory=RecordingFacts)


def read_recording(
    path: Path, given: RecordingFacts | None = None, channel: str | None = None
) -> RecordingFile:
    """Read a recording.

    Args:
        given: facts that override those of the file and of the .json beside it.
        channel: COMTRADE only: name, or number from 1, of the analogue channel; None: the first voltage.
    Raises:
        RecordingError: missing, broken, of an unknown format, or its rate or gain is not known.
    """
    try:
        if not path.is_file():
            raise RecordingError(f"{path}: {'is no file' if path.exists() else 'there is no such file'}")
        _refuse_zip(path)
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            ending = f"the ending {path.suffix}" if path.suffix else "a name without an ending"
            raise RecordingError(f"{path}: {ending} is no known format; want one of {', '.join(READERS)}")
        content = reader(path, channel)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content.samples) == 0:
        raise RecordingError(f"{path}: is empty, no samples in it")
    beside = read_facts(path.with_suffix(".json"))
    facts = (given or RecordingFacts()).before(beside).before(content.facts)
    missing = path.with_suffix(".json").name
    if facts.rate_hz is None:
        raise RecordingError(f"{path}: its rate is not known; put rate_hz into {missing} or give --rate-hz")
    if facts.rate_hz > MAX_RATE_HZ:
        raise RecordingError(f"{path}: its rate is {facts.rate_hz:g} Hz, want at most {MAX_RATE_HZ:,.0f} Hz")
    if content.counts and facts.volts_per_lsb is None:
        raise RecordingError(
            f"{path}: the gain of its counts is not known; put volts_per_lsb into {missing} "
            "or give --volts-per-lsb"
        )
    return RecordingFile(
        path=path,
        samples=content.samples,
        v_per_lsb=facts.volts_per_lsb if content.counts and facts.volts_per_lsb else 1.0,
        rate_hz=facts.rate_hz,
        nominal_v=facts.nominal_v or DEFAULT_NOMINAL_V,
        nominal_hz=facts.nominal_hz or DEFAULT_NOMINAL_HZ,
        box_id=facts.box_id,
        start_ns=facts.start_ns,
        assumed_nominal=facts.nominal_v is None,
    )


def _refuse_zip(path: Path) -> None:
    """Refuses a zip, which `opq-tools export` writes under any name for several Boxes."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            inside = [name for name in packed.namelist() if Path(name).suffix.lower() in READERS]
        raise RecordingError(
            f"{path}: is a zip; unpack it and name one of {', '.join(inside[:8]) or 'its files'}"
        )


def utc_ns(time: datetime) -> int:
    """Exact nanoseconds since 1970; a time without a zone is read as UTC.

    Raises:
        ValueError: before 1970 or after 2115.
    """
    utc = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    found = 1000 * ((utc - EPOCH) // timedelta(microseconds=1))
    if not 0 <= found <= MAX_START_NS:
        raise ValueError(f"{time} is not from 1970 to 2115")
    return found


def read_facts(path: Path) -> RecordingFacts:
    """Reads the facts of a recording's .json; all are None when there is no such file.

    Raises:
        RecordingError: not JSON, not an object, a value that is not a positive number, or a `start_ns` that
            is not a whole number.
    """
    try:
        if not path.is_file() and path.exists():  # a pipe might never end
            raise RecordingError(f"{path}: is no file")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return RecordingFacts()
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # includes bytes that are not UTF-8
        raise RecordingError(f"{path}: is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise RecordingError(
            f"{path}: holds a {type(content).__name__}, want an object with rate_hz, volts_per_lsb, …"
        )
    return _facts(path, content)


def _facts(path: Path, content: Mapping[str, object]) -> RecordingFacts:
    box_id = content.get("box_id")
    return RecordingFacts(
        rate_hz=_positive(path, content, "rate_hz"),
        volts_per_lsb=_positive(path, content, "volts_per_lsb"),
        nominal_v=_positive(path, content, "nominal_volts"),
        nominal_hz=_positive(path, content, "nominal_hz"),
        box_id=None if box_id is None else str(box_id),
        start_ns=_start_ns(path, content),
    )


def _positive(path: Path, content: Mapping[str, object], key: str) -> float | None:
    if key not in content:
        return None
    value = content[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
        raise RecordingError(f"{path}: {key} is {value!r:.60}, want a positive number")
    return float(value)


def _start_ns(path: Path, content: Mapping[str, object]) -> int | None:
    value = content.get("start_ns")  # null means unknown, as in our own JSON
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_START_NS:
        raise RecordingError(
            f"{path}: start_ns is {value!r:.60}, want a whole number of nanoseconds, UTC since 1970"
        )
    return value


def _read_i16(path: Path, _channel: str | None) -> _Content:
    size = path.stat().st_size
    if size == 0:
        raise RecordingError(f"{path}: is empty, no samples in it")
    if size % 2:
        raise RecordingError(f"{path}: has {size} bytes, an odd number; want 2 per sample")
    return _Content(np.memmap(path, dtype="<i2", mode="r"), counts=True)


def _read_npy(path: Path, _channel: str | None) -> _Content:
    try:
        samples = np.lib.format.open_memmap(path, mode="r")  # never unpickles: refuses objects
    except (ValueError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, TokenError) as error:
        raise RecordingError(f"{path}: is no readable .npy file: {_first_line(error)}") from error
    if samples.ndim != 1:
        raise RecordingError(f"{path}: has {samples.ndim} dimensions, want 1")
    if samples.dtype.kind == "f":
        check_finite(path, samples)
        return _Content(samples, counts=False)
    if samples.dtype == np.dtype(np.int16) or samples.dtype == np.dtype(">i2"):
        return _Content(samples, counts=True)
    raise RecordingError(f"{path}: its values are {samples.dtype}, want int16 counts or float volts")


def _read_wav(path: Path, _channel: str | None) -> _Content:
    try:
        with path.open("rb") as raw, wave.open(raw, "rb") as file:
            channels, width, frames = file.getnchannels(), file.getsampwidth(), file.getnframes()
            rate_hz = file.getframerate()
            first = raw.tell()  # reading of the header ends where the samples begin
            if channels != 1 or width != 2:
                raise RecordingError(f"{path}: has {channels} channels of {8 * width} bits, want 1 of 16")
    except (
        wave.Error,
        EOFError,
        ValueError,
        RuntimeError,
    ) as error:  # RuntimeError: a chunk beyond its parent
        raise RecordingError(
            f"{path}: is no readable .wav file: {_first_line(error) or 'its header is broken'}"
        ) from error
    if rate_hz <= 0:
        raise RecordingError(f"{path}: is no readable .wav file: its rate is {rate_hz} Hz")
    there = (path.stat().st_size - first) // 2
    if there < frames:
        raise RecordingError(f"{path}: is cut short, {there} of {frames} samples are there")
    if frames == 0:
        raise RecordingError(f"{path}: is empty, no samples in it")
    samples = np.memmap(path, dtype="<i2", mode="r", offset=first, shape=(frames,))
    return _Content(samples, counts=True, facts=RecordingFacts(rate_hz=float(rate_hz)))


def _read_csv(path: Path, _channel: str | None) -> _Content:
    volts, rate_hz, remarks = read_columns(path)
    meta: dict[str, object] = {"box_id": remarks["box_id"]} if "box_id" in remarks else {}
    for key in ("nominal_volts", "nominal_hz", "start_ns"):
        with contextlib.suppress(ValueError):  # a remark of another program
            meta |= {} if (value := json.loads(remarks.get(key, "null"))) is None else {key: value}
    return _Content(volts, counts=False, facts=RecordingFacts(rate_hz=rate_hz).before(_facts(path, meta)))


def _read_comtrade(path: Path, channel: str | None) -> _Content:
    from opq_tools.analyze.comtrade_file import read_channel

    found = read_channel(path, channel)
    check_finite(path, found.volts)
    start_ns = None if found.start is None else utc_ns(found.start)
    facts = RecordingFacts(rate_hz=found.rate_hz, nominal_hz=found.nominal_hz, start_ns=start_ns)
    return _Content(found.volts, counts=False, facts=facts)


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
