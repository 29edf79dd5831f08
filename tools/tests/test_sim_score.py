"""`opq-tools sim score` on a real store."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import open_store
from opq_proto.errors import OpqError
from opq_proto.messages import Finding, Trigger
from opq_tools.sim.sim_command import command

START_NS = 1_765_792_486_000_000_000
KEYS = {"truth", "found", "false", "split", "joined", "by_class", "start_error_ms", "scope_right"}


def line(number: int, kind: str, start_s: float, length_s: float, *boxes: str) -> dict[str, Any]:
    start_ns = START_NS + round(start_s * 1e9)
    told = {
        "class": kind,
        "residual_percent": 70.0,
        "phase_jump_deg": 0.0,
        "arrival_ns": start_ns,
        "side": None,
    }
    return {
        "id": number,
        "cause": "fault",
        "class": kind,
        "scope": "local",
        "start_ns": start_ns,
        "end_ns": start_ns + round(length_s * 1e9),
        "boxes": dict.fromkeys(boxes, told),
    }


def finding(kind: str, box_id: str, start_s: float, length_s: float) -> Finding:
    start_ns = START_NS + round(start_s * 1e9)
    return Finding(kind, box_id, start_ns, start_ns + round(length_s * 1e9), 1000, residual_percent=70.0)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Truth: a sag at two Boxes, a swell, a sag. Stored: the first, the third of another class, one false."""
    lines = [line(1, "sag", 10, 0.1, "1", "2"), line(2, "swell", 30, 0.1, "1")]
    lines.append(line(3, "sag", 50, 0.1, "2"))
    text = "\n".join(map(json.dumps, lines))
    (tmp_path / "truth.jsonl").write_text(f'{text}\nno truth\n{{"class": "none"}}\n')
    store = open_store(None, tmp_path / "data")
    try:
        found = [
            [finding("sag", "1", 10.002, 0.1), finding("sag", "2", 10.004, 0.1)],
            [finding("interruption", "2", 50.01, 0.1)],
            [finding("sag", "3", 70, 0.1)],
            [finding("sag", "1", -3000, 0.1)],  # of an earlier run
        ]
        for number, findings in enumerate(found):
            one = findings[0]
            trigger = Trigger(f"t{number}", one.start_ns, one.end_ns, (one.box_id,), one.box_id, "test")
            event_id = store.open_event(trigger, "test")
            put_findings(store, event_id, findings)
    finally:
        store.close()
    return tmp_path


def told(folder: Path, *more: str) -> Any:
    arguments = ["score", "--truth", str(folder), "--data-dir", str(folder / "data"), *more]
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def test_the_figures_are_those_of_the_contract(run: Path) -> None:
    result = told(run, "--json")
    assert result.exit_code == 0
    assert "truth.jsonl:4: " in result.stderr
    found = json.loads(result.stdout)
    assert set(found) >= KEYS
    assert [found[key] for key in ("truth", "found", "missed", "false", "split", "joined")] == [
        3,
        2,
        1,
        1,
        0,
        0,
    ]
    assert found["by_class"]["sag"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert found["confusion"] == {
        "none": {"sag": 1},
        "sag": {"interruption": 1, "sag": 1},
        "swell": {"missed": 1},
    }
    assert found["start_error_ms"]["median"] == pytest.approx(6.0, abs=0.01)
    assert (found["left_out"], found["malformed"], found["scope_right"]) == (1, 1, None)
    assert (found["nothing"], found["sides"], found["side_right"]) == (1, 0, None)


def test_without_json_a_span_is_for_people(run: Path) -> None:
    result = told(run, "--from", "2025-12-15T09:55:20")
    assert "1 disturbances: 1 found, 0 missed" in result.stdout
    assert "interruption 1" in result.stdout
    assert "1 causes left nothing" in result.stdout


def test_a_span_chooses_disturbances_and_incidents(run: Path) -> None:
    found = json.loads(told(run, "--to", "2025-12-15T09:55:20", "--json").stdout)
    assert (found["truth"], found["found"], found["missed"], found["false"]) == (2, 1, 1, 0)
    assert found["left_out"] == 3


def test_what_cannot_be_compared_is_one_error(run: Path, tmp_path: Path) -> None:
    (run / "empty").mkdir()
    for arguments, wanted in (
        (["--truth", str(run / "data")], "No such file"),
        (["--truth", str(run), "--data-dir", str(run / "empty")], "no store in it"),
        (["--truth", str(run), "--data-dir", str(run), "--mongo-uri", "mongodb://x"], "both given"),
    ):
        with pytest.raises(OpqError, match=wanted):
            command.main(["score", *arguments], standalone_mode=False)
    assert not list((run / "empty").iterdir())
