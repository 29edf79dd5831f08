"""`/past` over a real store of known content: class A over any span, harmonics, verdicts, sites."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import past_scene as past
import pytest
from fastapi.testclient import TestClient
from open_view import open_services

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.reports.limit_table import limit_table
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.store.records.incidents.phenomena import StoredPhenomenon
from opq_cloud.store.stated_facts import LAST_NS, StatedFact
from opq_cloud.view.app import create_app
from opq_cloud.view.pages.past import quantity_reading
from opq_cloud.view.pages.past.change_list import changes_listed
from opq_cloud.view.pages.past.past_drawing import limits_of
from opq_cloud.view.pages.past.quantities import QUANTITIES, drawn_quantity
from opq_cloud.view.pages.past.quantity_reading import PastReader
from opq_cloud.view.pages.past.series import PastSeries
from opq_cloud.view.pages.past.served_lines import LinePart, SiteReader, Stays, lines_of_group
from opq_cloud.view.pages.visible.seen_store import SeenStore
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.web.time_span import read_span
from opq_cloud.view.web.visitors import Visitor
from opq_proto.measurement.fields import BY_KEY, ShownQuantity
from opq_proto.messages import Finding, Interval, Measurement, Trend, Trigger

NOW = round(datetime(2026, 11, 20, 18, 0, tzinfo=UTC).timestamp() * 1000)
"""A Friday; the bad day is Tuesday 17, the gap Sunday 15."""
TODAY = NOW // past.DAY_MS * past.DAY_MS
DAYS = 35
BOTH = (True, True)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path_factory.mktemp("past"))
    past.fill_past(opened, NOW, days=DAYS, boxes=("1",))
    past.fill_past(opened, NOW, days=14, boxes=("2", "4"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def client(store: CloudStore) -> TestClient:
    return TestClient(create_app(open_services(store, now_ns=lambda: NOW * 1_000_000)))


def read(
    store: CloudStore, name: str, box_id: str, start: str, end: str = "now", stays: Stays = ()
) -> PastSeries:
    box = ShownBox(box_id, "", None, past.NOMINAL_V, past.NOMINAL_HZ, False)
    reader = PastReader(
        store, read_span(start, end, NOW), NOW, lambda _: 0.0, False, class_a=True, stays=stays
    )
    return reader.box(box, [QUANTITIES[name]])[name]


def data_of(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.partition('id="past-data">')[2].partition("</template>")[0])
    return found


# Class A


def test_a_class_a_day_has_144_intervals(store: CloudStore) -> None:
    """A standard judges the value of ten minutes: no window is drawn below a limit of it."""
    day = read(store, "rms_v", "1", "2026-11-18", "2026-11-19")
    assert (day.source, day.step_ms, len(day.at_ms)) == ("class A, 10 min", past.TEN_MS, 144)
    expected = [past.volts_of("1", 2, place * past.TEN_MS) for place in range(144)]
    assert day.mean == pytest.approx(np.array(expected), rel=1e-6) and day.gaps == ()
    assert day.low.tolist() == day.mean.tolist() == day.high.tolist()
    assert day.flagged.tolist() == [place % past.FLAGGED_EVERY == 0 for place in range(144)]
    assert day.flagged_share == pytest.approx(3 / 144) and day.measured == pytest.approx(1.0)


def test_longer_rows_keep_extremes_flags_and_mean(store: CloudStore) -> None:
    found = read(store, "rms_v", "1", "2026-10-20", "2026-11-19")
    assert found.step_ms == 3_600_000 and len(found.at_ms) == 30 * 24
    first = [past.volts_of("1", 31, place * past.TEN_MS) for place in range(6)]
    assert found.mean[0] == pytest.approx(np.mean(first), rel=1e-6)
    assert (found.low[0], found.high[0]) == pytest.approx((min(first), max(first)), rel=1e-6)
    assert found.flagged[:9].tolist() == [True, *[False] * 7, True]


def test_days_equal_their_intervals(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """33 days of summaries, whose quantiles are those of the raw intervals to half a bin."""
    monkeypatch.setattr(quantity_reading, "RAW_DAYS", 30)
    found = read(store, "rms_v", "1", "2026-10-18", "2026-11-20")
    assert found.step_ms == past.DAY_MS and len(found.at_ms) == 33 and found.gaps == ()
    bad = int(np.flatnonzero(found.at_ms == TODAY - past.BAD_DAY * past.DAY_MS)[0])
    assert (found.low[bad], found.mean[bad], found.high[bad]) == pytest.approx((260.0, 260.0, 260.0))
    raw = [
        past.volts_of("1", back, place * past.TEN_MS)
        for back in range(1, 34)
        for place in range(144)
        if place % past.FLAGGED_EVERY
    ]
    figures = found.figures
    assert figures is not None
    for share, value in ((0.05, figures[1]), (0.5, figures[2]), (0.95, figures[4]), (0.99, figures[5])):
        assert value == pytest.approx(np.quantile(raw, share, method="inverted_cdf"), abs=0.025001)
    assert figures[3] == pytest.approx(np.mean(raw), abs=0.02), "the mean of days"
    assert found.flagged_share == pytest.approx(3 / 144)
    elsewhere_ns = (TODAY - past.BAD_DAY * past.DAY_MS) * 1_000_000
    moved = read(store, "rms_v", "1", "2026-10-18", "2026-11-20", ((0, elsewhere_ns),)).figures
    assert moved is not None and moved[-1] < 236, "the flagged intervals of the bad day are of another place"


def test_a_day_without_intervals_is_a_gap(store: CloudStore) -> None:
    found = read(store, "f_hz", "4", "2026-11-14", "2026-11-17")
    gap = TODAY - past.GAP_DAY * past.DAY_MS
    assert found.gaps == ((gap, gap + past.DAY_MS),)
    assert found.measured == pytest.approx(2 / 3) and len(found.at_ms) == 288


def test_harmonics_and_flicker_have_their_units(store: CloudStore) -> None:
    """Harmonics are in percent of nominal; Plt has a value for each two hours."""
    fifth = read(store, "h5", "2", "2026-11-18", "2026-11-19")
    assert fifth.mean[36] == pytest.approx(7.0 * past.volts_of("2", 2, 36 * past.TEN_MS) / 230, rel=1e-6)
    plt = read(store, "plt", "1", "2026-11-18", "2026-11-19")
    assert (plt.source, plt.step_ms, len(plt.at_ms)) == ("class A, 2 h", past.TWO_HOURS_MS, 12)
    assert set(plt.mean.tolist()) == {0.5}


def test_extremes_include_intervals_without_windows(tmp_path: Path) -> None:
    """A gateway that was renewed sends the lowest and highest windows since then."""
    opened = open_store(None, tmp_path)
    windows = {"f_hz": 50.0, "f_min_hz": 49.9, "f_max_hz": 50.1}
    opened.intervals.append(
        past.row_of("1", TODAY + place * past.TEN_MS, place + 1, Interval(past.TEN_MS, False, 1.0, values))
        for place, values in enumerate([{"f_hz": 49.7}, windows, windows])
    )
    found = read(opened, "f_hz", "1", "now-1d")
    assert found.low == pytest.approx([49.7, 49.9, 49.9]) and found.figures is not None
    assert (found.figures[0], found.figures[-1]) == pytest.approx((49.7, 50.1))
    opened.close()


def test_a_mean_lies_between_its_extremes(tmp_path: Path) -> None:
    """10 s are stored for the first half of a day, and the grid was lower in the other."""
    opened = open_store(None, tmp_path)
    day_ms = TODAY - past.DAY_MS
    tens = [(10_000, at_ms, 50.0) for at_ms in range(day_ms, day_ms + past.DAY_MS // 2, 10_000)]
    windows = [
        (past.TEN_MS, at_ms, 50.0 if at_ms < day_ms + past.DAY_MS // 2 else 49.4)
        for at_ms in range(day_ms, TODAY, past.TEN_MS)
    ]
    rows = [
        past.row_of("1", at_ms, number, Interval(length_ms, False, 1.0, {"f_hz": hertz}))
        for number, (length_ms, at_ms, hertz) in enumerate((*tens, *windows), 1)
    ]
    opened.intervals.append(rows)
    found = read(opened, "f_hz", "1", "2026-11-10", "2026-11-22").figures
    assert found is not None and (found[0], found[3], found[-1]) == pytest.approx((49.4, 49.7, 50.0))
    opened.close()


def ten_second_days(days: int) -> list[Measurement]:
    """10 s at 50 Hz, 49.7 Hz once a day, but no 10 s in the first ten minutes; windows went to 49.2."""
    ends = {"f_hz": 50.0, "f_min_hz": 49.2, "f_max_hz": 50.8}
    first_ms = TODAY - days * past.DAY_MS
    minutes = [(past.TEN_MS, at_ms, ends) for at_ms in range(first_ms, TODAY, past.TEN_MS)]
    seconds = [
        (10_000, at_ms, {"f_hz": 49.7 if at_ms % past.DAY_MS == past.DAY_MS // 2 else 50.0, "f_min_hz": 49.3})
        for at_ms in range(first_ms + past.TEN_MS, TODAY, 10_000)
    ]
    rows = sorted([*minutes, *seconds], key=lambda each: each[1] + each[0])
    return [
        past.row_of("1", at_ms, number, Interval(length_ms, False, 1.0, values))
        for number, (length_ms, at_ms, values) in enumerate(rows, 1)
    ]


def test_absent_intervals_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What class A has of the frequency was just looked for: the trends are not judged by it again."""
    asked: list[str] = []

    def extremes(_: object, box_id: str, *span: object) -> tuple[float, float]:
        asked.append(box_id)
        return 49.0, 51.0

    monkeypatch.setattr(quantity_reading, "box_extremes", extremes)
    hertz = {"f": (49.9, 50.1, 50.0)}
    with closing(open_store(None, tmp_path)) as opened:
        opened.put_trends([Trend("1", TODAY + at * 60_000, hertz, covered_ms=60_000) for at in range(60)])
        while opened.roll_up(NOW, 1000):
            pass
        assert read(opened, "f_hz", "1", "now-1d").figures is not None and not asked
        assert read(opened, "f_hz", "1", "now-60d").figures is not None and asked == ["1"]


def test_box_always_of_a_group_has_no_stays() -> None:
    """Its rows need not be chosen; those of one that came later are."""
    box = ShownBox("1", "", None, 230.0, 50.0, False)
    span_ns = (NOW - past.DAY_MS) * 10**6, NOW * 10**6
    always = BoxRecord("1", "", nominal_v=230.0, nominal_hz=50.0, region="north")
    (line,) = lines_of_group([box], [always], span_ns, lambda record: record.region == "north")
    assert line.parts == (LinePart(box),)
    moved = replace(always, stated=(StatedFact("region", 0, "south"), StatedFact("region", NOW - 1, "north")))
    (line,) = lines_of_group([box], [moved], span_ns, lambda record: record.region == "north")
    assert line.parts == (LinePart(box, (((NOW - 1) * 10**6, LAST_NS),)),)


def test_frequency_is_drawn_as_it_is_judged(tmp_path: Path) -> None:
    """Bars are of the intervals that figures and limits are of, over any span."""
    opened = open_store(None, tmp_path)
    opened.put_box(BoxRecord("1", "", nominal_v=230.0, nominal_hz=50.0))
    opened.intervals.append(ten_second_days(4))
    opened.intervals.settle(TODAY + past.DAY_MS)
    view = TestClient(create_app(open_services(opened, now_ns=lambda: NOW * 1_000_000)))
    for start, low, source in (
        ("2026-11-17", 49.7, "class A, 10 s"),
        ("2026-11-16", 49.2, "class A, 10 s and 10 min"),
        ("2026-10-01", 49.2, "class A, 10 min"),
    ):
        page = view.get(f"/past?box=1&q=f_hz&source=a&from={start}&to=2026-11-20").text
        chart = data_of(page)["charts"][0]
        assert min(chart["series"][0]["low"]) == low and source in page
        assert (chart["limits"] != []) == (source == "class A, 10 s")
        assert read(opened, "f_hz", "1", start, "2026-11-20").figures[0] == pytest.approx(low)
    by_day = data_of(page)["charts"][0]["series"][0]
    assert by_day["low"] == [49.2, 49.7, 49.7, 49.7] and by_day["step"] == past.DAY_MS
    opened.close()


def test_extremes_are_those_of_reports(tmp_path: Path) -> None:
    """THD and flicker are judged over ten minutes, a frequency over 10 s, without what an event flags."""
    opened = open_store(None, tmp_path)
    opened.put_box(BoxRecord("1", "", nominal_v=230.0, nominal_hz=50.0))
    chance = np.random.default_rng(74)
    rows, first_ms = [], TODAY - 7 * past.DAY_MS
    for place in range(7 * 144):
        flagged = place % 50 == 0
        thd, pst = (0.02 * chance.random() + (0.1 if flagged else 0.0) for _ in range(2))
        hertz = 50 + 0.02 * chance.random() - (1.0 if flagged else 0.0)
        values = {
            "rms_v": 230.0,
            "thd_ratio": thd,
            "thd_max_ratio": thd + 0.02,
            "pst": pst,
            "f_hz": hertz,
            "f_min_hz": hertz - 0.03,
            "f_max_hz": hertz + 0.03,
        }
        interval = Interval(past.TEN_MS, flagged, 1.0, values)
        rows.append(past.row_of("1", first_ms + place * past.TEN_MS, place + 1, interval))
    opened.intervals.append(rows)
    at_ms = first_ms + 3 * past.DAY_MS  # a window went further within a minute that nothing flags
    metrics = {"thd": (0.01, 0.09, 0.02), "f": (49.0, 51.0, 50.0), "pst": (0.1, 0.9, 0.2)}
    opened.put_trends([Trend("1", at_ms, metrics)])
    while opened.roll_up(NOW, 2000):
        pass
    view = TestClient(create_app(open_services(opened, now_ns=lambda: NOW * 1_000_000)))
    clean = [each.interval.values for each in rows if each.interval and not each.interval.flagged]
    most = {
        "thd_percent": 100 * max(each["thd_ratio"] for each in clean),
        "pst": max(e["pst"] for e in clean),
    }
    ends = min(each["f_min_hz"] for each in clean), max(each["f_max_hz"] for each in clean)
    for source in ("", "&source=a"):
        page = view.get(f"/past?box=1&q=thd_percent,pst,f_hz&from=now-10d{source}").text
        table = page.partition('class="compact past-figures"')[2].partition("</table>")[0]
        figures = [re.findall(r'<td class="num">([\d.]+)</td>', row)[:7] for row in table.split("<tr>")]
        thd, pst, hertz = (row for row in figures if len(row) == 7)
        assert (float(thd[6]), float(pst[6])) == pytest.approx((most["thd_percent"], most["pst"]), abs=6e-3)
        assert (float(hertz[0]), float(hertz[6])) == pytest.approx(ends, abs=6e-4)
    opened.close()


def test_trends_come_before_class_a(store: CloudStore) -> None:
    """Class A is read where it alone has the quantity."""
    box = ShownBox("1", "", None, past.NOMINAL_V, past.NOMINAL_HZ, False)
    span = read_span("now-7d", "now", NOW)
    wanted = [QUANTITIES[name] for name in ("rms_v", "plt", "trans_v")]
    reader = PastReader(store, span, NOW, lambda _: 0.0, False)
    sources = {name: each.source for name, each in reader.box(box, wanted).items()}
    assert sources == {"rms_v": "trends", "plt": "class A, 2 h", "trans_v": ""}
    for class_a, source in ((None, "class A"), (False, "trends")):
        reader = PastReader(store, span, NOW, lambda _: 0.0, False, class_a)
        assert reader.box(box, [QUANTITIES["thd_percent"]])["thd_percent"].source.startswith(source)


def test_class_a_of_unseen_boxes_is_hidden(store: CloudStore) -> None:
    box = ShownBox("1", "", None, past.NOMINAL_V, past.NOMINAL_HZ, False)
    span = read_span("now-7d", "now", NOW)
    for seen, some in ((frozenset("1"), True), (frozenset("2"), False)):
        shown = SeenStore(store, Visitor(full=seen))
        found = PastReader(shown, span, NOW, lambda _: 0.0, False).box(box, list(QUANTITIES.values())[:6])
        assert any(len(each.at_ms) for each in found.values()) is some


# Pages


def test_phases_share_a_chart_with_limits(client: TestClient) -> None:
    """A limit is drawn over the intervals that it is for, which long spans have, not over trends."""
    address = "/past?of=site:mill&q=rms_v,f_hz,h5&from=2026-11-14&to=2026-11-20"
    trends, page = client.get(f"{address}&source=t").text, client.get(address).text
    shown = {each["name"]: each["limits"] for each in data_of(trends)["charts"]}
    assert shown == {"rms_v": [], "f_hz": [], "h5": [[6.0, "95 % of 10 min"]]}
    assert data_of(client.get(f"{address}&source=a").text) == data_of(page)
    assert "source=t" in page.partition("Lines across a chart")[2].partition("</p>")[0]
    hours = client.get(address.replace("to=2026-11-20", "to=2026-11-14T06:00")).text
    assert data_of(hours)["charts"][0]["series"][0]["step"] == 60_000, "details of some hours are of trends"
    charts = {each["name"]: each for each in data_of(page)["charts"]}
    assert list(charts) == ["rms_v", "f_hz", "h5"]
    names = [each["words"] for each in charts["rms_v"]["series"]]
    assert names == ["Box 1, phase L1", "Box 2, phase L2", "Box 4, phase L3"]
    assert charts["rms_v"]["nominal"] == 230.0
    limits = [195.5, "100 % of 10 min"], [207.0, "95 % of 10 min"], [253.0, "95 % of 10 min"]
    assert charts["rms_v"]["limits"] == [*limits]
    assert charts["f_hz"]["limits"] == [], "they are of 10 s"
    assert charts["h5"]["limits"] == [[6.0, "95 % of 10 min"]]
    assert [len(each["gaps"]) for each in charts["rms_v"]["series"]] == [0, 0, 1]
    assert trends.count('class="chart history spread"') == 6, "a constant frequency has one bin"


def test_a_line_of_trends_removes_no_limit() -> None:
    table = limit_table("en50160")
    drawn = limits_of(table, QUANTITIES["rms_v"], False, 230.0, {"trends", "class A, 10 min"})
    assert [value for value, _ in drawn] == [195.5, 207.0, 253.0]
    assert limits_of(table, QUANTITIES["rms_v"], False, 230.0, {"trends"}) == ()


@pytest.mark.parametrize("span", ["2026-11-15T12:03", "2026-10-20T12:03", "2026-10-20T12:03&source=a"])
def test_a_group_reads_rows_its_span_cuts(client: TestClient, span: str) -> None:
    """No Box ever moved: each has the same rows and holes in a site, at a feeder and alone."""
    own, site, feeder = (
        data_of(client.get(f"/past?{place}&q=rms_v,plt&from={span}").text)["charts"]
        for place in ("box=1,2,4", "of=site:mill", "of=feeder:F1")
    )
    for charts in (site, feeder):
        for chart, alone in zip(charts, own, strict=True):
            for line, of_box in zip(chart["series"], alone["series"], strict=True):
                assert {**line, "words": ""} == {**of_box, "words": ""}


def test_harmonics_stand_beside_the_limits_of_the_standard(client: TestClient) -> None:
    page = client.get("/past?of=site:mill&show=harmonics&from=2026-11-13&to=2026-11-20").text
    assert page.count("Above its limit: harmonic 5.") == 2, "in the caption, and for who cannot see"
    assert page.count('class="bar-beyond"') == 1 and page.count('class="bar-limit"') == 3 * 24
    row = next(each for each in page.split("<tr>") if ">5</a>" in each and "outside" in each)
    assert '<td class="num">7.000</td>' in row and "6.00" in row
    other = client.get(
        "/past?box=2&show=harmonics&standard=iec61000-2-4-class3&from=2026-11-13&to=2026-11-20"
    )
    assert "Above its limit" not in other.text
    nothing = client.get("/past?box=2&show=harmonics&from=2025-01-01&to=2025-02-01").text
    assert "No harmonics of this span are stored." in nothing


def cells(page: str) -> list[tuple[str, str]]:
    """(title, verdict) of each day and week, in the order of the page."""
    found = []
    for part in page.split('<td class="cell cell-')[1:]:
        title = part.partition('class="cell-day">')[2].partition("</span>")[0] if "cell-day" in part else ""
        found.append((title.replace("\N{NO-BREAK SPACE}", " "), part.partition('"')[0]))
    return found


def test_days_and_weeks_have_their_verdicts(client: TestClient) -> None:
    page = client.get("/past?box=1&show=verdicts&from=2026-11-10&to=2026-11-20T18:00&tz=UTC").text
    week, *days = cells(page)[:8]
    assert week == ("", "fail")
    assert days == [
        ("Mon 16", "pass"),
        ("Tue 17", "fail"),
        ("Wed 18", "pass"),
        ("Thu 19", "pass"),
        ("Fri 20", "not_assessed"),  # it is 18:00
        ("Sat 21", "None"),
        ("Sun 22", "None"),
    ]
    assert cells(page)[8] == ("", "pass")
    report = page.partition('href="/report/week?')[2].partition('"')[0].replace("&amp;", "&")
    assert report == "place=box%3A1&week=2026-W47&zone=UTC&standard=en50160"
    assert "2026-W47" in client.get(f"/report/week?{report}").text
    assert "voltage: 0.0\u202f% within" in page and "2026-W47" in page and "2026-W46" in page


def test_a_site_fails_with_one_phase(client: TestClient) -> None:
    page = client.get("/past?of=site:mill&show=verdicts&from=2026-11-14&to=2026-11-16&tz=UTC").text
    assert page.count('<h2 id="place-') == 1 and "Site mill" in page
    assert "harmonic 5 at Box 2" in page
    assert {verdict for _, verdict in cells(page)} == {"fail"}
    alone = client.get("/past?box=1,4&show=verdicts&from=2026-11-15&to=2026-11-16&tz=UTC").text
    assert alone.count('<h2 id="place-') == 2
    assert ("Sun 15", "not_assessed") in cells(alone), "the day of the gap"


def test_a_site_has_the_boxes_of_then(tmp_path: Path) -> None:
    """Box 1 left the mill for the yard on Monday 16."""
    opened = open_store(None, tmp_path)
    past.fill_past(opened, NOW, days=12, boxes=("1", "2"), trends=False)
    opened.put_box(BoxRecord("1", "", site="yard"), TODAY - 4 * past.DAY_MS)
    moved = TestClient(create_app(open_services(opened, now_ns=lambda: NOW * 1_000_000)))
    for site, first, words in (
        ("mill", "2026-11-11", "harmonic 5 at Box 2"),
        ("mill", "2026-11-18", "harmonic 5: "),
        ("yard", "2026-10-11", "This site had no Box in this span."),
    ):
        page = moved.get(f"/past?of=site:{site}&show=verdicts&from={first}&to={first}T12:00&tz=UTC")
        assert page.status_code == 200 and words in page.text, (site, first)
    before = moved.get("/past?of=site:yard&from=2026-10-11&to=2026-10-12&tz=UTC")
    assert before.status_code == 200 and "Site yard, 0 Boxes." in before.text
    opened.close()


def test_phases_have_their_boxes_of_then(tmp_path: Path) -> None:
    """Box 1 was replaced by Box 3 on Monday 16, and has been at the yard since; its incident stays."""
    opened, moved_ms = open_store(None, tmp_path), TODAY - 4 * past.DAY_MS
    past.fill_past(opened, NOW, days=12, trends=False)
    opened.put_box(BoxRecord("3", "new", nominal_v=400.0, site="shed", phase="L1"))
    opened.put_box(BoxRecord("3", "", site="mill"), moved_ms)
    opened.put_box(BoxRecord("1", "", site="yard"), moved_ms)
    row = past.row_of("3", moved_ms, 9_000_000, Interval(past.TEN_MS, False, 1.0, {"rms_v": 404.0}))
    group = Interval(past.TEN_MS, False, 1.0, {"u2_ratio": 0.012}, place="mill")
    opened.intervals.append([row, past.row_of("2", moved_ms, 9_000_001, group)])
    early = Interval(past.TEN_MS, False, 1.0, {"rms_v": 236.0})
    opened.intervals.append([past.row_of("1", TODAY - 17 * past.DAY_MS, 9_000_002, early)])
    for back in (6, 2):
        start_ns = (TODAY - back * past.DAY_MS) * 1_000_000
        event_id = opened.open_event(Trigger("t", start_ns, start_ns + 10**9, ("1",), "1", "x"), f"{back}")
        sag = Finding("sag", "1", start_ns, start_ns + 10**8, 0, True, 160.0, 70.0, 6.0)
        put_findings(opened, event_id, [sag])
    view = TestClient(create_app(open_services(opened, now_ns=lambda: NOW * 1_000_000)))
    of = "&q=rms_v,unbalance_percent&source=a&y=percent&from=2026-11-13&to=2026-11-20"
    rms, u2 = data_of(view.get(f"/past?of=site:mill{of}").text)["charts"]
    assert [each["words"] for each in rms["series"]] == [
        "Box 1, then Box 3, phase L1",
        "Box 2, phase L2",
        "Box 4, phase L3",
    ]
    line = rms["series"][0]
    assert (line["at"][-1], line["mean"][-1]) == (moved_ms, 101.0), "of 400 V"
    assert [(each["words"], each["mean"]) for each in u2["series"]] == [("Site mill", [1.2])]
    weeks = "/past?of=site:mill&q=rms_v&source=a&weeks=2&tz=UTC&from=2026-11-17&to=2026-11-20"
    oldest = data_of(view.get(weeks).text)["charts"][0]["series"][2]
    assert (oldest["at"][0], oldest["mean"][0]) == (past.DAY_MS, 236.0), "Box 1 served on Tuesday 3"
    yard = data_of(view.get(f"/past?of=site:yard{of}").text)["charts"][0]["series"]
    assert [each["at"][0] for each in yard] == [moved_ms]
    for place, number in (("site:mill", 1), ("site:yard", 2)):
        for page in (f"/past?of={place}{of}", f"/incidents?{place.replace(':', '=')}"):
            listed = set(re.findall(r'data-incident="(\d+)"', view.get(page).text))
            assert listed == {str(number)}, page
    opened.close()


def test_regions_have_their_boxes_of_then(tmp_path: Path) -> None:
    """Box 1 left the north and grid 1 for the south and grid 2 on Monday 16; the public does not learn it."""
    opened, moved_ms = open_store(None, tmp_path), TODAY - 4 * past.DAY_MS
    past.fill_past(opened, NOW, days=8, boxes=("1", "2"), trends=False)
    opened.put_box(BoxRecord("1", "", region="south", grid="2"), moved_ms)
    view = TestClient(create_app(open_services(opened, now_ns=lambda: NOW * 1_000_000)))
    of = "q=rms_v&source=a&from=2026-11-14&to=2026-11-20"

    def lines(client: TestClient, group: str) -> dict[str, tuple[bool, bool]]:
        """Box -> whether it has rows before and after its move."""
        drawn = data_of(client.get(f"/past?of={group}&{of}").text)["charts"][0]["series"]
        return {
            each["words"].partition(",")[0]: (each["at"][0] < moved_ms, each["at"][-1] >= moved_ms)
            for each in drawn
        }

    assert lines(view, "region:north") == lines(view, "grid:1") == {"Box 1": (True, False), "Box 2": BOTH}
    assert lines(view, "region:south") == lines(view, "grid:2") == {"Box 1": (False, True)}
    early = view.get(f"/past?of=region:south&{of.replace('-20', '-15')}").text
    assert "Nothing of this span is stored." in early and data_of(early)["charts"] == []
    start_ns = (moved_ms - past.HOUR_MS) * 1_000_000
    event_id = opened.open_event(Trigger("t", start_ns, start_ns + 10**9, ("1",), "1", "x"), "sag")
    put_findings(
        opened, event_id, [Finding("sag", "1", start_ns, start_ns + 10**8, 0, True, 160.0, 70.0, 6.0)]
    )
    for group, listed in (("region:north", True), ("grid:1", True), ("region:south", False)):
        assert ("data-incident=" in view.get(f"/past?of={group}&{of}").text) == listed, group
    for box_id in "12":
        opened.people.change_access(box_id, lambda _, b=box_id: BoxAccess(b, "somebody", (), "all"))
    services = open_services(opened, "beyond_loopback", now_ns=lambda: NOW * 1_000_000)
    outsider = TestClient(create_app(services), client=("192.0.2.9", 1))
    assert lines(outsider, "region:north") == {"Box 2": BOTH}
    assert lines(outsider, "region:south") == {"Box 1": BOTH}
    opened.close()


def test_verdicts_and_changes_follow_the_place_of_then(tmp_path: Path) -> None:
    """Box 1 left the north for the south on Monday 16: weeks before are of the north."""
    opened, moved_ms = open_store(None, tmp_path), TODAY - 4 * past.DAY_MS
    past.fill_past(opened, NOW, days=12, boxes=("1", "2"), trends=False)
    opened.put_box(BoxRecord("1", "", region="south"), moved_ms)
    for back in (8, 2):
        at_ms = TODAY - back * past.DAY_MS
        step = StoredPhenomenon(
            "step", ("1",), at_ms, at_ms, {"analysis": "change", "because": f"{back} ago"}
        )
        opened.replace_phenomena("change", "1", at_ms, at_ms + 1, [step])
    view = TestClient(create_app(open_services(opened, now_ns=lambda: NOW * 1_000_000)))
    span = "from=2026-11-10&to=2026-11-20&tz=UTC"
    nothing = "nothing to judge is stored"

    def weeks(group: str) -> dict[str, list[bool]]:
        """Box -> whether weeks 47 and 46 have values."""
        page = view.get(f"/past?of={group}&show=verdicts&{span}").text
        places = re.split(r'<h2 id="place-[^>]*>', page)[1:]
        return {
            each[:5]: [nothing not in cell.partition("</td>")[0] for cell in each.split("<strong>")[1:]]
            for each in places
        }

    assert weeks("region:north") == {"Box 1": [False, True], "Box 2": [True, True]}
    assert weeks("region:south") == {"Box 1": [True, False]}
    for group, own, other in (("north", 8, 2), ("south", 2, 8)):
        listed = view.get(f"/past?of=region:{group}&q=rms_v&{span}").text
        assert f"{own} ago" in listed and f"{other} ago" not in listed, group
    opened.close()


def test_verdicts_are_of_the_boxes_that_were_there(tmp_path: Path) -> None:
    """Six Boxes before it left the north long ago. A number of weeks in the address belongs to the course."""
    opened = open_store(None, tmp_path)
    for number in range(11, 18):
        opened.put_box(BoxRecord(str(number), "", region="north"), TODAY - 90 * past.DAY_MS)
    for number in range(11, 17):
        opened.put_box(BoxRecord(str(number), "", region="south"), TODAY - 60 * past.DAY_MS)
    view = TestClient(create_app(open_services(opened, now_ns=lambda: NOW * 1_000_000)))
    span = "from=2026-11-17&to=2026-11-20&tz=UTC"
    page = view.get(f"/past?of=region:north&show=verdicts&weeks=2&{span}").text
    assert re.findall(r'<h2 id="place-[^>]*>(Box \d+)', page) == ["Box 17"]
    opened.close()


def test_changes_of_an_empty_group_are_none(tmp_path: Path) -> None:
    opened = open_store(None, tmp_path)
    step = StoredPhenomenon("step", ("1",), 1000, 2000, {"analysis": "change", "because": "it rose"})
    opened.replace_phenomena("change", "1", 1000, 2001, [step])
    shown = {
        stays: len(changes_listed(opened, 0, 9000, ["1", "2"], stays))
        for stays in (None, (), (("1", 0, 10**12),), (("2", 0, 10**12),), (("1", 3 * 10**9, 10**12),))
    }
    assert list(shown.values()) == [1, 0, 1, 0, 0]
    opened.close()


def test_medians_of_a_region_follow_the_facts(tmp_path: Path) -> None:
    """Hidden Box 4 left the north on Tuesday 17: from then on, two owners are left, and give no figure."""
    opened, moved_ms = open_store(None, tmp_path), TODAY - 3 * past.DAY_MS
    past.fill_past(opened, NOW, days=8, trends=False)
    opened.put_box(BoxRecord("4", "", region="south"), moved_ms)
    for box_id in past.PHASES:
        opened.people.change_access(box_id, lambda _, b=box_id: BoxAccess(b, f"owner {b}", (), "region"))
    services = open_services(opened, "beyond_loopback", now_ns=lambda: NOW * 1_000_000)
    outsider = TestClient(create_app(services), client=("192.0.2.9", 1))
    whole = "/past?of=region:north&q=rms_v&from=2026-11-14&to=2026-11-20"
    (line,) = data_of(outsider.get(whole).text)["charts"][0]["series"]
    assert line["words"] == "Region north, 3 Boxes"
    assert line["at"] and line["at"][-1] < moved_ms <= line["at"][-1] + line["step"]
    after = outsider.get("/past?of=region:north&q=rms_v&from=2026-11-18&to=2026-11-20")
    assert after.status_code == 200 and "3 Boxes" not in after.text and "2 Boxes" not in after.text
    assert outsider.get("/past?of=region:south").status_code == 404, "one hidden Box names no region"
    opened.close()


def test_percent_is_of_the_nominal_voltage_of_then(tmp_path: Path) -> None:
    """Box 1 was moved to 400 V on Monday 16; the span ends before."""
    opened = open_store(None, tmp_path)
    past.fill_past(opened, NOW, days=12, boxes=("1",), trends=False)
    view = TestClient(create_app(open_services(opened, now_ns=lambda: NOW * 1_000_000)))
    page = "/past?box=1&q=rms_v&source=a&y=percent&from=2026-11-12&to=2026-11-14&tz=UTC"
    before = data_of(view.get(page).text)["charts"][0]["series"][0]["mean"]
    opened.put_box(BoxRecord("1", "", nominal_v=400.0), TODAY - 4 * past.DAY_MS)
    later = TestClient(create_app(open_services(opened, now_ns=lambda: NOW * 1_000_000)))
    assert data_of(later.get(page).text)["charts"][0]["series"][0]["mean"] == before
    opened.close()


def test_a_year_of_weeks_has_no_days(client: TestClient) -> None:
    page = client.get("/past?box=1&show=verdicts&from=2026-05-01&to=2026-11-20&tz=Europe/Berlin").text
    found = cells(page)
    assert len(found) == 30 and {title for title, _ in found} == {""}
    # 24 without data, and the one in which it begins
    assert [verdict for _, verdict in found].count("not_assessed") == 25


def test_the_public_sees_only_public_boxes(store: CloudStore) -> None:
    """Sites, feeders and other Boxes do not exist for it."""
    services = open_services(store, "beyond_loopback", now_ns=lambda: NOW * 1_000_000)
    outsider = TestClient(create_app(services), client=("192.0.2.9", 1))
    assert outsider.get("/past", follow_redirects=False).status_code == 303, "nothing is public"
    store.people.change_access("2", lambda _: BoxAccess("2", "somebody", (), "all"))
    try:
        services = open_services(store, "beyond_loopback", now_ns=lambda: NOW * 1_000_000)
        outsider = TestClient(create_app(services), client=("192.0.2.9", 1))
        for show in ("course", "harmonics", "verdicts"):
            public = outsider.get(f"/past?of=region:north&show={show}&from=2026-11-14&to=2026-11-20&tz=UTC")
            assert public.status_code == 200 and "Box 2" in public.text
            assert not re.search(r"Box [14]\b|phase L|mill", public.text), show
            for query in ("of=site:mill", "of=feeder:F1", "box=1", "box=2,4"):
                assert outsider.get(f"/past?{query}&show={show}").status_code == 404, query
    finally:
        store.people.change_access("2", lambda _: BoxAccess("2"))


def test_regional_boxes_show_ten_minute_medians(tmp_path: Path) -> None:
    """Boxes whose access is `region` appear as one line of medians, and not at all in shorter rows."""
    opened = open_store(None, tmp_path)
    past.fill_past(opened, NOW, days=1)
    for box_id in past.PHASES:
        opened.people.change_access(box_id, lambda _, b=box_id: BoxAccess(b, f"owner {b}", (), "region"))
    services = open_services(opened, "beyond_loopback", now_ns=lambda: NOW * 1_000_000)
    outsider = TestClient(create_app(services), client=("192.0.2.9", 1))
    page = outsider.get("/past?of=region:north&q=rms_v,f_hz,thd_percent,h5&from=now-12h&to=now").text
    found = data_of(page)["charts"]
    assert [each["name"] for each in found] == ["rms_v", "f_hz"], "of these quantities only"
    (line,) = found[0]["series"]
    assert (
        found[0]["unit"] == "%" and line["words"] == "Region north, 3 Boxes" and line["step"] >= past.TEN_MS
    )
    assert line["mean"][0] == pytest.approx(100 * past.volts_of("1", 0, 6 * past.HOUR_MS) / 230, abs=0.01)
    assert not re.search(r"Box [124]\b|phase L|mill", page)
    for span in ("now-30m", "now-5m", "now-20s"):
        short = outsider.get(f"/past?of=region:north&q=rms_v&from={span}&to=now").text
        assert "Nothing of this span is stored." in short, "rows would be shorter than ten minutes"
    assert outsider.get("/past?of=region:north&weeks=1").status_code == 200
    for query in ("show=harmonics", "show=verdicts&tz=UTC"):
        assert not re.search(r"Box [124]\b|mill", outsider.get(f"/past?of=region:north&{query}").text)
    opened.close()


def test_a_view_without_boxes_answers_every_view(tmp_path: Path) -> None:
    opened = open_store(None, tmp_path)
    empty = TestClient(create_app(open_services(opened, now_ns=lambda: NOW * 1_000_000)))
    for query in ("", "weeks=2", "show=harmonics", "show=verdicts", "together=1&q=plt"):
        answer = empty.get(f"/past?{query}")
        assert answer.status_code == 200 and "No Box can be chosen yet." in answer.text, query
    opened.close()


def test_years_are_read_by_day_summaries(tmp_path: Path) -> None:
    """A week is read by its intervals."""
    opened = open_store(None, tmp_path)
    opened.put_box(BoxRecord("1", "", nominal_v=past.NOMINAL_V))
    reads: list[tuple[str, int]] = []
    days, read_rows = opened.intervals.days, opened.intervals.read
    opened.intervals.days = lambda *given: reads.append(("days", given[3] - given[2])) or days(*given)  # type: ignore[method-assign,func-returns-value]
    opened.intervals.read = lambda *given: reads.append(("rows", given[3] - given[2])) or read_rows(*given)  # type: ignore[method-assign,func-returns-value]
    read(opened, "plt", "1", "now-2y")
    assert [name for name, _ in reads] == ["days"]
    reads.clear()
    read(opened, "plt", "1", "now-7d")
    assert [name for name, _ in reads] == ["rows"]
    opened.close()


def test_a_new_drawn_quantity_has_its_trend() -> None:
    """Class A knows three of the drawn quantities; a further one comes from the trends alone."""
    crest = ShownQuantity(
        name="crest_ratio",
        words="Crest factor",
        unit="",
        rounded=4,
        digits=3,
        series=3,
        about="",
        examples=(),
    )
    drawn = drawn_quantity(crest, "crest")
    assert (drawn.name, drawn.key, drawn.interval, drawn.short_ms) == ("crest_ratio", "crest", "", 0)
    volts = BY_KEY["rms"].shown
    assert volts is not None and drawn_quantity(volts, "rms") == QUANTITIES["rms_v"]


@pytest.mark.parametrize(("of", "said"), [("f_hz&source=a", True), ("f_hz", True), ("rms_v&source=a", False)])
def test_a_frequency_names_its_extremes(client: TestClient, of: str, said: bool) -> None:
    page = client.get(f"/past?box=1&q={of}&from=2026-11-13&to=2026-11-20").text
    assert data_of(page)["charts"]
    words = "figures of a frequency the intervals of 10 s where these are stored for whole ten minutes"
    assert (words in page) == said


def angles_row(start_ms: int, number: int, exchanged: bool) -> Measurement:
    """Ten minutes of a site whose group says how its phases turn."""
    angles = (120.0, -120.0) if exchanged else (-120.0, 120.0)
    names = ("u2_ratio", "clock_ratio", "angle_b_deg", "angle_c_deg")
    values = dict(zip(names, (0.01, 1e-4, *angles), strict=True))
    return past.row_of("1", start_ms, number, Interval(past.TEN_MS, False, 1.0, values, place="mill"))


def test_a_wrong_week_is_named_beside_another(tmp_path: Path) -> None:
    opened = open_store(None, tmp_path)
    for box_id in ("1", "2", "3"):
        opened.put_box(BoxRecord(box_id, f"Box {box_id}", site="mill", phase=f"L{box_id}", nominal_v=230.0))
    starts = [
        (TODAY - back * past.DAY_MS + place * past.TEN_MS, back) for back in (2, 9) for place in range(3)
    ]
    opened.intervals.append(
        [angles_row(start_ms, number + 1, back == 9) for number, (start_ms, back) in enumerate(starts)]
    )
    view = TestClient(create_app(open_services(opened, now_ns=lambda: NOW * 1_000_000)))
    of = "/past?of=site:mill&q=unbalance_percent&source=a&weeks=1&tz=UTC&from=2026-11-16&to=2026-11-20"
    page = view.get(of).text
    this, before = data_of(page)["charts"][0]["series"]
    assert (len(this["at"]), len(before["at"])) == (1, 0)
    said = re.sub(r"<[^>]+>", "", page)
    assert "L2 and L3 (Box 2 and Box 3) are exchanged, or two others of the three" in said
    assert "unbalance is not shown from 2026-11-09 00:00:00 to 2026-11-16 00:00:00 UTC." in said
    opened.close()


def test_parts_that_are_left_out_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long span is read in parts: those with exchanged phases are left out, as one stretch."""
    first_ms = 1_600_000_000_000 // past.DAY_MS * past.DAY_MS
    edges_ms = [first_ms + days * past.DAY_MS for days in (0, 31, 93, 100)]
    rows = [
        angles_row(first_ms + day * past.DAY_MS + place * past.TEN_MS, 10 * day + place + 1, 40 <= day < 70)
        for day in range(100)
        for place in range(3)
    ]
    opened = open_store(None, tmp_path)
    opened.intervals.append(rows)
    records = [BoxRecord(each, "", site="mill", phase=f"L{each}") for each in ("1", "2", "3")]
    span = read_span(str(edges_ms[0]), str(edges_ms[-1]), edges_ms[-1])
    reader = PastReader(opened, span, edges_ms[-1], lambda _: None, False, rows=1000)
    of_site = SiteReader(opened.intervals, records)
    monkeypatch.setattr(quantity_reading, "RAW_DAYS", 50)
    mill = ShownBox("mill", "", None, 230.0, 50.0, False)
    found = reader.site(mill, QUANTITIES["unbalance_percent"], of_site)
    assert len(found.at_ms) == 38
    (left_out,) = of_site.unshown
    assert (left_out.start_ns, left_out.end_ns) == (edges_ms[1] * 10**6, edges_ms[2] * 10**6)
    assert left_out.why.startswith("L2 and L3 (Box 2 and Box 3) are exchanged")
    opened.close()


def test_a_sites_unbalance_of_years_is_read(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A span that is too long to be read at once is read in parts: a row of each day, the same figures."""
    day_ms, first_ms = 86_400_000, 1_700_000_000_000 // 86_400_000 * 86_400_000
    rows = []
    for number in range(90 * 4):
        start_ms = first_ms + number * day_ms // 4
        values = {
            "u2_ratio": 0.005 + number / 1e5,
            "clock_ratio": 1e-4,
            "angle_b_deg": -120.0,
            "angle_c_deg": 120.0,
        }
        ten = Interval(600_000, number == 7, 1.0, values, "mill")
        times = start_ms * 10**6, (start_ms + 600_000) * 10**6
        rows.append(Measurement("1", times[1] // 10**6, {}, *times, 100, sequence=number + 1, interval=ten))
    store.put_box(BoxRecord("1", "", site="mill", phase="L1"))
    store.intervals.append(rows)
    # the last part has less than three days
    span = read_span(str(first_ms + day_ms // 2), str(first_ms + 65 * day_ms - 1), first_ms + 100 * day_ms)
    reader = PastReader(store, span, first_ms + 100 * day_ms, lambda _: None, False, rows=1000)
    site = SiteReader(store.intervals, store.boxes())
    mill = ShownBox("mill", "", None, 230.0, 50.0, False)
    at_once = reader.site(mill, QUANTITIES["unbalance_percent"], site)
    monkeypatch.setattr(quantity_reading, "RAW_DAYS", 30)
    found = reader.site(mill, QUANTITIES["unbalance_percent"], site)
    assert found.step_ms == day_ms and len(found.at_ms) == 65
    assert not (found.at_ms % day_ms).any()
    assert found.source == at_once.source == "class A, 10 min"
    assert found.figures is not None and at_once.figures is not None
    assert found.figures == pytest.approx(at_once.figures, rel=1e-3) and found.figures[0] == pytest.approx(
        0.502
    )
    assert (found.start_ms, found.until_ms) == (at_once.start_ms, at_once.until_ms)
    assert found.flagged_share == pytest.approx(at_once.flagged_share, rel=0.05)
