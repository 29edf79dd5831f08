"""Golden frames and byte streams of the serial link; `make.py` writes them.

Fields stand in wire order with their wire type, so that the case files are the definition of the
layout and no second one is needed. Independent of opq_proto: struct, zlib's CRC-32, COBS below.
"""

import math
import struct
import zlib

CODES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i8": "b", "i32": "i", "i64": "q"}
CODES |= {"f32": "f", "f64": "d"}
LINK_SOURCE = "layout: proto/golden/README.md; struct, zlib.crc32, COBS after Cheshire and Baker 1999"


def cobs(data: bytes) -> bytes:
    """Consistent Overhead Byte Stuffing (Cheshire and Baker, IEEE/ACM ToN 7(2), 1999)."""
    out, block = bytearray(), bytearray()
    for byte in data:
        if byte == 0:
            out += bytes([len(block) + 1]) + block
            block = bytearray()
            continue
        block.append(byte)
        if len(block) == 254:
            out += b"\xff" + block
            block = bytearray()
    if block or not data or data[-1] == 0:  # else a full block ended the data: nothing is left to say
        out += bytes([len(block) + 1]) + block
    return bytes(out)


def pack(kind: str, value: object) -> bytes:
    """One field's bytes."""
    if kind == "str8":
        data = str(value).encode()
        return bytes([len(data)]) + data
    if kind == "i16[]":
        return struct.pack(f"<{len(value)}h", *value)
    if kind == "u8[]":
        return bytes(value)
    if kind == "u32[]":
        return struct.pack(f"<{len(value)}I", *value)
    return struct.pack("<" + CODES[kind], value)


def frame(kind: int, sequence: int, payload: bytes, crc_xor: int = 0) -> bytes:
    body = struct.pack("<BH", kind, sequence) + payload
    return cobs(body + struct.pack("<I", zlib.crc32(body) ^ crc_xor)) + b"\0"


def show(kind: str, value: object) -> str:
    if kind.endswith("[]"):
        return " ".join(str(entry) for entry in value)
    if isinstance(value, float):
        return "nan" if math.isnan(value) else repr(value)
    return str(value)


NAN = math.nan
WAVE = [round(20000 * math.sin(2 * math.pi * k / 200)) for k in range(200)]

HELLO = [
    ("protocol", "u8", 1),
    ("box_id", "u32", 1003),
    ("boot_id", "u32", 0xDEADBEEF),
    ("rate_millihz", "u32", 12_000_000),
    ("v_per_lsb", "f64", 0.0078125),
    ("nominal_v", "f32", 120.0),
    ("nominal_hz", "f32", 60.0),
    ("effective_bits", "f32", 13.5),
    ("block_samples", "u16", 200),
    ("ring_samples", "u32", 120_000),
    ("hardware", "str8", "opq-box-3 rev B"),
    ("firmware", "str8", "1.2.0+µ"),
]


def samples(first: int, counts: list[int], flags: int = 0) -> list[tuple[str, str, object]]:
    return [
        ("first_sample", "u64", first),
        ("t_ns", "i64", 1_700_000_000_000_000_000 + first),
        ("uncertainty_ns", "u32", 1500),
        ("source", "u8", 3),
        ("rate_millihz", "u32", 12_000_123),
        ("flags", "u8", flags),
        ("count", "u16", len(counts)),
        ("counts", "i16[]", counts),
    ]


RESEND = [("first_sample", "u64", 88_120), ("count", "u32", 400)]


def update(offset: int, data: bytes) -> list[tuple[str, str, object]]:
    return [
        ("command_id", "u16", 514),
        ("offset", "u32", offset),
        ("count", "u16", len(data)),
        ("bytes", "u8[]", list(data)),
    ]


def losses(*counts: int) -> list[tuple[str, str, object]]:
    return [("count", "u8", len(counts)), ("counts", "u32[]", list(counts))]


CRASH = losses(
    *(1, 2, 0x08035F0C, 0x08035F01, 0x21000000, 0x8200, 0x40000000, 0, 0x60000000),
    *(0x60000000, 1, 2, 3, 12, 0x1000FD00),
    *range(0x08020200, 0x08020240),
)


COMMAND = [("command_id", "u16", 513), ("operation", "u8", 3), ("argument", "str8", "nominal_v=230")]
LOG = [("code", "u16", 40), ("a", "i32", -1), ("b", "i32", 2147483647), ("uptime_ms", "u32", 4294967295)]

MESSAGES = {
    "hello": (0x01, 0, HELLO, "a Box's first words; the firmware's name holds a two-byte character"),
    "hello_empty": (
        0x01,
        65535,
        [(name, kind, "" if kind == "str8" else 0.0 if kind[0] == "f" else 0) for name, kind, _ in HELLO],
        "everything zero or empty, the last sequence before it wraps",
    ),
    "samples_sine": (0x02, 7, samples(2**40, WAVE), "200 samples of a sine: the usual block"),
    "samples_extremes": (
        0x02,
        8,
        samples(0, [-32768, 32767, 0, -1, 1, 256, -256], flags=7),
        "ends of int16, all flags",
    ),
    "samples_none": (0x02, 9, samples(5, []), "a block may be empty"),
    "samples_free": (
        0x02,
        10,
        [
            ("first_sample", "u64", 2**64 - 1),
            ("t_ns", "i64", -1),
            ("uncertainty_ns", "u32", 0xFFFFFFFF),
            ("source", "u8", 0),
            ("rate_millihz", "u32", 0),
            ("flags", "u8", 2),
            ("count", "u16", 1),
            ("counts", "i16[]", [0x0100]),
        ],
        "time not known; the largest index",
    ),
    "samples_zeros": (0x02, 11, samples(400, [0] * 200), "all zero: COBS at its busiest"),
    "samples_no_zeros": (0x02, 12, samples(600, [4369] * 300), "runs of more than 254 bytes without a zero"),
    "measurement": (
        0x03,
        13,
        [
            ("first_sample", "u64", 12_000),
            ("samples", "u32", 12_000),
            ("rms_v", "f32", 120.5),
            ("f_hz", "f32", 59.96875),
            ("thd", "f32", 0.03125),
            ("trans_v", "f32", 4.25),
        ],
        "one second of figures",
    ),
    "measurement_unknown": (
        0x03,
        14,
        [
            ("first_sample", "u64", 0),
            ("samples", "u32", 200),
            ("rms_v", "f32", 0.5),
            ("f_hz", "f32", NAN),
            ("thd", "f32", NAN),
            ("trans_v", "f32", NAN),
        ],
        "NaN says unknown",
    ),
    "crossing": (
        0x04,
        15,
        [
            ("sample", "u64", 36_100),
            ("t_ns", "i64", 1_700_000_003_008_333_333),
            ("uncertainty_ns", "u32", 250),
            ("source", "u8", 2),
            ("kind", "u8", 1),
            ("entering", "u8", 1),
            ("rms_v", "f32", 107.5),
            ("limit_v", "f32", 108.0),
        ],
        "a dip begins",
    ),
    "channel_value": (
        0x10,
        36,
        [
            ("first_sample", "u64", 2**40),
            ("value", "f32", -12.5),
            ("name", "str8", "oil_2"),
            ("unit", "str8", "c"),
        ],
        "a channel of a user's program",
    ),
    "gps_status": (
        0x05,
        16,
        [
            ("state", "u8", 2),
            ("satellites", "u8", 9),
            ("t_ns", "i64", 1_700_000_000_000_000_000),
            ("uncertainty_ns", "u32", 60),
            ("pps_count", "u32", 3600),
            ("pps_offset_ns", "i32", -42),
            ("latitude_e7", "i32", 213_069_444),
            ("longitude_e7", "i32", -1_578_583_333),
            ("leap_seconds", "i8", 18),
        ],
        "locked, west of Greenwich",
    ),
    "health": (
        0x06,
        17,
        [
            ("uptime_ms", "u64", 2**33),
            ("temperature_c", "f32", -12.5),
            ("supply_v", "f32", 4.875),
            ("battery_v", "f32", NAN),
            ("cpu_permille", "u16", 437),
            ("overruns", "u32", 1),
            ("clipped", "u32", 2),
            ("missing_samples", "u32", 200),
            ("crc_errors", "u32", 3),
            ("tx_dropped", "u32", 4),
            ("heap_free_bytes", "u32", 65_536),
            ("reset_cause", "u8", 5),
        ],
        "no battery",
    ),
    "log": (0x07, 18, LOG, "ends of the integers"),
    "command": (0x08, 19, COMMAND, "put a setting"),
    "acknowledgement": (
        0x09,
        20,
        [("command_id", "u16", 513), ("status", "u8", 2), ("detail", "str8", "want 100 to 400")],
        "a bad argument",
    ),
    "settings": (
        0x0A,
        21,
        [
            ("sequence", "u32", 6),
            ("count", "u8", 2),
            ("key", "str8", "nominal_v"),
            ("value", "str8", "230"),
            ("key", "str8", "name"),
            ("value", "str8", ""),
        ],
        "two pairs, one value empty",
    ),
    "settings_none": (0x0A, 22, [("sequence", "u32", 0), ("count", "u8", 0)], "no settings"),
    "resend": (0x0B, 23, RESEND, "two blocks again"),
    "update_data": (0x0C, 24, update(0, b"OPQF\x00\x01\x00\xff"), "an image begins"),
    "update_data_most": (0x0C, 25, update(2**32 - 1024, bytes(k % 256 for k in range(1024))), "1024 bytes"),
    "update_data_none": (0x0C, 26, update(4096, b""), "no bytes: asks only for the next offset"),
    "command_repl": (
        0x08,
        27,
        [("command_id", "u16", 7), ("operation", "u8", 9), ("argument", "str8", "")],
        "hand the line to the prompt",
    ),
    "losses": (0x0D, 28, losses(*range(1, 20), 2**32 - 1), "all that a Box counts"),
    "losses_few": (0x0D, 29, losses(7, 0), "of a Box that counts two"),
    "losses_more": (0x0D, 30, losses(*[0] * 20, 8, 9), "of a newer Box: two that have no name yet"),
    "losses_none": (0x0D, 31, losses(), "of a Box that counts nothing"),
    "box_facts": (0x0E, 32, losses(3, 0b11, 0x1007, 2), "option bytes, revision, label"),
    "box_facts_more": (0x0E, 33, losses(0, 0, 0x1007, 0, 9), "of a newer Box: one that has no name yet"),
    "crash": (0x0F, 34, CRASH, "15 registers and 64 words of the stack"),
    "crash_few": (0x0F, 35, losses(2, 1), "kind and count only"),
    "command_protect": (
        0x08,
        36,
        [("command_id", "u16", 8), ("operation", "u8", 10), ("argument", "str8", "3 3")],
        "brown-out level 3, and the boot loader's sectors",
    ),
}


def payload(fields: list[tuple[str, str, object]]) -> bytes:
    return b"".join(pack(kind, value) for _, kind, value in fields)


def link_case(name: str) -> str:
    kind, sequence, fields, what = MESSAGES[name]
    lines = [
        f"# {what}",
        f"# source: {LINK_SOURCE}",
        "# tolerance: 0 (bytes are equal; NaN means any NaN)",
        f"case {name}",
        f"type {kind}",
        f"sequence {sequence}",
        *(f"field {label} {code} {show(code, value)}".rstrip() for label, code, value in fields),
        f"frame {frame(kind, sequence, payload(fields)).hex()}",
    ]
    return "\n".join(lines) + "\n"


def streams() -> dict[str, tuple[str, bytes, list[tuple[int, int]], dict[str, int]]]:
    """case -> what, bytes, (type, sequence) of the good frames, counters that are not 0."""
    one, two, three = (frame(0x0B, n, payload(RESEND)) for n in (1, 2, 3))
    log = frame(0x07, 2, payload(LOG))
    flipped = bytes([two[0], two[1], two[2] ^ 0x55]) + two[3:]
    unknown = frame(0x7F, 2, b"abc")
    short = frame(0x0B, 2, payload(RESEND)[:-1])
    long_ = frame(0x0B, 2, payload(RESEND) + b"!")
    pair = samples(0, [1, 2])
    piece = update(0, b"abc")
    bad_operation = frame(0x08, 2, struct.pack("<HBB", 1, 200, 0))
    many = frame(0x0C, 2, struct.pack("<HIH", 1, 0, 1025) + bytes([1]) * 1025)
    few = frame(0x0C, 2, payload(piece)[:-1])
    surrogate = frame(0x08, 2, struct.pack("<HB", 1, 1) + b"\x03\xed\xa0\x80")
    overlong = frame(0x08, 2, struct.pack("<HB", 1, 1) + b"\x02\xc1\x81")
    beyond = frame(0x08, 2, struct.pack("<HB", 1, 1) + b"\x04\xf4\x90\x80\x80")
    bad_source = frame(0x02, 2, payload([(n, c, 9 if n == "source" else v) for n, c, v in pair]))
    bad_count = frame(0x02, 2, payload([(n, c, 9 if n == "count" else v) for n, c, v in pair]))
    bad_text = frame(0x08, 2, struct.pack("<HB", 1, 1) + b"\x02\xc3\x28")
    cut_text = frame(0x08, 2, struct.pack("<HB", 1, 1) + b"\x09abc")
    tiny = cobs(b"\x0b\x01") + b"\0"
    both = [(0x0B, 1), (0x0B, 3)]
    lost = {"crc_errors": 1, "sequence_gaps": 1}
    wrong = {"malformed": 1}

    def skipped(bad: bytes) -> dict[str, int]:
        return {"bytes_skipped": len(bad) - bad.count(0)}

    return {
        "plain": ("three frames in a row", one + two + three, [(0x0B, 1), (0x0B, 2), (0x0B, 3)], {}),
        "empty_frames": (
            "zeros between frames mean nothing",
            b"\0\0" + one + b"\0\0\0" + two,
            [(0x0B, 1), (0x0B, 2)],
            {},
        ),
        "mixed": ("two types", one + log + three, [(0x0B, 1), (0x07, 2), (0x0B, 3)], {}),
        "garbage_first": (
            "noise, then a zero, then a frame",
            b"\xff\x13noise\0" + one,
            [(0x0B, 1)],
            {"crc_errors": 1, "bytes_skipped": 7},
        ),
        "garbage_glued": (
            "noise without a zero costs the frame behind it, not the next",
            b"\x42\x42" + one + two,
            [(0x0B, 2)],
            {"crc_errors": 1, "bytes_skipped": 2 + len(one) - 1},
        ),
        "cut_frame": (
            "the first half of a frame is lost",
            one[len(one) // 2 :] + two,
            [(0x0B, 2)],
            {"crc_errors": 1, "bytes_skipped": len(one) - len(one) // 2 - 1},
        ),
        "flipped_bit": (
            "one byte of the middle frame is wrong",
            one + flipped + three,
            both,
            lost | skipped(flipped),
        ),
        "wrong_crc": (
            "only the CRC is wrong",
            one + frame(0x0B, 2, payload(RESEND), 1) + three,
            both,
            lost | skipped(frame(0x0B, 2, payload(RESEND), 1)),
        ),
        "inserted_zero": (
            "a zero in a frame makes two bad ones of it",
            one + two[:6] + b"\0" + two[6:] + three,
            both,
            {"crc_errors": 2, "sequence_gaps": 1, "bytes_skipped": len(two) - 1},
        ),
        "tiny": (
            "shorter than type, sequence and CRC",
            one + tiny + two,
            [(0x0B, 1), (0x0B, 2)],
            {"crc_errors": 1} | skipped(tiny),
        ),
        "unknown_type": (
            "a good frame of a type from the future",
            one + unknown + three,
            both,
            wrong | skipped(unknown),
        ),
        "payload_short": ("one byte too few for its type", one + short + three, both, wrong | skipped(short)),
        "payload_long": ("one byte too many", one + long_ + three, both, wrong | skipped(long_)),
        "bad_source": ("time source 9", one + bad_source + three, both, wrong | skipped(bad_source)),
        "bad_count": (
            "9 samples announced, 2 there",
            one + bad_count + three,
            both,
            wrong | skipped(bad_count),
        ),
        "bad_text": ("text that is not UTF-8", one + bad_text + three, both, wrong | skipped(bad_text)),
        "surrogate": ("a surrogate is not UTF-8", one + surrogate + three, both, wrong | skipped(surrogate)),
        "overlong": ("an overlong form: not UTF-8", one + overlong + three, both, wrong | skipped(overlong)),
        "beyond_unicode": ("U+110000 does not exist", one + beyond + three, both, wrong | skipped(beyond)),
        "bad_operation": ("operation 200", one + bad_operation + three, both, wrong | skipped(bad_operation)),
        "update_too_many": ("1025 update bytes", one + many + three, both, wrong | skipped(many)),
        "update_short": ("an update piece that is cut", one + few + three, both, wrong | skipped(few)),
        "cut_text": ("text shorter than announced", one + cut_text + three, both, wrong | skipped(cut_text)),
        "sequence_wraps": (
            "65535 is followed by 0",
            frame(0x0B, 65535, payload(RESEND)) + frame(0x0B, 0, payload(RESEND)),
            [(0x0B, 65535), (0x0B, 0)],
            {},
        ),
        "sequence_gap": ("a frame is missing", one + three, both, {"sequence_gaps": 1}),
        "oversize": (
            "3000 bytes without a zero",
            one + b"\x55" * 3000 + b"\0" + two,
            [(0x0B, 1), (0x0B, 2)],
            {"oversize": 1, "bytes_skipped": 3000},
        ),
        "no_end": ("the last frame has not ended yet", one + two[:-1], [(0x0B, 1)], {}),
    }


COUNTERS = ("crc_errors", "malformed", "oversize", "bytes_skipped", "sequence_gaps")


def stream_case(name: str) -> str:
    what, data, good, counters = streams()[name]
    lines = [
        f"# {what}",
        f"# source: {LINK_SOURCE}",
        "# tolerance: 0",
        f"case {name}",
        f"bytes {data.hex()}",
        *(f"good {kind} {sequence}" for kind, sequence in good),
        *(f"count {counter} {counters.get(counter, 0)}" for counter in COUNTERS),
    ]
    return "\n".join(lines) + "\n"
