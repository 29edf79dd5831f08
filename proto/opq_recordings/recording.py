"""The noun `Recording`: channels on an even sample axis, with known, assumed and doubtful facts.

A channel stores its values as its file does (`values`), usually mapped; `runs` place them on the axis, so
that samples that the file lacks or marks as missing are gaps and cost no copy. Unknown is None, never a
guess. Assumptions are named in `assumed`, and each contradiction in the file is a sentence in `problems`.
"""

import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import SignalPiece
from opq_proto.time_units import NS_PER_S as NS_PER_S
from opq_recordings.quantity_names import Quantity

PIECE_SAMPLES = 1 << 17
"""Samples handed on at once, 11 s at 12 kS/s: they fit in the cache."""
MISSING_BLOCK = 1 << 20
RELEASED_SAMPLES = 1 << 21
"""Samples after which the pages of a mapped file are given back, 4 MB of int16 in one channel."""
SIDES = {"P": "primary", "S": "secondary"}


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing samples from `first_sample` on, counted from the recording's sample 0."""

    first_sample: int
    samples: int
    reason: str = "absent"
    """`absent`: there are no rows; `no value`: the rows are marked, not a number, or empty."""


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive samples: `samples` of them from row `row` of a channel's values lie at `first_sample`."""

    first_sample: int
    row: int
    samples: int


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel: `values` (m,) as stored, of `scale` and `offset`; None where a fact is not known."""

    name: str
    values: NDArray[Any]
    scale: float | None = 1.0
    """Volts (or amperes, …) of one unit of `values`; None for counts of an unknown gain."""
    offset: float = 0.0
    unit: str | None = "V"
    """The unit as the file writes it; None where not stated."""
    quantity: Quantity | None = "voltage"
    phase: str = ""
    rate_hz: float | None = None
    start_ns: int | None = None
    """UTC of sample 0."""
    nominal_v: float | None = None
    nominal_hz: float | None = None
    box_id: str | None = None
    ratio: tuple[float, str] | None = None
    """Primary over secondary of its transformer, and which of them the values are: `P` or `S`."""
    member: str = ""
    """Of an archive, the file that the channel is of; of a file of arrays, their length and rate."""
    runs: tuple[Run, ...] = ()
    samples: int = 0
    """Length of the axis, gaps included, also those at its ends."""

    @classmethod
    def of(cls, name: str, values: NDArray[Any], **facts: Any) -> "Channel":
        """A channel whose values follow each other without a gap."""
        return cls(name, values, runs=(Run(0, 0, len(values)),), samples=len(values), **facts)

    def physical(self, row: int, samples: int) -> NDArray[Any]:
        """(samples,) values from a row on, in units of `gain`: as stored where no offset is to be added."""
        part = self.values[row : row + samples]
        if self.offset == 0.0 and part.dtype.kind in "if":
            return part
        return (self.scale or 1.0) * part.astype(np.float64) + self.offset

    def release(self) -> None:
        """Gives the pages of a mapped file back, so that memory does not grow with what was read."""
        release_pages(self.values)

    @property
    def gain(self) -> float:
        """Volts of one unit of what `physical` returns."""
        kept = self.offset == 0.0 and self.values.dtype.kind in "if"
        return (self.scale or 1.0) if kept else 1.0


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a file as read, before the facts beside it and the user's are added."""

    form: str
    """The format in words, such as `COMTRADE 1999, binary`."""
    channels: tuple[Channel, ...]
    assumed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    code_page: str | None = None
    """The encoding of its text, where that was assumed."""
    broken: tuple[str, ...] = ()
    """Of an archive: each file that cannot be read, and why."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A channel of a file that is ready to be measured, with the other channels beside it."""

    path: Path
    form: str
    channel: Channel
    channels: tuple[Channel, ...]
    rate_hz: float
    start_ns: int | None
    nominal_v: float | None
    nominal_hz: float | None
    box_id: str | None = None
    assumed: Mapping[str, object] = field(default_factory=dict)
    """Facts that the file does not state but the samples need, with the assumed value."""
    problems: tuple[str, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)
    """The whole .json beside the file: keys of other programs too."""
    hz_of_file: bool = False
    volts_of_file: bool = False
    """Whether the file, and not a person, states the nominal frequency and voltage."""
    others: tuple[str, ...] = ()
    """The first channel of each further recording of the file, where none was chosen."""
    content: Content | None = None
    """What the reader found in the file."""

    @property
    def samples(self) -> int:
        """From the first to the last, gaps included."""
        return self.channel.samples

    @property
    def v_per_lsb(self) -> float:
        return self.channel.gain

    @property
    def gaps(self) -> tuple[Gap, ...]:
        return gaps_of(self.channel.runs, self.channel.samples)

    def time_ns(self, position: float) -> int | None:
        """UTC of a (fractional) position on the axis; None where the start is not known."""
        return None if self.start_ns is None else self.start_ns + round(position * NS_PER_S / self.rate_hz)

    def pieces(self, most: int = PIECE_SAMPLES) -> Iterator[SignalPiece]:
        """The samples in order, at most this many at a time; pieces do not cross a gap."""
        gain = self.channel.gain
        read = 0
        for run in self.channel.runs:
            for at in range(0, run.samples, most):
                read += most
                if read >= RELEASED_SAMPLES:
                    self.channel.release()
                    read = 0
                values = self.channel.physical(run.row + at, min(most, run.samples - at))
                first = run.first_sample + at
                yield SignalPiece(values, first, self.rate_hz, self.time_ns(first), gain)

    def volts(self, first: int, stop: int) -> NDArray[np.float64]:
        """(stop - first,) float64; NaN in gaps."""
        volts = np.full(max(0, stop - first), np.nan)
        for run in self.channel.runs:
            begin, end = max(first, run.first_sample), min(stop, run.first_sample + run.samples)
            if begin < end:
                values = self.channel.physical(run.row + begin - run.first_sample, end - begin)
                volts[begin - first : end - first] = values.astype(np.float64) * self.channel.gain
        return volts

    def longest_run(self) -> Run:
        return max(self.channel.runs, key=lambda run: run.samples)

    def provenance(self) -> dict[str, object]:
        """The keys of the contract about the read file: format, channels, gaps, assumed, problems."""
        return {
            "format": self.form,
            "channel": self.channel.name,
            "channels": [
                {
                    "name": each.name,
                    "unit": each.unit,
                    "phase": each.phase or None,
                    "quantity": each.quantity,
                    "side": None if each.ratio is None else SIDES[each.ratio[1]],
                    "ratio": None if each.ratio is None else each.ratio[0],
                }
                for each in self.channels
            ],
            "assumed": dict(self.assumed),
            "problems": list(self.problems),
            "gaps": [
                {
                    "first_sample": each.first_sample,
                    "start_s": each.first_sample / self.rate_hz,
                    "samples": each.samples,
                    "reason": each.reason,
                }
                for each in self.gaps
            ],
        }


def gaps_of(runs: Sequence[Run], samples: int) -> tuple[Gap, ...]:
    """The gaps between and beside the runs."""
    found, end, row = [], 0, 0
    for run in runs:
        if run.first_sample > end:
            reason = "absent" if run.row == row else "no value"
            found.append(Gap(end, run.first_sample - end, reason))
        end, row = run.first_sample + run.samples, run.row + run.samples
    if samples > end:
        found.append(Gap(end, samples - end))
    return tuple(found)


def release_pages(values: NDArray[Any]) -> None:
    """Gives the pages of a mapped array back; they are read again where they are used again."""
    mapped = getattr(values, "_mmap", None)
    if isinstance(mapped, mmap.mmap) and hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_DONTNEED)


def without_missing(channel: Channel, mark: float | None = None) -> Channel:
    """The channel without the rows whose value is NaN or the mark for "no value"."""
    spans = _missing_spans(channel, mark)
    if not spans:
        return channel
    ends = [0, *(edge for span in spans for edge in span), len(channel.values)]
    runs = []
    for begin, end in zip(ends[::2], ends[1::2], strict=True):
        for run in channel.runs:
            first, stop = max(begin, run.row), min(end, run.row + run.samples)
            if first < stop:
                runs.append(Run(run.first_sample + first - run.row, first, stop - first))
    return replace(channel, runs=tuple(sorted(runs, key=lambda run: run.row)))


def _missing_spans(channel: Channel, mark: float | None) -> list[tuple[int, int]]:
    """The rows [first, stop) without a value, in order; read block by block."""
    values, spans = channel.values, list[tuple[int, int]]()
    if values.dtype.kind != "f" and mark is None:
        return spans
    for at in range(0, len(values), MISSING_BLOCK):
        found = missing_rows(values[at : at + MISSING_BLOCK], mark)
        if found.any():
            edges = np.flatnonzero(np.diff(np.concatenate(([False], found, [False])).astype(np.int8))) + at
            for first, stop in edges.reshape(-1, 2).tolist():
                if spans and spans[-1][1] == first:
                    first = spans.pop()[0]
                spans.append((first, stop))
        channel.release()
    return spans


def without_spans(channel: Channel, spans: Sequence[tuple[int, int]]) -> Channel:
    """The channel without the samples [first, stop) of the axis."""
    runs = list(channel.runs)
    for first, stop in spans:
        kept = []
        for run in runs:
            end = run.first_sample + run.samples
            if run.first_sample < min(first, end):
                kept.append(Run(run.first_sample, run.row, min(first, end) - run.first_sample))
            if end > max(stop, run.first_sample):
                begin = max(stop, run.first_sample)
                kept.append(Run(begin, run.row + begin - run.first_sample, end - begin))
        runs = kept
    return replace(channel, runs=tuple(runs))


def missing_rows(values: NDArray[Any], mark: float | None = None) -> NDArray[np.bool_]:
    """(m,) True where a value is NaN or the mark for "no value"."""
    found = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=np.bool_)
    if mark is not None:
        found |= values == mark
    return found
