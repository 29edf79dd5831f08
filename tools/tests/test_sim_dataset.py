"""`opq-tools sim dataset`, and `analyze` on what it wrote."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from opq_analyze.measuring import measured
from opq_measure.events.limits import Limits
from opq_proto.errors import OpqError
from opq_recordings.reading import read_recording
from opq_tools.sim.sim_command import command


def test_what_is_written_is_what_analyze_finds(tmp_path: Path) -> None:
    out = tmp_path / "set"
    told = ["dataset", "--classes", "sag,none", "--per-class", "1", "--seed", "7", "--out", str(out)]
    result = CliRunner().invoke(command, told, catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{out}: 4 recordings, ")
    lines = [json.loads(line) for line in (out / "truth.jsonl").read_text().splitlines()]
    for line in lines:
        recording = read_recording(out / line["file"])
        assert recording.nominal_hz == line["nominal_hz"]
        events = measured(recording, Limits()).summary("x")["events"]
        assert [event["class"] for event in events] == ([] if line["class"] == "none" else ["sag"])
        if events:
            start_s = (line["start_ns"] - (recording.start_ns or 0)) / 1e9
            assert events[0]["start_s"] == pytest.approx(start_s, abs=0.02)
            wanted = line["boxes"]["1"]["residual_percent"]
            assert events[0]["residual_percent"] == pytest.approx(wanted, abs=1.0)  # 30 dB of noise


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--classes", "quake"], "class is 'quake'"),
        (["--hz", "60,x"], "hz is '60,x'"),
        (["--hz", "16"], "want 50, 60 or both"),
        (["--snr-db", "10"], "snr_db is 10"),
    ],
)
def test_wrong_use_makes_no_folder(words: list[str], why: str, tmp_path: Path) -> None:
    with pytest.raises(OpqError, match=why) as raised:
        command.main(["dataset", *words, "--out", str(tmp_path / "set")], standalone_mode=False)
    assert raised.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []
