"""A time zone that an account keeps and this machine does not know: every time is the moment in UTC."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import HTTPException

from opq_cloud.view.pages.drawing.rendering import local_time, marked_time
from opq_cloud.view.pages.visible.past_before import query_zone
from opq_proto.kit.time_zone import zone_of

AT_MS = 1_764_200_000_000
UNKNOWN = ["US/Pacific-New", "Mars/Phobos", "", "../etc/passwd", "a\0b"]


def visitor(zone: str | None) -> Any:
    return SimpleNamespace(account=None if zone is None else SimpleNamespace(time_zone=zone))


@pytest.mark.parametrize("zone", [*UNKNOWN, None, "UTC"])
def test_an_unknown_zone_shows_the_moment_in_utc(zone: str | None) -> None:
    assert local_time(AT_MS, visitor(zone)) == "2025-11-26 23:33 UTC"
    assert "2025-11-26T23:33:20" in marked_time(AT_MS, visitor(zone))


def test_a_known_zone_shows_its_clock() -> None:
    assert local_time(AT_MS, visitor("Europe/Berlin")) == "2025-11-27 00:33 CET"


@pytest.mark.parametrize("at_ms", [math.nan, math.inf, 10**20, -(10**20)])
def test_what_is_not_a_time_has_no_date(at_ms: Any) -> None:
    assert local_time(at_ms, visitor("Europe/Berlin")) == "-"


@pytest.mark.parametrize("zone", UNKNOWN)
def test_the_pages_of_the_past_open_in_utc(zone: str) -> None:
    context: Any = SimpleNamespace(visitor=visitor(zone))
    assert query_zone(context, "").key == "UTC"
    assert query_zone(context, "Europe/Berlin").key == "Europe/Berlin"
    with pytest.raises(HTTPException, match="want a zone such as"):
        query_zone(context, "Mars/Phobos")  # a visitor typed it


def test_notifications_and_pages_share_the_zone() -> None:
    assert {zone_of(each).key for each in UNKNOWN} == {"UTC"}
