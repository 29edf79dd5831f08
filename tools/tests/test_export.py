"""`opq-tools export measurements`: what a real store holds, as JSON and CSV."""

import csv
import io
import json
from pathlib import Path

from click.testing import CliRunner

from opq_cloud.store import open_store
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_tools.export import command

T_MS = 1_795_000_000_000


def measured(box_id: str, number: int, **more: object) -> Measurement:
    end_ns = (T_MS + 1000 * number) * 10**6
    given = {"metrics": {"rms": Metric(119.5, 120.5, 120.0)}, "sequence": number, **more}
    return Measurement(
        box_id, end_ns // 10**6, start_ns=end_ns - 10**9, end_ns=end_ns, source=TimeSource.GPS, **given
    )  # type: ignore[arg-type]


def stored(folder: Path) -> None:
    store = open_store(None, folder)
    store.append_measurements([measured("10", 1), measured("2", 2, crossing=True), measured("2", 1)])
    store.close()


def exported(folder: Path, *options: str) -> str:
    done = CliRunner().invoke(command, ["measurements", "--data-dir", str(folder), *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_everything_is_there_by_box_number_and_time(tmp_path: Path) -> None:
    stored(tmp_path)
    rows = json.loads(exported(tmp_path))
    assert [(row["box_id"], row["sequence"]) for row in rows] == [("2", 1), ("2", 2), ("10", 1)]
    assert (
        rows[1]["crossing"]
        and rows[0]["source"] == "gps"
        and rows[0]["end_ns"] - rows[0]["start_ns"] == 10**9
    )
    assert rows[0]["metrics"] == {"rms": {"min": 119.5, "max": 120.5, "average": 120.0}}


def test_a_box_and_a_span_of_time_choose(tmp_path: Path) -> None:
    stored(tmp_path)
    assert [row["box_id"] for row in json.loads(exported(tmp_path, "--box", "10"))] == ["10"]
    assert json.loads(exported(tmp_path, "--to", "2020-01-01")) == []


def test_csv_has_a_column_per_figure(tmp_path: Path) -> None:
    stored(tmp_path)
    rows = list(csv.DictReader(io.StringIO(exported(tmp_path, "--format", "csv"))))
    assert len(rows) == 3 and rows[0]["rms_max"] == "120.5"
