"""A minimal PMU client, written from the frame tables of C37.118.2 and from nothing of ours.

It shares no code with `opq_gateway.phasors`; test_phasors_client.py holds it to the standard's own example
frames (annex D), and then it holds our stream.
"""

import math
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

KINDS = {0: "data", 1: "header", 2: "cfg1", 3: "cfg2", 4: "command", 5: "cfg3"}


def crc_ccitt(data: bytes) -> int:
    """Bit by bit: x^16 + x^12 + x^5 + 1, from 0xFFFF."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
            crc &= 0xFFFF
    return crc


class Fields:
    """Reads big endian fields one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> Any:
        values = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return values[0] if len(values) == 1 else values

    def name(self) -> str:
        return str(self.take("16s").decode("ascii").rstrip(" "))

    def name_counted(self) -> str:
        return str(self.take(f"{self.take('B')}s").decode())

    @property
    def rest(self) -> int:
        return len(self.data) - self.at


@dataclass
class Pmu:
    station: str
    id_code: int
    form: int
    phasors: list[str]
    analogs: list[str]
    digitals: list[str]
    phasor_units: list[int]
    nominal_hz: int
    changes: int


@dataclass
class Config:
    time_base: int
    pmus: list[Pmu]
    rate: int
    more: dict[str, Any] = field(default_factory=dict)


@dataclass
class Reading:
    stat: int
    phasors: list[complex]
    frequency_hz: float
    rocof_hz_s: float
    analogs: list[float]
    digitals: list[int]

    @property
    def error(self) -> int:
        return self.stat >> 14

    @property
    def unsynchronised(self) -> bool:
        return bool(self.stat & 0x2000)

    @property
    def quality(self) -> int:
        return self.stat >> 6 & 7

    @property
    def unlocked(self) -> int:
        return self.stat >> 4 & 3


@dataclass
class Message:
    kind: str
    version: int
    id_code: int
    soc: int
    quality: int
    fracsec: int
    body: bytes

    def time_s(self, config: Config) -> float:
        return self.soc + self.fracsec / config.time_base


def parse(raw: bytes) -> Message:
    """A whole frame; asserts what the tables say of every frame."""
    sync, kind, size, id_code, soc, fracsec = struct.unpack_from(">BBHHII", raw)
    assert sync == 0xAA and size == len(raw) and not kind & 0x80
    assert struct.unpack(">H", raw[-2:])[0] == crc_ccitt(raw[:-2])
    return Message(KINDS[kind >> 4], kind & 15, id_code, soc, fracsec >> 24, fracsec & 0xFFFFFF, raw[14:-2])


def config_of(message: Message) -> Config:
    """The configuration in a CFG-1, CFG-2 or CFG-3."""
    fields = Fields(message.body)
    third = message.kind == "cfg3"
    more: dict[str, Any] = {}
    if third:
        assert fields.take("H") == 0
    base = fields.take("I") & 0xFFFFFF
    pmus = []
    for _ in range(fields.take("H")):
        name = fields.name_counted if third else fields.name
        station, id_code = name(), fields.take("H")
        if third:
            more.setdefault("global", []).append(fields.take("16s"))
        form, phasors, analogs, digitals = fields.take("HHHH")
        names = [[name() for _ in range(count)] for count in (phasors, analogs, 16 * digitals)]
        if third:
            scales = [fields.take("HBBff") for _ in range(phasors)]
            more.setdefault("scales", []).append(scales)
            units = [0x01000000 * (scale[1] >> 3 & 1) for scale in scales]
            assert not analogs and not digitals
            more.setdefault("place", []).append(fields.take("fff"))
            more.setdefault("class", []).append(fields.take("c"))
            more.setdefault("window_delay_us", []).append(fields.take("ii"))
        else:
            units = [fields.take("I") for _ in range(phasors)]
            fields.take(f"{analogs}I{digitals}I")
        nominal, changes = fields.take("HH")
        pmus.append(Pmu(station, id_code, form, *names, units, 50 if nominal & 1 else 60, changes))
    rate = fields.take("h")
    assert fields.rest == 0
    return Config(base, pmus, rate, more)


def data_of(message: Message, config: Config) -> list[Reading]:
    """Every PMU's part of a data frame."""
    fields = Fields(message.body)
    found = []
    for pmu in config.pmus:
        stat = fields.take("H")
        phasors = [_phasor(fields, pmu.form, unit & 0xFFFFFF) for unit in pmu.phasor_units]
        if pmu.form & 8:
            hz, rocof = fields.take("ff")
        else:
            hz, rocof = fields.take("hh")
            hz, rocof = pmu.nominal_hz + hz / 1000, rocof / 100
        analogs = [fields.take("f" if pmu.form & 4 else "h") for _ in pmu.analogs]
        digitals = [fields.take("H") for _ in range(len(pmu.digitals) // 16)]
        found.append(Reading(stat, phasors, hz, rocof, analogs, digitals))
    assert fields.rest == 0
    return found


def _phasor(fields: Fields, form: int, unit: int) -> complex:
    if form & 2:
        one, two = fields.take("ff")
    elif form & 1:
        one, two = fields.take("Hh")
        one, two = one * unit * 1e-5, two * 1e-4
    else:
        one, two = (value * unit * 1e-5 for value in fields.take("hh"))
    if form & 1:
        return complex(one * math.cos(two), one * math.sin(two))
    return complex(one, two)


def command(id_code: int, code: int) -> bytes:
    now = time.time()
    head = struct.pack(">BBHHIIH", 0xAA, 0x41, 18, id_code, int(now), 0, code)
    return head + struct.pack(">H", crc_ccitt(head))


class Client:
    """Connected to a stream; every wait is bounded."""

    def __init__(self, port: int, id_code: int, timeout_s: float = 20.0) -> None:
        self.id_code = id_code
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, code: int) -> None:
        self.socket.sendall(command(self.id_code, code))

    def next(self) -> Message:
        head = self._exactly(4)
        return parse(head + self._exactly(struct.unpack(">H", head[2:])[0] - 4))

    def await_kind(self, kind: str) -> Message:
        while True:
            message = self.next()
            if message.kind == kind:
                return message

    def config(self, code: int = 5) -> Config:
        self.ask(code)
        return config_of(self.await_kind({4: "cfg1", 5: "cfg2", 6: "cfg3"}[code]))

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise ConnectionError("the stream ended")
            data += piece
        return data
