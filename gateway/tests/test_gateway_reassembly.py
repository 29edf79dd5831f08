"""Reassembly: order, Resend, time-outs, duplicates; the answers are found by hand."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_gateway.blocks import SampleBlock
from opq_gateway.ring.lost import NOT_RESENT, OVERRUN
from opq_gateway.serial_side.reassembly import (
    MAX_REQUESTED_SAMPLES,
    Reassembly,
    ResendRequest,
)
from opq_proto.messages import Gap, TimeSource


def block(first: int, count: int = 200, overrun: bool = False) -> SampleBlock:
    counts = np.arange(first, first + count).astype(np.int16)
    t_ns = 10**18 + first * 10**12 // 12_000_000
    return SampleBlock(7, 0.01, first, t_ns, 1000, TimeSource.NTP, 12_000_000, counts, overrun)


def spans(out: list[object]) -> list[tuple[int, int]]:
    return [(b.first_sample, b.end_sample) for b in out if isinstance(b, SampleBlock)]


def test_blocks_in_order_pass_at_once() -> None:
    line = Reassembly(120_000)
    assert spans(line.accept_block(block(400))) == [(400, 600)]
    assert spans(line.accept_block(block(600))) == [(600, 800)]
    assert line.expected == 800


def test_a_hole_is_requested_at_once() -> None:
    line = Reassembly(120_000)
    line.accept_block(block(0))
    assert line.accept_block(block(600)) == [ResendRequest(200, 400)]
    assert line.accept_block(block(800)) == []
    assert spans(line.accept_block(block(200))) == [(200, 400)]
    assert spans(line.accept_block(block(400))) == [(400, 600), (600, 800), (800, 1000)]
    assert line.recovered == 400


def test_filling_a_hole_requests_nothing_again() -> None:
    line = Reassembly(120_000)
    line.accept_block(block(0))
    line.accept_block(block(2000))
    for k in range(1, 9):
        out = line.accept_block(block(200 * k))
        assert not [item for item in out if isinstance(item, ResendRequest)]
    assert spans(line.accept_block(block(1800))) == [(1800, 2000), (2000, 2200)]


def live(line: Reassembly, first: int, blocks: int) -> list[object]:
    """So many blocks of 200 from `first` on: what comes out while they arrive."""
    out: list[object] = []
    for k in range(blocks):
        out += line.accept_block(block(first + 200 * k))
    return out


def test_an_unanswered_request_is_repeated_while_useful() -> None:
    line = Reassembly(12_000)
    line.accept_block(block(0))
    assert line.accept_block(block(400)) == [ResendRequest(200, 200)]
    assert live(line, 600, 8) == []
    assert live(line, 2200, 50) == [ResendRequest(200, 200)] * 6
    out = live(line, 12_200, 2)
    assert out[0] == Gap(200, 200, NOT_RESENT)
    assert spans(out)[0] == (400, 600) and line.waiting == 0


def test_abandoning_depends_on_the_boxs_samples() -> None:
    """An answer is still good if as many samples as the ring holds have come meanwhile."""
    line = Reassembly(38_400)
    line.accept_block(block(0))
    assert line.accept_block(block(400)) == [ResendRequest(200, 200)]
    out = live(line, 600, 191)
    assert {type(item) for item in out} == {ResendRequest}
    assert spans(line.accept_block(block(200)))[0] == (200, 400)
    assert line.waiting == 0 and line.recovered == 200


def test_an_announced_gap_is_abandoned_sooner() -> None:
    line = Reassembly(120_000)
    line.accept_block(block(0))
    line.accept_block(block(400, overrun=True))
    out = live(line, 600, 36)
    assert [item for item in out if isinstance(item, Gap)] == [Gap(200, 200, OVERRUN)]


def test_an_arriving_block_proves_earlier_losses() -> None:
    line = Reassembly(120_000)
    line.accept_block(block(0))
    assert line.accept_block(block(400)) == [ResendRequest(200, 200)]
    assert line.accept_block(block(800)) == [ResendRequest(600, 200)]
    assert line.accept_block(block(600)) == [ResendRequest(200, 200)]  # at once, not after ASK_AGAIN_SAMPLES
    assert spans(line.accept_block(block(200))) == [(200, 400), (400, 600), (600, 800), (800, 1000)]


def test_a_mute_box_is_waited_for_once() -> None:
    """Every tenth block is lost for a minute and none comes again: what is behind is half a second late."""
    line = Reassembly(38_400)
    out: list[object] = []
    late_s = []
    for k in range(3600):
        if k % 10 != 5:
            out += line.accept_block(block(200 * k))
        if line.expected is not None:
            late_s.append((200 * k - line.expected) / 12_000)
    gaps = [item for item in out if isinstance(item, Gap)]
    assert len(gaps) >= 350 and all(gap.samples == 200 for gap in gaps)
    assert 3.0 < max(late_s[:600]) < 3.5 and max(late_s[600:]) < 1.0


def test_a_long_outage_is_requested_oldest_first() -> None:
    line = Reassembly(120_000)
    line.accept_block(block(0))
    asked = [item for item in line.accept_block(block(96_000)) if isinstance(item, ResendRequest)]
    assert asked == [ResendRequest(200, MAX_REQUESTED_SAMPLES)]
    at = 200
    while at < 96_000:
        for item in line.accept_block(block(at)):
            if isinstance(item, ResendRequest):
                assert item.first_sample == asked[-1].first_sample + asked[-1].count
                asked.append(item)
        at += 200
    assert line.waiting == 0 and sum(ask.count for ask in asked) == 96_000 - 200


def test_expired_samples_are_abandoned_at_once() -> None:
    line = Reassembly(1000)
    line.accept_block(block(0))
    assert line.accept_block(block(5000)) == [ResendRequest(4000, 1000)]
    out = list(itertools.chain(*(line.accept_block(block(at)) for at in range(4000, 5000, 200))))
    assert out[0] == Gap(200, 3800, NOT_RESENT)
    assert spans(out)[0] == (4000, 4200)


def test_what_comes_twice_is_dropped_and_counted() -> None:
    line = Reassembly(120_000)
    line.accept_block(block(0))
    assert line.accept_block(block(0)) == []
    assert spans(line.accept_block(block(100))) == [(200, 300)]
    assert line.duplicates == 300


def test_only_held_samples_are_requested() -> None:
    line = Reassembly(1000)
    line.accept_block(block(0))
    assert line.accept_block(block(5000)) == [ResendRequest(4000, 1000)]


def test_a_restarted_gateway_requests_missed_samples() -> None:
    line = Reassembly(120_000)
    line.expect(1000)
    assert line.accept_block(block(2000)) == [ResendRequest(1000, 1000)]


def test_flush_gives_up_all_holes() -> None:
    line = Reassembly(120_000)
    line.accept_block(block(0))
    line.accept_block(block(400))
    line.accept_block(block(800))
    out = line.flush()
    assert [g.first_sample for g in out if isinstance(g, Gap)] == [200, 600]
    assert spans(out) == [(400, 600), (800, 1000)]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_sample_comes_once_or_in_a_gap(data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, 4000), min_size=1, max_size=40)) | {0})
    blocks = [block(a, b - a) for a, b in itertools.pairwise(cuts)]
    extra = data.draw(st.lists(st.tuples(st.integers(0, 3999), st.integers(1, 300)), max_size=10))
    sent = blocks + [block(first, count) for first, count in extra]
    order = data.draw(st.permutations(sent)) if sent else []
    line = Reassembly(data.draw(st.sampled_from([1000, 120_000])))
    line.expect(0)
    out = []
    for item in order:
        out += line.accept_block(item)
    out += line.flush()
    position = 0
    for item in out:
        if isinstance(item, Gap):
            assert item.first_sample == position and item.samples > 0
            position += item.samples
        elif isinstance(item, SampleBlock):
            assert item.first_sample == position
            assert np.array_equal(item.counts, np.arange(position, item.end_sample).astype(np.int16))
            position = item.end_sample
    assert line.waiting == 0
