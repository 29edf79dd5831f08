"""Rate limits: one line per matter and period, tokens per key; a flood of keys has an end."""

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog, TokenBuckets


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_repeated_log_is_counted_per_period() -> None:
    clock = Clock()
    with capture_logs() as lines:
        limited = RateLimitedLog(log.get(), 10.0, clock)
        for clock.now_s in (0.0, 1.0, 9.9, 10.0, 10.1):
            limited.warning("frame.malformed", bytes=3)
    assert [(line["event"], line.get("count"), line["bytes"]) for line in lines] == [
        ("frame.malformed", None, 3),
        ("frame.malformed", 3, 3),
    ]


def test_events_and_keys_have_periods_of_their_own() -> None:
    limited = RateLimitedLog(log.get(), 10.0, Clock())
    with capture_logs() as lines:
        assert limited.info("box.hello", key=1)
        assert limited.info("box.hello", key=2)
        assert limited.error("box.gone", key=1)
        assert not limited.debug("box.gone", key=1)
    assert [line["log_level"] for line in lines] == ["info", "info", "error"]


def test_beyond_the_most_keys_strangers_share_one_entry() -> None:
    clock = Clock()
    limited = RateLimitedLog(log.get(), 10.0, clock, most_keys=3)
    assert [limited.due(key) for key in range(6)] == [1, 1, 1, 1, 0, 0]
    clock.now_s = 20.0
    assert limited.due("a new one") == 1  # old ones made room


def test_a_key_spends_its_burst() -> None:
    clock = Clock()
    buckets = TokenBuckets(2, 0.5, monotonic_s=clock)
    assert [buckets.spend("a") for _ in range(3)] == [True, True, False]
    assert buckets.spend("b")
    clock.now_s = 2.0
    assert [buckets.spend("a") for _ in range(2)] == [True, False]
    clock.now_s = 1000.0
    assert buckets.left("a") == 2.0


def test_a_returned_token_can_be_spent() -> None:
    buckets = TokenBuckets(1, 0.001, monotonic_s=Clock())
    assert buckets.spend("a")
    buckets.give_back("a")
    buckets.give_back("unknown")
    assert buckets.spend("a")


def test_the_key_unseen_for_longest_is_forgotten() -> None:
    buckets = TokenBuckets(1, 0.001, most_keys=2, monotonic_s=Clock())
    for key in ("a", "b", "a", "c"):
        buckets.spend(key)
    assert [buckets.left(key) for key in ("a", "b", "c")] == [0.0, 1.0, 0.0]


@given(st.lists(st.floats(0, 5), min_size=1, max_size=100))
def test_spending_is_within_burst_and_rate(pauses_s: list[float]) -> None:
    clock = Clock()
    buckets, spent = TokenBuckets(3, 0.7, monotonic_s=clock), 0
    for pause_s in pauses_s:
        clock.now_s += pause_s
        spent += buckets.spend("x")
        assert spent <= 3 + 0.7 * clock.now_s + 1e-6
