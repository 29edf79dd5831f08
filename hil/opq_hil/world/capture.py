"""The output of a Box on its link, decoded to messages with the virtual time of every frame, then to arrays.

A log holds lines `t_ns hex`: the bytes that left USART1 and the time at which the last of them had left.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from opq_proto.link import frames as link
from opq_proto.link.messages import FLAG_OVERRUN_BEFORE, FLAG_RESENT, LinkMessage, Samples

Kind = TypeVar("Kind")
COUNTERS = ("frames", "crc_errors", "malformed", "oversize", "bytes_skipped", "sequence_gaps")


@dataclass(frozen=True, slots=True)
class TimedMessage:
    """One good frame."""

    t_ns: int
    """Virtual time at which its last byte had left the Box."""
    sequence: int
    message: LinkMessage


@dataclass(frozen=True, slots=True)
class CapturedWaveform:
    """Samples joined by their index; where none came, `have` is False and `counts` is 0."""

    first_sample: int
    counts: NDArray[np.int16]
    have: NDArray[np.bool_]
    conflicts: int
    """Samples that came twice with different values; must be 0."""

    @property
    def missing(self) -> int:
        return int(np.count_nonzero(~self.have))


class Capture:
    """A decoded log; the bytes stay in the file, since one hour has 140 MB."""

    def __init__(self, log: Sequence[tuple[int, bytes]] | Path) -> None:
        self._log = log
        decoder = link.Decoder()
        self.received = tuple(
            TimedMessage(t_ns, sequence, message)
            for t_ns, data in self.entries()
            for sequence, message in decoder.feed(data)
        )
        self.counters: Mapping[str, int] = {name: getattr(decoder, name) for name in COUNTERS}

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Yields the bytes with their times; a log file is read again."""
        if not isinstance(self._log, Path):
            yield from self._log
            return
        with self._log.open(encoding="ascii") as lines:
            for line in lines:
                t_ns, _, data = line.partition(" ")
                yield int(t_ns), bytes.fromhex(data)

    def of(self, kind: type[Kind], after_ns: int = 0) -> list[Kind]:
        """Messages of one kind, in order, received from a virtual time on."""
        return [
            received.message
            for received in self.received
            if isinstance(received.message, kind) and received.t_ns >= after_ns
        ]

    def timed(self, kind: type[Kind]) -> list[tuple[int, Kind]]:
        """(virtual time, message) of one kind, in order."""
        return [
            (received.t_ns, received.message)
            for received in self.received
            if isinstance(received.message, kind)
        ]

    @property
    def fresh(self) -> list[Samples]:
        """Blocks as first sent, without those sent again."""
        return [block for block in self.of(Samples) if not block.flags & FLAG_RESENT]

    @property
    def log(self) -> tuple[tuple[int, bytes], ...]:
        """All of `entries`, for a run that is not too long."""
        return tuple(self.entries())

    @property
    def data(self) -> bytes:
        """All bytes, in the order in which they left."""
        return b"".join(data for _, data in self.entries())


def read_log(path: Path) -> Capture:
    """Decodes a log file that an emulator wrote."""
    return Capture(path)


def waveform(blocks: Iterable[Samples]) -> CapturedWaveform:
    """Joins the blocks of one start of the Box to one row of samples; order and doubles do not matter.

    Raises:
        ValueError: there is no block.
    """
    found = list(blocks)
    if not found:
        raise ValueError("there is no block of samples to join")
    first = min(block.first_sample for block in found)
    last = max(block.first_sample + len(block.counts) for block in found)
    counts = np.zeros(last - first, np.int16)
    have = np.zeros(last - first, np.bool_)
    conflicts = 0
    for block in found:
        span = slice(block.first_sample - first, block.first_sample - first + len(block.counts))
        conflicts += int(np.count_nonzero(have[span] & (counts[span] != block.counts)))
        counts[span] = block.counts
        have[span] = True
    return CapturedWaveform(first, counts, have, conflicts)


def holes(blocks: Iterable[Samples]) -> list[tuple[int, int]]:
    """(first, count) of samples missing between consecutive blocks; sorted by index, doubles ignored."""
    found = []
    expected: int | None = None
    for block in sorted(blocks, key=lambda block: block.first_sample):
        if expected is not None and block.first_sample > expected:
            found.append((expected, block.first_sample - expected))
        expected = max(expected or 0, block.first_sample + len(block.counts))
    return found


def overruns(blocks: Iterable[Samples]) -> int:
    """Number of blocks before which the Box itself reports lost samples."""
    return sum(1 for block in blocks if block.flags & FLAG_OVERRUN_BEFORE)
