"""What overlaps a span belongs to it, an interruption counts once, and a share is of what was measured."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from opq_cloud.core.settings.reports import ReportsSection
from opq_cloud.reports.as_json import report_json
from opq_cloud.reports.fleet_reading import read_fleet
from opq_cloud.reports.indices import fleet_indices, indices_document
from opq_cloud.reports.limit_table import limit_table
from opq_cloud.reports.place_reading import PlaceChoice
from opq_cloud.reports.report_page import report_html
from opq_cloud.reports.report_schedule import ReportSchedule
from opq_cloud.reports.supply import supply_of_box
from opq_cloud.reports.week import span_of, week_of
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.decision import Nominal
from opq_proto.messages import Disturbance, Interval, Measurement

EN50160 = limit_table("en50160")
TEN_NS, HOUR_NS = 600 * 10**9, 3600 * 10**9
MONDAY = datetime(2026, 10, 19, tzinfo=UTC)
WEEK, LATER_NS = "2026-W43", round(datetime(2026, 12, 1, tzinfo=UTC).timestamp()) * 10**9
WHOLE_H = 168.0
LONG: dict[str, tuple[float, float | None, str, tuple[int, int, float]]] = {
    # hours from Monday, length in hours, kind -> interruptions that begin, those before, minutes in the week
    "one of 15 days that ends on Tuesday": (-324.0, 360.0, "interruption", (0, 1, 36 * 60)),
    "one of 8 days that ends on Monday": (-191.0, 192.0, "interruption", (0, 1, 60)),
    "one of 200 days": (-4000.0, 4800.0, "interruption", (0, 1, WHOLE_H * 60)),
    "one of two years that ends on Sunday": (-17520.0, 17520.0 + 160, "interruption", (0, 1, 160 * 60)),
    "one that was never seen to end": (-900.0, None, "interruption", (0, 1, WHOLE_H * 60)),
    "one that begins with the week": (0.0, 5.0, "interruption", (1, 0, 300)),
    "one that ends with the week before": (-300.0, 300.0, "interruption", (0, 0, 0)),
    "one that goes on after the week": (160.0, 500.0, "interruption", (1, 0, 8 * 60)),
    "one over the week's beginning": (-0.1, 0.2, "interruption", (0, 1, 6)),
    "a short one over the beginning": (-0.01, 0.02, "interruption", (0, 0, 0)),
    "a dip of ten days": (-200.0, 240.0, "dip", (0, 0, 0)),
}


def at_ns(hours: float) -> int:
    return round((MONDAY + timedelta(hours=hours)).timestamp() * 1000) * 10**6


class Filler:
    """Stores intervals and disturbances with numbers of their own."""

    def __init__(self, store: CloudStore) -> None:
        self.store, self.number = store, 0

    def tens(self, box_id: str, first_h: float, last_h: float, lost: tuple[float, float] = (0, 0)) -> None:
        rows = []
        for start_ns in range(at_ns(first_h), at_ns(last_h), TEN_NS):
            gone = at_ns(lost[0]) < start_ns + TEN_NS and start_ns < at_ns(lost[1])
            values = {"rms_v": 0.5 if gone else 230.0, "f_hz": 50.0}
            self.number += 1
            interval = Interval(600_000, gone, 1.0, values)
            rows.append(
                Measurement(
                    box_id, 1, {}, start_ns, start_ns + TEN_NS, 5, sequence=self.number, interval=interval
                )
            )
        self.store.intervals.append(rows)

    def disturbance(self, box_id: str, kind: str, begin_h: float, hours: float | None, volts: float) -> None:
        start_ns, self.number = at_ns(begin_h), self.number + 1
        end_ns = None if hours is None else start_ns + round(hours * HOUR_NS)
        found = Disturbance(box_id, kind, start_ns, end_ns, 1000, volts)
        seen_ns = end_ns or start_ns + HOUR_NS
        row = Measurement(box_id, 1, {}, start_ns, seen_ns, sequence=self.number, disturbance=found)
        self.store.intervals.append([row])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path_factory.mktemp("supply"))
    filler = Filler(opened)
    for number, (begin_h, hours, kind, _) in enumerate(LONG.values(), 1):
        box_id = str(number)
        opened.put_box(BoxRecord(box_id, f"Meter {box_id}", nominal_v=230.0, nominal_hz=50.0))
        filler.tens(box_id, -2.0, WHOLE_H, (begin_h, 1e5 if hours is None else begin_h + hours))
        filler.disturbance(box_id, kind, begin_h, hours, 0.5 if kind == "interruption" else 170.0)
    opened.put_box(BoxRecord("91", "As one of the original"))
    filler.tens("91", 0.0, WHOLE_H)
    filler.disturbance("91", "dip", 5.0, 0.0001, 100.0)
    for box_id, hours in (("92", WHOLE_H / 4), ("93", 1.0)):
        opened.put_box(BoxRecord(box_id, f"Meter {box_id}", nominal_v=230.0, nominal_hz=50.0))
        filler.tens(box_id, 0.0, hours)
    filler.disturbance("92", "interruption", 50.0, 2.0, 0.5)  # dark: it measured nothing
    yield opened
    opened.close()


def report_of(store: CloudStore, box_id: str, nominal: Nominal = DEFAULT_NOMINAL) -> dict[str, Any]:
    week = week_of(WEEK, "UTC", 0)
    fleet = read_fleet(store, EN50160, week, PlaceChoice("box", box_id), nominal, LATER_NS)
    return report_json(fleet.reports[0])


def indices_of(store: CloudStore, box_id: str, span: str = WEEK) -> dict[str, Any]:
    chosen = PlaceChoice("box", box_id)
    found = fleet_indices(store, span_of(span, "UTC", 0), chosen, DEFAULT_NOMINAL, LATER_NS)
    return indices_document(found)["boxes"][0]


@pytest.mark.parametrize("words", LONG)
def test_what_overlaps_a_week_belongs_to_it(store: CloudStore, words: str) -> None:
    box_id = str([*LONG].index(words) + 1)
    began, earlier, minutes = LONG[words][3]
    document = report_of(store, box_id)
    for found in (document["boxes"][0], indices_of(store, box_id)):
        assert (found["interruptions"], found["earlier_interruptions"]) == (began, earlier)
        assert found["interrupted_minutes"] == pytest.approx(minutes)
        assert found["supplied_percent"] == pytest.approx(100 - minutes / WHOLE_H / 0.6)
    said = " ".join(document["sentences"])
    assert ("that began before the week" in said) == bool(earlier)
    first = document["sentences"][0]
    assert "no values are stored" not in first
    named = f", and an interruption that began before the week took {minutes:.1f} minutes of it, for which"
    assert (named in first) == bool(earlier)


def test_page_paper_and_mail_name_the_earlier_interruption(store: CloudStore, tmp_path: Path) -> None:
    """A week with 36 of 168 hours in one is not only "all limits were met"."""
    mails: list[EmailMessage] = []
    section = ReportsSection(day="tuesday", places=("box:1",), format="html", addresses=("a@example.org",))
    schedule = ReportSchedule(section, tmp_path, DEFAULT_NOMINAL, mails.append, "OPQ <opq@example.org>")
    (made,) = schedule.make_due(store, at_ns(10 * 24.0))
    (mail,) = mails
    text = mail.get_body(("plain",))
    assert text is not None
    fleet = read_fleet(
        store, EN50160, week_of(WEEK, "UTC", 0), PlaceChoice("box", "1"), DEFAULT_NOMINAL, LATER_NS
    )
    papers = [report_html(fleet, "now", for_paper=True), made.path.read_text()]
    (report,) = fleet.reports
    assert report.verdict == "pass"
    for said in (
        *(each.partition('class="lead">')[2].partition("</p>")[0] for each in papers),
        text.get_content(),
    ):
        words = " ".join(said.split())
        assert words.startswith("All 2 judged limits"), words
        assert "an interruption that began before the week took 2160.0 minutes of it" in words
    assert any("No further dip, swell or interruption began in the week." in each for each in papers)


def test_an_interruption_counts_where_it_began(store: CloudStore) -> None:
    """One over Sunday midnight: its minutes are shared by the weeks, and add up to those of the month."""
    box_id = str([*LONG].index("one that goes on after the week") + 1)
    first, second, month = (indices_of(store, box_id, span) for span in (WEEK, "2026-W44", "2026-10"))
    assert [each["interruptions"] for each in (first, second, month)] == [1, 0, 1]
    assert second["earlier_interruptions"] == 1
    # the month ends on Saturday of the second week, 120 h after its beginning
    assert [each["interrupted_minutes"] for each in (first, second, month)] == [
        pytest.approx(minutes) for minutes in (480, WHOLE_H * 60, 480 + 120 * 60 + 24 * 60)
    ]


def test_supply_is_a_share_of_what_was_measured(store: CloudStore) -> None:
    found = indices_of(store, "92")
    assert found["supplied_percent"] == pytest.approx(100 * 42 / 44)  # 42 h measured, 2 h dark
    assert report_of(store, "92")["boxes"][0]["supplied_percent"] == found["supplied_percent"]
    assert indices_of(store, "93")["supplied_percent"] == 100.0
    nothing = indices_of(store, "93", "2026-W45")
    assert nothing["supplied_percent"] is None and nothing["complete_percent"] == 0.0
    to_come = indices_of(store, "93", "2026-W52")
    assert to_come["supplied_percent"] is to_come["complete_percent"] is None


def test_of_a_span_without_supply_all_is_known() -> None:
    """Also where its length is not a whole number of minutes."""
    start_ns, end_ns = at_ns(0), at_ns(0) + 63_850_248_417_660
    found = supply_of_box([(start_ns - HOUR_NS, None)], 0.0, [], (start_ns, end_ns), 180.0)
    assert (found.supplied_percent, found.earlier) == (0.0, 1)


def test_a_week_to_come_is_not_missing(store: CloudStore) -> None:
    chosen = EN50160, week_of(WEEK, "UTC", 0), PlaceChoice("box", "6"), DEFAULT_NOMINAL
    said = " ".join(report_json(read_fleet(store, *chosen, at_ns(-1)).reports[0])["sentences"])
    assert "has not begun" in said and "missing" not in said
    week = week_of(WEEK, "UTC", 0)
    running = read_fleet(store, EN50160, week, PlaceChoice("box", "93"), DEFAULT_NOMINAL, at_ns(3.0))
    said = " ".join(report_json(running.reports[0])["sentences"])
    assert "2.0 h are missing and 165.0 h are to come" in said and "; not measured: " in said


def test_a_default_decides_no_verdict(store: CloudStore) -> None:
    document = report_of(store, "91")
    assert document["verdict"] == "not_assessed" and document["boxes"][0]["nominal_v"] is None
    judged = {row["quantity"]: row for row in document["rows"]}
    assert judged["voltage"]["verdict"] == judged["frequency"]["verdict"] == "not_assessed"
    assert "opq-tools boxes set 91 --nominal-v 230 states it" in document["sentences"][0]
    assert any("of 120 V, which is not stated" in line for line in document["sentences"])
    assert indices_of(store, "91")["nominal_v"] is None
    stated = report_of(store, "91", Nominal(230.0, 50.0))  # by the system's configuration
    assert {row["verdict"] for row in stated["rows"] if row["quantity"] == "voltage"} == {"pass"}
    assert stated["boxes"][0]["nominal_v"] == 230.0 and not math.isnan(stated["boxes"][0]["nominal_hz"])
