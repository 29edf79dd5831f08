"""The content of a stream: its PMUs (one per Box) and the configuration frames that describe them.

Each PMU has one phasor, its voltage, frequency and ROCOF, all in floating point. Every Box is included from
the beginning, with or without data, so that the layout of data frames never changes.

Source: IEEE C37.118.2-2011, tables 9 to 13. Annex D has no example of configuration 3; it follows Wireshark
and other public parsers.
"""

import cmath
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opq_gateway.measuring.feed import PhasorReport
from opq_gateway.phasors.phasor_frames import Frame, FrameKind, FrameTime
from opq_gateway.phasors.quality import CLOCK_FAILED, PmuStatus, message_quality, stat
from opq_measure.synchrophasor.filter import PmuClass

NAME_BYTES = 16
POLAR = 1
"""Bit of FORMAT, like the next three (IEEE C37.118.2-2011, table 9)."""
FLOAT_PHASORS = 2
FLOAT_ANALOGS = 4
FLOAT_FREQUENCY = 8
FORMAT = POLAR | FLOAT_PHASORS | FLOAT_ANALOGS | FLOAT_FREQUENCY
PHASOR_NAME = "V"
VOLTAGE = 0 << 24
UNIT = 100_000
"""1 V in units of 1e-5 V. Clients ignore it with floats; it is harmless to a client that does not."""
PHASES = (0b100, 0b101, 0b110)
"""Phasor component A, B, C, which configuration 3 requires: A for a Box in no group of three."""
ONLY_FRAME = bytes(2)
"""CONT_IDX: not fragmented."""
LAST_ID_CODE = 65534
MAX_STATIONS = 700
"""A frame holds 64 KiB; configuration 3 takes up to 89 bytes per PMU."""
UNKNOWN = math.inf
"""Latitude, longitude and elevation where they are not known."""


@dataclass(frozen=True, slots=True)
class PmuStation:
    """One Box as a PMU."""

    box_id: str
    id_code: int
    nominal_hz: float = 60.0
    phase: int = 0
    """0, 1, 2: its place in a group of three."""

    @property
    def name(self) -> str:
        return f"Box {self.box_id}"

    @property
    def fnom(self) -> int:
        """Bit 0: 1 for 50 Hz, 0 for 60 Hz, the only values of the standard."""
        return int(self.nominal_hz < 55)


@dataclass(frozen=True, slots=True)
class PmuStream:
    """A stream with all of its PMUs."""

    id_code: int
    reports_per_s: int
    pmu_class: PmuClass
    latency_s: float
    """Half of the longest filter: the delay of the estimation itself."""
    stations: tuple[PmuStation, ...]
    change: int = 0
    """CFGCNT: how often the configuration changed."""

    @property
    def time_base(self) -> int:
        return time_base(self.reports_per_s)

    def instant(self, t_ns: int) -> tuple[int, int]:
        """Seconds and fraction of the report instant at `t_ns`, a time rounded down to a ns; the result is
        exact."""
        seconds, rest_ns = divmod(t_ns, 10**9)
        number = round(rest_ns * self.reports_per_s / 1e9)
        return seconds + number // self.reports_per_s, number % self.reports_per_s * (
            self.time_base // self.reports_per_s
        )


def time_base(reports_per_s: int) -> int:
    """Parts of a second in which every report instant is a whole number: 1 MHz or a multiple, if it fits."""
    base = math.lcm(1_000_000, reports_per_s)
    return base if base < 1 << 24 else reports_per_s * (1_000_000 // reports_per_s)


def stations_of(box_ids: Sequence[str], phases: Mapping[str, int]) -> tuple[PmuStation, ...]:
    """The Boxes as PMUs; an id code is the Box's id, or the highest free one where that id does not fit."""
    taken = {int(box_id) for box_id in box_ids if _fits(box_id)}
    free = (code for code in range(LAST_ID_CODE, 0, -1) if code not in taken)
    return tuple(
        PmuStation(box_id, int(box_id) if _fits(box_id) else next(free), phase=phases.get(box_id, 0))
        for box_id in box_ids
    )


def _fits(box_id: str) -> bool:
    return 1 <= int(box_id) <= LAST_ID_CODE


def configuration(stream: PmuStream, kind: FrameKind, stamp: FrameTime) -> Frame:
    """Configuration 1 (capabilities), 2 (present settings; the same here) or 3.

    Raises:
        ValueError: `kind` is not a configuration.
    """
    if kind is FrameKind.CONFIGURATION_3:
        stations = [_station_3(stream, station) for station in stream.stations]
        return Frame(kind, stream.id_code, stamp, ONLY_FRAME + _body(stream, stations))
    if kind in (FrameKind.CONFIGURATION_1, FrameKind.CONFIGURATION_2):
        stations = [_station_2(stream, station) for station in stream.stations]
        return Frame(kind, stream.id_code, stamp, _body(stream, stations))
    raise ValueError(f"{kind.name} is not a configuration")


def header(stream: PmuStream, stamp: FrameTime) -> Frame:
    """A header frame: text for people, ASCII."""
    text = (
        f"OPQ gateway: {len(stream.stations)} Boxes, class {stream.pmu_class.value}, "
        f"{stream.reports_per_s} reports/s; rms volts, angle against UTC; "
        f"filter {stream.latency_s * 1e3:.0f} ms either side of a report"
    )
    return Frame(FrameKind.HEADER, stream.id_code, stamp, text.encode("ascii", "replace"))


def _body(stream: PmuStream, stations: list[bytes]) -> bytes:
    head = struct.pack(">IH", stream.time_base, len(stations))
    return head + b"".join(stations) + struct.pack(">h", stream.reports_per_s)


def _station_2(stream: PmuStream, station: PmuStation) -> bytes:
    """STN, IDCODE, FORMAT, PHNMR, ANNMR, DGNMR, CHNAM, PHUNIT, FNOM, CFGCNT."""
    return (
        _padded(station.name)
        + struct.pack(">HHHHH", station.id_code, FORMAT, 1, 0, 0)
        + _padded(PHASOR_NAME)
        + struct.pack(">IHH", VOLTAGE | UNIT, station.fnom, stream.change & 0xFFFF)
    )


def _station_3(stream: PmuStream, station: PmuStation) -> bytes:
    """The fields of configuration 2, with each name with its length, global id, scale, place, class, window
    and delay."""
    delay_us = round(stream.latency_s * 1e6)
    scale = struct.pack(">HBBff", 0, PHASES[station.phase], 0, 1.0, 0.0)
    place = struct.pack(">fff", UNKNOWN, UNKNOWN, UNKNOWN)
    filtered = struct.pack(">cii", stream.pmu_class.value.encode(), 2 * delay_us, delay_us)
    return (
        _counted(station.name)
        + struct.pack(">H16s", station.id_code, f"OPQ{int(station.box_id):013d}".encode())
        + struct.pack(">HHHH", FORMAT, 1, 0, 0)
        + _counted(PHASOR_NAME)
        + scale
        + place
        + filtered
        + struct.pack(">HH", station.fnom, stream.change & 0xFFFF)
    )


def _padded(name: str) -> bytes:
    return name.encode("ascii", "replace")[:NAME_BYTES].ljust(NAME_BYTES)


def _counted(name: str) -> bytes:
    text = name.encode()[:255]
    return bytes([len(text)]) + text


PMU = struct.Struct(">Hffff")
FILL = (math.nan,) * 4


def data(stream: PmuStream, t_ns: int, reports: Sequence[tuple[PhasorReport | None, PmuStatus]]) -> Frame:
    """The frame of the report instant `t_ns`.

    Args:
        reports: one per station of the stream, in its order; None: absent or too late.
    """
    body = b"".join(PMU.pack(stat(standing), *_numbers(phasor, standing)) for phasor, standing in reports)
    there = [standing for _, standing in reports if standing.there]
    quality = max(
        (message_quality(standing.in_sync, standing.uncertainty_ns) for standing in there),
        default=CLOCK_FAILED,
    )
    seconds, fraction = stream.instant(t_ns)
    return Frame(FrameKind.DATA, stream.id_code, FrameTime(seconds, fraction, quality), body)


def _numbers(phasor: PhasorReport | None, standing: PmuStatus) -> tuple[float, ...]:
    """Rms volts, rad, Hz, Hz/s."""
    if phasor is None or not standing.there:
        return FILL
    size_v, angle_rad = cmath.polar(phasor.phasor_v)
    return size_v, angle_rad, phasor.frequency_hz, phasor.rocof_hz_per_s
