"""Other meters: what a CSV or a message says, and such a meter beside a Box."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_cloud.export.meter_comparison import compare_meter, comparison_page
from opq_cloud.export.meter_values import csv_values, message_value
from opq_cloud.export.records import ExportError
from opq_cloud.store.embedded.store import EmbeddedStore
from opq_cloud.store.records.reference_meters import MeterValue
from opq_proto.messages import Interval, Measurement

T0_S = 1_790_000_400
"""A whole ten minutes."""
TEN_NS = 600 * 10**9


def test_a_csv_is_read_by_columns_and_zone() -> None:
    text = "Time;V1;Freq\n2026-11-20 12:00:00;230.5;50.01\n\n20.11.2026 12:01:00;;50.02\n"
    found = list(csv_values(text, "fluke", {"rms_v": "V1", "f_hz": "Freq"}, zone="Europe/Berlin"))
    noon_s = 1_795_172_400
    assert found == [
        MeterValue("fluke", "rms_v", noon_s, 230.5),
        MeterValue("fluke", "f_hz", noon_s, 50.01),
        MeterValue("fluke", "f_hz", noon_s + 60, 50.02),
    ]


@pytest.mark.parametrize("time", ["1790000400", "1790000400000", "1790000400.25", "2026-09-21T14:20:00Z"])
def test_times_are_seconds_milliseconds_or_written(time: str) -> None:
    (found,) = csv_values(f"t,rms_v\n{time},120\n", "m", {})
    assert found == MeterValue("m", "rms_v", T0_S, 120.0)


def test_the_originals_columns_are_read_as_they_are() -> None:
    text = f"ts-s,actual,min,max,avg,stddev,meter-name,sample-type\n{T0_S},1,0.5,2,1.5,0.25,feeder,rms_v\n"
    (found,) = csv_values(text, "", {})
    assert found == MeterValue("feeder", "rms_v", T0_S, 1.0, 0.5, 2.0, 1.5, 0.25)
    assert found.value == 1.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "no column of times"),
        ("time,b\n1,2\n", "no column 'V1'"),
        ("time,V1\nsoon,2\n", "line 2: 'soon' is not a time"),
        ("time,V1\n1,2\n2,much\n", "line 3: 'much' is not a number"),
    ],
)
def test_a_csv_that_cannot_be_read_says_why(text: str, words: str) -> None:
    with pytest.raises(ExportError, match=words):
        list(csv_values(text, "m", {"rms_v": "V1"}))


@pytest.mark.parametrize(
    ("payload", "key", "value"),
    [
        (b"230.5", "", 230.5),
        (b'{"value": 230.5}', "", 230.5),
        (b'{"a": {"voltage": 231}, "time": "2026-09-21T14:20:00Z"}', "a.voltage", 231.0),
    ],
)
def test_a_message_is_a_number_or_an_object(payload: bytes, key: str, value: float) -> None:
    assert message_value(payload, "m", "rms_v", key, T0_S + 0.5) == MeterValue("m", "rms_v", T0_S, value)


@pytest.mark.parametrize(
    "payload", [b"", b"on", b"true", b'{"v": 1}', b"[1]", b"NaN", b'{"value":1,"time":"x"}']
)
def test_other_messages_have_no_value(payload: bytes) -> None:
    assert message_value(payload, "m", "rms_v", "", T0_S) is None


def course(at_s: NDArray[np.float64]) -> NDArray[np.float64]:
    return 120 + 2 * np.sin(at_s / 9_000) + np.sin(at_s / 2_900)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """A day of Box 1, and a meter 0.3 V above it whose clock is 200 s late."""
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
    at_s = np.arange(-3600, 144 * 600 + 3600, 60)
    theirs = [float(np.mean(course(each - 200 + np.arange(60.0) + 0.5))) + 0.3 for each in at_s.tolist()]
    opened.put_meter_values(
        MeterValue("m", "rms_v", T0_S + int(each), volts) for each, volts in zip(at_s, theirs, strict=True)
    )
    yield opened
    opened.close()


def test_a_meter_has_bias_spread_and_delay(store: EmbeddedStore) -> None:
    end_ns = (T0_S + 144 * 600) * 10**9
    (one,) = compare_meter(store, "m", "1", T0_S * 10**9, end_ns, 600_000)
    assert (one.quantity, one.found.count) == ("rms_v", 143)
    assert one.found.delay_s == pytest.approx(200, abs=3)
    assert one.found.bias == pytest.approx(0.3, abs=0.01) and one.found.spread < 0.02
    made = one.as_json()
    assert made["svg"].startswith("<svg") and made["svg"].count("<path") == 2
    assert len(re.findall("M", made["svg"].partition("</path>")[0])) == 2, "broken at the flagged interval"
    page = comparison_page("a <meter>", "1", [one])
    assert "a &lt;meter&gt;" in page and "<svg" in page
    assert compare_meter(store, "other", "1", T0_S * 10**9, end_ns, 600_000) == []
