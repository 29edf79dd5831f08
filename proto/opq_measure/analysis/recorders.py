"""The quantities of every 10/12-cycle window of a signal, in time order, and their means over all windows."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from opq_measure.aggregation.aggregate import Aggregate, Quantity
from opq_measure.aggregation.aggregator import Aggregator
from opq_measure.analysis.course import Course, RunningStatistics, statistics_of
from opq_measure.analysis.lasting_conditions import WindowSeries
from opq_measure.cycle_starts import window_urms_v
from opq_measure.flicker.lamps import lamp_for
from opq_measure.flicker.meter import MIN_RATE, MIN_S, Flicker, FlickerInterval, Flickermeter
from opq_measure.frequency.per_window import cycle_frequency_hz
from opq_measure.harmonics.interharmonics import interharmonic_subgroups, noise_floor, strongest_interharmonic
from opq_measure.harmonics.spectrum import ORDERS, Spectrum, spectrum_of
from opq_measure.rms import energies
from opq_measure.signal import BoolArray, FloatArray, SignalPiece
from opq_measure.timebase.cycles import cycles_per_window
from opq_measure.timebase.window import Window, WindowTime
from opq_measure.waveform.notches import SHARP_NOTCH_SHARE, SHARP_ORDER, notching_in

QUANTITIES = (Quantity("rms_v"), Quantity("frequency_hz", mean="arithmetic"), Quantity("thd_percent"))
"""Quantities that are aggregated over 150/180 cycles, ten minutes and two hours."""
EXAMINE_EVERY = 4
"""One window in this many is searched for notches and noise, which shows as much as a search of all."""
NOTCH_POWER_RATIO = 1.4
"""Notches exceed this multiple of the noise's power in these orders, which is four times the scatter of 111
bins."""


class Growing:
    """A growing array (n,) of float64; its capacity is doubled when it is full."""

    def __init__(self) -> None:
        self._room = np.empty(1024)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, values: FloatArray) -> None:
        """Appends values."""
        needed = self._count + len(values)
        if needed > len(self._room):
            room = np.empty(max(needed, 2 * len(self._room)))
            room[: self._count] = self._room[: self._count]
            self._room = room
        self._room[self._count : needed] = values
        self._count = needed

    def array(self) -> FloatArray:
        """A view of the present values."""
        return self._room[: self._count]


APART_CYCLES = 1 / 8
"""Share of a cycle: an edge this near to the last one is the same edge, in windows that overlap at a tick."""


class WindowRecorder:
    """Measures windows, pushed in order, some at a time. Flagged ones count only where there is no other.

    Without `harmonics`, no spectrum is computed, and what rests on it is unknown.
    """

    def __init__(self, nominal_hz: float, harmonics: bool = True) -> None:
        self.starts, self.stops, self.flagged = Growing(), Growing(), Growing()
        """One entry per window: samples on the Box's axis; 0 or 1 for `flagged`."""
        self.frequency_hz, self.thd = Growing(), Growing()
        self._interharmonic, self._interharmonic_hz = Growing(), Growing()
        self._notch, self._notches = Growing(), Growing()
        self._noise_v = Growing()
        self._noise, self._dc_v, self._mirrored = Growing(), Growing(), Growing()
        self._nominal_hz = nominal_hz
        self._cycles = cycles_per_window(nominal_hz)
        self._harmonics = harmonics
        self._aggregator = Aggregator(QUANTITIES if harmonics else QUANTITIES[:2], nominal_hz)
        self._sums = np.zeros((2, 2 * ORDERS + 1))  # unflagged and flagged windows: ratios and DC
        self._counts = np.zeros((2, 2))  # windows with a fundamental, and all

    def push_windows(self, settled: Sequence[tuple[Window, bool]], rms_v: Sequence[float]) -> list[Aggregate]:
        """Accepts the next windows with their flags and rms; returns the intervals that they complete."""
        windows = [window for window, _ in settled]
        flagged = np.array([flag for _, flag in settled])
        self.starts.add(np.array([window.first_sample + window.edges[0] for window in windows]))
        self.stops.add(np.array([window.first_sample + window.edges[-1] for window in windows]))
        self.flagged.add(flagged.astype(np.float64))
        self.frequency_hz.add(np.array([window.frequency_hz for window in windows]))
        thd = self._measure_spectrum(windows, flagged) if self._harmonics else np.full(len(windows), np.nan)
        self.thd.add(thd)
        return [
            aggregate
            for (window, flag), rms, value in zip(settled, rms_v, thd.tolist(), strict=True)
            for aggregate in self._aggregated(window, flag, rms, value)
        ]

    def _measure_spectrum(self, windows: Sequence[Window], flagged: BoolArray) -> FloatArray:
        """Adds all quantities of the spectrum; returns (w,) THD, a ratio."""
        spectrum = spectrum_of(windows, self._cycles)
        thd = spectrum.thd()
        known = np.array([window.known for window in windows])
        thd[~known] = np.nan
        self._sum(spectrum, flagged, known)
        floor = noise_floor(spectrum)
        self._strongest(spectrum, known, floor, np.array([window.rate_hz for window in windows]))
        self._examine(windows, spectrum, floor)
        return thd

    def end(self) -> list[Aggregate]:
        """Returns the unfinished intervals at the end of the signal."""
        return self._aggregator.end()

    def harmonics(self) -> FloatArray:
        """(50,) mean ratio of each order's subgroup to the first; NaN without a fundamental."""
        return self._mean()[:ORDERS]

    def interharmonics(self) -> FloatArray:
        """(50,) mean ratio of the centred subgroup above order 0 .. 49 to the fundamental."""
        return self._mean()[ORDERS:-1]

    def offset_v(self) -> float:
        """The mean direct voltage of the windows; NaN without windows."""
        row = self._row()
        return float(self._sums[row, -1] / self._counts[row, 1]) if self._counts[row, 1] else float("nan")

    def noise_v(self) -> float:
        """Rms of white noise up to half the rate: the median of the windows' noise between their
        harmonics."""
        found = self._noise_v.array()
        found = found[np.isfinite(found)]
        return float(np.median(found)) if len(found) else float("nan")

    def series(self, rate_hz: float) -> WindowSeries:
        """The course for `conditions`, with quantities of flagged windows unknown."""
        clear = self.flagged.array() == 0
        hz = np.where(clear, self.frequency_hz.array(), np.nan)
        unknown = np.broadcast_to(np.nan, len(clear))  # takes no memory
        thd, line, line_hz, mirrored, noise, dc_v, notch = (
            np.where(clear, each.array(), np.nan) if self._harmonics else unknown
            for each in (
                self.thd,
                self._interharmonic,
                self._interharmonic_hz,
                self._mirrored,
                self._noise,
                self._dc_v,
                self._notch,
            )
        )
        return WindowSeries(
            rate_hz=rate_hz,
            nominal_hz=self._nominal_hz,
            starts=self.starts.array(),
            stops=self.stops.array(),
            frequency_hz=hz,
            thd=thd,
            interharmonic=line,
            interharmonic_hz=line_hz,
            mirrored=mirrored,
            noise=noise,
            dc_v=dc_v,
            notch=notch,
            notches=self._notches.array() if self._harmonics else unknown,
        )

    def _sum(self, spectrum: Spectrum, flagged: BoolArray, known: BoolArray) -> None:
        orders = spectrum.subgroups()
        fundamentals = np.where(known, orders[:, 0], 0.0)
        ratios = np.concatenate((orders, interharmonic_subgroups(spectrum)), axis=1)
        for row, fundamental, offset, flag in zip(
            ratios, fundamentals.tolist(), spectrum.lines[:, 0].real.tolist(), flagged.tolist(), strict=True
        ):
            self._sums[int(flag), -1] += offset
            self._counts[int(flag), 1] += 1
            if fundamental > 0:
                self._sums[int(flag), :-1] += row / fundamental
                self._counts[int(flag), 0] += 1

    def _strongest(
        self, spectrum: Spectrum, known: BoolArray, floor: FloatArray, rate_hz: FloatArray
    ) -> None:
        hz, rms = strongest_interharmonic(spectrum)
        fundamental = np.where(known, spectrum.harmonics()[:, 0], np.nan)
        fundamental[~(fundamental > 0)] = np.nan
        self._interharmonic.add(rms / fundamental)
        self._interharmonic_hz.add(hz)
        self._mirrored.add(_mirrored(spectrum, hz) / fundamental)
        self._noise.add(floor * np.sqrt(rate_hz / 2 / spectrum.bin_hz) / fundamental)
        self._dc_v.add(spectrum.lines[:, 0].real)

    def _examine(self, windows: Sequence[Window], spectrum: Spectrum, floors: FloatArray) -> None:
        """Measures noise and notches of one window in four."""
        examined = slice(None, None, EXAMINE_EVERY)
        part = Spectrum(
            spectrum.cycles, spectrum.bin_hz[examined], spectrum.lines[examined], spectrum.power[examined]
        )
        rate_hz = np.array([window.rate_hz for window in windows[examined]])
        floor = floors[examined]
        self._noise_v.add(floor * np.sqrt(rate_hz / 2 / part.bin_hz))
        notch, count = np.full((2, len(windows)), np.nan)
        orders = part.subgroups()
        noise = (
            NOTCH_POWER_RATIO * 3 * (ORDERS - SHARP_ORDER + 1) * np.nan_to_num(floor) ** 2
        )  # a subgroup has three bins
        high = np.nan_to_num(orders[:, SHARP_ORDER - 1 :] ** 2)
        power = high.sum(axis=1) - high.max(axis=1)  # a single harmonic is not notching
        sharp = power > (SHARP_NOTCH_SHARE * orders[:, 0]) ** 2 + noise
        for at, looks in zip(range(0, len(windows), EXAMINE_EVERY), sharp.tolist(), strict=True):
            notch[at], count[at] = _notches(windows[at]) if looks else (0.0, 0.0)
        self._notch.add(notch)
        self._notches.add(count)

    def _aggregated(self, window: Window, flagged: bool, rms_v: float, thd: float) -> list[Aggregate]:
        values = {"rms_v": rms_v, "frequency_hz": window.frequency_hz}
        if self._harmonics:
            values["thd_percent"] = 100 * thd
        return self._aggregator.push_values(WindowTime.of(window), values, flagged)

    def _row(self) -> int:
        """Row of the unflagged windows, or of the flagged ones if there are only these."""
        return 0 if self._counts[0, 0] or not self._counts[1, 0] else 1

    def _mean(self) -> FloatArray:
        row = self._row()
        if not self._counts[row, 0]:
            return np.full(2 * ORDERS + 1, np.nan)
        found: FloatArray = self._sums[row] / self._counts[row, 0]
        return found


def _mirrored(spectrum: Spectrum, hz: FloatArray) -> FloatArray:
    """(w,) rms at the mirror image of `hz` about the fundamental; 0 where that is beyond DC."""
    place = 2 * spectrum.cycles - hz / spectrum.bin_hz
    inside = np.isfinite(place) & (place > 1) & (place < 2 * spectrum.cycles - 1)
    near = np.where(inside, np.round(np.nan_to_num(place)), 1).astype(np.int64)
    power = spectrum.power[np.arange(len(place))[:, None], near[:, None] + np.arange(-1, 2)].sum(axis=1)
    found: FloatArray = np.where(inside, np.sqrt(power), 0.0)
    return found


def _notches(window: Window) -> tuple[float, float]:
    """Depth of the deepest periodic notch over the fundamental's peak, and the number per cycle."""
    found = notching_in(window.volts, window.track)
    if not found:
        return 0.0, 0.0
    most = max(found, key=lambda each: each.deepest.depth_v)
    return most.deepest.depth_v / float(np.median(window.track.amplitude)), float(most.per_cycle)


class CycleRecorder:
    """The cycles of windows, pushed in order. The rms of a cycle is the Urms(1/2) that begins with it.

    Without `keep` only the statistics and course of the cycles are held, so that memory does not grow.
    """

    def __init__(self, nominal_v: float, keep: bool = True) -> None:
        self.starts, self.rms_v, self.frequency_hz = Growing(), Growing(), Growing()
        """(c,) one entry per cycle; starts are samples on the Box's axis."""
        self.half_starts, self.half_rms_v = Growing(), Growing()
        """Urms(1/2), (h,)."""
        self.course = Course()
        self._keep, self._running = keep, RunningStatistics(nominal_v)
        self._last = -np.inf

    def push_window(self, window: Window) -> float:
        """Accepts the next window, or the rest of a run after it; returns the rms over all of it."""
        halves = window.half_edges
        if math.isfinite(window.next_half):
            halves = np.append(halves, window.next_half)
        energy = np.maximum(energies(window.volts, halves), 0.0)
        inside = len(window.half_edges) - 1
        whole_v = math.sqrt(float(energy[:inside].sum()) / float(halves[inside] - halves[0]))
        rms_v = window_urms_v(window, halves)
        starts = window.first_sample + halves[: len(rms_v)]
        cycles = len(window.edges) - 1
        hz = cycle_frequency_hz(window.edges, window.rate_hz)
        hz[~window.track.known_between(window.edges[:-1], window.edges[1:])] = np.nan
        new = int(np.searchsorted(starts, self._last + APART_CYCLES * window.rate_hz / window.nominal_hz))
        first = (new + 1) // 2
        self.course.add(starts[new:], rms_v[new:])
        if self._keep:
            self.half_starts.add(starts[new:])
            self.half_rms_v.add(rms_v[new:])
            self.starts.add(starts[::2][first:cycles])
            self.rms_v.add(rms_v[::2][first:cycles])
            self.frequency_hz.add(hz[first:])
        else:
            self._running.add(rms_v[::2][first:cycles])
        if len(starts):
            self._last = float(starts[-1])
        return whole_v

    def statistics(self) -> dict[str, float | None]:
        """Mean, least, median and most rms of the cycles; None without any."""
        return statistics_of(self.rms_v.array()) if self._keep else self._running.found()


class FlickerRecorder:
    """Accepts samples; returns intervals of ten minutes at the end."""

    def __init__(self, nominal_v: float, nominal_hz: float) -> None:
        self._lamp = lamp_for(nominal_v, nominal_hz)
        self._meter: Flickermeter | None = None
        self._waiting: list[SignalPiece] = []
        self._samples_waiting = 0
        self._intervals: list[FlickerInterval] = []

    def push_samples(self, samples: SignalPiece) -> None:
        """Accepts the next piece; holds pieces back until there are 5 s of them."""
        if self._meter is not None:
            self._intervals += self._meter.push_samples(samples)
            return
        if samples.rate_hz < MIN_RATE * self._lamp.nominal_hz:
            return
        self._samples_waiting += len(samples.volts)  # an integer, the same for any blocks
        if self._samples_waiting < MIN_S * samples.rate_hz:
            self._waiting.append(replace(samples, volts=np.array(samples.volts)))
            return
        self._meter = Flickermeter(self._lamp)
        for each in (*self._waiting, samples):
            self._intervals += self._meter.push_samples(each)
        self._waiting.clear()

    def end(self) -> list[FlickerInterval]:
        """Returns all ten-minute intervals, including unfinished ones."""
        if self._meter is not None:
            self._intervals += self._meter.end()
        return self._intervals

    def found(self) -> Flicker:
        """The largest Pinst and Pst; valid after `end`."""
        peaks = [each.pinst_max for each in self._intervals if np.isfinite(each.pinst_max)]
        psts = [each.pst for each in self._intervals if np.isfinite(each.pst)]
        return Flicker(max(peaks) if peaks else None, max(psts) if psts else None)
