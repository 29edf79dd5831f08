"""Mutated recordings: a small right file of each format, and files that differ from it by some bytes.

For more than the tests have time for: python proto/tests/recordings_mutated.py 100000 [FORMAT ...]
"""

import io
import json
import math
import multiprocessing
import resource
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import scipy  # loads scipy.io where it is used
import soundfile
from recordings_under_test import GAIN, cfg_text, counts, dat_bytes, volts
from test_recordings_pqdif import foreign_pqdif
from test_recordings_sound import data, wav

from opq_proto.errors import RecordingError
from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import recordings_in

MOST_KB, MOST_S = 300 << 10, 10
"""The memory of the process, and the time of one file."""
LINES = [f"{k / 1600:.6f},{v:.2f}" for k, v in enumerate(volts())]
ROWS = 40
GIVEN = {
    "wav": RecordingFacts(volts_per_lsb=GAIN),
    "wav24": RecordingFacts(volts_per_lsb=GAIN),
    "npy": RecordingFacts(rate_hz=1600.0),
    "npz": RecordingFacts(rate_hz=1600.0),
    "flac": RecordingFacts(volts_per_lsb=GAIN),
    "rf64": RecordingFacts(volts_per_lsb=GAIN),
}
PIECES = (
    b"\0", b"\xff", b",", b";", b"\n", b"-", b"9", b"99999999999999999999", b"1e309", b"nan", b'"', b"{",
    b"]",    b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"0x", b"\xef\xbb\xbf", b"A", b":", b"/", b".", b" ",
)  # fmt: skip


def originals() -> dict[str, tuple[str, bytes, dict[str, bytes]]]:
    """Format -> (name, the bytes that are mutated, the files beside)."""
    short = counts()[:ROWS].tolist()
    in_ms = [f"{1000 * k / 1600:.3f};{v:.2f}" for k, v in enumerate(volts())]
    written = [
        f'03/17/2024 11:59:{59 + k / 1600:09.6f} AM,"{1000 * v:,.0f}",{k % 3}.5'
        for k, v in enumerate(volts())
    ]
    binary, text = dat_bytes("BINARY", short), dat_bytes("ASCII", short)
    wide, real = dat_bytes("BINARY32", short), dat_bytes("FLOAT32", short)
    cfg = {
        form: cfg_text(form=form, rates=f"1\r\n1600,{ROWS}").encode()
        for form in ("BINARY", "ASCII", "BINARY32", "FLOAT32")
    }
    cff = b"--- file type: CFG ---\r\n%s--- file type: DAT BINARY: %d ---\r\n%s"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", "time_s,volts\n" + "\n".join(LINES[:ROWS]))
    array = io.BytesIO()
    np.save(array, volts()[:ROWS])
    arrays, flac, hdf5, matlab = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(arrays, u=volts()[:ROWS])
    soundfile.write(flac, np.asarray(short, np.int16), 1600, format="FLAC")
    with h5py.File(hdf5, "w") as file:
        file.create_dataset("u", data=volts()[:ROWS]).attrs["rate_hz"] = 1600.0
    scipy.io.savemat(matlab, {"u": volts()[:ROWS], "fs": 1600.0})
    hdf5_events, matlab_events = io.BytesIO(), io.BytesIO()
    two = np.zeros((1, 2), dtype=[("u", "O"), ("fs", "O"), ("start", "O")])
    with h5py.File(hdf5_events, "w") as file:
        for k, rows in enumerate((ROWS, ROWS + 8)):
            two[0, k] = (volts()[:rows], 1600.0, f"2024-03-17 10:0{k}:00")
            of = file.create_dataset(f"{k}/u", data=counts()[:rows])
            of.attrs.update(scale_factor=GAIN, add_offset=0.5, units="V", _FillValue=np.int16(-7))
            file[str(k)].attrs.update(dt=1 / 1600, start=f"2024-03-17 10:0{k}:00")
            file[f"{k}/t"] = 1_710_669_600.0 + np.arange(rows) / 1600
        circle = file.create_dataset("#refs#/a", (2,), dtype=h5py.ref_dtype)
        circle[:] = [file["0/t"].ref, circle.ref]
        file.create_dataset("cells", (2,), dtype=h5py.ref_dtype)[:] = [circle.ref, circle.ref]
    scipy.io.savemat(matlab_events, {"event": two})
    document = {"box_id": "1", "rate_hz": 1600, "calibration_constant": 50.0, "counts": short}
    exported = {
        "format": "opq-event-1",
        "waveforms": [
            {"rate_millihz": 1_600_000, "volts_per_lsb": GAIN, "gaps": [], "samples": ROWS, **document}
        ],
    }
    return {
        "cfg": ("a.cfg", cfg["BINARY"], {"a.dat": binary}),
        "dat": ("a.dat", binary, {"a.cfg": cfg["BINARY"]}),
        "ascii": ("a.dat", text, {"a.cfg": cfg["ASCII"]}),
        "binary32": ("a.dat", wide, {"a.cfg": cfg["BINARY32"]}),
        "float32": ("a.dat", real, {"a.cfg": cfg["FLOAT32"]}),
        "cff": ("a.cff", cff % (cfg["BINARY"], len(binary), binary), {}),
        "csv": ("a.csv", ("time_s,volts\n" + "\n".join(LINES[:ROWS])).encode(), {}),
        "csv2": ("a.csv", b"Zeit [ms];U [V]\n" + "\n".join(in_ms[:ROWS]).encode(), {}),
        "csv3": ("a.csv", b"time,u_mV,U_phase\n" + "\n".join(written[:ROWS]).encode() + b"\n,,\nEND\n", {}),
        "wav": ("a.wav", wav(data(16)[: 2 * ROWS]), {}),
        "wav24": ("a.wav", wav(data(24)[: 3 * ROWS], 24, extensible=True), {}),
        "rf64": (
            "a.wav",
            wav(
                data(16)[: 2 * ROWS],
                name=b"RF64",
                length=2**32 - 1,
                before=(b"ds64" + struct.pack("<IQQQI", 28, 2 * ROWS + 72, 2 * ROWS, ROWS, 0)),
            ),
            {},
        ),
        "flac": ("a.flac", flac.getvalue(), {}),
        "npz": ("a.npz", arrays.getvalue(), {}),
        "hdf5": ("a.h5", hdf5.getvalue(), {}),
        "mat": ("a.mat", matlab.getvalue(), {}),
        "hdf5-events": ("a.h5", hdf5_events.getvalue(), {}),
        "mat-events": ("a.mat", matlab_events.getvalue(), {}),
        "npy": ("a.npy", array.getvalue(), {}),
        "json": ("a.json", json.dumps(document).encode(), {}),
        "export": ("a.json", json.dumps(exported).encode(), {}),
        "pqdif": ("a.pqd", foreign_pqdif(compressed=False), {}),
        "zip": ("a.zip", packed.getvalue(), {}),
        "facts": (
            "a.json",
            b'{"rate_hz": 1600, "volts_per_lsb": 0.02, "start": "2024-03-17T10:00:00Z"}',
            {"a.i16": counts()[:ROWS].tobytes()},
        ),
    }


def mutated(original: bytes, number: int) -> bytes:
    """The file with some changes: bits, bytes, pieces put in or left out, cut short, doubled."""
    rng = np.random.default_rng(number)
    content = bytearray(original)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, max(1, len(content))))
        kind = int(rng.integers(0, 7))
        length = int(rng.integers(1, 20))
        if kind == 0 and content:
            content[at % len(content)] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1 and content:
            content[at % len(content)] = int(rng.integers(0, 256))
        elif kind == 2:
            content[at:at] = PIECES[int(rng.integers(0, len(PIECES)))]
        elif kind == 3:
            content[at : at + length] = PIECES[int(rng.integers(0, len(PIECES)))]
        elif kind == 4:
            del content[at : at + length]
        elif kind == 5 and rng.integers(0, 4) == 0:
            del content[at:]
        else:
            content[at:at] = content[at : at + length]
    return bytes(content)


def outcomes(form: str, folder: Path, first: int, count: int) -> Iterator[tuple[int, str]]:
    """What became of each mutated file: `read`, `refused`, or the traceback's last line."""
    name, original, beside = originals()[form]
    for file, content in beside.items():
        (folder / file).write_bytes(content)
    path = folder / name
    target = folder / "a.i16" if form == "facts" else path
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here on
    before_kb, peak_kb = _memory_kb("VmRSS"), MOST_KB
    for number in range(first, first + count):
        path.write_bytes(mutated(original, number))
        began = time.monotonic()
        try:
            outcome = "read"
            for found in recordings_in(target, GIVEN.get(form, RecordingFacts())):
                if isinstance(found, RecordingError):
                    raise found
                wave = found.volts(0, min(found.samples, 1 << 20))
                if not (len(wave) and math.isfinite(found.rate_hz) and found.rate_hz > 0):
                    outcome = "without a rate"
        except RecordingError as error:
            outcome = "refused" if str(error).strip() and "\n" not in str(error) else f"lines: {error}"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        if time.monotonic() - began > MOST_S:
            outcome = f"{MOST_S} s"
        elif (used_kb := _memory_kb("VmHWM") - before_kb) > peak_kb:
            outcome, peak_kb = f"{used_kb >> 10} MB", used_kb
        yield number, outcome


def _memory_kb(name: str) -> int:
    """Of this process, as proc(5) has it: the worker of a test run has grown before."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def run(form: str, count: int) -> None:
    """Prints how many were read and refused, and the numbers of what is neither."""
    tally: dict[str, list[int]] = {}
    began_s = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        for number, outcome in outcomes(form, Path(name), 0, count):
            tally.setdefault(outcome[:150], []).append(number)
    shown = {outcome: len(numbers) for outcome, numbers in tally.items() if outcome in ("read", "refused")}
    wrong = {outcome: numbers[:3] for outcome, numbers in tally.items() if outcome not in ("read", "refused")}
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(form, shown, wrong, f"{peak_mb} MB, {time.process_time() - began_s:.0f} s of CPU", flush=True)


def main() -> None:
    count = int(sys.argv[1])
    for form in sys.argv[2:] or originals():  # each in its own process: a library may crash
        process = multiprocessing.get_context("spawn").Process(target=run, args=(form, count))
        process.start()
        process.join()
        if process.exitcode:
            print(form, f"ended by {process.exitcode}", flush=True)


if __name__ == "__main__":
    main()
