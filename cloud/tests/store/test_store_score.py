"""`opq-tools sim score` reads the incidents of both stores: `--data-dir` and `--mongo-uri` say the same."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import CloudStore
from opq_proto.messages import Finding, Trigger
from opq_tools.sim.sim_command import command

START_NS = 1_765_792_486_000_000_000


def line(number: int, kind: str, start_s: float, *boxes: str) -> dict[str, Any]:
    start_ns = START_NS + round(start_s * 1e9)
    seen = {"class": kind, "residual_percent": 70.0, "phase_jump_deg": 0.0, "arrival_ns": start_ns}
    return {
        "id": number,
        "cause": "fault",
        "class": kind,
        "scope": "local",
        "start_ns": start_ns,
        "end_ns": start_ns + 100_000_000,
        "boxes": {box_id: {**seen, "side": None} for box_id in boxes},
    }


def finding(kind: str, box_id: str, start_s: float) -> Finding:
    start_ns = START_NS + round(start_s * 1e9)
    return Finding(kind, box_id, start_ns, start_ns + 100_000_000, 1000, residual_percent=70.0)


def test_a_runs_score_is_equal_in_both_stores(store: CloudStore, place: Any, tmp_path: Path) -> None:
    truth = [line(1, "sag", 10, "1", "2"), line(2, "swell", 30, "1"), line(3, "sag", 50, "2")]
    (tmp_path / "truth.jsonl").write_text("".join(json.dumps(each) + "\n" for each in truth))
    stored = [
        [finding("sag", "1", 10.002), finding("sag", "2", 10.004)],
        [finding("interruption", "2", 50.01)],
        [finding("sag", "3", 70)],
    ]
    for number, findings in enumerate(stored):
        first = findings[0]
        trigger = Trigger(f"t{number}", first.start_ns, first.end_ns, (first.box_id,), first.box_id, "test")
        put_findings(store, store.open_event(trigger, "test"), findings)
    where = ["--mongo-uri", place.where] if place.kind == "mongo" else ["--data-dir", str(tmp_path)]
    told = CliRunner().invoke(
        command, ["score", "--truth", str(tmp_path), *where, "--json"], catch_exceptions=False
    )
    assert told.exit_code == 0, told.stderr
    found = json.loads(told.stdout)
    assert [found[key] for key in ("truth", "found", "missed", "false")] == [3, 2, 1, 1]
    assert found["confusion"] == {
        "none": {"sag": 1},
        "sag": {"interruption": 1, "sag": 1},
        "swell": {"missed": 1},
    }
    assert found["start_error_ms"]["median"] == 6.0
