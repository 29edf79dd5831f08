"""The page of a dip of half a minute: drawn from the event that has all of it, and quickly."""

import json
import time
import urllib.request
from collections.abc import Iterator

import pytest

from opq_cloud.mauka.finding_writer import put_findings
from opq_cloud.view import demo

DIP_S = 30.0
DIP_V = 60.0


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    """The onset's event of 3 s, and the one that completes it, of 32 s."""
    start_ns = time.time_ns() - 60 * 10**9
    running = demo.Scene(tmp_path_factory.mktemp("view"))
    for seconds, dip_s, token in ((3.0, 2.0, "a" * 30), (DIP_S + 2, DIP_S, "b" * 30)):
        outlet = demo.DemoOutlet("1", "Box 1", 120.0, 0.02, ((3, 0.02),), (DIP_V,) * round(dip_s * 60))
        demo.put_event(running.store, [demo.waveform_of(outlet, start_ns, seconds)], token, put_findings)
    with running:
        yield running


def fetched(scene: demo.Scene, path: str) -> tuple[str, float]:
    """The answer, and the CPU time that this process, which serves it, spent on it."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    begun = time.process_time()
    with opener.open(scene.url + path, timeout=60) as answer:
        return answer.read().decode(), time.process_time() - begun


def test_the_incident_is_one_closed_sag_of_thirty_seconds(scene: demo.Scene) -> None:
    (incident,) = scene.store.incidents()
    assert (incident.kind, incident.closed, incident.event_ids) == ("sag", True, (1, 2))
    (item,) = incident.findings
    assert item.finding.duration_cycles == pytest.approx(DIP_S * 60, abs=0.5)
    assert item.finding.ieee1159 == "temporary sag"  # 3 s to 1 min


def test_its_page_draws_the_event_that_has_all_of_it(scene: demo.Scene) -> None:
    text, seconds = fetched(scene, "/incidents/1")
    assert "/api/events/2/waveform/1" in text and "/api/events/2/rms/1" in text
    assert "/api/events/1/" not in text
    assert seconds < 10.0  # 0.1 s on an idle machine


@pytest.mark.parametrize("line", ["waveform", "rms"])
def test_its_lines_are_short_enough_for_a_phone(scene: demo.Scene, line: str) -> None:
    text, seconds = fetched(scene, f"/api/events/2/{line}/1")
    assert len(text) < 200_000
    assert seconds < 10.0  # 0.1 s on an idle machine
    assert json.loads(text)
