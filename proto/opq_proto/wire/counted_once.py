"""Each second of a Box counts once, also where its clock was set back and Measurements came twice.

A separate module, because trends and charts leave out the same ones.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from opq_proto.decision import window_ns
from opq_proto.messages import Measurement


def counted_once(rows: Sequence[Measurement]) -> list[Measurement]:
    """Returns a Box's Measurements without those whose time another one has; the order stays.

    The better source of time counts, of equals the one with the higher number, without numbers the later
    one. One is left out where half of its window or more is in windows that count. Crossings, which repeat
    their window, are left out too.
    """
    whole = [row for row in rows if not row.crossing]
    windows = [window_ns(row) for row in whole]
    by_time = sorted(range(len(whole)), key=windows.__getitem__)
    if not any(_is_again(windows[first], windows[second]) for first, second in pairwise(by_time)):
        return whole
    counted: list[tuple[int, int]] = []
    kept = set()
    for at in sorted(range(len(whole)), key=lambda at: _rank(whole[at]), reverse=True):
        start_ns, end_ns = windows[at]
        first = bisect_left(counted, start_ns, key=lambda each: each[1])
        covered_ns = 0
        for place in range(first, len(counted)):
            if counted[place][0] >= end_ns:
                break
            covered_ns += min(end_ns, counted[place][1]) - max(start_ns, counted[place][0])
        if 2 * covered_ns < max(1, end_ns - start_ns):
            kept.add(at)
            counted.insert(bisect_left(counted, (start_ns, end_ns)), (start_ns, end_ns))
    return [row for at, row in enumerate(whole) if at in kept]


def _is_again(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether two windows, the first begins first, have half of the shorter one in common."""
    shorter_ns = max(1, min(first[1] - first[0], second[1] - second[0]))
    return 2 * (min(first[1], second[1]) - second[0]) >= shorter_ns


def _rank(row: Measurement) -> tuple[int, int, int]:
    return int(row.source), -1 if row.sequence is None else row.sequence, row.timestamp_ms
