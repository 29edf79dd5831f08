"""Catalogue: the segments of one ring, oldest first.

Only the writer's catalogue makes, replaces and deletes files. Any other catalogue reads the folder again
before each use, so that a reader in another process sees new files.
"""

import contextlib
import os
import stat
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opq_gateway.ring import raw, sealed
from opq_gateway.ring.raw import HEAD_BYTES, SUFFIX, raw_layout, written
from opq_gateway.ring.segment import RecordColumns, Segment
from opq_proto.errors import OtherFormError
from opq_proto.kit.whole_file import flush_to_disk
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

OTHER_FORMS = (b"OPQRING", b"OPQSEAL")
"""Begin the segments of programs before 0.2.0."""
SEALING = ".sealing"
"""Suffix of a sealed file that has not yet replaced its raw one."""
_Seen = tuple[int, int, int]


@dataclass(slots=True)
class SegmentCatalogue:
    """The files of one ring; from any thread. `claim` makes this catalogue the writer's."""

    folder: Path
    deleted: int = 0
    sealed: int = 0
    _segments: list[Segment] = field(default_factory=list)
    _seen: dict[str, tuple[_Seen, Segment | None]] = field(default_factory=dict)
    _unsynced: deque[Path] = field(default_factory=lambda: deque(maxlen=64))
    _number: int | None = None
    """Number of the newest file; None: another process may be the writer."""
    _live: Segment | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._refresh()

    def held(self, start_ns: int | None = None, end_ns: int | None = None) -> list[Segment]:
        """Segments with samples; only those that touch [start_ns, end_ns) where it is given.

        The segment after the span is included: its first loss may lie in the span.
        """
        with self._lock:
            if self._number is None:
                self._refresh()
            held = [segment for segment in self._segments if segment.end_ns]
        if start_ns is None or end_ns is None:
            return held
        touching = [s.end_ns > start_ns and s.start_ns < end_ns for s in held]
        behind = [False, *touching][: len(held)]
        return [s for s, one, other in zip(held, touching, behind, strict=True) if one or other]

    def unreadable(self) -> int:
        """Number of files of the ring that are not segments, or have lost their head; known only to the
        writer."""
        with self._lock:
            return sum(not one.end_ns and one is not self._live for one in self._segments)

    def claim(self) -> Path:
        """The next file's path; the first call takes the folder over from an earlier writer."""
        with self._lock:
            if self._number is None:
                self._refresh()
                self._number = self._tidy()
            self._number += 1
            return self.folder / f"{self._number:012d}{SUFFIX}"

    def add(self, segment: Segment) -> None:
        """Adds a new file, which is being written until `ended`."""
        with self._lock:
            self._segments.append(segment)
            self._live = segment
            self._unsynced.append(self.folder)

    def ended(self, segment: Segment) -> None:
        """Records that the file being written is complete."""
        with self._lock:
            self._live = None
            if segment.records:
                self._unsynced += [segment.path, self.folder]
            else:
                self._segments.remove(segment)

    def sync_ended(self) -> bool:
        """Makes the disk store the segments that ended since the last call, and the folder's entries.

        Raises:
            OSError: the disk could not.
        """
        with self._lock:
            paths = list(dict.fromkeys(self._unsynced))
            self._unsynced.clear()
        refused: OSError | None = None
        for path in paths:
            try:
                flush_to_disk(path)
            except FileNotFoundError:
                continue  # deleted meanwhile
            except OSError as error:
                refused = error
        if refused is not None:
            raise refused
        return bool(paths)

    def delete_old(self, keep_ns: int, most_bytes: int | None, coming_bytes: int) -> None:
        """Deletes the segments that `due` returns."""
        with self._lock:
            old = due(self._segments, keep_ns, most_bytes, coming_bytes)
            going = set(map(id, old))
            self._segments = [segment for segment in self._segments if id(segment) not in going]
            self.deleted += len(old)
            for segment in old:  # under the lock, so that sealing cannot restore one
                segment.path.unlink(missing_ok=True)

    def unsealed(self) -> list[Segment]:
        """Ended raw segments of this format, oldest first; empty when another process is the writer."""
        with self._lock:
            if self._number is None:
                return []
            return [s for s in self._segments if s.may_seal and s is not self._live]

    def replace(self, segment: Segment, sealed: Path) -> bool:
        """Puts the sealed file in the raw one's place; False: the raw one was deleted meanwhile."""
        with self._lock:
            if segment not in self._segments:
                return False
            sealed.replace(segment.path)
            segment.file_bytes = segment.path.stat().st_size
            segment.may_seal = False
            self.sealed += 1
            self._unsynced += [segment.path, self.folder]
            return True

    def _refresh(self) -> None:
        """Reads the folder again; opens only files that changed."""
        found = {}
        for entry in _entries(self.folder):
            try:
                status = entry.stat()
            except FileNotFoundError:
                continue  # the writer deleted it
            if not stat.S_ISREG(status.st_mode):
                continue  # foreign; opening a pipe would wait for ever
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            before = self._seen.get(entry.name)
            if before is None or before[0] != seen:
                before = seen, _opened(self.folder / entry.name)
            found[entry.name] = before
        self._seen = found
        self._segments = [segment for _, segment in found.values() if segment is not None]

    def _tidy(self) -> int:
        """Removes what a killed writer left; returns the highest number in use.

        It cuts preallocated room off, and deletes files without a record and unfinished sealed ones.
        Unreadable files with names of the ring are deleted in their turn; foreign files stay.
        """
        for path in self.folder.glob(f"*{SEALING}"):
            path.unlink(missing_ok=True)
        numbers = [int(path.stem) for path in self.folder.glob(f"*{SUFFIX}") if path.stem.isdecimal()]
        for name, (seen, segment) in self._seen.items():
            path = self.folder / name
            with contextlib.suppress(OSError):  # the ring continues with files that cannot be removed
                if segment is None:
                    if not _dropped_unwritten(path) and path.stem.isdecimal():
                        self._segments.append(Segment(path, file_bytes=seen[2]))
                elif segment.may_seal and segment.file_bytes > segment.written_bytes:
                    os.truncate(path, segment.written_bytes)
                    segment.file_bytes = segment.written_bytes
        self._segments.sort(key=lambda one: one.path)
        self._seen = {}
        return max(numbers, default=0)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """The ring's files in the order of their names; twice as fast as `glob`. Empty where the folder is
    gone."""
    try:
        with os.scandir(folder) as found:
            return sorted((one for one in found if one.name.endswith(SUFFIX)), key=lambda one: one.name)
    except FileNotFoundError:
        return []


def _opened(path: Path) -> Segment | None:
    """The segment in a file; None also where the disk cannot read it, so that one bad file does not stop the
    others."""
    try:
        return open_segment(path)
    except OSError:
        return None


def _dropped_unwritten(path: Path) -> bool:
    """Deletes a file without a record: empty, zeros, or our head followed by zeros."""
    with path.open("rb", buffering=0) as file:
        head = file.read(HEAD_BYTES)
        found = raw_layout(head)
        size = file.seek(0, os.SEEK_END)
        unwritten = found is not None and not written(file.fileno(), found, size)
    if size <= HEAD_BYTES or unwritten or not any(head):
        path.unlink(missing_ok=True)
        return True
    return False


MAX_FILES = 4_000
"""Most files, in addition to four for each ten minutes kept. A Box that restarts all the time must not fill
the disk, or make each start open and each read search tens of thousands of files (0.2 ms for this many)."""
LASTING_NS = 600 * 10**9
"""Ten minutes kept allow four more files."""


def due(
    segments: Sequence[Segment], keep_ns: int, most_bytes: int | None, coming_bytes: int
) -> list[Segment]:
    """The segments to delete; `segments` are in the order of their names.

    The oldest segments are due if the later ones cover the wanted time, or if there are too many files or
    bytes.
    """
    files, taken = len(segments), sum(one.file_bytes for one in segments) + coming_bytes
    kept_ns = sum(one.span_ns for one in segments)
    most_files = MAX_FILES + 4 * keep_ns // LASTING_NS
    out_of_turn = [(one, False) for one in segments if not one.end_ns]
    going: dict[int, Segment] = {}
    for one, in_turn in (*out_of_turn, *((one, True) for one in segments)):
        too_much = files > most_files or (most_bytes is not None and taken > most_bytes)
        if id(one) in going:
            continue
        if too_much or (in_turn and kept_ns - one.span_ns >= keep_ns):
            going[id(one)] = one
            files, taken, kept_ns = files - 1, taken - one.file_bytes, kept_ns - one.span_ns
        elif in_turn:
            break
    return list(going.values())


def open_segment(path: Path) -> Segment | None:
    """The segment in a file, without a broken tail; None when nothing of it can be used.

    Raises:
        OSError: the file cannot be read.
        OtherFormError: it is a segment in another form.
    """
    with path.open("rb", buffering=0) as file:
        fd = file.fileno()
        head = os.pread(fd, raw.HEAD_BYTES, 0)
        if head.startswith(OTHER_FORMS):
            raise OtherFormError(path)
        layout = raw.raw_layout(head)
        return sealed.describe_sealed(path, fd) if layout is None else raw.describe_raw(path, fd, layout)


def read_span(segment: Segment, start_ns: int, end_ns: int, counts: bool = True) -> RecordColumns | None:
    """Records that touch [start_ns, end_ns), in order; None without such records.

    None also for a segment that was deleted meanwhile. Without `counts` the samples may be left out; the
    result then has rows and losses.
    """
    try:
        with segment.path.open("rb", buffering=0) as file:
            fd = file.fileno()
            layout = raw.raw_layout(os.pread(fd, raw.HEAD_BYTES, 0))
            if layout is None:
                found = sealed.read_sealed(fd, start_ns, end_ns, counts)
            else:
                found = raw.read_raw(fd, layout, segment.records, start_ns, end_ns)
    except FileNotFoundError:
        return None
    return found if len(found.rows) or found.lost or found.bad else None


def clock_of(segment: Segment) -> tuple[int, TimeSource]:
    """Uncertainty and source of the last block of a segment; unknown where it cannot be read."""
    if segment.clock is None:
        try:
            found = read_span(segment, segment.last_ns, segment.last_ns + 1, counts=False)
        except OSError:
            found = None
        if found is None or not len(found.rows):
            return UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE
        last = found.rows[-1]
        segment.clock = int(last["uncertainty_ns"]), TimeSource(int(last["source"]))
    return segment.clock
