"""Inputs that were refused or read wrongly once, each with the right answer; skipped where they are absent.

The same kinds are tested with files made by the tests in proto/tests/test_recordings_*.py.
"""

from pathlib import Path
from typing import Any

import pytest
from analyze_under_test import assert_refused, run, told

FAULTS = Path(__file__).parents[3] / "shared" / "data" / "faults"
START_NS = 1_710_669_600_000_000_000
SAG = (0.10, 0.18, 60.0)
V230 = ("--nominal-volts", "230")
V230_50 = (*V230, "--nominal-hz", "50")
COMTRADE: dict[str, dict[str, Any]] = {
    "blank-lines/blank.cfg": {},
    "cfg-encoding/gbk.cfg": {},
    "cfg-encoding/latin1.cfg": {},
    "missing-sample/missing.cfg": {"gaps": [(300, 1)]},
    "nanoseconds/ns.cfg": {"start_ns": START_NS + 123_456_789},
    "optional-fields/optional.cfg": {},
    "rate-zero/stamps.cfg": {},
    "segments-of-one-rate/segments.cfg": {},
    "time-not-readable/nofraction.cfg": {},
    "unit-names/volts.cfg": {},
    "zone-guessed/zone.cfg": {"start_ns": START_NS - 19_800 * 10**9},
    "zone-guessed/half.cfg": {"start_ns": None},
    "gap-in-numbers/gap.cfg": {"gaps": [(200, 113)], "sags": []},
    "rows-beyond-cfg/more.cfg": {"sags": [(0.20, None, 40.0)]},
}
OTHERS: dict[str, tuple[tuple[str, ...], list[tuple[float, float | None, float]]]] = {
    "csv-of-instruments/semicolon.csv": (V230_50, [(0.08, 0.14, 60.0)]),
    "csv-of-instruments/scope.csv": (V230_50, [(0.08, 0.14, 60.0)]),
    "wav-forms/extensible.wav": (("--volts-per-lsb", "0.02", *V230_50), [SAG]),
    "wav-forms/bits24.wav": (("--volts-per-lsb", "0.000078125", *V230_50), [SAG]),
    "wav-length-unknown/pipe.wav": (("--volts-per-lsb", "0.02", *V230_50), [SAG]),
    "nominal-assumed/eu.csv": ((), []),
    "hdf5-unit-of-values/millivolts.h5": (V230_50, [SAG]),
    "mat-interval-of-oscilloscope/scope.mat": (V230_50, [SAG]),
    "pqdif-scale-not-flagged/values.pqd": (V230_50, [SAG]),
    "pqdif-transducer-ratio/ratio.pqd": ((), [SAG]),
    "zip-of-macos/relay.zip": (V230_50, [SAG]),
    "zip-of-macos-folder/mains.zip": (V230_50, [SAG]),
    "zip-same-names/records.zip": (("--channel", "1", *V230_50), [SAG]),
    "comtrade-unit-names/empty.cfg": (("--channel", "1", "--unit", "V", *V230), [SAG]),
}


def there(name: str) -> Path:
    path = FAULTS / name
    if not path.exists():
        pytest.skip(f"{path} is not here; it is not part of the project")
    return path


def check_sags(answer: dict[str, Any], wanted: list[tuple[float, float | None, float]]) -> None:
    found = [(each["start_s"], each["end_s"], each["residual_percent"]) for each in answer["events"]]
    assert [each["class"] for each in answer["events"]] == ["sag"] * len(wanted)
    for (start_s, end_s, percent), (wanted_s, wanted_end_s, wanted_percent) in zip(
        found, wanted, strict=True
    ):
        assert start_s == pytest.approx(wanted_s, abs=0.001) and percent == pytest.approx(
            wanted_percent, abs=0.1
        )
        assert end_s is None or end_s == pytest.approx(wanted_end_s, abs=0.001)


@pytest.mark.parametrize("name", COMTRADE)
def test_comtrade_is_read_as_it_is_meant(name: str) -> None:
    wanted = COMTRADE[name]
    answer = told(there(f"comtrade-{name}"), *V230)
    assert answer["rate_hz"] == 1600.0
    assert answer["frequency_hz"]["mean"] == pytest.approx(50.0, abs=0.001)
    assert answer["start_ns"] == wanted.get("start_ns", START_NS)
    assert [(gap["first_sample"], gap["samples"]) for gap in answer["gaps"]] == wanted.get("gaps", [])
    check_sags(answer, wanted.get("sags", [SAG]))


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_read_as_they_are_meant(name: str) -> None:
    options, sags = OTHERS[name]
    check_sags(told(there(name), *options), sags)


def test_a_hole_is_where_the_rows_are_missing() -> None:
    answer = told(there("csv-hole-misplaced/hole.csv"), *V230_50)
    assert [(gap["first_sample"], gap["samples"]) for gap in answer["gaps"]] == [(160, 10)]
    assert answer["gaps"][0]["start_s"] == pytest.approx(0.1)


def test_a_channel_without_unit_names_the_option() -> None:
    assert "--unit V" in assert_refused(there("comtrade-unit-names/empty.cfg"), *V230)


def test_a_nominal_voltage_that_nobody_stated_is_said() -> None:
    answer = told(there("nominal-assumed/eu.csv"))
    assert answer["assumed"] == {"nominal_volts": 230.0, "nominal_hz": 50.0}
    assert "230 V is assumed" in run(there("nominal-assumed/eu.csv")).stderr
