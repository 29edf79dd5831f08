"""What a Box may send that no page expects: minutes without a frequency, gains that cannot be true."""

import http.client
import json
import time
from urllib.parse import urlsplit

import demo
import numpy as np
import pytest

from opq_proto.messages import Measurement, Metric, TimeSource, Trigger, Waveform


def get(scene: demo.Scene, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(scene.url).netloc, timeout=240)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("metrics", [{"rms": Metric(0.1, 0.2, 0.1)}, {"f": Metric(60, 60, 60)}, {}])
def test_an_incomplete_minute_has_its_page(scene: demo.Scene, metrics: dict[str, Metric]) -> None:
    """An interruption has an rms and no frequency; a foreign Box may send anything else."""
    now_ms = time.time_ns() // 10**6
    scene.store.put_box(demo.BoxRecord("7", "Attic"))
    scene.store.append_measurements([Measurement("7", now_ms - 1000 * k, metrics) for k in range(1, 90)])
    status, page = get(scene, "/boxes/7")
    assert status == 200, page
    assert "Minute by minute" in page


def test_an_impossible_gain_is_shown(scene: demo.Scene) -> None:
    """A waveform with a gain that cannot be true is shown."""
    now_ns = time.time_ns()
    counts = np.full(2400, 32767, dtype=np.int16)
    wave = Waveform("7", now_ns, 5, TimeSource.NTP, 12_000_000, 1e300, 0, counts)
    event_id = scene.store.open_event(Trigger("t", now_ns, now_ns + 10**9, ("7",), "7", "dip"), "")
    scene.store.put_waveform(event_id, wave)
    scene.store.finish_event(event_id)
    status, text = get(scene, f"/api/v1/events/{event_id}/waveforms/7")
    assert status == 200, text
    json.loads(text)
