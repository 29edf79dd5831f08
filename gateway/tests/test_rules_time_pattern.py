"""Patterns of times: what is written by one is read by the same one."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from opq_rules.values.time_pattern import reader, written_time

AT = datetime(2023, 11, 14, 22, 13, 20, 123_456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
"""A Tuesday afternoon, in India."""


@pytest.mark.parametrize(
    "pattern",
    [
        "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
        "YYYY-MM-ddTHH:mm:ss.SSSSSSXX",
        "EEEE, d MMMM y, h:m:s a SSSSSSSSS Z",
        "EEE MMM dd hh.mm.ss a yy G 'o''clock' SSSSSS XXX",
        "d/M/yyyy H:m:s,SSSSSS Z",
    ],
)
def test_what_is_written_is_read_again(pattern: str) -> None:
    assert reader(pattern)(written_time(AT, pattern)) == AT


@pytest.mark.parametrize(
    ("pattern", "text", "at"),
    [
        ("h a", "12 AM", datetime(1, 1, 1, 0, tzinfo=UTC)),
        ("h a", "12 pm", datetime(1, 1, 1, 12, tzinfo=UTC)),
        ("yyyy-MM-dd z", "2023-11-14 GMT", datetime(2023, 11, 14, tzinfo=UTC)),
        ("yyyy-MM-dd z", "2023-11-14 -03:30", datetime(2023, 11, 14, 3, 30, tzinfo=UTC)),
        ("yyyy MM", "  2023 5 ", datetime(2023, 5, 1, tzinfo=UTC)),
        ("s.S", "7.25", datetime(1, 1, 1, 0, 0, 7, 250_000, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_by_its_letters(pattern: str, text: str, at: datetime) -> None:
    assert reader(pattern)(text) == at


@pytest.mark.parametrize(
    ("pattern", "text", "why"),
    [
        ("yyyy-MM-dd", "14.11.2023", "is not of the form yyyy-MM-dd"),
        ("yyyy-MM-dd z", "2023-11-14 CET", "is ambiguous as a zone; write an offset such as"),
        ("yyyy-MM-dd", "2023-13-14", "month must be in 1..12"),
        ("qq", "1", "qq means nothing; put plain text into"),
    ],
)
def test_what_is_no_time_is_refused(pattern: str, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        reader(pattern)(text)
