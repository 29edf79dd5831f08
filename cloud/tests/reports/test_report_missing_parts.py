"""A verdict with parts missing is one verdict: pill, sentence, calendar, CSV, PDF and mail say the same."""

import csv
import io
import json
import re
import tempfile
from email.message import EmailMessage
from pathlib import Path

import numpy as np
from golden_weeks import TEN_MS, columns, disturbance, golden_week, starts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_weeks import StoreInMemory, WeeksInMemory

from opq_cloud.core.settings.reports import ReportsSection
from opq_cloud.reports.fleet_reading import read_fleet
from opq_cloud.reports.limit_table import limit_table
from opq_cloud.reports.place_reading import PlaceChoice, chosen_places
from opq_cloud.reports.report_schedule import ReportSchedule
from opq_cloud.reports.written import written
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.view.pages.past.verdict_calendar import week_lines
from opq_proto.decision import Nominal

WEEK, NOMINAL = golden_week(), Nominal(230.0, 50.0)
STARTS = starts_of(WEEK, TEN_MS)
AFTER_NS = WEEK.end_ns + 30 * 3600 * 10**9
WORDS = {"pass": "met", "fail": "not met", "not_assessed": "not assessed"}
BOXES = ("1", "2", "3")


def store_of(measured: tuple[int, ...], low: tuple[int, ...], sites: bool) -> StoreInMemory:
    """Boxes that measured the first intervals of the week, the first of them at 180 V; each saw a dip."""
    weeks = WeeksInMemory()
    for box_id, count, below in zip(BOXES, measured, low, strict=False):
        volts = np.full(1008, 231.0)
        volts[:below] = 180.0
        values = {"rms_v": volts, "thd_ratio": 0.02}
        own = columns(STARTS, TEN_MS, values, (500,), range(count, 1008), box_id=box_id)
        weeks.columns[box_id, TEN_MS] = own
        weeks.events.append(disturbance(WEEK, "dip", 500 * 600 + 5.0, 0.2, 70, box_id))
    records = [
        BoxRecord(each, f"Box {each}", site="mill" if sites else None, phase=f"L{each}" if sites else None)
        for each in BOXES[: len(measured)]
    ]
    return StoreInMemory(records, weeks)


def mail_of(store: StoreInMemory, folder: Path, place: str) -> str:
    mails: list[EmailMessage] = []
    section = ReportsSection(
        day="tuesday", zone=WEEK.zone.key, places=(place,), addresses=("a@example.org",), format="csv"
    )
    ReportSchedule(section, folder, NOMINAL, mails.append, "OPQ <opq@here>").make_due(store, AFTER_NS)  # type: ignore[arg-type]
    body, _ = mails[0].iter_parts()
    return str(body.get_content())


def verdict_in(sentence: str) -> str:
    """What the first sentence of a report says."""
    if " were not met" in sentence:
        return "fail"
    return "not_assessed" if re.search("(could|Nothing could) (not )?be", sentence) else "pass"


def written_in(pattern: str, text: str) -> list[str]:
    return re.findall(pattern, text)


COUNTS = st.tuples(
    st.sampled_from([0, 72, 900, 957, 958, 1007, 1008]), st.sampled_from([0, 3, 49, 50, 51, 80])
)


@given(st.lists(COUNTS, min_size=1, max_size=3), st.booleans())
@settings(max_examples=30, deadline=None)
def test_six_places_say_one_verdict(boxes: list[tuple[int, int]], sites: bool) -> None:
    measured, low = zip(*boxes, strict=True)
    sites = sites and len(boxes) == 3
    store = store_of(measured, low, sites)
    choice = PlaceChoice("site", "mill") if sites else PlaceChoice("box", "1")
    table = limit_table("en50160")
    fleet = read_fleet(store, table, WEEK, choice, NOMINAL, AFTER_NS)  # type: ignore[arg-type]
    document = json.loads(written(fleet, "json", AFTER_NS))
    verdict, sentence = document["verdict"], document["sentences"][0]
    assert verdict_in(sentence) == verdict == fleet.reports[0].verdict

    for for_paper in (False, True):
        page = written(fleet, "html", AFTER_NS, for_paper).decode()
        assert written_in(r"<h1>[^<]*<span[^>]*>([^<]*)</span></h1>", page) == [WORDS[verdict]]
        assert sentence in page

    rows = list(csv.DictReader(io.StringIO(written(fleet, "csv", AFTER_NS).decode())))
    for row, own in zip(rows, document["rows"], strict=True):
        assert (row["verdict"], row["why"], row["missing"]) == (
            own["verdict"],
            own["why"],
            str(own["missing"]),
        )
    assert ("fail" in {row["verdict"] for row in rows}) == (verdict == "fail")

    with tempfile.TemporaryDirectory() as folder:
        assert sentence in mail_of(store, Path(folder), "site:mill" if sites else "box:1")

    (place,) = chosen_places(store.boxes(), choice, WEEK.start_ns, WEEK.end_ns)
    span_ms = WEEK.start_ns // 10**6, WEEK.end_ns // 10**6
    (line,) = week_lines(store, table, place, WEEK.zone, span_ms, AFTER_NS // 10**6, NOMINAL)  # type: ignore[arg-type]
    words = line.whole.words
    assert line.whole.verdict == verdict, (sentence, words)
    if verdict == "pass":
        assert written_in(r"^All (\d+) judged", sentence) == written_in(r"^(\d+) limits met", words)
    if verdict == "not_assessed" and "stored" not in words:
        share = r"(\d+\.\d)\s% (?:of the week was )?measured"
        assert written_in(share, sentence) == written_in(share, words), (sentence, words)
        assert [*written_in(r"^(\d+) limit", sentence), "0"][0] == words.split()[0]
