"""What `analyze` writes beside its answer: the page of a recording, and the table of its intervals."""

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from analyze_under_test import as_i16, assert_refused, mains, run, told
from pyarrow import parquet

RATE_HZ = 1200.0


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """7 s with a sag, 20 samples per cycle: two whole intervals of 180 cycles."""
    t_s = np.arange(round(7 * RATE_HZ)) / RATE_HZ
    wave = 170 * np.sin(2 * np.pi * 60 * t_s) * np.where(abs(t_s - 4.0) < 0.1, 0.5, 1.0)
    return as_i16(tmp_path_factory.mktemp("files"), wave, rate_hz=RATE_HZ)


def test_the_intervals_are_the_same_in_every_form(recording: Path, tmp_path: Path) -> None:
    names = [tmp_path / f"intervals{suffix}" for suffix in (".csv", ".parquet", ".json", ".jsonl")]
    answer = told(recording)["aggregates"]
    for name in names:
        told(recording, "--intervals", name)
    comma, columns, whole, lines = names
    rows = list(csv.DictReader(line for line in comma.read_text().splitlines() if line[0] != "#"))
    table = parquet.read_table(columns)
    assert json.loads(whole.read_text())["intervals"] == answer
    assert [json.loads(line) for line in lines.read_text().splitlines()] == answer
    assert [row["interval"] for row in rows] == [each["kind"] for each in answer]
    assert [float(row["rms_v_min"]) for row in rows] == [each["values"]["rms_v"]["min"] for each in answer]
    assert table["rms_v_min"].to_pylist() == [each["values"]["rms_v"]["min"] for each in answer]
    assert table["flagged"].to_pylist() == [each["flagged"] for each in answer]
    assert {"180_cycles", "10_min"} <= {each["kind"] for each in answer}


def test_a_left_out_quantity_has_no_column(recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "intervals.csv"
    told(recording, "--only", "rms", "--intervals", path)
    header = next(line for line in path.read_text().splitlines() if line[0] != "#")
    assert "rms_v_max" in header and "thd" not in header


def test_the_report_page_is_one_file(recording: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = run(recording, "--report", page)
    assert result.exit_code == 0 and f"written: {page}" in result.output
    text = page.read_text()
    seen = _Tags()
    seen.feed(text)
    assert {"svg", "table", "h1"} <= seen.tags and not {"script", "link", "img"} & seen.tags
    assert all(link.startswith("#") for link in seen.links)
    assert "instantaneous sag" in text and "Urms(1/2) below 90 % of 120 V" in text
    assert "Spectrum" in text and "mains.i16" in text
    assert "Class <strong>sag</strong>, confidence 0.9" in text
    assert (
        'viewBox="0 0 1000 500"' in text
        and "NaN" not in text
        and "nan" not in text.lower().split("</style>")[1]
    )
    again = tmp_path / "again.html"
    run(recording, "--report", again)
    assert again.read_text() == text


def test_the_report_page_shows_assumptions_and_escapes_names(tmp_path: Path) -> None:
    path = tmp_path / "<b>.csv"
    lines = [f"{k / 2400:.6f},{v:.3f}" for k, v in enumerate(mains(1.0)[::5])]
    path.write_text("time_s,volts\n" + "\n".join(lines))
    page = tmp_path / "page.html"
    assert run(path, "--report", page, "--only", "rms,events").exit_code == 0
    text = page.read_text()
    assert "Not stated, assumed: nominal_volts = 120" in text
    assert "harmonics not measured: not asked for" in text
    assert "<b>" not in text and "&lt;b&gt;.csv" in text


@pytest.mark.parametrize("option", ["--report", "--intervals"])
def test_another_ending_is_wrong_use(option: str, recording: Path, tmp_path: Path) -> None:
    assert "want a name that ends in" in assert_refused(recording, option, tmp_path / "page.txt")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
