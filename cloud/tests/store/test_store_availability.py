"""The measured share of the last hour and day: pure, and as View reads it from a store."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.trends.availability import CoveredSpan, measured_share
from opq_cloud.view.pages.visible.availability import (
    AvailabilityReader,
    BoxAvailability,
    percent_words,
    together,
    tone_of,
)
from opq_proto.measurement.continuity import CLOCK_SET
from opq_proto.messages import Measurement, Metric, Trend

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
NOW_MS = 1_795_000_040_000
"""20 s after a whole minute."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    with closing(open_store(None, tmp_path)) as opened:
        yield opened


def minutes(count: int, covered_ms: int = MINUTE_MS, until_ms: int = NOW_MS) -> list[Trend]:
    """The last whole minutes."""
    last_ms = until_ms // MINUTE_MS * MINUTE_MS
    starts = range(last_ms - count * MINUTE_MS, last_ms, MINUTE_MS)
    return [
        Trend("1", start_ms, {"rms": (119.0, 121.0, 120.0)}, covered_ms=covered_ms) for start_ms in starts
    ]


def seconds(first_ms: int, count: int) -> list[Measurement]:
    return [
        Measurement(
            "1",
            first_ms + (k + 1) * 1000,
            {"rms": Metric(119.0, 121.0, 120.0)},
            (first_ms + k * 1000) * 10**6,
            (first_ms + (k + 1) * 1000) * 10**6,
            sequence=first_ms // 1000 + k,
        )
        for k in range(count)
    ]


def read(store: CloudStore, now_ms: int = NOW_MS) -> BoxAvailability:
    return AvailabilityReader(store, lambda: now_ms * 10**6).of(("1",))["1"]


def test_a_share_is_at_most_one() -> None:
    """A share is covered over expected and never more than one."""
    spans = [CoveredSpan(0, 60_000, 60_000), CoveredSpan(60_000, 120_000, 30_000)]
    assert measured_share(spans, 0, 120_000, 0) == 0.75
    assert measured_share(spans, 0, 240_000, 0) == 0.375  # the rest is a hole
    assert measured_share(spans, 90_000, 120_000, 0) == 0.5  # half of a row has half of its time
    assert measured_share([CoveredSpan(0, 60_000, 61_000)], 0, 60_000, 0) == 1.0


def test_time_before_the_first_measurement_is_not_missing() -> None:
    assert measured_share([CoveredSpan(60_000, 120_000, 60_000)], 0, 120_000, 60_000) == 1.0
    assert measured_share([], 0, 120_000, 120_000) is None


def test_time_the_axis_jumped_is_not_missing() -> None:
    jumped = [CoveredSpan(0, 60_000, 60_000), CoveredSpan(120_000, 180_000, 60_000, skipped_ms=60_000)]
    assert measured_share(jumped, 0, 180_000, 0) == 1.0
    from_1970 = [CoveredSpan(120_000, 180_000, 60_000, skipped_ms=1e12)]
    assert measured_share(from_1970, 0, 180_000, 0) == 1.0


def test_a_starved_box_has_its_minutes_share(store: CloudStore) -> None:
    store.put_trends(minutes(40, covered_ms=9600))
    found = read(store)
    assert found.hour == pytest.approx(0.16, abs=0.01) and found.day == found.hour
    assert [tone for *_, tone in found.shown] == ["bad", "bad"]


def test_a_new_box_counts_from_its_first_sample(
    store: CloudStore,
) -> None:
    """A new Box without a loss has all and its first minute counts from its first sample."""
    first, *others = minutes(8)
    half = Trend("1", first.start_ms, first.metrics, covered_ms=21_000)
    store.put_trends([half, *others])
    store.append_measurements(seconds(NOW_MS // MINUTE_MS * MINUTE_MS, 19))
    assert read(store) == BoxAvailability(1.0, 1.0, NOW_MS // MINUTE_MS * MINUTE_MS + 19_000)


def test_a_gap_in_the_first_minute_counts(store: CloudStore) -> None:
    first, *others = minutes(2)
    store.put_trends([Trend("1", first.start_ms, first.metrics, covered_ms=20_000), *others])
    store.append_measurements(seconds(first.start_ms + 10_000, 5) + seconds(first.start_ms + 45_000, 15))
    assert read(store).hour == pytest.approx(80 / 110, abs=0.001)


def test_measurements_count_before_their_minute_is_stored(store: CloudStore) -> None:
    store.append_measurements(seconds(NOW_MS - 12_000, 5) + seconds(NOW_MS - 4000, 3))
    assert read(store).hour == pytest.approx(8 / 11, abs=0.001)


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("missing", [range(0), range(3, 8), range(1, 2)], ids=["none", "five", "the second"])
def test_time_before_view_started_comes_from_the_store(
    store: CloudStore, numbered: bool, missing: range
) -> None:
    """View begins with the newest Measurement of before its start, and does not hear what comes meanwhile."""
    store.put_trends(minutes(10))
    rows = seconds(NOW_MS // MINUTE_MS * MINUTE_MS - 1000, 20)
    rows = rows if numbered else [replace(row, sequence=None) for row in rows]
    store.append_measurements(rows)
    heard = [row for n, row in enumerate(rows) if n not in missing]
    reader = AvailabilityReader(store, lambda: NOW_MS * 10**6, recent=lambda box_id: heard)
    assert reader.of(("1",))["1"].hour == 1.0


def test_a_silent_hour_is_missing(store: CloudStore) -> None:
    """A Box that was never heard has no share."""
    assert read(store) == BoxAvailability(None, None)
    store.put_trends(minutes(60, until_ms=NOW_MS - 2 * HOUR_MS))
    found = read(store)
    assert found.hour == 0.0 and found.day == pytest.approx(1 / 3, abs=0.01)


def test_a_clock_set_forward_makes_no_gap(store: CloudStore) -> None:
    old, new = minutes(20, until_ms=NOW_MS - HOUR_MS // 2), minutes(10)
    new[0].metrics[CLOCK_SET] = (1200.0, 1200.0, 1200.0)
    store.put_trends([*old, *new])
    store.append_measurements(seconds(NOW_MS // MINUTE_MS * MINUTE_MS, 19))
    assert read(store).hour == pytest.approx(1.0, abs=0.01)


def test_shares_are_rounded_down_and_counted_by_limit() -> None:
    """A share is rounded down and several Boxes are counted by limit."""
    assert percent_words(0.98999).startswith("98.9") and percent_words(None) == "\u2013"
    assert [tone_of(each) for each in (None, 1.0, 0.99, 0.9899, 0.9, 0.8999)] == [
        "",
        "",
        "",
        "low",
        "low",
        "bad",
    ]
    found = together([BoxAvailability(1.0), BoxAvailability(0.95), BoxAvailability(0.1), BoxAvailability()])
    assert (found.low, found.bad, found.tone) == (1, 1, "bad") and "1 Box less than 90" in found.text
    assert "less" not in together([BoxAvailability(1.0)]).text


def test_figures_are_kept_for_a_while(store: CloudStore) -> None:
    now_s, now_ms = [time.monotonic()], [NOW_MS]
    reader = AvailabilityReader(store, lambda: now_ms[0] * 10**6, lambda: now_s[0])
    store.put_trends(minutes(10))
    before = reader.of(("1",))["1"]
    now_ms[0] += 10 * MINUTE_MS  # and it was silent
    assert reader.of(("1",))["1"] == before and before.shares == (("hour", 1.0), ("day", 1.0))
    assert before.until_ms == minutes(10)[-1].start_ms + MINUTE_MS
    now_s[0] += 30
    assert reader.of(("1",))["1"].hour == pytest.approx(0.49, abs=0.01)
    assert reader.first_heard_ms("1") == minutes(10)[0].start_ms
    assert reader.first_heard_ms("2") is None


def test_figures_for_former_owners_are_forgotten(store: CloudStore) -> None:
    now_s = [0.0]
    reader = AvailabilityReader(store, lambda: NOW_MS * 10**6, lambda: now_s[0])
    for owner in range(9):
        reader.of(("1",), {"1": float(NOW_MS - owner * MINUTE_MS)})
    assert len(reader._found) == 9
    now_s[0] = 601.0
    reader.of(("1",), {"1": float(NOW_MS)})
    assert len(reader._found) == 1


@pytest.mark.parametrize("hours", [False, True])
def test_a_new_owner_sees_shares_since_the_claim(store: CloudStore, hours: bool) -> None:
    """The Box measured a tenth for its former owner and all for the new one, who sees 100 %."""
    minute_ms, others = NOW_MS // MINUTE_MS * MINUTE_MS, 300 if hours else 30
    whole = 150 if hours else 10
    claim_ms = minute_ms - whole * MINUTE_MS - 30_000.0
    store.put_trends(minutes(others + whole, covered_ms=MINUTE_MS // 10)[:others])
    store.put_trends(minutes(whole))
    store.append_measurements(seconds(minute_ms, 19))
    reader = AvailabilityReader(store, lambda: NOW_MS * 10**6)
    everything, since = reader.of(("1",))["1"], reader.of(("1",), {"1": claim_ms})["1"]
    assert since == BoxAvailability(1.0, 1.0, minute_ms + 19_000.0)
    assert everything.day is not None and everything.day < 0.9 and everything == reader.of(("1",))["1"]
    silent = reader.of(("1",), {"1": float(NOW_MS)})["1"]
    assert silent.shares == (("hour", None), ("day", None)), "nothing was measured since"
