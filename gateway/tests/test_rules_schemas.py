"""Schemas of one's own: given as text or as a descriptor set, used by streams and sinks, replaced under them.

Source: docs/reference/rules.md, A.5, C.1 and E.3.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_engine import rule, running, stream
from rules_house import House
from waiting import wait_for

from opq_proto import opqbox3_pb2
from opq_rules.delivery.protobuf import writer
from opq_rules.delivery.transform import divided, transformer
from opq_rules.errors import RuleError
from opq_rules.streams.formats import protobuf_reader
from opq_rules.streams.schemas import (
    MAX_BYTES,
    Schemas,
    compiled_schema,
    compiler,
    messages_of,
    of_bytes,
    of_text,
)

LAB = """
syntax = "proto3";
package lab.v1;
import "google/protobuf/timestamp.proto";
enum Phase { NONE = 0; L1 = 1; L2 = 2; }
message Reading {
  message Point { double v = 1; }
  int32 box = 1;
  optional double rms = 2;
  Phase phase = 3;
  repeated float cycles = 4;
  map<string, Point> points = 5;
  map<int32, bool> flags = 6;
  bytes raw = 7;
  google.protobuf.Timestamp at = 8;
  Reading before = 9;
  bool up = 10;
  string name = 11;
  uint64 count = 12;
}
"""
NEWER = LAB.replace("optional double rms = 2;", "optional double rms = 2; string site = 13;")
MEMORY = 'CREATE STREAM s () WITH (TYPE="memory", DATASOURCE="s", FORMAT="protobuf", SCHEMAID="lab.Reading")'
OTHER = 'syntax = "proto3"; message Other { int32 a = 1; }'
needs_compiler = pytest.mark.skipif(compiler() is None, reason="no compiler of protobuf (extra protoc)")


@pytest.fixture(scope="module")
def lab() -> bytes:
    """The descriptor set of LAB, made once."""
    if compiler() is None:
        pytest.skip("no compiler of protobuf (extra protoc)")
    return compiled_schema(LAB)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    assert made.stop() == []


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


ROW: dict[str, Any] = {
    "box": 4, "rms": 119.5, "phase": "L2", "cycles": [0.5, 59.98], "points": {"a": {"v": 1.5}},
    "flags": {"-3": True}, "raw": b"\0\xff", "at": {"seconds": 1765792486, "nanos": 5},
    "before": {"box": 3, "phase": "NONE", "cycles": [], "points": {}, "flags": {}, "raw": b"", "up": False,
               "name": "", "count": 0},
    "up": True, "name": "ü", "count": 2**64 - 1,
}  # fmt: skip


def test_what_is_written_is_read_again(lab: bytes) -> None:
    reading = messages_of(lab)["Reading"]
    assert protobuf_reader(reading)(writer(reading)(ROW)) == ROW


def test_messages_are_found_below_their_package_and_by_their_whole_names(lab: bytes) -> None:
    assert set(messages_of(lab)) == {"Reading", "Reading.Point", "lab.v1.Reading", "lab.v1.Reading.Point"}


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"box": "4"}, "box: is '4'; want a whole number"),
        ({"box": 2**31}, "box: "),
        ({"box": 4.5}, "box: is 4.5"),
        ({"rms": True}, "rms: is True; want a number"),
        ({"phase": "L4"}, "phase: is 'L4'; want one of NONE, L1, L2"),
        ({"cycles": 1.0}, "cycles: want an array"),
        ({"points": {"a": 1}}, "points: want an object"),
        ({"points": [1]}, "points: want an object"),
        ({"flags": {"x": True}}, "flags: "),
        ({"flags": {"1": 1}}, "flags: is 1; want true or false"),
        ({"raw": "no base64!"}, "raw: "),
        ({"name": 5}, "name: is 5; want a text"),
        ({"before": {"before": {"box": None, "name": 1}}}, "before: before: name: is 1"),
        ({"nothing": 1}, "no column of nothing is a field of lab.v1.Reading"),
        ([ROW], "made of one row, not of list"),
    ],
)
def test_a_row_that_the_message_cannot_hold_is_named(lab: bytes, row: Any, part: str) -> None:
    with pytest.raises(ValueError) as told:
        writer(messages_of(lab)["Reading"])(row)
    assert part in str(told.value)


def test_rows_whole_in_kind_convert_and_the_rest_is_left_out(lab: bytes) -> None:
    reading = messages_of(lab)["Reading"]
    read = protobuf_reader(reading)(
        writer(reading)({"box": 4.0, "rms": 5, "raw": "AP8=", "phase": 1, "more": [1]})
    )
    assert (read["box"], read["rms"], read["raw"], read["phase"]) == (4, 5.0, b"\0\xff", "L1")
    assert "more" not in read and "at" not in read


def test_messages_in_each_other_end_somewhere(lab: bytes) -> None:
    reading = messages_of(lab)["Reading"]
    deep: dict[str, Any] = {"box": 1}
    for _ in range(2000):
        deep = {"before": deep}
    with pytest.raises(ValueError, match="nested"):
        writer(reading)(deep)
    with pytest.raises(ValueError, match=r"no lab\.v1\.Reading"):
        protobuf_reader(reading)(b"\x4a" * 3000)


@settings(max_examples=60)
@given(payload=st.binary(max_size=80))
def test_no_payload_raises_anything_but_what_is_counted(lab: bytes, payload: bytes) -> None:
    try:
        assert isinstance(protobuf_reader(messages_of(lab)["Reading"])(payload), dict)
    except ValueError as error:
        assert "no lab.v1.Reading" in str(error)


@settings(max_examples=60)
@given(data=st.data())
def test_a_set_that_was_damaged_is_refused_or_good(lab: bytes, data: st.DataObject) -> None:
    broken = bytearray(lab)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(lab) - 1))] = data.draw(st.integers(0, 255))
    try:
        for message in messages_of(bytes(broken)).values():
            protobuf_reader(message)(b"")
    except ValueError as error:
        assert str(error)


def test_a_set_without_what_it_imports_is_told_how_it_is_made(lab: bytes) -> None:
    files = FileDescriptorSet.FromString(lab)
    del files.file[0]  # Google's, which all have
    assert "Reading" in messages_of(files.SerializeToString())
    files.file[0].dependency.append("mine.proto")
    with pytest.raises(ValueError, match="--include_imports"):
        messages_of(files.SerializeToString())
    files.file[0].dependency[-1] = files.file[0].name
    with pytest.raises(ValueError, match="imports itself"):
        messages_of(files.SerializeToString())


def test_an_entry_of_a_map_has_key_and_value() -> None:
    files = FileDescriptorSet.FromString(messages_without_reading())
    entry = files.file[0].message_type[0].nested_type.add(name="Entry")
    entry.options.map_entry = True
    for number, name in ((1, "key"), (2, "other")):
        entry.field.add(name=name, number=number, type=5, label=1)
    with pytest.raises(ValueError, match=r"Other\.Entry is no entry of a map"):
        messages_of(files.SerializeToString())


@needs_compiler
def test_text_set_and_file_mean_the_same(lab: bytes) -> None:
    assert of_text(LAB).messages.keys() == of_text(in_base64(lab)).messages.keys()
    assert of_bytes(lab).messages.keys() == of_bytes(LAB.encode()).messages.keys()
    for wrong, part in (
        (LAB[:-3], "schema.proto:"),
        ('import "/etc/passwd";', "refuses"),
        ("", "no message"),
    ):
        with pytest.raises(ValueError, match=part):
            of_text(wrong)
    with pytest.raises(ValueError, match="want at most"):
        of_text("//" + "x" * MAX_BYTES)
    with pytest.raises(ValueError, match="neither"):
        of_bytes(b"\xff\xfe")


def test_without_a_compiler_it_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch, lab: bytes) -> None:
    monkeypatch.setattr("opq_rules.streams.schemas.compiler", lambda: None)
    compiled_schema.cache_clear()
    with pytest.raises(ValueError, match=r"opq-toolkit\[protoc\].*--descriptor_set_out"):
        of_text(LAB)
    assert "Reading" in of_text(in_base64(lab)).messages


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


def test_a_rule_reads_and_writes_a_schema_that_is_replaced_under_it(tmp_path: Path, lab: bytes) -> None:
    sink = {"format": "protobuf", "schemaId": "lab.Reading", "sendSingle": True}
    sql = "SELECT max(box) AS box, max(rms) AS rms, last_value(site, true) AS site, count(*) AS count FROM s"
    body = rule("r", f"{sql} GROUP BY COUNTWINDOW(2)")
    with running(tmp_path) as (engine, hands):
        engine.schemas.put("lab", of_bytes(lab), "")
        engine.execute(stream(FORMAT="protobuf", SCHEMAID="lab.Reading"))
        engine.create_rule({**body, "actions": [{"kept": sink}]})
        wait_for(lambda: hands.contexts)
        old = Schemas()
        old.put("lab", messages_of(lab))
        hands.contexts[0].emit_bytes([writer(old.message("lab.Reading"))({"box": 1, "rms": 1.5})])
        wait_for(engine.settled)
        newer = of_text(NEWER)
        assert engine.schemas.put("lab", newer, "") is False
        write, read = writer(newer.messages["Reading"]), protobuf_reader(newer.messages["Reading"])
        hands.contexts[0].emit_bytes([b"\xff", write({"box": 2, "rms": 2.5, "site": "roof"})])
        wait_for(lambda: hands.got)
        found = read(hands.got[0][1])
        assert (found["box"], found["rms"], found["site"], found["count"]) == (2, 2.5, "roof", 2)
        told = engine.views.rule_status("r")
        assert told["source_s_0_exceptions_total"] == 1
        assert "no lab.v1.Reading" in told["source_s_0_last_exception"]


def test_the_paths_of_schemas(house: House, lab: bytes) -> None:
    body = {"name": "lab", "content": in_base64(lab), "version": "1"}
    assert "lab is created" in house.ask("POST", "/schemas/protobuf", body, 201)
    assert house.ask("GET", "/schemas/protobuf") == ["lab", "mauka", "opq", "opqbox3"]
    told = house.ask("GET", "/schemas/protobuf/lab")
    assert told["content"] == body["content"] and told["version"] == "1" and told["users"] == []
    assert "lab.Reading" in told["messages"]
    assert "opq.TriggerMessage" in house.ask("GET", "/schemas/protobuf/opq")["messages"]
    again = house.ask("POST", "/schemas/protobuf", body, 400)
    assert "already exists" in again["message"]
    older = house.ask("PUT", "/schemas/protobuf/lab", {"content": body["content"]}, 400)
    assert "greater" in older["message"]
    house.ask("POST", "/streams", {"sql": MEMORY}, 201)
    other = MEMORY.replace("STREAM s", "STREAM x").replace("Reading", "Nothing")
    refused = house.ask("POST", "/streams", {"sql": other}, 400)
    assert "there are lab.Reading" in refused["message"]
    sink = {"mqtt": {"topic": "t", "format": "protobuf", "schemaId": "lab.Reading.Point", "sendSingle": True}}
    made = {"id": "r", "sql": "SELECT rms AS v FROM s", "actions": [sink], "triggered": False}
    house.ask("POST", "/rules", made, 201)
    sink["mqtt"]["schemaId"] = "lab.Nothing"
    assert "unknown schema" in house.ask("POST", "/rules", {**made, "id": "x"}, 400)["message"]
    assert house.ask("GET", "/schemas/protobuf/lab")["users"] == ["stream s", "rule r"]
    used = house.ask("DELETE", "/schemas/protobuf/lab", code=400)
    assert "used by stream s, rule r" in used["message"]
    house.ask("DELETE", "/rules/r")
    house.ask("DELETE", "/streams/s")
    assert "deleted" in house.ask("DELETE", "/schemas/protobuf/lab")
    assert house.ask("GET", "/schemas/protobuf/lab", code=404)["error"] == 1002
    house.ask("DELETE", "/schemas/protobuf/lab", code=404)


def test_a_schema_comes_as_a_form_or_from_the_uploads(house: House, tmp_path: Path, lab: bytes) -> None:
    for code in (201, 200):
        form = {"file": ("lab.desc", lab)}
        answer = house.http.put("/schemas/protobuf/lab/upload", files=form)
        assert answer.status_code == code, answer.text
    uploads = house.service.plugins.uploads
    uploads.mkdir(parents=True, exist_ok=True)
    (uploads / "lab.desc").write_bytes(lab)
    (tmp_path / "elsewhere.desc").write_bytes(lab)
    house.ask("PUT", "/schemas/protobuf/other", {"file": f"file://{uploads}/lab.desc"}, 201)
    beyond = house.ask("PUT", "/schemas/protobuf/other", {"file": f"file://{tmp_path}/elsewhere.desc"}, 400)
    assert "not below" in beyond["message"]
    (uploads / "long.desc").write_bytes(b"\0" * (MAX_BYTES + 1))
    house.ask("PUT", "/schemas/protobuf/other", {"file": f"file://{uploads}/long.desc"}, 400)


@pytest.mark.parametrize(
    ("path", "body", "part"),
    [
        ("/schemas/protobuf", {"name": "../x", "content": "x"}, "id '../x'"),
        ("/schemas/protobuf", {"name": "x"}, "content or file"),
        ("/schemas/protobuf", {"name": "x", "content": "x", "file": "file:///x"}, "content or file"),
        ("/schemas/protobuf", {"name": "x", "content": "x", "soFile": "file:///x.so"}, "Go library"),
        ("/schemas/custom", {"name": "x", "content": "x"}, "protobuf"),
    ],
)
def test_a_schema_that_cannot_be_is_refused(
    house: House, lab: bytes, path: str, body: dict[str, str], part: str
) -> None:
    if body.get("content") and "../" in body["name"]:
        body = {**body, "content": in_base64(lab)}
    assert part in house.ask("POST", path, body, 400)["message"]
    built_in = house.ask("PUT", "/schemas/protobuf/opq", {"content": in_base64(lab)}, 400)
    assert "built in" in built_in["message"]


@needs_compiler
def test_a_message_in_use_cannot_go_and_all_is_there_after_a_restart(tmp_path: Path, lab: bytes) -> None:
    with running(tmp_path) as (engine, hands):
        engine.schemas.put("lab", of_bytes(lab), "")
        engine.execute(stream(FORMAT="protobuf", SCHEMAID="lab.lab.v1.Reading"))
        engine.create_rule(rule("r", "SELECT box FROM s"))
        with pytest.raises(RuleError, match=r"stream s uses lab\.v1\.Reading, which"):
            engine.schemas.put("lab", of_text(OTHER), "")
    with running(tmp_path) as (engine, hands):
        wait_for(lambda: hands.contexts)
        hands.contexts[0].emit_bytes([writer(messages_of(lab)["Reading"])({"box": 9})])
        wait_for(lambda: hands.rows == [{"box": 9}])


def messages_without_reading() -> bytes:
    made = FileDescriptorSet()
    file = made.file.add(name="x.proto", syntax="proto3")
    file.message_type.add(name="Other").field.add(name="a", number=1, type=5, label=1)
    return bytes(made.SerializeToString())
