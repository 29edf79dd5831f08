"""Messages of protobuf in streams and sinks: those of the Boxes and of the original's services.

Source: docs/reference/rules.md, C.1 and E.3.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_house import House

from opq_proto.wire import opqbox3_pb2
from opq_rules.delivery.protobuf import writer
from opq_rules.delivery.transform import divided, transformer
from opq_rules.streams.protobuf import MESSAGES, message_class, protobuf_reader

MEASUREMENT = message_class("opqbox3.Measurement")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    assert made.stop() == []


def test_what_is_written_is_read_again() -> None:
    row = {"box_id": 7, "timestamp_ms": 12, "metrics": {"rms": {"min": 1.5, "max": 2.5, "average": 2.0}}}
    read = protobuf_reader(MEASUREMENT)(writer(MEASUREMENT)(row))
    assert {key: read[key] for key in row} == row


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ([1], "needs one row, not list"),
        ({"box_id": "x"}, "box_id: is 'x'; want a whole number"),
        ({"metrics": {"rms": 3}}, "metrics: want an object, not int"),
        ({"metrics": {"rms": {"min": "y"}}}, "min: is 'y'; want a number"),
        ({"other": 1}, "none of the columns other is a field"),
    ],
)
def test_a_row_beyond_the_message_is_named(row: Any, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        writer(MEASUREMENT)(row)


@settings(max_examples=60)
@given(name=st.sampled_from(sorted(MESSAGES)), payload=st.binary(max_size=80))
def test_no_payload_raises_anything_but_what_is_counted(name: str, payload: bytes) -> None:
    try:
        assert isinstance(protobuf_reader(message_class(name))(payload), dict)
    except ValueError as error:
        assert "not " in str(error)


def test_a_sink_s_properties_go_together() -> None:
    good = {"format": "protobuf", "schemaId": "opqbox3.Measurement", "sendSingle": True}
    packed = transformer(divided(good)[0])({"box_id": 7, "v": 1})
    assert opqbox3_pb2.Measurement.FromString(packed).box_id == 7
    for wrong, part in (
        ({**good, "sendSingle": False}, "sendSingle"),
        ({"format": "protobuf", "sendSingle": True}, "schemaId"),
        ({"schemaId": "a.B"}, "schemaId"),
    ):
        with pytest.raises(ValueError, match=part):
            divided(wrong)


def test_a_custom_schema_names_the_replacement(house: House) -> None:
    sql = 'CREATE STREAM s () WITH (TYPE="memory", DATASOURCE="s", FORMAT="protobuf", SCHEMAID="lab.Reading")'
    told = house.ask("POST", "/streams", {"sql": sql}, 400)["message"]
    assert "unknown schema lab.Reading; there are mauka." in told
    assert "for another schema send JSON" in told
