"""`opq-tools reference compare`: another meter's CSV beside a Box."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from opq_cloud.export.exported_records import ExportError
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_proto.messages import Interval, Measurement
from opq_tools.changes.reference import command

T0_S = 1_790_000_400
VOLTS = 120 + np.sin(np.arange(60) / 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten hours of Box 1."""
    store = EmbeddedStore(tmp_path / "opq.db")
    store.intervals.append(
        Measurement(
            "1",
            (T0_S + 600 * at + 600) * 1000,
            {},
            start_ns=(T0_S + 600 * at) * 10**9,
            end_ns=(T0_S + 600 * at + 600) * 10**9,
            sequence=at,
            interval=Interval(600_000, False, 1.0, {"rms_v": float(each)}),
        )
        for at, each in enumerate(VOLTS)
    )
    store.close()
    return tmp_path


def compare(folder: Path, text: str | bytes, *words: str) -> Result:
    file = folder / "meter.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return CliRunner().invoke(
        command, ["compare", "1", str(file), "--data-dir", str(folder), *words], catch_exceptions=False
    )


def test_a_csv_is_compared_over_its_span(folder: Path) -> None:
    text = "\n".join(["time,V1", *(f"{T0_S + 600 * at},{each + 0.5}" for at, each in enumerate(VOLTS))])
    page = folder / "m.html"
    done = compare(folder, text, "--column", "rms_v=V1", "--out", str(page), "--json")
    found = json.loads(done.stdout)
    (one,) = found["quantities"]
    assert found["box_id"] == "1" and (one["quantity"], one["intervals"]) == ("rms_v", 60)
    assert one["bias"] == pytest.approx(0.5, abs=1e-3) and one["delay_s"] == pytest.approx(0, abs=20)
    assert "<svg" in page.read_text()
    shorter = compare(folder, text, "--column", "rms_v=V1", "--from", "2026-09-21T18:00:00")
    assert shorter.exit_code == 0 and "rms_v" in shorter.stdout and " 60 " not in shorter.stdout
    with pytest.raises(ExportError, match="fewer than 12 intervals of 2h in common; the file has rms_v"):
        compare(folder, text, "--column", "rms_v=V1", "--length", "2h")


def test_a_recorders_file_is_read_as_it_is(folder: Path) -> None:
    """A date and a clock in two columns, units, decimal commas, latin-1, empty cells and repeated times."""
    clock = [(16 * 60 + 20 + 10 * at) % 1440 for at in range(60)]
    rows = [
        f"{21 + (at >= 46)}.09.2026;{minute // 60:02d}:{minute % 60:02d}:00;{volts / 1000:.6f};50".replace(
            ";0.", ";0,"
        )
        for at, (minute, volts) in enumerate(zip(clock, VOLTS, strict=True))
    ]
    text = ["Datum;Uhrzeit;Größe U [kV];f", *rows, "22.09.2026;05:00:00;;50,0", rows[0]]
    columns = ("--column", "rms_v=Größe U", "--column", "f_hz=f", "--zone", "+02:00")
    done = compare(folder, "\n".join(text).encode("latin-1"), *columns, "--json")
    (one,) = json.loads(done.stdout)["quantities"]
    assert one["intervals"] == 60 and one["bias"] == pytest.approx(0, abs=1e-3)
    assert "1 cells have no value" in done.stderr
    assert "values are left out, because a later row of the file has the same time" in done.stderr


@pytest.mark.parametrize(
    ("text", "words", "why"),
    [
        ("time,rms_v\n2026-09-21,230\nAverage,230\n", (), "line 3: 'Average' is not a time"),
        ("Date,I1 [A]\n2026-10-20,3.1\n2026-10-21,3.2\n", ("--column", "rms_v=I1"), "is in A, and rms_v"),
        ("Date,I1\n2026-10-20,3.1\n2026-10-20,3.2\n", ("--column", "i_a=I1"), "all 2 rows have one time"),
    ],
)
def test_a_csv_that_cannot_be_read(folder: Path, text: str, words: tuple[str, ...], why: str) -> None:
    with pytest.raises(ExportError, match=why):
        compare(folder, text, *words)


def test_a_box_that_is_not_known(tmp_path: Path) -> None:
    EmbeddedStore(tmp_path / "opq.db").close()
    with pytest.raises(Exception, match="Box 1"):
        compare(tmp_path, f"time,rms_v\n{T0_S},230\n")


def test_the_calendar_of_serial_days_is_said(folder: Path) -> None:
    """A CSV of a workbook that counts from 1904 looks the same."""
    days = [25_569 + (T0_S + 600 * at) / 86_400 for at in range(60)]
    text = "\n".join(["time,rms_v", *(f"{day:.9f},{volts}" for day, volts in zip(days, VOLTS, strict=True))])
    says = "its times were taken as days since 1899-12-30; a workbook of the 1904 calendar has 1,462 less"
    assert says in compare(folder, text).stderr
