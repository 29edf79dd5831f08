"""Rows of measured values that were lost for good, by kind and span, so that a hole stays named.

A line a span in the file `lost` beside the ledger. Whoever has seen it may delete the file. A gateway that
ends while the disk is full can make no file; then the spans go into `lost.room`, which has its blocks. The
ledger has a record of each span once the disk takes it, and this record goes to the cloud.
"""

import contextlib
import json
import os
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from opq_gateway.measuring.feed import KINDS, Values
from opq_proto.kit.whole_file import PRIVATE_MODE, open_private, write_whole_file
from opq_proto.measurement.intervals import lost_words

FILE = "lost"
ROOM = "lost.room"
ROOM_BYTES = 4096
"""The newest spans are kept in it: some 40."""
LATEST_NS = 2**63 - 1
MOST_ROWS = 2**53
"""The ledger and the wire have the number as a float, which is exact up to this."""
MOST_SPANS = 1000
"""Spans that are kept; of a disk that fills again and again the newest."""
BESIDE_NS = 60 * 10**9
"""Rows of one kind that are lost so close together are one span."""


@dataclass(frozen=True, slots=True)
class LostSpan:
    """Rows of one kind that were lost, in [start_ns, end_ns)."""

    kind: str
    start_ns: int
    end_ns: int
    rows: int
    in_ledger: bool = False
    """Whether the ledger has a record of it as it is."""

    def is_within(self, other: "LostSpan") -> bool:
        """Whether the other one has its rows, too."""
        return self.kind == other.kind and other.start_ns <= self.start_ns and self.end_ns <= other.end_ns

    @property
    def text(self) -> str:
        return lost_words(self.kind, self.rows, self.start_ns / 1e9, self.end_ns / 1e9)


class LostRows:
    """The lost rows of one ledger; used by the thread that writes the ledger."""

    def __init__(self, folder: Path) -> None:
        self.spans: tuple[LostSpan, ...] = ()
        self.unreadable = 0
        """Number of lines of the files that name no span: torn, or changed by a person."""
        self._path, self._room = folder / FILE, folder / ROOM
        self._is_stored = True
        with contextlib.suppress(OSError):
            self.spans, self.unreadable = _read(self._path)
        with contextlib.suppress(OSError):
            room, unreadable = _read(self._room)
            self.unreadable += unreadable
            if room:  # what the file had then, some of it longer, and what came after
                newer = [span for span in room if not any(map(span.is_within, self.spans))]
                older = [span for span in self.spans if not any(map(span.is_within, newer))]
                self.spans, self._is_stored = (*older, *newer)[-MOST_SPANS:], False

    def add(self, rows: Iterable[Values]) -> list[LostSpan]:
        """Notes rows as lost; returns their spans."""
        found: dict[str, LostSpan] = {}
        for row in rows:
            known = found.get(row.kind, LostSpan(row.kind, row.start_ns, row.end_ns, 0))
            start_ns, end_ns = min(known.start_ns, row.start_ns), max(known.end_ns, row.end_ns)
            found[row.kind] = LostSpan(row.kind, start_ns, end_ns, known.rows + 1)
        for span in found.values():
            self.spans = (*_joined(self.spans, span),)[-MOST_SPANS:]
            self._is_stored = False
        return list(found.values())

    @property
    def not_in_ledger(self) -> list[LostSpan]:
        """The spans of which the ledger has no record yet."""
        return [span for span in self.spans if not span.in_ledger]

    def note_in_ledger(self, written: Collection[LostSpan]) -> None:
        """Notes that the ledger has a record of these spans."""
        self.spans = tuple(replace(span, in_ledger=True) if span in written else span for span in self.spans)
        self._is_stored = False

    def store(self) -> None:
        """Stores what is not stored yet; tried again where the disk is still full."""
        if self._is_stored:
            return
        lines = [json.dumps(asdict(span)) + "\n" for span in self.spans]
        try:
            write_whole_file(self._path, ["".join(lines).encode()], PRIVATE_MODE)
        except OSError:
            while sum(map(len, lines)) > ROOM_BYTES:
                del lines[0]
            self._fill_room("".join(lines))
        else:
            self._is_stored = True
            self._fill_room("")

    def reserve(self) -> None:
        """Makes the room, while the disk has some; then `store` can note what a full disk loses."""
        text = ""
        with contextlib.suppress(OSError):
            text = self._room.read_text(errors="ignore")
        if len(text) < ROOM_BYTES:  # a disk that was full gave it no blocks, or not all
            self._fill_room(text, os.O_CREAT)

    def forget(self) -> None:
        """Forgets the spans: somebody has seen them."""
        self.spans, self._is_stored = (), True
        self._path.unlink(missing_ok=True)
        self._fill_room("")

    def _fill_room(self, text: str, flags: int = 0) -> None:
        """Writes over the bytes of the file, which needs no further block of the disk."""
        with contextlib.suppress(OSError):
            file = open_private(self._room, os.O_WRONLY | flags)
            try:
                os.pwrite(file, text.encode().ljust(ROOM_BYTES), 0)
                os.fsync(file)
            finally:
                os.close(file)

    @property
    def text(self) -> str:
        """The last three spans in words; empty without any, or once somebody deleted the file."""
        if self._is_stored and self.spans and not self._path.exists():
            self.spans = ()
        return ", ".join(span.text for span in self.spans[-3:])


def _read(path: Path) -> tuple[tuple[LostSpan, ...], int]:
    """The spans of a file, and the number of lines that are torn or were changed by a person."""
    found = []
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, KeyError, OverflowError):
            each = json.loads(line)
            start_ns, end_ns, rows = (int(each[name]) for name in ("start_ns", "end_ns", "rows"))
            span = LostSpan(str(each["kind"]), start_ns, end_ns, rows, each.get("in_ledger") is True)
            in_time = 0 <= span.start_ns <= span.end_ns <= LATEST_NS
            if span.kind in KINDS and in_time and 0 < span.rows <= MOST_ROWS:
                found.append(span)
    return tuple(found), len(lines) - len(found)


def _joined(spans: tuple[LostSpan, ...], new: LostSpan) -> tuple[LostSpan, ...]:
    """The spans with a new one; it lengthens the last one of its kind where that is beside it."""
    for place in range(len(spans) - 1, -1, -1):
        last = spans[place]
        if last.kind != new.kind:
            continue
        if new.start_ns > last.end_ns + BESIDE_NS or new.end_ns < last.start_ns - BESIDE_NS:
            break
        whole = replace(
            last,
            start_ns=min(last.start_ns, new.start_ns),
            end_ns=max(last.end_ns, new.end_ns),
            rows=last.rows + new.rows,
            in_ledger=False,
        )
        return (*spans[:place], whole, *spans[place + 1 :])
    return (*spans, new)
