"""Back-off: waits grow with failures in a row, and begin again after a success or a steady run."""

import pytest

from opq_proto.kit.backoff import Backoff, doubling


def test_waits_follow_the_table() -> None:
    waits = Backoff((0.1, 0.5, 2.0))
    assert [waits.record_failure() for _ in range(5)] == [0.1, 0.5, 2.0, 2.0, 2.0]
    assert waits.failures == 5


def test_a_success_begins_a_new_row() -> None:
    waits = Backoff((1.0, 2.0))
    waits.record_failure()
    waits.record_success()
    assert (waits.failures, waits.record_failure()) == (0, 1.0)


def test_a_long_attempt_restarts_the_waits() -> None:
    """An attempt that held for long begins a new row when it fails."""
    waits = Backoff((1.0, 2.0, 4.0), steady_s=60.0)
    assert [waits.record_failure(ran_s) for ran_s in (0, 60.0, 60.1)] == [1.0, 2.0, 1.0]


def test_jitter_shortens_waits_up_to_its_share() -> None:
    drawn = iter((0.0, 0.5, 1.0))
    waits = Backoff((10.0,), jitter=0.2, random_share=lambda: next(drawn))
    assert [waits.record_failure() for _ in range(3)] == pytest.approx([10.0, 9.0, 8.0])


def test_doubling_ends_at_the_longest_wait() -> None:
    assert doubling(1.0, 60.0) == (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
    assert doubling(2.0, 2.0) == (2.0,)
    assert doubling(1.0, 100.0, 10.0) == (1.0, 10.0, 100.0)


@pytest.mark.parametrize("wrong", [(0.0, 1.0, 2.0), (2.0, 1.0, 2.0), (1.0, 2.0, 1.0)])
def test_waits_that_cannot_grow_are_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="want 0 < first <= longest, factor > 1"):
        doubling(*wrong)
    with pytest.raises(ValueError, match="at least one wait"):
        Backoff(())
