"""Channels: bounded, what they drop is counted, no call waits for ever."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opq_proto.kit.channel import Channel


def test_a_full_live_channel_drops_the_oldest() -> None:
    channel: Channel[int] = Channel("live", 2)
    assert [channel.offer(n) for n in range(4)] == [True] * 4
    assert channel.take_all() == [2, 3]
    assert (channel.offered, channel.dropped, channel.high_water) == (4, 2, 2)


def test_a_full_refusing_channel_keeps_what_it_has() -> None:
    channel: Channel[int] = Channel("queue", 2, on_full="refuse")
    assert [channel.offer(n) for n in range(3)] == [True, True, False]
    assert channel.take_all() == [0, 1]
    assert channel.dropped == 1


def test_reading_an_empty_channel_times_out() -> None:
    channel: Channel[int] = Channel("empty", 1)
    start = time.monotonic()
    assert channel.take_item(0.05) is None
    assert 0.04 < time.monotonic() - start < 30.0
    assert channel.take_all() == []


def test_a_waiter_gets_what_another_thread_offers() -> None:
    channel: Channel[str] = Channel("threads", 1)
    timer = threading.Timer(0.05, channel.offer, ("late",))
    timer.start()
    assert channel.take_item(60.0) == "late"
    timer.join()


def test_closing_wakes_waiters_and_keeps_old_items() -> None:
    channel: Channel[int] = Channel("closing", 3)
    channel.offer(1)
    channel.close()
    assert channel.closed
    assert not channel.offer(2)
    assert channel.take_item() == 1
    start = time.monotonic()
    assert channel.take_item(60.0) is None
    assert time.monotonic() - start < 30.0
    assert channel.dropped == 1


def test_take_all_is_limited_and_oldest_first() -> None:
    channel: Channel[int] = Channel("some", 10)
    for n in range(5):
        channel.offer(n)
    assert channel.take_all(limit=2) == [0, 1]
    assert len(channel) == 3


def test_nonsense_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="limit is 0"):
        Channel("none", 0)
    with pytest.raises(ValueError, match="on_full"):
        Channel("odd", 1, on_full="wait")  # type: ignore[arg-type]


@given(limit=st.integers(1, 5), steps=st.lists(st.integers(0, 3)))
def test_nothing_is_lost_uncounted(limit: int, steps: list[int]) -> None:
    for on_full in ("drop_oldest", "refuse"):
        channel: Channel[int] = Channel("any", limit, on_full)  # type: ignore[arg-type]
        taken: list[int] = []
        for number, takes in enumerate(steps):
            channel.offer(number)
            assert len(channel) <= limit
            taken += [item for item in (channel.take_item() for _ in range(takes)) if item is not None]
        taken += channel.take_all()
        assert taken == sorted(taken)
        assert len(taken) + channel.dropped == channel.offered == len(steps)


def test_many_threads_lose_nothing_uncounted() -> None:
    channel: Channel[int] = Channel("busy", 50)
    taken: list[int] = []
    senders = [threading.Thread(target=lambda: [channel.offer(n) for n in range(2000)]) for _ in range(4)]

    def read() -> None:
        while (item := channel.take_item(60)) is not None:
            taken.append(item)

    reader = threading.Thread(target=read)
    for thread in (reader, *senders):
        thread.start()
    for thread in senders:
        thread.join(240)
    channel.close()  # the reader takes what is left, and ends
    reader.join(240)
    assert len(taken) + channel.dropped == channel.offered == 8000
