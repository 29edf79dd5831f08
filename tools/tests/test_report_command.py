"""`opq-tools report`: a week out of a real store, in each form."""

import csv
import io
import json
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from opq_cloud.store import open_store
from opq_cloud.store.box_record import BoxRecord
from opq_proto.messages import Disturbance, Interval, Measurement
from opq_tools.reports.reports_command import command

MONDAY_NS = 1_794_783_600 * 10**9
"""2026-11-16 00:00 in Berlin."""
TEN_NS = 600 * 10**9
numbers = count(1)


def sent(box_id: str, start_ns: int, end_ns: int, **what: object) -> Measurement:
    return Measurement(
        box_id,
        end_ns // 10**6,
        {},
        start_ns,
        end_ns,
        1000,
        sequence=next(numbers),
        **what,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two phases of a site for a week; Box 2 has 51 low intervals, 10 flagged lower ones, and a dip."""
    place = tmp_path_factory.mktemp("store")
    store = open_store(None, place)
    try:
        store.put_box(BoxRecord("1", "hall", nominal_v=230.0, nominal_hz=50.0, site="mill", phase="L1"))
        store.put_box(BoxRecord("2", "", nominal_v=230.0, nominal_hz=50.0, site="mill", phase="L2"))
        rows = []
        for box_id in ("1", "2"):
            for at in range(-1, 1009):
                low = box_id == "2" and 100 <= at < 151
                flagged = box_id == "2" and 200 <= at < 210
                volts = 200.0 if low else 150.0 if flagged else 230.0
                interval = Interval(600_000, flagged, 1.0, {"rms_v": volts, "thd_ratio": 0.02})
                start_ns = MONDAY_NS + at * TEN_NS
                rows.append(sent(box_id, start_ns, start_ns + TEN_NS, interval=interval))
        dip_ns = MONDAY_NS + 200 * TEN_NS
        dip = Disturbance("2", "dip", dip_ns, dip_ns + 10**8, 1000, 140.0)
        rows.append(sent("2", dip_ns, dip_ns + 10**8, disturbance=dip))
        store.intervals.append(rows)
    finally:
        store.close()
    return place


def run(folder: Path, *arguments: str) -> Result:
    given = ["--data-dir", str(folder), "--week", "2026-W47", "--zone", "Europe/Berlin", *arguments]
    return CliRunner().invoke(command, given)


def document(folder: Path, *arguments: str) -> dict[str, object]:
    result = run(folder, "--format", "json", *arguments)
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_a_site_is_reported_with_its_phases(folder: Path) -> None:
    found = document(folder, "--site", "mill")
    assert (found["site"], found["box_ids"], found["hours"], found["verdict"]) == (
        "mill",
        ["1", "2"],
        168,
        "fail",
    )
    rows = [row for row in found["rows"] if row["quantity"] == "voltage"]  # type: ignore[attr-defined]
    assert [(row["box_id"], row["phase"], row["verdict"], row["count"], row["outside"]) for row in rows] == [
        ("1", "a", "pass", 1008, 0),
        ("1", "a", "pass", 1008, 0),
        ("2", "b", "fail", 998, 51),
        ("2", "b", "pass", 998, 0),
    ]
    (event,) = found["events"]  # type: ignore[misc]
    assert event["residual_percent"] == pytest.approx(100 * 140 / 230, abs=1e-4)
    assert sum(map(sum, found["event_tables"][0]["counts"])) == 1  # type: ignore[index]


def test_a_box_alone_and_all_places(folder: Path) -> None:
    assert document(folder, "--box", "1")["verdict"] == "pass"
    every = document(folder)  # the only place is the site
    assert every["site"] == "mill"


def test_each_form_is_written(folder: Path, tmp_path: Path) -> None:
    result = run(folder, "--format", "csv")
    lines = [line for line in result.stdout.splitlines() if not line.startswith("#")]
    assert {row["box_id"] for row in csv.DictReader(io.StringIO("\n".join(lines)))} == {"1", "2", ""}
    page = tmp_path / "mill.html"
    result = run(folder, "--site", "mill", "--standard", "ieee519", "--out", str(page))
    assert result.exit_code == 0 and "IEEE 519-2014" in page.read_text(encoding="utf-8")
    assert run(folder, "--format", "pdf").exit_code == 1  # a PDF is a file


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--site", "mall"), "there is no site 'mall'; known: mill"),
        (("--week", "2026-W54"), "want one such as 2026-W47, or last"),
        (("--standard", "en50161"), "not a known standard"),
        (("--zone", "Mars"), "want a zone such as"),
    ],
)
def test_a_wrong_name_is_one_line(folder: Path, given: tuple[str, str], words: str) -> None:
    result = run(folder, *given)
    assert result.exit_code == 1 and words in str(result.exception)


def test_one_choice_of_places_at_most(folder: Path) -> None:
    assert run(folder, "--box", "1", "--site", "mill").exit_code == 2
