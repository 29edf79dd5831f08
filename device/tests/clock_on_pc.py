"""The firmware's clock on the PC: the same C files, fed by hand.

    clock = ClockOnPc()
    clock.pps(tick); clock.label(utc_s, tick); clock.tick(tick)
    clock.stamp(tick).t_ns, clock.status().state

Ticks are TIM5's, 84 MHz, 64 bits. What this gives for given calls is what the Box gives: the
arithmetic is IEEE 754 double without fused multiply-add and without libm on both.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from host_library import CMODULES, DEVICE, library

TICK_HZ = 84_000_000
UNKNOWN_NS = 0xFFFFFFFF
SECOND_NS = 1_000_000_000
UTC_S = int(datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC).timestamp())
FREE, ACQUIRING, LOCKED, HOLDOVER = range(4)
SOURCE_FREE, SOURCE_NTP, SOURCE_HOLDOVER, SOURCE_GPS = range(4)
NMEA, UBX, UBX_CONFIRMED = range(3)

CLOCK_SOURCES = tuple(
    source for source in sorted((CMODULES / "clock").glob("*.c")) if source.name != "module.c"
)
FLAGS = ("-ffp-contract=off", "-Wdouble-promotion")


class _Stamp(ctypes.Structure):
    _fields_ = (
        ("t_ns", ctypes.c_int64),
        ("uncertainty_ns", ctypes.c_uint32),
        ("rate_millihz", ctypes.c_uint32),
        ("source", ctypes.c_uint8),
        ("old", ctypes.c_bool),
    )


class _Label(ctypes.Structure):
    _fields_ = (
        ("utc_s", ctypes.c_int64),
        ("arrival_tick", ctypes.c_int64),
        ("kind", ctypes.c_uint8),
        ("valid", ctypes.c_bool),
        ("leap", ctypes.c_bool),
        ("of_next_pulse", ctypes.c_bool),
    )


class Config(ctypes.Structure):
    """`opq_clock_config_t`."""

    _fields_ = (
        ("sample_ticks", ctypes.c_uint32),
        ("pulse_delay_ns", ctypes.c_int32),
        ("leap_seconds", ctypes.c_int8),
        ("label_offset_s", ctypes.c_int8),
        ("tcxo_ppb_per_k", ctypes.c_float),
        ("tcxo_sigma_ppb_per_k", ctypes.c_float),
        ("sensor_lag_s", ctypes.c_float),
    )


class Status(ctypes.Structure):
    """`opq_clock_status_t`; the same bytes as `clock.status(buffer)` gives on the Box."""

    _fields_ = (
        ("state", ctypes.c_uint8),
        ("source", ctypes.c_uint8),
        ("learnt", ctypes.c_bool),
        ("labelled", ctypes.c_bool),
        ("leap_seconds", ctypes.c_int8),
        ("label", ctypes.c_uint8),
        ("t_ns", ctypes.c_int64),
        ("uncertainty_ns", ctypes.c_uint32),
        ("rate_millihz", ctypes.c_uint32),
        ("pulse_offset_ns", ctypes.c_int32),
        ("frequency_ppb", ctypes.c_int32),
        ("coefficient_pptk", ctypes.c_int32),
        ("coefficient_sigma_pptk", ctypes.c_int32),
        ("temperature_mk", ctypes.c_int32),
        ("slewing_ns", ctypes.c_int32),
        ("pulses", ctypes.c_uint32),
        ("pulses_rejected", ctypes.c_uint32),
        ("pulses_missed", ctypes.c_uint32),
        ("pulses_late", ctypes.c_uint32),
        ("labels", ctypes.c_uint32),
        ("labels_wrong", ctypes.c_uint32),
        ("label_conflicts", ctypes.c_uint32),
        ("steps", ctypes.c_uint32),
        ("steps_back", ctypes.c_uint32),
        ("holdovers", ctypes.c_uint32),
        ("last_step_ns", ctypes.c_int64),
    )


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a sample gets."""

    t_ns: int
    uncertainty_ns: int
    rate_millihz: int
    source: int
    old: bool


@cache
def clock_library() -> ctypes.CDLL:
    """The C files as a shared library, undefined behaviour ending the process."""
    probe = DEVICE / "tests" / "clock_probe.c"
    built = library("clock_on_pc", [*CLOCK_SOURCES, probe], *FLAGS)
    for name in ("extend", "near", "unix_s"):
        getattr(built, f"opq_probe_{name}").restype = ctypes.c_int64
    for name in ("clock", "status", "label", "config", "receiver", "timeline"):
        getattr(built, f"opq_probe_{name}_bytes").restype = ctypes.c_size_t
    built.opq_clock_temperature.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_float)
    for kind, name in ((Status, "status"), (_Label, "label"), (Config, "config")):
        reported = getattr(built, f"opq_probe_{name}_bytes")()
        assert ctypes.sizeof(kind) == reported, f"{name} of clock.h changed: {reported} bytes"
    return built


class Receiver:
    """Both parsers, as the Box's module feeds them."""

    COUNTS = (
        *("labels", "fixes", "leaps", "sentences", "nmea_checksums", "nmea_malformed"),
        *("overlong", "messages", "ubx_checksums", "ubx_malformed", "skipped"),
    )

    def __init__(self) -> None:
        self._c = clock_library()
        self._self = ctypes.create_string_buffer(self._c.opq_probe_receiver_bytes())
        self._c.opq_probe_receiver_start(self._self)

    def feed(self, data: bytes, tick: int = 0, clock: "ClockOnPc | None" = None) -> None:
        inside = None if clock is None else clock.inside
        self._c.opq_probe_feed(self._self, inside, data, ctypes.c_size_t(len(data)), ctypes.c_int64(tick))

    def reports(self) -> tuple[dict[str, int], dict[str, int], dict[str, int], dict[str, int]]:
        """The last label, fix, announced leap second, and all counters."""
        label, fix, leap = (ctypes.c_int64 * 6)(), (ctypes.c_int64 * 4)(), (ctypes.c_int64 * 3)()
        counts = (ctypes.c_uint32 * 11)()
        self._c.opq_probe_reports(self._self, label, fix, leap, counts)
        return (
            dict(zip(("utc_s", "tick", "kind", "valid", "leap", "of_next_pulse"), label, strict=True)),
            dict(zip(("satellites", "latitude_e7", "longitude_e7", "position"), fix, strict=True)),
            dict(zip(("utc_s", "change", "leap_seconds"), leap, strict=True)),
            dict(zip(self.COUNTS, counts, strict=True)),
        )


class ClockOnPc:
    """One clock; `settings` are fields of Config over the defaults of a Box with a TCXO."""

    def __init__(self, now_tick: int = 0, *, tcxo: bool = True, **settings: Any) -> None:
        self._c = clock_library()
        self.inside = ctypes.create_string_buffer(self._c.opq_probe_clock_bytes())
        self._receiver = Receiver()
        self._config = Config()
        self._c.opq_clock_config_default(ctypes.byref(self._config), tcxo)
        for name, value in settings.items():
            setattr(self._config, name, value)
        self._c.opq_clock_init(self.inside, ctypes.byref(self._config), ctypes.c_int64(now_tick))

    def configure(self, **settings: Any) -> None:
        """Settings changed while it runs."""
        for name, value in settings.items():
            setattr(self._config, name, value)
        self._c.opq_clock_configure(self.inside, ctypes.byref(self._config))

    def pps(self, tick: int) -> None:
        """A captured pulse, good or bad."""
        self._c.opq_clock_pps(self.inside, ctypes.c_int64(tick))

    def label(
        self,
        utc_s: int,
        arrival_tick: int,
        *,
        kind: int = NMEA,
        valid: bool = True,
        leap: bool = False,
        of_next_pulse: bool = False,
    ) -> None:
        """A second that the receiver named."""
        label = _Label(utc_s, arrival_tick, kind, valid, leap, of_next_pulse)
        self._c.opq_clock_label(self.inside, ctypes.byref(label))

    def receive(self, data: bytes, tick: int) -> None:
        """Bytes of the receiver, taken from the line at `tick`."""
        self._receiver.feed(data, tick, self)

    def leap(self, utc_s: int, change: int, leap_seconds: int) -> None:
        """What NAV-TIMELS announces."""
        self._c.opq_clock_leap(
            self.inside,
            ctypes.c_int64(utc_s),
            ctypes.c_int8(change),
            ctypes.c_int8(leap_seconds),
        )

    def temperature(self, tick: int, celsius: float) -> None:
        """A reading of the sensor."""
        self._c.opq_clock_temperature(self.inside, tick, celsius)

    def sync(self, tick: int, t_ns: int, uncertainty_ns: int, source: int = SOURCE_NTP) -> None:
        """The gateway's time."""
        self._c.opq_clock_sync(
            self.inside,
            ctypes.c_int64(tick),
            ctypes.c_int64(t_ns),
            ctypes.c_uint32(uncertainty_ns),
            ctypes.c_uint8(source),
        )

    def tick(self, now_tick: int) -> int:
        """Once a second; the state."""
        self._c.opq_clock_tick(self.inside, ctypes.c_int64(now_tick))
        return int(self.status().state)

    def status(self) -> Status:
        """All that GpsStatus and the log tell."""
        status = Status()
        self._c.opq_clock_status(self.inside, ctypes.byref(status))
        return status

    def stamp(self, tick: int) -> Stamp:
        """The time of a sample."""
        stamp = _Stamp()
        self._c.opq_clock_stamp(self.inside, ctypes.c_int64(tick), ctypes.byref(stamp))
        return Stamp(stamp.t_ns, stamp.uncertainty_ns, stamp.rate_millihz, stamp.source, stamp.old)


class Line:
    """Pulses and labels each second; `rate_hz` is the counter's true frequency."""

    def __init__(self, clock: ClockOnPc, *, rate_hz: int = TICK_HZ, utc_s: int = UTC_S) -> None:
        self.clock = clock
        self.rate_hz = rate_hz
        self.utc_s = utc_s
        self.k = 0

    def tick_at(self, s: float) -> int:
        """The counter at second `s` of this line; whole for whole seconds."""
        return 5_000 + int(s * self.rate_hz)

    def run(
        self,
        seconds: int,
        *,
        pulses: bool = True,
        labels: bool = True,
        latency_s: float = 0.12,
        label_error_s: int = 0,
        kind: int = UBX_CONFIRMED,
        fix: bool = True,
    ) -> Iterator[int]:
        for _ in range(seconds):
            if pulses and fix:
                self.clock.pps(self.tick_at(self.k))
            if labels:
                utc_s = self.utc_s + self.k + label_error_s
                self.clock.label(utc_s, self.tick_at(self.k + latency_s), kind=kind, valid=fix)
            yield self.clock.tick(self.tick_at(self.k + 0.6))
            self.k += 1

    def error_ns(self, at_s: float) -> int:
        true_ns = self.utc_s * SECOND_NS + round(at_s * SECOND_NS)
        return self.clock.stamp(self.tick_at(at_s)).t_ns - true_ns


def stamped(line: Line, at_s: float) -> Stamp:
    """A stamp, which holds its bound."""
    stamp = line.clock.stamp(line.tick_at(at_s))
    assert stamp.uncertainty_ns == UNKNOWN_NS or abs(line.error_ns(at_s)) <= stamp.uncertainty_ns + 2
    return stamp
