"""What an incident of the original states is shown of it; the documents are as its plug-ins write them."""

from typing import Any

import pytest

from opq_cloud.store.documents.findings import known_from_document
from opq_cloud.store.documents.readable import READ_ERRORS

START_MS = 1_600_000_000_000


def finding(*words: str, off: object = -1.0, kind: str | None = "VOLTAGE", **fields: Any) -> Any:
    document = {
        "incident_id": 7,
        "event_id": 3,
        "box_id": "1",
        "start_timestamp_ms": START_MS,
        "end_timestamp_ms": START_MS + 250.0,
        "measurement_type": kind,
        "deviation_from_nominal": off,
        "classifications": list(words),
        "ieee_duration": "INSTANTANEOUS",
        "annotations": [],
        "metadata": {},
        **fields,
    }
    return known_from_document(document).finding


def test_a_dip_states_its_residual_voltage() -> None:
    sag = finding("VOLTAGE_SAG", off=24.0)
    assert (sag.kind, sag.residual_v, sag.residual_percent) == ("sag", 96.0, 80.0)
    assert sag.ieee1159 == "instantaneous sag" and sag.severity > 0
    swell = finding("VOLTAGE_SWELL", off=24.0, ieee_duration="MOMENTARY")
    assert (swell.residual_percent, swell.ieee1159) == (120.0, "momentary swell")
    low = finding("UNDERVOLTAGE", off=18.0, ieee_duration="SUSTAINED")
    assert (low.residual_percent, low.ieee1159) == (85.0, "undervoltage")


@pytest.mark.parametrize(
    ("word", "off", "expected"),
    [
        ("ITIC_PROHIBITED", 96.0, ("swell", 180.0, "prohibited", None)),
        ("ITIC_NO_DAMAGE", -60.0, ("sag", 50.0, "no_damage", None)),
        ("SEMI_F47_VIOLATION", -84.0, ("sag", 30.0, None, "fail")),
        ("SEMI_F47_VIOLATION", -115.2, ("interruption", 4.0, None, "fail")),
        ("ITIC_PROHIBITED", None, ("itic_prohibited", None, "prohibited", None)),
    ],
)
def test_verdicts_are_in_the_fields_of_verdicts(word: str, off: float | None, expected: object) -> None:
    one = finding(word, off=off)
    percent = one.residual_percent if one.residual_percent is None else pytest.approx(one.residual_percent)
    assert (one.kind, percent, one.itic, one.semi_f47) == expected


def test_frequency_is_below_or_above() -> None:
    low = finding("FREQUENCY_SAG", off=0.52, kind="FREQUENCY")
    assert (low.kind, dict(low.figures)) == ("frequency_deviation", {"deviation_hz": -0.52})
    assert low.because == "0.52 Hz below 60 Hz"
    high = finding("FREQUENCY_SWELL", off=-0.3, kind="FREQUENCY")
    assert dict(high.figures) == {"deviation_hz": 0.3} and high.because == "0.3 Hz above 60 Hz"
    assert finding("FREQUENCY_INTERRUPTION", off=None, kind="FREQUENCY").because == "below 60 Hz"


@pytest.mark.parametrize("off", [None, "much", float("nan"), True, 500.0, -1.0])
def test_what_is_not_stated_stays_unknown(off: object) -> None:
    assert finding("VOLTAGE_SAG", off=off, ieee_duration="UNDEFINED", annotations=None).ieee1159 is None
    assert finding("VOLTAGE_SAG", off=off).residual_percent is None
    assert finding("EXCESSIVE_THD", off=off).residual_percent is None
    assert finding("OUTAGE", off=off, kind="HEALTH").residual_v is None


def test_annotations_are_shown() -> None:
    assert finding("VOLTAGE_SAG", annotations=["a squirrel", " "]).because == "annotation: a squirrel"
    transient = finding("IMPULSIVE_TRANSIENT", off=310.0, kind="TRANSIENT", annotations=["seen"])
    assert dict(transient.figures) == {"peak_v": 310.0} and transient.because == "annotation: seen"


def test_a_field_of_another_type_hides_nothing() -> None:
    """People and scripts edit the original's documents, too."""
    assert finding(classifications="VOLTAGE_SAG", off=24.0).kind == "sag"
    assert finding(classifications=[None]).kind == "undefined"
    assert finding("VOLTAGE_SAG", annotations="a crane").because == "annotation: a crane"
    assert finding("VOLTAGE_SAG", annotations=5).because == "annotation: 5"
    assert finding("VOLTAGE_SAG", kind=None).measurement_type == "VOLTAGE"
    assert finding("VOLTAGE_SAG", box_id=12).box_id == finding("VOLTAGE_SAG", box_id=12.0).box_id == "12"
    for event_id in (None, "none", [3], float("nan"), 1e30):
        assert finding("VOLTAGE_SAG", event_id=event_id).kind == "sag"


@pytest.mark.parametrize(
    "field",
    [{"box_id": None}, {"box_id": ""}, {"box_id": 1.5}, {"end_timestamp_ms": 1e16}, {"incident_id": 1e30}],
)
def test_one_without_box_or_time_is_unreadable(field: dict[str, Any]) -> None:
    with pytest.raises(READ_ERRORS):
        finding("VOLTAGE_SAG", **field)
