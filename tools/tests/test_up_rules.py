"""A running `up` takes rules: one that no built-in trigger has asks for a waveform, and it is stored."""

import json
import subprocess
from pathlib import Path

import pytest
from command_in_process import run_in_process
from house_under_test import get_json, house, until

from opq_proto.kit.ports import PORTS

pytestmark = pytest.mark.timeout(600)
SQL = (
    "SELECT box, start_ms, end_ms, f FROM boxes"
    " WHERE f BETWEEN 40 AND 70 AND rms_max - rms_min < 20 AND last_hit_count() = 0"
)


@pytest.mark.slow
def test_a_rule_requests_a_waveform(tmp_path: Path) -> None:
    with house(tmp_path, "--sim", "1") as up:
        url = f"http://127.0.0.1:{PORTS['rules'] + up.offset}"

        def tool(*words: str) -> "subprocess.CompletedProcess[str]":
            return run_in_process(*words, "--url", url)

        stream = ("boxes", '() WITH (DATASOURCE="*", TYPE="opqbox", SHARED="true")')
        until(lambda: tool("rules", "stream", "create", *stream).returncode == 0, 60, "the rules of Makai")
        asks = json.dumps({"request_waveform": {"value": "f"}})
        made = tool("rules", "create", "steady", SQL, "--action", asks)
        assert made.returncode == 0, made.stderr

        def event() -> object:
            found = json.loads(tool("rules", "show", "steady", "--status", "--json").stdout)
            if not found["sink_request_waveform_0_0_records_out_total"]:
                return None
            try:
                return get_json(f"{up.view}/api/v1/events/1")
            except OSError:
                return None

        until(event, 90, "an event")
        until(lambda: get_json(f"{up.view}/api/v1/events/1")["received"] == ["1"], 60, "its waveform")
        said = json.dumps(get_json(f"{up.view}/api/v1/events/1"))
        status = json.loads(tool("rules", "show", "steady", "--status", "--json").stdout)
        waveform = get_json(f"{up.view}/api/v1/events/1/waveforms/1")
    assert "rule steady: f " in said, said
    assert status["sink_request_waveform_0_0_exceptions_total"] == 0
    assert waveform
