"""Writes and reads payloads of the serial link's messages; frames are in `opq_proto.link.frames`.

Most messages follow their dataclass: the fields in order by `struct`, then the texts (str8). Messages with a
count of what follows have functions of their own. A payload that is not used up to its last byte is
malformed.
"""

import math
import struct
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_type_hints

import numpy as np

from opq_proto.errors import FrameError
from opq_proto.link import messages as m
from opq_proto.messages import TimeSource

SAMPLES = struct.Struct("<QqIBIBH")
SETTINGS = struct.Struct("<IB")
UPDATE_DATA = struct.Struct("<HIH")

_COUNT = np.dtype("<i2")
NATIVE = sys.byteorder == "little"
"""Whether this machine's int16 is the wire's, so that counts need no conversion."""
_SOURCES = tuple(TimeSource)

MAX_SAMPLES = 900
"""Most counts of one Samples block, so that its frame stays below `link.MAX_FRAME`."""
MAX_UPDATE_BYTES = 1024
"""Most image bytes of one UpdateData."""


def _known(value: float) -> float | None:
    if math.isinf(value):
        raise ValueError("a number is infinite; want NaN where it is not known")
    return None if math.isnan(value) else value


def _flag(value: int) -> bool:
    if value > 1:
        raise ValueError(f"a flag is {value}; want 0 or 1")
    return bool(value)


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


class _Layout:
    """A message's fields in the order of its dataclass: those of fixed size by `struct`, then its texts."""

    def __init__(self, message: type[Any], form: str) -> None:
        """`form` has one letter for each field that is not a text."""
        self.message = message
        self._fixed = struct.Struct(form)
        self._names = [field.name for field in fields(message)]
        hints = get_type_hints(message)
        kinds = [hints[name] for name in self._names if hints[name] is not str]
        special: dict[Any, Callable[[Any], Any]] = {float | None: _known, bool: _flag}
        self._convert = [special.get(kind, kind) for kind in kinds]

    def write(self, message: Any) -> bytes:
        """Returns the payload of a message; an unknown number is NaN on the wire."""
        values = [getattr(message, name) for name in self._names]
        numbers, texts = values[: len(self._convert)], values[len(self._convert) :]
        fixed = self._fixed.pack(*(math.nan if value is None else value for value in numbers))
        return fixed + b"".join(_str8(text) for text in texts)

    def read(self, data: bytes) -> Any:
        """Returns the message of a payload; raises ValueError where a field has an invalid value."""
        numbers, at = self._fixed.unpack_from(data), self._fixed.size
        values = [convert(number) for convert, number in zip(self._convert, numbers, strict=True)]
        while len(values) < len(self._names):
            text, at = _read_str8(data, at)
            values.append(text)
        _end(data, at)
        return self.message(*values)


_LAYOUTS = [
    _Layout(m.Hello, "<BIIIdfffHI"),
    _Layout(m.BoxMeasurement, "<QIffff"),
    _Layout(m.Crossing, "<QqIBBBff"),
    _Layout(m.ChannelValue, "<Qf"),
    _Layout(m.GpsStatus, "<BBqIIiiib"),
    _Layout(m.Health, "<QfffHIIIIIIB"),
    _Layout(m.Log, "<HiiI"),
    _Layout(m.Command, "<HB"),
    _Layout(m.Acknowledgement, "<HB"),
    _Layout(m.Resend, "<QI"),
]


def _write_samples(x: m.Samples) -> bytes:
    count = len(x.counts)
    if count > MAX_SAMPLES:
        raise FrameError(f"link: {count} samples in one block; want at most {MAX_SAMPLES}")
    fixed = SAMPLES.pack(x.first_sample, x.t_ns, x.uncertainty_ns, x.source, x.rate_millihz, x.flags, count)
    counts = x.counts.astype("<i2")
    if x.counts.dtype != np.int16 and not np.array_equal(counts, x.counts):
        raise FrameError("link: samples that are not int16 counts")
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


def _write_numbers(numbers: tuple[int, ...]) -> bytes:
    return struct.pack(f"<B{len(numbers)}I", len(numbers), *numbers)


def _read_numbers(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{data[0]}I", data[1:])


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
    m.Samples: _write_samples,
    m.Losses: lambda losses: _write_numbers(losses.counts),
    m.BoxFacts: lambda facts: _write_numbers(facts.numbers),
    m.Crash: lambda crash: _write_numbers(crash.words),
    m.Settings: _write_settings,
    m.UpdateData: _write_update_data,
    **{layout.message: layout.write for layout in _LAYOUTS},
}

_READERS: dict[int, Callable[[bytes], m.LinkMessage]] = {
    m.Samples.TYPE: _read_samples,
    m.Losses.TYPE: lambda data: m.Losses(_read_numbers(data)),
    m.BoxFacts.TYPE: lambda data: m.BoxFacts(_read_numbers(data)),
    m.Crash.TYPE: lambda data: m.Crash(_read_numbers(data)),
    m.Settings.TYPE: _read_settings,
    m.UpdateData.TYPE: _read_update_data,
    **{layout.message.TYPE: layout.read for layout in _LAYOUTS},
}


def write(message: m.LinkMessage) -> bytes:
    """Returns the payload of a message; raises FrameError where a field does not fit its wire type."""
    try:
        return _WRITERS[type(message)](message)
    except (struct.error, OverflowError, KeyError, UnicodeEncodeError) as error:
        raise FrameError(f"link: {type(message).__name__} cannot be sent: {error}") from error


def read(kind: int, payload: bytes) -> m.LinkMessage:
    """Returns the message of type `kind`; raises FrameError where the payload is not exactly one."""
    reader = _READERS.get(kind)
    if reader is None:
        raise FrameError(f"link: message type 0x{kind:02x} is not known")
    try:
        return reader(payload)
    except (struct.error, ValueError, IndexError) as error:
        raise FrameError(f"link: bad payload of type 0x{kind:02x}: {error}") from error
