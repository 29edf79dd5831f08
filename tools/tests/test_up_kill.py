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
        return list(get_json(f"{up.view}/api/v1/incidents")["items"])
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
        pytest.param("trigger.decided", marks=pytest.mark.slow),
        pytest.param("event.waveform_stored", marks=pytest.mark.slow),
        pytest.param("incident.stored", marks=pytest.mark.slow),
    ],
)
def test_a_killed_cloud_finishes_the_incident(tmp_path: Path, moment: str) -> None:
    """One house for both: the incident keeps its number over a kill, and over an end and a start of all.

    Always run: an event, over a kill before its answer (cloud/tests/makai/test_makai_command.py); incidents,
    over an end and a start of all (hil/tests/test_restart_faults.py).
    """
    with house(tmp_path) as up:
        offset = up.offset
        cloud = up.data_dir / "log" / "cloud.log"
        until(
            lambda: cloud.exists() and f'"{moment}"' in cloud.read_text(), 60, f"{moment} in the cloud's log"
        )
        os.kill(up.pid_of("opq_cloud"), signal.SIGKILL)
        up.wait_for("cloud runs again")
        (before,) = until(lambda: at_box_1(up), 40, "the incident on the page after the restart")
        assert before["class"] == "sag"
        assert before["residual_percent"] == pytest.approx(85.2, abs=0.5)
        assert_nothing_is_doubled(incidents(up))
    with house(tmp_path, "--sim", "1", offset=offset) as up:
        up.wait_for("the page is up")
        # Box 4's may join it, or come beside it, from what was still being fetched at the end
        (after,) = until(lambda: at_box_1(up), 20, "the incident of the run before")
        assert (after["id"], after["class"]) == (before["id"], before["class"])
        assert after["start_ms"] == pytest.approx(before["start_ms"], abs=500)  # Box 4 may have seen it first
        assert_nothing_is_doubled(incidents(up))


@pytest.mark.slow
def test_a_killed_gateway_keeps_stored_data(tmp_path: Path) -> None:
    """Always run: samples, over a kill within `up` (test_up_emulated.py) and over kill -9 of a gateway
    (gateway/tests/test_gateway_faults.py); an event, over a kill of the cloud (above).
    """
    with house(tmp_path) as up:
        boxes = tmp_path / "log" / "boxes.log"
        until(lambda: boxes.exists() and "box.event_sent" in boxes.read_text(), 60, "the dip")
        os.kill(up.pid_of("opq_gateway"), signal.SIGKILL)
        up.wait_for("gateway runs again")
        (incident,) = until(lambda: at_box_1(up), 40, "the incident, from the ring of gateway and Box")
        assert incident["class"] == "sag"
        assert_nothing_is_doubled(incidents(up))
