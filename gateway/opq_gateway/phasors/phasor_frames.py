"""Frames of C37.118.2: the head and tail of every message, and a reader that finds frames in a stream.

    SYNC u16, FRAMESIZE u16, IDCODE u16, SOC u32, FRACSEC u32, body, CHK u16      big endian

SYNC is 0xAA, the kind in bits 6-4, the version in bits 3-0. FRAMESIZE counts all of it. CHK is CRC-CCITT
(0x1021, from 0xFFFF, not reflected, nothing added) of all before it.

Source: IEEE C37.118.2-2011, 6.2, tables 2 and 3. The fields follow the descriptions of public parsers,
because the standard was not available. They are tested with the example frames of its annex D, and Wireshark
4.0 reads every kind as intended.
"""

import binascii
import struct
from dataclasses import dataclass
from enum import IntEnum

from opq_proto.errors import FrameError

SYNC = 0xAA
HEAD = struct.Struct(">BBHHII")
CHECK = struct.Struct(">H")
MIN_BYTES = HEAD.size + CHECK.size
MAX_BYTES = 0xFFFF
FIRST_EDITION = 1
"""Version in SYNC of messages of the 2005 edition."""
SECOND_EDITION = 2
"""Version in SYNC of messages that were added in 2011 (configuration 3)."""


class FrameKind(IntEnum):
    """Kind of a frame; bits 6-4 of SYNC."""

    DATA = 0
    HEADER = 1
    CONFIGURATION_1 = 2
    CONFIGURATION_2 = 3
    COMMAND = 4
    CONFIGURATION_3 = 5


class Order(IntEnum):
    """The request in a command frame."""

    DATA_OFF = 1
    DATA_ON = 2
    SEND_HEADER = 3
    SEND_CONFIGURATION_1 = 4
    SEND_CONFIGURATION_2 = 5
    SEND_CONFIGURATION_3 = 6
    EXTENDED = 8


@dataclass(frozen=True, slots=True)
class FrameTime:
    """Time of a frame: Unix seconds (leap seconds not counted), the fraction in units of the stream's
    TIME_BASE, and the eight flags of time quality (`quality.message_quality`)."""

    seconds: int
    fraction: int
    quality: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    kind: FrameKind
    id_code: int
    """Number of the stream, 1 to 65534."""
    stamp: FrameTime
    body: bytes = b""


def frame_bytes(frame: Frame) -> bytes:
    """All bytes of a frame.

    Raises:
        FrameError: longer than 65535 bytes, or a field that does not fit.
    """
    version = SECOND_EDITION if frame.kind is FrameKind.CONFIGURATION_3 else FIRST_EDITION
    size = MIN_BYTES + len(frame.body)
    if size > MAX_BYTES:
        raise FrameError(f"C37.118: a frame of {size} bytes; want at most {MAX_BYTES}")
    stamp = frame.stamp
    if not 0 <= stamp.fraction < 1 << 24:
        raise FrameError(f"C37.118: fraction of second is {stamp.fraction}; want 24 bits")
    try:
        head = HEAD.pack(
            SYNC,
            frame.kind << 4 | version,
            size,
            frame.id_code,
            stamp.seconds,
            stamp.quality << 24 | stamp.fraction,
        )
    except struct.error as error:
        raise FrameError(f"C37.118: {frame.kind.name} frame: {error}") from error
    whole = head + frame.body
    return whole + CHECK.pack(checksum(whole))


def checksum(data: bytes) -> int:
    """CRC-CCITT as in C37.118.2, annex B."""
    return binascii.crc_hqx(data, 0xFFFF)


class FrameReader:
    """Finds frames in bytes however they are cut; skips and counts bytes outside of good frames.

    Attributes:
        skipped: bytes outside of good frames.
        bad: runs of such bytes.
    """

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes`: a longer frame is not accepted, which bounds the memory for an unfinished one."""
        self.skipped = 0
        self.bad = 0
        self._most = most_bytes
        self._held = b""
        self._lost = False

    def feed(self, data: bytes) -> list[Frame]:
        """Every frame that ends in `data`, in order."""
        self._held += data
        found: list[Frame] = []
        at = 0
        while True:
            start = self._held.find(SYNC, at)
            self._skip((len(self._held) if start < 0 else start) - at)
            if start < 0:
                at = len(self._held)
                break
            at = start
            size = self._size(at)
            if size is None:
                break
            frame = self._frame(at, size) if size else None
            if frame is None:
                self._skip(1)
                at += 1
                continue
            found.append(frame)
            self._lost = False
            at += size
        self._held = self._held[at:]
        return found

    def _size(self, at: int) -> int | None:
        """Length of the frame at `at`: 0 where a frame cannot begin, None where the length has not come
        yet."""
        held = len(self._held) - at
        if held >= 2 and (self._held[at + 1] & 0x80 or self._held[at + 1] >> 4 > FrameKind.CONFIGURATION_3):
            return 0
        if held < 4:
            return None
        size: int = CHECK.unpack_from(self._held, at + 2)[0]
        if not MIN_BYTES <= size <= self._most:
            return 0
        return size if held >= size else None

    def _frame(self, at: int, size: int) -> Frame | None:
        whole = self._held[at : at + size]
        if CHECK.unpack_from(whole, size - CHECK.size)[0] != checksum(whole[: -CHECK.size]):
            return None
        _, kind, _, id_code, seconds, fracsec = HEAD.unpack_from(whole)
        stamp = FrameTime(seconds, fracsec & 0xFF_FFFF, fracsec >> 24)
        return Frame(FrameKind(kind >> 4), id_code, stamp, whole[HEAD.size : -CHECK.size])

    def _skip(self, count: int) -> None:
        if count <= 0:
            return
        self.skipped += count
        if not self._lost:
            self.bad += 1
            self._lost = True


def order_of(frame: Frame) -> int | None:
    """The order in a command frame, known or not; None where the frame has no order."""
    if frame.kind is not FrameKind.COMMAND or len(frame.body) < CHECK.size:
        return None
    order: int = CHECK.unpack_from(frame.body)[0]
    return order
