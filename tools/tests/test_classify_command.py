"""`opq-tools classify`: the contract's keys, the words, the errors, and the real recordings."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from opq_proto.errors import OpqError
from opq_tools.recordings.analyze.options import AnalyzeUsageError
from opq_tools.recordings.classify import command

RECORDINGS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "recordings"


def answer(*words: str) -> dict[str, object]:
    result = CliRunner().invoke(command, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    found: dict[str, object] = json.loads(result.stdout)
    return found


@pytest.fixture
def sag(tmp_path: Path) -> Path:
    at_s = np.arange(12_000) / 12_000
    volts = 120 * np.sqrt(2) * np.sin(2 * np.pi * 60 * at_s) * np.where((at_s > 0.4) & (at_s < 0.6), 0.6, 1)
    np.save(tmp_path / "sag.npy", volts)
    return tmp_path / "sag.npy"


def test_the_keys_are_those_of_the_contract(sag: Path) -> None:
    found = answer(str(sag), "--rate-hz", "12000")
    assert {"file", "class", "confidence", "severity", "parts"} <= found.keys()
    assert (found["class"], found["file"]) == ("sag", str(sag))
    (part,) = found["parts"] if isinstance(found["parts"], list) else ()
    assert {"class", "start_s", "end_s", "reasons", "because"} <= part.keys()
    assert all({"name", "value", "unit", "limit"} == each.keys() for each in part["reasons"])


def test_it_says_the_same_in_words(sag: Path) -> None:
    result = CliRunner().invoke(command, [str(sag), "--rate-hz", "12000"], catch_exceptions=False)
    assert result.stdout.startswith("sag (") and "residual 60.0 % for 12 cycles" in result.stdout


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.npy").write_bytes(b"")
    with pytest.raises(OpqError, match="empty"):
        CliRunner().invoke(
            command, [str(tmp_path / "empty.npy"), "--rate-hz", "12000"], catch_exceptions=False
        )
    with pytest.raises(AnalyzeUsageError, match="--rate-hz is -1"):
        CliRunner().invoke(command, ["x.npy", "--rate-hz", "-1"], catch_exceptions=False)


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"the recordings are not at {RECORDINGS}")
@pytest.mark.parametrize(("box", "kind"), [("1", "sag"), ("4", "rapid_voltage_change")])
def test_the_real_recordings_have_these_classes(box: str, kind: str) -> None:
    found = answer(str(RECORDINGS / f"event_9354_box{box}.i16"))
    assert found["class"] == kind
