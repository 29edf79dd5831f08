"""COMTRADE (IEEE C37.111 / IEC 60255-24): one analogue voltage channel, in volts.

The `comtrade` package of the extra `analyze` reads the file; this module turns the many exceptions that it
raises on a broken file into one.
"""

import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import comtrade
import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError

VOLTS_OF_UNIT = {"v": 1.0, "mv": 1e-3, "kv": 1e3}
BROKEN = (
    comtrade.ComtradeError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
)
"""Exceptions of the package for files that are cut short or hold something else."""
TIME_CODE = re.compile(r"([+-]?)(\d{1,2})(?:h(\d{2}))?")
"""Revision 2013: the recorder's clock minus UTC, such as -4, +10h30 or 0 (IEEE C37.232-2007)."""
CENTURY = 70
"""Two-digit years, as in revision 1991, mean 1970 to 2069."""
LAST_YEAR = 2115


@dataclass(frozen=True, slots=True)
class ComtradeChannel:
    """One analogue channel: `volts` (n,); None where the file does not state a value."""

    volts: NDArray[np.float64]
    rate_hz: float
    nominal_hz: float | None
    start: datetime | None
    """UTC of the first sample, to a microsecond; UTC is assumed before revision 2013, which adds the zone."""


def read_channel(path: Path, channel: str | None) -> ComtradeChannel:
    """Reads one channel in volts, with rate, line frequency and start.

    Args:
        path: the .cfg or .dat (the other beside it), or a .cff.
        channel: name, or number from 1; the first channel in V, mV or kV when None.
    Raises:
        RecordingError: broken, a part missing, no such channel, several rates, or no voltage in it.
    """
    reader: Any = comtrade.Comtrade
    record = reader(use_numpy_arrays=True, use_double_precision=True, ignore_warnings=True)
    try:
        if path.suffix.lower() == ".cff":
            record.load(str(path))
        else:
            record.load(str(_part(path, ".cfg")), str(_part(path, ".dat")))
        channels = list(record.cfg.analog_channels)
        index = _chosen(path, channels, channel)
        volts = np.asarray(record.analog[index], dtype=np.float64)
        rates = [rate for rate, _ in record.cfg.sample_rates]
        nominal_hz = float(record.cfg.frequency or 0)
        start = _start(record.start_timestamp, str(getattr(record.cfg, "_time_code", "0")))
        unit = VOLTS_OF_UNIT.get(str(channels[index].uu).strip().lower())
    except BROKEN as error:
        raise RecordingError(
            f"{path}: is no readable COMTRADE record: {(str(error) or repr(error)).splitlines()[0]}"
        ) from error
    if unit is None:
        raise RecordingError(
            f"{path}: channel {channels[index].name!r} is in {channels[index].uu!r}, want V, mV or kV"
        )
    missing = len(volts) - _rows(np.asarray(record.time))
    if missing:
        raise RecordingError(
            f"{path}: is cut short, {len(volts) - missing} of {len(volts)} samples are there"
        )
    if len(rates) != 1 or not rates[0] > 0:
        raise RecordingError(f"{path}: has {len(rates)} sampling rates {rates}, want one, above 0")
    return ComtradeChannel(volts * unit, float(rates[0]), nominal_hz if nominal_hz > 0 else None, start)


def _start(stamp: datetime, time_code: str) -> datetime | None:
    """UTC of a time stamp; None for the dates that mean "no date"."""
    if stamp.year == datetime.min.year:  # the package's value for an empty date
        return None
    if stamp.year < 100:
        stamp = stamp.replace(year=stamp.year + (1900 if stamp.year >= CENTURY else 2000))
    ahead = timedelta()
    if code := TIME_CODE.fullmatch(time_code.strip()):
        ahead = timedelta(hours=int(code[2]), minutes=int(code[3] or 0)) * (-1 if code[1] == "-" else 1)
    start = stamp.replace(tzinfo=UTC) - ahead
    never_set = start <= datetime(1970, 1, 2, tzinfo=UTC)  # in any zone
    return None if never_set or start.year > LAST_YEAR else start


def _rows(times_s: NDArray[np.float64]) -> int:
    """Number of samples read; the package allocates all that .cfg promises, and leaves missing times at 0."""
    if not len(times_s) or times_s[-1] > 0:
        return len(times_s)
    later = np.flatnonzero(times_s)
    return int(later[-1]) + 1 if len(later) else min(1, len(times_s))


def _part(path: Path, suffix: str) -> Path:
    for name in (path, path.with_suffix(suffix), path.with_suffix(suffix.upper())):
        if name.suffix.lower() == suffix and name.is_file():
            return name
    raise RecordingError(f"{path}: its {suffix} file is missing; put both into one folder")


def _chosen(path: Path, channels: list[Any], wanted: str | None) -> int:
    if wanted is None:
        for index, each in enumerate(channels):
            if str(each.uu).strip().lower() in VOLTS_OF_UNIT:
                return index
        raise RecordingError(f"{path}: none of its {len(channels)} analogue channels is in V, mV or kV")
    names = [str(each.name).strip() for each in channels]
    if wanted in names:
        return names.index(wanted)
    if wanted.isdecimal() and 1 <= int(wanted) <= len(names):
        return int(wanted) - 1
    raise RecordingError(f"{path}: has no analogue channel {wanted!r}; it has {', '.join(names) or 'none'}")
