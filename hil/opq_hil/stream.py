"""Mains as a Box would deliver them: pieces of any size with stamps, a measured rate, and gaps."""

from collections.abc import Iterator, Sequence
from itertools import cycle

from opq_hil.mains import Mains
from opq_measure.signal import Samples


def pieces(
    mains: Mains,
    count: int,
    start_ns: int | None = None,
    sizes: Sequence[int] = (2400,),
    first: int = 0,
    measured: bool = True,
) -> Iterator[Samples]:
    """The samples that do arrive, of `count` from `first` on.

    Args:
        start_ns: true UTC of sample 0; None: pieces carry no time.
        sizes: of the pieces, over and over; a gap cuts a piece short.
        measured: each piece carries the clock's true rate at its start, as PPS tells; else the nominal.
    Returns:
        Counts with their gain where the mains have a converter, else volts.
    Raises:
        ValueError: a size is below 1.
    """
    if not sizes or min(sizes) < 1:
        raise ValueError(f"sizes are {list(sizes)}; want whole numbers from 1")
    clock, converter = mains.clock, mains.converter
    wanted = cycle(sizes)
    for begin, end in clock.runs(first + count):
        at = max(begin, first)
        while at < end:
            size = min(next(wanted), end - at)
            yield Samples(
                volts=mains.volts(at, size) if converter is None else mains.counts(at, size),
                first_sample=at,
                rate_hz=clock.rate_hz(at, mains.rate_hz) if measured else mains.rate_hz,
                start_ns=None
                if start_ns is None
                else clock.stamp_ns(mains.seed, at, mains.rate_hz, start_ns),
                v_per_lsb=1.0 if converter is None else converter.v_per_lsb,
            )
            at += size
