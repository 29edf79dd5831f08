"""The complete analysis of a recording: the `opq-tools analyze` contract.

The signal is cut into 10/12-cycle windows, and all quantities refer to their edges. Only results are held in
memory: some hundred bytes per window, 100 MB for a day, and the cycles only where they are kept. Batch and
stream are the same computation: any blocks give the same bits (test_measure_analysis.py).

Windows that a dip, swell or interruption touches are flagged (IEC 61000-4-30:2015, 4.7) and left out of THD
and harmonics, unless there are no others: a step inside a window is not a harmonic.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from opq_measure.aggregation.aggregate import Aggregate
from opq_measure.analysis.analysed import MissingSamples, SignalAnalysis
from opq_measure.analysis.occurrence import ON_FIRST_SAMPLES, Occurrence, confidence_of
from opq_measure.analysis.occurrences import occurrences_of
from opq_measure.analysis.quantities import GROUPS, left_out_groups
from opq_measure.analysis.recorders import CycleRecorder, FlickerRecorder, WindowRecorder
from opq_measure.analysis.sudden import Sudden
from opq_measure.events.detector import Detector, Notice
from opq_measure.events.disturbance import RMS_SIGMA_PERCENT, Disturbance
from opq_measure.events.flagging import Flagging
from opq_measure.events.limits import Limits
from opq_measure.events.rapid_change import RapidChange, RapidLimits
from opq_measure.frequency.ten_seconds import TenSecondFrequency, TenSeconds
from opq_measure.signal import LEAST_SAMPLES, MAX_V, SignalArray, SignalPiece, check_signal
from opq_measure.timebase.windows import Window, Windows

BLOCK_SAMPLES = 1 << 17
"""Samples that are pushed at once, 11 s. They fit in the cache, and progress can be shown often enough."""
WINDOWS_AT_ONCE = 8
"""Number of windows that are measured together."""


class Analyser:
    """Measures a stream's quantities and disturbances: `push_samples` for each piece, `end` after the last.

    Args:
        nominal_v: Udin, the declared voltage to which `limits` refer.
        only: the groups of quantities to measure; a slow signal has only some of them (`left_out`).
        keep_cycles: whether the result has the cycles and half cycles, 40 bytes for each cycle.
        on_window: is called with every window, in order.
    Raises:
        ValueError: see `signal.check_signal`; a nominal is not positive; samples that were pushed already.

    CPU at 12 kS/s: 4 ms per second of signal on a busy machine, flicker included.
    """

    def __init__(
        self,
        nominal_v: float = 120.0,
        nominal_hz: float = 60.0,
        limits: Limits | None = None,
        only: Collection[str] = GROUPS,
        keep_cycles: bool = True,
        on_window: Callable[[Window], None] | None = None,
    ) -> None:
        left_out_groups(1.0, nominal_hz, only)  # refuses unknown groups
        self._nominal_v, self._nominal_hz, self._limits = nominal_v, nominal_hz, limits
        self._cutter = Windows(nominal_hz)
        self._flagging = Flagging()
        self._only, self._on_window = tuple(only), on_window
        self._left_out: dict[str, str] = {}
        self._cycles = CycleRecorder(nominal_v, keep_cycles)
        self._windows = WindowRecorder(nominal_hz)  # replaced when the rate is known
        self._flicker = FlickerRecorder(nominal_v, nominal_hz)
        self._ten_seconds = TenSecondFrequency()
        self._sudden = Sudden()
        self._detector: Detector | None = None
        self._first: SignalPiece | None = None  # without its volts
        self._end = 0
        self._gaps: list[MissingSamples] = []
        self._filled: list[tuple[int, int]] = []
        self._settled: list[tuple[Window, bool]] = []
        self._rms_v: deque[float] = deque()  # of the windows that are not measured yet
        self._disturbances: list[Disturbance] = []
        self._occurrences: list[Occurrence] = []
        self._suddens: list[Occurrence] = []
        self._tens: list[TenSeconds] = []
        self._aggregates: list[Aggregate] = []

    def push_samples(self, samples: SignalPiece, filled: bool = False) -> None:
        """Accepts the next piece; where its `first_sample` jumps ahead there is a gap.

        Args:
            filled: the samples were not recorded but interpolated. They are listed as a gap, and windows with
                one of them are flagged.
        """
        if self._first is None or self._detector is None:
            check_signal(samples.volts[:0], samples.rate_hz, self._nominal_hz, LEAST_SAMPLES)
            self._left_out = left_out_groups(samples.rate_hz, self._nominal_hz, self._only)
            self._windows = WindowRecorder(self._nominal_hz, "harmonics" not in self._left_out)
            rapid = RapidLimits()
            self._detector = Detector(
                samples.rate_hz, self._nominal_v, self._nominal_hz, self._limits, rapid_change=rapid
            )
            self._first = replace(samples, volts=samples.volts[:0].copy())
        if not 0 < samples.v_per_lsb <= MAX_V:
            raise ValueError(f"v_per_lsb is {samples.v_per_lsb:g}, want a positive number (to {MAX_V:g})")
        piece = replace(samples, first_sample=samples.first_sample - self._first.first_sample)
        if piece.first_sample < self._end:
            raise ValueError(f"sample {samples.first_sample} was pushed before")
        if piece.first_sample > self._end:
            self._gaps.append(MissingSamples(self._end, piece.first_sample - self._end))
        if filled:
            self._gaps.append(MissingSamples(piece.first_sample, len(piece.volts)))
            self._filled.append((piece.first_sample, piece.end_sample))
        self._end = piece.end_sample
        runs = self._cutter.runs
        found = self._cutter.push_samples(piece)
        if 0 < runs < self._cutter.runs:
            before = [window for window in found if window.first_sample < piece.first_sample]
            self._end_run(before)
            found = found[len(before) :]
        self._accept_windows(found)
        if "flicker" not in self._left_out:
            self._flicker.push_samples(piece)

    def end(self) -> SignalAnalysis:
        """Ends the signal and returns its analysis.

        Raises:
            ValueError: nothing was pushed.
        """
        if self._first is None:
            raise ValueError("no samples were pushed, so there is no result")
        self._end_run(self._cutter.end())
        self._tens += self._ten_seconds.end()
        self._aggregates += self._windows.end()
        rate_hz = self._first.rate_hz
        disturbances = tuple(
            sorted(
                (_within(each, rate_hz) for each in self._disturbances), key=lambda each: each.start_sample
            )
        )
        suddens = [each.within() for each in self._suddens]
        series = self._windows.series(rate_hz)
        intervals = self._flicker.end()
        details, found = occurrences_of(disturbances, suddens, self._occurrences, series, intervals)
        if "events" in self._left_out:
            found = ()
        return SignalAnalysis(
            rate_hz=rate_hz,
            samples=self._end,
            nominal_v=self._nominal_v,
            nominal_hz=self._nominal_hz,
            start_ns=self._first.start_ns,
            gaps=tuple(self._gaps),
            cycle_starts=self._cycles.starts.array(),
            rms_v=self._cycles.rms_v.array(),
            frequency_hz=self._cycles.frequency_hz.array(),
            half_starts=self._cycles.half_starts.array(),
            half_rms_v=self._cycles.half_rms_v.array(),
            window_starts=self._windows.starts.array(),
            window_hz=self._windows.frequency_hz.array(),
            window_thd=self._windows.thd.array(),
            flagged=self._windows.flagged.array() > 0,
            harmonics=self._windows.harmonics(),
            interharmonics=self._windows.interharmonics(),
            offset_v=self._windows.offset_v(),
            noise_v=self._windows.noise_v(),
            flicker=self._flicker.found(),
            disturbances=disturbances,
            details=details,
            occurrences=found,
            aggregates=tuple(self._aggregates),
            ten_seconds=tuple(self._tens),
            series=series,
            course=self._cycles.course.entries(),
            rms_statistics=self._cycles.statistics(),
            left_out=self._left_out,
        )

    def _accept_windows(self, windows: Iterable[Window]) -> None:
        assert self._detector is not None
        for window in windows:
            self._rms_v.append(self._cycles.push_window(window))
            notices = [] if "events" in self._left_out else self._detector.push_window(window)
            self._note(notices)
            self._measure(self._flagging.push_window(window, notices))

    def _end_run(self, last: Iterable[Window]) -> None:
        """Measures the last windows of a run, the rest after them, and windows that waited for these."""
        self._accept_windows(last)
        assert self._detector is not None
        notices: list[Notice] = []
        if self._cutter.rest is not None:
            self._cycles.push_window(self._cutter.rest)
            if "events" not in self._left_out:
                notices += self._detector.push_window(self._cutter.rest)
        if "events" not in self._left_out:
            notices += self._detector.end()
        self._note(notices)
        self._measure(self._flagging.end(notices), flush=True)

    def _has_filled(self, window: Window) -> bool:
        end = window.first_sample + len(window.volts)
        return any(first < end and stop > window.first_sample for first, stop in self._filled)

    def _note(self, notices: Iterable[Notice]) -> None:
        for notice in notices:
            if isinstance(notice, Disturbance):
                self._disturbances.append(notice)
            elif isinstance(notice, RapidChange) and self._first is not None:
                self._occurrences.append(_rapid(notice, self._first.rate_hz, self._nominal_hz))

    def _measure(self, settled: Iterable[tuple[Window, bool]], flush: bool = False) -> None:
        """Measures windows whose flags are final, eight at a time from the beginning of the run."""
        self._settled += settled
        while len(self._settled) >= WINDOWS_AT_ONCE or (flush and self._settled):
            part, self._settled = self._settled[:WINDOWS_AT_ONCE], self._settled[WINDOWS_AT_ONCE:]
            part = [(window, flagged or self._has_filled(window)) for window, flagged in part]
            if self._on_window is not None:
                for window, _ in part:
                    self._on_window(window)
            rms_v = [self._rms_v.popleft() for _ in part]
            self._aggregates += self._windows.push_windows(part, rms_v)
            if "frequency" not in self._left_out:
                for window, flagged in part:
                    self._tens += self._ten_seconds.push_window(window, flagged)
            if "transients" not in self._left_out:
                self._suddens += self._sudden.push_windows([window for window, _ in part])


def analyze(
    signal: SignalArray,
    rate_hz: float,
    nominal_v: float = 120.0,
    nominal_hz: float = 60.0,
    limits: Limits | None = None,
    v_per_lsb: float = 1.0,
    start_ns: int | None = None,
) -> SignalAnalysis:
    """All quantities and disturbances of a signal, by one `Analyser` over all of it.

    Args:
        signal: (n,) volts, or counts with their gain in `v_per_lsb`; mapped arrays are read block by block.
        start_ns: UTC of its first sample; without it, ten-minute intervals count from that sample.
    Raises:
        ValueError: see `signal.check_signal`; a nominal or the gain is not positive.
    """
    check_signal(signal, rate_hz, nominal_hz, LEAST_SAMPLES)
    analyser = Analyser(nominal_v, nominal_hz, limits)
    whole = SignalPiece(signal, 0, rate_hz, start_ns)
    for first in range(0, max(1, len(signal)), BLOCK_SAMPLES):
        part = signal[first : first + BLOCK_SAMPLES]
        analyser.push_samples(SignalPiece(part, first, rate_hz, whole.time_ns(first), v_per_lsb))
    return analyser.end()


def _within(event: Disturbance, rate_hz: float) -> Disturbance:
    """Like `Occurrence.within`. The start moves by less than its uncertainty, so the class stays valid."""
    if event.start_sample > ON_FIRST_SAMPLES:
        return event
    return replace(event, start_sample=0.0, start_s=0.0, duration_s=event.end_sample / rate_hz)


def _rapid(change: RapidChange, rate_hz: float, nominal_hz: float) -> Occurrence:
    threshold = RapidLimits().threshold_percent
    return Occurrence(
        kind="rapid_voltage_change",
        start_sample=change.start_sample,
        end_sample=change.end_sample,
        rate_hz=rate_hz,
        nominal_hz=nominal_hz,
        confidence=confidence_of(abs(change.largest_change_percent), threshold, RMS_SIGMA_PERCENT),
        because=(
            f"Urms(1/2) left its mean by {change.largest_change_percent:+.2f} % of nominal and came to rest "
            f"{change.steady_change_percent:+.2f} % from it"
        ),
        figures={
            "steady_change_percent": change.steady_change_percent,
            "largest_change_percent": change.largest_change_percent,
        },
    )
