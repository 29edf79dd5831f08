"""Frames of the serial link between a Box and its gateway.

    body  = type u8, sequence u16 LE (per direction, wraps), payload
    frame = COBS(body + CRC-32 of body, u32 LE) + 0x00

CRC-32 is that of zlib and Ethernet (reflected 0xEDB88320). A zero byte is between any two
frames and nowhere else, so a reader that lost its place finds it at the next frame. Payloads are
in `opq_proto.link.payloads`, messages in `opq_proto.link.messages`.
"""

import struct
import zlib
from collections.abc import Callable

from cobs import cobs

from opq_proto.errors import FrameError
from opq_proto.link import payloads as link_payloads
from opq_proto.link.messages import LinkMessage

MAX_FRAME = 2048
"""Most bytes of a whole frame, delimiter included; a longer one is skipped and counted."""

_cobs_encode: Callable[[bytes], bytes] = cobs.encode  # the package has no types
_cobs_decode: Callable[[bytes], bytes] = cobs.decode
_HEAD = struct.Struct("<BH")
_CRC = struct.Struct("<I")
_SHORTEST = _HEAD.size + _CRC.size
_CRC_OF_GOOD = 0x2144DF1C
"""CRC-32 over a body and its own CRC-32: the code's residue, whatever the body."""


def encode(message: LinkMessage, sequence: int) -> bytes:
    """Returns the whole frame, with its closing zero; `sequence` is taken modulo 65536.

    Raises:
        FrameError: a field does not fit its wire type, or the frame would exceed MAX_FRAME.
    """
    body = _HEAD.pack(message.TYPE, sequence & 0xFFFF) + link_payloads.write(message)
    frame = _cobs_encode(body + _CRC.pack(zlib.crc32(body))) + b"\0"
    if len(frame) > MAX_FRAME:
        raise FrameError(f"link: frame of {len(frame)} bytes; want at most {MAX_FRAME}")
    return frame


class Decoder:
    """Turns a byte stream, however it is cut, into messages; never raises on bad bytes.

    Counters, all from 0 and only rising:
        frames: good frames.
        crc_errors: frames whose COBS or CRC-32 is wrong.
        malformed: frames with a good CRC but an unknown type or a bad payload.
        oversize: runs longer than MAX_FRAME without a zero byte.
        bytes_skipped: bytes that belonged to no good frame, delimiters not counted.
        sequence_gaps: places where the peer's sequence jumped (lost or bad frames before).
    """

    def __init__(self) -> None:
        self.frames = 0
        self.crc_errors = 0
        self.malformed = 0
        self.oversize = 0
        self.bytes_skipped = 0
        self.sequence_gaps = 0
        self._parts: list[bytes] = []  # the unfinished frame, in pieces; joined once, at its end
        self._length = 0
        self._skipping = False  # inside an oversize run, until its zero
        self._expected: int | None = None

    def feed(self, data: bytes) -> list[tuple[int, LinkMessage]]:
        """Returns (sequence, message) of every good frame that ends in `data`, in order."""
        pieces = data.split(b"\0")
        found: list[tuple[int, LinkMessage]] = []
        last = pieces.pop()
        if pieces and (self._parts or self._skipping):
            pieces[0] = self._finish(pieces[0])
        read = self._read
        for piece in pieces:
            if piece and (message := read(piece)) is not None:
                found.append(message)
        if last:
            self._append(last)
        return found

    @property
    def pending_bytes(self) -> int:
        """Bytes of a frame that has not ended yet; below MAX_FRAME."""
        return self._length

    def _append(self, piece: bytes) -> None:
        if not piece:
            return
        if self._skipping:
            self.bytes_skipped += len(piece)
            return
        if self._length + len(piece) >= MAX_FRAME:
            self.oversize += 1
            self.bytes_skipped += self._length + len(piece)
            self._parts.clear()
            self._length = 0
            self._skipping = True
            return
        self._parts.append(piece)
        self._length += len(piece)

    def _finish(self, piece: bytes) -> bytes:
        """Returns the frame that ends with `piece`; empty where it was skipped."""
        self._append(piece)
        if self._skipping:
            self._skipping = False
            return b""
        piece = b"".join(self._parts)
        self._parts.clear()
        self._length = 0
        return piece

    def _read(self, frame: bytes) -> tuple[int, LinkMessage] | None:
        if len(frame) >= MAX_FRAME:
            self.oversize += 1
            self.bytes_skipped += len(frame)
            return None
        try:
            raw = _cobs_decode(frame)
        except cobs.DecodeError:
            raw = b""
        if len(raw) < _SHORTEST or zlib.crc32(raw) != _CRC_OF_GOOD:
            self.crc_errors += 1
            self.bytes_skipped += len(frame)
            return None
        kind, sequence = _HEAD.unpack_from(raw)
        if sequence != self._expected and self._expected is not None:
            self.sequence_gaps += 1
        self._expected = (sequence + 1) & 0xFFFF
        try:
            message = link_payloads.read(kind, raw[_HEAD.size : -_CRC.size])
        except FrameError:
            self.malformed += 1
            self.bytes_skipped += len(frame)
            return None
        self.frames += 1
        return sequence, message
