"""`opq-tools reference`: a CSV and MQTT messages into the store, and compared."""

import json
import threading
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest
from click.testing import CliRunner
from mosquitto_of_ones_own import MOSQUITTO, Broker

from opq_cloud.store.embedded.store import EmbeddedStore
from opq_proto.messages import Interval, Measurement
from opq_tools.changes.reference import command

T0_S = 1_790_000_400


def run(folder: Path, *words: str) -> str:
    done = CliRunner().invoke(
        command, [words[0], "--data-dir", str(folder), *words[1:]], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_csv_is_stored_once_and_compared(tmp_path: Path) -> None:
    volts = 120 + np.sin(np.arange(60) / 3)
    store = EmbeddedStore(tmp_path / "opq.db")
    store.intervals.append(
        Measurement(
            "1",
            (T0_S + 600 * at + 600) * 1000,
            {},
            start_ns=(T0_S + 600 * at) * 10**9,
            end_ns=(T0_S + 600 * at + 600) * 10**9,
            sequence=at,
            interval=Interval(600_000, False, 1.0, {"rms_v": float(each)}),
        )
        for at, each in enumerate(volts)
    )
    store.close()
    file = tmp_path / "meter.csv"
    rows = [f"{T0_S + 600 * at},{each + 0.5}" for at, each in enumerate(volts)]
    file.write_text("\n".join(["time,V1", *rows]))
    for _ in range(2):
        assert "60 values of m" in run(tmp_path, "import", str(file), "--meter", "m", "--column", "rms_v=V1")
    assert json.loads(run(tmp_path, "meters", "--json")) == {"m": 60}
    page = tmp_path / "m.html"
    span = ("--from", "2026-09-21T14:20:00", "--to", "2026-09-22T14:20:00")
    found = json.loads(
        run(tmp_path, "compare", "--meter", "m", "--box", "1", *span, "--out", str(page), "--json")
    )
    (one,) = found["quantities"]
    assert (one["quantity"], one["intervals"]) == ("rms_v", 60)
    assert one["bias"] == pytest.approx(0.5, abs=1e-3) and one["delay_s"] == pytest.approx(0, abs=20)
    assert "<svg" in page.read_text() and "rms_v" in run(
        tmp_path, "compare", "--meter", "m", "--box", "1", *span
    )
    run(tmp_path, "meters", "--remove", "m")
    assert json.loads(run(tmp_path, "meters", "--json")) == {}


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_messages_of_a_topic_are_stored(tmp_path: Path) -> None:
    EmbeddedStore(tmp_path / "opq.db").close()
    ended = threading.Event()
    with Broker(tmp_path) as broker:

        def speak() -> None:
            client = paho.Client(paho.CallbackAPIVersion.VERSION2)
            client.connect("127.0.0.1", broker.port)
            client.loop_start()
            at = 0
            while not ended.wait(0.05):  # the listener may not have subscribed yet
                text = json.dumps({"apower": 1, "voltage": 230.5, "ts": T0_S + at})
                client.publish("meters/7", text.encode(), 1)
                at += 1
            client.disconnect()
            client.loop_stop()

        speaker = threading.Thread(target=speak)
        speaker.start()
        try:
            server = ("--server", f"tcp://127.0.0.1:{broker.port}")
            run(tmp_path, "listen", "meters/+", "--meter", "s", "--key", "voltage", *server, "--count", "3")
        finally:
            ended.set()
            speaker.join()
    store = EmbeddedStore(tmp_path / "opq.db")
    found = store.meter_values("s", "rms_v", T0_S, T0_S + 10_000)
    assert len(found) >= 3 and {each.value for each in found} == {230.5}
    store.close()
