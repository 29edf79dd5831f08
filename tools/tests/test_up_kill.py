"""kill -9 of the gateway or the cloud in mid-run: nothing stored is lost, nothing is doubled."""

import os
import signal
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from house_under_test import House, get_json, house, until

pytestmark = pytest.mark.timeout(600)


def incidents(up: House) -> list[dict[str, Any]]:
    """Newest first; empty while the page does not answer."""
    try:
        return list(get_json(f"{up.view}/api/incidents")["incidents"])
    except OSError:
        return []


def at_box_1(up: House) -> list[dict[str, Any]]:
    """Box 4 sees the dip at 93 %: a rapid voltage change where a second before and after it is stored."""
    return [incident for incident in incidents(up) if "1" in incident["box_ids"]]


def assert_nothing_is_doubled(found: list[dict[str, Any]]) -> None:
    ids = Counter(incident["id"] for incident in found)
    assert set(ids.values()) <= {1}
    starts = sorted((box_id, incident["start_ms"]) for incident in found for box_id in incident["box_ids"])
    for (box_id, earlier), (other, later) in pairwise(starts):
        assert box_id != other or later - earlier > 1000, starts


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("trigger: Box 1", marks=pytest.mark.slow),
        "waveform of Box",
        pytest.param("incident 1", marks=pytest.mark.slow),
    ],
)
def test_a_cloud_that_is_killed_at_a_stage_finishes_the_incident_when_it_is_back(
    tmp_path: Path, moment: str
) -> None:
    with house(tmp_path) as up:
        up.wait_for(moment)
        os.kill(up.pid_of("opq_cloud"), signal.SIGKILL)
        up.wait_for("cloud runs again")
        (incident,) = until(lambda: at_box_1(up), 40, "the incident on the page after the restart")
        assert incident["class"] == "sag"
        assert incident["residual_percent"] == pytest.approx(85.2, abs=0.5)
        assert_nothing_is_doubled(incidents(up))


def test_a_gateway_that_is_killed_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    with house(tmp_path) as up:
        up.wait_for("leaves its limits")
        os.kill(up.pid_of("opq_gateway"), signal.SIGKILL)
        up.wait_for("gateway runs again")
        (incident,) = until(lambda: at_box_1(up), 40, "the incident, from the ring of gateway and Box")
        assert incident["class"] == "sag"
        assert_nothing_is_doubled(incidents(up))


def test_an_incident_survives_the_end_of_everything_and_keeps_its_number(tmp_path: Path) -> None:
    with house(tmp_path) as up:
        before = until(lambda: incidents(up), 45, "the first incident")
        offset = up.offset
    with house(tmp_path, "--sim", "1", offset=offset) as up:
        up.wait_for("the page is up")
        after = until(lambda: incidents(up), 20, "the incident of the run before")
        # what was still being fetched at the end joins it: another event, another Box
        assert [(each["id"], each["class"], each["start_ms"]) for each in after] == [
            (each["id"], each["class"], each["start_ms"]) for each in before
        ]
