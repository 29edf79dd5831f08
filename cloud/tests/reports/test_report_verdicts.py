"""Verdicts of golden weeks: expected shares, percentiles and cells follow by counting."""

import math
from dataclasses import replace

import numpy as np
import pytest
from golden_weeks import (
    TEN_MS,
    TEN_S_MS,
    THREE_S_MS,
    TWO_HOURS_MS,
    columns,
    disturbance,
    golden_week,
    harmonics,
    place_of,
    starts_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_cloud.reports.limit_table import Limit, limit_table
from opq_cloud.reports.sentences import heading, sentences
from opq_cloud.reports.verdicts import VerdictRow, expected_intervals
from opq_cloud.reports.week_report import Place, PlacedBox, WeekReport, week_report
from opq_measure.standards.requirements import percentile

EN50160, IEEE519 = limit_table("en50160"), limit_table("ieee519")


def rows_of(report: WeekReport, words: str) -> list[VerdictRow]:
    return [row for row in report.rows if row.limit.words == words]


def limit_of(words: str, percent: float) -> Limit:
    return next(each for each in EN50160.limits if (each.words, each.requirement.percent) == (words, percent))


@pytest.mark.parametrize(("hours", "tens", "twos"), [(167, 1002, 83), (168, 1008, 84), (169, 1014, 85)])
def test_a_week_has_the_intervals_of_its_hours(hours: int, tens: int, twos: int) -> None:
    week = golden_week(hours)
    assert week.hours == hours
    assert expected_intervals(week.start_ns, week.end_ns, TEN_MS) == tens == len(starts_of(week, TEN_MS))
    assert expected_intervals(week.start_ns, week.end_ns, TWO_HOURS_MS) == twos


@pytest.mark.parametrize(("hours", "allowed"), [(167, 50), (168, 50), (169, 50)])
def test_one_interval_more_than_a_twentieth_fails(hours: int, allowed: int) -> None:
    """A twentieth of 1002, 1008 and 1014 intervals is 50.1, 50.4 and 50.7."""
    week = golden_week(hours)
    starts = starts_of(week, TEN_MS)
    for outside, verdict in ((allowed, "pass"), (allowed + 1, "fail")):
        volts = np.full(len(starts), 230.0)
        volts[100 : 100 + outside] = 206.0  # 89.6 %
        report = week_report(EN50160, week, place_of(columns(starts, TEN_MS, {"rms_v": volts})))
        most, whole = rows_of(report, "voltage")
        assert (most.verdict, most.outside, most.judgement.count) == (verdict, outside, len(starts))
        assert most.coverage_percent == 100.0 and whole.verdict == "pass"
        assert most.first_outside_ns == int(starts[100])
        assert most.last_outside_ns == int(starts[100 + outside - 1])
    assert heading(report) == f"1 of 2 limits of {EN50160.title} were not met at Box 1 in week {week.name}."


@pytest.mark.parametrize(
    ("outside", "missing", "verdict"),
    [
        (50, 0, "pass"),
        (20, 30, "pass"),
        (0, 50, "pass"),
        (20, 31, "not_assessed"),
        (50, 936, "not_assessed"),
        (0, 51, "not_assessed"),
        (51, 0, "fail"),
        (51, 900, "fail"),
    ],
)
def test_a_verdict_knows_what_is_missing(outside: int, missing: int, verdict: str) -> None:
    """Of 1008 intervals 50 may be outside: what is missing may be outside, or not."""
    week = golden_week()
    starts = starts_of(week, TEN_MS)
    volts = np.full(len(starts), 230.0)
    volts[:outside] = 200.0
    given_ = columns(starts, TEN_MS, {"rms_v": volts}, missing=range(outside, outside + missing))
    report = week_report(EN50160, week, place_of(given_))
    row = rows_of(report, "voltage")[0]
    assert (row.judgement.count, row.outside, row.verdict) == (1008 - missing, outside, verdict)
    assert (row.missing, row.measured_percent) == (missing, pytest.approx(100 - missing / 10.08))
    share = f"{math.floor(10 * (100 - missing / 10.08)) / 10:.1f} %"
    assert row.why == (f"{share} measured." if verdict == "not_assessed" else "")
    whole = rows_of(report, "voltage")[1].verdict  # none may be outside 85 to 110 %; 200 V are 87 %
    assert whole == ("not_assessed" if missing else "pass")
    expected = "fail" if verdict == "fail" else "not_assessed" if missing else "pass"
    assert report.verdict == expected
    assert missing == 0 or f"{share} of the week was measured" in heading(report)


def test_a_file_states_a_share_that_is_enough() -> None:
    """936 of 1008 intervals are 92.9 %: a twentieth of them is 46.8."""
    week = golden_week()
    starts = starts_of(week, TEN_MS)
    volts = np.full(len(starts), 230.0)
    volts[200:247] = 200.0
    for least, outside, verdict in ((92.0, 47, "fail"), (92.0, 46, "pass"), (93.0, 46, "not_assessed")):
        volts[200 + outside :] = 230.0
        given_ = columns(starts, TEN_MS, {"rms_v": volts}, missing=range(500, 572))
        limit = replace(limit_of("voltage", 95.0), least_measured_percent=least)
        row = week_report(replace(EN50160, limits=(limit,)), week, place_of(given_)).rows[0]
        assert (row.judgement.count, row.outside, row.verdict) == (936, outside, verdict)


@pytest.mark.parametrize("lost", ["interruption", "outage"])
def test_a_time_without_supply_is_not_missing(lost: str) -> None:
    """A Box without a battery measures nothing in it; a gap for another reason is missing."""
    week = golden_week()
    starts = starts_of(week, TEN_MS)
    given_ = columns(starts, TEN_MS, {"rms_v": 230.0}, flagged=(99, 172), missing=range(100, 172))
    span = week.start_ns + 99 * 600 * 10**9 + 1, week.start_ns + 173 * 600 * 10**9 - 1
    found = [disturbance(week, lost, 99.1 * 600, 73.8 * 600, 0.0)] if lost == "interruption" else []
    place = place_of(given_, disturbances=found, outages=[] if found else [span])
    assert [row.verdict for row in rows_of(week_report(EN50160, week, place), "voltage")] == ["pass", "pass"]
    row = rows_of(week_report(EN50160, week, place_of(given_)), "voltage")[0]
    assert (row.verdict, row.missing) == ("not_assessed", 72)


def test_a_missing_day_leaves_a_daily_limit_open() -> None:
    week = golden_week()
    starts = starts_of(week, THREE_S_MS)
    given_ = columns(starts, THREE_S_MS, {"signalling_v": 4.0}, missing=range(28_800 * 3, 28_800 * 3 + 289))
    (row,) = rows_of(week_report(EN50160, week, place_of(given_)), "mains signalling")
    assert (row.verdict, row.missing) == ("not_assessed", 289)
    given_ = columns(starts, THREE_S_MS, {"signalling_v": 4.0}, missing=range(0, 288))
    (row,) = rows_of(week_report(EN50160, week, place_of(given_)), "mains signalling")
    assert (row.verdict, row.missing) == ("pass", 288)


def test_one_plt_of_six_fails_no_week() -> None:
    """Of the 84 values of a week four may be above 1: one of six cannot fail it, five can."""
    week = golden_week()
    starts = starts_of(week, TWO_HOURS_MS)
    severity = np.full(84, 0.6)
    for above, verdict in ((0, "not_assessed"), (1, "not_assessed"), (4, "not_assessed"), (5, "fail")):
        severity[:above] = 1.2
        given_ = columns(starts, TWO_HOURS_MS, {"plt": severity}, missing=range(6, 84))
        report = week_report(EN50160, week, place_of(given_))
        row = rows_of(report, "flicker Plt")[0]
        assert (row.verdict, row.outside, report.verdict) == (verdict, above, verdict)
    assert "5 of 6 values of 2 h" in sentences(report)[1]


@pytest.mark.parametrize(
    ("kind", "seconds", "percent", "counted"),
    [
        ("dip", 60.0, 82.0, False),
        ("dip", 61.0, 82.0, True),
        ("dip", None, 82.0, True),
        ("swell", 9 * 600.0, 112.0, True),
        ("interruption", 9 * 600.0, 1.0, False),
    ],
)
def test_a_lasting_dip_is_a_voltage(kind: str, seconds: float | None, percent: float, counted: bool) -> None:
    """A dip of hours flags its intervals and is not in the table of dips: it would never be judged."""
    week = golden_week()
    starts = starts_of(week, TEN_MS)
    volts = np.full(len(starts), 230.0)
    volts[100:109] = 2.3 * percent
    given_ = columns(starts, TEN_MS, {"rms_v": volts}, flagged=range(100, 109))
    found = (disturbance(week, kind, 100 * 600.0, seconds, percent),)
    most, whole = rows_of(week_report(EN50160, week, place_of(given_, disturbances=found)), "voltage")
    touched = 1 if seconds == 61.0 else 9
    outside = touched if counted else 0
    assert (whole.outside, whole.judgement.count) == (outside, 999 + outside)
    assert whole.verdict == ("fail" if counted else "pass") and most.verdict == "pass"
    assert whole.flagged == 9


def test_an_interruption_in_a_lasting_dip_is_excluded() -> None:
    week = golden_week()
    starts = starts_of(week, TEN_MS)
    volts = np.full(len(starts), 230.0)
    volts[100:109] = 190.0
    given_ = columns(starts, TEN_MS, {"rms_v": volts}, flagged=range(100, 109))
    found = (
        disturbance(week, "dip", 100 * 600.0, 9 * 600.0, 80.0),
        disturbance(week, "interruption", 104 * 600.0, 30.0, 1.0),
    )
    row = rows_of(week_report(EN50160, week, place_of(given_, disturbances=found)), "voltage")[0]
    assert (row.outside, row.judgement.count) == (8, 1007)


@pytest.mark.parametrize(("outside", "verdict"), [(288, "pass"), (289, "fail")])
def test_signalling_is_judged_by_the_day(outside: int, verdict: str) -> None:
    """A day has 28,800 values of 3 s, of which 288 may be above 9 %."""
    week = golden_week()
    starts = starts_of(week, THREE_S_MS)
    volts = np.full(len(starts), 4.0)
    volts[28_800 * 2 : 28_800 * 2 + outside] = 0.091 * 230.0
    given_ = columns(starts, THREE_S_MS, {"signalling_v": volts})
    report = week_report(EN50160, week, place_of(given_))
    (row,) = rows_of(report, "mains signalling")
    assert ("; 1 % of a day may be outside" in " ".join(sentences(report))) == (verdict == "fail")
    assert (row.verdict, row.outside, row.judgement.count) == (verdict, outside, len(starts))
    assert row.days_failed == ((2,) if verdict == "fail" else ())


@pytest.mark.parametrize(
    ("most_v", "verdict", "why"),
    [
        (20.6, "pass", "Shown by the extremes of ten minutes: no values of 3 s are stored."),
        (
            20.8,
            "not_assessed",
            "No values of 3 s are stored, and not all extremes of ten minutes are within.",
        ),
    ],
)
def test_ten_minutes_show_that_signalling_is_met(most_v: float, verdict: str, why: str) -> None:
    """9 % of 230 V is 20.7 V; above it the 3 s may still be below."""
    week = golden_week()
    starts = starts_of(week, TEN_MS)
    given_ = columns(starts, TEN_MS, {"signalling_v": 3.0, "signalling_max_v": most_v})
    (row,) = rows_of(week_report(EN50160, week, place_of(given_)), "mains signalling")
    assert (row.verdict, row.why) == (verdict, why)


@pytest.mark.parametrize(("outside", "verdict"), [(1, "pass"), (2, "not_assessed")])
def test_extremes_show_a_daily_limit_by_the_day(outside: int, verdict: str) -> None:
    """Two of a day's 144 are more than 1 % of it, and less than 1 % of the week."""
    week = golden_week()
    starts = starts_of(week, TEN_MS)
    most_v = np.full(len(starts), 4.0)
    most_v[300 : 300 + outside] = 30.0
    given_ = columns(starts, TEN_MS, {"signalling_v": 3.0, "signalling_max_v": most_v})
    (row,) = rows_of(week_report(EN50160, week, place_of(given_)), "mains signalling")
    assert row.verdict == verdict


def test_flagged_intervals_are_left_out_and_counted() -> None:
    week = golden_week()
    starts = starts_of(week, TEN_MS)
    volts = np.full(len(starts), 230.0)
    volts[10:80] = 100.0
    given_ = columns(starts, TEN_MS, {"rms_v": volts}, flagged=range(10, 80), coverage={10: 0.25})
    report = week_report(EN50160, week, place_of(given_))
    most, whole = rows_of(report, "voltage")
    # the interval of which a quarter was measured is missing, because a gap alone flags it
    assert (most.verdict, whole.verdict, most.outside, most.flagged) == ("pass", "not_assessed", 0, 70)
    assert (most.missing, whole.missing) == (1, 1)
    assert most.flagged_percent == pytest.approx(100 * 70 / 1008)
    assert report.phases[0].complete_percent == pytest.approx(100 * (1007 + 0.25) / 1008)
    kept = replace(EN50160, limits=(replace(limit_of("voltage", 95.0), flagged="kept"),))
    row = week_report(kept, week, place_of(given_)).rows[0]
    assert (row.verdict, row.outside) == ("fail", 70)


def test_a_restart_counts_its_part_of_the_interval() -> None:
    """The gateway flags an interval that is not whole; what it measured counts in the completeness."""
    week = golden_week()
    starts = starts_of(week, TEN_MS)
    given_ = columns(
        starts, TEN_MS, {"rms_v": 230.0}, flagged=(300, 600), coverage={300: 0.5, 600: 0.25}, missing=(301,)
    )
    report = week_report(EN50160, week, place_of(given_))
    assert report.phases[0].complete_percent == pytest.approx(100 * (1005 + 0.75) / 1008)
    assert report.phases[0].flagged_percent == pytest.approx(100 * 2 / 1008)
    assert rows_of(report, "voltage")[0].judgement.count == 1005


def test_many_orders_that_fail_are_named_together() -> None:
    """The three orders that were outside longest have a sentence each, and the others one."""
    week = golden_week()
    starts = starts_of(week, TEN_MS)
    # outside for 100, 200, ... 600 intervals
    late = {
        f"h{order}": np.where(np.arange(1008) < 100 * k, 9.0, 0.1)
        for k, order in enumerate((5, 7, 9, 11, 13, 17), 1)
    }
    report = week_report(
        EN50160, week, place_of(columns(starts, TEN_MS, {"harmonics_v": harmonics(1008, **late)}))
    )
    said = [line for line in sentences(report) if "armonic" in line or "orders" in line]
    assert [line.split(" at ")[0] for line in said[:3]] == ["Harmonic 11", "Harmonic 13", "Harmonic 17"]
    assert said[3:] == ["The limits of these orders were not met either: 5, 7, 9. The table below has each."]


def test_an_order_with_two_limits_is_named_once() -> None:
    """IEEE 519 has two limits for each order, and both may fail."""
    week = golden_week()
    late = {f"h{order}": 9.0 for order in (5, 7, 9, 11)}
    twice = [
        replace(each, requirement=replace(each.requirement, percent=percent))
        for each in EN50160.limits
        for percent in (90.0, 95.0)
    ]
    given_ = columns(starts_of(week, TEN_MS), TEN_MS, {"harmonics_v": harmonics(1008, **late)})
    report = week_report(replace(EN50160, limits=tuple(twice)), week, place_of(given_))
    (said,) = [line for line in sentences(report) if "these orders" in line]
    assert said == "The limits of these orders were not met either: 7, 9, 11. The table below has each."


def test_a_harmonic_that_rises_evenly_has_its_percentile() -> None:
    """Order 5 rises from 0 to 8 % in 1008 steps: 756 values are at most 6 %, the 958th is 7.6028 %."""
    week = golden_week()
    starts = starts_of(week, TEN_MS)
    rising = np.arange(1008) / 1007 * 8
    given_ = columns(starts, TEN_MS, {"harmonics_v": harmonics(1008, 225.0, h5=rising, h3=4.9)})
    report = week_report(EN50160, week, place_of(given_))
    (fifth,) = rows_of(report, "harmonic 5")
    assert (fifth.verdict, fifth.judgement.inside) == ("fail", 756)
    assert fifth.judgement.value == pytest.approx(957 / 1007 * 8, rel=1e-6)
    assert fifth.judgement.highest == pytest.approx(8.0, rel=1e-6)
    assert fifth.first_outside_ns == int(starts[756])
    assert [rows_of(report, f"harmonic {order}")[0].verdict for order in (3, 7, 25)] == ["pass"] * 3
    assert (
        "Harmonic 5 at Box 1: 252 of 1008 values of 10 min (25 %) were not at most 6 %"
        in sentences(report)[1]
    )


def test_flicker_is_judged_by_two_hours() -> None:
    week = golden_week(169)
    starts = starts_of(week, TWO_HOURS_MS)  # 85; a twentieth is 4.25
    severity = np.full(85, 0.6)
    severity[:4] = 1.2
    report = week_report(EN50160, week, place_of(columns(starts, TWO_HOURS_MS, {"plt": severity})))
    assert rows_of(report, "flicker Plt")[0].verdict == "pass"
    severity[4] = 1.2
    report = week_report(EN50160, week, place_of(columns(starts, TWO_HOURS_MS, {"plt": severity})))
    assert rows_of(report, "flicker Plt")[0].verdict == "fail"


def test_frequency_is_judged_by_ten_seconds() -> None:
    week = golden_week()
    starts = starts_of(week, TEN_S_MS)
    assert len(starts) == 60480
    hertz = np.full(len(starts), 50.0)
    hertz[1000:1302] = 49.4  # 302.4 are half a percent
    report = week_report(EN50160, week, place_of(columns(starts, TEN_S_MS, {"f_hz": hertz})))
    assert [row.verdict for row in rows_of(report, "frequency")] == ["pass", "pass"]
    hertz[1302] = 46.9
    report = week_report(EN50160, week, place_of(columns(starts, TEN_S_MS, {"f_hz": hertz})))
    assert [row.verdict for row in rows_of(report, "frequency")] == ["fail", "fail"]


def test_extremes_of_ten_minutes_show_what_they_can() -> None:
    """Without values of 10 s the extremes can show that a limit is met, and never that it is not."""
    week = golden_week()
    starts = starts_of(week, TEN_MS)
    low = np.full(1008, 49.8)
    given_ = {"f_hz": 50.0, "f_min_hz": low, "f_max_hz": 50.2}
    report = week_report(EN50160, week, place_of(columns(starts, TEN_MS, given_)))
    assert [row.verdict for row in rows_of(report, "frequency")] == ["pass", "pass"]
    assert "extremes" in rows_of(report, "frequency")[0].why
    low[:6] = 49.0  # 0.6 % of the ten minutes may hold values outside
    report = week_report(EN50160, week, place_of(columns(starts, TEN_MS, given_)))
    assert [row.verdict for row in rows_of(report, "frequency")] == ["not_assessed", "pass"]
    low[5] = 49.8  # 5 of 1008 are less than half a percent
    report = week_report(EN50160, week, place_of(columns(starts, TEN_MS, given_)))
    assert rows_of(report, "frequency")[0].verdict == "pass"


@pytest.mark.parametrize(("low_hz", "verdict"), [(49.8, "pass"), (49.0, "not_assessed")])
def test_some_ten_seconds_hide_no_extremes(low_hz: float, verdict: str) -> None:
    """Two days of 10 s decide nothing; the extremes of a whole week of ten minutes may."""
    week = golden_week()
    starts, seconds = starts_of(week, TEN_MS), starts_of(week, TEN_S_MS)
    low = np.where(np.arange(1008) < 500, 49.9, low_hz)
    tens = columns(starts, TEN_MS, {"f_hz": 50.0, "f_min_hz": low, "f_max_hz": 50.2})
    some = columns(seconds, TEN_S_MS, {"f_hz": 50.0}, missing=range(17_280, len(seconds)))
    row = rows_of(week_report(EN50160, week, place_of(tens, some)), "frequency")[0]
    assert row.verdict == verdict
    why = "28.5 % measured." if verdict != "pass" else "ten minutes: not all values of 10 s are stored."
    assert row.why.endswith(why)
    assert (row.judgement.count, row.judgement.inside, row.outside) == (17_280, 17_280, 0)
    assert (row.judgement.lowest, row.judgement.met) == (100.0, True if verdict == "pass" else None)


@pytest.mark.parametrize("hours", [167, 168, 169])
def test_ieee_519_judges_each_local_day(hours: int) -> None:
    """The Sunday of a change has 23 or 25 hours: 27,600, 28,800 or 30,000 values of 3 s."""
    week = golden_week(hours)
    starts = starts_of(week, THREE_S_MS)
    sunday = np.flatnonzero(starts >= week.day_starts_ns[6])
    assert len(sunday) == (hours - 144) * 1200
    allowed = len(sunday) // 100
    ratio = np.full(len(starts), 0.05)
    ratio[sunday[:allowed]] = 0.13
    report = week_report(IEEE519, week, place_of(columns(starts, THREE_S_MS, {"thd_ratio": ratio})))
    daily = next(row for row in rows_of(report, "THD") if row.limit.daily)
    assert (daily.verdict, daily.days_failed, daily.outside) == ("pass", (), allowed)
    ratio[sunday[allowed]] = 0.13
    report = week_report(IEEE519, week, place_of(columns(starts, THREE_S_MS, {"thd_ratio": ratio})))
    daily = next(row for row in rows_of(report, "THD") if row.limit.daily)
    assert (daily.verdict, daily.days_failed) == ("fail", (6,))
    assert daily.judgement.value == pytest.approx(13.0, rel=1e-6)
    assert any("Days that fail: Sunday." in line for line in sentences(report))


def test_ieee_519_is_in_percent_of_nominal() -> None:
    week = golden_week()
    volts = harmonics(1008, fundamental_v=200.0, h50=5.5)  # 11 V: 4.78 % of 230 V, but 5.5 % of 200 V
    report = week_report(
        IEEE519, week, place_of(columns(starts_of(week, TEN_MS), TEN_MS, {"harmonics_v": volts}))
    )
    row = next(each for each in rows_of(report, "harmonic 50") if not each.limit.daily)
    assert row.verdict == "pass" and row.judgement.value == pytest.approx(1100 / 230, rel=1e-6)


def test_events_are_in_the_tables_cells() -> None:
    week = golden_week()
    days_s = 86_400.0
    events = [
        disturbance(week, "dip", 1 * days_s, 0.1, 85),
        disturbance(week, "dip", 2 * days_s, 0.3, 60),
        disturbance(week, "dip", 2 * days_s + 30, 0.3, 50),
        disturbance(week, "interruption", 3 * days_s, 240.0, 2),
        disturbance(week, "swell", 4 * days_s, 0.7, 125),
        disturbance(week, "dip", 5 * days_s, None, 75),
        disturbance(week, "dip", -1.0, 0.1, 50),  # of the week before
    ]
    report = week_report(EN50160, week, place_of(disturbances=events))
    tables = {form.name: counts for form, counts in report.tables}
    assert tables["Dips"] == (
        (1, 0, 0, 0, 0, 0, 0),
        (0, 0, 0, 0, 0, 0, 1),
        (0, 2, 0, 0, 0, 0, 0),
        (0, 0, 0, 0, 0, 0, 0),
        (0, 0, 0, 0, 0, 1, 0),
    )
    assert tables["Swells"] == ((0, 0, 0, 0, 0), (0, 1, 0, 0, 0))
    assert dict(report.sarfi.beyond)[70.0] == 1  # the two of one minute count once
    supply = report.phases[0].supply
    assert (supply.sustained, supply.minutes) == (1, 4.0)
    assert heading(report).startswith("Nothing could be judged")
    assert any(
        line.startswith("4 dips, 1 swell and 1 interruption began in what was measured of the week")
        for line in sentences(report)
    )


def test_a_site_joins_the_events_of_its_phases() -> None:
    week = golden_week()
    starts = starts_of(week, TEN_MS)
    boxes = []
    for number, (box_id, volts) in enumerate((("1", 230.0), ("2", 230.0), ("3", 227.0))):
        lasting = 0.1 + 0.05 * number
        alone = place_of(
            columns(starts, TEN_MS, {"rms_v": volts}, box_id=box_id),
            disturbances=[
                disturbance(week, "dip", 1000.0 + 0.02 * number, lasting, 60 + number, box_id),
                *([disturbance(week, "dip", 5000.0, 0.2, 80, box_id)] if number == 2 else []),
            ],
        ).boxes[0]
        boxes.append(
            PlacedBox(
                box_id, f"Box {box_id}", "abc"[number], replace(alone.week, box_id=box_id), alone.disturbances
            )
        )
    ratio = np.full(1008, 0.015)
    ratio[:51] = 0.021
    group = columns(starts, TEN_MS, {"u2_ratio": ratio}, box_id="mill")
    report = week_report(EN50160, week, Place("Site mill", "mill", tuple(boxes), {TEN_MS: group}))
    first, second = report.events
    assert first.channels == ("1", "2", "3") and first.residual_percent == pytest.approx(60)
    assert first.duration_s == pytest.approx(0.04 + 0.2) and second.channels == ("3",)
    (unbalance,) = report.together
    assert (unbalance.verdict, unbalance.outside) == ("fail", 51)
    assert report.magnitude_unbalance == pytest.approx(100 * 2 / 229, rel=1e-5)
    assert any(line.startswith("Unbalance u2 at all phases: 51 of 1008") for line in sentences(report))
    clocks = np.full(1008, 2e-4)
    clocks[:50] = 0.13  # without GPS
    ratio[50] = 0.015
    poor = columns(starts, TEN_MS, {"u2_ratio": ratio, "clock_ratio": clocks}, box_id="mill")
    judged = week_report(EN50160, week, Place("Site mill", "mill", tuple(boxes), {TEN_MS: poor})).together[0]
    assert (judged.verdict, judged.judgement.count) == ("pass", 958)
    clocks[:] = 0.13
    poor = columns(starts, TEN_MS, {"u2_ratio": ratio, "clock_ratio": clocks}, box_id="mill")
    judged = week_report(EN50160, week, Place("Site mill", "mill", tuple(boxes), {TEN_MS: poor})).together[0]
    assert judged.verdict == "not_assessed" and "GPS" in judged.why
    alone = week_report(EN50160, week, Place("Site mill", "mill", tuple(boxes), {}))
    assert alone.together[0].verdict == "not_assessed" and "angles" in alone.together[0].why


def test_an_interruption_without_end_lasts_until_quiet_minutes() -> None:
    week = golden_week()
    starts = starts_of(week, TEN_MS)
    ten = columns(starts, TEN_MS, {"rms_v": 230.0}, [*range(6, 13)])
    begun = disturbance(week, "interruption", 3700.0, None, 0)
    found = week_report(EN50160, week, place_of(ten, disturbances=[begun]))
    assert found.phases[0].supply.minutes == pytest.approx((13 * 600 - 3700) / 60)
    alone = week_report(EN50160, week, place_of(disturbances=[begun]))
    assert alone.phases[0].supply.minutes == pytest.approx(168 * 60 - 3700 / 60)


def test_nothing_stored_is_no_verdict() -> None:
    report = week_report(EN50160, golden_week(), place_of())
    assert {row.verdict for row in report.rows} == {"not_assessed"} and report.verdict == "not_assessed"
    assert report.phases[0].complete_percent == 0.0 and math.isnan(report.frequency.index.median_hz)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_verdict_is_that_of_a_naive_recount(data: st.DataObject) -> None:
    week = golden_week(data.draw(st.sampled_from([167, 168, 169])))
    starts = starts_of(week, TEN_MS)
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    volts = random.choice(
        [150.0, 200.0, 230.0, 253.0, 260.0, math.nan], len(starts), p=[0.01, 0.04, 0.6, 0.2, 0.05, 0.1]
    )
    flagged = np.flatnonzero(random.random(len(starts)) < 0.1)
    missing = np.flatnonzero(random.random(len(starts)) < data.draw(st.sampled_from([0.0, 0.3])))
    given_ = columns(starts, TEN_MS, {"rms_v": volts}, flagged.tolist(), missing.tolist())
    most, whole = rows_of(week_report(EN50160, week, place_of(given_)), "voltage")
    gone = set(flagged.tolist()) | set(missing.tolist())
    known = [each for at, each in enumerate(volts) if at not in gone and not math.isnan(each)]
    within = sum(207.0 <= each <= 253.0 for each in known)
    assert (most.judgement.count, most.judgement.inside) == (len(known), within)
    left_out = len(set(flagged.tolist()) - set(missing.tolist()))
    judged = len(starts) - left_out  # intervals that the standard judges
    outside, unknown = len(known) - within, judged - len(known)
    assert most.verdict == (
        "fail"
        if judged - outside < 0.95 * judged
        else "pass"
        if judged - outside - unknown >= 0.95 * judged
        else "not_assessed"
    )
    assert most.missing == whole.missing == unknown
    assert whole.verdict == (
        "fail" if not all(195.5 <= each <= 253.0 for each in known) else "not_assessed" if unknown else "pass"
    )
    low = -percentile(-np.array(known), 95.0) / 2.3
    high = percentile(np.array(known), 95.0) / 2.3
    assert most.judgement.value == pytest.approx(high if 110 - high <= low - 90 else low, rel=1e-6)
