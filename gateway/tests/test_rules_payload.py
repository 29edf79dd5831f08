"""What any source may have: a payload within a record, and sampling. Source: docs/reference/rules.md, E.1."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from free_ports import free_port
from rules_engine import Hands, rule, running, stream
from waiting import wait_for

from opq_plugins.sdk import Source
from opq_proto.opq_pb2 import TriggerMessage
from opq_rules.engine.engine import Engine
from opq_rules.errors import RuleError
from opq_rules.streams.payload import Payload, divided_payload, unpacker
from opq_rules.streams.sampling import MAX_VALUES, SampledSource, Sampling, sampling_of
from opq_rules.streams.schemas import Schemas


def unpacked(row: dict[str, Any], **said: str) -> list[dict[str, Any]]:
    return unpacker(Payload(**{"payloadField": "p", "payloadFormat": "json", **said}), Schemas())(row)


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize("content", [b'{"v":1}', '{"v":1}', in_base64(b'{"v":1}')])
def test_what_the_payload_holds_joins_its_record(content: Any) -> None:
    assert unpacked({"site": "roof", "v": 0, "p": content}) == [{"site": "roof", "v": 1}]


def test_an_array_makes_a_record_each_and_a_batch_one_of_all() -> None:
    assert unpacked({"n": 1, "p": '[{"v":1},{"w":2}]'}) == [{"n": 1, "v": 1}, {"n": 1, "w": 2}]
    frames = [{"p": '{"v":1,"w":1}', "id": 7}, {"p": '[{"v":2},{"x":3}]', "id": 8}]
    found = unpacked({"n": 1, "frames": frames}, payloadBatchField="frames")
    assert found == [{"n": 1, "v": 2, "w": 1, "x": 3, "id": 8}]


def test_the_payload_may_be_of_any_format() -> None:
    message = TriggerMessage(id=3, time=5, frequency=59.98, rms=126.7).SerializeToString()
    [found] = unpacked({"p": message}, payloadFormat="protobuf", payloadSchemaId="opq.TriggerMessage")
    assert found == {"id": 3, "time": 5, "frequency": 59.98, "rms": 126.7}
    assert unpacked({"p": "1;2"}, payloadFormat="delimited", payloadDelimiter=";") == [
        {"col0": "1", "col1": "2"}
    ]


@pytest.mark.parametrize(
    ("row", "said", "part"),
    [
        ({"n": 1}, {}, "no column p"),
        ({"p": 34}, {}, "p: is int; want bytes"),
        ({"p": "{"}, {}, "p: no JSON"),
        ({"p": "{}"}, {"payloadBatchField": "frames"}, "column frames: want a list"),
        ({"frames": ["x"]}, {"payloadBatchField": "frames"}, "column frames: want a list"),
    ],
)
def test_a_record_without_a_payload_that_can_be_read_is_an_error(
    row: dict[str, Any], said: dict[str, str], part: str
) -> None:
    with pytest.raises(ValueError, match=part):
        unpacked(row, **said)


@pytest.mark.parametrize(
    ("properties", "part"),
    [
        ({"payloadField": "p"}, "go together"),
        ({"payloadFormat": "json"}, "go together"),
        ({"payloadSchemaId": "a.B"}, "payloadFormat  missing"),
        ({"payloadField": "p", "payloadFormat": "xml"}, "want one of json"),
        ({"payloadField": "p", "payloadFormat": "protobuf"}, "payloadSchemaId"),
        ({"payloadField": 5, "payloadFormat": "json"}, "want text"),
    ],
)
def test_what_is_wrong_with_the_properties_of_a_payload_is_named(
    properties: dict[str, Any], part: str
) -> None:
    with pytest.raises(ValueError, match=part):
        divided_payload({"qos": 1, **properties})


def test_a_stream_with_payloads_counts_those_that_it_cannot_read(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        said = {"payloadField": "p", "payloadFormat": "json"}
        for wrong in ({"payloadField": "p"}, {**said, "payloadFormat": "protobuf", "payloadSchemaId": "a.B"}):
            with pytest.raises(RuleError, match=r"go together|unknown schema a\.B"):
                engine.execute(stream().replace("SHARED", f"EXTRA='{json.dumps(wrong)}', SHARED"))
        engine.execute(stream().replace("SHARED", f"EXTRA='{json.dumps(said)}', SHARED"))
        engine.create_rule(rule("r", "SELECT site, v FROM s"))
        wait_for(lambda: hands.contexts)
        hands.give([{"site": 1, "p": '{"v":1}'}, {"site": 2}, {"site": 3, "p": '[{"v":2},{"v":3}]'}])
        wait_for(lambda: len(hands.rows) == 3)
        assert hands.rows == [{"site": 1, "v": 1}, {"site": 3, "v": 2}, {"site": 3, "v": 3}]
        told = engine.views.rule_status("r")
        assert told["source_s_0_exceptions_total"] == 1
        assert "no column p" in told["source_s_0_last_exception"]


# -- sampling


class Ear:
    """The context behind a sampling: what comes through, and how often it was asked to stop."""

    stopped, op_id = False, "source_s"

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.errors: list[str] = []

    def emit_many(self, messages: Sequence[Any], meta: Any = None, offset: Any = None) -> bool:
        self.got.append((list(messages), meta, offset))
        return True

    emit_bytes = emit_many

    def emit_error(self, text: str) -> None:
        self.errors.append(text)


class Burst(Source):
    """Gives all at once and ends."""

    def __init__(self, *calls: tuple[str, Any]) -> None:
        self._calls = calls

    def configure(self, datasource: str, properties: Mapping[str, Any]) -> None: ...

    def open(self, context: Any) -> None:
        for offset, (name, value) in enumerate(self._calls):
            assert getattr(context, name)(value, offset=offset)


def read(payload: bytes) -> list[dict[str, Any]]:
    try:
        return [json.loads(payload)]
    except ValueError:
        raise ValueError("no JSON") from None


def sampled(field: str, *calls: tuple[str, Any]) -> Ear:
    ear: Any = Ear()
    SampledSource(Burst(*calls), Sampling(60.0, field), read).open(ear)
    heard: Ear = ear
    return heard


def test_the_last_of_an_interval_is_taken() -> None:
    assert sampled("", ("emit", {"v": 1}), ("emit_many", [{"v": 2}, {"v": 3}])).got == [([{"v": 3}], None, 1)]
    assert sampled("", ("emit_bytes", [b"1", b"2"])).got == [([b"2"], None, 0)]
    assert sampled("").got == []


def test_the_last_of_each_value_is_merged() -> None:
    ear = sampled(
        "id",
        ("emit_bytes", [b'{"id":1,"a":1}', b"{", b'{"id":2,"b":2}', b'{"id":1,"a":3,"c":4}']),
        ("emit", {"d": 5}),
    )
    assert ear.got == [([{"id": 1, "a": 3, "b": 2, "c": 4, "d": 5}], None, 1)] and ear.errors == ["no JSON"]
    apart = sampled("id", ("emit_many", [{"id": 1, "a": 1}, {"id": True, "b": 2}])).got
    assert apart == [([{"id": True, "a": 1, "b": 2}], None, 0)]  # true is not 1
    many = [{"id": k, f"c{k}": k} for k in range(MAX_VALUES + 5)]
    [([merged], _, _)] = sampled("id", ("emit_many", many)).got
    assert len(merged) == MAX_VALUES + 1 and "c4" not in merged and "c5" in merged


@pytest.mark.parametrize(
    ("type_name", "properties", "interval_s"),
    [
        ("mqtt", {"interval": 500, "mergeField": "id"}, 0.5),
        ("mqtt", {}, None),
        ("httppull", {"interval": 500}, None),
        ("memory", {"interval": 500}, None),
        ("a plug-in", {"interval": 500}, None),
    ],
)
def test_an_interval_is_a_source_s_own_where_it_asks(
    type_name: str, properties: dict[str, Any], interval_s: float | None
) -> None:
    sampling, own = sampling_of(type_name, {"qos": 1, **properties})
    assert (sampling.interval_s if sampling else None) == interval_s
    assert own == ({"qos": 1} if interval_s else {"qos": 1, **properties})


@pytest.mark.parametrize(
    "wrong",
    [{"interval": -1}, {"interval": "x"}, {"interval": "48h"}, {"mergeField": "id"}, {"interval": True}],
)
def test_a_sampling_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"interval|mergeField"):
        sampling_of("mqtt", wrong)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[tuple[Engine, Hands]]:
    with running(tmp_path) as made:
        yield made


def test_a_stream_of_many_records_gives_one_in_an_interval(engine: tuple[Engine, Hands]) -> None:
    running_engine, hands = engine
    port = free_port()
    extra = json.dumps({"server": f"127.0.0.1:{port}", "interval": 300, "mergeField": "id"})
    running_engine.execute(
        f'CREATE STREAM s () WITH (TYPE="httppush", DATASOURCE="/s", EXTRA=\'{extra}\', SHARED="true")'
    )
    running_engine.create_rule(rule("r", "SELECT * FROM s"))

    def push() -> bool:
        try:
            rows = [{"id": k % 2, f"v{k % 2}": k} for k in range(100)]
            return httpx.post(f"http://127.0.0.1:{port}/s", json=rows, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    wait_for(push)
    wait_for(lambda: hands.rows)
    assert hands.rows == [{"id": 1, "v0": 98, "v1": 99}]
