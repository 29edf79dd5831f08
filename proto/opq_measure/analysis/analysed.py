"""The result of an analysis, and its form in the `opq-tools analyze` contract."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from opq_measure.aggregation.aggregate import Aggregate
from opq_measure.analysis.course import statistics_of
from opq_measure.analysis.lasting_conditions import WindowSeries
from opq_measure.analysis.occurrence import Occurrence
from opq_measure.events.disturbance import Disturbance
from opq_measure.flicker.meter import Flicker
from opq_measure.frequency.ten_seconds import TenSeconds
from opq_measure.signal import BoolArray, FloatArray

KEYS = {
    "rms": ("rms_v",),
    "frequency": ("frequency_hz", "frequency_10_s"),
    "events": ("events",),
    "harmonics": ("thd_percent", "harmonics_percent", "interharmonics_percent", "offset_v", "noise_v"),
    "flicker": ("flicker",),
}
"""The keys of the contract that are null where a group of quantities is left out."""
ROWS_AT_ONCE = 1 << 12
"""Number of cycles that are converted to objects at once."""


@dataclass(frozen=True, slots=True)
class MissingSamples:
    """Samples missing from `first_sample` on, counted from the signal's sample 0."""

    first_sample: int
    samples: int


@dataclass(frozen=True, slots=True)
class SignalAnalysis:
    """The results of the measurement core for a signal. Arrays have NaN where a value is not known.

    `cycle_starts`, `rms_v`, `frequency_hz` (c,) per cycle; `half_starts`, `half_rms_v` (h,) Urms(1/2); starts
    in fractional samples from sample 0. Per 10/12-cycle window (w,): `window_starts`, `window_hz`,
    `window_thd` (a ratio) and `flagged`, touched by a dip, swell or interruption (4-30:2015, 4.7).
    `harmonics` and `interharmonics` (50,): mean ratio to the fundamental, of windows that are not flagged;
    `details`: what came with each of `disturbances`, such as a phase jump at its start.
    """

    rate_hz: float
    samples: int
    """Number from the first to the last, gaps included."""
    nominal_v: float
    nominal_hz: float
    start_ns: int | None
    gaps: tuple[MissingSamples, ...]
    cycle_starts: FloatArray
    rms_v: FloatArray
    frequency_hz: FloatArray
    half_starts: FloatArray
    half_rms_v: FloatArray
    window_starts: FloatArray
    window_hz: FloatArray
    window_thd: FloatArray
    flagged: BoolArray
    harmonics: FloatArray
    interharmonics: FloatArray
    offset_v: float
    """DC, the mean of the windows; NaN without a whole window."""
    noise_v: float
    """Rms of the noise from DC to half the rate, of the median window."""
    flicker: Flicker
    disturbances: tuple[Disturbance, ...]
    details: tuple[tuple[Occurrence, ...], ...]
    occurrences: tuple[Occurrence, ...]
    aggregates: tuple[Aggregate, ...]
    ten_seconds: tuple[TenSeconds, ...]
    series: WindowSeries
    """The quantities of the windows, for `conditions` with other limits."""
    course: FloatArray
    """(3, m) where each entry of Urms(1/2) begins (samples), its least and its most value; at most 16384."""
    rms_statistics: Mapping[str, float | None]
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Groups of quantities that were not measured, and keys that are null, each with the reason."""

    @property
    def events(self) -> tuple[Disturbance | Occurrence, ...]:
        """Events of all classes, in time order."""
        return tuple(sorted((*self.disturbances, *self.occurrences), key=lambda each: each.start_sample))

    @property
    def duration_s(self) -> float:
        return self.samples / self.rate_hz

    def contract(self, file: str) -> dict[str, object]:
        """The contract's JSON object, in SI units, with None for unknown. It is large; see `summary`."""
        return {
            **self.summary(file),
            "aggregates": [each.entry() for each in self.aggregates],
            "cycles": list(chain.from_iterable(self.cycle_rows())),
            "half_cycles": list(chain.from_iterable(self.half_cycle_rows())),
        }

    def summary(self, file: str) -> dict[str, object]:
        """The contract's object without the rows of `aggregates`, `cycles` and `half_cycles`."""
        left_out = {key: None for group, keys in KEYS.items() if group in self.left_out for key in keys}
        return {**self._figures(file), **left_out, "left_out": dict(self.left_out)}

    def _figures(self, file: str) -> dict[str, object]:
        used = self._unflagged()
        details = dict(zip(map(id, self.disturbances), self.details, strict=True))
        return {
            "file": file,
            "rate_hz": self.rate_hz,
            "samples": self.samples,
            "duration_s": self.duration_s,
            "nominal_volts": self.nominal_v,
            "nominal_hz": self.nominal_hz,
            "start_ns": self.start_ns,
            "gaps": [{"first_sample": gap.first_sample, "samples": gap.samples} for gap in self.gaps],
            "frequency_hz": statistics_of(self._known_hz(), "mean", "min", "max", "std"),
            "rms_v": dict(self.rms_statistics),
            "thd_percent": statistics_of(100 * self.window_thd[used], "mean", "max"),
            "harmonics_percent": [known(100 * ratio) for ratio in self.harmonics.tolist()],
            "interharmonics_percent": [known(100 * ratio) for ratio in self.interharmonics.tolist()],
            "flicker": {"pinst_max": self.flicker.pinst_max, "pst": self.flicker.pst},
            "offset_v": known(self.offset_v),
            "noise_v": known(self.noise_v),
            "windows": {"count": len(self.flagged), "flagged": int(np.count_nonzero(self.flagged))},
            "events": [
                {**each.entry(), "with": [part.entry() for part in details.get(id(each), ())]}
                for each in self.events
            ],
            "frequency_10_s": [
                {
                    "start_s": each.start_ns / 1e9,
                    "utc": each.utc,
                    "frequency_hz": known(each.frequency_hz),
                    "cycles": each.cycles,
                    "coverage": each.coverage,
                    "flagged": each.flagged,
                }
                for each in self.ten_seconds
            ],
        }

    def aggregate_rows(self) -> Iterator[list[dict[str, object]]]:
        """The contract's `aggregates`, some thousands at a time."""
        for first in range(0, len(self.aggregates), ROWS_AT_ONCE):
            yield [each.entry() for each in self.aggregates[first : first + ROWS_AT_ONCE]]

    def cycle_rows(self) -> Iterator[list[dict[str, float | None]]]:
        """The contract's `cycles`, some thousands at a time."""
        return _rows(
            self.cycle_starts / self.rate_hz, {"rms_v": self.rms_v, "frequency_hz": self.frequency_hz}
        )

    def half_cycle_rows(self) -> Iterator[list[dict[str, float | None]]]:
        """The contract's `half_cycles`, some thousands at a time."""
        return _rows(self.half_starts / self.rate_hz, {"rms_v": self.half_rms_v})

    def _known_hz(self) -> FloatArray:
        """The frequency of the windows; of its cycles where a signal is too short for a window."""
        return self.window_hz if len(self.window_hz) else self.frequency_hz

    def _unflagged(self) -> BoolArray:
        """(w,) the unflagged windows, or all windows if all are flagged."""
        return ~self.flagged if not self.flagged.all() else self.flagged


def known(value: float) -> float | None:
    """None for NaN and infinity: unknown is null, never a guess."""
    return value if math.isfinite(value) else None


def _rows(starts_s: FloatArray, columns: Mapping[str, FloatArray]) -> Iterator[list[dict[str, float | None]]]:
    for first in range(0, len(starts_s), ROWS_AT_ONCE):
        part = slice(first, first + ROWS_AT_ONCE)
        values = zip(*(column[part].tolist() for column in columns.values()), strict=True)
        yield [
            {"index": index, "start_s": start_s}
            | {name: known(value) for name, value in zip(columns, row, strict=True)}
            for index, (start_s, row) in enumerate(zip(starts_s[part].tolist(), values, strict=True), first)
        ]
