"""Ledger: the values measured of one Box, on disk next to its ring.

It consists of files of records, which are appended to and later deleted whole. Windows (61000-4-30's 10/12
cycles), longer intervals and the half cycles of dips and swells are in separate files. Longer intervals are
kept longer; half cycles are also bounded in bytes. A record has several rows of one kind and their span of
time in its head, so that a read by time can skip it:

    magic u16 | kind u8 | 0 u8 | length u32 | start_ns i64 | end_ns i64 | crc32 u32 | rows, msgpack

What the disk refuses waits in memory, the longer intervals apart from the windows, and is written once the
disk takes it. Rows beyond that room are lost, named with their span (lost_rows.py), and have a record here.

It is readable while it is written and after kill -9: reading a file ends at a torn or foreign record, and a
writer always begins a new file. A power cut loses what the kernel had not written back, some 30 s; the
samples are in the ring.
"""

import errno
import os
import struct
import threading
import zlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise, takewhile
from pathlib import Path

import msgspec

from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.feed import DISTURBANCES, KINDS, LOST, Values
from opq_gateway.measuring.lost_rows import LostRows, LostSpan
from opq_measure.aggregation.aggregator import TWO_HOURS_NS
from opq_proto.kit import log
from opq_proto.kit.channel import Channel
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.kit.whole_file import open_private, private_folder
from opq_proto.messages import TimeSource
from opq_proto.time_units import DAY_NS

HEAD = struct.Struct("<HBxIqqI")
MAGIC = 0x4C51
LENGTH_NS = {"w": 3600 * 10**9, "v": 86_400 * 10**9, "h": 3600 * 10**9}
"""A file of windows or half cycles covers an hour, one of longer intervals a day."""
HALF_CYCLES_BYTES = 64_000_000
"""14 hours of dips, 4.5 MB each."""
LONGEST_NS = 10**13
"""A generous upper bound of a row's length in time."""
UNDER_WAY_NS = 3 * DAY_NS
"""A disturbance that was last reported before this is not continued after a restart."""
BESIDE_NS = 1_000_000
"""A row that begins less than this before the newest row on disk counts as after it."""
MAX_WAITING = 10_000
"""Most rows of a Box that wait for a slow disk: half an hour of windows, some 15 MB."""
MAX_REFUSED = 3000
"""Most rows of one kind that wait for a full disk, but for windows (MAX_WAITING): two hours and a half of
3 s, eight hours of 10 s, 20 days of ten minutes; 5 MB at most."""
RECORD_KINDS = (*KINDS, LOST)
WRITTEN_AT_ONCE = 1000
"""Rows of one kind in a record, so that a try on a full disk costs little."""
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[tuple[int, int, int, int, bool, dict[str, float | bytes]]]).decode


class TornFileError(OSError):
    """The disk refused in the middle of a record, and to take back its part."""


class Ledger:
    """The ledger of one Box or group; `append` from one thread, `flush` from one, `read` from any and any
    process."""

    def __init__(
        self,
        folder: Path,
        box_id: str,
        windows_hours: float,
        values_days: float,
        half_cycles_bytes: int = HALF_CYCLES_BYTES,
    ) -> None:
        """
        Args:
            half_cycles_bytes: most bytes of half cycles, kept for `values_days` at most; 0 keeps no half
            cycles.

        Raises:
            OSError: the folder cannot be made.
        """
        self._folder, self.box_id = folder, box_id
        self._keep_ns = {"w": round(windows_hours * 3600e9), "v": round(values_days * 86_400e9)}
        self._keep_ns["h"] = self._keep_ns["v"] if half_cycles_bytes else 0
        self._most_bytes = half_cycles_bytes
        self.deleted_bytes = 0
        """Bytes of half cycles that were deleted because they were too old or too many."""
        self._waiting: Channel[Values] = Channel(f"ledger {box_id}", MAX_WAITING)
        self._refused: dict[str, deque[Values]] = {}
        """Kind -> rows that no file has yet, the oldest first."""
        self.lost = LostRows(folder)
        self.withholds_losses = False
        """Whether lost spans wait in `lost`, without a record, for a cloud that takes them."""
        self._open: dict[str, tuple[Path, int, int]] = {}  # per series: file, begin and end of its time
        private_folder(folder)
        self.lost.reserve()

    def append(self, values: Values) -> None:
        """Adds values, which the next `flush` writes; does not wait for the disk."""
        if self._keep_ns[_series(values.kind)]:
            self._waiting.offer(values)

    @property
    def dropped(self) -> int:
        """Number of rows dropped because too many waited for the disk; the oldest are dropped first."""
        return self._waiting.dropped

    @property
    def is_behind(self) -> bool:
        """Whether half of the room for waiting rows is used; then measuring faster than real time has to
        wait."""
        return 2 * max(len(self._waiting), self.refused_rows) >= MAX_WAITING

    @property
    def refused_rows(self) -> int:
        """Number of measured rows that wait because the disk refused them."""
        return sum(len(rows) for kind, rows in self._refused.items() if kind != LOST)

    def flush(self) -> bool:
        """Writes the waiting rows, the oldest first; False if no rows waited.

        Raises:
            OSError: the disk is full or gone; the rows wait for the next call.
        """
        for values in self._waiting.take_all():
            self._refused.setdefault(values.kind, deque()).append(values)
        if losses := [] if self.withholds_losses else self.lost.not_in_ledger:
            self._refused[LOST] = deque(_loss_row(self.box_id, span) for span in losses)
        waited, problem = bool(self._refused), None
        for series in {_series(kind): None for kind in self._refused}:
            try:
                self._write_series(series)
            except OSError as error:
                problem = error  # another series may be on a file that can be written
        if written := losses[: len(losses) - len(self._refused.get(LOST, ()))]:
            self.lost.note_in_ledger(set(written))
        if problem is not None:
            raise problem
        return waited

    def take_lost(self) -> list[LostSpan]:
        """Gives up rows beyond the room for those that the disk refused; returns what that was."""
        found = []
        for kind, rows in self._refused.items():
            more = len(rows) - (MAX_WAITING if kind in ("window", LOST) else MAX_REFUSED)
            found += self.lost.add([rows.popleft() for _ in range(more)])
        self.lost.store()
        return found

    def give_up(self) -> list[LostSpan]:
        """Gives up all rows that the disk refused, because the process ends; returns what that was."""
        found = [span for kind, rows in self._refused.items() if kind != LOST for span in self.lost.add(rows)]
        self._refused.clear()
        self.lost.store()
        return found

    def _write_series(self, series: str) -> None:
        """Writes the rows of a series in parts, each to the file of its time; those that are written wait no
        longer."""
        while True:
            waiting = {kind: rows for kind, rows in self._refused.items() if _series(kind) == series}
            if not waiting:
                return
            start_ns = min(rows[0].start_ns for rows in waiting.values())
            until_ns = _end_of_file(series, start_ns)
            parts = {kind: part for kind, rows in waiting.items() if (part := _first_rows(rows, until_ns))}
            self._write(series, start_ns, b"".join(_record(kind, rows) for kind, rows in parts.items()))
            for kind, written in parts.items():
                rows = self._refused[kind]
                for _ in written:
                    rows.popleft()
                if not rows:
                    del self._refused[kind]

    def read(self, kind: str, start_ns: int, end_ns: int) -> Iterator[Values]:
        """The rows of a kind that overlap [start_ns, end_ns), in the order of writing.

        It is the order of time, except where the clock was set or the ring was measured late.

        Raises:
            ValueError: the kind does not exist.
            OSError: a file cannot be read.
        """
        number, series = RECORD_KINDS.index(kind), _series(kind)
        length_ns = LENGTH_NS[series]
        for begin_ns, path in self._files(series):
            if start_ns - length_ns - LONGEST_NS < begin_ns < end_ns + length_ns:
                yield from self._read(path, {number}, start_ns, end_ns)

    def records_after(
        self, places: Mapping[int, int], kinds: Collection[str]
    ) -> Iterator[tuple[int, int, list[Values]]]:
        """Yields the records of these kinds of longer intervals that lie after these places, in the order of
        writing: file, place after the record, rows.

        Args:
            places: file -> byte; other files are read from their beginning.

        Raises:
            OSError: a file cannot be read.
        """
        for number, path in self._files("v"):
            at = places.get(number, 0)
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue  # deleted meanwhile as too old
            with file:
                file.seek(at)
                while len(head := file.read(HEAD.size)) == HEAD.size:
                    magic, kind, length, _, _, crc = HEAD.unpack(head)
                    at += HEAD.size + length
                    if magic != MAGIC or kind >= len(RECORD_KINDS):
                        break
                    if RECORD_KINDS[kind] not in kinds:
                        file.seek(length, os.SEEK_CUR)
                        continue
                    rows = file.read(length)
                    if len(rows) < length or _crc(head, rows) != crc:
                        break
                    name = RECORD_KINDS[kind]
                    yield number, at, [_values(self.box_id, name, row) for row in _unpack(rows)]

    def file_numbers(self) -> list[int]:
        """Returns the files of longer intervals that are on disk, as in `records_after`."""
        return [number for number, _ in self._files("v")]

    def newest_ns(self, kind: str = "window") -> int | None:
        """End of the newest rows on disk; None without any."""
        number = KINDS.index(kind)
        for _, path in reversed(self._files(_series(kind))):
            ends = [last_ns for found, _, last_ns, _ in self._records(path) if found == number]
            if ends:
                return max(ends)
        return None

    def two_hours_until(self, end_ns: int) -> list[Values]:
        """Returns the ten minutes before `end_ns` of the same two hours, in time order.

        Raises:
            OSError: a file cannot be read.
        """
        start_ns = end_ns // TWO_HOURS_NS * TWO_HOURS_NS
        rows = self.read("10min", start_ns, end_ns) if start_ns < end_ns else ()
        found = [row for row in rows if start_ns <= row.start_ns < end_ns]
        return sorted(found, key=lambda row: row.start_ns)

    def disturbances_after(self, since_ns: int) -> list[Values]:
        """Returns the disturbances that end after a time, of each also the rows that a later one replaces.

        Raises:
            OSError: a file cannot be read.
        """
        numbers = {KINDS.index(kind) for kind in DISTURBANCES}
        return [
            row
            for begin_ns, path in self._files("v")
            if begin_ns > since_ns - LENGTH_NS["v"] - LONGEST_NS
            for row in self._read(path, numbers, since_ns, 2**62)
        ]

    def disturbances_under_way(self, at_ns: int) -> list[Values]:
        """Returns the last dip or interruption, and the last swell, where they had not ended at `at_ns`.

        Raises:
            OSError: a file cannot be read.
        """
        last: dict[bool, Values] = {}
        for kind in DISTURBANCES:
            for row in self.read(kind, at_ns - UNDER_WAY_NS, at_ns + 1):
                known = last.get(kind == "swell")
                if known is None or (known.start_ns, known.end_ns) <= (row.start_ns, row.end_ns):
                    last[kind == "swell"] = row
        return [row for row in last.values() if row.values.get("under_way_ratio")]

    def _files(self, series: str) -> list[tuple[int, Path]]:
        found = []
        for path in self._folder.glob(f"{series}-*.led"):
            digits = path.stem[2:]
            if digits.isdigit():
                found.append((int(digits), path))
        return sorted(found)

    def _write(self, series: str, start_ns: int, data: bytes) -> None:
        if series == "h":
            self._make_room(len(data))
        path, begin_ns, until_ns = self._open.get(series, (None, 0, 0))
        if path is None or not begin_ns - LENGTH_NS[series] <= start_ns < until_ns:
            path = self._begin(series, start_ns)
        try:
            _append(path, data)
        except TornFileError:
            del self._open[series]  # a record after a torn one would not be read
            raise

    def _begin(self, series: str, start_ns: int) -> Path:
        self._delete_old(series)
        number = max(start_ns, 0)
        while (path := self._folder / f"{series}-{number:019d}.led").exists():
            number += 1
        self._open[series] = (path, start_ns, _end_of_file(series, start_ns))
        return path

    def _delete_old(self, series: str) -> None:
        """Deletes by the length of the stored time and not by the clock, so that setting the clock deletes
        nothing.

        A gap between half cycles counts as one day at most.
        """
        files = self._files(series)
        held_ns = 0
        most_ns = DAY_NS if series == "h" else LENGTH_NS[series]
        for (begin_ns, path), (next_ns, _) in reversed(list(pairwise(files))):
            if held_ns >= self._keep_ns[series]:
                self._delete(series, path)
            held_ns += min(next_ns - begin_ns, most_ns)

    def _delete(self, series: str, path: Path) -> None:
        if series == "h":
            self.deleted_bytes += _size(path)
        path.unlink(missing_ok=True)

    def _make_room(self, wanted: int) -> None:
        """Deletes half cycles to stay within the bytes: the oldest files first, the newest only if it alone
        is too large."""
        sizes = {path: _size(path) for _, path in self._files("h")}
        held = sum(sizes.values())
        for path, size in sizes.items():
            if held + wanted <= self._most_bytes:
                return
            self._delete("h", path)
            held -= size

    def _read(self, path: Path, numbers: Collection[int], start_ns: int, end_ns: int) -> Iterator[Values]:
        for kind, first_ns, last_ns, rows in self._records(path):
            if kind not in numbers or first_ns >= end_ns or last_ns <= start_ns:
                continue
            for row in _unpack(rows):
                if row[0] < end_ns and row[1] > start_ns:
                    yield _values(self.box_id, RECORD_KINDS[kind], row)

    def _records(self, path: Path) -> Iterator[tuple[int, int, int, memoryview]]:
        """Kind, start, end and rows of each record, up to the first that is torn or damaged."""
        try:
            data = memoryview(path.read_bytes())
        except FileNotFoundError:
            return  # deleted meanwhile as too old
        at = 0
        while at + HEAD.size <= len(data):
            magic, kind, length, first_ns, last_ns, crc = HEAD.unpack_from(data, at)
            rows = data[at + HEAD.size : at + HEAD.size + length]
            if magic != MAGIC or len(rows) < length or _crc(data[at : at + HEAD.size], rows) != crc:
                return
            yield kind, first_ns, last_ns, rows
            at += HEAD.size + length


def _append(path: Path, data: bytes) -> None:
    """Appends to a file, which is as before where that fails.

    Raises:
        TornFileError: a part may be in it.
        OSError: nothing of it is.
    """
    fd, written = open_private(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), 0
    try:
        try:
            written = os.write(fd, data)
            if written != len(data):
                os.ftruncate(fd, os.fstat(fd).st_size - written)
        finally:
            os.close(fd)  # a disk of the network may refuse only here
    except OSError as error:
        if written:
            raise TornFileError(*error.args) from error
        raise
    if written != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _series(kind: str) -> str:
    return {"window": "w", "half": "h"}.get(kind, "v")


def _end_of_file(series: str, start_ns: int) -> int:
    """Where the time of a file ends that begins at `start_ns`."""
    return (start_ns // LENGTH_NS[series] + 1) * LENGTH_NS[series]


def _first_rows(rows: Iterable[Values], until_ns: int) -> list[Values]:
    """The first rows up to one that begins at `until_ns` or later, as many as are written at once."""
    return list(takewhile(lambda row: row.start_ns < until_ns, islice(rows, WRITTEN_AT_ONCE)))


def _loss_row(box_id: str, span: LostSpan) -> Values:
    facts = {"kind": float(KINDS.index(span.kind)), "rows": float(span.rows)}
    return Values(box_id, LOST, span.start_ns, span.end_ns, 0, TimeSource.FREE, True, facts)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _record(kind: str, rows: list[Values]) -> bytes:
    packed = _pack([_row(values) for values in rows])
    first_ns, last_ns = min(row.start_ns for row in rows), max(row.end_ns for row in rows)
    facts = MAGIC, RECORD_KINDS.index(kind), len(packed), first_ns, last_ns
    return HEAD.pack(*facts, _crc(HEAD.pack(*facts, 0), packed)) + packed


def _crc(head: bytes | memoryview, rows: bytes | memoryview) -> int:
    """CRC-32 over the head up to its crc field, and the rows."""
    return zlib.crc32(rows, zlib.crc32(memoryview(head)[: HEAD.size - 4]))


def _row(values: Values) -> tuple[int, int, int, int, bool, dict[str, float | bytes]]:
    """A row to store; arrays (harmonics) are in single precision, which halves the bytes and costs 6e-8 of
    the value."""
    packed = {
        name: _floats(len(value)).pack(*value) if isinstance(value, tuple) else value
        for name, value in values.values.items()
    }
    return values.start_ns, values.end_ns, values.uncertainty_ns, int(values.source), values.flagged, packed


@lru_cache
def _floats(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}f")


def _values(box_id: str, kind: str, row: tuple[int, int, int, int, bool, dict[str, float | bytes]]) -> Values:
    start_ns, end_ns, uncertainty_ns, source, flagged, packed = row
    known: dict[str, float | tuple[float, ...]] = {
        name: _floats(len(value) // 4).unpack(value) if isinstance(value, bytes) else value
        for name, value in packed.items()
    }
    return Values(box_id, kind, start_ns, end_ns, uncertainty_ns, TimeSource(source), flagged, known)


EVERY_S = 1.0


@dataclass(slots=True)
class _Written:
    counters: BoxCounters
    ledger: Ledger
    status: BoxStatus
    """The status that reports its problem."""
    dropped: int = 0
    problem: str = ""


class LedgerWriter:
    """Writes all ledgers; call `add` before `run`."""

    def __init__(self) -> None:
        self._ledgers: list[_Written] = []
        self._lines = RateLimitedLog(log.get(service="gateway"))

    def add(self, counters: BoxCounters, ledger: Ledger, status: BoxStatus) -> None:
        self._ledgers.append(_Written(counters, ledger, status))
        if lines := ledger.lost.unreadable:
            self._lines.warning("ledger.lost_unreadable", box_id=ledger.box_id, lines=lines)

    def run(self, stop: threading.Event) -> None:
        """Writes once a second until `stop`, and once at the end."""
        while not stop.wait(EVERY_S):
            self.write()
        self.write()
        for each in self._ledgers:
            self._report_lost(each, each.ledger.give_up())

    def _report_lost(self, each: _Written, spans: Iterable[LostSpan]) -> None:
        """Counts and names rows that are lost for good."""
        for span in spans:
            each.counters.add("ledger_dropped", span.rows)
            self._lines.error(
                "ledger.lost", key=(each.ledger.box_id, span.kind), box_id=each.ledger.box_id, lost=span.text
            )

    def write(self) -> None:
        """Writes the waiting rows; counts, logs and reports rows that the disk refused or that were too
        many."""
        for each in self._ledgers:
            ledger, counters = each.ledger, each.counters
            lost = ledger.dropped - each.dropped
            each.dropped = ledger.dropped
            if lost:
                counters.add("ledger_dropped", lost)
            try:
                if ledger.flush():
                    each.problem = f"the disk is too slow: {lost} rows lost" if lost else ""
            except OSError as error:
                counters.add("ledger_failed")
                reason = error.strerror or str(error)
                each.problem = f"{reason}; {ledger.refused_rows} rows wait in memory"
                self._lines.error("ledger.failed", box_id=ledger.box_id, reason=each.problem)
            self._report_lost(each, ledger.take_lost())
            counters.set("half_cycles_deleted", ledger.deleted_bytes)
        for status in {id(each.status): each.status for each in self._ledgers}.values():
            own = [each for each in self._ledgers if each.status is status]
            status.ledger_problem = next((each.problem for each in own if each.problem), "")
            status.ledger_lost = "; ".join(filter(None, (each.ledger.lost.text for each in own)))
