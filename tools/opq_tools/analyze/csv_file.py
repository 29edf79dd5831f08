"""CSV recordings: `time_s,volts` with that header; one column of volts with or without a header; or the file
of one Box from `opq-tools export`: `# key: value` lines, then `time_s` and `volts` among other columns.
"""

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError

EXPORTED = ["box_id", "time_ns", "time_s", "sample", "counts", "volts"]
HEADERS = (["time_s", "volts"], ["volts"], EXPORTED)
UNEVEN_STEPS = 0.5
"""Steps that a time may lie off its even place; less is rounding in the file, more is refused."""
ROWS_AT_ONCE = 1 << 17
IN_MEMORY = 1 << 25
"""Bytes of one column that stay in memory: 6 minutes at 12 kS/s."""


def read_columns(path: Path) -> tuple[NDArray[np.float64], float | None, dict[str, str]]:
    """Reads volts, the rate from the times (None for one column), and the `# key: value` lines at the top.

    Reads some rows at a time; more than `IN_MEMORY` bytes of numbers go to an unnamed temporary file, which
    is mapped.

    Raises:
        OSError: the file cannot be read, or there is no room for its numbers.
        RecordingError: not a table of finite numbers, other columns, several Boxes, or times that are not
            evenly spaced.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            remarks, above, first = _remarks(path, file)
            header = bool(first) and not _is_number(first.split(",")[0])
            names = [name.strip().strip('"').lower() for name in first.split(",")]
            if header and names not in HEADERS:
                raise RecordingError(f"{path}: its header is {first[:60]!r}, want time_s,volts or one column")
            if not header and len(names) > 1:
                raise RecordingError(
                    f"{path}: has {len(names)} columns and no header, want time_s,volts above them"
                )
            file.seek(0)
            lines = (line for line in islice(file, above + header, None) if line.strip())
            wanted = [names.index(name) for name in HEADERS[0]] if names == EXPORTED else None
            columns = [_SpooledColumn() for _ in wanted or names]
            for table in _tables(lines, wanted):
                if table.shape[1] != len(columns):
                    raise RecordingError(
                        f"{path}: has {table.shape[1]} columns under a header of {len(names)}"
                    )
                check_finite(path, table, len(columns[0]))
                for column, values in zip(columns, table.T, strict=True):
                    column.add(values)
    except ValueError as error:
        raise RecordingError(f"{path}: is no table of numbers: {str(error).splitlines()[0]}") from error
    if len(columns[0]) == 0:
        raise RecordingError(f"{path}: is empty, no samples in it")
    volts = columns[-1].array()
    rate_hz = _rate_of_times(path, columns[0].array()) if len(columns) == 2 else None
    return volts, rate_hz, remarks


def _remarks(path: Path, file: IO[str]) -> tuple[dict[str, str], int, str]:
    """The `# key: value` lines at the top, the number of lines read, and the line after them."""
    found: dict[str, str] = {}
    boxes: list[str] = []
    for above, line in enumerate(map(str.strip, file)):
        if line and not line.startswith(("#", '"#')):
            if len(boxes) > 1:
                raise RecordingError(f"{path}: holds Boxes {', '.join(boxes)}; export one, --box {boxes[0]}")
            return found, above, line
        key, _, value = line.strip('"').lstrip("# ").partition(":")
        found[key.strip()] = value.strip()
        boxes += [value.strip()] if key.strip() == "box_id" else []
    return found, 0, ""


def _tables(lines: Iterator[str], wanted: list[int] | None) -> Iterator[NDArray[np.float64]]:
    """Yields tables of some rows each; only the columns `wanted` where it is given.

    Raises:
        ValueError: names the row, counted from the first.
    """
    first = 0
    while rows := list(islice(lines, ROWS_AT_ONCE)):
        try:
            yield np.loadtxt(rows, delimiter=",", ndmin=2, comments=None, usecols=wanted)
        except ValueError as error:
            counted = f" (counted from row {first})" if first else ""
            raise ValueError(f"{str(error).splitlines()[0]}{counted}") from error
        first += len(rows)


class _SpooledColumn:
    """A column in memory, which moves to an unnamed temporary file when it grows beyond `IN_MEMORY`."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - as long as its map
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, values: NDArray[np.float64]) -> None:
        self._file.write(np.ascontiguousarray(values).data)
        self._count += len(values)

    def array(self) -> NDArray[np.float64]:
        """All numbers, (n,); mapped where they are in a file, which is deleted with the array."""
        if 8 * self._count <= IN_MEMORY:
            self._file.seek(0)
            return np.frombuffer(self._file.read(), dtype=np.float64)
        self._file.flush()
        self._file.rollover()
        return np.memmap(cast("IO[bytes]", self._file), dtype=np.float64, mode="r")


def check_finite(path: Path, values: NDArray[Any], before: int = 0) -> None:
    """Refuses values that are not all finite; one row per sample, the first is sample number `before`.

    Raises:
        RecordingError: names the first sample that is not finite.
    """
    for first in range(0, len(values), 1 << 20):
        finite = np.isfinite(values[first : first + (1 << 20)])
        if not finite.all():
            row = first + int(np.argwhere(~finite)[0][0])
            raise RecordingError(f"{path}: sample {before + row} is not a finite number")


def _rate_of_times(path: Path, times_s: NDArray[np.float64]) -> float:
    """Rate in Hz from a line fitted through all times, computed block by block."""
    count = len(times_s)
    if count < 2:
        raise RecordingError(f"{path}: one sample has no rate")
    blocks = range(0, count, ROWS_AT_ONCE)
    first_s, middle = float(times_s[0]), (count - 1) / 2
    with np.errstate(over="ignore", invalid="ignore"):  # times that overflow are refused below
        mean_s = sum(float((times_s[at : at + ROWS_AT_ONCE] - first_s).sum()) for at in blocks) / count
        rise = sum(
            float((np.arange(len(part)) + (at - middle)) @ (part - first_s - mean_s))
            for at in blocks
            for part in (times_s[at : at + ROWS_AT_ONCE],)
        )
        step_s = rise / (count * (count * count - 1) / 12)  # the sum of the squares of the indices
        if not (step_s > 0 and np.isfinite(step_s)):
            raise RecordingError(f"{path}: its times do not rise")
    for at in blocks:
        part = times_s[max(0, at - 1) : at + ROWS_AT_ONCE]
        even_s = first_s + mean_s + step_s * (np.arange(len(part)) + (max(0, at - 1) - middle))
        away = np.abs(part - even_s) > UNEVEN_STEPS * step_s
        away[1:] |= np.abs(np.diff(part) - step_s) > UNEVEN_STEPS * step_s  # a single missing sample
        if away.any():
            row = max(0, at - 1) + int(np.argmax(away))
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
