"""Distributions that can be added: how many intervals had a value in each of fixed bins. Pure.

The bins never change and have one width for each unit, so that the distribution of a year is the sum of those
of its days, in any order. A quantile is the middle of its bin, so it is off by half a width at most:

| unit | width | half of it |
| --- | --- | --- |
| V | 0.05 | 0.025 V: 0.011 % of 230 V, 0.021 % of 120 V |
| Hz | 0.001 | 0.5 mHz |
| ratio | 0.0002 | 0.01 % |
| Pst, Plt, Pinst | 0.005 | 0.0025 |
| Hz/s | 0.01 | 0.005 Hz/s |
| degree | 0.01 | 0.005 degrees |
| ns | 1000 | 0.5 us |

Intervals that are flagged are counted apart, because a standard may leave them out. The values at instants of
UTC turn with the frequency: a summary has only that they are there.
"""

import math
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from opq_cloud.store.documents.readable import READ_ERRORS
from opq_proto.errors import StoreError
from opq_proto.measurement.intervals import AT_INSTANTS, IntervalColumns

WIDTHS = {"_v": 0.05, "_hz": 0.001, "_ratio": 0.0002, "_per_s": 0.01, "_deg": 0.01, "_ns": 1000.0}
OTHER_WIDTH = 0.005
_MOST_BINS = 2**30
"""A value of more bins counts in the last one."""


@lru_cache(500)
def bin_width(name: str) -> float:
    """Returns the width of the bins of a quantity."""
    return next((width for end, width in WIDTHS.items() if name.endswith(end)), OTHER_WIDTH)


@dataclass(frozen=True, eq=False, slots=True)
class Distribution:
    """How often each value was measured."""

    width: float
    bins: NDArray[np.int64]
    """(b,) rising; a bin is floor(value / width)."""
    counts: NDArray[np.int64]
    """(b,) intervals."""
    least: float
    most: float
    total: float
    """Sum of the values; least and most are NaN where there is none."""

    @property
    def count(self) -> int:
        return int(self.counts.sum())

    @property
    def mean(self) -> float | None:
        count = self.count
        return self.total / count if count else None

    def quantile(self, share: float) -> float | None:
        """Returns the value that `share` (0 to 1) of the intervals do not exceed; None without any."""
        if not len(self.bins):
            return None
        passed = np.cumsum(self.counts)
        at = int(np.searchsorted(passed, share * passed[-1] * (1 - 1e-12)))
        middle = (float(self.bins[min(at, len(self.bins) - 1)]) + 0.5) * self.width
        return min(max(middle, self.least), self.most)


def distribution_of(name: str, values: NDArray[np.float32]) -> Distribution:
    """Returns the distribution of values; NaN is left out."""
    width = bin_width(name)
    known = values[~np.isnan(values)].astype(np.float64)
    if not len(known):
        nothing = np.empty(0, np.int64)
        return Distribution(width, nothing, nothing, math.nan, math.nan, 0.0)
    places = np.clip(np.floor(known / width), -_MOST_BINS, _MOST_BINS).astype(np.int64)
    bins, counts = np.unique(places, return_counts=True)
    return Distribution(
        width, bins, counts, float(known.min()), float(known.max()), math.fsum(known.tolist())
    )


def added(parts: Sequence[Distribution]) -> Distribution:
    """Returns the sum of distributions with bins of one width; at least one."""
    if len(parts) == 1:
        return parts[0]
    places, where = np.unique(np.concatenate([part.bins for part in parts]), return_inverse=True)
    counts = np.zeros(len(places), np.int64)
    np.add.at(counts, where, np.concatenate([part.counts for part in parts]))
    known = [part for part in parts if len(part.bins)]
    return Distribution(
        parts[0].width,
        places,
        counts,
        min((part.least for part in known), default=math.nan),
        max((part.most for part in known), default=math.nan),
        math.fsum(part.total for part in known),
    )


Key = tuple[str, int, bool]
"""Quantity, place of the order in its row (0 where it has one value), whether flagged."""


@dataclass(frozen=True, slots=True)
class IntervalSummary:
    """What the intervals of one length of a Box were like over a span."""

    intervals: int = 0
    flagged: int = 0
    covered: float = 0.0
    """Sum of their coverage; an unknown one counts as 0."""
    parts: Mapping[Key, Distribution] = field(default_factory=dict)

    def distribution(self, name: str, place: int = 0, flagged: bool = True) -> Distribution:
        """Returns the distribution of a quantity, or of one order of it.

        Args:
            place: 0 is the first order: the fundamental of `harmonics_v`.
            flagged: whether flagged intervals count, too.
        """
        keys = [(name, place, False), *([(name, place, True)] if flagged else [])]
        found = [self.parts[key] for key in keys if key in self.parts]
        return added(found) if found else distribution_of(name, np.empty(0, np.float32))

    def orders(self, name: str) -> int:
        """Returns the number of orders of a quantity: 1 where it has one value, 0 where it is not known."""
        return max((place + 1 for each, place, _ in self.parts if each == name), default=0)

    @property
    def names(self) -> list[str]:
        return sorted({name for name, _, _ in self.parts})


def summary_of(columns: IntervalColumns) -> IntervalSummary:
    """Returns the summary of intervals."""
    flagged = columns.flagged
    keys: list[tuple[str, int]] = []
    wide: list[NDArray[np.float32]] = []
    parts: dict[Key, Distribution] = {}
    for name, value in columns.values.items():
        rows = value if value.ndim > 1 else value[:, np.newaxis]
        if name in AT_INSTANTS:
            nothing = distribution_of(name, np.empty(0, np.float32))
            parts |= {(name, place, False): nothing for place in range(rows.shape[1])}
            continue
        keys += ((name, place) for place in range(rows.shape[1]))
        wide.append(rows)
    if wide and len(flagged):
        matrix = np.concatenate(wide, axis=1).astype(np.float64)
        widths = np.array([bin_width(name) for name, _ in keys])
        for mark in (False, True):
            parts |= _distributions(keys, matrix[flagged == mark], widths, mark)
    covered = columns.coverage[~np.isnan(columns.coverage)].astype(np.float64)
    return IntervalSummary(len(flagged), int(flagged.sum()), math.fsum(covered.tolist()), parts)


def _distributions(
    keys: Sequence[tuple[str, int]], matrix: NDArray[np.float64], widths: NDArray[np.float64], mark: bool
) -> dict[Key, Distribution]:
    """Returns the distributions of the columns of a matrix, without those of which nothing is known."""
    known = ~np.isnan(matrix)
    chosen = np.flatnonzero(known.any(axis=0))
    if not len(chosen):
        return {}
    matrix, known = matrix[:, chosen], known[:, chosen]
    scaled = np.floor(np.where(known, matrix, 0.0) / widths[chosen])
    bins = np.clip(scaled, -_MOST_BINS, _MOST_BINS).astype(np.int64)
    owners = np.broadcast_to(np.arange(len(chosen)), bins.shape)
    ones = np.ones(int(known.sum()), np.int64)
    found = _counted(owners[known], bins[known], ones, len(chosen))
    facts = zip(
        np.nanmin(matrix, axis=0).tolist(),
        np.nanmax(matrix, axis=0).tolist(),
        np.nansum(matrix, axis=0).tolist(),
        strict=True,
    )
    return {
        (*keys[column], mark): Distribution(float(widths[column]), *part, *each)
        for column, part, each in zip(chosen.tolist(), found, facts, strict=True)
    }


_OWNER = 2 * _MOST_BINS + 2
"""Numbers of an owner and a bin as one: bins are within _MOST_BINS of 0."""


def _counted(
    owners: NDArray[np.int64], bins: NDArray[np.int64], counts: NDArray[np.int64], many: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Returns for each owner its bins, rising, and how often each was counted."""
    places, where = np.unique(owners * _OWNER + (bins + _MOST_BINS), return_inverse=True)
    sums = np.bincount(where, weights=counts, minlength=len(places)).astype(np.int64)
    of, rest = np.divmod(places, _OWNER)
    edges = np.searchsorted(of, np.arange(many + 1)).tolist()
    rest -= _MOST_BINS
    return [(rest[first:last], sums[first:last]) for first, last in pairwise(edges)]


def summed(found: Iterable[IntervalSummary]) -> IntervalSummary:
    """Returns the sum of summaries."""
    every = list(found)
    if len(every) == 1:
        return every[0]
    by_key: dict[Key, list[Distribution]] = {}
    for each in every:
        for key, part in each.parts.items():
            by_key.setdefault(key, []).append(part)
    parts: dict[Key, Distribution] = {}
    if by_key:
        flat = [part for own in by_key.values() for part in own]
        lengths = [len(part.bins) for part in flat]
        numbers = [at for at, own in enumerate(by_key.values()) for _ in own]
        bins = np.concatenate([part.bins for part in flat])
        counts = np.concatenate([part.counts for part in flat])
        merged = _counted(np.repeat(np.array(numbers), lengths), bins, counts, len(by_key))
        for (key, own), (places, sums) in zip(by_key.items(), merged, strict=True):
            parts[key] = Distribution(
                own[0].width,
                places,
                sums,
                min(each.least for each in own),
                max(each.most for each in own),
                math.fsum(each.total for each in own),
            )
    return IntervalSummary(
        sum(each.intervals for each in every),
        sum(each.flagged for each in every),
        math.fsum(each.covered for each in every),
        parts,
    )


class _Packed(msgspec.Struct, array_like=True):
    intervals: int
    flagged: int
    covered: float
    keys: list[tuple[str, int, bool, int]]
    """A key, and the number of its bins; these and their counts follow each other in `bins` and `counts`."""
    data: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode


def pack_summary(summary: IntervalSummary) -> bytes:
    """Packs a summary with a checksum (CRC-32, the first four bytes)."""
    parts = list(summary.parts.values())
    keys = [(*key, len(part.bins)) for key, part in summary.parts.items()]
    arrays = [
        np.concatenate([np.diff(part.bins, prepend=np.int64(0)) for part in parts] or [np.empty(0, np.int64)])
        .astype("<i8")
        .view(np.uint8)
        .reshape(-1, 8)
        .T.tobytes(),
        np.concatenate([part.counts for part in parts] or [np.empty(0, np.int64)])
        .astype("<i8")
        .view(np.uint8)
        .reshape(-1, 8)
        .T.tobytes(),
        np.array([(part.least, part.most, part.total) for part in parts], "<f8").T.tobytes(),
    ]
    data = zlib.compress(b"".join(arrays), 1)
    body = zlib.compress(_encode(_Packed(summary.intervals, summary.flagged, summary.covered, keys, data)), 1)
    return zlib.crc32(body).to_bytes(4, "little") + body


def unpack_summary(packed: bytes, names: Collection[str] | None = None) -> IntervalSummary:
    """Unpacks a summary, or these quantities of it.

    Raises:
        StoreError: the bytes are not those that were packed.
    """
    try:
        if zlib.crc32(memoryview(packed)[4:]) != int.from_bytes(packed[:4], "little"):
            raise ValueError("its checksum differs")
        head = _decode(zlib.decompress(packed[4:]))
        if names is not None and not names:
            return IntervalSummary(head.intervals, head.flagged, head.covered)
        data = zlib.decompress(head.data)
        lengths = np.array([key[3] for key in head.keys], np.int64)
        bins = int(lengths.sum())
        pairs = np.frombuffer(data, np.uint8, 16 * bins).reshape(2, 8, bins).transpose(0, 2, 1)
        steps, counts = np.ascontiguousarray(pairs).view("<i8").reshape(2, bins)
        facts = np.frombuffer(data, "<f8", offset=16 * bins).reshape(3, len(head.keys)).T
        firsts = np.cumsum(lengths) - lengths
        totals = np.cumsum(steps)
        before = np.concatenate(([0], totals))[firsts]
        places = totals - np.repeat(before, lengths)
    except (*READ_ERRORS, zlib.error, msgspec.MsgspecError) as error:
        raise StoreError(f"a summary of intervals is damaged ({error})") from error
    parts: dict[Key, Distribution] = {}
    wanted = [number for number, key in enumerate(head.keys) if names is None or key[0] in names]
    of_wanted = zip(wanted, firsts[wanted].tolist(), facts[wanted].tolist(), strict=True)
    for number, at, (least, most, total) in of_wanted:
        name, place, flagged, count = head.keys[number]
        until = at + count
        parts[name, place, flagged] = Distribution(
            bin_width(name), places[at:until], counts[at:until], least, most, total
        )
    return IntervalSummary(head.intervals, head.flagged, head.covered, parts)
