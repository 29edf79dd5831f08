"""The link's C, built for the PC: every golden vector, and the same counters as opq_proto's decoder."""

import ctypes
import random
import re
import struct
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_library import CMODULES, DEVICE, library
from hypothesis import example, given
from hypothesis import strategies as st

from opq_proto.link import frames as link
from opq_proto.link import messages as m
from opq_proto.link.box_facts import FACTS
from opq_proto.link.box_losses import LOSSES
from opq_proto.link.crash_record import REGISTERS
from opq_proto.measurement.own_channels import NAME, own_key
from opq_proto.messages import TimeSource

GOLDEN = DEVICE.parent / "proto" / "golden"
LINK = CMODULES / "link"
PORT = DEVICE / "port"
SOURCES = [LINK / f"{name}.c" for name in ("crc32", "cobs", "frame", "messages", "readers", "queue")]
COUNTERS = ("frames", "crc_errors", "malformed", "oversize", "bytes_skipped", "sequence_gaps")


class Counters(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in COUNTERS]


class Decoder(ctypes.Structure):
    _fields_ = [
        ("counters", Counters),
        ("length", ctypes.c_uint32),
        ("expected", ctypes.c_int32),
        ("skipping", ctypes.c_bool),
        ("bytes", ctypes.c_uint8 * 2048),
    ]


class Frame(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint8),
        ("sequence", ctypes.c_uint16),
        ("payload", ctypes.POINTER(ctypes.c_uint8)),
        ("length", ctypes.c_size_t),
    ]


@pytest.fixture(scope="module")
def c() -> Any:
    loaded = library("link", SOURCES)
    loaded.opq_crc32.restype = ctypes.c_uint32
    loaded.opq_crc32.argtypes = [ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t]
    for name in ("opq_cobs_encode", "opq_cobs_decode"):
        getattr(loaded, name).restype = ctypes.c_size_t
        getattr(loaded, name).argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p]
    loaded.opq_frame_write.restype = ctypes.c_size_t
    loaded.opq_frame_write.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint8,
        ctypes.c_uint16,
        ctypes.c_char_p,
        ctypes.c_size_t,
    ]
    loaded.opq_decoder_push.restype = ctypes.c_bool
    return loaded


def facts(path: Path) -> list[tuple[str, str]]:
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line and line[0] != "#"]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def cases(topic: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in sorted((GOLDEN / topic).iterdir())]


def feed(c: Any, decoder: Decoder, data: bytes) -> list[tuple[int, int, bytes]]:
    frame, found = Frame(), []
    for byte in data:
        if c.opq_decoder_push(ctypes.byref(decoder), ctypes.c_uint8(byte), ctypes.byref(frame)):
            payload = ctypes.string_at(frame.payload, frame.length)
            found.append((frame.type, frame.sequence, payload))
    return found


def new_decoder(c: Any) -> Decoder:
    decoder = Decoder()
    c.opq_decoder_init(ctypes.byref(decoder))
    return decoder


@pytest.mark.parametrize("path", cases("link"))
def test_c_round_trips_a_golden_frame(c: Any, path: Path) -> None:
    words = dict(facts(path))
    frame = bytes.fromhex(words["frame"])
    decoder = new_decoder(c)
    [(kind, sequence, payload)] = feed(c, decoder, frame)
    assert (kind, sequence) == (int(words["type"]), int(words["sequence"]))
    out = ctypes.create_string_buffer(2048)
    length = c.opq_frame_write(out, 2048, kind, sequence, payload, len(payload))
    assert out.raw[:length] == frame
    assert c.opq_frame_write(out, len(payload) + 8, kind, sequence, payload, len(payload)) == 0


@pytest.mark.parametrize("path", cases("stream"))
def test_c_counts_a_golden_stream(c: Any, path: Path) -> None:
    case = facts(path)
    decoder = new_decoder(c)
    got = feed(c, decoder, bytes.fromhex(dict(case)["bytes"]))
    good = [tuple(map(int, rest.split())) for word, rest in case if word == "good"]
    assert [frame[:2] for frame in got] == good
    assert decoder.counters.frames == len(good)
    for word, rest in case:
        if word == "count":
            name, value = rest.split()
            assert getattr(decoder.counters, name) == int(value), name


@pytest.mark.parametrize("path", cases("crc32"))
def test_c_has_the_golden_crc(c: Any, path: Path) -> None:
    words = dict(facts(path))
    data = bytes.fromhex(words["hex"])
    assert c.opq_crc32(0, data, len(data)) == int(words["crc32"])
    half = len(data) // 2
    assert c.opq_crc32(c.opq_crc32(0, data[:half], half), data[half:], len(data) - half) == int(
        words["crc32"]
    )


@pytest.mark.parametrize("path", cases("cobs"))
def test_c_codes_cobs_in_place(c: Any, path: Path) -> None:
    words = dict(facts(path))
    data, coded = bytes.fromhex(words["hex"]), bytes.fromhex(words["cobs"])
    out = ctypes.create_string_buffer(len(coded) + 1)
    assert c.opq_cobs_encode(data, len(data), out) == len(coded)
    assert out.raw[: len(coded)] == coded
    assert c.opq_cobs_decode(out, len(coded), out) == len(data)
    assert out.raw[: len(data)] == data


def some_messages(dice: random.Random) -> list[m.LinkMessage]:
    counts = np.array([dice.choice([0, -32768, dice.randrange(-32768, 32768)]) for _ in range(200)], np.int16)
    return [
        m.Samples(dice.randrange(2**64), -5, 2**32 - 1, TimeSource.GPS, 12_000_000, 7, counts),
        m.Command(dice.randrange(65536), m.Operation.PUT_SETTING, "naïve=" + "é" * dice.randrange(100)),
        m.UpdateData(3, dice.randrange(2**32), dice.randbytes(dice.randrange(1025))),
        m.Settings(1, (("a", "b"), ("c", ""))),
        m.Crossing(1, 2, 3, TimeSource.NTP, m.CrossingKind.SWELL, True, None, 1.0),
        m.Resend(dice.randrange(2**64), 400),
    ]


@pytest.mark.parametrize("seed", range(30))
def test_c_and_python_agree_on_damage(c: Any, seed: int) -> None:
    dice = random.Random(seed)
    stream = bytearray()
    for number, message in enumerate(some_messages(dice) * 3):
        stream += link.encode(message, 65_530 + number)
    for _ in range(dice.randrange(12)):
        at = dice.randrange(len(stream))
        change = dice.choice([b"", b"\0", dice.randbytes(3), b"\x55" * dice.choice([1, 2100])])
        stream[at : at + dice.randrange(3)] = change
    python, decoder = link.Decoder(), new_decoder(c)
    theirs = [(message.TYPE, sequence) for sequence, message in python.feed(bytes(stream))]
    ours = [(kind, sequence) for kind, sequence, _ in feed(c, decoder, bytes(stream))]
    assert ours == theirs
    for name in COUNTERS:
        assert getattr(decoder.counters, name) == getattr(python, name), name


@pytest.mark.parametrize("seed", range(200))
def test_c_and_python_agree_on_what_is_malformed(c: Any, seed: int) -> None:
    """Good CRCs around payloads with a byte changed, taken away or put in."""
    dice = random.Random(1000 + seed)
    message = dice.choice(some_messages(dice))
    frame = link.encode(message, 0)
    body = bytearray(new_body(frame))
    at = dice.randrange(3, len(body)) if len(body) > 3 else 3
    body[at : at + dice.randrange(2)] = dice.randbytes(dice.randrange(2))
    if dice.random() < 0.2:
        body[0] = dice.randrange(16)
    out = ctypes.create_string_buffer(2048)
    payload = bytes(body[3:])
    length = c.opq_frame_write(out, 2048, body[0], 9, payload, len(payload))
    python, decoder = link.Decoder(), new_decoder(c)
    assert len(python.feed(out.raw[:length])) == len(feed(c, decoder, out.raw[:length]))
    assert (decoder.counters.malformed, decoder.counters.crc_errors) == (python.malformed, 0)


def new_body(frame: bytes) -> bytes:
    from cobs import cobs

    return bytes(cobs.decode(frame[:-1]))[:-4]


def test_the_longest_payload_fits(c: Any) -> None:
    most = 2048 - 1 - 9 - 3 - 4
    out = ctypes.create_string_buffer(2049)
    for fill in (b"\0", b"\x01", b"\xff"):
        payload = fill * most
        length = c.opq_frame_write(out, 2048, 0x7F, 1, payload, most)
        assert 0 < length <= 2048
        body = b"\x7f" + struct.pack("<H", 1) + payload
        assert new_body(out.raw[:length]) == body
    assert c.opq_frame_write(out, 2049, 0x7F, 1, bytes(most + 1), most + 1) == 0


@pytest.mark.parametrize("name", ["losses", "losses_none", "box_facts", "crash"])
def test_c_writes_golden_lists(c: Any, name: str) -> None:
    words = dict(facts(GOLDEN / "link" / f"{name}.txt"))
    [(_, message)] = link.Decoder().feed(bytes.fromhex(words["frame"]))
    assert isinstance(message, m.Losses | m.BoxFacts | m.Crash)
    [numbers] = [getattr(message, field.name) for field in fields(message)]
    counts = (ctypes.c_uint32 * len(numbers))(*numbers)
    c.opq_write_numbers.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(512)
    length = c.opq_write_numbers(out, ctypes.c_size_t(512), counts, ctypes.c_uint8(len(counts)))
    assert out.raw[:length] == new_body(bytes.fromhex(words["frame"]))[3:]
    assert c.opq_write_numbers(out, ctypes.c_size_t(length - 1), counts, ctypes.c_uint8(len(counts))) == 0


class Text(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char_p), ("length", ctypes.c_size_t)]


class Channel(ctypes.Structure):
    _fields_ = [
        ("first_sample", ctypes.c_uint64),
        ("value", ctypes.c_float),
        ("name", Text),
        ("unit", Text),
    ]


def text_of(word: str) -> Text:
    data = word.encode()
    return Text(data, len(data))


def test_a_channels_value_is_written_as_golden(c: Any) -> None:
    words = dict(facts(GOLDEN / "link" / "channel_value.txt"))
    channel = Channel(2**40, -12.5, text_of("oil_2"), text_of("c"))
    c.opq_write_channel_value.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(64)
    length = c.opq_write_channel_value(out, ctypes.c_size_t(64), ctypes.byref(channel))
    assert out.raw[:length] == new_body(bytes.fromhex(words["frame"]))[3:]
    assert c.opq_write_channel_value(out, ctypes.c_size_t(length - 1), ctypes.byref(channel)) == 0


WORDS = st.text("az_09AZ %", max_size=18) | st.text(max_size=4) | st.from_regex(NAME, fullmatch=True)


@given(WORDS, WORDS)
@example("a" * 16, "v" * 8)
@example("a" * 17, "v")
@example("a", "v" * 9)
@example("a\n", "v")
def test_a_channels_name_has_one_rule(c: Any, name: str, unit: str) -> None:
    """In the Box's C and in the gateway."""
    c.opq_channel_is_named.restype = ctypes.c_bool
    assert c.opq_channel_is_named(text_of(name), text_of(unit)) == (own_key(name, unit) is not None)


def test_cs_counters_have_their_names() -> None:
    reported = (LINK / "messages.h").read_text().partition("opq_lost_t")[0].rpartition("typedef enum")[2]
    assert [name.lower() for name in re.findall(r"OPQ_LOST_(\w+),", reported)] == list(LOSSES)
    reported = (LINK / "messages.h").read_text().partition("opq_fact_t")[0].rpartition("typedef enum")[2]
    assert [name.lower() for name in re.findall(r"OPQ_FACT_(\w+),", reported)] == list(FACTS)
    words = (PORT / "crash.h").read_text().partition("} opq_crash_t")[0].rpartition("typedef struct")[2]
    named = re.findall(r"\b(\w+)(?=[,;\[])", re.sub(r"//.*", "", words))
    assert named == ["magic", *REGISTERS, "stack", "check"]
