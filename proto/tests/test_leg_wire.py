"""The original's C++ generation read from its golden frames, and nothing else taken for it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from opq_proto.errors import FrameError
from opq_proto.measurement.wire import measurement_from_wire, measurement_to_wire
from opq_proto.messages import Measurement, Metric
from opq_proto.wire import leg as leg_wire
from opq_proto.wire.frames import data_command
from opq_proto.wire.leg import (
    is_new_event,
    is_trigger_message,
    leg_ping,
    leg_read,
    measurement_from_trigger,
    read_event_request,
    read_leg_answer,
    response_from_leg,
)
from opq_proto.wire.opq_pb2 import DataMessage, RequestDataMessage, RequestEventMessage
from opq_proto.wire.opqbox3_pb2 import Cycle, Response

T_MS = 1_700_000_000_000
GOLDEN = Path(__file__).parents[1] / "golden" / "foreign"


def frames(name: str) -> list[bytes]:
    """The frames of a golden file: hex, `hex*times`, or quoted text, up to the comment."""
    found: list[bytes] = []
    for line in (GOLDEN / f"{name}.txt").read_text().splitlines():
        words = line.split("   ")[0].split("#")[0].split()
        if words[:1] == ["frame"]:
            found.append(b"")
            words = words[1:]
        for word in words:
            if word.startswith('"'):
                found[-1] += word.strip('"').encode()
            elif found:
                text, _, times = word.partition("*")
                found[-1] += bytes.fromhex(text) * int(times or 1)
    return found


def test_a_trigger_message_equals_todays_measurement() -> None:
    """A trigger message is the measurement that a Box of today would send."""
    topic, body = frames("leg_trigger")
    assert topic == b"3" and is_trigger_message(body)
    measured = measurement_from_wire(measurement_from_trigger(body))
    assert (measured.box_id, measured.timestamp_ms, measured.sequence) == ("3", T_MS, None)
    assert measured.metrics == {
        "f": Metric(59.96875, 59.96875, 59.96875),
        "rms": Metric(120.5, 120.5, 120.5),
        "thd": Metric(0.03125, 0.03125, 0.03125),
    }
    _, body = frames("leg_trigger_start")  # frequency 0: it has none yet
    assert set(measurement_from_wire(measurement_from_trigger(body)).metrics) == {"rms"}


def test_a_measurement_is_no_trigger_message() -> None:
    assert not is_trigger_message(frames("cur_measurement")[1])
    ours = Measurement("3", T_MS, {"f": Metric(1, 2, 3)}, T_MS * 10**6, T_MS * 10**6 + 5, 7, sequence=9)
    assert not is_trigger_message(measurement_to_wire(ours))
    assert not is_trigger_message(b"") and not is_trigger_message(b"\x08\x03\x10\x05")


def requested(**changes: object) -> bytes:
    values: dict[str, object] = {
        "start_timestamp_ms_utc": T_MS,
        "end_timestamp_ms_utc": T_MS + 2000,
        "trigger_type": RequestEventMessage.VOLTAGE_SAG,
        "percent_magnitude": 12.5,
        "box_ids": [3, 4, 3],
        "requestee": "mauka",
        "description": "a \x1bdip",
        "request_data": True,
    }
    return RequestEventMessage(**{**values, **changes}).SerializeToString()  # type: ignore[arg-type]


def test_an_announced_number_has_nothing_after_it() -> None:
    assert is_new_event([b"evnew", b"17"])
    for frames_sent in ([b"evnew"], [b"evnew", b""], [b"evnew", b"1" * 20 + b" or more"], [b"x", b"17"]):
        assert not is_new_event(frames_sent)


def test_an_event_request_differs_from_a_command() -> None:
    request = read_event_request(requested())
    assert request is not None
    assert (request.start_ms, request.end_ms, request.trigger) == (T_MS, T_MS + 2000, "VOLTAGE_SAG")
    assert (request.box_ids, request.percent, request.wants_data) == (("3", "4"), 12.5, True)
    assert (request.requestee, request.description) == ("mauka", "a dip")
    for identity in ("data_!_x", "!" * 40):  # 0x21, the tag of its double
        assert read_event_request(data_command("3", T_MS * 10**6, T_MS * 10**6 + 10**9, identity)) is None
    with pytest.raises(FrameError, match="want up to 120000 ms"):
        read_event_request(requested(end_timestamp_ms_utc=T_MS + 120_001))
    with pytest.raises(FrameError, match="RequestEventMessage for"):
        read_event_request(requested(end_timestamp_ms_utc=T_MS))
    with pytest.raises(FrameError, match="1001 Boxes"):
        read_event_request(requested(box_ids=range(1001)))
    no_utf8 = requested().replace(b"a \x1bd", b"\xff\xfe\x1bd").replace(b"mauka", b"mauk\xff")
    broken = read_event_request(no_utf8)
    assert broken is not None
    assert (broken.requestee, broken.description) == ("mauk\ufffd", "\ufffd\ufffddip")  # proto2 gives bytes


def test_leg_commands_equal_their_brokers() -> None:
    ping, read = frames("leg_requests")
    assert leg_ping(7) == [b"evget", ping]
    topic, body = leg_read(7, T_MS, T_MS + 34)
    assert topic == b"evget" and RequestDataMessage.FromString(body) == RequestDataMessage.FromString(read)
    with pytest.raises(FrameError, match="does not fit the wire"):
        leg_read(7, -1, 5)


def test_an_answer_returns_as_todays_box_sends() -> None:
    pong, resp, error = (read_leg_answer(frame) for frame in frames("leg_answers"))
    assert pong is not None and (pong.kind, pong.number, pong.box_id) == (RequestDataMessage.PONG, 7, "3")
    assert resp is not None and error is not None
    head, *cycles = response_from_leg(resp, "3", frames("leg_data"))
    answered = Response.FromString(head)
    assert (answered.box_id, answered.seq, answered.timestamp_ms) == (3, 7, T_MS)
    assert answered.get_data_response.start_ts == T_MS
    assert answered.get_data_response.end_ts == T_MS + 17
    first, second = map(Cycle.FromString, cycles)
    assert list(first.datapoints) == [0] * 200 and second.timestamp_ms == T_MS + 17
    assert list(second.datapoints) == [1] * 140 + [-1] * 58 + [16383, 1000]
    [nothing] = response_from_leg(error, "3", [])
    assert nothing.endswith(b"\x32\x00")
    for foreign in frames("cur_answer_data") + frames("cur_answer_info") + [b"", b"\x00"]:
        assert read_leg_answer(foreign) is None
    for box_id in (2, 4, 5):  # where a LEG answer has its type
        response = Response(box_id=box_id, seq=7, timestamp_ms=T_MS)
        response.get_data_response.SetInParent()
        assert read_leg_answer(response.SerializeToString()) is None


def test_another_boxs_data_are_refused() -> None:
    resp = read_leg_answer(frames("leg_answers")[1])
    assert resp is not None
    whole = DataMessage.FromString(frames("leg_data")[0])
    one = DataMessage.FromString(frames("leg_data")[0])
    del one.cycles[1]
    short = DataMessage.FromString(frames("leg_data")[0])
    del short.cycles[0].data[-1]
    late = DataMessage.FromString(frames("leg_data")[0])
    late.cycles[1].time = 2**63
    loud = DataMessage.FromString(frames("leg_data")[0])
    loud.cycles[0].data[0] = 40_000
    for message, why in (
        (short, "a cycle of 199 counts"),
        (late, "impossible time"),
        (loud, "want 200 of 16 bits"),
    ):
        with pytest.raises(FrameError, match=why):
            response_from_leg(resp, "3", [message.SerializeToString()])
    with pytest.raises(FrameError, match="DataMessage of Box 3"):
        response_from_leg(resp, "4", [whole.SerializeToString()])
    with pytest.raises(FrameError, match="not a DataMessage"):
        response_from_leg(resp, "3", [b"\xff"])
    with pytest.raises(FrameError, match="more than 7200 cycles"):
        response_from_leg(resp, "3", [one.SerializeToString()] * 7201)


@pytest.mark.parametrize("messages", [300, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("parser", ["trigger", "request", "answer", "data"])
def test_damaged_data_raise_only_refusals(
    damaged: Callable[[bytes], bytes], parser: str, messages: int
) -> None:
    resp = read_leg_answer(frames("leg_answers")[1])
    assert resp is not None
    golden = {
        "trigger": frames("leg_trigger")[1],
        "request": requested(),
        "answer": frames("leg_answers")[1],
        "data": frames("leg_data")[0],
    }[parser]
    refused = 0
    for _ in range(messages):
        data = damaged(golden)
        try:
            if parser == "trigger":
                refused += not is_trigger_message(data)
                measurement_from_trigger(data)
            elif parser == "request":
                found = read_event_request(data)
                refused += found is None
                assert found is None or 0 < found.end_ms - found.start_ms <= leg_wire.LONGEST_SPAN_MS
            elif parser == "answer":
                refused += read_leg_answer(data) is None
            else:
                for frame in response_from_leg(resp, "3", [data])[1:]:
                    assert len(Cycle.FromString(frame).datapoints) == 200
        except FrameError:
            refused += 1
    assert refused > messages / 10
