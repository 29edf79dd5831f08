"""WAV in all its forms: 8 to 32 bits, float, WAVE_FORMAT_EXTENSIBLE, several channels, RF64, of pipes.

The chunks are read here, so that a length that a pipe left behind is recognised and samples stay mapped.
Compressed forms are refused with the command that converts them. Source: Microsoft, "Multiple Channel Audio
Data and WAVE Files" (2001); EBU Tech 3306 (RF64); our own export keeps its facts in the chunk ICMT.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError
from opq_recordings.exported import exported_channel, runs_between
from opq_recordings.recording import Channel, Content
from opq_recordings.spooled import SpooledColumn

# Formats of samples (mmreg.h).
PCM = 1
FLOAT = 3
EXTENSIBLE = 0xFFFE
"""The format is in the chunk's extension."""

COMPRESSED = {2: "ADPCM", 6: "A-law", 7: "µ-law", 0x11: "IMA ADPCM", 0x31: "GSM", 0x55: "MP3"}
PIPE_LENGTHS = (0, 0x7FFF_FFFF, 0x7FFF_F000, 0xFFFF_FFFF)
"""What ffmpeg, sox and arecord leave where they cannot seek back; and near these, less the header."""
NEAR_PIPE = 4096
MOST_CHANNELS = 1024
BLOCK_ROWS = 1 << 18


@dataclass(slots=True)
class _Header:
    form: int = 0
    channels: int = 0
    rate_hz: int = 0
    bits: int = 0
    frame_bytes: int = 0
    first: int | None = None
    length: int = 0
    comment: bytes = b""


def read_wav(path: Path) -> Content:
    """Reads the channels; their values are counts of an unknown gain.

    Raises:
        RecordingError: no WAV, a compressed one, or one that is cut short.
    """
    with path.open("rb") as file:
        header, problems = _header(path, file, path.stat().st_size)
    assert header.first is not None
    values, form = _values(path, header)
    facts = _facts(header.comment)
    if facts and header.channels == 1:
        return Content(f"WAV, {form}, of opq-tools export", (_exported(values[:, 0], header, facts),))
    middle = -128.0 if header.form == PCM and header.bits == 8 else 0.0
    facts_of_each: dict[str, Any] = {
        "scale": None,
        "offset": middle,
        "unit": None,
        "quantity": None,
        "rate_hz": float(header.rate_hz),
    }
    channels = tuple(
        Channel.of(f"channel {k + 1}", values[:, k], **facts_of_each) for k in range(header.channels)
    )
    return Content(f"WAV, {form}", channels, problems=tuple(problems))


def _header(path: Path, file: IO[bytes], size: int) -> tuple[_Header, list[str]]:
    lead = file.read(12)
    if len(lead) < 12 or lead[:4] not in (b"RIFF", b"RF64", b"BW64") or lead[8:] != b"WAVE":
        found = "RIFX, with the highest byte first" if lead[:4] == b"RIFX" else f"{lead[:4]!r}"
        raise RecordingError(
            f"{path}: is not a readable .wav file: it begins with {found}, want RIFF or RF64"
        )
    header = _Header()
    problems: list[str] = []
    data_64: int | None = None
    at = 12
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        body = at + 8
        if name == b"ds64" and length >= 24:
            _, data_64, _ = struct.unpack("<QQQ", file.read(24).ljust(24, b"\0"))
        elif name == b"fmt ":
            _format(path, file.read(min(length, 64)), header)
        elif name == b"LIST" and length >= 4:
            header.comment = _comment(file.read(min(length, 1 << 20))) or header.comment
        elif name == b"data":
            header.first = body
            header.length, doubts = _data_length(path, header, length, data_64, size - body)
            problems += doubts
            length = header.length
        at = body + length + length % 2
        if header.first is not None and (header.comment or at >= size):
            break
    if header.channels == 0 or header.first is None:
        raise RecordingError(
            f"{path}: is not a readable .wav file: it has no {'fmt' if not header.channels else 'data'} part"
        )
    if header.length < header.frame_bytes:
        raise RecordingError(f"{path}: is empty, no samples in it")
    return header, problems


def _format(path: Path, body: bytes, header: _Header) -> None:
    if len(body) < 16:
        raise RecordingError(
            f"{path}: is not a readable .wav file: its fmt part has {len(body)} bytes, want 16"
        )
    form, channels, rate_hz, _, frame_bytes, bits = struct.unpack("<HHIIHH", body[:16])
    if form == EXTENSIBLE and len(body) >= 26:
        form = int.from_bytes(body[24:26], "little")
    if form not in (PCM, FLOAT):
        name = COMPRESSED.get(form, f"form {form}")
        raise RecordingError(
            f"{path}: its samples are compressed ({name}); convert it: "
            f"ffmpeg -i {path.name} -c:a pcm_s24le out.wav"
        )
    width = frame_bytes // channels if channels else 0
    allowed = (1, 2, 3, 4) if form == PCM else (4, 8)
    if (
        not 1 <= channels <= MOST_CHANNELS
        or width not in allowed
        or width * channels != frame_bytes
        or bits > 8 * width
    ):
        raise RecordingError(
            f"{path}: has {channels} channels of {bits} bits in frames of {frame_bytes} bytes; want "
            "8, 16, 24 or 32 bits, or floats of 32 or 64"
        )
    if rate_hz == 0:
        raise RecordingError(f"{path}: is not a readable .wav file: its rate is 0 Hz")
    header.form, header.channels, header.rate_hz = form, channels, rate_hz
    header.bits, header.frame_bytes = 8 * width, frame_bytes


def _data_length(
    path: Path, header: _Header, stated: int, stated_64: int | None, there: int
) -> tuple[int, list[str]]:
    """Bytes of samples: what is stated, or all that is there where a pipe left no length."""
    if header.channels == 0:
        raise RecordingError(f"{path}: is not a readable .wav file: its samples come before their form")
    if stated == 0xFFFF_FFFF and stated_64 not in (None, 0, 2**64 - 1):
        stated = int(stated_64 or 0)
        if stated <= there:
            return stated, []
    frame = header.frame_bytes
    if stated > there or stated == 0:
        piped = any(0 <= length - stated <= NEAR_PIPE for length in PIPE_LENGTHS[1:]) or stated == 0
        if not piped:
            raise RecordingError(
                f"{path}: is cut short, {there // frame} of {stated // frame} samples are there"
            )
        return there // frame * frame, ["its length was never written (a pipe); all its samples were read"]
    rest = stated % frame
    return stated - rest, [f"its samples end within one, {rest} of {frame} bytes"] if rest else []


def _values(path: Path, header: _Header) -> tuple[NDArray[Any], str]:
    """(n, channels) as stored; 24 bits become 32."""
    assert header.first is not None
    rows = header.length // header.frame_bytes
    shape = (rows, header.channels)
    if header.form == FLOAT:
        return _mapped(path, f"<f{header.bits // 8}", header.first, shape), f"float {header.bits}"
    if header.bits == 24:
        column = SpooledColumn("<i4")
        raw = _mapped(path, "u1", header.first, (rows, header.channels * 3))
        for at in range(0, rows, BLOCK_ROWS):
            part = np.asarray(raw[at : at + BLOCK_ROWS]).reshape(-1, 3)
            wide = np.zeros((len(part), 4), np.uint8)
            wide[:, 1:] = part
            column.add(wide.view("<i4").ravel() >> 8)
        return column.array().reshape(shape), "24 bits"
    dtype = "u1" if header.bits == 8 else f"<i{header.bits // 8}"
    return _mapped(path, dtype, header.first, shape), f"{header.bits} bits"


def _mapped(path: Path, dtype: str, first: int, shape: tuple[int, int]) -> NDArray[Any]:
    return np.memmap(path, dtype=dtype, mode="r", offset=first, shape=shape)


def _comment(body: bytes) -> bytes:
    """The text of ICMT in a list of the kind INFO; empty without one."""
    if body[:4] != b"INFO":
        return b""
    return next((text for name, text in _chunks(body[4:]) if name == b"ICMT"), b"")


def _chunks(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(body):
        name, length = struct.unpack("<4sI", body[at : at + 8])
        yield name, body[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _facts(comment: bytes) -> dict[str, object]:
    """The facts of our own export; empty where the comment is another program's."""
    try:
        found = json.loads(comment.rstrip(b"\0").decode())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and "rate_millihz" in found and "box_id" in found else {}


def _exported(values: NDArray[Any], header: _Header, facts: dict[str, object]) -> Channel:
    """Our own export: its gaps are silence in the file, and gaps again here."""
    runs = runs_between(facts, len(values), stored_gaps=True)
    return exported_channel(str(facts["box_id"]), values, runs, {**facts, "axis_samples": len(values)})
