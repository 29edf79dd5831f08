"""Writes waveforms as CSV, NPY, WAV and JSON, each with its provenance.

CSV and JSON hold all Boxes of an event, each sample or waveform with its own time: nothing is resampled. NPY
and WAV hold one Box. A gap has no rows in CSV, is listed in JSON and in the JSON file next to NPY, and is
silence in WAV.
"""

import csv
import io
import json
import struct
from collections.abc import Iterator, Sequence

import numpy as np

from opq_cloud.export.exported_records import ExportError, WaveformRecord, axis_pieces
from opq_cloud.export.tables import comment_lines, guarded
from opq_proto.messages import known_uncertainty_ns
from opq_proto.wire.half_cycles import HalfCycleRms

CSV_COLUMNS = ("box_id", "time_ns", "time_s", "sample", "counts", "volts")
HALF_CYCLE_COLUMNS = ("box_id", "time_ns", "time_s", "least_v", "most_v", "half_cycles")
MAX_WAV_BYTES = 2**32 - 2**16


def csv_pieces(records: Sequence[WaveformRecord], comments: bool = False) -> Iterator[bytes]:
    """Yields one row per sample; `time_s` counts from the earliest first sample of all Boxes.

    Args:
        comments: writes the facts above the head, as lines that most programs take for the head.
    """
    origin_ns = min((record.wave.start_ns for record in records), default=0)
    for record in records if comments else ():
        yield comment_lines(record.facts())
    yield (",".join(CSV_COLUMNS) + "\r\n").encode()
    for record in records:
        wave, cell = record.wave, _csv_cell(record.wave.box_id)
        later_ns = wave.start_ns - origin_ns
        for piece in axis_pieces(wave):
            if piece.counts is None:
                continue
            first = wave.first_sample + piece.position
            offsets = piece.offsets_ns(wave.rate_millihz).tolist()
            rows = zip(offsets, piece.counts.tolist(), strict=True)
            yield "".join(
                f"{cell},{wave.start_ns + at_ns},{(later_ns + at_ns) / 1e9:.9f},{number},{count},"
                f"{count * wave.v_per_lsb:.9g}\r\n"
                for number, (at_ns, count) in enumerate(rows, first)
            ).encode()


def half_cycle_pieces(records: Sequence[WaveformRecord], comments: bool = False) -> Iterator[bytes]:
    """Yields a CSV with one row per point of Urms(1/2); `time_s` counts from the earliest point.

    With `comments` as `csv_pieces`. Records without half cycles are left out.
    """
    known = [(record, record.half_cycles) for record in records if record.half_cycles is not None]
    origin_ns = min((int(half.t_ns[0]) for _, half in known if len(half.t_ns)), default=0)
    for record, half in known if comments else ():
        uncertainty_ns = known_uncertainty_ns(half.uncertainty_ns)
        stamped = {"uncertainty_ns": uncertainty_ns, "time_source": half.source.name.lower()}
        yield comment_lines({**record.facts(), **stamped})
    yield (",".join(HALF_CYCLE_COLUMNS) + "\r\n").encode()
    for record, half in known:
        cell = _csv_cell(record.wave.box_id)
        rows = zip(half.t_ns.tolist(), half.least_v.tolist(), half.most_v.tolist(), strict=True)
        yield "".join(
            f"{cell},{t_ns},{(t_ns - origin_ns) / 1e9:.6f},{least_v:.7g},{most_v:.7g},{half.every}\r\n"
            for t_ns, least_v, most_v in rows
        ).encode()


def npy_pieces(record: WaveformRecord) -> Iterator[bytes]:
    """(n,) int16, converter counts without the gaps, as in `Waveform.counts`."""
    head = io.BytesIO()
    counts = record.wave.counts
    shape = {"descr": "<i2", "fortran_order": False, "shape": (len(counts),)}
    np.lib.format.write_array_header_1_0(head, shape)
    yield head.getvalue()
    for piece in axis_pieces(record.wave):
        if piece.counts is not None:
            yield piece.counts.astype("<i2").tobytes()


def wav_pieces(record: WaveformRecord) -> Iterator[bytes]:
    """16-bit PCM, one channel, unchanged counts. The rate is in whole hertz; the exact rate is in ICMT.

    Raises:
        ExportError: there are more samples than the 32-bit sizes of a WAV can state.
    """
    data_bytes = 2 * record.samples
    if data_bytes > MAX_WAV_BYTES:
        raise ExportError(f"Box {record.wave.box_id}: a WAV holds 2 GiB of samples; export it as npy")
    facts = record.facts()
    notes = {
        b"INAM": record.title,
        b"ISFT": str(facts["software"]),
        b"ICOP": str(facts["licence"] or "licence not stated"),
        b"ICMT": json.dumps(facts),
    }
    info = b"INFO" + b"".join(_chunk(name, text.encode() + b"\0") for name, text in notes.items())
    rate_hz = round(record.wave.rate_hz)
    form = _chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, rate_hz, 2 * rate_hz, 2, 16))
    head = b"WAVE" + form + _chunk(b"LIST", info) + struct.pack("<4sI", b"data", data_bytes)
    yield struct.pack("<4sI", b"RIFF", len(head) + data_bytes) + head
    for piece in axis_pieces(record.wave):
        silence = np.zeros(piece.samples, "<i2")
        yield (silence if piece.counts is None else piece.counts.astype("<i2")).tobytes()


def json_pieces(records: Sequence[WaveformRecord]) -> Iterator[bytes]:
    """`{"format": "opq-event-1", "waveforms": [{…facts…, "counts": […]}]}`; gaps are listed, not filled.

    A long dip or swell also has `half_cycles`: {every, uncertainty_ns, time_source, t_ns, least_v, most_v}.
    """
    yield b'{"format": "opq-event-1", "waveforms": ['
    for index, record in enumerate(records):
        facts = json.dumps(record.facts())
        yield f'{"," if index else ""}\n{facts[:-1]}, "counts": ['.encode()
        first = True
        for piece in axis_pieces(record.wave):
            if piece.counts is not None:
                yield (("" if first else ",") + ",".join(map(str, piece.counts.tolist()))).encode()
                first = False
        yield b"]" + _half_cycles_json(record.half_cycles) + b"}"
    yield b"\n]}\n"


def _half_cycles_json(half: HalfCycleRms | None) -> bytes:
    """The further key `half_cycles` of a waveform; empty where the waveform has none."""
    if half is None:
        return b""
    document = {
        "every": half.every,
        "uncertainty_ns": known_uncertainty_ns(half.uncertainty_ns),
        "time_source": half.source.name.lower(),
        "t_ns": half.t_ns.tolist(),
        "least_v": [round(volts, 4) for volts in half.least_v.tolist()],
        "most_v": [round(volts, 4) for volts in half.most_v.tolist()],
    }
    return b', "half_cycles": ' + json.dumps(document).encode()


def _chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of RIFF: padded to an even length; its size does not count the padding byte."""
    return struct.pack("<4sI", name, len(body)) + body + b"\0" * (len(body) % 2)


def _csv_cell(text: str) -> str:
    made = io.StringIO()
    csv.writer(made, lineterminator="").writerow([guarded(text)])
    return made.getvalue()
