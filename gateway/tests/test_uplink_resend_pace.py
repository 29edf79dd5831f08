"""How fast a Box sends again: it yields where the cloud loses, and comes back when it does not. Pure."""

import pytest

from opq_gateway.uplink.resend_pace import FREE_PER_S, MIN_PER_S, ResendPace

ACKNOWLEDGED_S = 5.0


def sent_in(pace: ResendPace, first_s: float, seconds: float, lost: int) -> int:
    """It has always something to send, asks each 50 ms, and hears each 5 s that so many were lost."""
    total = 0
    for step in range(1, round(seconds / 0.05) + 1):
        now_s = first_s + step * 0.05
        count = pace.allowed(25, now_s)
        pace.note_sent(count)
        total += count
        if step % round(ACKNOWLEDGED_S / 0.05) == 0:
            pace.note_acknowledged(lost, now_s)
    return total


def test_while_nothing_is_lost_there_is_no_limit() -> None:
    pace = ResendPace()
    assert sent_in(pace, 0.0, 60.0, lost=0) == 60 * 25 / 0.05 and pace.per_s is None


def test_total_loss_nearly_stops_resending() -> None:
    pace = ResendPace()
    sent_in(pace, 0.0, 60.0, lost=3)
    assert pace.per_s is not None and pace.per_s < 2 * MIN_PER_S
    assert 1 <= sent_in(pace, 60.0, 600.0, lost=3) <= 20


def test_new_losses_slow_resending() -> None:
    pace = ResendPace()
    pace.note_acknowledged(1, 5.0)  # it had sent nothing again
    assert pace.per_s == FREE_PER_S / 4
    for number in range(2, 12):
        pace.note_acknowledged(1, 5.0 * number)
    assert pace.per_s == MIN_PER_S
    held = sent_in(pace, 55.0, 100.0, lost=0)
    assert 50 <= held <= 1500, "it comes back step by step"
    sent_in(pace, 155.0, 50.0, lost=0)
    assert pace.per_s is None


def test_a_loss_in_pieces_lowers_the_rate_once() -> None:
    """A restart of the cloud: what was sent meanwhile is found lost bit by bit, as it gets older."""
    pace = ResendPace()
    for number in range(5):
        pace.note_acknowledged(2, 20.0 + 2 * number, 10.0 + 2 * number)
        pace.note_sent(pace.allowed(2, 20.5 + 2 * number))
    assert pace.per_s == FREE_PER_S / 4
    pace.note_acknowledged(1, 31.0, 20.1)  # sent after the rate was lowered
    assert pace.per_s is not None and pace.per_s < 1.0


@pytest.mark.parametrize("up_s", [30.0, 1e6])
def test_the_first_loss_is_independent_of_uptime(up_s: float) -> None:
    pace = ResendPace()
    pace.note_sent(1000)
    pace.note_acknowledged(3, up_s)
    assert pace.per_s == FREE_PER_S / 4


def test_unconnected_time_makes_no_rate() -> None:
    pace = ResendPace()
    pace.note_acknowledged(0, 30.0)
    pace.note_connected(36_000.0)  # all of it waits
    sent = sent_in(pace, 36_000.0, 4.95, lost=0)
    pace.note_acknowledged(3, 36_005.0)
    assert pace.per_s == pytest.approx(sent / 5.0 / 4, rel=0.01)


def test_boxes_that_lost_together_do_not_send_together() -> None:
    paces = [ResendPace() for _ in range(200)]
    for pace in paces:
        for number in range(1, 12):
            pace.note_acknowledged(1, 5.0 * number)
    begun = [sum(pace.allowed(1, at_s) for pace in paces) for at_s in (84.0, 100.0, 116.0)]
    assert begun[0] == 0 and 50 < begun[1] < 150 and begun[2] == 200


@pytest.mark.parametrize("per_second", [1, 10])
def test_it_settles_near_what_the_cloud_can_take(per_second: int) -> None:
    pace, total = ResendPace(), 0
    for number in range(1, 400):
        sent = sent_in(pace, 5.0 * (number - 1), 5.0 - 0.05, lost=0)
        pace.note_acknowledged(max(0, sent - 5 * per_second), 5.0 * number)
        total += min(sent, 5 * per_second) if number > 20 else 0
    assert 0.3 < total / (380 * 5 * per_second) <= 1.0
