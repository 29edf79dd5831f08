"""Other meters: what a CSV says, and such a meter beside a Box."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_cloud.export.exported_records import ExportError
from opq_cloud.export.meter_comparison import compare_meter, comparison_page
from opq_cloud.export.meter_values import MeterCourse, csv_values
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_proto.messages import Interval, Measurement
from opq_recordings.row_moments import StatedTimes

T0_S = 1_790_000_400
"""A whole ten minutes."""
TEN_NS = 600 * 10**9


def read(
    folder: Path, text: str, columns: dict[str, str], stated: StatedTimes
) -> dict[str, list[tuple[float, float]]]:
    (folder / "meter.csv").write_text(text)
    courses = csv_values(folder / "meter.csv", columns, stated).courses
    return {
        quantity: list(zip(each.at_s.tolist(), each.values.tolist(), strict=True))
        for quantity, each in courses.items()
    }


def test_a_csv_is_read_by_columns_and_zone(tmp_path: Path) -> None:
    text = "Time;V1;Freq\n20.11.2026 12:01:00;;50.02\n\n2026-11-20 12:00:00;230.5;50.01\n"
    noon_s = 1_795_172_400
    assert read(tmp_path, text, {"rms_v": "V1", "f_hz": "Freq"}, StatedTimes("Europe/Berlin")) == {
        "f_hz": [(noon_s, 50.01), (noon_s + 60, 50.02)],
        "rms_v": [(noon_s, 230.5)],
    }


@pytest.mark.parametrize("time", ["1790000400", "1790000400000", "1790000400.25", "2026-09-21T14:20:00Z"])
def test_times_are_seconds_milliseconds_or_written(tmp_path: Path, time: str) -> None:
    ((at_s, value),) = read(tmp_path, f"t,rms_v\n{time},120\n", {}, StatedTimes())["rms_v"]
    assert (int(at_s), value) == (T0_S, 120.0)


def test_the_originals_columns_are_read_as_they_are(tmp_path: Path) -> None:
    text = "ts-s,actual,min,max,avg,stddev,meter-name,sample-type\n"
    text += f"{T0_S},1,0.5,2,1.5,0.25,feeder,rms_v\n{T0_S},60,,,,,feeder,f_hz\n"
    assert read(tmp_path, text, {}, StatedTimes()) == {"rms_v": [(T0_S, 1.5)], "f_hz": [(T0_S, 60.0)]}
    with pytest.raises(ExportError, match="want the values of one meter; it has those of feeder, other"):
        read(tmp_path, f"{text}{T0_S},1,,,,,other,rms_v\n", {}, StatedTimes())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "no column of times"),
        (f"time,b\n{T0_S},2\n", "no column 'V1'"),
        ("time,V1\nsoon,2\n", "line 2: 'soon' is not a time"),
        (f"time,V1\n{T0_S},2\n{T0_S + 1},much\n", "line 3: V1 is 'much', want a number"),
    ],
)
def test_a_csv_that_cannot_be_read_says_why(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ExportError, match=words):
        read(tmp_path, text, {"rms_v": "V1"}, StatedTimes())


def course(at_s: NDArray[np.float64]) -> NDArray[np.float64]:
    return 120 + 2 * np.sin(at_s / 9_000) + np.sin(at_s / 2_900)


def meter() -> MeterCourse:
    """A meter 0.3 V above Box 1, whose clock is 200 s late."""
    at_s = np.arange(-3600, 144 * 600 + 3600, 60)
    theirs = [float(np.mean(course(each - 200 + np.arange(60.0) + 0.5))) + 0.3 for each in at_s.tolist()]
    return MeterCourse(T0_S + at_s.astype(np.float64), np.array(theirs))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """A day of Box 1."""
    opened = EmbeddedStore(tmp_path / "opq.db")
    rows = []
    for at in range(144):
        start_s = T0_S + 600 * at
        volts = float(np.mean(course(start_s - T0_S + np.arange(600.0) + 0.5)))
        start_ns = start_s * 10**9
        values = {"rms_v": volts, "f_hz": 60.0}
        rows.append(
            Measurement(
                "1",
                (start_ns + TEN_NS) // 10**6,
                {},
                start_ns=start_ns,
                end_ns=start_ns + TEN_NS,
                sequence=at,
                interval=Interval(
                    600_000, at == 70, 1.0, values if at != 70 else {"rms_v": 1.0, "f_hz": 60.0}
                ),
            )
        )
    opened.intervals.append(rows)
    yield opened
    opened.close()


def test_a_meter_has_bias_spread_and_delay(store: EmbeddedStore) -> None:
    end_ns = (T0_S + 144 * 600) * 10**9
    (one,) = compare_meter(store, "1", {"rms_v": meter()}, T0_S * 10**9, end_ns, 600_000)
    assert (one.quantity, one.found.count) == ("rms_v", 143)
    assert one.found.delay_s == pytest.approx(200, abs=3)
    assert one.found.bias == pytest.approx(0.3, abs=0.01) and one.found.spread < 0.02
    made = one.as_json()
    assert made["svg"].startswith("<svg") and made["svg"].count("<path") == 2
    assert len(re.findall("M", made["svg"].partition("/>")[0])) == 2, "broken at the flagged interval"
    page = comparison_page("a <meter>", "1", [one])
    assert "a &lt;meter&gt;" in page and "<svg" in page
    assert compare_meter(store, "1", {"h5_v": meter()}, T0_S * 10**9, end_ns, 600_000) == []
