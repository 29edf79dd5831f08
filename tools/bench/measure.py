"""Every figure of `bench measure`: the core compared with pqopen-lib.

Signals: 12 kS/s, a fundamental of 120 V with harmonics of 3 % in all (2, 2, 0.88 and 0.5 % of orders 3, 5, 7
and 9), every phase random, white noise 60 or 78 dB under the fundamental or none; the frequency of each drawn
evenly from 57 to 63 Hz or from 42.5 to 69 Hz. What is true comes from the generator's closed forms. The bound
is that of Cramer and Rao for a real sinusoid with unknown DC, amplitude and phase.

A row that is worse than its limit or than the peer's says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from bench import dips, peer
from bench.measure_costs import NOMINAL_HZ, RATE_HZ, costs
from bench.peer import SETTLE_S
from bench.result import BenchCase, BenchResult
from opq_measure.frequency.bound import bound_hz
from opq_measure.frequency.cycle import SECOND_WINDOWS, CycleFrequency
from opq_measure.frequency.one_second import one_second_hz
from opq_measure.frequency.short import CYCLES, short_hz
from opq_measure.harmonics.spectrum import spectrum_of
from opq_measure.rms import cycle_rms_v
from opq_measure.signal import FloatArray
from opq_measure.timebase.windows import Window, windows_of
from opq_sim.mains import MIX_3_PERCENT, mains
from opq_sim.mains.truth import Truth

BANDS = ((57.0, 63.0), (42.5, 69.0))
NOISES_DB = (60.0, 78.0, None)
SIGNALS = 40
"""Signals per band and noise, each of SECONDS after the peer's settling."""
QUICK_SIGNALS = 4
"""The same in a quick run."""
SECONDS = 10
PERCENT = 100.0


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
    cases += dips.cases(quick)
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
