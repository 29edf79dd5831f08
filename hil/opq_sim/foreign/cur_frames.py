"""Frames of the original's Rust generation (CUR), byte by byte: docs/reference/opq-interop.md A.3 to A.5 and
B.1.

Numbers in brackets are those of opqbox3.proto. Numbers from 1000 on are never written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opq_sim.foreign.protobuf_bytes import (
    ProtobufError,
    bytes_field,
    float_field,
    message_bytes,
    read_fields,
    signed32,
    unpacked_samples,
    varint_field,
    whole_number,
)

# Numbers of the one-of `command`.
INFO = 5
DATA = 6
RATE = 7
PLUGIN = 8

# Numbers of the one-of `response`.
INFO_RESPONSE = 4
RATE_RESPONSE = 5
DATA_RESPONSE = 6
PLUGIN_RESPONSE = 7


@dataclass(frozen=True, slots=True)
class CurMetric:
    """Figures of one measurement window, in the metric's unit."""

    min: float
    max: float
    average: float


def cur_topic(box_id: int) -> bytes:
    """Decimal, padded with zeros to a width of 4."""
    return f"{box_id:04d}".encode("ascii")


def cur_measurement(box_id: int, timestamp_ms: int, metrics: Mapping[str, CurMetric]) -> bytes:
    """Measurement: box_id [1], timestamp_ms [2], metrics [3], a map entry {key [1], value [2]} each."""
    entries = b"".join(
        bytes_field(
            3,
            bytes_field(1, key.encode("utf-8"), presence=True)
            + bytes_field(
                2,
                float_field(1, metric.min) + float_field(2, metric.max) + float_field(3, metric.average),
                presence=True,
            ),
            presence=True,
        )
        for key, metric in metrics.items()
    )
    return varint_field(1, box_id) + varint_field(2, timestamp_ms) + entries


def cur_cycle(counts: Sequence[int], timestamp_ms: int) -> bytes:
    """Cycle: datapoints [1] unpacked, timestamp_ms [2]."""
    return unpacked_samples(1, counts) + varint_field(2, timestamp_ms)


def cur_response(box_id: int, seq: int, timestamp_ms: int, kind: int, body: bytes) -> bytes:
    """Response: box_id [1] int32, seq [2], timestamp_ms [3], one of [4] to [7], which may be empty."""
    head = varint_field(1, box_id) + varint_field(2, seq) + varint_field(3, timestamp_ms)
    return head + bytes_field(kind, body, presence=True)


def cur_data_header(start_ms: int, end_ms: int) -> bytes:
    """GetDataResponseHeader: start_ts [1], end_ts [2]; empty for 0 and 0."""
    return varint_field(1, start_ms) + varint_field(2, end_ms)


def cur_rate_answer(old_rate_cycles: int) -> bytes:
    """SetMeasurementRateResponse: old_rate_cycles [1]."""
    return varint_field(1, old_rate_cycles)


def cur_plugin_answer() -> bytes:
    """SendCommandToPluginResponse: ok [1], always true."""
    return varint_field(1, 1)


def cur_info_answer(addresses: Sequence[str], uptime_s: int, public_key: bytes, rate_cycles: int) -> bytes:
    """GetInfoResponse: ip [3], uptime [4] in seconds, pub_key [6], measurement_rate [7].

    mac_addr [1] and wifi_network [2] are sent as "" and calibration_constant [5] as 0: proto3 writes none of
    them. Each address is followed by `:0` and a line feed.
    """
    lines = "".join(f"{address}:0\n" for address in addresses).encode("ascii")
    return (
        bytes_field(3, lines)
        + varint_field(4, uptime_s)
        + bytes_field(6, public_key)
        + varint_field(7, rate_cycles)
    )


@dataclass(frozen=True, slots=True)
class CurCommand:
    """The part of a Command that a Box reads: seq [1], box_id [2], and the one-of with its number."""

    seq: int
    box_id: int
    kind: int
    """INFO, DATA, RATE or PLUGIN; 0: none."""
    start_ms: int = 0
    end_ms: int = 0
    cycles: int = 0
    plugin_name: str = ""


def read_cur_command(data: bytes) -> CurCommand:
    """Reads a Command; if several of the one-of are present, the last counts, as in every reader of Protocol
    Buffers.

    Raises:
        ProtobufError: it is not a Command.
    """
    seq = box_id = kind = 0
    body = b""
    for number, value in read_fields(data):
        if number == 1:
            seq = whole_number(value) & 0xFFFF_FFFF
        elif number == 2:
            box_id = signed32(whole_number(value))
        elif INFO <= number <= PLUGIN:
            kind, body = number, message_bytes(value)
    inside = dict(read_fields(body))
    if kind == DATA:  # start_ms [1], end_ms [2]; wait [3] is ignored
        start_ms, end_ms = (whole_number(inside.get(number, 0)) for number in (1, 2))
        return CurCommand(seq, box_id, kind, start_ms=start_ms, end_ms=end_ms)
    if kind == RATE:  # measurement_window_cycles [1]
        return CurCommand(seq, box_id, kind, cycles=whole_number(inside.get(1, 0)) & 0xFFFF_FFFF)
    if kind == PLUGIN:  # plugin_name [1], message [2]
        try:
            name = message_bytes(inside.get(1, b"")).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ProtobufError("plugin_name is not UTF-8") from error
        return CurCommand(seq, box_id, kind, plugin_name=name)
    return CurCommand(seq, box_id, kind)
