"""COMTRADE, revision 2013 (IEEE C37.111-2013, IEC 60255-24:2013): a record as .cfg and .dat, or as one .cff.

There is one analogue channel (`comtrade_site.py` has one for each phase of a site); its values are the
converter's counts, and `a` of the .cfg is volts per count, so nothing is rounded. A missing sample keeps its
row, with a value that means missing (99999 in ASCII, the lowest integer in binary, NaN in float32), so that
the axis is even. Times are UTC to a nanosecond.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from opq_cloud.export.exported_records import (
    NANOSECONDS,
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
VALUE_TYPES = {"binary": "<i2", "binary32": "<i4", "float32": "<f4"}
MISSING = {"binary": MISSING_BINARY, "binary32": -(2**31), "float32": np.nan}


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
    lines = (
        f"{field_text(record.box.name) or 'OPQ'},Box {field_text(wave.box_id)},2013",
        "1,1A,0D",
        analog_line(1, field_text(wave.box_id) if record.name else "U", record, form),
        *axis_lines(record, form, wave.start_ns, record.samples, wave),
    )
    return "".join(f"{line}\r\n" for line in lines)


def analog_line(number: int, name: str, record: WaveformRecord, form: DataForm, skew: str = "0") -> str:
    """The line of an analogue channel; `skew`: how much later than its rows it was sampled, in us."""
    limit = MISSING_ASCII - 1 if form == "ascii" else 2**15 - 1
    phase, gain = field_text(record.box.phase or ""), repr(record.wave.v_per_lsb)
    channel = (str(number), name, phase, "", "V", gain, "0", skew)
    return ",".join((*channel, str(-limit), str(limit), "1", "1", "P"))


def axis_lines(
    record: WaveformRecord, form: DataForm, start_ns: int, samples: int, clock: Waveform
) -> tuple[str, ...]:
    """The lines after the channels, for `samples` rows at the rate of `record` from `start_ns` on.

    `clock`: the waveform whose clock decides the quality of time.
    """
    wave = record.wave
    nominal_hz = wave.nominal_hz or record.box.nominal_hz
    onset_ns = record.event.onset_ns[0] if record.event.onset_ns else start_ns
    return (
        "" if nominal_hz is None else f"{nominal_hz:g}",
        "1",
        f"{rate_text(wave.rate_hz)},{samples}",
        stamp_text(start_ns),
        stamp_text(max(start_ns, min(onset_ns, wave.end_ns))),
        form.upper(),
        str(stamp_factor(samples, wave.rate_millihz)),
        "0,x",  # times are UTC; the zone of the place is not known
        f"{time_quality(clock)},{leap_second_code(wave)}",
    )


def rate_text(rate_hz: float) -> str:
    """A rate as recorders write it: a whole one without a point, which some readers do not accept."""
    return str(int(rate_hz)) if float(rate_hz).is_integer() else repr(rate_hz)


def dat_pieces(record: WaveformRecord, form: DataForm) -> Iterator[bytes]:
    """The rows of the data: sample number from 1, time stamp, count."""
    factor = time_factor(record)
    for piece in axis_pieces(record.wave):
        stamps = piece.offsets_ns(record.wave.rate_millihz) // factor
        known = np.full((piece.samples, 1), piece.counts is not None)
        counts = np.zeros(piece.samples, np.int16) if piece.counts is None else piece.counts
        yield dat_rows(piece.position, stamps, counts[:, None], known, form)


def dat_rows(
    position: int, stamps: NDArray[np.int64], counts: NDArray[np.int16], known: NDArray[np.bool_], form: str
) -> bytes:
    """Rows of the data: sample number, time stamp, a value of each channel.

    Args:
        position: of the first row, from 0.
        stamps: (rows,) in the unit of `stamp_factor`.
        counts: (rows, channels); `known`: where there is one.
    """
    rows, channels = counts.shape
    if form == "ascii":
        values = np.where(known, counts.astype(np.int64), MISSING_ASCII).tolist()
        numbered = enumerate(zip(stamps.tolist(), values, strict=True), position + 1)
        lines = (f"{number},{stamp},{','.join(map(str, own))}\r\n" for number, (stamp, own) in numbered)
        return "".join(lines).encode()
    made = np.empty(rows, row_type(form, channels))
    made["n"] = np.arange(position + 1, position + 1 + rows, dtype=np.int64)
    made["t"] = stamps
    made["values"] = np.where(known, counts.astype(np.float64), MISSING[form])
    return made.tobytes()


def row_type(form: str, channels: int = 1) -> np.dtype[np.void]:
    """The layout of a row that is not ASCII."""
    return np.dtype([("n", "<u4"), ("t", "<u4"), ("values", VALUE_TYPES[form], (channels,))])


def cff_pieces(record: WaveformRecord, form: DataForm) -> Iterator[bytes]:
    """The pieces of a .cff: all four parts in one file."""
    kind = form.upper()
    if form != "ascii":
        kind += f": {record.samples * row_type(form).itemsize}"
    yield f"--- file type: CFG ---\r\n{cfg_text(record, form)}".encode()
    yield f"--- file type: INF ---\r\n{inf_text(record)}".encode()
    yield f"--- file type: HDR ---\r\n{hdr_text(record)}".encode()
    yield f"--- file type: DAT {kind} ---\r\n".encode()
    yield from dat_pieces(record, form)


def inf_text(record: WaveformRecord, section: str = "[Private OPQ Provenance]") -> str:
    """Provenance for programs: a private section of the .inf, one fact a line; unknown facts are left out."""
    rows = [f"{key}={_one_line(str(value))}" for key, value in record.facts().items() if value is not None]
    return "".join(f"{line}\r\n" for line in (section, *rows))


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
    return stamp_factor(record.samples, record.wave.rate_millihz)


def stamp_factor(samples: int, rate_millihz: int) -> int:
    """The same for so many rows at this rate."""
    longest_ns, factor = samples * 10**12 // rate_millihz, 1
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
