"""CSV recordings: `time_s,volts` under that header, or one column of volts with or without its header."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError

HEADERS = (["time_s", "volts"], ["volts"])
UNEVEN_STEPS = 0.5
"""A time further than this from its even place is none; less is rounding in the file."""


def read_columns(path: Path) -> tuple[NDArray[np.float64], float | None]:
    """Volts, and the rate that the times say (None for one column).

    Raises:
        OSError: the file cannot be read.
        RecordingError: no table of finite numbers, other columns, or times that are not evenly spaced.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = next((line.strip() for line in file if line.strip()), "")
            header = bool(first) and not _is_number(first.split(",")[0])
            names = [name.strip().strip('"').lower() for name in first.split(",")]
            if header and names not in HEADERS:
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
        raise RecordingError(f"{path}: is no table of numbers: {str(error).splitlines()[0]}") from error
    if table.size == 0:
        raise RecordingError(f"{path}: is empty, no samples in it")
    if table.shape[1] != len(names):
        raise RecordingError(f"{path}: has {table.shape[1]} columns under a header of {len(names)}")
    check_finite(path, table)
    volts = np.ascontiguousarray(table[:, -1])
    return volts, _rate_of_times(path, table[:, 0]) if len(names) == 2 else None


def check_finite(path: Path, values: NDArray[Any]) -> None:
    """Refuse values, one row per sample, that are not all finite.

    Raises:
        RecordingError: names the first sample that is none.
    """
    for first in range(0, len(values), 1 << 20):
        finite = np.isfinite(values[first : first + (1 << 20)])
        if not finite.all():
            row = first + int(np.argwhere(~finite)[0][0])
            raise RecordingError(f"{path}: sample {row} is not a finite number")


def _rate_of_times(path: Path, times_s: NDArray[np.float64]) -> float:
    if len(times_s) < 2:
        raise RecordingError(f"{path}: one sample has no rate")
    index = np.arange(len(times_s)) - (len(times_s) - 1) / 2
    with np.errstate(over="ignore", invalid="ignore"):  # such times are refused
        from_first_s = times_s - times_s[0]
        middle_s = from_first_s.mean()
        step_s = float(index @ (from_first_s - middle_s)) / float(index @ index)  # a line through all of them
        if not (step_s > 0 and np.isfinite(step_s)):
            raise RecordingError(f"{path}: its times do not rise")
    away = np.abs(from_first_s - middle_s - step_s * index) > UNEVEN_STEPS * step_s
    away[1:] |= np.abs(np.diff(times_s) - step_s) > UNEVEN_STEPS * step_s  # a single sample left out
    if away.any():
        row = int(np.argmax(away))
        raise RecordingError(
            f"{path}: its times are not evenly spaced, first at sample {row} ({times_s[row]:.9g} s)"
        )
    return 1 / step_s


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
