"""What a file states about scales, separators, times, rows and phases; skipped where the inputs are absent.

The same kinds are tested with files made by the tests in proto/tests/test_recordings_*.py.
"""

from pathlib import Path
from typing import Any

import pytest
from analyze_under_test import told
from click.testing import CliRunner
from test_recording_faults import SAG, V230, V230_50, check_sags, there

from opq_tools.cli import tools

NOON_NS = 1_710_676_799_800_000_000
SAG_OF_TIMES = (0.2, 0.3, 60.0)


def no_doubt(answer: dict[str, Any], **assumed: object) -> None:
    assert (answer["problems"], answer["gaps"], answer["assumed"]) == ([], [], assumed)


@pytest.mark.parametrize(
    "name",
    [
        "row-of-empty-cells/tail.csv",
        "thousands-separators/quoted.csv",
        "unit-in-other-letters/kilovolts.csv",
        "unit-in-other-letters/russian.csv",
    ],
)
def test_a_table_states_unit_marks_and_end(name: str) -> None:
    answer = told(there(f"csv-{name}"), *V230_50)
    no_doubt(answer)
    assert answer["rate_hz"] == pytest.approx(1600.0) and answer["samples"] == 400
    assert answer["rms_v"]["median"] == pytest.approx(230.0, abs=0.01)
    check_sags(answer, [SAG])


@pytest.mark.parametrize(("name", "rms_v"), [("adc.csv", 2245.0979), ("flag.csv", 229.9675)])
def test_the_names_of_two_columns_decide(name: str, rms_v: float) -> None:
    answer = told(there(f"csv-two-integer-columns/{name}"), *V230_50)
    no_doubt(answer, unit="V")
    assert [each["name"] for each in answer["channels"]] == ["U", {"adc.csv": "I"}.get(name, "trigger")]
    assert answer["rms_v"]["median"] == pytest.approx(rms_v, abs=0.001)


@pytest.mark.parametrize(
    ("name", "assumed"), [("utc-suffix/utc.csv", {}), ("am-pm/ampm.csv", {"time_zone": "UTC"})]
)
def test_times_are_read_as_they_are_written(name: str, assumed: dict[str, object]) -> None:
    path = there(f"csv-times-{name}")
    for options in ((), ("--rate-hz", "1000")):
        answer = told(path, *V230_50, *options)
        no_doubt(answer, **assumed)
        assert answer["rate_hz"] == pytest.approx(1000.0) and answer["start_ns"] == NOON_NS
        check_sags(answer, [SAG_OF_TIMES])


def test_a_decimal_comma_is_not_a_cell() -> None:
    path = there("comtrade-more-cells-than-cfg/comma.cfg")
    for channel, sags in (("Ua", [SAG]), ("Ub", [])):
        answer = told(path, *V230_50, "--channel", channel)
        assert answer["rms_v"]["median"] == pytest.approx(230.0, abs=0.01)
        check_sags(answer, sags)


def test_a_future_start_is_reported_and_not_imported(tmp_path: Path) -> None:
    path = there("start-in-the-future/labview.csv")
    answer = told(path, *V230_50)
    (problem,) = answer["problems"]
    assert (
        "2090-03-05T11:59:59Z" in problem and "2024-03-04T11:59:59Z" in problem and answer["start_ns"] is None
    )
    check_sags(answer, [SAG])
    order = ["import", "event", str(path), "--box", "9", *V230, "--data-dir", str(tmp_path)]
    refused = CliRunner().invoke(tools, order)
    assert refused.exit_code == 1 and "--start" in f"{refused.output} {refused.exception}"
    assert CliRunner().invoke(tools, [*order, "--start", "2024-03-04T11:59:59"]).exit_code == 0


@pytest.mark.parametrize(("name", "channels"), [("red-yellow-blue", "VR VY VB"), ("u-v-w", "UU UV UW")])
def test_phases_of_other_letters_are_measured_together(name: str, channels: str) -> None:
    answer = told(there(f"phases-{name}/three.cfg"), *V230_50)
    phases = answer["phases"]
    assert phases["channels"] == channels.split() and phases["rotation"] == "abc"
    (event,) = phases["events"]
    assert (event["class"], event["channel"]) == ("sag", channels.split()[0])
    assert answer["phases_because"] is None
