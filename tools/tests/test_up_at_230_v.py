"""230 V and 50 Hz by the one command: what a Box's hello says reaches trigger, finding and page."""

import json
import math
import re
import urllib.request
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from house_under_test import House, get_json, house, incident_document, processes_with, run_up, until

from opq_cloud.store import open_store

pytestmark = pytest.mark.timeout(600)
RATE_HZ = 12_000


@pytest.mark.slow
def test_a_230_v_sag_is_percent_of_230(tmp_path: Path) -> None:
    """Incident and store have the nominal voltage of the scenario."""
    done = run_up(tmp_path, "--scenario", "sag_230v_50hz", "--until-incident", "--json", "--timeout-s", "200")
    assert done.returncode == 0, done.stderr
    found = incident_document(done.stdout)
    assert found["boxes"] == 2 and processes_with(str(tmp_path)) == []
    incident = found["incident"]
    # The scenario: 35 % of 230 V and its harmonics are lost for 10 cycles of 49.985 Hz.
    left = 65.0 * math.sqrt(1 + 0.01**2 + 0.02**2 + 0.01**2)
    # Box 2 has 93 % left: no sag, and a rapid voltage change, which may join a moment later, or not at all
    # while it is not known how far two free clocks are apart.
    assert (incident["class"], found["event_ids"]) == ("sag", [1])
    assert incident["box_ids"] in (["1"], ["1", "2"])
    assert incident["residual_percent"] == pytest.approx(left, abs=0.1)
    assert incident["end_ms"] - incident["start_ms"] == pytest.approx(200, abs=10)

    store = open_store(None, tmp_path)
    try:
        for box_id in ("1", "2"):
            record = store.box(box_id)
            assert record is not None and (record.nominal_v, record.nominal_hz) == (230.0, 50.0)
        (opened,) = store.events()  # nothing else triggered: 230 V is not a swell of 120 V
        assert opened.because.endswith("below 207")
        event = store.event(1)
        assert event is not None and [wave.box_id for wave in event.waveforms] == ["1", "2"]
        for wave in event.waveforms:
            assert len(wave.counts) % 200 == 0 and not wave.gaps  # whole Cycles, at 50 Hz too
        at_ms = incident["start_ms"]
        rows = store.measurements("1", at_ms - 60_000, at_ms + 60_000)
        rows = [row for row in rows if not row.crossing]  # what is sent at once lies within a window
        windows_ms = [later.timestamp_ms - one.timestamp_ms for one, later in pairwise(rows)]
        assert len(windows_ms) >= 5
        # On a busy machine Box 1 may begin late by its first arrivals; Box 2's GPS then sets its time once.
        whole_ms = 60 / 49.985 * 1000
        assert len([window_ms for window_ms in windows_ms if abs(window_ms - whole_ms) > 2]) <= 1, windows_ms
    finally:
        store.close()


@pytest.mark.slow
def test_a_230_v_recording_keeps_its_nominal(tmp_path: Path) -> None:
    """Always run: replays by `up` (test_up_end_to_end.py), the page's words
    (cloud/tests/test_view_server.py).
    """
    t = np.arange(3 * RATE_HZ) / RATE_HZ
    rms_v = np.where((t >= 1.5) & (t < 1.7), 0.6 * 230.0, 230.0)
    counts = np.round(rms_v * math.sqrt(2) * np.sin(2 * np.pi * 50 * t) / 0.0125).astype("<i2")
    recording = tmp_path / "europe.i16"
    recording.write_bytes(counts.tobytes())
    facts = {"rate_hz": RATE_HZ, "volts_per_lsb": 0.0125, "nominal_volts": 230, "nominal_hz": 50, "box_id": 7}
    recording.with_suffix(".json").write_text(json.dumps(facts))
    with house(tmp_path / "data", "--replay", str(recording), "--sim", "1") as up:
        up.wait_for("on the page")
        found = get_json(f"{up.view}/api/v1/incidents")["items"]
        # the plain Box is on the recording's grid; its first Measurement may come after the other's dip
        until(lambda: nominals(up) == [(230.0, 50.0)] * 2, 45, "what both Boxes say of their grid")
        page = text_of(f"{up.view}/incidents/1")
        card = text_of(f"{up.view}/boxes/7")
        assert len(get_json(f"{up.view}/api/v1/incidents")["items"]) == 1
        assert up.end() == 0
    (incident,) = found
    assert (incident["class"], incident["box_ids"]) == ("sag", ["7"])
    assert incident["residual_percent"] == pytest.approx(60.0, abs=0.1)
    assert "fell to 138.0 V, 60.0 % of the nominal 230 V" in page
    assert "230 V nominal" in card and "50 Hz nominal" in card


def nominals(up: House) -> list[tuple[float, float]]:
    return [(box["nominal_v"], box["nominal_hz"]) for box in get_json(f"{up.view}/api/v1/boxes")["items"]]


def text_of(url: str) -> str:
    """What a page says, without its tags."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=240) as answer:
        page = answer.read().decode()
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("\u202f", " ")
