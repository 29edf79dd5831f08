"""Raw samples as rows for rules: windows of equal length, cut from consecutive pieces.

A row: `box`, `start_ms`, `end_ms`, `start_ns`, `uncertainty_ns`, `source`, `rate_hz`, `volts_per_lsb`,
`first_sample`, `samples` (counts, or volts). Over a wire a piece is three frames: topic, header (JSON), int16
little endian.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import FrameError
from opq_proto.messages import known_uncertainty_ns
from opq_proto.time_units import NS_PER_MS
from opq_proto.wire.frames import topic
from opq_rules.streams.columns import KnownColumns
from opq_rules.values.batch import Row

MAX_BOXES = 1000
COLUMNS = KnownColumns(
    (
        *("box", "start_ms", "end_ms", "start_ns", "uncertainty_ns", "source", "rate_hz", "volts_per_lsb"),
        *("first_sample", "samples"),
    )
)
RATES_MILLIHZ = range(1_000_000, 1_000_000_001)
"""1 kHz to 1 MHz; a header with another rate is refused."""
MAX_BOX_ID, MAX_SOURCE = 10, 40
"""Letters."""
MOST = 2**62
"""Of a header's times and numbers; the end of a piece then still fits into 64 bits."""
_NUMBERS = ("first_sample", "start_ns", "uncertainty_ns")


@dataclass(frozen=True, slots=True)
class PieceHead:
    """A piece without its samples; `axis` names the sample counter of `first_sample`."""

    box_id: str
    axis: int
    first_sample: int
    start_ns: int
    uncertainty_ns: int
    source: str
    rate_millihz: int
    v_per_lsb: float


@dataclass(frozen=True, slots=True)
class WavePiece(PieceHead):
    """Consecutive samples of one Box."""

    counts: NDArray[np.int16]

    def part(self, first: int, end: int) -> "WavePiece":
        return replace(
            self,
            first_sample=self.first_sample + first,
            start_ns=self.time_ns(first),
            counts=self.counts[first:end],
        )

    def time_ns(self, position: int) -> int:
        return self.start_ns + position * 10**12 // self.rate_millihz

    def follows(self, before: "WavePiece") -> bool:
        """Whether it continues `before` without a gap, with the same rate and gain."""
        return (self.axis, self.rate_millihz, self.v_per_lsb, self.first_sample) == (
            before.axis,
            before.rate_millihz,
            before.v_per_lsb,
            before.first_sample + len(before.counts),
        )

    def frames(self) -> list[bytes]:
        head = {field.name: getattr(self, field.name) for field in fields(PieceHead)}
        return [topic(self.box_id), msgspec.json.encode(head), self.counts.astype("<i2").tobytes()]


def piece_of(frames: Sequence[bytes]) -> WavePiece:
    """Reads a piece. Raises FrameError if the frames are not a piece."""
    if len(frames) != 3 or not frames[2] or len(frames[2]) % 2:
        raise FrameError(f"{len(frames)} frames; want a topic, a header and whole samples")
    try:
        head = msgspec.json.decode(frames[1], type=PieceHead)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise FrameError(f"the header of the samples cannot be read: {error}") from error
    if head.rate_millihz not in RATES_MILLIHZ or not 0 < head.v_per_lsb < 1e6:
        raise FrameError("the header of the samples has a wrong rate or gain")
    if not (head.box_id.isascii() and head.box_id.isdigit() and len(head.box_id) <= MAX_BOX_ID):
        raise FrameError(f"the header of the samples names Box {head.box_id[:40]!r}; want its number")
    if len(head.source) > MAX_SOURCE or not head.source.isprintable():
        raise FrameError(f"the header of the samples has a wrong source, {head.source[:40]!r}")
    if wrong := [name for name in _NUMBERS if not 0 <= getattr(head, name) < MOST]:
        raise FrameError(f"the header of the samples has a wrong {wrong[0]}")
    counts = np.frombuffer(frames[2], "<i2").astype(np.int16)
    return WavePiece(counts=counts, **asdict(head))


class WaveWindows:
    """Holds each Box's unfinished window. A gap ends a window early: it is shorter, never filled."""

    def __init__(self, window_ms: int, volts: bool) -> None:
        self._ms, self._volts = window_ms, volts
        self._under_way: dict[str, list[WavePiece]] = {}

    def push_piece(self, piece: WavePiece) -> list[Row]:
        """Windows that this piece completes, in order."""
        rows = []
        waiting = self._under_way.get(piece.box_id)
        if waiting is None:
            if len(self._under_way) >= MAX_BOXES:
                self._under_way.pop(next(iter(self._under_way)))
            waiting = self._under_way[piece.box_id] = []
        if waiting and not piece.follows(waiting[-1]):
            rows.append(self._row(waiting))
            waiting.clear()
        size = max(1, round(piece.rate_millihz * self._ms / 1e6))
        while len(piece.counts):
            room = size - sum(len(each.counts) for each in waiting)
            waiting.append(piece.part(0, room))
            if len(piece.counts) < room:
                break
            piece = piece.part(room, len(piece.counts))
            rows.append(self._row(waiting))
            waiting.clear()
        return rows

    def rest(self) -> list[Row]:
        """The unfinished windows, at the end."""
        rows = [self._row(waiting) for waiting in self._under_way.values() if waiting]
        self._under_way.clear()
        return rows

    def _row(self, pieces: Sequence[WavePiece]) -> Row:
        first, last = pieces[0], pieces[-1]
        counts = np.concatenate([each.counts for each in pieces])
        return {
            "box": first.box_id,
            "start_ms": first.start_ns // NS_PER_MS,
            "end_ms": last.time_ns(len(last.counts)) // NS_PER_MS,
            "start_ns": first.start_ns,
            "uncertainty_ns": known_uncertainty_ns(max(each.uncertainty_ns for each in pieces)),
            "source": first.source,
            "rate_hz": first.rate_millihz / 1000,
            "volts_per_lsb": first.v_per_lsb,
            "first_sample": first.first_sample,
            "samples": (counts * first.v_per_lsb).tolist() if self._volts else counts.tolist(),
        }
