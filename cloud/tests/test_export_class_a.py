"""Tables of intervals, disturbances and trends: what was stored, in each form, read by other readers."""

import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from opq_cloud.export.class_a import disturbance_table, interval_table, trend_table
from opq_cloud.export.tables import shortest, table_pieces
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.stated_facts import StatedFact
from opq_proto.messages import Disturbance, Interval, Measurement, Trend
from opq_tools.exporting.export_command import command

TEN_NS = 600 * 10**9
T0_NS = 1_767_225_600 * 10**9
EVER = (0, 4 * 10**18)
NOTEBOOK = Path(__file__).parents[2] / "docs" / "examples" / "intervals" / "intervals.ipynb"


def interval(at: int, box_id: str) -> Measurement:
    start_ns = T0_NS + at * TEN_NS
    harmonics = tuple(float(np.float32(120 / order + at)) for order in range(1, 51))
    values: dict[str, float | tuple[float, ...]] = {
        "rms_v": float(np.float32(120 + at / 7)),
        "harmonics_v": harmonics,
    }
    if at % 2:
        values["interharmonics_v"] = harmonics[:3]
    return Measurement(
        box_id,
        1,
        {},
        start_ns,
        start_ns + TEN_NS,
        5,
        sequence=at + 1,
        interval=Interval(600_000, at == 3, 1.0 if at else None, values),
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    made = open_store(None, tmp_path)
    made.intervals.append([interval(at, box_id) for box_id in ("1", "2") for at in range(5)])
    dip = Disturbance("1", "dip", T0_NS + 7, None, 2**32 - 1, float("nan"))
    made.intervals.append([Measurement("1", 1, {}, dip.start_ns, dip.start_ns, sequence=99, disturbance=dip)])
    made.put_trends([Trend("1", T0_NS // 10**6, {"rms": (1.0, 3.0, 2.0)})])
    yield made
    made.close()


def whole(store: CloudStore, form: str) -> bytes:
    table = interval_table(store.intervals, ["1", "2", "9"], 600_000, *EVER)
    return b"".join(table_pieces(table, form, bare=True))  # type: ignore[arg-type]


def wanted(name: str) -> list[float | None]:
    found: list[float | None] = []
    for at in [*range(5)] * 2:
        row = interval(at, "1").interval
        assert row is not None
        value = row.values.get({"r": "rms_v", "h": "harmonics_v", "i": "interharmonics_v"}[name[0]])
        if isinstance(value, tuple):
            found.append(value[int(name[1:-2]) - (name[0] == "h")])
        else:
            found.append(value)
    return found


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "arrow"])
def test_intervals_are_unchanged_in_each_form(store: CloudStore, form: str) -> None:
    data = whole(store, form)
    if form == "csv":
        text = list(csv.DictReader(io.StringIO(data.decode())))
        rows = [
            {
                name: float(value) if value else None
                for name, value in row.items()
                if name not in ("flagged", "start_utc", "end_utc")
            }
            for row in text
        ]
    elif form == "jsonl":
        rows = [json.loads(line) for line in data.splitlines()]
    elif form == "arrow":
        rows = pyarrow.ipc.open_file(data).read_all().to_pylist()
    else:
        rows = parquet.read_table(io.BytesIO(data)).to_pylist()
    assert len(rows) == 10
    for name in ("rms_v", "h1_v", "h50_v", "i0_v", "i2_v"):
        read = [row.get(name) for row in rows]
        if form in ("csv", "jsonl"):
            read = [None if value is None else float(np.float32(value)) for value in read]
        assert read == wanted(name), name
    assert [row["start_ns"] for row in rows][:5] == [T0_NS + at * TEN_NS for at in range(5)]
    assert rows[0]["coverage"] is None and rows[1]["coverage"] == 1.0


def test_a_disturbance_without_end_and_residual_has_none(store: CloudStore) -> None:
    table = disturbance_table(store.intervals, ["1", "2"], *EVER)
    (row,) = table.rows
    assert row["class"] == "dip" and row["end_ns"] is None and row["residual_v"] is None
    assert row["uncertainty_ns"] is None and row["polyphase_group"] is None


def test_a_disturbance_has_percent_and_place_of_then(store: CloudStore) -> None:
    """By the facts of its Box at its beginning; without a residual, without a percent."""
    deep = Disturbance("2", "dip", T0_NS + 9, T0_NS + 10**8, 1000, 46.0)
    store.intervals.append([Measurement("2", 1, {}, T0_NS + 9, T0_NS + 10**8, sequence=98, disturbance=deep)])
    boxes = [
        BoxRecord(box_id, f"Box {box_id}", nominal_v=230.0, site="mill", phase="L1", feeder="f2")
        for box_id in ("1", "2")
    ]
    rows = list(disturbance_table(store.intervals, ["1", "2"], *EVER, boxes=boxes).rows)
    assert [row["residual_percent"] for row in rows] == [None, pytest.approx(20.0)]
    assert [row["nominal_v"] for row in rows] == [230.0, 230.0]
    assert {(row["site"], row["phase"], row["feeder"]) for row in rows} == {("mill", "L1", "f2")}


def test_the_facts_of_a_table_have_nominal_voltages(store: CloudStore) -> None:
    stated = (StatedFact("nominal_v", 0, 120.0), StatedFact("nominal_v", 5, 230.0))
    boxes = [BoxRecord("1", "Box 1", nominal_v=230.0, stated=stated), BoxRecord("2", "Box 2")]
    intervals = interval_table(store.intervals, ["1", "2"], 600_000, *EVER, boxes=boxes)
    trends = trend_table(store, {"1": (0, 1), "2": (0, 1)}, 60_000, ("rms",), boxes=boxes)
    for table in (intervals, trends):
        assert table.facts["nominal_v"] == {"1": [120.0, 230.0]}
    rows = {row["box_id"]: row["nominal_v"] for row in intervals.rows}
    assert rows == {"1": 230.0, "2": None}, "each row has that of its time, also where only rows are written"


def test_the_command_writes_intervals_disturbances_and_trends(store: CloudStore, tmp_path: Path) -> None:
    def run(*words: str) -> str:
        result = CliRunner().invoke(command, [*words, "--data-dir", str(tmp_path)])
        assert result.exit_code == 0, result.output
        return result.stdout

    out = tmp_path / "x.parquet"
    run("intervals", "--box", "2", "--format", "parquet", "--out", str(out))
    assert set(parquet.read_table(out)["box_id"].to_pylist()) == {"2"}
    assert [json.loads(line)["class"] for line in run("disturbances", "--format", "jsonl").splitlines()] == [
        "dip"
    ]
    (row,) = csv.DictReader(io.StringIO(run("trends", "--level", "1m")))
    assert (row["rms_min"], row["rms_max"], row["rms_average"], row["thd_min"]) == ("1.0", "3.0", "2.0", "")


def test_the_notebook_reads_every_form_as_it_is(
    store: CloudStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("duckdb", "pandas"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    monkeypatch.chdir(tmp_path)
    for form in ("parquet", "arrow", "csv", "jsonl"):
        words = ["intervals", "--data-dir", str(tmp_path), "--format", form, "--out", f"november.{form}"]
        assert CliRunner().invoke(command, words).exit_code == 0
    found: dict[str, Any] = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), found)
    clean = [value for value, at in zip(wanted("h5_v"), [*range(5)] * 2, strict=True) if at != 3]
    exact = float(np.quantile(clean, 0.95, method="inverted_cdf"))
    assert found["harmonics_v"]["h5_v"] == exact and len(found["harmonics_v"]) == 49
    assert found["by_form"].keys() == {"parquet", "csv", "jsonl"}
    assert all(count == 8 and np.float32(value) == exact for count, value in found["by_form"].values())
    for frame in found["frames"].values():
        assert frame["start_ns"].tolist() == [T0_NS + at * TEN_NS for at in range(5)] * 2
        assert frame["rms_v"].astype("float32").tolist() == wanted("rms_v")
    assert found["days"]["count"].tolist() == [8]
    assert found["measured"]["i0_v"] == pytest.approx(0.4) and found["measured"]["h50_v"] == 1


def significant_digits(value: float) -> int:
    """Number of its significant digits: 1000000000000.0 has one."""
    return len(Decimal(repr(value)).normalize().as_tuple().digits)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50), st.floats(allow_nan=False))
def test_single_precision_has_only_its_own_digits(singles: list[float], other: float) -> None:
    """Single precision is written with the digits that it needs."""
    for value, made in zip(singles, shortest(singles), strict=True):
        assert np.float32(repr(made)) == np.float32(value)
        assert significant_digits(made) <= significant_digits(value)
    assert shortest([other]) == [other] or np.float32(other) == other
    assert shortest([float(np.float32(0.1)), 119.80000305175781]) == [0.1, 119.8]


def test_a_csv_of_intervals_has_single_precision(store: CloudStore) -> None:
    """A CSV of intervals has no digits of a double."""
    rows = list(csv.DictReader(io.StringIO(whole(store, "csv").decode())))
    assert [rows[1]["rms_v"], rows[1]["h7_v"]] == ["120.14286", "18.142857"]
    digits = [len(value.replace(".", "")) for row in rows for name, value in row.items() if "_v" in name]
    assert max(digits) <= 9
    assert '"rms_v": 120.14286,' in whole(store, "jsonl").decode()


def test_a_sites_phases_are_exported_under_its_name(store: CloudStore, tmp_path: Path) -> None:
    """Three Boxes of which none is in a group: two intervals of three, since Box 6 has no third one."""
    rows = []
    for number, box_id in enumerate(("4", "5", "6")):
        store.put_box(BoxRecord(box_id, "", site="mill", phase=f"L{number + 1}"))
        for at in range(3 - (box_id == "6")):
            values: dict[str, float | tuple[float, ...]] = {
                "f_hz": 50.0,
                "angles_deg": (30.0 - 120 * number,) * 10,
                "phasors_v": (230.0 - 6.9 * (number == 1),) * 10,
            }
            at_ns = T0_NS + at * TEN_NS, T0_NS + (at + 1) * TEN_NS, 1000
            ten = Interval(600_000, at == 1, 1.0, values)
            rows.append(Measurement(box_id, 1, {}, *at_ns, sequence=at, interval=ten))
    store.intervals.append(rows)
    done = CliRunner().invoke(command, ["intervals", "--box", "mill", "--data-dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    found = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(int(row["start_ns"]), row["flagged"]) for row in found] == [
        (T0_NS, "False"),
        (T0_NS + TEN_NS, "True"),
    ]
    for row in found:
        assert float(row["u2_ratio"]) == pytest.approx(0.03 / 2.97, rel=1e-3)
        assert float(row["angle_b_deg"]) == pytest.approx(-120.0) and row["box_id"] == "mill"
    every = CliRunner().invoke(command, ["intervals", "--data-dir", str(tmp_path)])
    assert {row["box_id"] for row in csv.DictReader(io.StringIO(every.stdout))} == {*"12456", "mill"}
