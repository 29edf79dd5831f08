"""The content of `protobuf.pb_util` for a plug-in of the original: builds, reads and classifies messages.

`build_<message>` and `is_<message>` are made from the tables below; the names and the order of arguments are
the original's (mauka/protobuf/pb_util.py). Unlike there, a message gets its time when it is built.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from opq_proto.wire.mauka_pb2 import MaukaMessage

ARGUMENTS = {
    "payload": ("event_id", "box_id", "payload_type", "data", "start_timestamp_ms", "end_timestamp_ms"),
    "heartbeat": ("last_received_timestamp_ms", "on_message_count", "status", "plugin_state"),
    "makai_event": ("event_id",),
    "makai_trigger": (
        *("event_start_timestamp_ms", "event_end_timestamp_ms", "event_type", "max_value", "box_id"),
    ),
    "measurement": ("box_id", "timestamp_ms", "frequency", "voltage_rms", "thd"),
    "trigger_request": ("start_timestamp_ms", "end_timestamp_ms", "box_ids", "incident_id"),
    "triggered_event": ("data", "incident_id", "box_id", "start_timestamp_ms", "end_timestamp_ms"),
    "box_optimization_request": ("box_ids", "measurement_window_cycles"),
    "box_measurement_rate_request": ("box_ids",),
    "box_measurement_rate_response": ("box_id", "measurement_rate"),
    "incident_id_req": ("req_id",),
    "incident_id_resp": ("resp_id", "incident_id"),
    "threshold_optimization_request": tuple(
        field.name for field in MaukaMessage().threshold_optimization_request.DESCRIPTOR.fields
    ),
}
"""Field of the one-of -> the arguments of `build_<field>(source, ...)` after the source."""
LAHA_ARGUMENTS = {
    "ttl": ("collection", "ttl_s"),
    "gc_trigger": ("gc_domains",),
    "gc_update": ("from_domain", "id"),
    "gc_stat": ("gc_domain", "gc_cnt"),
}
Builder = Callable[..., MaukaMessage]
Check = Callable[..., bool]


def get_timestamp_ms() -> int:
    return time.time_ns() // 1_000_000


def build_mauka_message(source: str, timestamp_ms: int | None = None) -> MaukaMessage:
    """An empty message with the present time, or `timestamp_ms`."""
    stamp_ms = get_timestamp_ms() if timestamp_ms is None else timestamp_ms
    return MaukaMessage(source=source, timestamp_ms=stamp_ms)


def serialize_message(message: MaukaMessage) -> bytes:
    return message.SerializeToString()


def deserialize_mauka_message(body: bytes) -> MaukaMessage:
    """Raises google.protobuf.message.DecodeError."""
    return MaukaMessage.FromString(bytes(body))


def which_message_oneof(message: MaukaMessage) -> str | None:
    name: str | None = message.WhichOneof("message")
    return name


def repeated_as_ndarray(repeated: Iterable[float]) -> Any:
    return np.array(repeated)


def is_payload(message: MaukaMessage, payload_type: int | None = None) -> bool:
    """Whether it is a payload, and of this type if one is given."""
    if which_message_oneof(message) != "payload":
        return False
    return payload_type is None or message.payload.payload_type == payload_type


def _builder(names: tuple[str, ...], part: Callable[[MaukaMessage], Any]) -> Builder:
    def build(source: str, *values: Any, **named: Any) -> MaukaMessage:
        if len(values) > len(names) or not set(named) <= set(names[len(values) :]):
            raise TypeError(f"takes source, {', '.join(names)}")
        message = build_mauka_message(source)
        target = part(message)
        target.SetInParent()
        for name, value in {**dict(zip(names, values, strict=False)), **named}.items():
            field = getattr(target, name)
            if hasattr(field, "extend"):
                field.extend(value)
            else:
                setattr(target, name, int(value) if name == "id" else value)
        return message

    return build


def _of_message(name: str) -> tuple[Builder, Check]:
    build = _builder(ARGUMENTS[name], lambda message: getattr(message, name))
    return build, lambda message: which_message_oneof(message) == name


def _of_laha(name: str) -> tuple[Builder, Check]:
    build = _builder(LAHA_ARGUMENTS[name], lambda message: getattr(message.laha, name))
    return build, lambda message: is_laha(message) and message.laha.WhichOneof("laha_type") == name


def is_laha(message: MaukaMessage) -> bool:
    return which_message_oneof(message) == "laha"


def _all() -> dict[str, Builder | Check]:
    found: dict[str, Builder | Check] = {}
    for name in ARGUMENTS:
        found[f"build_{name}"], found[f"is_{name}"] = _of_message(name)
    for name in LAHA_ARGUMENTS:
        found[f"build_{name}"], found[f"is_{name}"] = _of_laha(name)
    found["is_heartbeat_message"] = found["is_heartbeat"]
    found["is_makai_event_message"] = found["is_makai_event"]
    found["is_payload"] = is_payload
    return found


globals().update(_all())
