"""Holds the golden link vectors under MicroPython and CPython: `micropython golden_link_mpy.py DIR`.

Only what both have: struct, binascii, os, sys; no pathlib, no annotations that need typing. Floats
are compared as the bytes of their wire type, so single-precision builds agree too.
"""

# ruff: noqa: PTH123, PTH208 - MicroPython has no pathlib
import os
import struct
import sys
from binascii import hexlify, unhexlify

CODES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i8": "b", "i32": "i", "i64": "q"}
FLOATS = {"f32": "f", "f64": "d"}
MAX_FRAME = 2048


def crc32(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def cobs_decode(data):
    """The bytes, or None when `data` is not COBS."""
    out = bytearray()
    at = 0
    while at < len(data):
        code = data[at]
        at += 1
        part = data[at : at + code - 1]
        if code == 0 or len(part) != code - 1 or b"\0" in part:
            return None
        out.extend(part)
        at += code - 1
        if code < 0xFF and at < len(data):
            out.append(0)
    return bytes(out)


def cobs_encode(data):
    out = bytearray()
    block = bytearray()
    for at in range(len(data)):
        if data[at]:
            block.append(data[at])
        if not data[at] or (len(block) == 254 and at + 1 < len(data)):
            out.append(len(block) + 1)
            out.extend(block)
            block = bytearray()
    out.append(len(block) + 1)
    out.extend(block)
    return bytes(out)


def pack(kind, value):
    if kind == "str8":
        data = value.encode()
        return bytes([len(data)]) + data
    if kind == "u32[]":
        return b"".join([struct.pack("<I", int(count)) for count in value.split()])
    if kind == "u8[]":
        return bytes(int(part) for part in value.split())
    if kind == "i16[]":
        return b"".join([struct.pack("<h", int(count)) for count in value.split()])
    if kind in FLOATS:
        if value == "nan":
            return unhexlify("0000c07f")
        return struct.pack("<" + FLOATS[kind], float(value))
    return struct.pack("<" + CODES[kind], int(value))


def facts(path):
    """(word, rest) of each line that is not a comment."""
    found = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.rstrip("\n")
            if line and line[0] != "#":
                word, _, rest = line.partition(" ")
                found.append((word, rest))
    return found


def open_frame(frame):
    """The body, or None."""
    raw = cobs_decode(frame)
    if raw is None or len(raw) < 7 or crc32(raw[:-4]) != struct.unpack("<I", raw[-4:])[0]:
        return None
    return raw[:-4]


def check_link(case):
    words = dict(case)
    body = struct.pack("<BH", int(words["type"]), int(words["sequence"]))
    for word, rest in case:
        if word == "field":
            _, kind, value = (rest + " ").split(" ", 2)
            body += pack(kind, value[:-1])
    frame = unhexlify(words["frame"])
    assert frame[-1] == 0, "no closing zero"
    assert open_frame(frame[:-1]) == body, "the frame's body is not what its fields give"
    assert cobs_encode(body + struct.pack("<I", crc32(body))) + b"\0" == frame, "other frame"


def check_stream(case):
    """By type and CRC alone: malformed payloads count as good frames here."""
    words = dict(case)
    counts = {}
    good = []
    for word, rest in case:
        parts = rest.split()
        if word == "count":
            counts[parts[0]] = int(parts[1])
        elif word == "good":
            good.append((int(parts[0]), int(parts[1])))
    bad = 0
    oversize = 0
    got = []
    for piece in unhexlify(words["bytes"]).split(b"\0")[:-1]:
        body = open_frame(piece) if 0 < len(piece) < MAX_FRAME else None
        if len(piece) >= MAX_FRAME:
            oversize += 1
        elif piece and body is None:
            bad += 1
        elif body is not None:
            got.append((body[0], body[1] | body[2] << 8))
    assert bad == counts["crc_errors"], "crc errors"
    assert oversize == counts["oversize"], "oversize"
    assert len(got) == len(good) + counts["malformed"], "number of frames"
    assert [frame for frame in got if frame in good] == good, "other frames"


def check_crc32(case):
    words = dict(case)
    assert crc32(unhexlify(words["hex"])) == int(words["crc32"]), "other CRC"


def check_cobs(case):
    words = dict(case)
    data = unhexlify(words["hex"])
    assert hexlify(cobs_encode(data)).decode() == words["cobs"], "other code"
    assert cobs_decode(unhexlify(words["cobs"])) == data, "does not come back"


CHECKS = {"link": check_link, "stream": check_stream, "crc32": check_crc32, "cobs": check_cobs}


def main(root):
    files = 0
    failures = 0
    for topic in CHECKS:
        for name in sorted(os.listdir(root + "/" + topic)):
            files += 1
            try:
                CHECKS[topic](facts(root + "/" + topic + "/" + name))
            except (AssertionError, ValueError, KeyError) as error:
                failures += 1
                print(topic, name, repr(error))
    print(files, "files,", failures, "failures")
    return 0 if files and not failures else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
