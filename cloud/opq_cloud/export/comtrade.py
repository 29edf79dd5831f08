"""COMTRADE, revision 2013 (IEEE C37.111-2013, IEC 60255-24:2013): a record as .cfg and .dat, or as one .cff.

There is one analogue channel; its values are the converter's counts, and `a` of the .cfg is volts per count,
so nothing is rounded. A missing sample keeps its row, with a value that means missing (99999 in ASCII, the
lowest integer in binary, NaN in float32), so that the axis is even. Times are UTC to a nanosecond.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, get_args

import numpy as np

from opq_cloud.export.records import (
    NANOSECONDS,
    AxisPiece,
    ExportError,
    WaveformRecord,
    axis_pieces,
)
from opq_proto.messages import TimeSource, Waveform, known_uncertainty_ns
from opq_proto.visible_text import is_plain

DataForm = Literal["ascii", "binary", "binary32", "float32"]
DATA_FORMS: tuple[DataForm, ...] = get_args(DataForm)
MISSING_ASCII = 99999
MISSING_BINARY = -(2**15)
LONGEST_STAMP = 2**32 - 2
"""2**32 - 1 means "no time stamp"."""
LOCKED_NS = 1000
"""A clock that is locked to GPS with at most this uncertainty is in normal operation (quality 0)."""
NAME_CHARACTERS = 64
ROW_TYPES = {
    "binary": np.dtype([("n", "<u4"), ("t", "<u4"), ("value", "<i2")]),
    "binary32": np.dtype([("n", "<u4"), ("t", "<u4"), ("value", "<i4")]),
    "float32": np.dtype([("n", "<u4"), ("t", "<u4"), ("value", "<f4")]),
}


def data_form_for(record: WaveformRecord, wanted: DataForm) -> DataForm:
    """Returns `wanted`, but binary32 for binary where a count equals the value for a missing sample."""
    clipped = len(record.wave.counts) and int(record.wave.counts.min()) == MISSING_BINARY
    return "binary32" if wanted == "binary" and clipped else wanted


def cfg_text(record: WaveformRecord, form: DataForm) -> str:
    """The text of the configuration (.cfg), lines ended by CR LF.

    Raises:
        ExportError: the record has no samples.
    """
    wave = record.wave
    if not record.samples:
        raise ExportError(f"Box {wave.box_id}: its waveform has no samples")
    limit = MISSING_ASCII - 1 if form == "ascii" else 2**15 - 1
    nominal_hz = wave.nominal_hz or record.box.nominal_hz
    onset_ns = record.event.onset_ns[0] if record.event.onset_ns else wave.start_ns
    name = field_text(wave.box_id) if record.name else "U"
    channel = ("1", name, field_text(record.box.phase or ""), "", "V", repr(wave.v_per_lsb), "0", "0")
    lines = (
        f"{field_text(record.box.name) or 'OPQ'},Box {field_text(wave.box_id)},2013",
        "1,1A,0D",
        ",".join((*channel, str(-limit), str(limit), "1", "1", "P")),
        "" if nominal_hz is None else f"{nominal_hz:g}",
        "1",
        f"{rate_text(wave.rate_hz)},{record.samples}",
        stamp_text(wave.start_ns),
        stamp_text(max(wave.start_ns, min(onset_ns, wave.end_ns))),
        form.upper(),
        str(time_factor(record)),
        "0,x",  # times are UTC; the zone of the place is not known
        f"{time_quality(wave)},{leap_second_code(wave)}",
    )
    return "".join(f"{line}\r\n" for line in lines)


def rate_text(rate_hz: float) -> str:
    """A rate as recorders write it: a whole one without a point, which some readers do not accept."""
    return str(int(rate_hz)) if float(rate_hz).is_integer() else repr(rate_hz)


def dat_pieces(record: WaveformRecord, form: DataForm) -> Iterator[bytes]:
    """The rows of the data: sample number from 1, time stamp, count."""
    factor = time_factor(record)
    for piece in axis_pieces(record.wave):
        stamps = piece.offsets_ns(record.wave.rate_millihz) // factor
        yield _ascii_rows(piece, stamps.tolist()) if form == "ascii" else _binary_rows(piece, stamps, form)


def cff_pieces(record: WaveformRecord, form: DataForm) -> Iterator[bytes]:
    """The pieces of a .cff: all four parts in one file."""
    kind = form.upper()
    if form != "ascii":
        kind += f": {record.samples * ROW_TYPES[form].itemsize}"
    yield f"--- file type: CFG ---\r\n{cfg_text(record, form)}".encode()
    yield f"--- file type: INF ---\r\n{inf_text(record)}".encode()
    yield f"--- file type: HDR ---\r\n{hdr_text(record)}".encode()
    yield f"--- file type: DAT {kind} ---\r\n".encode()
    yield from dat_pieces(record, form)


def inf_text(record: WaveformRecord) -> str:
    """Provenance for programs: a private section of the .inf, one fact a line; unknown facts are left out."""
    rows = [f"{key}={_one_line(str(value))}" for key, value in record.facts().items() if value is not None]
    return "".join(f"{line}\r\n" for line in ("[Private OPQ Provenance]", *rows))


def hdr_text(record: WaveformRecord) -> str:
    """The text of the .hdr: provenance for people."""
    facts = record.facts()
    doubt = known_uncertainty_ns(record.wave.uncertainty_ns)
    lines = (
        f"{record.title} ({facts['box_name']}): {facts['because']}",
        f"First sample {facts['start_utc']}, clock {facts['time_source']}, "
        + ("uncertainty not known" if doubt is None else f"uncertain by {doubt / 1e6:g} ms"),
        f"{record.wave.v_per_lsb} V per count, {facts['rate_hz']} Hz as measured",
        *(() if record.wave.gain_known else ("The gain is assumed: it is not stated",)),
        f"Written by {facts['software']}; licence: {facts['licence'] or 'not stated'}",
    )
    return "".join(f"{_one_line(line)}\r\n" for line in lines)


def time_factor(record: WaveformRecord) -> int:
    """Nanoseconds per unit of the time stamps: the smallest power of ten with which the last fits 32 bits."""
    wave = record.wave
    longest_ns = wave.time_ns(record.samples) - wave.start_ns
    factor = 1
    while longest_ns // factor > LONGEST_STAMP:
        factor *= 10
    return factor


def time_quality(wave: Waveform) -> str:
    """The clock's quality as a hexadecimal digit: 0 locked, 1 (1 ns) to B (10 s), F not reliable."""
    doubt_ns = known_uncertainty_ns(wave.uncertainty_ns)
    if doubt_ns is None:
        return "F"
    if wave.source is TimeSource.GPS and doubt_ns <= LOCKED_NS:
        return "0"
    for digit in range(1, 12):
        if doubt_ns <= 10 ** (digit - 1):
            return f"{digit:X}"
    return "F"


def leap_second_code(wave: Waveform) -> int:
    """0 where the waveform has no leap second; 3 (not known) where it spans the end of June or December."""
    first, last = (datetime.fromtimestamp(t_ns // NANOSECONDS, UTC) for t_ns in (wave.start_ns, wave.end_ns))
    return 3 if first.month != last.month and first.month in (6, 12) else 0


def stamp_text(t_ns: int) -> str:
    """A time as COMTRADE writes it: `20/11/2026,08:13:22.508831000`."""
    seconds, below_ns = divmod(t_ns, NANOSECONDS)
    return f"{datetime.fromtimestamp(seconds, UTC):%d/%m/%Y,%H:%M:%S}.{below_ns:09d}"


def field_text(text: str) -> str:
    """The text without commas and control characters, which would begin another field or line."""
    return _one_line(text).replace(",", ";")[:NAME_CHARACTERS].strip()


def _one_line(text: str) -> str:
    return "".join(letter if is_plain(letter) else " " for letter in text)


def _ascii_rows(piece: AxisPiece, stamps: list[int]) -> bytes:
    values = [MISSING_ASCII] * piece.samples if piece.counts is None else piece.counts.tolist()
    numbered = enumerate(zip(stamps, values, strict=True), piece.position + 1)
    return "".join(f"{number},{stamp},{value}\r\n" for number, (stamp, value) in numbered).encode()


def _binary_rows(piece: AxisPiece, stamps: np.ndarray[tuple[int], np.dtype[np.int64]], form: str) -> bytes:
    rows = np.empty(piece.samples, ROW_TYPES[form])
    rows["n"] = np.arange(piece.position + 1, piece.position + 1 + piece.samples, dtype=np.int64)
    rows["t"] = stamps
    missing = {"binary": MISSING_BINARY, "binary32": -(2**31), "float32": np.nan}[form]
    rows["value"] = missing if piece.counts is None else piece.counts
    return rows.tobytes()
