"""Finds short disturbances in the windows that a Measurement of a second does not show, and sends each at
once as `edge_<class>`.

    impulsive_transient, oscillatory_transient    V    peak, signed, off the steady wave
    phase_jump                                    deg  the jump of the fundamental's phase
    periodic_notching                             %    the deepest, of the fundamental's peak; as it begins
    rapid_voltage_change                          %    of nominal, from one steady second to the next, signed
    mains_signalling                              %    the line of a pulse, of the fundamental; as it ends

Each is defined in `opq_measure`; this module decides when to search for it. `Sudden` gets several windows at
a time and examines only samples that differ from the cycle before. Notches are searched where the high orders
rose. A rapid change and a telegram's pulse cost one comparison. At most one finding of a class is reported in
EVERY_S, because a Box next to a welder must not fill the event store. Pure; one Box.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from opq_gateway.measuring.window_figures import WindowFigures
from opq_measure.analysis.occurrence import Occurrence
from opq_measure.analysis.sudden import Sudden
from opq_measure.events.limits import Limits
from opq_measure.events.rapid_change import RapidChanges, RapidLimits
from opq_measure.timebase.cycles import WINDOW_S
from opq_measure.timebase.window import Window
from opq_measure.waveform.notches import SHARP_NOTCH_SHARE, SHARP_ORDER, notching_in
from opq_proto.messages import Measurement, Metric, TimeSource

WINDOWS_TOGETHER = 5
"""Windows examined together (a second), at a third of the cost of single ones."""
MAX_TRANSIENTS = 8
"""Most transients in this second, because noise has a thousand and each costs milliseconds."""
MAX_ANALYSES = 4.0
"""Most seconds examined closely in a row. Lasting noise must not take the time of other Boxes."""
ANALYSIS_S = 5.0
"""Time after which another second may be examined closely."""
EVERY_S = 10.0
POWER_RISE_RATIO = 1.5
"""Orders are examined if their power exceeds the usual one by this factor, so that a wave which always has
them is examined once."""
LINE_PERCENT = 0.7
"""Percent of the fundamental in one centred interharmonic subgroup. A line of 1 % at the edge of a subgroup
reaches this value."""
MIN_ORDER = 2
"""Only subgroups above this order: the sidebands of flicker lie below, ripple control above (IEC 61000-2-2,
4.10)."""
KEYED_SHARE = 0.5
"""A pulse rises from below this share of its level and falls below it again, so a line that wavers around the
limit is not a pulse."""
MIN_PULSE_WINDOWS = 2
"""Least length of a pulse. A single window also shows the spread of a sudden change."""
MAX_PULSE_WINDOWS = round(10 / WINDOW_S)
"""Longest pulse. A line that lasts longer is an interharmonic."""
PREFIX = "edge_"


@dataclass(frozen=True, slots=True)
class EdgeFinding:
    """A finding; `kind` is a class of docs/reference/contracts.md, samples are on the Box's axis."""

    kind: str
    start_sample: float
    end_sample: float
    value: float


@dataclass(slots=True)
class EdgePulse:
    """A line between the harmonics that is still present, for `windows` in a row."""

    start_sample: float
    order: int
    most: float
    windows: int = 1


class EdgeDetectors:
    """Searches the windows of one Box in order; call `end` at the end of a run."""

    def __init__(self, nominal_v: float, nominal_hz: float, limits: Limits) -> None:
        self.limited = 0
        """Findings that were not reported, because they came too soon after another of their class."""
        self._nominal_v, self._nominal_hz, self._limits = nominal_v, nominal_hz, limits
        self._last_sample: dict[str, float] = {}
        self._begin()

    def accept_window(self, figures: WindowFigures) -> list[EdgeFinding]:
        """Accepts the next window; returns the findings in it and in the windows before."""
        self._waiting.append(figures)
        return self._analyse() if len(self._waiting) >= WINDOWS_TOGETHER else []

    def end(self) -> list[EdgeFinding]:
        """Ends the run; sample indices may begin again."""
        found = self._analyse() if self._waiting else []
        self._last_sample.clear()
        self._begin()
        return found

    def _begin(self) -> None:
        self._waiting: list[WindowFigures] = []
        self._sudden = Sudden(MAX_TRANSIENTS)
        self._analyses = MAX_ANALYSES
        self._rapid = RapidChanges(RapidLimits(), self._nominal_hz)
        self._usual_power: float | None = None
        self._notching = False
        self._pulse: EdgePulse | None = None
        self._line_before = math.nan

    def _analyse(self) -> list[EdgeFinding]:
        waiting, self._waiting = self._waiting, []
        windows = [figures.window for figures in waiting]
        found = [*self._sudden_ones(windows), *self._changes(waiting)]
        found += self._notches(waiting[len(waiting) // 2])
        found += [each for figures in waiting for each in self._pulses(figures)]
        least = EVERY_S * windows[0].rate_hz
        kept = []
        for each in sorted(found, key=lambda each: each.start_sample):
            if each.start_sample - self._last_sample.get(each.kind, -math.inf) < least:
                self.limited += 1
                continue
            self._last_sample[each.kind] = each.start_sample
            kept.append(each)
        return kept

    def _sudden_ones(self, windows: list[Window]) -> list[EdgeFinding]:
        if self._analyses < 1:
            self._analyses += len(windows) * WINDOW_S / ANALYSIS_S
            return []
        before = self._sudden.searches
        found = self._sudden.push_windows(windows)
        looked = self._sudden.searches - before
        self._analyses = min(MAX_ANALYSES, self._analyses - looked + len(windows) * WINDOW_S / ANALYSIS_S)
        return [_sudden(each) for each in found]

    def _notches(self, figures: WindowFigures) -> Iterator[EdgeFinding]:
        """Looks for notches in one of the waiting windows."""
        fundamental = float(figures.harmonics_v[0])
        high = figures.harmonics_v[SHARP_ORDER - 1 :] ** 2
        power = float(np.add.reduce(high) - high.max())  # a single harmonic is not notching
        if not power > (SHARP_NOTCH_SHARE * fundamental) ** 2:  # also false where the orders are unknown
            self._notching, self._usual_power = False, None
            return
        usual, self._usual_power = self._usual_power, power
        if usual is not None and power <= POWER_RISE_RATIO * usual:
            return
        window = figures.window
        places = notching_in(window.volts, window.track)
        if places and not self._notching:
            deepest = max(each.deepest.depth_v for each in places)
            percent = 100 * deepest / float(np.median(window.track.amplitude))
            start, end = (window.first_sample + float(window.edges[at]) for at in (0, -1))
            yield EdgeFinding("periodic_notching", start, end, percent)
        self._notching = bool(places)

    def _pulses(self, figures: WindowFigures) -> Iterator[EdgeFinding]:
        """Looks for the end of a ripple control telegram's pulse."""
        percent, order = self._line(figures)
        before, self._line_before = self._line_before, percent
        pulse, self._pulse = self._pulse, None
        if pulse is not None and percent >= KEYED_SHARE * pulse.most:
            pulse.windows += 1
            pulse.most = max(pulse.most, percent)
            self._pulse = pulse if order == pulse.order and pulse.windows <= MAX_PULSE_WINDOWS else None
        elif pulse is not None:
            if percent < KEYED_SHARE * pulse.most and pulse.windows >= MIN_PULSE_WINDOWS:
                end = float(figures.window.edges[0]) + figures.window.first_sample
                yield EdgeFinding("mains_signalling", pulse.start_sample, end, pulse.most)
        elif percent > LINE_PERCENT and before < KEYED_SHARE * percent:
            start = float(figures.window.edges[0]) + figures.window.first_sample
            self._pulse = EdgePulse(start, order, percent)

    def _line(self, figures: WindowFigures) -> tuple[float, int]:
        """The strongest line, in percent of the fundamental, and its order; NaN next to the edges of a dip or
        swell."""
        limits, extent = self._limits, figures.extent
        least, most = (100 * each / self._nominal_v for each in (extent.least_v, extent.most_v))
        if not (least >= limits.sag_percent and most <= limits.swell_percent):
            return math.nan, 0
        lines_v = figures.interharmonics_v[MIN_ORDER:]
        order = int(np.argmax(lines_v))
        return 100 * float(lines_v[order]) / float(figures.harmonics_v[0]), order

    def _changes(self, waiting: list[WindowFigures]) -> Iterator[EdgeFinding]:
        urms_v = np.concatenate([figures.urms_v for figures in waiting])
        middles = np.concatenate(
            [figures.window.first_sample + figures.window.half_edges[:-1] for figures in waiting]
        )
        known = np.isfinite(urms_v)
        percent = 100 / self._nominal_v * urms_v[known]
        beyond = (percent < self._limits.sag_percent) | (percent > self._limits.swell_percent)
        for each in self._rapid.push_percent(percent, middles[known], beyond):
            yield EdgeFinding(
                "rapid_voltage_change", each.start_sample, each.end_sample, each.steady_change_percent
            )


def edge_measurement(
    found: EdgeFinding, box_id: str, window: Window, clock: tuple[int, TimeSource], nominal_v: float
) -> Measurement:
    """The crossing Measurement of a finding, at least a cycle long; `window` is a window near it in the same
    run."""
    assert window.end_ns is not None
    since = found.start_sample - window.first_sample - float(window.edges[-1])
    start_ns = window.end_ns + round(since * 1e9 / window.rate_hz)
    cycle_ns = round(1e9 / window.nominal_hz)
    lasts_ns = round((found.end_sample - found.start_sample) * 1e9 / window.rate_hz)
    end_ns = start_ns + max(cycle_ns, lasts_ns)
    uncertainty_ns, source = clock
    return Measurement(
        box_id=box_id,
        timestamp_ms=(end_ns + 500_000) // 1_000_000,
        metrics={PREFIX + found.kind: Metric(found.value, found.value, found.value)},
        start_ns=start_ns,
        end_ns=end_ns,
        uncertainty_ns=uncertainty_ns,
        source=source,
        crossing=True,
        nominal_v=nominal_v,
        nominal_hz=window.nominal_hz,
        first_sample=max(0, int(found.start_sample)),
        samples=round((end_ns - start_ns) * window.rate_hz / 1e9),
    )


def _sudden(found: Occurrence) -> EdgeFinding:
    figure = "phase_jump_degrees" if found.kind == "phase_jump" else "peak_v"
    return EdgeFinding(found.kind, found.start_sample, found.end_sample, found.figures[figure])
