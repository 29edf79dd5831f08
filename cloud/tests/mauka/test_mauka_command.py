"""`opq-cloud mauka`, the process as a user starts it."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import pytest
from free_ports import free_offset

from opq_cloud.mauka.bus.broker import NobodyListensError, event_message, inject


@pytest.fixture
def offset():
    return free_offset()


def get(url):
    with urllib.request.urlopen(url, timeout=240) as answer:
        return json.load(answer)


def test_the_command_serves_and_ends_on_sigterm(tmp_path, offset, until):
    """The command serves its bus and status and ends on SIGTERM."""
    process = subprocess.Popen(
        [sys.executable, "-m", "opq_cloud", "mauka", "--data-dir", tmp_path, "--port-offset", str(offset)],
        stderr=subprocess.PIPE,
    )
    try:
        end_s = time.monotonic() + 200
        while True:
            try:
                inject([event_message(1)], f"ipc://{tmp_path}/sockets/bus-in", wait_s=0.5)
                break
            except NobodyListensError:
                assert time.monotonic() < end_s
        base = f"http://127.0.0.1:{8911 + offset}"

        def rows():
            with suppress(OSError):
                return {row["plugin_name"]: row for row in get(f"{base}/status")}
            return {}

        assert until(lambda: rows().get("AnalysisRunner", {}).get("messages_recv"))
        assert until(lambda: len(rows()) == 10)
        assert set(rows()) == {
            "AnalysisRunner",
            "BoxOptimizationPlugin",
            "LahaGcPlugin",
            "MakaiEventPlugin",
            "OutagePlugin",
            "StatusPlugin",
            "StreamRunner",
            "SystemStatsPlugin",
            "ThresholdOptimizationPlugin",
            "TriggerPlugin",
        }
        whole = get(base)
        down = [part["info"] for part in whole["subcomponents"] if not part["ok"]]
        assert whole["name"] == "mauka"
        assert all("no service answers there" in info for info in down), "alone, it misses only Makai"
        assert {"mauka.bus", "mauka.bridge", "AnalysisRunner"} <= {p["name"] for p in whole["subcomponents"]}
        process.send_signal(signal.SIGTERM)
        assert process.wait(240) == 0
    finally:
        process.kill()
        _, lines = process.communicate()
    assert b"Traceback" not in lines


def test_a_wrong_setting_is_one_message(tmp_path, offset):
    """The exit code is 2, or 1."""
    path = tmp_path / "cloud.toml"
    path.write_text('[[mauka.analyses]]\nname = "rms_voltage"\nsettings = { sag_percnt = 90.0 }\n')
    command = [sys.executable, "-m", "opq_cloud", "mauka", "--config", path, "--data-dir", tmp_path]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode in (1, 2)
    assert 'did you mean "sag_percent"?' in done.stderr
    assert "Traceback" not in done.stderr
