"""Answers of one Box in parts: put together they are the recording, in whatever order they come."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from opq_cloud.store.waveform_parts import NOT_RECEIVED, joined_waveform
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Gap, TimeSource, Waveform

START_NS = 1_765_792_486_000_000_000
WHOLE = np.random.default_rng(7).integers(-20_000, 20_000, 24_000).astype(np.int16)


def numbered(first: int, last: int, counts: np.ndarray = WHOLE) -> Waveform:
    """Samples [first, last) of ours: 1,000,000 is the number of sample 0."""
    start_ns = START_NS + first * 10**12 // 12_000_000
    return Waveform(
        "1", start_ns, 900, TimeSource.GPS, 12_000_000, 0.0203, 1_000_000 + first, counts[first:last]
    )


def original(first: int, last: int, stamp_error_ms: int = 0, counts: np.ndarray = WHOLE) -> Waveform:
    """As an original Box's: no numbers, milliseconds, an unknown uncertainty."""
    start_ms = START_NS // 10**6 + first // 12 + stamp_error_ms
    return Waveform(
        "1",
        start_ms * 10**6,
        UNKNOWN_UNCERTAINTY_NS,
        TimeSource.FREE,
        12_000_000,
        0.0066,
        0,
        counts[first:last],
        numbered=False,
    )


PARTS = [(0, 8000), (6000, 14_000), (14_000, 20_000), (19_000, 24_000)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_numbered_parts_in_any_order_are_the_recording(order: tuple[int, ...]) -> None:
    held = numbered(*PARTS[order[0]])
    for place in order[1:]:
        held = joined_waveform(held, numbered(*PARTS[place]))
    whole = numbered(0, 24_000)
    assert np.array_equal(held.counts, WHOLE)
    assert replace(held, counts=whole.counts) == whole


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_original_parts_are_laid_by_equal_samples(order: tuple[int, ...]) -> None:
    parts = [original(0, 8000, 3), original(7000, 15_000, -4), original(14_000, 24_000, 30)]
    held = parts[order[0]]
    for place in order[1:]:
        held = joined_waveform(held, parts[place])
    assert np.array_equal(held.counts, WHOLE)
    assert held.gaps == ()


def test_after_a_step_back_the_first_answer_stays() -> None:
    """Later it has other samples with the same times, and more of them."""
    later = np.roll(WHOLE, 5000)
    held = original(0, 12_000)
    assert joined_waveform(held, original(0, 24_000, 0, later)) is held


def test_a_periodic_signal_is_laid_by_stamps() -> None:
    sine = np.round(20_000 * np.sin(2 * np.pi * np.arange(24_000) / 200)).astype(np.int16)
    held = joined_waveform(original(0, 12_000, 0, sine), original(10_000, 24_000, 5, sine))
    assert len(held.counts) == 24_000


def test_what_brings_nothing_new_is_the_same_waveform() -> None:
    held = numbered(0, 8000)
    assert joined_waveform(held, numbered(2000, 6000)) is held
    assert joined_waveform(held, held) is held
    box = original(0, 8000)
    assert joined_waveform(box, original(2000, 8000, 7)) is box


def test_a_later_answer_fills_a_missing_part() -> None:
    apart = joined_waveform(numbered(0, 4000), numbered(8000, 12_000))
    assert apart.gaps == (Gap(1_004_000, 4000, NOT_RECEIVED),)
    assert apart.end_ns == numbered(0, 12_000).end_ns
    filled = joined_waveform(apart, numbered(3000, 9000))
    assert filled.gaps == () and np.array_equal(filled.counts, WHOLE[:12_000])


def test_a_gap_moves_with_its_part() -> None:
    """A gap keeps its reason and moves with its part."""
    hole = replace(
        numbered(4000, 8000),
        counts=np.concatenate([WHOLE[4000:5000], WHOLE[5400:8000]]),
        gaps=(Gap(1_005_000, 400, "serial link"),),
    )
    for held in (joined_waveform(numbered(0, 4200), hole), joined_waveform(hole, numbered(0, 4200))):
        assert held.gaps == (Gap(1_005_000, 400, "serial link"),)
        assert np.array_equal(held.counts, np.concatenate([WHOLE[:5000], WHOLE[5400:8000]]))


def test_parts_of_two_recordings_stay_apart() -> None:
    """Parts of different recordings are not joined."""
    held = numbered(0, 8000)
    restarted = replace(numbered(6000, 14_200), first_sample=0)  # numbers from 0, half a second on
    assert joined_waveform(held, restarted) is restarted, "the longer one"
    assert joined_waveform(restarted, held) is restarted
    other = original(1000, 5000, counts=WHOLE[::-1].copy())
    assert joined_waveform(box := original(0, 8000), other) is box
