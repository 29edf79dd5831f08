"""Tables of dips and swells, SARFI and the indices of supply and frequency, by counting and closed form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_measure.standards.event_tables import (
    EN50160_DIPS,
    EN50160_SWELLS,
    UNIPEDE_DIPS,
    SiteEvent,
    ieee1159_names,
    in_one_minute,
    sarfi_of,
    table_of,
)
from opq_measure.standards.indices import (
    FrequencyCourse,
    fleet_supply,
    grid_frequency,
    supply_of,
    weighted_median,
)

S = 10**9


def event(residual: float, seconds: float | None, at_s: float = 0.0) -> SiteEvent:
    kind = "swell" if residual > 100 else "interruption" if residual < 10 else "dip"
    return SiteEvent(kind, round(at_s * S), seconds, residual)


def test_each_dip_is_in_its_cell() -> None:
    """A dip at a limit is in the milder one."""
    dips = [
        event(85, 0.1),
        event(80, 0.2),
        event(79.9, 0.2),
        event(70, 0.5),
        event(40, 1.0),
        event(5, 60.0),
        event(0, 61.0),
        event(60, None),
    ]
    assert table_of(dips, EN50160_DIPS) == (
        (2, 0, 0, 0, 0, 0, 0),
        (1, 1, 0, 0, 0, 0, 0),
        (0, 0, 1, 0, 0, 0, 1),
        (0, 0, 0, 0, 1, 0, 0),
        (0, 0, 0, 0, 0, 1, 0),
    )
    assert EN50160_DIPS.row_words[0] == "u ≥ 80 %" and EN50160_DIPS.row_words[-1] == "u < 5 %"
    assert EN50160_DIPS.column_words[0] == "t ≤ 200 ms" and EN50160_DIPS.column_words[-2:] == (
        "t > 60 s",
        "not ended",
    )


def test_swells_have_a_table_of_their_own() -> None:
    swells = [event(115, 0.3), event(120, 2.0), event(130, 10.0), event(50, 0.3)]
    assert table_of(swells, EN50160_SWELLS) == ((1, 0, 0, 0, 0), (0, 1, 1, 0, 0))
    assert EN50160_SWELLS.row_words == ("u < 120 %", "u ≥ 120 %")


events_ = st.lists(
    st.builds(
        event,
        st.floats(0, 89.9) | st.floats(110.1, 200),
        st.none() | st.floats(0.001, 1e5),
        st.floats(0, 600_000),
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(events_)
def test_the_cells_sum_to_all_events(events: list[SiteEvent]) -> None:
    dips = sum(each.kind != "swell" for each in events)
    for form, count in ((EN50160_DIPS, dips), (UNIPEDE_DIPS, dips), (EN50160_SWELLS, len(events) - dips)):
        assert sum(map(sum, table_of(events, form))) == count
    assert sum(ieee1159_names(events, 50.0).values()) == len(events)


@settings(max_examples=100, deadline=None)
@given(events_)
def test_aggregated_events_begin_a_minute_apart(events: list[SiteEvent]) -> None:
    found = in_one_minute(events)
    groups = 0
    for swells in (False, True):
        first = -math.inf
        for start in sorted(each.start_ns for each in events if (each.kind == "swell") == swells):
            if start - first >= 60 * S:
                groups, first = groups + 1, start
    assert len(found) == groups and set(found) <= set(events)


def test_sarfi_counts_reclosing_once_and_no_long_event() -> None:
    events = [
        event(60, 0.1, 0),
        event(40, 0.1, 30),
        event(85, 0.1, 100),
        event(0, 600, 1000),
        event(125, 0.2, 2000),
    ]
    found = sarfi_of(events)
    assert dict(found.beyond) == {140: 0, 120: 1, 110: 1, 90: 2, 80: 1, 70: 1, 50: 1, 10: 0}
    assert (found.itic, found.semi_f47) == (2, 1)  # 40 % for 100 ms and 125 %; F47 wants 50 % to 200 ms


def test_names_of_ieee_1159() -> None:
    assert ieee1159_names([event(60, 0.1), event(60, 1.0), event(5, 90.0), event(60, None)], 50.0) == {
        "instantaneous sag": 1,
        "momentary sag": 1,
        "not ended": 1,
        "sustained interruption": 1,
    }


def test_supply_counts_what_lies_within_the_span_once() -> None:
    week = 0, 1000 * S
    found = supply_of(
        [
            (-100 * S, 50 * S),
            (100 * S, 110 * S),
            (200 * S, 300 * S),
            (250 * S, 400 * S),
            (950 * S, None),
            (2000 * S, 3000 * S),
        ],
        *week,
        sustained_s=30.0,
    )
    assert (found.sustained, found.earlier, found.short) == (3, 1, 1)
    assert found.minutes == pytest.approx((50 + 200 + 50) / 60)
    assert found.supplied_percent == pytest.approx(70.0)
    fleet = fleet_supply([found, supply_of([], *week)])
    assert fleet is not None
    assert (fleet.interruptions_per_box, fleet.supplied_percent) == (1.5, pytest.approx(85.0))
    half = supply_of([(200 * S, 300 * S)], *week, sustained_s=30.0, supplied_ns=100 * S)
    assert half.supplied_percent == pytest.approx(50.0), "of what was measured"
    fleet = fleet_supply([half, supply_of([], *week, supplied_ns=0.0)])
    assert fleet is not None and fleet.supplied_percent == pytest.approx(50.0)
    assert math.isnan(supply_of([], *week, supplied_ns=0.0).supplied_percent), "a share of nothing"
    assert fleet_supply([]) is None


def test_the_median_goes_with_the_certain_boxes() -> None:
    rows = np.array([[50.0, 50.1, 49.0], [math.nan, 3.0, 1.0], [math.nan] * 3])
    assert weighted_median(rows, np.ones(3))[:2].tolist() == [50.0, 2.0]
    assert weighted_median(rows, np.array([0.1, 5.0, 0.1]))[:2].tolist() == [50.1, 3.0]
    assert math.isnan(weighted_median(rows, np.ones(3))[2])
    by_box = {"1": np.array([50.0, math.nan]), "2": np.array([50.2, 50.2]), "3": np.array([10.0, 10.0])}
    found = grid_frequency(by_box, {"1": 1e-6, "2": 1e-3, "3": 0.0})
    assert found.tolist() == [50.0, 50.2]  # Box 3 states no uncertainty


def test_the_steepest_change_skips_gaps() -> None:
    starts, hertz = np.array([0, 10, 30, 40]) * S, np.array([50.0, 49.9, 49.0, 49.4])
    lengths = np.full(4, 10_000)
    for pieces in ([slice(0, 4)], [slice(0, 1), slice(1, 1), slice(1, 3), slice(3, 4)]):
        course = FrequencyCourse()
        for each in pieces:
            course.add(starts[each], lengths[each], hertz[each], hertz[each], hertz[each] + 0.1)
        found = course.index
        assert (found.nadir_hz, found.nadir_ns, found.zenith_hz) == (49.0, 30 * S, 50.1)
        assert found.steepest_hz_per_s == pytest.approx(0.04) and found.steepest_ns == 30 * S
        assert found.median_hz == pytest.approx(49.65)
    assert FrequencyCourse().index.nadir_ns is None


def test_a_longer_interval_counts_as_often() -> None:
    course, at = FrequencyCourse(), np.array([0, 600]) * S
    hertz = np.array([50.2, 50.0])
    course.add(at, np.array([600_000, 10_000]), hertz, hertz, hertz)
    assert course.index.median_hz == 50.2 and course.index.spread_hz == 0.0
    assert course.index.steepest_hz_per_s == pytest.approx(-0.2 / 305)
