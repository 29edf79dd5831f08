"""Our own `opq-tools export --format csv`: counts, gain and places as stored, a channel per waveform.

Where the file has no comments, start, rate and gain are those of its rows.
"""

import csv
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from opq_proto.errors import RecordingError
from opq_recordings.exported import exported_channel
from opq_recordings.recording import Channel, Content, Run
from opq_recordings.spooled import SpooledColumn

EXPORTED = ["box_id", "time_ns", "time_s", "sample", "counts", "volts"]
"""Its columns."""
ROWS_AT_ONCE = 1 << 15


def remark_blocks(lines: list[str]) -> list[dict[str, object]]:
    """The `# key: value` lines; a key that comes again begins another block. Values that are JSON as such."""
    blocks: list[dict[str, object]] = []
    for line in lines:
        text = line.strip().lstrip("\ufeff").strip('"')
        if not text.startswith("#"):
            continue
        key, _, value = text.lstrip("# ").partition(":")
        if not blocks or key.strip() in blocks[-1]:
            blocks.append({})
        try:
            blocks[-1][key.strip()] = json.loads(value.strip())
        except (ValueError, RecursionError):
            blocks[-1][key.strip()] = value.strip()
    return blocks


def exported_content(
    path: Path, lines: Iterator[tuple[int, str]], separator: str, blocks: list[dict[str, object]]
) -> Content:
    """Reads the rows of the table.

    Raises:
        RecordingError: a row that is not ours, with its line.
    """
    found: list[_Waveform] = []
    for number, line in lines:
        if not line.strip():
            continue
        text = line.rstrip("\r\n")
        try:
            quoted = text[0] == '"'
            cells = next(csv.reader([text], delimiter=separator)) if quoted else text.split(separator)
            box, sample, count = cells[0].lstrip("'"), int(cells[3]), int(cells[4])
            time_ns, volts = int(cells[1]), float(cells[5])
            if not -(2**15) <= count < 2**15 or not -(2**62) < sample < 2**62:
                raise ValueError
        except (ValueError, IndexError, csv.Error) as error:
            raise RecordingError(
                f"{path}, line {number}: {line.strip()[:60]!r} is not a row of an export; want "
                f"{separator.join(EXPORTED)}"
            ) from error
        if not found or found[-1].box_id != box or sample <= found[-1].last:
            found.append(_Waveform(box))
        found[-1].add(sample, count, time_ns, volts)
    channels = tuple(each.channel(blocks[at] if at < len(blocks) else {}) for at, each in enumerate(found))
    return Content("CSV of opq-tools export", channels)


class _Waveform:
    """The rows of one waveform while they are read."""

    def __init__(self, box_id: str) -> None:
        self.box_id = box_id
        self.last = -(2**62)
        self._samples, self._counts = SpooledColumn("<i8"), SpooledColumn("<i2")
        self._held: list[tuple[int, int]] = []
        self._first, self._last_ns = (0, 0), 0
        self._highest = (0, 0.0)
        """The largest count, and its volts."""

    def add(self, sample: int, count: int, time_ns: int, volts: float) -> None:
        if self.last == -(2**62):
            self._first = (sample, time_ns)
        self.last, self._last_ns = sample, time_ns
        if abs(count) > abs(self._highest[0]):
            self._highest = (count, volts)
        self._held.append((sample, count))
        if len(self._held) >= ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        rows = np.array(self._held, dtype=np.int64).reshape(len(self._held), 2)
        self._samples.add(rows[:, 0])
        self._counts.add(rows[:, 1])
        self._held.clear()

    def _of_rows(self) -> dict[str, object]:
        """The facts that the rows show: a time is written to a nanosecond, volts to nine digits."""
        number, start_ns = self._first
        found: dict[str, object] = {"start_ns": start_ns}
        if self._last_ns > start_ns:
            found["rate_millihz"] = round((self.last - number) * 10**12 / (self._last_ns - start_ns))
        if self._highest[0]:
            found["volts_per_lsb"] = float(f"{self._highest[1] / self._highest[0]:.9g}")
        return found

    def channel(self, facts: dict[str, object]) -> Channel:
        self._flush()
        numbers, values = self._samples.array(), self._counts.array()
        facts = self._of_rows() | facts
        first = facts.get("first_sample")
        zero = first if isinstance(first, int) and first <= int(numbers[0]) else int(numbers[0])
        edges = [0, *(np.flatnonzero(np.diff(numbers) != 1) + 1).tolist(), len(numbers)]
        runs = tuple(Run(int(numbers[a]) - zero, a, b - a) for a, b in itertools.pairwise(edges))
        return exported_channel(self.box_id, values, runs, facts)
