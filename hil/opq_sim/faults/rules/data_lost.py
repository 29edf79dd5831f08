"""What was lost, stored twice or changed: checks that every sample and every Measurement is accounted for.

Samples: in the ring under their own index and with their own count, or in a recorded gap. Measurements: in
the store once, as received at the broker, or still held by their Box; nothing is in the store that was never
made; windows of one Box do not overlap; everything in the ring is measured.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from opq_gateway.blocks import SampleBlock
from opq_proto.messages import Gap, Measurement
from opq_sim.faults.evidence import runs
from opq_sim.faults.parts.held_numbers import HeldNumbers

SAME_AXIS_NS = 1_000
"""Largest overlap of windows of a Box that knows the time."""
JUMP_NS = 1_000_000
"""A larger difference between neighbouring blocks is a jump; a fit that slews moves it by microseconds."""
SHOWN_EXAMPLES = 3
"""Number of examples that a text names for one kind of problem."""

Truth = Callable[[int, int], NDArray[np.int16]]


@dataclass(slots=True)
class SampleAccount:
    """The account of one Box's samples."""

    sent: int = 0
    in_ring: int = 0
    in_gaps: dict[str, int] = field(default_factory=dict)
    """Reason -> samples."""
    problems: list[str] = field(default_factory=list)


def samples(
    box_id: str, sent: int, blocks: Sequence[SampleBlock], gaps: Sequence[Gap], truth: Truth
) -> SampleAccount:
    """Compares the ring and its recorded gaps with what was sent: samples 0 .. sent - 1 of one boot."""
    account = SampleAccount(sent)
    place = np.zeros(sent, dtype=np.uint8)  # how often each sample is in the ring
    true = truth(0, sent) if sent else np.empty(0, dtype=np.int16)
    wrong = beyond = 0
    for block in blocks:
        if block.end_sample > sent:
            beyond += 1
            continue
        span = slice(block.first_sample, block.end_sample)
        place[span] += 1
        wrong += int(np.count_nonzero(block.counts != true[span]))
    reasons: Counter[str] = Counter()
    in_gap = np.zeros(sent, dtype=bool)
    for gap in gaps:
        span = slice(gap.first_sample, gap.first_sample + gap.samples)
        fresh = ~in_gap[span] & (place[span] == 0)
        reasons[gap.reason] += int(np.count_nonzero(fresh))
        in_gap[span] = True
    account.in_ring = int(np.count_nonzero(place))
    account.in_gaps = dict(reasons)
    for count, what in (
        (wrong, "samples in the ring are not what was sent"),
        (beyond, "blocks in the ring were never sent"),
        (int(np.count_nonzero(place > 1)), "samples are in the ring twice"),
    ):
        if count:
            account.problems.append(f"Box {box_id}: {count} {what}")
    lost = (place == 0) & ~in_gap
    if lost.any():
        account.problems.append(
            f"Box {box_id}: {np.count_nonzero(lost)} samples are neither in the ring nor in a recorded gap: "
            f"{shown(f'{first}..{end - 1}' for first, end in runs(lost))}"
        )
    return account


def stamps(box_id: str, blocks: Iterable[SampleBlock], expected_ns: Callable[[int], int]) -> list[str]:
    """Problems where a ring's time stamps differ from those of the Box, which knows the time."""
    off = [block for block in blocks if block.t_ns != expected_ns(block.first_sample)]
    if not off:
        return []
    first = off[0]
    return [
        f"Box {box_id}: {len(off)} blocks have another time than the Box's own, the first at sample "
        f"{first.first_sample} by {first.t_ns - expected_ns(first.first_sample)} ns"
    ]


def revised(box_id: str, before: Iterable[SampleBlock], after: Iterable[SampleBlock]) -> list[str]:
    """Problems where the ring now has another time for a block than it had earlier."""
    now = {(block.start_id, block.first_sample): (block.t_ns, block.uncertainty_ns) for block in after}
    off = [
        block.first_sample
        for block in before
        if now.get((block.start_id, block.first_sample), (block.t_ns, block.uncertainty_ns))
        != (block.t_ns, block.uncertainty_ns)
    ]
    return [f"Box {box_id}: stamps of {len(off)} blocks were revised, the first at {off[0]}"] if off else []


def once(stored: Sequence[Measurement], received: Mapping[tuple[str, int], Measurement]) -> list[str]:
    """Problems of Measurements that reached the broker and are not stored exactly once, unchanged in time."""
    problems = []
    numbers = Counter((each.box_id, each.sequence) for each in stored if each.sequence is not None)
    doubled = [key for key, count in numbers.items() if count > 1]
    if doubled:
        problems.append(f"{len(doubled)} Measurements are stored twice: {shown(map(str, doubled))}")
    missing = sorted(key for key in received if key not in numbers)
    if missing:
        problems.append(
            f"{len(missing)} Measurements were received and not stored: {shown(map(str, missing))}"
        )
    other = []
    for each in stored:
        first = received.get((each.box_id, each.sequence or 0))
        if first is not None and (first.start_ns, first.end_ns) != (each.start_ns, each.end_ns):
            other.append((each.box_id, each.sequence))
    if other:
        problems.append(f"{len(other)} Measurements are stored with another time: {shown(map(str, other))}")
    return problems


def kept_promise(stored: Sequence[Measurement], queued: Iterable[tuple[str, int]]) -> list[str]:
    """Problems of Measurements that were on the gateway's disk and are not stored."""
    there = {(each.box_id, each.sequence) for each in stored}
    lost = sorted(set(queued) - there)
    return (
        [f"{len(lost)} Measurements were queued and are not stored: {shown(map(str, lost))}"] if lost else []
    )


def overlaps(box_id: str, stored: Sequence[Measurement], slack_ns: int) -> list[str]:
    """Problems where windows of one Box overlap, so that something was measured twice under two numbers."""
    windows = _windows(stored)
    off = []
    for before, after in pairwise(windows):
        if before[1] - after[0] > slack_ns:
            off.append(f"{(before[1] - after[0]) / 1e6:.3f} ms at {after[0]}")
    return [f"Box {box_id}: {len(off)} windows overlap: {shown(off)}"] if off else []


def jumps(blocks: Sequence[SampleBlock]) -> int:
    """How often the time jumps between neighbouring samples; only a start may begin another time axis."""
    return sum(
        before.start_id == after.start_id
        and before.end_sample == after.first_sample
        and abs(after.t_ns - before.end_ns) > JUMP_NS
        for before, after in pairwise(blocks)
    )


def unmeasured(
    box_id: str,
    blocks: Sequence[SampleBlock],
    stored: Sequence[Measurement],
    slack_ns: int,
    end_slack_ns: int,
) -> list[str]:
    """Problems of samples in the ring that lie in the window of no Measurement.

    Args:
        slack_ns: allowed gap between two Measurements.
        end_slack_ns: allowed gap where samples begin or end.
    """
    windows = _windows(stored)
    bare = []
    for start, end in _spans(blocks):
        at = start
        for window_start, window_end in windows:
            if window_end <= at or window_start >= end:
                continue
            if window_start - at > (end_slack_ns if at == start else slack_ns):
                bare.append((at, window_start))
            at = max(at, window_end)
        if end - at > end_slack_ns:
            bare.append((at, end))
    if not bare:
        return []
    total_s = sum(end - start for start, end in bare) / 1e9
    spans = shown(f"{(end - start) / 1e9:.2f} s from {start}" for start, end in bare)
    return [f"Box {box_id}: {total_s:.2f} s in the ring were never measured: {spans}"]


def missing_sequences(stored: Sequence[Measurement]) -> int:
    """How many sequence numbers between the lowest and the highest stored one are missing."""
    numbers = {each.sequence for each in stored if each.sequence is not None}
    return max(numbers) - min(numbers) + 1 - len(numbers) if numbers else 0


def held_or_stored(
    box_id: str, held: HeldNumbers, stored: Iterable[int], elsewhere: Iterable[int] = ()
) -> list[str]:
    """Problems with the Measurements of a Box that reports what it holds.

    Args:
        stored: sequences in the store, as often as they are there.
        elsewhere: sequences in the store of another Makai.
    """
    counts = Counter(stored)
    released = {number for number in range(held.first, held.floor) if number not in counts}
    found = released & set(elsewhere)
    return [
        f"Box {box_id}: {len(numbers)} Measurements {what}: {shown(map(str, sorted(numbers)))}"
        for what, numbers in (
            ("were acknowledged and are in no store", released - found),
            ("were acknowledged and are in the other Makai's store alone", found),
            ("are stored twice", [number for number, count in counts.items() if count > 1]),
            (
                "are stored and were never made",
                [number for number in counts if not held.first <= number < held.next],
            ),
        )
        if numbers
    ]


def _windows(stored: Iterable[Measurement]) -> list[tuple[int, int]]:
    """Spans of Measurements, without those of crossings, which overlap others on purpose."""
    return sorted(
        (each.start_ns, each.end_ns)
        for each in stored
        if each.start_ns is not None and each.end_ns is not None and not each.crossing
    )


def _spans(blocks: Sequence[SampleBlock], join_ns: int = 1_000_000) -> list[tuple[int, int]]:
    """UTC spans of the ring without a gap."""
    spans: list[tuple[int, int]] = []
    for block in sorted(blocks, key=lambda block: block.t_ns):
        if spans and block.t_ns - spans[-1][1] <= join_ns:
            spans[-1] = (spans[-1][0], max(spans[-1][1], block.end_ns))
        else:
            spans.append((block.t_ns, block.end_ns))
    return spans


def shown(things: Iterable[str]) -> str:
    """The first few things, and how many more there are."""
    named = list(things)
    more = f" and {len(named) - SHOWN_EXAMPLES} more" if len(named) > SHOWN_EXAMPLES else ""
    return ", ".join(named[:SHOWN_EXAMPLES]) + more
