"""Everything that is said of a recording at once: the `opq-tools analyze` contract.

The fundamental is tracked once and all quantities stand on its edges. The signal may be counts with a gain,
also memory-mapped: it is read block by block, so that the memory needed is that of the results.

Windows that a dip, swell or interruption touches are flagged (IEC 61000-4-30:2015, 4.7) and left out of
THD and harmonics, unless no other is left: a step inside a window is no harmonic.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from opq_measure.cycles import track
from opq_measure.detector import Detector
from opq_measure.disturbances import Disturbance, Limits, disturbances_in
from opq_measure.flicker import Flicker, flicker
from opq_measure.frequency import cycle_frequency_hz, cycles_per_window, tracked_window_frequency_hz
from opq_measure.harmonics import spectrum
from opq_measure.lamps import lamp_for
from opq_measure.rms import cycle_rms_v, half_cycle_rms_v
from opq_measure.signal import MOST_V, BoolArray, FloatArray, SignalArray


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the measurement core says of a signal. Arrays have NaN where a value is not known.

    `edges` (c + 1,) and `half_edges` (h + 2,) fractional sample positions; `rms_v` (c,), `frequency_hz` (c,)
    per cycle; `half_rms_v` (h,) Urms(1/2); `window_hz`, `window_thd` (w,) per 10/12-cycle window, THD
    as a ratio; `harmonics` (50,) mean ratio to the fundamental.
    """

    rate_hz: float
    samples: int
    nominal_v: float
    nominal_hz: float
    edges: FloatArray
    half_edges: FloatArray
    rms_v: FloatArray
    frequency_hz: FloatArray
    half_rms_v: FloatArray
    window_hz: FloatArray
    window_thd: FloatArray
    flagged: BoolArray
    harmonics: FloatArray
    flicker: Flicker
    disturbances: tuple[Disturbance, ...]

    def contract(self, file: str) -> dict[str, object]:
        """The contract's JSON object: SI units, unknown is None, no NaN."""
        thd = 100 * self._unflagged(self.window_thd)
        starts_s, half_starts_s = self.edges / self.rate_hz, self.half_edges / self.rate_hz
        return {
            "file": file,
            "rate_hz": self.rate_hz,
            "samples": self.samples,
            "duration_s": self.samples / self.rate_hz,
            "nominal_volts": self.nominal_v,
            "nominal_hz": self.nominal_hz,
            "frequency_hz": _statistics(self.window_hz, "mean", "min", "max", "std"),
            "rms_v": _statistics(self.rms_v, "mean", "min", "median", "max"),
            "thd_percent": _statistics(thd, "mean", "max"),
            "harmonics_percent": [known(100 * ratio) for ratio in self.harmonics.tolist()],
            "flicker": {"pinst_max": self.flicker.pinst_max, "pst": self.flicker.pst},
            "cycles": [
                {"index": k, "start_s": start_s, "rms_v": known(rms_v), "frequency_hz": known(hz)}
                for k, (start_s, rms_v, hz) in enumerate(
                    zip(starts_s[:-1].tolist(), self.rms_v.tolist(), self.frequency_hz.tolist(), strict=True)
                )
            ],
            "half_cycles": [
                {"index": k, "start_s": start_s, "rms_v": known(rms_v)}
                for k, (start_s, rms_v) in enumerate(
                    zip(half_starts_s[:-2].tolist(), self.half_rms_v.tolist(), strict=True)
                )
            ],
            "events": [disturbance.entry() for disturbance in self.disturbances],
        }

    def _unflagged(self, values: FloatArray) -> FloatArray:
        return values[~self.flagged] if len(self.flagged) and not self.flagged.all() else values


def analyze(
    signal: SignalArray,
    rate_hz: float,
    nominal_v: float = 120.0,
    nominal_hz: float = 60.0,
    limits: Limits | None = None,
    v_per_lsb: float = 1.0,
) -> Analysis:
    """All quantities and disturbances of a signal.

    Args:
        signal: (n,) volts, or counts with their gain in `v_per_lsb`.
        nominal_v: Udin, the declared voltage to which `limits` refer.
    Raises:
        ValueError: see `signal.check_signal`; a nominal or the gain is not positive.
    """
    if not 0 < v_per_lsb <= MOST_V:
        raise ValueError(f"v_per_lsb is {v_per_lsb:g}, want a positive number (to {MOST_V:g})")
    tracked = track(signal, rate_hz, nominal_hz)
    edges, half_edges = tracked.edges(1), tracked.edges(2)
    half_rms = half_cycle_rms_v(signal, half_edges)
    detector = Detector(rate_hz, nominal_v, nominal_hz, limits, v_per_lsb)
    found = disturbances_in(detector, signal, half_edges)
    windows = spectrum(signal, rate_hz, nominal_hz, edges)
    flagged = _touched(edges[:: cycles_per_window(nominal_hz)], found)
    orders = windows.subgroups()
    chosen = orders[~flagged] if not flagged.all() else orders
    frequency_hz = cycle_frequency_hz(edges, rate_hz)
    frequency_hz[~tracked.known_between(edges[:-1], edges[1:])] = np.nan
    return Analysis(
        rate_hz=rate_hz,
        samples=len(signal),
        nominal_v=nominal_v,
        nominal_hz=nominal_hz,
        edges=edges,
        half_edges=half_edges,
        rms_v=cycle_rms_v(signal, edges) * v_per_lsb,
        frequency_hz=frequency_hz,
        half_rms_v=half_rms * v_per_lsb,
        window_hz=tracked_window_frequency_hz(tracked),
        window_thd=windows.thd(),
        flagged=flagged,
        harmonics=_mean_ratios(chosen),
        flicker=flicker(signal, rate_hz, lamp_for(nominal_v, nominal_hz)),
        disturbances=found,
    )


def known(value: float) -> float | None:
    """None for NaN and infinity: unknown is null, never a guess."""
    return value if math.isfinite(value) else None


def _touched(bounds: FloatArray, disturbances: Sequence[Disturbance]) -> BoolArray:
    """(w,) whether a disturbance overlaps the window bounds[i] .. bounds[i + 1]."""
    touched = np.zeros(max(0, len(bounds) - 1), dtype=np.bool_)
    for each in disturbances:
        touched |= (bounds[:-1] < each.end_sample) & (bounds[1:] > each.start_sample)
    return touched


def _mean_ratios(orders: FloatArray) -> FloatArray:
    """(50,) mean over windows of each order against the first; NaN without a fundamental."""
    usable = orders[orders[:, 0] > 0]
    if len(usable) == 0:
        return np.full(orders.shape[1], np.nan)
    means: FloatArray = (usable / usable[:, :1]).mean(axis=0)
    return means


def _statistics(values: FloatArray, *names: str) -> dict[str, float | None]:
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return dict.fromkeys(names)
    return {name: known(float(getattr(np, name)(values))) for name in names}
