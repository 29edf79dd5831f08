"""Payload bytes of the serial link's messages, both ways; frames are `opq_proto.link`'s.

A fixed part by `struct`, then what varies in length (str8, counts, settings). A payload must be
used up to its last byte: anything else is malformed.
"""

import math
import struct
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from opq_proto import link_messages as m
from opq_proto.errors import FrameError
from opq_proto.messages import TimeSource

HELLO = struct.Struct("<BIIIdfffHI")
SAMPLES = struct.Struct("<QqIBIBH")
MEASUREMENT = struct.Struct("<QIffff")
CROSSING = struct.Struct("<QqIBBBff")
GPS = struct.Struct("<BBqIIiiib")
HEALTH = struct.Struct("<QfffHIIIIIIB")
LOG = struct.Struct("<HiiI")
COMMAND = struct.Struct("<HB")
ACKNOWLEDGEMENT = struct.Struct("<HB")
SETTINGS = struct.Struct("<IB")
RESEND = struct.Struct("<QI")
UPDATE_DATA = struct.Struct("<HIH")

_COUNT = np.dtype("<i2")
NATIVE = sys.byteorder == "little"
"""This machine's int16 is the wire's: counts are read where they lie."""
_SOURCES = tuple(TimeSource)

MAX_SAMPLES = 900
"""Counts of one Samples block at most, so that its frame stays below `link.MAX_FRAME`."""
MAX_UPDATE_BYTES = 1024
"""Image bytes of one UpdateData at most."""


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _str8(text: str) -> bytes:
    data = text.encode("utf-8")
    if len(data) > 255:
        raise FrameError(f"link: text of {len(data)} bytes; want at most 255")
    return bytes((len(data),)) + data


def _read_str8(data: bytes, at: int) -> tuple[str, int]:
    length = data[at]  # IndexError: caught by read()
    end = at + 1 + length
    if end > len(data):
        raise FrameError("link: text is cut short")
    return data[at + 1 : end].decode("utf-8"), end


def _end(data: bytes, at: int) -> None:
    if at != len(data):
        raise FrameError(f"link: {len(data) - at} bytes left over in a payload")


def _write_hello(x: m.Hello) -> bytes:
    fixed = HELLO.pack(
        x.protocol,
        x.box_id,
        x.boot_id,
        x.rate_millihz,
        x.v_per_lsb,
        x.nominal_v,
        x.nominal_hz,
        x.effective_bits,
        x.block_samples,
        x.ring_samples,
    )
    return fixed + _str8(x.hardware) + _str8(x.firmware)


def _read_hello(data: bytes) -> m.Hello:
    protocol, box_id, boot_id, rate_millihz, v_per_lsb, nominal_v, nominal_hz, bits, block, ring = (
        HELLO.unpack_from(data)
    )
    hardware, at = _read_str8(data, HELLO.size)
    firmware, at = _read_str8(data, at)
    _end(data, at)
    return m.Hello(
        protocol,
        box_id,
        boot_id,
        rate_millihz,
        v_per_lsb,
        nominal_v,
        nominal_hz,
        bits,
        block,
        ring,
        hardware,
        firmware,
    )


def _write_samples(x: m.Samples) -> bytes:
    count = len(x.counts)
    if count > MAX_SAMPLES:
        raise FrameError(f"link: {count} samples in one block; want at most {MAX_SAMPLES}")
    fixed = SAMPLES.pack(x.first_sample, x.t_ns, x.uncertainty_ns, x.source, x.rate_millihz, x.flags, count)
    counts = x.counts.astype("<i2")
    if x.counts.dtype != np.int16 and not np.array_equal(counts, x.counts):
        raise FrameError("link: samples that are no int16 counts")
    return fixed + counts.tobytes()


def _read_samples(data: bytes) -> m.Samples:
    first, t_ns, uncertainty_ns, source, rate_millihz, flags, count = SAMPLES.unpack_from(data)
    if len(data) != SAMPLES.size + 2 * count:
        _end(data, SAMPLES.size + 2 * count)
    if source >= len(_SOURCES):
        raise ValueError(f"time source {source} is not known")
    counts = np.frombuffer(data, _COUNT, count, SAMPLES.size)
    if not NATIVE:
        counts = counts.astype(np.int16)
    return m.Samples(first, t_ns, uncertainty_ns, _SOURCES[source], rate_millihz, flags, counts)


def _write_measurement(x: m.BoxMeasurement) -> bytes:
    numbers = (_number(x.rms_v), _number(x.f_hz), _number(x.thd), _number(x.trans_v))
    return MEASUREMENT.pack(x.first_sample, x.samples, *numbers)


def _read_measurement(data: bytes) -> m.BoxMeasurement:
    first, samples, rms_v, f_hz, thd, trans_v = MEASUREMENT.unpack(data)
    return m.BoxMeasurement(first, samples, _known(rms_v), _known(f_hz), _known(thd), _known(trans_v))


def _write_crossing(x: m.Crossing) -> bytes:
    rms_v, limit_v = _number(x.rms_v), _number(x.limit_v)
    return CROSSING.pack(x.sample, x.t_ns, x.uncertainty_ns, x.source, x.kind, x.entering, rms_v, limit_v)


def _read_crossing(data: bytes) -> m.Crossing:
    sample, t_ns, uncertainty_ns, source, kind, entering, rms_v, limit_v = CROSSING.unpack(data)
    if entering > 1:
        raise FrameError(f"link: entering is {entering}; want 0 or 1")
    return m.Crossing(
        sample,
        t_ns,
        uncertainty_ns,
        TimeSource(source),
        m.CrossingKind(kind),
        bool(entering),
        _known(rms_v),
        _known(limit_v),
    )


def _write_gps(x: m.GpsStatus) -> bytes:
    return GPS.pack(
        x.state,
        x.satellites,
        x.t_ns,
        x.uncertainty_ns,
        x.pps_count,
        x.pps_offset_ns,
        x.latitude_e7,
        x.longitude_e7,
        x.leap_seconds,
    )


def _read_gps(data: bytes) -> m.GpsStatus:
    state, *rest = GPS.unpack(data)
    return m.GpsStatus(m.GpsState(state), *rest)


def _write_health(x: m.Health) -> bytes:
    return HEALTH.pack(
        x.uptime_ms,
        _number(x.temperature_c),
        _number(x.supply_v),
        _number(x.battery_v),
        x.cpu_permille,
        x.overruns,
        x.clipped,
        x.missing_samples,
        x.crc_errors,
        x.tx_dropped,
        x.heap_free_bytes,
        x.reset_cause,
    )


def _read_health(data: bytes) -> m.Health:
    uptime_ms, temperature_c, supply_v, battery_v, *rest = HEALTH.unpack(data)
    return m.Health(uptime_ms, _known(temperature_c), _known(supply_v), _known(battery_v), *rest)


def _write_losses(x: m.Losses) -> bytes:
    return struct.pack(f"<B{len(x.counts)}I", len(x.counts), *x.counts)


def _read_losses(data: bytes) -> m.Losses:
    return m.Losses(struct.unpack(f"<{data[0]}I", data[1:]))


def _write_settings(x: m.Settings) -> bytes:
    if len(x.values) > 255:
        raise FrameError(f"link: {len(x.values)} settings in one message; want at most 255")
    pairs = (_str8(key) + _str8(value) for key, value in x.values)
    return SETTINGS.pack(x.sequence, len(x.values)) + b"".join(pairs)


def _read_settings(data: bytes) -> m.Settings:
    sequence, count = SETTINGS.unpack_from(data)
    at = SETTINGS.size
    values = []
    for _ in range(count):
        key, at = _read_str8(data, at)
        value, at = _read_str8(data, at)
        values.append((key, value))
    _end(data, at)
    return m.Settings(sequence, tuple(values))


def _read_command(data: bytes) -> m.Command:
    command_id, operation = COMMAND.unpack_from(data)
    argument, at = _read_str8(data, COMMAND.size)
    _end(data, at)
    return m.Command(command_id, m.Operation(operation), argument)


def _read_acknowledgement(data: bytes) -> m.Acknowledgement:
    command_id, status = ACKNOWLEDGEMENT.unpack_from(data)
    detail, at = _read_str8(data, ACKNOWLEDGEMENT.size)
    _end(data, at)
    return m.Acknowledgement(command_id, m.Status(status), detail)


def _write_update_data(x: m.UpdateData) -> bytes:
    if len(x.data) > MAX_UPDATE_BYTES:
        raise FrameError(f"link: {len(x.data)} update bytes; want at most {MAX_UPDATE_BYTES}")
    return UPDATE_DATA.pack(x.command_id, x.offset, len(x.data)) + x.data


def _read_update_data(data: bytes) -> m.UpdateData:
    command_id, offset, count = UPDATE_DATA.unpack_from(data)
    if count > MAX_UPDATE_BYTES:
        raise FrameError(f"link: {count} update bytes; want at most {MAX_UPDATE_BYTES}")
    _end(data, UPDATE_DATA.size + count)
    return m.UpdateData(command_id, offset, data[UPDATE_DATA.size :])


_WRITERS: dict[type[Any], Callable[[Any], bytes]] = {
    m.Hello: _write_hello,
    m.Samples: _write_samples,
    m.BoxMeasurement: _write_measurement,
    m.Crossing: _write_crossing,
    m.GpsStatus: _write_gps,
    m.Health: _write_health,
    m.Losses: _write_losses,
    m.Log: lambda x: LOG.pack(x.code, x.a, x.b, x.uptime_ms),
    m.Command: lambda x: COMMAND.pack(x.command_id, x.operation) + _str8(x.argument),
    m.Acknowledgement: lambda x: ACKNOWLEDGEMENT.pack(x.command_id, x.status) + _str8(x.detail),
    m.Settings: _write_settings,
    m.Resend: lambda x: RESEND.pack(x.first_sample, x.count),
    m.UpdateData: _write_update_data,
}

_READERS: dict[int, Callable[[bytes], m.LinkMessage]] = {
    m.Hello.TYPE: _read_hello,
    m.Samples.TYPE: _read_samples,
    m.BoxMeasurement.TYPE: _read_measurement,
    m.Crossing.TYPE: _read_crossing,
    m.GpsStatus.TYPE: _read_gps,
    m.Health.TYPE: _read_health,
    m.Losses.TYPE: _read_losses,
    m.Log.TYPE: lambda data: m.Log(*LOG.unpack(data)),
    m.Command.TYPE: _read_command,
    m.Acknowledgement.TYPE: _read_acknowledgement,
    m.Settings.TYPE: _read_settings,
    m.Resend.TYPE: lambda data: m.Resend(*RESEND.unpack(data)),
    m.UpdateData.TYPE: _read_update_data,
}


def write(message: m.LinkMessage) -> bytes:
    """The payload of a message; FrameError when a field does not fit its wire type."""
    try:
        return _WRITERS[type(message)](message)
    except (struct.error, OverflowError, KeyError, UnicodeEncodeError) as error:
        raise FrameError(f"link: {type(message).__name__} cannot be sent: {error}") from error


def read(kind: int, payload: bytes) -> m.LinkMessage:
    """The message of type `kind`; FrameError when the payload is not exactly one."""
    reader = _READERS.get(kind)
    if reader is None:
        raise FrameError(f"link: message type 0x{kind:02x} is not known")
    try:
        return reader(payload)
    except (struct.error, ValueError, IndexError) as error:
        raise FrameError(f"link: bad payload of type 0x{kind:02x}: {error}") from error
