"""The measured share of a Box by the gateway's counters, with its own clock."""

import pytest

from opq_gateway.counters import BoxCounters
from opq_gateway.measured_shares import NOTE_S, MeasuredShares
from opq_proto.time_units import DAY_S, HOUR_S


def test_a_share_is_of_hour_and_day() -> None:
    """Measured and missing samples of the last hour and the last day."""
    counters, now_s = BoxCounters(), [0.0]
    shares = MeasuredShares({"1": counters}, lambda: now_s[0])
    assert shares.share("1", "hour") is None

    def minutes(count: int, measured: int, missing: int) -> None:
        for _ in range(count):
            counters.add("samples", measured)
            counters.add("missing_samples", missing)
            now_s[0] += NOTE_S
            shares.note()

    minutes(30, 720_000, 0)
    assert shares.shares("hour") == {"1": 1.0}
    minutes(60, 72_000, 648_000)
    assert shares.share("1", "hour") == pytest.approx(0.1)
    assert shares.share("1", "day") == pytest.approx((30 + 6) / 90)
    minutes(60, 720_000, 0)
    assert shares.share("1", "hour") == pytest.approx(1.0) and now_s[0] > 2 * HOUR_S
    minutes(1440, 720_000, 0)
    assert shares.share("1", "day") == 1.0 and now_s[0] > DAY_S


def test_a_young_gateway_counts_from_its_start() -> None:
    counters = BoxCounters()
    shares = MeasuredShares({"1": counters}, lambda: 0.0)
    counters.add("samples", 900)
    counters.add("unmeasured_samples", 100)
    assert shares.share("1", "hour") == 0.9
