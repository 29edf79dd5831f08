"""Moments of a table's rows: repeated and missing hours, orders of dates, serial and compact times."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from opq_proto.errors import RecordingError
from opq_recordings.csv_rows import read_table
from opq_recordings.reading import read_recording
from opq_recordings.row_moments import StatedTimes, row_moments, with_time_columns

AUTUMN = "2026-10-24T22:00"
"""Two hours before clocks of Berlin go back."""
BERLIN = StatedTimes("Europe/Berlin")


def rows(
    start: str, count: int, step_s: float, form: str, zone: str = "UTC", head: str = "time,v"
) -> list[str]:
    first = datetime.fromisoformat(start).replace(tzinfo=UTC)
    moments = (first + timedelta(seconds=step_s * at) for at in range(count))
    return [
        head,
        *(
            f"{each.astimezone(ZoneInfo(zone)).strftime(form)},23{at % 9}.5"
            for at, each in enumerate(moments)
        ),
    ]


def seconds(folder: Path, lines: list[str], stated: StatedTimes = BERLIN) -> list[int]:
    file = folder / "meter.csv"
    file.write_text("\n".join(lines))
    table = read_table(file)
    form = with_time_columns(table.form, table.rows, None)
    found = row_moments(form, table.rows, [0] * len(table.rows), stated).t_ns
    return [each // 10**9 for each in found if each is not None]


def even(start: str, count: int, step_s: int) -> list[int]:
    first = int(datetime.fromisoformat(start).replace(tzinfo=UTC).timestamp())
    return [first + step_s * at for at in range(count)]


@pytest.mark.parametrize(
    ("start", "count", "step_s", "form", "zone"),
    [
        (AUTUMN, 36, 600, "%Y-%m-%d %H:%M:%S", "Europe/Berlin"),
        (AUTUMN, 8, 3600, "%d.%m.%Y %H:%M", "Europe/Berlin"),
        ("2026-10-25T01:20", 12, 600, "%Y-%m-%d %H:%M", "Europe/Berlin"),
        ("2026-10-24T23:00", 8, 600, "%Y-%m-%d %H:%M", "Europe/Berlin"),
        ("2026-11-01T03:00", 40, 600, "%m/%d/%Y %I:%M:%S %p", "America/New_York"),
        ("2026-04-04T12:00", 40, 600, "%Y-%m-%d %H:%M", "Australia/Lord_Howe"),
        ("2026-03-28T23:00", 24, 600, "%Y-%m-%d %H:%M", "Europe/Berlin"),
        (AUTUMN, 36, 600, "%d.%m.%Y %H:%M:%S %Z", "Europe/Berlin"),
        (AUTUMN, 36, 600, "%Y-%m-%dT%H:%M:%S%z", "Europe/Berlin"),
        (AUTUMN, 36, 600, "%Y%m%d%H%M%S", "Europe/Berlin"),
        (AUTUMN, 36, 600, "%Y%m%dT%H%M%S", "Europe/Berlin"),
        (AUTUMN, 36, 3600, "%Y%m%d%H", "UTC"),
        ("2026-04-10T20:00", 60, 600, "%d/%m/%Y %H:%M", "UTC"),
        ("2026-04-10T20:00", 60, 600, "%m/%d/%Y %H:%M", "UTC"),
        ("2026-10-09T20:00", 60, 600, "%y/%m/%d %H:%M", "UTC"),
        ("2026-03-25T10:00", 14, 86_400, "%d/%m/%Y %H:%M", "UTC"),
    ],
)
@pytest.mark.parametrize("newest_first", [False, True])
def test_rows_in_order_settle_their_moments(
    tmp_path: Path, start: str, count: int, step_s: int, form: str, zone: str, newest_first: bool
) -> None:
    lines = rows(start, count, step_s, form, zone)
    wanted = even(start, count, step_s)
    if newest_first:
        lines, wanted = [lines[0], *lines[:0:-1]], wanted[::-1]
    assert seconds(tmp_path, lines, StatedTimes(zone)) == wanted


@pytest.mark.parametrize(
    ("lines", "stated", "option"),
    [
        (rows("2026-10-24T23:00", 36, 600, "%Y-%m-%d %H:%M"), BERLIN, "--repeated-hour"),
        (rows("2026-03-29T01:00", 24, 600, "%Y-%m-%d %H:%M"), BERLIN, "line 8.*--zone \\+01:00"),
        (rows(AUTUMN, 36, 600, "%Y-%m-%d %H:%M %Z", "Europe/Berlin"), StatedTimes(), "'CEST' is not known"),
        (rows("2026-04-01T10:00", 10, 86_400, "%d/%m/%Y %H:%M"), BERLIN, "--dates dmy or --dates mdy"),
        (["time,v", "13/04/2026 10:00,1", "04/14/2026 10:00,2", "15/04/2026 10:00,2"], BERLIN, "no order"),
        (["time,v", "0,230", "1,231", "2,230"], BERLIN, "line 2: its time '0' is not a date"),
        (rows(AUTUMN, 3, 600, "%Y-%m-%d %H:%M"), StatedTimes("Berlin"), "'Berlin' is not a zone"),
        ([*rows(AUTUMN, 3, 600, "%Y-%m-%d %H:%M"), "Average,230"], BERLIN, "line 5: 'Average' is not a time"),
        ([*rows(AUTUMN, 3, 600, "%Y%m%d%H%M%S"), "Average,230"], BERLIN, "line 5: 'Average' is not a time"),
    ],
)
def test_open_times_are_refused_with_the_option(
    tmp_path: Path, lines: list[str], stated: StatedTimes, option: str
) -> None:
    with pytest.raises(RecordingError, match=option):
        seconds(tmp_path, lines, stated)


def test_stated_turns_and_orders_are_taken(tmp_path: Path) -> None:
    lines = rows(AUTUMN, 36, 600, "%Y-%m-%d %H:%M", "Europe/Berlin")
    once = [*lines[:19], *lines[25:]]  # without the second turn of the hour
    whole = even(AUTUMN, 36, 600)
    assert seconds(tmp_path, once, StatedTimes("Europe/Berlin", repeated_hour="first")) == [
        *whole[:18],
        *whole[24:],
    ]
    assert seconds(tmp_path, once, StatedTimes("Europe/Berlin", repeated_hour="second")) == [
        *whole[:12],
        *whole[18:],
    ]
    left = seconds(tmp_path, once, StatedTimes("Europe/Berlin", repeated_hour="leave-out"))
    assert left == [*whole[:12], *whole[24:]]
    days = rows("2026-03-04T10:00", 5, 600, "%d/%m/%Y %H:%M")
    assert seconds(tmp_path, days, StatedTimes(date_order="dmy")) == even("2026-03-04T10:00", 5, 600)


@pytest.mark.parametrize(
    ("head", "form"),
    [
        ("Date,Time,v", "%d.%m.%Y,%H:%M:%S"),
        ("Date,Clock,v", "%Y%m%d,%H%M"),
        ("Day of date,Hour,v", "%m/%d/%Y,%I:%M %p"),
        ("Datum,Uhrzeit,v", "%d.%m.%y,%H:%M"),
        ("Date,Time,AM/PM,v", "%m/%d/%Y,%I:%M:%S,%p"),
        ("Date,Time,,v", "%m/%d/%Y,%I:%M,%p"),
    ],
)
def test_date_and_clock_in_two_columns(tmp_path: Path, head: str, form: str) -> None:
    lines = rows("2026-10-20T00:00", 30, 600, form, head=head)
    assert seconds(tmp_path, lines) == [each - 7200 for each in even("2026-10-20T00:00", 30, 600)]


@pytest.mark.parametrize("head", ["Time,Offset,v", "Time,UTC offset,v", "time,tz,v"])
def test_a_column_of_zones_states_the_zone(tmp_path: Path, head: str) -> None:
    lines = rows("2026-10-20T00:00", 30, 600, "%Y-%m-%d %H:%M,+05:00", head=head)
    assert seconds(tmp_path, lines) == [each - 18_000 for each in even("2026-10-20T00:00", 30, 600)]


@pytest.mark.parametrize(
    ("head", "form"),
    [
        ("Date,Time,AM/PM,u_V", "%m/%d/%Y,%I:%M:%S.%f,%p"),
        ("Date,Time,Zone,u_V", "%m/%d/%Y,%H:%M:%S.%f,UTC"),
        ("time,offset,u_V", "%Y-%m-%d %H:%M:%S.%f,+00:00"),
    ],
)
def test_a_recording_has_its_time_apart(tmp_path: Path, head: str, form: str) -> None:
    lines = rows("2024-10-20T13:30:00", 400, 1e-3, form, head=head)
    (tmp_path / "r.csv").write_text("\n".join(lines))
    found = read_recording(tmp_path / "r.csv")
    assert found.start_ns == int(datetime(2024, 10, 20, 13, 30, tzinfo=UTC).timestamp()) * 10**9
    assert ("time_zone" in found.assumed) is ("AM/PM" in head)


def test_whole_numbers_behind_a_zone_are_values(tmp_path: Path) -> None:
    """A blank parts these rows into three numbers and times, too."""
    lines = ["time,v", *(f"2026-10-25 02:{at:02}:00 +0200,{230 + at}" for at in range(0, 60, 10))]
    assert seconds(tmp_path, lines) == even("2026-10-25T00:00", 6, 600)


@pytest.mark.parametrize(("digits", "mark"), [(8, "."), (5, "."), (8, ",")])
def test_serial_days_are_a_local_clock(tmp_path: Path, digits: int, mark: str) -> None:
    days = [46_320 + (at if at < 18 else at - 6) / 144 for at in range(36)]  # 02:00 to 02:50 twice
    lines = [f"{each:.{digits}f};230.{at % 7}".replace(".", mark) for at, each in enumerate(days)]
    assert seconds(tmp_path, ["time;v", *lines]) == even(AUTUMN, 36, 600)


def test_samples_go_on_where_summer_time_ends(tmp_path: Path) -> None:
    lines = rows("2024-10-27T00:59:59.9", 400, 1e-3, "%Y-%m-%d %H:%M:%S.%f", "Europe/Berlin", "time,u_V")
    (tmp_path / "r.csv").write_text("\n".join(lines))
    found = read_recording(tmp_path / "r.csv")
    assert found.gaps == () and found.rate_hz == pytest.approx(1000)
    assert any("line 102: its clock goes back by an hour" in each for each in found.problems)


@pytest.mark.parametrize("form", ["%d/%m/%Y %H:%M:%S.%f", "%m/%d/%Y %H:%M:%S.%f"])
def test_the_whole_column_dates_a_recording(tmp_path: Path, form: str) -> None:
    (tmp_path / "r.csv").write_text(
        "\n".join(rows("2024-04-03T23:59:59.9", 400, 1e-3, form, head="time,u_V"))
    )
    found = read_recording(tmp_path / "r.csv")
    assert found.start_ns == 1_712_188_799_900_000_000 and found.problems == ()


@pytest.mark.parametrize(
    ("since", "ahead_s"), [("2026-11-17 06:00", 3600), ("2026-11-17T06:00Z", 0), ("17.11.2026 06:00", 3600)]
)
def test_numbers_count_from_their_heading(since: str, ahead_s: int, tmp_path: Path) -> None:
    """By the zone that the user states, unless the heading has one."""
    lines = [f"time (min since {since}),v", *(f"{10 * at},23{at % 9}.5" for at in range(30))]
    assert seconds(tmp_path, lines) == [each - ahead_s for each in even("2026-11-17T06:00", 30, 600)]
