"""The weekly report on a schedule: when it is due, and that a kill anywhere loses nothing."""

import smtplib
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from golden_weeks import TEN_MS, columns, golden_week, starts_of
from stored_weeks import StoreInMemory, WeeksInMemory

from opq_cloud.core.settings.reports import ReportsSection
from opq_cloud.reports.report_schedule import ReportSchedule
from opq_cloud.store.box_record import BoxRecord
from opq_proto.decision import Nominal
from opq_proto.errors import ConfigError

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> int:
    """Nanoseconds of a local time in Berlin."""
    return round(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()) * 10**9


def section(**given: object) -> ReportsSection:
    return ReportsSection(**{"day": "tuesday", "zone": "Europe/Berlin", **given})  # type: ignore[arg-type]


def store() -> StoreInMemory:
    week = golden_week()
    low = columns(starts_of(week, TEN_MS), TEN_MS, {"rms_v": 200.0})
    return StoreInMemory([BoxRecord("1", "Box 1", site="mill")], WeeksInMemory({("1", TEN_MS): low}))


class Server:
    """A mail server that refuses as long as it is told to."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.refuses = False

    def deliver(self, message: EmailMessage) -> None:
        if self.refuses:
            raise smtplib.SMTPServerDisconnected("Connection unexpectedly closed")
        self.mails.append(message)


def schedule(data_dir: Path, server: Server | None = None, **given: object) -> ReportSchedule:
    return ReportSchedule(
        section(**given), data_dir, Nominal(230.0, 50.0), server.deliver if server else None, "OPQ <opq@here>"
    )


@pytest.mark.parametrize(
    ("now", "week"),
    [
        ("2026-11-23T00:00", "2026-W46"),  # the week is over, but Tuesday has not come
        ("2026-11-24T05:59", "2026-W46"),
        ("2026-11-24T06:00", "2026-W47"),
        ("2026-11-29T23:59", "2026-W47"),
        ("2026-11-30T00:00", "2026-W47"),
        ("2026-10-26T01:00", "2026-W42"),  # the day after the change of clocks
    ],
)
def test_a_week_is_due_from_its_hour_on(tmp_path: Path, now: str, week: str) -> None:
    assert schedule(tmp_path).due_week(at(now)).name == week


def test_a_report_is_written_and_mailed_once(tmp_path: Path) -> None:
    server = Server()
    made = schedule(tmp_path, server, addresses=("grid@example.org", "b@example.org"), places=("site:mill",))
    now_ns = at("2026-11-24T06:00")
    (report,) = made.make_due(store(), now_ns)
    assert report.path == tmp_path / "reports" / "2026-W47-site-mill-en50160.html" and report.mailed
    assert "1 of" not in report.path.name and report.path.stat().st_mode & 0o777 == 0o600
    (mail,) = server.mails
    assert mail["To"] == "grid@example.org, b@example.org" and "2026-W47" in mail["Subject"]
    body, attached = mail.iter_parts()
    assert "Voltage at Box 1: 1008 of 1008 values of 10 min" in body.get_content()
    assert attached.get_filename() == report.path.name and "Site mill" in attached.get_content()
    assert made.make_due(store(), now_ns) == [] and len(server.mails) == 1
    (later,) = made.make_due(store(), at("2026-12-01T06:00"))
    assert later.path.name == "2026-W48-site-mill-en50160.html"


def test_a_killed_report_is_made_at_start(tmp_path: Path) -> None:
    """Killed between the file and the mail: the file is there, and the mail is sent by the next process."""
    server, now_ns = Server(), at("2026-11-24T06:00")
    server.refuses = True
    given = {"addresses": ("grid@example.org",), "format": "json"}
    with pytest.raises(smtplib.SMTPException):
        schedule(tmp_path, server, **given).make_due(store(), now_ns)
    (path,) = (tmp_path / "reports").glob("*.json")
    before = path.read_bytes()
    server.refuses = False
    (again,) = schedule(tmp_path, server, **given).make_due(store(), now_ns + 10**9)
    assert again.mailed and path.read_bytes() == before and len(server.mails) == 1
    assert schedule(tmp_path, server, **given).make_due(store(), now_ns + 2 * 10**9) == []


def test_several_places_have_a_report_each(tmp_path: Path) -> None:
    made = schedule(tmp_path, places=("all", "box:1"), format="csv", folder=tmp_path / "out")
    names = [each.path.name for each in made.make_due(store(), at("2026-11-25T00:00"))]
    assert names == ["2026-W47-all-en50160.csv", "2026-W47-box-1-en50160.csv"]
    assert not any(each.mailed for each in made.make_due(store(), at("2026-11-25T00:00")))


def test_never_makes_nothing(tmp_path: Path) -> None:
    made = schedule(tmp_path, day="never")
    assert not made.runs and made.make_due(store(), at("2026-11-25T00:00")) == []
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"standard": "en50161"}, "'en50161' is not a known standard"),
        ({"zone": "Mars/Olympus"}, "want a zone such as"),
        ({"places": ("mill",)}, "'mill' is not a place; want all, or e.g. site:mill"),
        ({"addresses": ("a@example.org",)}, "there is no mail server; set view.mail.server"),
    ],
)
def test_what_cannot_run_is_refused_at_the_start(
    tmp_path: Path, given: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        schedule(tmp_path, **given)
