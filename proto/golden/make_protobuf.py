"""Golden protobuf messages; `make.py` writes them.

Independent of opq_proto and protobuf: the wire form is written out here from its specification.
"""

import struct


def varint(value: int) -> bytes:
    value &= 2**64 - 1  # a negative int32 or int64 is ten bytes long
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def block(field: int, data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def single(field: int, value: float) -> bytes:
    return varint(field << 3 | 5) + struct.pack("<f", value)


def metric(low: float, high: float, mean: float) -> bytes:
    return single(1, low) + single(2, high) + single(3, mean)


def protobuf_cases() -> dict[str, tuple[str, str, dict[str, object], bytes]]:
    """case -> message name, what, fields (as protobuf's JSON, original names), wire bytes."""
    rms = {"min": 119.5, "max": 120.5, "average": 120.0}
    rms_entry = block(3, block(1, "rms") + block(2, metric(119.5, 120.5, 120.0)))
    counts = [0, 1, -1, 32767, -32768] + [0] * 195
    as_fields = {"datapoints": counts, "timestamp_ms": "1700000000017"}
    packed = block(1, b"".join(varint(c) for c in counts)) + number(2, 1_700_000_000_017)
    unpacked = b"".join(number(1, c) for c in counts) + number(2, 1_700_000_000_017)
    start = 1_700_000_000_000_000_000
    gap = block(1002, number(1, 88_120) + number(2, 12) + block(3, "ring was full"))
    header = (
        number(1, 17)
        + number(2, 34)
        + varint(1000 << 3 | 1)
        + struct.pack("<d", 0.0078125)
        + number(1001, 12_000_123)
        + gap
        + number(1003, start)
        + number(1004, start + 10**9)
    )
    box = "opq.opqbox3."
    return {
        "measurement_original": (
            box + "Measurement",
            "as an original Box sends it",
            {"box_id": 1003, "timestamp_ms": "1700000000000", "metrics": {"rms": rms}},
            number(1, 1003) + number(2, 1_700_000_000_000) + rms_entry,
        ),
        "measurement_clock": (
            box + "Measurement",
            "with the number of the clock that stamped it",
            {
                "box_id": 7,
                "timestamp_ms": "1700000000000",
                "metrics": {"rms": rms},
                "time_source": "NTP",
                "clock_id": "9223372036854775807",
            },
            number(1, 7)
            + number(2, 1_700_000_000_000)
            + rms_entry
            + number(1003, 1)
            + number(1012, 2**63 - 1),
        ),
        "measurement_sample": (
            box + "Measurement",
            "with the index and number of its samples",
            {
                "box_id": 7,
                "timestamp_ms": "1700000000000",
                "metrics": {"rms": rms},
                "first_sample": "360000",
                "samples": 12000,
            },
            number(1, 7)
            + number(2, 1_700_000_000_000)
            + rms_entry
            + number(1020, 360_000)
            + number(1021, 12_000),
        ),
        "measurement_ours": (
            box + "Measurement",
            "with all of our fields (1008, 1009: see golden/README.md)",
            {
                "box_id": 1003,
                "timestamp_ms": "1700000000000",
                "metrics": {"rms": rms},
                "start_ns": str(start),
                "end_ns": str(start + 10**9),
                "uncertainty_ns": 4294967295,
                "time_source": "GPS",
                "sequence": "300",
                "backfilled": True,
                "crossing": True,
                "oldest_sequence": "0",
                "nominal_v": 230.0,
                "nominal_hz": 50.0,
            },
            number(1, 1003)
            + number(2, 1_700_000_000_000)
            + rms_entry
            + number(1000, start)
            + number(1001, start + 10**9)
            + number(1002, 2**32 - 1)
            + number(1003, 3)
            + number(1004, 300)
            + number(1005, 1)
            + number(1006, 1)
            + number(1007, 0)
            + single(1008, 230.0)
            + single(1009, 50.0),
        ),
        "measurement_nominal_zero": (
            box + "Measurement",
            "nominal values that cannot be true: a reader of ours has none",
            {"box_id": 1, "nominal_v": 0.0, "nominal_hz": "Infinity"},
            number(1, 1) + single(1008, 0.0) + single(1009, float("inf")),
        ),
        "cycle_packed": (box + "Cycle", "packed, as Python and C++ write it", as_fields, packed),
        "cycle_unpacked": (
            box + "Cycle",
            "a tag before every sample, as original Boxes write it",
            as_fields,
            unpacked,
        ),
        "cycle_ours": (
            box + "Cycle",
            "with all of our fields",
            as_fields
            | {"start_ns": "-5", "uncertainty_ns": 1500, "first_sample": "88000", "time_source": "NTP"},
            packed + number(1000, -5) + number(1001, 1500) + number(1002, 88_000) + number(1003, 1),
        ),
        "command_data": (
            box + "Command",
            "raw samples of one second, waiting for the end",
            {
                "seq": 7,
                "box_id": 1,
                "timestamp_ms": "5",
                "identity": "data_abc_def",
                "data_command": {"start_ms": "1000", "end_ms": "2000", "wait": True},
            },
            number(1, 7)
            + number(2, 1)
            + number(3, 5)
            + block(4, "data_abc_def")
            + block(6, number(1, 1000) + number(2, 2000) + number(3, 1)),
        ),
        "command_data_sample": (
            box + "Command",
            "raw samples by the clock that gave a sample its time",
            {
                "box_id": 1,
                "data_command": {
                    "start_ms": "1000",
                    "end_ms": "2000",
                    "sample": "360000",
                    "sample_ns": "1500000000",
                },
            },
            number(2, 1)
            + block(
                6, number(1, 1000) + number(2, 2000) + number(1000, 360_000) + number(1001, 1_500_000_000)
            ),
        ),
        "command_negative_box": (
            box + "Command",
            "box_id is a signed number",
            {"box_id": -1, "info_command": {}},
            number(2, -1) + block(5, b""),
        ),
        "command_ack": (
            box + "Command",
            "our acknowledgement in the original's plug-in command",
            {"box_id": 1, "send_command_to_plugin": {"plugin_name": "opq-ack", "message": "88,80-81"}},
            number(2, 1) + block(8, block(1, "opq-ack") + block(2, "88,80-81")),
        ),
        "response_nothing": (
            box + "Response",
            "a data command that matched nothing: an empty header, 32 00",
            {"box_id": 1, "seq": 7, "timestamp_ms": "5", "get_data_response": {}},
            number(1, 1) + number(2, 7) + number(3, 5) + bytes.fromhex("3200"),
        ),
        "response_ours": (
            box + "Response",
            "gain, rate, a gap and what the Box still has",
            {
                "box_id": 1,
                "get_data_response": {
                    "start_ts": "17",
                    "end_ts": "34",
                    "volts_per_lsb": 0.0078125,
                    "rate_millihz": "12000123",
                    "gap": [{"first_sample": "88120", "samples": "12", "reason": "ring was full"}],
                    "available_start_ns": str(start),
                    "available_end_ns": str(start + 10**9),
                },
            },
            number(1, 1) + block(6, header),
        ),
        "response_moved": (
            box + "Response",
            "the clock was set back by 10 s since the requested time",
            {"box_id": 1, "get_data_response": {"moved_ns": "-10000000000"}},
            number(1, 1) + block(6, number(1005, -(10**10))),
        ),
        "response_rate": (
            box + "Response",
            "the field's name is the original's spelling",
            {"box_id": 2, "message_rate_reponse": {"old_rate_cycles": 60}},
            number(1, 2) + block(5, number(1, 60)),
        ),
        "mauka_makai_event": (
            "MaukaMessage",
            "what the event bridge puts on the bus",
            {"timestamp_ms": "9", "source": "makai_event_bridge", "makai_event": {"event_id": 17}},
            number(1, 9) + block(2, "makai_event_bridge") + block(5, number(1, 17)),
        ),
        "mauka_gc_update": (
            "MaukaMessage",
            "an incident was stored",
            {"source": "x", "laha": {"gc_update": {"from_domain": "INCIDENTS", "id": 3}}},
            block(2, "x") + block(8, block(3, number(1, 3) + number(2, 3))),
        ),
        "mauka_gc_stat_zero": (
            "MaukaMessage",
            "an enum's zero is not on the wire",
            {"laha": {"gc_stat": {"gc_cnt": "4"}}},
            block(8, block(4, number(2, 4))),
        ),
        "mauka_heartbeat": (
            "MaukaMessage",
            "a plug-in is alive",
            {
                "heartbeat": {
                    "last_received_timestamp_ms": "8",
                    "on_message_count": 2,
                    "status": "{}",
                    "plugin_state": "IDLE",
                }
            },
            block(4, number(1, 8) + number(2, 2) + block(3, "{}") + block(4, "IDLE")),
        ),
        "legacy_trigger": (
            "opq.proto.TriggerMessage",
            "the legacy Box's measurement",
            {"id": 3, "time": "1000", "frequency": 59.96875, "rms": 120.5},
            number(1, 3) + number(2, 1000) + single(3, 59.96875) + single(4, 120.5),
        ),
    }
