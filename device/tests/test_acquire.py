"""Conversions become the right samples at the right ticks, or are counted as missing. Never a wrong one."""

from typing import Any

import numpy as np
import pytest
from acquire_on_pc import (
    BAD_OVERSAMPLING,
    BUSY,
    HALF,
    NO_CLOCK,
    OK,
    OVERSAMPLINGS,
    TICKS,
    Acquisition,
    Block,
    taps_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def filtered(counts: Any, oversampling: int, middle: int) -> int:
    """The sample whose middle tap lies on conversion `middle`: whole numbers, rounded half up, saturated."""
    taps, shift = taps_of(oversampling)
    reach = len(taps) // 2
    part = counts[middle - reach : middle + reach + 1].astype(np.int64)
    value = (int((taps * part).sum()) + ((1 << shift) >> 1)) >> shift
    return max(-32768, min(32767, value))


def first_middle(oversampling: int) -> int:
    """The first conversion that has a whole filter's reach before it, at a group's last tap."""
    taps, _ = taps_of(oversampling)
    groups = -(-len(taps) // oversampling)  # whole groups that hold the taps
    return groups * oversampling - 1 - len(taps) // 2


def run(acquisition: Acquisition, raw: Any, oversampling: int) -> list[Block]:
    """All conversions, each half buffer taken in time."""
    found = []
    half = HALF * oversampling
    for at in range(0, len(raw), half):
        acquisition.convert(raw[at : at + half])
        acquisition.interrupt()
        found += acquisition.blocks()
    return found


def noise(count: int, seed: int = 1, high: int = 32767) -> Any:
    return np.random.default_rng(seed).integers(-high, high + 1, count)


@pytest.mark.parametrize("oversampling", OVERSAMPLINGS)
def test_samples_are_the_integer_filter(oversampling: int) -> None:
    """Samples are the integer filter bit for bit and each tick is exact."""
    raw = noise(30 * HALF * oversampling)
    acquisition = Acquisition(oversampling, first_tick=5_000_000_123, aperture_ticks=17, delay_ticks=300)
    blocks = run(acquisition, raw, oversampling)
    assert [block.first for block in blocks] == list(range(0, 200 * len(blocks), 200))
    assert (
        len(blocks)
        == (1200 - (first_middle(oversampling) + len(taps_of(oversampling)[0]) // 2) // oversampling) // 200
    )
    middle = first_middle(oversampling)
    for block in blocks:
        assert len(block.counts) == 200
        conversion = middle + block.first * oversampling
        assert block.tick == 5_000_000_123 + 17 - 300 + conversion * (TICKS // oversampling)
        wanted = [filtered(raw, oversampling, conversion + k * oversampling) for k in range(200)]
        assert block.counts.tolist() == wanted
        assert not block.overrun_before


def test_oversampling_one_passes_every_count_bit_exactly() -> None:
    raw = np.arange(-32768, 32768)[: 65_536 // HALF * HALF]
    blocks = run(Acquisition(1), raw, 1)
    got = np.concatenate([block.counts for block in blocks])
    assert np.array_equal(got, raw[: len(got)])
    assert len(got) == len(raw) // 200 * 200


@pytest.mark.parametrize("oversampling", [1, 5])
def test_twelve_bits_use_the_whole_range(oversampling: int) -> None:
    """Twelve bits use the whole range and an impulse comes out at its tick."""
    raw = np.full(20 * HALF * oversampling, 2048)
    acquisition = Acquisition(oversampling, bits=12)
    at = 7 * HALF * oversampling + (oversampling - 1) - (len(taps_of(oversampling)[0]) // 2) % oversampling
    raw[at] = 4094
    blocks = run(acquisition, raw, oversampling)
    samples = np.concatenate([block.counts for block in blocks])
    peak = int(np.argmax(samples))
    assert blocks[0].tick + peak * TICKS == 1000 + at * (TICKS // oversampling)
    if oversampling == 1:
        assert samples[peak] == (4094 - 2048) * 16
    assert samples[0] == 0


def test_the_64_bit_tick_survives_the_wrap() -> None:
    """The 64 bit tick comes from now across the wrap of the timer."""
    for first, now in ((2**33 + 50, 2**33 - 100), (2**33 - 50, 2**33 + 100), (5, 0)):
        acquisition = Acquisition(1, first_tick=first, now_tick=now)
        acquisition.convert(noise(200))
        acquisition.interrupt()
        for _ in range(4):
            acquisition.convert(noise(HALF))
            acquisition.interrupt()
        assert all(block.tick % TICKS == first % TICKS for block in acquisition.blocks())


def test_ticks_go_on_over_many_wraps() -> None:
    acquisition = Acquisition(1, first_tick=77)
    for _ in range(200):  # 200 x 0.67 s: 2.6 wraps of 51 s
        blocks = run(acquisition, noise(8000), 1)
    assert blocks[-1].first == 1_600_000 - 200
    assert blocks[-1].tick == 77 + blocks[-1].first * TICKS
    assert acquisition.counters().grid_errors == 0


def test_clipped_conversions_mark_their_samples() -> None:
    raw = np.zeros(40 * HALF)
    raw[500], raw[901] = 32767, -32768
    acquisition = Acquisition(1)
    blocks = run(acquisition, raw, 1)
    assert [block.clipped for block in blocks] == [k in (2, 4) for k in range(8)]
    assert acquisition.counters().clipped == 2


def test_a_clipped_conversion_counts_every_sample() -> None:
    oversampling = 5
    taps, _ = taps_of(oversampling)
    raw = np.full(30 * HALF * oversampling, 2048)
    at = 2003
    raw[at] = 4095
    acquisition = Acquisition(oversampling, bits=12)
    run(acquisition, raw, oversampling)
    middles = first_middle(oversampling) + np.arange(1000) * oversampling
    assert acquisition.counters().clipped == np.count_nonzero(np.abs(middles - at) <= len(taps) // 2)


@pytest.mark.parametrize("bits", [12, 16])
def test_samples_beyond_the_front_end_are_clipped(bits: int) -> None:
    linear = 28_800
    at = {400: linear - 1, 600: linear, 800: 1 - linear, 1000: -linear, 1200: -linear - 16}
    values = np.zeros(40 * HALF, np.int64)
    values[list(at)] = list(at.values())
    raw = values if bits == 16 else (values >> 4) + 2048
    acquisition = Acquisition(1, bits=bits, linear_lsb=linear, offset_lsb=50)
    blocks = run(acquisition, raw, 1)
    beyond = {place // 200 for place, value in at.items() if abs(value >> 16 - bits << 16 - bits) >= linear}
    assert beyond == {3, 5, 6} | ({4} if bits == 12 else set())  # 12 bits round down
    assert {block.first // 200 for block in blocks if block.clipped} == beyond
    assert acquisition.counters().clipped == len(beyond)


def test_a_filter_that_overshoots_saturates_and_says_clipped() -> None:
    oversampling = 4
    taps, _ = taps_of(oversampling)
    raw = np.where(taps[::-1] >= 0, 32000, -32000)  # the worst there is, within the range
    raw = np.concatenate((np.zeros(1200), np.tile(raw, 1), np.zeros(3000)))
    raw = raw[: len(raw) // (HALF * oversampling) * HALF * oversampling]
    best = 0
    for shift in range(oversampling):
        acquisition = Acquisition(oversampling)
        blocks = run(acquisition, np.concatenate((np.zeros(shift), raw[: len(raw) - shift])), oversampling)
        samples = np.concatenate([block.counts for block in blocks])
        best = max(best, int(samples.max()))
        assert acquisition.counters().clipped == np.count_nonzero(np.abs(samples.astype(int)) >= 32767)
    assert best == 32767


def test_the_offset_is_taken_off_and_saturates() -> None:
    acquisition = Acquisition(1, offset_lsb=100)
    raw = np.concatenate((np.full(100, -32700), np.full(100, 1000), np.zeros(200)))
    [block, _] = run(acquisition, raw, 1)
    assert block.counts[0] == -32768
    assert block.counts[150] == 900
    assert acquisition.counters().clipped == 100


@pytest.mark.parametrize("late_quarters", [0, 1, 2])
def test_a_slightly_late_interrupt_loses_nothing(late_quarters: int) -> None:
    oversampling = 2
    half, late = HALF * oversampling, HALF * oversampling * late_quarters // 4
    raw = noise(20 * half)
    acquisition = Acquisition(oversampling)
    acquisition.convert(raw[:late])
    blocks = []
    for at in range(late, len(raw) - half, half):
        acquisition.convert(raw[at : at + half])
        acquisition.interrupt(early_trigger=late_quarters > 0)
        blocks += acquisition.blocks()
    assert acquisition.counters().missing == 0
    assert acquisition.counters().grid_errors == 0
    assert blocks[0].counts[0] == filtered(raw, oversampling, first_middle(oversampling))


@pytest.mark.parametrize("oversampling", [1, 5])
@pytest.mark.parametrize("extra", [0, 3, 31, 39, 40, 77, 160, 200, 4000])
def test_a_late_interrupt_loses_counted_halves(oversampling: int, extra: int) -> None:
    """An interrupt too late loses whole halves counts them and the rest is right."""
    half = HALF * oversampling
    raw = noise(220 * half)
    acquisition = Acquisition(oversampling)
    blocks = run(acquisition, raw[: 10 * half], oversampling)
    at = 11 * half + extra * oversampling  # a half is full, and `extra` sample times pass
    acquisition.convert(raw[10 * half : at])
    acquisition.interrupt()
    blocks += acquisition.blocks()
    while at + half <= len(raw):
        to_full = half - at % half
        acquisition.convert(raw[at : at + to_full])
        at += to_full
        acquisition.interrupt()
        blocks += acquisition.blocks()
    check(blocks, raw, oversampling)
    counters = acquisition.counters()
    assert (counters.missing > 0) == (extra > 30)
    assert counters.grid_errors == 0
    assert counters.samples + counters.missing == acquisition.c.opq_acquire_head()
    if counters.missing:
        assert sum(block.overrun_before for block in blocks) == 1
        lost = (
            counters.missing
            - (first_middle(oversampling) + len(taps_of(oversampling)[0]) // 2) // oversampling
        )
        assert lost % HALF == 0
        assert abs(lost - extra) <= HALF


def check(blocks: list[Block], raw: Any, oversampling: int, first_tick: int = 1000) -> None:
    """Every sample is what the filter makes of the conversions around its tick; ticks and indices agree."""
    raw_ticks = TICKS // oversampling
    reach = len(taps_of(oversampling)[0]) // 2
    origin = first_tick + first_middle(oversampling) * raw_ticks
    for block in blocks:
        assert block.tick == origin + block.first * TICKS
        middle = (block.tick - first_tick) // raw_ticks
        assert middle - reach >= 0
        picked = range(0, len(block.counts), 1 if oversampling == 1 else 13)
        for k in picked:
            assert block.counts[k] == filtered(raw, oversampling, middle + k * oversampling), (block.first, k)


@settings(max_examples=150, deadline=None)
@given(
    oversampling=st.sampled_from((1, 4, 5)),
    steps=st.lists(st.tuples(st.integers(1, 400), st.booleans(), st.booleans()), min_size=1, max_size=60),
)
def test_no_interrupt_order_gives_wrong_samples(
    oversampling: int, steps: list[tuple[int, bool, bool]]
) -> None:
    raw = noise(sum(step[0] for step in steps), seed=len(steps))
    acquisition = Acquisition(oversampling)
    blocks: list[Block] = []
    at = 0
    for count, interrupt, read in steps:
        acquisition.convert(raw[at : at + count])
        at += count
        if interrupt:
            acquisition.interrupt()
        if read:
            blocks += acquisition.blocks()
    acquisition.interrupt()
    blocks += acquisition.blocks()
    check(blocks, raw, oversampling)
    counters = acquisition.counters()
    head = acquisition.c.opq_acquire_head()
    assert counters.samples + counters.missing == head
    assert counters.grid_errors == 0
    for block in blocks:
        again = acquisition.read(block.first, len(block.counts))
        forgotten = block.first < acquisition.c.opq_acquire_tail()  # more gaps than are kept
        assert np.array_equal(again, [] if forgotten else block.counts)
    delivered = sum(len(block.counts) for block in blocks)
    assert counters.samples - delivered < 200


def test_a_stopped_converter_leaves_a_gap() -> None:
    """A converter that stopped and runs again leaves a gap as long as the time."""
    oversampling = 5
    raw = noise(10 * HALF * oversampling)
    acquisition = Acquisition(oversampling)
    before = run(acquisition, raw, oversampling)
    acquisition.convert(raw[:70])
    acquisition.restart(ticks=10 * TICKS + 33)
    after = run(acquisition, raw, oversampling)
    first = after[0]
    assert first.overrun_before or after[1].overrun_before
    gap_first = next(block for block in (*before, *after) if block.overrun_before)
    restart_tick = 1000 + (len(raw) + 70 - 1) * 1400 + 10 * TICKS + 33
    assert gap_first.tick == restart_tick + first_middle(oversampling) * 1400
    index_at_tick = (gap_first.tick - before[0].tick) / TICKS
    assert abs(gap_first.first - index_at_tick) <= 0.5
    assert gap_first.counts[0] == filtered(raw, oversampling, first_middle(oversampling))
    counters = acquisition.counters()
    assert counters.overruns == 1
    assert counters.samples + counters.missing == acquisition.c.opq_acquire_head()


def test_a_trigger_off_the_grid_is_counted() -> None:
    acquisition = Acquisition(1)
    acquisition.convert(noise(HALF))
    acquisition.interrupt(off_grid_ticks=3)
    assert acquisition.counters().grid_errors == 1
    assert acquisition.counters().samples == HALF


def test_a_start_that_cannot_be_says_why() -> None:
    assert Acquisition(3).status == BAD_OVERSAMPLING
    assert Acquisition(16).status == BAD_OVERSAMPLING
    assert Acquisition(1, fails=True).status == NO_CLOCK
    acquisition = Acquisition(1)
    assert acquisition.status == OK
    assert acquisition.c.host_start(1, 0, 0, 16, 0, 0, 0, 0, 0) == BUSY
    acquisition.c.opq_acquire_stop()
    assert acquisition.blocks() == []
    acquisition.interrupt()  # a late one finds nothing running
    assert Acquisition(2).status == OK


def test_each_interrupt_wakes_the_pipeline() -> None:
    acquisition = Acquisition(1)
    before = acquisition.c.host_wakes()
    run(acquisition, noise(10 * HALF), 1)
    assert acquisition.c.host_wakes() == before + 10
