"""PATCH /configs: log and time zone of a service that runs. Source: docs/reference/rules.md, A.1."""

import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from rules_house import House


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A server in its own process: it can be ended. The time zone is as it was, afterwards."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    made = House(tmp_path, alone=True)
    yield made
    assert made.stop() == []
    monkeypatch.undo()
    time.tzset()


def test_debug_says_each_request(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert house.ask("PATCH", "/configs", {"debug": True}, 204) == ""
    house.ask("GET", "/streams/nosuch", code=404)
    written = ""
    end_s = time.monotonic() + 240
    while "/streams/nosuch" not in written:  # the line is written after the answer is sent
        assert time.monotonic() < end_s, written
        written += capsys.readouterr().err
        time.sleep(0.01)
    assert "request.done" in written
    house.ask("PATCH", "/configs", {"debug": False}, 204)
    capsys.readouterr()
    house.ask("GET", "/ping")
    assert "request.done" not in capsys.readouterr().err


@pytest.mark.skipif(
    not Path("/usr/share/zoneinfo/Pacific/Honolulu").exists(), reason="no time zones (apt install tzdata)"
)
def test_the_time_zone_is_that_of_local_days(house: House) -> None:
    house.ask("PATCH", "/configs", {"timezone": "Pacific/Honolulu", "consoleLog": True}, 204)
    assert datetime.fromtimestamp(0).astimezone().utcoffset().total_seconds() == -36_000  # type: ignore[union-attr]
    house.ask("PATCH", "/configs", {"timezone": "Mars/Phobos"}, 400)
    assert os.environ["TZ"] == "Pacific/Honolulu"


def test_a_meaningless_option_names_the_allowed(house: House) -> None:
    for body, part in (
        ({"debg": True}, 'did you mean "debug"'),
        ({"debug": "yes"}, "want true or false"),
        ({"fileLog": True, "timezone": "Pacific/Honolulu"}, "stderr"),
        ({"consoleLog": False}, "stderr"),
        ({"timezone": "../../etc/passwd"}, "Pacific/Honolulu"),
        ({"timezone": ""}, "Pacific/Honolulu"),
    ):
        assert part in house.ask("PATCH", "/configs", body, 400)["message"]
    assert os.environ["TZ"] == "UTC"
    house.ask("PATCH", "/configs", {}, 204)


def test_an_embedded_engine_changes_no_service(tmp_path: Path) -> None:
    made = House(tmp_path)
    try:
        assert "part of" in made.ask("PATCH", "/configs", {"debug": True}, 400)["message"]
    finally:
        assert made.stop() == []
