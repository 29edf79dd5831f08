"""Every figure of `bench measure`: the core compared with pqopen-lib.

Signals: 12 kS/s, a fundamental of 120 V with harmonics of 3 % in all (2, 2, 0.88 and 0.5 % of orders 3, 5, 7
and 9), every phase random, white noise 60 or 78 dB under the fundamental or none; the frequency of each drawn
evenly from 57 to 63 Hz or from 42.5 to 69 Hz. What is true comes from the generator's closed forms. The bound
is that of Cramer and Rao for a real sinusoid with unknown DC, amplitude and phase.

A row that is worse than its limit or than the peer's says why. Then dips, and reading of recordings.
"""

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from bench.harness import peer
from bench.harness.peer import SETTLE_S, MeasuredDip
from bench.harness.peer import dip as peer_dip
from bench.harness.result import Baseline, BenchCase, BenchResult, case, named
from opq_measure.events.disturbances import find_disturbances
from opq_measure.frequency.bound import bound_hz
from opq_measure.frequency.cycle import SECOND_WINDOWS, CycleFrequency
from opq_measure.frequency.one_second import one_second_hz
from opq_measure.frequency.short import CYCLES, short_hz
from opq_measure.harmonics.spectrum import spectrum_of
from opq_measure.rms import cycle_rms_v, half_cycle_rms_v
from opq_measure.signal import FloatArray, SignalPiece
from opq_measure.timebase.windows import Window, Windows, windows_of
from opq_sim.mains import MIX_3_PERCENT, mains
from opq_sim.mains.rms_events import Sag
from opq_sim.mains.truth import Truth

BANDS = ((57.0, 63.0), (42.5, 69.0))
NOISES_DB = (60.0, 78.0, None)
SIGNALS = 40
"""Signals per band and noise, each of SECONDS after the peer's settling."""
QUICK_SIGNALS = 4
"""The same in a quick run."""
SECONDS = 10
PERCENT = 100.0
RECORDINGS = "recordings: "
"""Beginning of the rows of reading recordings."""


@dataclass(frozen=True, slots=True)
class MeasureRow:
    """A figure of both: `figure` of the errors in `key`, times `scale`, compared with `limit`."""

    text: str
    key: str
    unit: str
    scale: float
    limit: float | None
    figure: str
    """"sigma", "bias", "rms" or "largest"."""
    because: str = ""
    """Why it may be worse than its limit or the peer's; shown only where it is."""


REMEMBERS = "ours is the bound of one cycle (2.26, 0.28 mHz); the peer's low-pass remembers those before"
SHORT_ROWS: Mapping[float, tuple[MeasureRow, ...]] = {
    60.0: (
        MeasureRow("frequency, 1.5 cycles: sigma", "short_hz", "mHz", 1e3, 1.5, "sigma"),
        MeasureRow("frequency, one cycle: sigma", "cycle_hz", "mHz", 1e3, 3.3, "sigma", REMEMBERS),
    ),
    78.0: (
        MeasureRow("frequency, 1.5 cycles: sigma", "short_hz", "mHz", 1e3, 0.2, "sigma"),
        MeasureRow("frequency, one cycle: sigma", "cycle_hz", "mHz", 1e3, 0.4, "sigma", REMEMBERS),
    ),
}
OWN_NOISE = "the noise of one window itself, sigma over the root of its samples"
CANCELS = OWN_NOISE + "; the peer's own noisy period happens to cancel a twentieth of it"
QUANTITIES = (
    ("rms of a cycle", "cycle_v", "%", 0.01, CANCELS),
    ("rms of a half cycle", "half_v", "%", 0.01, OWN_NOISE),
    ("rms of 12 cycles", "window_v", "%", 0.01, OWN_NOISE),
    ("THD", "thd", "% points", 0.005, OWN_NOISE),
    ("order 2 to 50", "orders", "% of fund.", 0.01, OWN_NOISE),
)
CLEAN_ROWS = tuple(
    MeasureRow(f"{text}: largest error", key, unit, PERCENT, limit, "largest")
    for text, key, unit, limit, _ in QUANTITIES
)
NOISY_ROWS = tuple(
    MeasureRow(f"{text}: {figure} error", key, unit, PERCENT, limit, figure, why)
    for text, key, unit, limit, why in QUANTITIES
    for figure in ("rms", "largest")
)


def signal(band: tuple[float, float], noise_db: float | None, seed: int) -> tuple[FloatArray, Truth]:
    """Makes one of the signals."""
    frequency_hz = float(np.random.default_rng((seed, 0xF)).uniform(*band))
    return mains(
        peer.SETTLE_S + SECONDS,
        RATE_HZ,
        frequency_hz=frequency_hz,
        harmonics=MIX_3_PERCENT,
        noise_db=noise_db,
        random_phases=True,
        seed=seed,
    )


def compared(band: tuple[float, float], noise_db: float | None, count: int) -> list[BenchCase]:
    """Rows of one band and noise."""
    ours: dict[str, list[FloatArray]] = {}
    theirs: dict[str, list[FloatArray]] = {}
    for seed in range(count):
        volts, truth = signal(band, noise_db, seed)
        for found, errors in (
            (ours, errors_of(volts, truth, RATE_HZ, NOMINAL_HZ)),
            (theirs, peer.errors(volts, truth, RATE_HZ, NOMINAL_HZ)),
        ):
            for key, values in errors.items():
                found.setdefault(key, []).append(values)
    where = f"{band[0]:g}-{band[1]:g} Hz, {'no noise' if noise_db is None else f'{noise_db:g} dB'}"
    rows = CLEAN_ROWS
    if noise_db is not None:
        rows = (*_one_second_rows(band, noise_db), *SHORT_ROWS[noise_db], *NOISY_ROWS)
    cases = []
    for row in rows:
        mine = np.concatenate(ours[row.key])
        peers = np.concatenate(theirs[row.key]) if row.key in theirs else None
        cases.append(_case(f"{row.text}, {where}", row, mine, peers))
    return cases


def _one_second_rows(band: tuple[float, float], noise_db: float) -> tuple[MeasureRow, ...]:
    bound = bound_hz(round(RATE_HZ), RATE_HZ, NOMINAL_HZ, noise_db)
    most = 1.1 if band == BANDS[0] else 1.2
    text = "frequency, 1 s"
    return (
        MeasureRow(
            f"{text}: sigma / bound of {1e6 * bound:.2f} uHz", "second_hz", "", 1 / bound, most, "sigma"
        ),
        MeasureRow(f"{text}: bias", "second_hz", "uHz", 1e6, 0.5, "bias"),
    )


def _case(name: str, row: MeasureRow, mine: FloatArray, peers: FloatArray | None) -> BenchCase:
    value = row.scale * FIGURES[row.figure](mine)
    theirs = None if peers is None else row.scale * FIGURES[row.figure](peers)
    size = np.abs(mine) * row.scale
    found = BenchCase(
        name,
        value,
        row.unit,
        float(np.median(size)),
        float(size.min()),
        float(size.max()),
        len(mine),
        row.limit,
        theirs,
    )
    return replace(found, because=row.because or "reason unknown") if is_worse(found) else found


FIGURES = {
    "sigma": lambda errors: float(np.std(errors)),
    "bias": lambda errors: float(abs(np.mean(errors))),
    "rms": lambda errors: float(np.sqrt(np.mean(errors**2))),
    "largest": lambda errors: float(np.abs(errors).max()),
}


def is_worse(row: BenchCase) -> bool:
    """Whether a figure is worse than its limit or than the peer's."""
    return any(other is not None and row.value > other for other in (row.limit, row.peer))


def run(quick: bool) -> BenchResult:
    """Every row; quick: a tenth of the signals.

    Raises:
        peer.NoPeerError: the peer is not installed.
    """
    cases, base = costs()
    for noise_db in NOISES_DB:
        for band in BANDS:
            cases += compared(band, noise_db, QUICK_SIGNALS if quick else SIGNALS)
    cases += dip_rows(quick)
    cases += [named(f"{RECORDINGS}{row.case}", row) for row in recording_rows(quick)]
    return BenchResult(tuple(cases), base, cases[0].value / base.value)


SHORT_PER_SECOND = 4


def errors_of(volts: FloatArray, truth: Truth, rate_hz: float, nominal_hz: float) -> Mapping[str, FloatArray]:
    """Errors by quantity, after the peer's settling: `_hz` in Hz, `_v`, `thd` and `orders` as ratios."""
    start = round(SETTLE_S * rate_hz)
    windows = [w for w in windows_of(volts, rate_hz, nominal_hz) if w.first_sample + w.edges[0] >= start]
    cycles = len(windows[0].edges) - 1
    spectrum = spectrum_of(windows, cycles)
    subgroups = spectrum.subgroups()
    orders = subgroups / subgroups[:, :1]
    frequency_hz = float(truth.frequency_hz(np.zeros(1))[0])
    return {
        "second_hz": _seconds_hz(volts[start:], rate_hz, nominal_hz) - frequency_hz,
        "short_hz": _short_hz(volts[start:], rate_hz, frequency_hz) - frequency_hz,
        "cycle_hz": _cycles_hz(windows) - frequency_hz,
        "cycle_v": _rms_v([(w.volts, w.edges) for w in windows]) / truth.rms_v - 1,
        "half_v": _rms_v([(w.volts, w.half_edges) for w in windows]) / truth.rms_v - 1,
        "window_v": _rms_v([(w.volts, w.edges[[0, -1]]) for w in windows]) / truth.rms_v - 1,
        "thd": spectrum.thd() - truth.thd_percent / 100,
        "orders": (orders[:, 1:] - np.abs(truth.ratios)[1:]).ravel(),
    }


def _cycles_hz(windows: list[Window]) -> FloatArray:
    """Frequencies after the first second, whose harmonics are carried over."""
    cycles = CycleFrequency()
    return np.concatenate([cycles.push_window(window).hz for window in windows][SECOND_WINDOWS:])


def _rms_v(stretches: list[tuple[FloatArray, FloatArray]]) -> FloatArray:
    return np.concatenate([cycle_rms_v(volts, edges) for volts, edges in stretches])


def _seconds_hz(volts: FloatArray, rate_hz: float, nominal_hz: float) -> FloatArray:
    size = round(rate_hz)
    firsts = range(0, len(volts) - size + 1, size)
    return np.array([one_second_hz(volts[first : first + size], rate_hz, nominal_hz) for first in firsts])


def _short_hz(volts: FloatArray, rate_hz: float, near_hz: float) -> FloatArray:
    """Short frequencies, with a running estimate that is 10 mHz off."""
    size, step = round(CYCLES * rate_hz / near_hz), round(rate_hz / SHORT_PER_SECOND)
    firsts = range(0, len(volts) - size, step)
    return np.array([short_hz(volts[first : first + size], rate_hz, near_hz + 0.01) for first in firsts])


RATE_HZ = 12_000.0
NOMINAL_HZ = 60.0
CPU_S = 20
"""Length of the measured signal."""
CPU_RUNS = 5
"""Runs whose median counts."""
BLOCK = 2400


def standard_set_ms(volts: FloatArray) -> float:
    """CPU of rms (cycle, half cycle, 12 cycles), harmonics with THD, 12-cycle frequency; ms per s of signal.

    A stream in blocks of 0.2 s: tracked, cut into windows, and each window measured as it comes.
    """
    windows = Windows(NOMINAL_HZ)
    began = time.process_time()
    for first in range(0, len(volts), BLOCK):
        for window in windows.push_samples(SignalPiece(volts[first : first + BLOCK], first, RATE_HZ)):
            half_cycle_rms_v(window.volts, window.half_edges)
            found = spectrum_of([window], len(window.edges) - 1)
            found.subgroups()
            found.thd()
    return 1e3 * (time.process_time() - began) * RATE_HZ / len(volts)


def second_ms(volts: FloatArray) -> float:
    """CPU of the frequency over each second, ms per second of signal."""
    size = round(RATE_HZ)
    began = time.process_time()
    for first in range(0, len(volts) - size + 1, size):
        one_second_hz(volts[first : first + size], RATE_HZ, NOMINAL_HZ)
    return 1e3 * (time.process_time() - began) * RATE_HZ / len(volts)


def costs() -> tuple[list[BenchCase], Baseline]:
    """CPU of ours and of the peer, in turns."""
    volts, _ = mains(CPU_S, RATE_HZ, frequency_hz=59.7, harmonics=MIX_3_PERCENT, noise_db=60, seed=1)
    ours, theirs, second = [], [], []
    for _ in range(CPU_RUNS):
        ours.append(standard_set_ms(volts))
        theirs.append(peer.measured(volts, RATE_HZ, NOMINAL_HZ).cpu_ms_per_s)
        second.append(second_ms(volts))
    cpu = case("CPU of the standard set", "ms/s", ours)
    base = Baseline("CPU of the standard set", case("peer", "ms/s", theirs).value, "ms/s (pqopen-lib)")
    cpu = replace(cpu, limit=base.value, peer=base.value)
    return [
        cpu,
        case("CPU of the frequency over 1 s", "ms/s", second, limit=5.0),
    ], base


NOMINAL_V = 120.0
DIPS = 60
"""Dips of a run."""
QUICK_DIPS = 10
"""Dips of a quick run."""
ENTER_PU = 0.9
"""A lower share of nominal begins a dip: 61000-4-30:2015, 5.4."""
HYSTERESIS_PU = 0.02
"""A dip ends this much above it."""
DIP_ROWS = (
    ("dip: residual, largest error", "% of Udin", 0.1),
    ("dip: start, largest error", "ms", 1.0),
    ("dip: duration, largest error", "cycles", 0.5),
)


DipErrors = tuple[float, float, float]
"""Absolute errors, in the order of DIP_ROWS."""


def dip_rows(quick: bool) -> list[BenchCase]:
    """A row for each figure, and the number of dips that were not seen."""
    both = [_dip_errors(seed) for seed in range(QUICK_DIPS if quick else DIPS)]
    ours, theirs = [mine for mine, _ in both], [peers for _, peers in both]
    found = []
    for column, (name, unit, limit) in enumerate(DIP_ROWS):
        mine = [row[column] for row in ours if row]
        peers = [row[column] for row in theirs if row]
        found.append(case(name, unit, mine, max(mine), limit=limit, peer=max(peers)))
    missed = [float(sum(row is None for row in rows)) for rows in (ours, theirs)]
    return [*found, case("dips not seen", "", missed[:1], limit=0.0, peer=missed[1])]


def _dip_errors(seed: int) -> tuple[DipErrors | None, DipErrors | None]:
    """Our errors and the peer's for one dip; None where it was not seen, or not as one dip."""
    draw = np.random.default_rng((seed, 0xD1))
    depth, cycles, start_s, frequency_hz = draw.uniform((0.15, 1.5, 2.5, 59.5), (0.95, 30.0, 2.6, 60.5))
    volts, truth = mains(
        5.0,
        RATE_HZ,
        frequency_hz=float(frequency_hz),
        harmonics=MIX_3_PERCENT,
        noise_db=60.0,
        disturbances=[Sag(depth=float(depth), start_s=float(start_s), cycles=float(cycles))],
        random_phases=True,
        seed=seed,
    )
    seen = find_disturbances(volts, RATE_HZ, NOMINAL_V, NOMINAL_HZ)
    mine = [MeasuredDip(one.start_sample, one.end_sample, one.residual_v) for one in seen]
    peer = peer_dip(volts, RATE_HZ, NOMINAL_HZ, ENTER_PU * NOMINAL_V, HYSTERESIS_PU * NOMINAL_V)
    return _dip_error(mine[0], truth) if len(mine) == 1 else None, _dip_error(peer, truth) if peer else None


def _dip_error(found: MeasuredDip, truth: Truth) -> DipErrors:
    start, stop = truth.span_samples()
    late = found.start - start
    longer = (found.stop - found.start) - (stop - start)
    return (
        abs(found.residual_v - truth.residual_v()) / NOMINAL_V * 100,
        abs(late) / RATE_HZ * 1e3,
        abs(longer) / RATE_HZ * NOMINAL_HZ,
    )


WHOLE_MB = 1000
"""Size of the recording that is read."""
QUICK_MB = 32
"""Its size in a quick recording_rows."""
READ_RATE_HZ = 12_000
V_PER_LSB = 0.01
MINUTES = 60
"""Length of the recording that is analysed as a whole."""
QUICK_MINUTES = 2
"""Its length in a quick recording_rows."""
MOST_MB = 300.0
LEAST_TIMES = {"everything": 60.0, "rms,frequency,events": 400.0}
"""Times real time that one core is wanted to measure."""
FACTS = {"rate_hz": READ_RATE_HZ, "volts_per_lsb": V_PER_LSB, "nominal_volts": 120.0, "nominal_hz": 60.0}
ROW = np.dtype([("n", "<u4"), ("t", "<u4"), ("value", "<i2")])
READ_BLOCK = 1 << 17
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


def recording_rows(quick: bool) -> list[BenchCase]:
    """Reading of recordings: MB a second of CPU and peak memory, beside a plain NumPy read of the same file.

    Both read every sample and sum the squares, each in its own process. NumPy reads what it is shown, in
    blocks where it can: it finds no gap, no contradiction, and assumes the form. It takes two to three
    minutes and 1 GB of the temporary folder; `quick` half a minute.
    """
    size = (QUICK_MB if quick else WHOLE_MB) * 10**6
    rows: list[BenchCase] = []
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
            rows.append(case(f"read, {form}", "MB/s", [size_mb / own_s], peer=size_mb / plain_s))
            rows.append(case(f"peak memory, {form}", "MB", [own_mb], limit=MOST_MB, peer=plain_mb))
            for each in folder.iterdir():
                each.unlink()
        minutes = QUICK_MINUTES if quick else MINUTES
        path = _int16(folder, 2 * 60 * READ_RATE_HZ * minutes)
        for only, least in LEAST_TIMES.items():
            click.echo(f"{minutes} minutes, {only} ...", err=True)
            spent_s, peak_mb, _, _ = _timed(ANALYSE, path, only)
            times = 60 * minutes / spent_s
            because = f"{least:g} wanted" + ("" if times >= least else ", NOT REACHED")
            rows.append(case(f"analyze, {only}", "x real time", [times], because=because))
            rows.append(case(f"peak memory, analyze, {only}", "MB", [peak_mb], limit=MOST_MB))
    return rows


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
    turn = 2 * np.pi * 60 * np.arange(READ_RATE_HZ) / READ_RATE_HZ
    noise = np.random.default_rng(1).normal(0, 0.1, READ_RATE_HZ)
    second = np.rint((170 * np.sin(turn) + 3 * np.sin(3 * turn) + noise) / V_PER_LSB).astype("<i2")
    for first in range(0, samples, READ_RATE_HZ):
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
        for value, width in ((1, 2), (1, 2), (READ_RATE_HZ, 4), (2 * READ_RATE_HZ, 4), (2, 2), (16, 2)):
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
        f"{READ_RATE_HZ},{rows}",
        *["17/03/2024,10:00:00.000000"] * 2,
        "BINARY",
        "1",
    )
    path.write_text("\r\n".join(lines) + "\r\n")
    with (folder / "mains.dat").open("wb") as file:
        for first, counts in _counts(rows):
            block = np.empty(len(counts), ROW)
            block["n"] = np.arange(first + 1, first + len(counts) + 1)
            block["t"] = np.arange(first, first + len(counts)) * 10**6 // READ_RATE_HZ % 2**32
            block["value"] = counts
            file.write(block.tobytes())
    return folder / "mains.dat"


def _csv(folder: Path, size: int) -> Path:
    path = folder / "mains.csv"
    path.with_suffix(".json").write_text(json.dumps({"nominal_volts": 120.0, "nominal_hz": 60.0}))
    with path.open("w") as file:
        file.write("time_s,volts\n")
        second = 0
        _, counts = next(_counts(READ_RATE_HZ))
        rows = "".join(
            f"%d.{1e6 * k / READ_RATE_HZ:06.0f},{V_PER_LSB * v:.2f}\n" for k, v in enumerate(counts.tolist())
        )
        while file.tell() < size:
            file.write(rows % ((second,) * READ_RATE_HZ))
            second += 1
    return path


FORMS: tuple[tuple[str, Callable[[Path, int], Path], str], ...] = (
    ("int16", _int16, MAPPED.format(dtype='"<i2"', offset=0, field="", gain=V_PER_LSB, block=READ_BLOCK)),
    ("WAV", _wav, MAPPED.format(dtype='"<i2"', offset=44, field="", gain=V_PER_LSB, block=READ_BLOCK)),
    (
        "COMTRADE binary",
        _comtrade,
        MAPPED.format(dtype=ROW.descr, offset=0, field='["value"]', gain=V_PER_LSB, block=READ_BLOCK),
    ),
    ("CSV", _csv, LOADED),
)
"""Name, what writes the file, and the plain NumPy read of it."""
