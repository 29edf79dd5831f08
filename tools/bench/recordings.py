"""Reading of recordings: MB a second of CPU and peak memory, beside a plain NumPy read of the same file.

Both read every sample and sum the squares, each in its own process. NumPy reads what it is shown, in
blocks where it can: it finds no gap, no contradiction, and assumes the form.
"""

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from bench.result import Baseline, BenchCase, BenchResult, case

WHOLE_MB = 1000
"""Size of the recording that is read."""
QUICK_MB = 32
"""Its size in a quick run."""
RATE_HZ = 12_000
V_PER_LSB = 0.01
MINUTES = 60
"""Length of the recording that is analysed as a whole."""
QUICK_MINUTES = 2
"""Its length in a quick run."""
MOST_MB = 300.0
LEAST_TIMES = {"everything": 60.0, "rms,frequency,events": 400.0}
"""Times real time that one core is wanted to measure."""
FACTS = {"rate_hz": RATE_HZ, "volts_per_lsb": V_PER_LSB, "nominal_volts": 120.0, "nominal_hz": 60.0}
ROW = np.dtype([("n", "<u4"), ("t", "<u4"), ("value", "<i2")])
BLOCK = 1 << 17
OURS = """
recording, total = read_recording(path), 0.0
for piece in recording.pieces():
    values = piece.volts.astype(np.float64) * piece.v_per_lsb
    total += float(values @ values)
samples = recording.samples
"""
MAPPED = """
values, total = np.memmap(path, dtype={dtype}, mode="r", offset={offset}){field}, 0.0
for at in range(0, len(values), {block}):
    part = {gain} * values[at : at + {block}]
    total += float(part @ part)
samples = len(values)
"""
LOADED = """
values = np.loadtxt(path, delimiter=",", skiprows=1)[:, 1]
total, samples = float(values @ values), len(values)
"""
TIMED = """
import json, re, sys, time
from pathlib import Path
import numpy as np
from opq_measure.analysis.quantities import GROUPS
from opq_measure.events.limits import Limits
from opq_recordings.reading import read_recording
from opq_analyze.measuring import Wanted, measured
path, began_s = Path(sys.argv[1]), time.process_time()
{work}
spent_s = time.process_time() - began_s
peak_kb = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps([spent_s, peak_kb / 1024, total, samples]))
"""
ANALYSE = """
only = GROUPS if sys.argv[2] == "everything" else tuple(sys.argv[2].split(","))
found = measured(read_recording(path), Limits(), wanted=Wanted(only, None))
total, samples = found.analysis.rms_statistics["median"], found.analysis.samples
"""


def run(quick: bool) -> BenchResult:
    """Takes two to three minutes and 1 GB of the temporary folder; `quick` half a minute."""
    size = (QUICK_MB if quick else WHOLE_MB) * 10**6
    rows: list[BenchCase] = []
    ratios = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for form, write, plain in FORMS:
            click.echo(f"{form}, {size // 10**6} MB ...", err=True)
            path = write(folder, size)
            size_mb = path.stat().st_size / 1e6
            plain_s, plain_mb, plain_sum, plain_samples = _timed(plain, path)
            own_s, own_mb, own_sum, own_samples = _timed(OURS, path)
            if own_samples != plain_samples or not math.isclose(own_sum, plain_sum, rel_tol=1e-9):
                raise ValueError(f"{form}: {own_samples} samples are read, but NumPy reads {plain_samples}")
            ratios[form] = plain_s / own_s
            rows.append(case(f"read, {form}", "MB/s", [size_mb / own_s], peer=size_mb / plain_s))
            rows.append(case(f"peak memory, {form}", "MB", [own_mb], limit=MOST_MB, peer=plain_mb))
            for each in folder.iterdir():
                each.unlink()
        minutes = QUICK_MINUTES if quick else MINUTES
        path = _int16(folder, 2 * 60 * RATE_HZ * minutes)
        for only, least in LEAST_TIMES.items():
            click.echo(f"{minutes} minutes, {only} ...", err=True)
            spent_s, peak_mb, _, _ = _timed(ANALYSE, path, only)
            times = 60 * minutes / spent_s
            because = f"{least:g} wanted" + ("" if times >= least else ", NOT REACHED")
            rows.append(case(f"analyze, {only}", "x real time", [times], because=because))
            rows.append(case(f"peak memory, analyze, {only}", "MB", [peak_mb], limit=MOST_MB))
    first = FORMS[0][0]
    base = next(row for row in rows if row.case == f"read, {first}")
    return BenchResult(tuple(rows), Baseline(f"NumPy reads {first}", base.peer or 0.0, "MB/s"), ratios[first])


def _timed(work: str, path: Path, *more: str) -> list[float]:
    """(CPU seconds, peak MB, sum of squares, samples) of a process that does only this."""
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(work=work), str(path), *more],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(f"{path.name}: {done.stderr.strip().splitlines()[-1]}")
    found: list[float] = json.loads(done.stdout)
    return found


def _counts(samples: int) -> Iterator[tuple[int, NDArray[np.int16]]]:
    """(first sample, counts) of mains with a third harmonic and noise, a second at a time."""
    turn = 2 * np.pi * 60 * np.arange(RATE_HZ) / RATE_HZ
    noise = np.random.default_rng(1).normal(0, 0.1, RATE_HZ)
    second = np.rint((170 * np.sin(turn) + 3 * np.sin(3 * turn) + noise) / V_PER_LSB).astype("<i2")
    for first in range(0, samples, RATE_HZ):
        yield first, second[: samples - first]


def _int16(folder: Path, size: int) -> Path:
    path = folder / "mains.i16"
    path.with_suffix(".json").write_text(json.dumps(FACTS))
    with path.open("wb") as file:
        for _, counts in _counts(size // 2):
            file.write(counts.tobytes())
    return path


def _wav(folder: Path, size: int) -> Path:
    path = folder / "mains.wav"
    path.with_suffix(".json").write_text(json.dumps(FACTS))
    data = (size - 44) // 2 * 2
    with path.open("wb") as file:
        file.write(b"RIFF" + (36 + data).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little"))
        for value, width in ((1, 2), (1, 2), (RATE_HZ, 4), (2 * RATE_HZ, 4), (2, 2), (16, 2)):
            file.write(value.to_bytes(width, "little"))
        file.write(b"data" + data.to_bytes(4, "little"))
        for _, counts in _counts(data // 2):
            file.write(counts.tobytes())
    return path


def _comtrade(folder: Path, size: int) -> Path:
    path, rows = folder / "mains.cfg", size // ROW.itemsize
    lines = (
        "bench,1,1999",
        "1,1A,0D",
        f"1,Ua,A,,V,{V_PER_LSB},0,0,-32767,32767,1,1,S",
        "60",
        "1",
        f"{RATE_HZ},{rows}",
        *["17/03/2024,10:00:00.000000"] * 2,
        "BINARY",
        "1",
    )
    path.write_text("\r\n".join(lines) + "\r\n")
    with (folder / "mains.dat").open("wb") as file:
        for first, counts in _counts(rows):
            block = np.empty(len(counts), ROW)
            block["n"] = np.arange(first + 1, first + len(counts) + 1)
            block["t"] = np.arange(first, first + len(counts)) * 10**6 // RATE_HZ % 2**32
            block["value"] = counts
            file.write(block.tobytes())
    return folder / "mains.dat"


def _csv(folder: Path, size: int) -> Path:
    path = folder / "mains.csv"
    path.with_suffix(".json").write_text(json.dumps({"nominal_volts": 120.0, "nominal_hz": 60.0}))
    with path.open("w") as file:
        file.write("time_s,volts\n")
        second = 0
        _, counts = next(_counts(RATE_HZ))
        rows = "".join(
            f"%d.{1e6 * k / RATE_HZ:06.0f},{V_PER_LSB * v:.2f}\n" for k, v in enumerate(counts.tolist())
        )
        while file.tell() < size:
            file.write(rows % ((second,) * RATE_HZ))
            second += 1
    return path


FORMS: tuple[tuple[str, Callable[[Path, int], Path], str], ...] = (
    ("int16", _int16, MAPPED.format(dtype='"<i2"', offset=0, field="", gain=V_PER_LSB, block=BLOCK)),
    ("WAV", _wav, MAPPED.format(dtype='"<i2"', offset=44, field="", gain=V_PER_LSB, block=BLOCK)),
    (
        "COMTRADE binary",
        _comtrade,
        MAPPED.format(dtype=ROW.descr, offset=0, field='["value"]', gain=V_PER_LSB, block=BLOCK),
    ),
    ("CSV", _csv, LOADED),
)
"""Name, what writes the file, and the plain NumPy read of it."""
