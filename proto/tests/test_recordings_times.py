"""Times as people and loggers write them; what is not understood keeps the samples."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings_under_test import RATE_HZ, ROWS, START_NS, assert_same, read, volts
from test_recordings_csv import table

from opq_proto.errors import RecordingError
from opq_recordings.reading import read_recording
from opq_recordings.written_times import written_time

NS = 10**9
KNOWN = [
    "2024-03-17 10:00:00 UTC",
    "2024-03-17T10:00:00Z",
    "2024-03-17 10:00:00.000 GMT",
    "2024-03-17 12:00:00 +0200",
    "2024-03-17T12:00:00+02:00",
    "2024-03-17 12:00:00 UTC+2",
    "2024-03-17 11:00:00 Europe/Berlin",
    "2024-03-17T11:00:00+01:00[Europe/Berlin]",
    "17 Mar 2024 10:00:00 Z",
    "Sun Mar 17 10:00:00 UTC 2024",
    "Sunday, March 17, 2024 10:00:00 AM UTC",
    "20240317T100000Z",
    "2024-077T10:00:00Z",
    "2024/3/17 10:00:00 UTC",
    "03/17/2024 10:00:00.000000 AM UTC",
    "17.03.2024 10:00:00 (UTC)",
    "2024-03-16 24:00:00 UTC-10",
]
WITHOUT_ZONE = [
    "2024-03-17 10:00:00",
    "03/17/2024 10:00:00 AM",
    "17/03/2024 10:00:00 a. m.",
    "17/03/2024 10:00:00\u00a0a.\u00a0m.",
    "3/17/2024 10:00:00 a.m.",
    "17-Mar-2024 10:00:00",
    "17 März 2024 10:00:00",
    "17 марта 2024 г. 10:00:00",
    "Mar 17, 2024 10:00:00",
    "17.03.24 10:00:00",
    "2024/3/17 上午 10:00:00",
    "2024年3月17日 10:00:00",
    "17 mars 2024 10:00:00",
    "2024-03-17 10:00",
    "20240317 10:00:00",
    "17/03/2024 10:00:00:000",
    "2024.03.17 10:00:00",
    "Sun Mar 17 10:00:00 2024",
]
NOT_TIMES = [
    "",
    "325.27",
    "hello",
    "2024-13-17 10:00:00",
    "2024-02-30",
    "10:61:00",
    "20240317",
    "-10:00:00",
    "1.5:00:00",
]


@pytest.mark.parametrize("text", KNOWN)
def test_a_time_with_its_zone_is_known(text: str) -> None:
    found = written_time(text)
    assert found is not None and (found.t_ns, found.zone, found.problem) == (START_NS, True, None)


@pytest.mark.parametrize("text", WITHOUT_ZONE)
def test_a_time_without_zone_is_utc(text: str) -> None:
    found = written_time(text)
    assert found is not None and (found.t_ns, found.zone) == (START_NS, False)


@pytest.mark.parametrize("zone", ["CET", "EST", "IST", "Mars/Phobos", "Local time", "MESZ"])
def test_an_unknown_zone_leaves_the_time_unknown(zone: str) -> None:
    found = written_time(f"2024-03-17 10:00:00.5 {zone}")
    assert found is not None and found.t_ns is None and found.clock_ns == START_NS + NS // 2
    assert f"{zone!r} is not known" in str(found.problem)


@pytest.mark.parametrize(
    "text", ["03/04/2024 10:00:00", "24/03/17 10:00:00", "2024-10-27 02:30:00 Europe/Berlin"]
)
def test_a_time_that_can_be_two_is_unknown(text: str) -> None:
    found = written_time(text)
    assert found is not None and found.t_ns is None and found.problem


@pytest.mark.parametrize("text", NOT_TIMES)
def test_other_texts_are_not_times(text: str) -> None:
    assert written_time(text) is None


@pytest.mark.parametrize(
    ("text", "of_day_s"),
    [
        ("12:00:00 PM", 43_200.0),
        ("12:00:00 am", 0.0),
        ("1:05:03.2 PM", 47_103.2),
        ("59:59.8", 3599.8),
        ("10:00:00:123", 36_000.123),
    ],
)
def test_a_clock_alone_has_no_date(text: str, of_day_s: float) -> None:
    found = written_time(text)
    assert found is not None and not found.dated and found.t_ns is None
    assert found.clock_ns == round(of_day_s * NS)


FORMS = (
    "%Y-%m-%d %H:%M:%S.%f",
    "%d.%m.%Y %H:%M:%S,%f",
    "%d-%b-%Y %I:%M:%S.%f %p",
    "%B %d, %Y %H:%M:%S.%f",
    "%Y%m%dT%H%M%S.%fZ",
)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)), st.sampled_from(FORMS))
def test_every_moment_comes_back(moment: datetime, form: str) -> None:
    found = written_time(moment.strftime(form))
    exact = (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert found is not None and found.t_ns == exact * 1000


@given(
    st.text(max_size=60)
    | st.from_regex(r"\d{1,4}[-/. :]\d{1,2}[-/. :]\d{1,4}[ T]\d{1,2}:\d\d(:\d\d)?.{0,9}", fullmatch=True)
)
def test_any_text_is_a_time_or_none(text: str) -> None:
    found = written_time(text)
    assert found is None or isinstance(found.clock_ns, int)


def rows(
    stamp: str, head: str = "time;u_V\n", since: datetime = datetime(2024, 3, 17, 10), **more: str
) -> str:
    """A table whose times are those of `since`, in a form of strftime."""

    def row(k: int, t: float, v: float) -> str:
        text = (since + timedelta(seconds=t)).strftime(stamp)
        return f"{text};{v:.2f}"

    return table(row, head)


def written(folder: Path, text: str) -> Path:
    path = folder / "a.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "stamp",
    [
        "%Y-%m-%d %H:%M:%S.%f UTC",
        "%m/%d/%Y %I:%M:%S.%f %p",
        "%d-%b-%Y %H:%M:%S.%f",
        "%Y-%m-%d %H:%M:%S:%f",
        "%Y/%m/%d %H:%M:%S.%f+00:00",
        "%b %d, %Y %I:%M:%S.%f %p GMT",
        "%Y%m%dT%H%M%S.%fZ",
    ],
)
def test_rows_are_placed_by_their_times(stamp: str, tmp_path: Path) -> None:
    found = read(written(tmp_path, rows(stamp)))
    assert_same(found)
    stated = any(each in stamp for each in ("UTC", "GMT", "Z", "+00"))
    assert (found.start_ns, found.assumed) == (START_NS, {} if stated else {"time_zone": "UTC"})
    assert found.problems == ()


def test_an_unknown_zone_keeps_rate_and_samples(tmp_path: Path) -> None:
    found = read(written(tmp_path, rows("%Y-%m-%d %H:%M:%S.%f CET")))
    assert_same(found)
    assert found.start_ns is None
    assert found.problems == (
        "line 2: of its time '2024-03-17 10:00:00.000000 CET' its zone 'CET' is not known, so its start "
        "is not known",
    )


@pytest.mark.parametrize(
    "stamp", ["in the morning %f", "Kal. Apr. %Y at %S.%f", "%H hours %M:%S.%f of day %j"]
)
def test_times_that_nobody_reads_refuse_no_sample(stamp: str, tmp_path: Path) -> None:
    path = written(tmp_path, rows(stamp))
    with pytest.raises(RecordingError, match=r"line 2: its time '.*' is not understood; give --rate-hz"):
        read(path)
    found = read(path, rate_hz=RATE_HZ)
    assert_same(found)
    assert found.start_ns is None and any("line 2: its time" in each for each in found.problems)
    path.with_suffix(".json").write_text('{"rate_hz": 1600}')
    assert_same(read(path))


@pytest.mark.parametrize("cell", ["", "?", "n/a", "1e", "later"])
def test_a_missing_time_is_placed_between_rows(cell: str, tmp_path: Path) -> None:
    for text in (table(lambda k, t, v: f"{cell if k == 77 else f'{t:.6f}'};{v:.2f}", "t_s;u_V\n"),):
        found = read(written(tmp_path, text))
        assert_same(found)
        assert found.problems == (
            f"line 79: its time {cell!r} is not understood; the rows beside it were used",
        )


def test_the_start_needs_the_first_time(tmp_path: Path) -> None:
    text = rows("%Y-%m-%dT%H:%M:%S.%fZ").replace("2024-03-17T10:00:00.000000Z", "2024-03-17T30:00")
    found = read(written(tmp_path, text))
    assert_same(found)
    assert found.start_ns is None
    assert found.problems == (
        "line 2: its time '2024-03-17T30:00' is not understood, so its start is not known",
    )


@pytest.mark.parametrize("stamp", ["%H:%M:%S.%f", "%I:%M:%S.%f %p", "17.03.2024 %H:%M:%S.%f"])
def test_a_clock_passes_midnight(stamp: str, tmp_path: Path) -> None:
    found = read(written(tmp_path, rows(stamp, since=datetime(2024, 3, 17, 23, 59, 59, 900_000))))
    assert_same(found)
    assert found.gaps == ()


def test_a_leap_second_takes_a_second(tmp_path: Path) -> None:
    begin = datetime(2016, 12, 31, 23, 59, 59, 900_000)

    def row(k: int, t: float, v: float) -> str:
        leap = timedelta(seconds=0.1) <= timedelta(seconds=5 * t) < timedelta(seconds=1.1)
        moment = begin + timedelta(seconds=5 * t) - timedelta(seconds=leap or 5 * t >= 1.1)
        text = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return f"{text.replace('23:59:59', '23:59:60') if leap else text};{v:.2f}"

    found = read(written(tmp_path, table(row, "time;u_V\n")))
    assert found.rate_hz == pytest.approx(RATE_HZ / 5) and found.gaps == () and found.samples == ROWS


@pytest.mark.parametrize(("zero", "name"), [(25_569, "1899-12-30"), (719_529, "the year 0")])
@pytest.mark.parametrize("head", ["Date", "Time (days)", "Time [d]"])
def test_serial_days_give_the_start(zero: int, name: str, head: str, tmp_path: Path) -> None:
    """Since which day they count is assumed, also where their unit is stated."""
    days = zero + START_NS // NS / 86_400

    def row(k: int, t: float, v: float) -> str:
        return f"{np.longdouble(days) + np.longdouble(t) / 86_400:.13f};{v:.2f}"

    found = read(written(tmp_path, table(row, f"{head};u_V\n")))
    assert_same(found)
    assert found.start_ns == pytest.approx(START_NS, abs=100_000)
    assert found.assumed == {"time_zone": "UTC", "time_unit": f"days since {name}"}


def test_seconds_since_1904_are_named(tmp_path: Path) -> None:
    first = START_NS // NS + 2_082_844_800
    found = read(written(tmp_path, table(lambda k, t, v: f"{first + t:.6f};{v:.2f}", "time_s;u_V\n")))
    assert_same(found)
    assert found.start_ns is None
    (problem,) = found.problems
    assert "2090-03-18T10:00:00Z, lies in the future (it would be 2024-03-17T10:00:00Z" in problem
    assert "--start" in problem


@pytest.mark.parametrize(
    ("ahead_s", "known"), [(-5, True), (3600, True), (86_000, True), (90_000, False), (10**9, False)]
)
def test_a_start_a_day_ahead_is_unknown(ahead_s: int, known: bool, tmp_path: Path) -> None:
    first = time.time_ns() // NS + ahead_s
    path = written(tmp_path, table(lambda k, t, v: f"{first + t:.6f};{v:.2f}", "time_s;u_V\n"))
    found = read(path)
    assert (found.start_ns == first * NS) is known and bool(found.problems) is not known
    assert read(path, start_ns=START_NS).start_ns == START_NS
    later = read(path, start_ns=first * NS)  # a person says so
    assert later.start_ns == first * NS and bool(later.problems) is not known


def test_an_unset_clock_judges_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 86_400 * NS)
    found = read(
        written(tmp_path, table(lambda k, t, v: f"{START_NS // NS + t:.6f};{v:.2f}", "time_s;u_V\n"))
    )
    assert found.start_ns == START_NS and found.problems == ()


@pytest.mark.parametrize(
    ("stated", "start_ns", "zone"),
    [
        ({"start": "17 Mar 2024 10:00:00 UTC"}, START_NS, True),
        ({"start_utc": "2024-03-17T10:00:00.000000007"}, START_NS + 7, False),
        ({"date": "17.03.2024", "time": "11:00:00 AM +01:00"}, START_NS, True),
        ({"timestamp": 1_710_669_600.5}, START_NS + 500_000_000, True),
        ({"start_ns": START_NS + 3, "start": "never"}, START_NS + 3, True),
        ({"event_start_timestamp_ms": 1_710_669_600_000}, START_NS, True),
        ({"start": "2024-03-17 10:00:00 CET"}, None, True),
        ({"start": "03/04/2024 10:00:00"}, None, True),
        ({"start_ns": "soon"}, None, True),
    ],
)
def test_the_start_in_json_never_refuses_the_samples(
    tmp_path: Path, stated: dict[str, object], start_ns: int | None, zone: bool
) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"rate_hz": 1600, "volts": volts().tolist(), **stated}))
    found = read_recording(tmp_path / "a.json")
    assert found.start_ns == start_ns and found.samples == 400
    assert ("time_zone" in found.assumed) == (not zone)
    assert bool(found.problems) == (start_ns is None)


def test_the_json_start_may_be_in_words(tmp_path: Path) -> None:
    path = written(tmp_path, table(lambda k, t, v: f"{t:.6f};{v:.2f}", "time_s;u_V\n"))
    path.with_suffix(".json").write_text('{"start": "17 Mar 2024 10:00:00 UTC"}')
    assert read(path).start_ns == START_NS
    path.with_suffix(".json").write_text('{"start": "2024-03-17 10:00:00 CET"}')
    with pytest.raises(RecordingError, match=r"its zone 'CET' is not known\), want ISO 8601"):
        read(path)
