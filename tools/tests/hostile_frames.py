"""Frames of every protocol that a port of ours, or of others, could speak, whole and mutated.

Each kind gives what is sent in one connection: a beginning, after which frames are read, and frames.
"""

import json
import random
import struct
from collections.abc import Callable

from opq_proto.wire import opqbox3_pb2 as opq_pb2

Burst = tuple[bytes, list[bytes]]
"""The beginning, and frames."""
SOCKETS = (b"PUB", b"SUB", b"XSUB", b"PUSH", b"PULL", b"REQ", b"REP", b"DEALER", b"ROUTER", b"PAIR")
PATHS = (
    *(b"/", b"/live", b"/api/v1/boxes", b"/api/v1/events?limit=x", b"/rules", b"/streams", b"/notify"),
    *(
        b"/metrics",
        b"/alerts",
        b"/metadata/timestamp.json",
        b"/report",
        b"/sign-in",
        b"/x",
        b"/../../etc/passwd",
    ),
)


def mutated(rng: random.Random, frame: bytes) -> bytes:
    """The frame with one or two faults: bits, cuts, lengths, repeats, nesting."""
    data = bytearray(frame or b"\0")
    for _ in range(rng.randrange(1, 3)):
        at = rng.randrange(len(data))
        match rng.randrange(7):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data = data[: at + 1]
            case 2:
                data[at] = rng.choice((0, 0x7F, 0x80, 0xFF))
            case 3:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 4:
                data[at:at] = data[:at][-64:]
            case 5:
                data[at : at + 8] = rng.choice(
                    (b"\xff" * 8, b"\x7f" + b"\xff" * 7, struct.pack(">Q", 1 << 40))
                )
            case _:
                data[at:at] = rng.choice((b"\x0a\xff\x01", b"[" * 50, b'{"a":' * 20, b"\x1b\x1b"))
    return bytes(data[:4096])


def zmtp_frame(body: bytes, flags: int) -> bytes:
    if len(body) > 255:
        return bytes([flags | 2]) + struct.pack(">Q", len(body)) + body
    return bytes([flags, len(body)]) + body


def greeting(mechanism: bytes, server: bool = False, minor: int = 0) -> bytes:
    return (
        b"\xff"
        + bytes(8)
        + b"\x7f\x03"
        + bytes([minor])
        + mechanism.ljust(20, b"\0")
        + bytes([server])
        + bytes(31)
    )


def command(name: bytes, body: bytes) -> bytes:
    return zmtp_frame(bytes([len(name)]) + name + body, 4)


def property_of(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value


def ready(rng: random.Random) -> bytes:
    facts = property_of(b"Socket-Type", rng.choice(SOCKETS)) + property_of(b"Identity", rng.randbytes(4))
    return command(b"READY", facts)


def messages(rng: random.Random) -> bytes:
    """One of our messages as it is on the wire."""
    measurement = opq_pb2.Measurement(box_id=1, timestamp_ms=1_700_000_000_000)
    for name in ("f", "rms", "thd"):
        measurement.metrics[name].average = rng.choice((1e308, -1.0, float("nan"), 120.0))
    found = (
        measurement,
        opq_pb2.Response(box_id=rng.randrange(1 << 31), seq=rng.randrange(1 << 31)),
        opq_pb2.Command(box_id=1, seq=7, timestamp_ms=1),
        opq_pb2.Cycle(datapoints=[rng.randrange(1 << 14) for _ in range(200)], timestamp_ms=1),
    )
    return rng.choice(found).SerializeToString()


def zmtp_1(rng: random.Random, many: int) -> Burst:
    return b"\x01\0", [
        mutated(rng, bytes([min(254, len(body) + 1), 0]) + body[:253]) for body in some(rng, many)
    ]


def zmtp_2(rng: random.Random, many: int) -> Burst:
    begin = b"\xff" + bytes(8) + b"\x7f\x01" + bytes([rng.randrange(12)]) + b"\0\0"
    return begin, [mutated(rng, zmtp_frame(body, rng.randrange(2))) for body in some(rng, many)]


def zmtp_null(rng: random.Random, many: int) -> Burst:
    """Frames that are whole on the wire, with bodies that are mutated, and a few that are not whole."""
    begin = greeting(b"NULL", minor=rng.randrange(2)) + ready(rng)
    frames = [zmtp_frame(mutated(rng, body), rng.randrange(2)) for body in some(rng, many - 1)]
    return begin, [*frames, mutated(rng, zmtp_frame(b"\x01", 0))]


def zmtp_subscriptions(rng: random.Random, many: int) -> Burst:
    begin = greeting(b"NULL") + command(b"READY", property_of(b"Socket-Type", b"SUB"))
    topics = (rng.randbytes(rng.randrange(40)) for _ in range(many))
    return begin, [zmtp_frame(bytes([rng.randrange(2)]) + topic, 0) for topic in topics]


def zmtp_handshake(rng: random.Random, many: int) -> Burst:
    """CURVE and PLAIN with wrong keys, and commands out of order."""
    mechanism = rng.choice((b"CURVE", b"PLAIN", b"NULL", b"GSSAPI", rng.randbytes(20)))
    hello = b"\x01\0" + bytes(72) + rng.randbytes(32 + 8 + 80)
    commands = [
        command(b"HELLO", hello),
        command(b"HELLO", b"\x05admin\x05admin"),
        command(b"INITIATE", rng.randbytes(260)),
        command(b"WELCOME", rng.randbytes(160)),
        command(b"MESSAGE", rng.randbytes(60)),
        command(b"ERROR", b"\x03400"),
        command(b"PING", b"\0\x01context"),
        ready(rng),
    ]
    first = greeting(mechanism, server=rng.random() < 0.1)
    begin = mutated(rng, first) if rng.random() < 0.2 else first
    return begin, [mutated(rng, rng.choice(commands)) if n else commands[0] for n in range(many)]


def http(rng: random.Random, many: int) -> Burst:
    frames = []
    for _ in range(many):
        body = json.dumps({"id": "r", "sql": "SELECT * FROM a", "x": [1, {"y": None}]}).encode()
        verb = rng.choice((b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PRI"))
        head = [
            *(b"Host: 127.0.0.1", b"Content-Type: application/json", b"Content-Length: %d" % len(body)),
            rng.choice(
                (b"X: y", b"Transfer-Encoding: chunked", b"Upgrade: websocket", b"Authorization: Bearer x")
            ),
        ]
        request = verb + b" " + rng.choice(PATHS) + b" HTTP/1.1\r\n" + b"\r\n".join(head) + b"\r\n\r\n" + body
        frames.append(mutated(rng, request) if rng.random() < 0.7 else request)
    return b"", frames


def other_protocols(rng: random.Random, many: int) -> Burst:
    """TLS, HTTP/2, C37.118, MQTT, our serial link, lines of JSON."""
    phasor = struct.pack(">HHHIIH", 0xAA41, 18, 7734, 0, 0, rng.randrange(1, 7))
    seeds = (
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + rng.randbytes(200),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5),
        phasor + struct.pack(">H", crc_ccitt(phasor)),
        b"\x10\x10\0\x04MQTT\x04\x02\0<\0\x04abcd",
        b"\0" + messages(rng).replace(b"\0", b"\x01") + b"\0",
        b'{"do": "event", "box": "9", "kind": "sag", "cycles": 1%s}\n' % (b"0" * rng.randrange(400)),
    )
    seed = rng.choice(seeds)
    return b"", [seed, *(mutated(rng, seed) for _ in range(many - 1))]


def crc_ccitt(data: bytes) -> int:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def some(rng: random.Random, many: int) -> list[bytes]:
    seeds = [messages(rng) for _ in range(4)] + [b"1", b"data,1", b"\0" * 8, rng.randbytes(64)]
    return [rng.choice(seeds) for _ in range(many)]


KINDS: tuple[Callable[[random.Random, int], Burst], ...] = (
    *(zmtp_1, zmtp_2, zmtp_null, zmtp_null, zmtp_subscriptions, zmtp_handshake, http, other_protocols),
)
